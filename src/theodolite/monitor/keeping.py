"""Which parameters of a run are kept on the disk? Evenly many a doubling of its steps, within a limit of bytes.

Copies are taken when they are due, and wait in memory until the budget of time affords to write them, or the run ends.
"""

import math
from bisect import insort
from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from theodolite.errors import SettingError
from theodolite.monitor.measurements import snapshot_arrays
from theodolite.objective import Params
from theodolite.records import RunWriter

SNAPSHOT_BYTES = 256 * 2**20
"""What snapshots may take on the disk unless told otherwise."""

PER_DOUBLING = 8
"""Snapshots while the number of steps doubles: a killed run has lost less than a tenth of its way."""

_WAITING_BYTES = 16 * 2**20
"""Copies that wait in memory take so much at most."""

_FEWEST_WAITING = 4
"""Where fewer fit, none is taken that cannot be written at once; the greatest that waits is copied in a millisecond."""

_HEADER_BYTES = 160
"""What a file needs beside the numbers, a tensor, and not counting its name."""

DTYPES = (None, "bfloat16")
"""Types in which parameters may be kept; None is their own."""


class Keeping:
    """Keeps θ at steps 0, 1, 2, ... that are ever sparser, eight a doubling, and the last.

    Where the limit allows fewer, the one is let go whose neighbours are closest together in the logarithm of the step;
    never the first, never the last.
    """

    def __init__(self, writer: RunWriter, params: Params, *, limit: float, dtype: str | None = None) -> None:
        """Keep nothing yet.

        Args:
            writer: Where to write.
            params: What to keep.
            limit: Bytes that all files together may take; 0 keeps nothing.
            dtype: "bfloat16" rounds wider floating-point numbers to it, which halves the files; None keeps them exact.
        """
        self._writer, self._params, self._is_rounded = writer, params, dtype is not None
        size = sum(tensor.numel() * self._width(tensor) for tensor in params.tensors)
        header = sum(_HEADER_BYTES + len(name.encode()) for name in params.names)
        self._most = int(limit // (size + header))
        self._most_waiting = _WAITING_BYTES // max(1, size)
        self._is_copied = self._most_waiting >= _FEWEST_WAITING
        self._next = 0.0 if self._most else math.inf
        self._copies: dict[int, Params] = {}
        self.steps: list[int] = []

    def is_copy_due(self, step: int) -> bool:
        """Whether a copy of θ as it is now is to be taken."""
        return step >= self._next and self._is_copied

    def is_due(self, step: int) -> bool:
        """Whether there is something to write, once that can be afforded."""
        return bool(self._copies) or step >= self._next

    def copy(self, step: int) -> None:
        """Take a copy of θ, to be written later.

        Args:
            step: The step after which θ stands so.
        """
        self._next = max(step + 1, math.ceil(step * 2 ** (1 / PER_DOUBLING)))
        if step in self.steps:
            return
        if len(self._copies) >= max(1, self._most_waiting):
            self._let_go(least_needed([*self.steps, step], self._copies))
        if len(self.steps) >= self._most:
            self._let_go(least_needed([*self.steps, step], self.steps))
        parts = [self._held(tensor.detach()) for tensor in self._params.tensors]
        self._copies[step] = Params(self._params.names, tuple(parts))
        insort(self.steps, step)

    def write(self, step: int) -> None:
        """Write one snapshot: the first that waits, or θ as it is now.

        Args:
            step: The present step.
        """
        if not self._copies:
            self.copy(step)
        self._write(list(self._copies)[:1])

    def write_all(self) -> None:
        """Write what waits, together: the run has ended."""
        self._write(list(self._copies))

    def _write(self, steps: Sequence[int]) -> None:
        """Write copies; they are let go whatever becomes of them."""
        found = {step: snapshot_arrays(self._copies.pop(step)) for step in steps}
        if found:
            names = found[steps[0]][1]
            kept = {step: arrays for step, (arrays, _) in found.items()}
            self._writer.snapshots(kept, dtype_names=names or None)

    def end(self, step: int) -> None:
        """Keep θ as it is now, and write all: this may be the last step.

        Args:
            step: The present step.
        """
        if self._most:
            self.copy(step)
            self.write_all()

    def _let_go(self, step: int) -> None:
        """Keep a step no longer."""
        self.steps.remove(step)
        if self._copies.pop(step, None) is None:
            self._writer.drop_snapshot(step)

    def _width(self, tensor: Tensor) -> int:
        """Bytes that a number of a tensor takes on the disk."""
        return 2 if self._is_rounded and tensor.is_floating_point() else tensor.element_size()

    def _held(self, tensor: Tensor) -> Tensor:
        """A copy on the CPU, rounded if that was asked for."""
        is_wide = tensor.is_floating_point() and tensor.element_size() > 2
        dtype = torch.bfloat16 if self._is_rounded and is_wide else tensor.dtype
        return tensor.to("cpu", dtype, copy=True)


def least_needed(steps: Sequence[int], among: Collection[int]) -> int:
    """The step that can best be done without: its neighbours are closest together in the logarithm of the step.

    Args:
        steps: Ascending; the first and the last stay, unless there is no other.
        among: One of these is to be chosen, all of them in ``steps``.

    Returns:
        The step.
    """
    inner = [place for place in range(1, len(steps) - 1) if steps[place] in among]
    if not inner:
        return next(step for step in steps if step in among)
    return steps[min(inner, key=lambda place: math.log((1 + steps[place + 1]) / (1 + steps[place - 1])))]


def check_keeping(limit: object, dtype: object) -> None:
    """Refuse settings that mean nothing, before a folder is made.

    Args:
        limit: Bytes that all files together may take.
        dtype: In which type.

    Raises:
        SettingError: If the limit is negative or no finite number, or the type is another.
    """
    if not isinstance(limit, (int, float)) or not 0 <= limit < math.inf:
        raise SettingError(f"snapshots must be a number of bytes, 0 for none, got {limit!r}. 2**28 is 256 MiB.")
    if dtype not in DTYPES:
        raise SettingError(f"snapshot_dtype must be one of {DTYPES}, got {dtype!r}. None keeps the values exactly.")
