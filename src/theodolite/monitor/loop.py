"""How does the monitor sit in the user's loop? It hands on batches, and looks between them."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Protocol

from tqdm import tqdm

from theodolite.objective.data import Batch

_REFRESH_SECONDS = 2.0


class Observes(Protocol):
    """Who looks between the batches.

    Laws: none of the three changes anything that the training can see, and none raises because a measurement failed.
    """

    def arrive(self, batch: Batch, seconds: float) -> None:
        """A batch was drawn, which took so many seconds; the body of the loop comes next."""
        ...

    def leave(self) -> None:
        """The body of the loop has ended."""
        ...

    def pause(self) -> None:
        """The loop has ended, early or not."""
        ...

    def headline(self) -> str:
        """A few words for the progress bar."""
        ...


class Watched:
    """The user's batches, watched: iterates over the same objects in the same order."""

    def __init__(self, observer: Observes, batches: Iterable[Batch]) -> None:
        """Draw nothing yet."""
        self._observer, self._batches = observer, batches

    def __len__(self) -> int:
        """Number of batches; TypeError if the user's iterable has no length."""
        if not isinstance(self._batches, Sized):
            raise TypeError(f"object of type {type(self._batches).__name__!r} has no len()")
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        """One pass over the batches, with a progress bar if the error stream is a terminal."""
        total = len(self._batches) if isinstance(self._batches, Sized) else None
        with tqdm(total=total, disable=not sys.stderr.isatty(), unit="batch", dynamic_ncols=True) as bar:
            yield from self._pass(bar)

    def _pass(self, bar: "tqdm[None]") -> Iterator[Batch]:
        observer, told = self._observer, time.perf_counter()
        batches = iter(self._batches)
        try:
            while True:
                started = time.perf_counter()
                try:
                    batch = next(batches)
                except StopIteration:
                    return
                observer.arrive(batch, time.perf_counter() - started)
                yield batch
                observer.leave()
                bar.update()
                if not bar.disable and time.perf_counter() - told > _REFRESH_SECONDS:
                    bar.set_postfix_str(observer.headline(), refresh=False)
                    told = time.perf_counter()
        finally:
            observer.pause()
