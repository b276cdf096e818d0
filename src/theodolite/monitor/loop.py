"""How does the monitor sit in the user's loop? It hands on batches, and looks between them."""

import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Protocol

from torch.utils.data import IterableDataset
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
        if not _is_terminal():
            return self._pass(None)
        return self._pass(_Bar(total=_length(self._batches), unit="batch", dynamic_ncols=True))

    def _pass(self, bar: "_Bar | None") -> Iterator[Batch]:
        observer, clock = self._observer, time.perf_counter
        told = clock()
        try:
            batches = iter(self._batches)
            while True:
                started = clock()
                try:
                    batch = next(batches)
                except StopIteration:
                    return
                observer.arrive(batch, clock() - started)
                yield batch
                observer.leave()
                if bar is not None:
                    bar.update()
                    if clock() - told > _REFRESH_SECONDS:
                        bar.set_postfix_str(observer.headline(), refresh=False)
                        told = clock()
        finally:
            observer.pause()
            if bar is not None:
                bar.close()


class _Bar(tqdm):
    """A progress bar without a thread and without a process lock of its own.

    A thread makes forked data loaders warn, and making the lock fixes the start method of multiprocessing: the training
    could see both.
    """

    monitor_interval = 0
    _lock = threading.RLock()


def _is_terminal() -> bool:
    """Whether somebody sees a progress bar."""
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # no stream, or a closed one
        return False


def _length(batches: Iterable[Batch]) -> int | None:
    """Number of batches for the progress bar, if it is known and asking changes nothing.

    A loader over an iterable data set remembers that it was asked, and warns later.

    Args:
        batches: The user's batches.

    Returns:
        The number; None if it is not known.
    """
    if not isinstance(batches, Sized) or isinstance(getattr(batches, "dataset", None), IterableDataset):
        return None
    try:
        return len(batches)
    except Exception:  # noqa: BLE001 - a length that fails would not have been asked for without us
        return None
