"""How do numbers get from the device into the run, without waiting for the device at each step?"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from theodolite.records import RunWriter

_PENDING = 64


class Recorder:
    """Buffers series whose values may still be on a device, and writes them in one transfer.

    NaN and infinities are written as they are; the first steps that have them become events.
    """

    def __init__(self, writer: RunWriter, max_events: int = 100) -> None:
        """Write to a run."""
        self._writer = writer
        self._pending: list[tuple[int, dict[str, float | Tensor]]] = []
        self._events_left = max_events
        self._names: dict[str, list[str]] = {}
        self.last: dict[str, float] = {}

    def add(self, step: int, values: Mapping[str, float | Tensor]) -> None:
        """Note values of a step; 0-d tensors are fetched later, together."""
        if values:
            self._pending.append((step, dict(values)))
        if len(self._pending) >= _PENDING or not any(isinstance(v, Tensor) and v.is_cuda for v in values.values()):
            self.flush()

    def flush(self) -> None:
        """Fetch and write all that is pending."""
        tensors = [value for _, values in self._pending for value in values.values() if isinstance(value, Tensor)]
        fetched = iter(
            torch.stack([t.detach().double().to(tensors[0].device) for t in tensors]).tolist() if tensors else []
        )
        for step, values in self._pending:
            plain = {
                name: float(next(fetched) if isinstance(value, Tensor) else value) for name, value in values.items()
            }
            self._writer.scalars(step, plain)
            self.last.update(plain)
            self._tell_nonfinite(step, plain)
        self._pending = []

    def arrays(self, step: int, arrays: Mapping[str, np.ndarray], names: Mapping[str, list[str]]) -> None:
        """Write arrays of a step, and what their entries are called when that is new."""
        for name, array in arrays.items():
            self._writer.array(name, step, array)
        for key, value in names.items():
            if self._names.get(key) != value:
                self._names[key] = value
                self._writer.update_metadata({key: value})

    def event(self, kind: str, step: int, detail: Mapping[str, Any]) -> None:
        """Write an event."""
        self._writer.event(kind, step, detail)

    def snapshot(self, step: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Store parameters."""
        self._writer.snapshot(step, arrays)

    def _tell_nonfinite(self, step: int, values: Mapping[str, float]) -> None:
        """Make an event of a loss or norm that is not finite."""
        names = [name for name in ("loss", "grad_norm", "update_norm") if not math.isfinite(values.get(name, 0.0))]
        if names and self._events_left > 0:
            self._events_left -= 1
            self._writer.event("nonfinite", step, {name: str(values[name]) for name in names})
