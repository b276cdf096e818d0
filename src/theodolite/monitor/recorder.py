"""How do numbers get from the device into the run, without waiting for the device at each step?"""

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from theodolite.errors import RunError
from theodolite.records import RunWriter, Series

_LOG = logging.getLogger(__name__)

_PENDING = 64
_PENDING_SECONDS = 1.0
"""Values wait on a device so long at most, lest a kill lose more."""

_REMEMBERED = 4096
"""So many losses are kept in memory, for the progress bar."""


@dataclass(frozen=True, eq=False, slots=True)
class _Row:
    """Values of a step; ``doubt`` tells, on its device, whether the loss among them is to be left out."""

    step: int
    values: dict[str, float | Tensor]
    doubt: Tensor | None


class Recorder:
    """Buffers series whose values may still be on a device, and writes them in one transfer.

    NaN and infinities are written as they are; the first steps that have them become events. A record that cannot be
    written does not stop the training: that is told once, and the writer tries again.
    """

    def __init__(self, writer: RunWriter, max_events: int = 100) -> None:
        """Write to a run."""
        self._writer = writer
        self._pending: list[_Row] = []
        self._since = 0.0
        self._events_left = max_events
        self._names: dict[str, list[str]] = {}
        self._losses: list[tuple[int, float]] = []
        self._stride = 1
        self._has_failed = False
        self.last: dict[str, float] = {}
        self.step = self.doubted = 0
        self.has_stopped = False
        self._told_at = -1

    @property
    def losses(self) -> Series:
        """Losses so far, thinned where they are many."""
        steps, values = zip(*self._losses, strict=True) if self._losses else ((), ())
        return Series("loss", np.array(steps, np.int64), np.array(values, np.float64))

    def add(self, step: int, values: Mapping[str, float | Tensor], *, doubt: Tensor | None = None) -> None:
        """Note values of a step; 0-d tensors on an accelerator are fetched later, together.

        Args:
            step: The step.
            values: Value by name of the series.
            doubt: A 0-d truth value: leave out the loss.
        """
        if not values:
            return
        self.step, now = step, time.monotonic()
        if not self._pending:
            self._since = now
        self._pending.append(_Row(step, dict(values), doubt))
        waits = any(isinstance(value, Tensor) and not value.is_cpu for value in values.values())
        if not waits or len(self._pending) >= _PENDING or now - self._since > _PENDING_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Fetch and write all that is pending."""
        rows, self._pending = self._pending, []
        for row, plain in zip(rows, _fetched(rows), strict=True):
            if row.doubt is not None and bool(row.doubt):
                del plain["loss"]
                self.doubted += 1
            self._written(self._writer.scalars, row.step, plain)
            self.last.update(plain)
            if "loss" in plain:
                self._remember(row.step, plain["loss"])
            self._tell_nonfinite(row.step, plain)

    def _remember(self, step: int, loss: float) -> None:
        """Keep a loss; when there are too many, every other one from now on."""
        if step % self._stride == 0:
            self._losses.append((step, loss))
        if len(self._losses) >= _REMEMBERED:
            self._losses, self._stride = self._losses[1::2], 2 * self._stride

    def arrays(self, step: int, arrays: Mapping[str, np.ndarray], names: Mapping[str, list[str]]) -> None:
        """Write arrays of a step, and what their entries are called when that is new."""
        for name, array in arrays.items():
            self._written(self._writer.array, name, step, array)
        for key, value in names.items():
            if self._names.get(key) != value:
                self._names[key] = value
                self._written(self._writer.update_metadata, {key: value})

    def event(self, kind: str, step: int, detail: Mapping[str, Any]) -> None:
        """Write an event."""
        self.step = max(self.step, step)
        self.has_stopped |= kind == "stop"
        self._written(self._writer.event, kind, step, detail)

    def account(self, step: int, account: Callable[[], Mapping[str, Any]], *, is_last: bool = False) -> None:
        """Write what measuring has cost as an event ``budget``: when the run has grown by half since, and at its end.

        Rules that find a measurement missing learn from the last of these events why.

        Args:
            step: Steps so far.
            account: What was spent, and what was never made.
            is_last: Whether the run ends.
        """
        if step > self._told_at and (is_last or step >= 1.5 * self._told_at):
            self._told_at = step
            self.event("budget", step, account())

    def close(self) -> None:
        """Close the run."""
        self._written(self._writer.close)

    def _written(self, write: Callable[..., None], *row: Any) -> None:
        """Write; that the disk fails is told once, and no reason to stop a training."""
        try:
            write(*row)
        except (RunError, OSError) as error:
            if not self._has_failed:
                _LOG.warning("the record of the run cannot be written, and training goes on: %s", error)
            self._has_failed = True

    def _tell_nonfinite(self, step: int, values: Mapping[str, float]) -> None:
        """Make an event of a loss or norm that is not finite."""
        names = [name for name in ("loss", "grad_norm", "update_norm") if not math.isfinite(values.get(name, 0.0))]
        if names and self._events_left > 0:
            self._events_left -= 1
            self.event("nonfinite", step, {name: str(values[name]) for name in names})


def _fetched(rows: list[_Row]) -> list[dict[str, float]]:
    """The rows with plain numbers, in one transfer from an accelerator."""
    distant = [v for row in rows for v in row.values.values() if isinstance(v, Tensor) and not v.is_cpu]
    if distant:
        where = distant[0].device
        numbers = iter(torch.stack([value.detach().double().to(where) for value in distant]).tolist())
    found = []
    for row in rows:
        plain = {}
        for name, value in row.values.items():
            plain[name] = next(numbers) if isinstance(value, Tensor) and not value.is_cpu else float(value)
        found.append(plain)
    return found
