"""What is learnt of an objective once, and used by every product: sizes of its batches, a check of its products."""

import logging
import math
from collections.abc import Callable

import torch
from torch import Tensor

from theodolite.objective.sources import Term
from theodolite.records.results import ProductCheck

_LOG = logging.getLogger(__name__)

_SLACK = 64
"""Losses of pieces add up to that of the whole to so many roundings; batch statistics and masks miss by far."""


_HALF = 1e-4
"""Types with greater roundings are of half precision."""


class _Ledger:
    """What a forward pass saves for its backward pass: bytes, each storage once, and the coarsest precision."""

    def __init__(self) -> None:
        self._storages: dict[int, int] = {}
        self.relative_error = 0.0

    def note(self, tensor: Tensor) -> Tensor:
        """Count one saved tensor; what is kept of it must not hold the tensor itself, or neither is ever freed."""
        if tensor.layout == torch.strided:
            storage = tensor.untyped_storage()
            self._storages[storage.data_ptr()] = storage.nbytes()
        if tensor.is_floating_point():
            self.relative_error = max(self.relative_error, torch.finfo(tensor.dtype).eps)
        return tensor.detach()

    @property
    def size(self) -> int:
        """Bytes saved."""
        return sum(self._storages.values())


class Knowledge:
    """What is known of one objective: how much memory its batches take, whether they may be cut, what a check gave.

    Saved tensors are counted in a forward pass of their own: hooks on a graph that is kept would slow every product by
    7 % (measured, 4-layer transformer).
    """

    def __init__(self) -> None:
        """Nothing is known yet."""
        self.check: ProductCheck | None = None
        """Whether two ways of forming Hessian products agree."""
        self.refusal = ""
        """Why Hessian products are not formed by double backward; empty if they are."""
        self._sizes: dict[int, int] = {}
        self._is_additive: dict[int, bool] = {}
        self.relative_error = 0.0

    def size(self, batch: int, loss: Callable[[], Tensor]) -> int:
        """Bytes that the forward pass of a batch saves for its backward pass.

        Args:
            batch: Its place.
            loss: Its loss; evaluated the first time only.

        Returns:
            The bytes.
        """
        if batch not in self._sizes:
            ledger = _Ledger()
            with torch.autograd.graph.saved_tensors_hooks(ledger.note, lambda tensor: tensor):
                loss()
            self._sizes[batch] = ledger.size
            self.relative_error = max(self.relative_error, ledger.relative_error)
        return self._sizes[batch]

    def is_additive(self, batch: int, measure: Callable[[], bool]) -> bool:
        """Whether the losses of pieces add up to the loss of a batch: not so with batch statistics or pinned masks.

        Args:
            batch: Its place.
            measure: Finds out; asked the first time only.

        Returns:
            The answer.
        """
        if batch not in self._is_additive:
            self._is_additive[batch] = measure()
        return self._is_additive[batch]


def adds_up(count: int, loss: Term, parts: list[tuple[int, Term]]) -> bool:
    """Whether the losses of pieces add up to the loss of a batch here, to rounding.

    Args:
        count: Number of examples.
        loss: The loss of the batch.
        parts: Examples and losses of its pieces.

    Returns:
        The answer; False in half precision, where rounding would hide a batch statistic.
    """
    whole = loss().detach()
    epsilon = torch.finfo(whole.dtype).eps
    total = sum(some * value_of(part) for some, part in parts) / count
    gap = abs(float(whole) - total)  # NaN if a piece cannot be evaluated
    return epsilon < _HALF and gap <= _SLACK * epsilon * abs(float(whole))


def value_of(piece: Term) -> float:
    """The loss of a piece of a batch; NaN if the loss cannot be evaluated on it.

    Args:
        piece: Its loss.

    Returns:
        The value.
    """
    try:
        return float(piece().detach())
    except (RuntimeError, ValueError, IndexError, TypeError, AssertionError) as error:
        _LOG.info("A batch is left whole: its loss cannot be evaluated on a piece, %s", error)
        return math.nan
