"""How does a command train: watched, with signs of life, and leaving a readable run however it ends."""

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.problems import Training
    from theodolite.records import Diagnosis

_BUDGET = 1.0
"""As much time for measuring as for training: the steps here take about a millisecond, and pictures should be rich."""

_TELL_SECONDS = 3.0
"""Where there is no terminal, a line after so many seconds."""


def watch(training: "Training", *, run: Path, seed: int, seconds: float) -> "Diagnosis":
    """Train to the end under a monitor, and diagnose.

    Args:
        training: A fresh training.
        run: Folder of the record.
        seed: Seed of what the monitor chooses.
        seconds: About how long the diagnosis may take.

    Returns:
        The diagnosis; it is also stored in the run.
    """
    import torch

    from theodolite import monitor as room

    # A second thread makes such small networks several times slower as soon as another process wants the core.
    torch.set_num_threads(1)
    monitor = room.Monitor(
        training.model,
        training.optimizer,
        training.loss,
        run=run,
        validation=training.validation,
        floor=training.floor,
        budget=_BUDGET,
        seed=seed,
    )
    with _told_where(run), _terminable(), monitor:
        tell = _Teller()
        for batch in monitor(training.batches):
            training.optimizer.zero_grad()
            loss = training.loss(training.model, batch)
            loss.backward()
            training.optimizer.step()
            tell(loss)
        click.echo(f"The training has ended, with a loss of {float(loss.detach()):.4g} on its last batch.")
        click.echo(f"Surveying where it stands, and trying remedies on branches: at most about {seconds:.0f} s.")
        return monitor.diagnose(seconds=seconds)


class _Teller:
    """Lines on the error stream where no progress bar can be drawn."""

    def __init__(self) -> None:
        """Begin to count."""
        self._step, self._told = 0, time.perf_counter()
        self._is_needed = not sys.stderr.isatty()

    def __call__(self, loss: "Tensor") -> None:
        """A step was made."""
        self._step += 1
        if self._is_needed and time.perf_counter() - self._told > _TELL_SECONDS:
            click.echo(f"step {self._step}, loss {float(loss.detach()):.4g}", err=True)
            self._told = time.perf_counter()


@contextmanager
def _told_where(run: Path) -> Iterator[None]:
    """Whoever stops a training learns that its record is there."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        click.echo(f"\nStopped. What was recorded is readable: theodolite diagnose {run}", err=True)
        raise


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM and SIGHUP end the process as an exception does, so that the record is flushed and closed."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        signal.signal(number, signal.SIG_IGN)  # closing takes a moment, and is not to be disturbed
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():  # only there may handlers be set
        yield
        return
    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before: dict[int, Any] = {getattr(signal, name): signal.signal(getattr(signal, name), leave) for name in names}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
