"""Where does J(θ) come from: a model with a loss and data, or a function of one vector."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor, nn

from theodolite.errors import DataError, ObjectiveError
from theodolite.objective.capture import modules_within
from theodolite.objective.data import Batch, split_batch
from theodolite.objective.params import Params

LossFunction = Callable[[nn.Module, Batch], Tensor]
"""``loss(model, batch)``: mean loss over the examples of a batch, a scalar tensor."""


class Term(Protocol):
    """The loss of one batch."""

    def __call__(self) -> Tensor:
        """The loss, a scalar tensor."""
        ...

    def split(self, count: int, size: int) -> list[tuple[int, "Term"]]:
        """The same batch in pieces of at most ``size`` of its ``count`` examples; empty if it cannot be cut."""
        ...


class Source(Protocol):
    """A sum of terms over batches.

    Laws: ``terms`` gives the same terms in the same order at each call; a term's loss is a mean over its examples.
    """

    @property
    def params(self) -> Params:
        """The tensors that make up θ."""
        ...

    @property
    def model(self) -> nn.Module | None:
        """The model, if there is one."""
        ...

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """Modules that are run."""
        ...

    def terms(self) -> Iterator[tuple[int, Term]]:
        """Number of examples and loss of each batch."""
        ...


@dataclass(frozen=True, eq=False)
class BatchLoss:
    """The mean loss of a model over one batch."""

    model: nn.Module
    loss: LossFunction
    batch: Batch

    def __call__(self) -> Tensor:
        """The loss, a scalar tensor."""
        return scalar(self.loss(self.model, self.batch), "loss(model, batch)")

    def split(self, count: int, size: int) -> list[tuple[int, Term]]:
        """The same batch in pieces of at most ``size`` of its ``count`` examples; empty if it cannot be cut."""
        pieces = split_batch(self.batch, count, size)
        sizes = [min(size, count - start) for start in range(0, count, max(1, size))]
        return [(some, BatchLoss(self.model, self.loss, piece)) for some, piece in zip(sizes, pieces, strict=False)]


@dataclass(frozen=True, eq=False)
class _FunctionLoss:
    """A function of one vector, at the present point."""

    function: Callable[[Tensor], Tensor]
    theta: Tensor

    def __call__(self) -> Tensor:
        """The value, a scalar tensor."""
        return scalar(self.function(self.theta), "f(theta)")

    def split(self, count: int, size: int) -> list[tuple[int, Term]]:
        """Nothing: a function has no examples."""
        return []


@dataclass(frozen=True, eq=False)
class ModelSource:
    """The mean loss of a model over batches."""

    params: Params
    model: nn.Module
    loss: LossFunction
    batches: Callable[[], Iterator[Batch]]
    count: Callable[[Batch], int]

    @cached_property
    def modules(self) -> tuple[nn.Module, ...]:
        """The model, and the modules that the loss reaches: itself, a teacher in its closure."""
        return (self.model, *modules_within(self.loss))

    def terms(self) -> Iterator[tuple[int, Term]]:
        """Number of examples and loss of each batch; batches without examples are left out.

        Yields:
            Pairs of count and loss.

        Raises:
            ObjectiveError: If no batch has an example.
        """
        examples = 0
        for batch in self.batches():
            count = self.count(batch)
            if count > 0:
                examples += count
                yield count, BatchLoss(self.model, self.loss, batch)
        if not examples:
            raise ObjectiveError("data must hold at least one example, got none. Check the batches and their sizes.")


@dataclass(frozen=True, eq=False)
class FunctionSource:
    """A function of one vector."""

    params: Params
    function: Callable[[Tensor], Tensor]
    model: None = None

    @cached_property
    def modules(self) -> tuple[nn.Module, ...]:
        """The modules that the function reaches."""
        return modules_within(self.function)

    def terms(self) -> Iterator[tuple[int, Term]]:
        """The function itself."""
        yield 1, _FunctionLoss(self.function, self.params.tensors[0])


def scalar(value: object, name: str) -> Tensor:
    """A loss value as a 0-d tensor.

    Args:
        value: What the caller's function returned.
        name: What to call it in the error.

    Returns:
        The value without dimensions.

    Raises:
        ObjectiveError: If it is not one real number in a tensor.
    """
    if not isinstance(value, Tensor):
        raise ObjectiveError(
            f"{name} must return a scalar tensor, got a {type(value).__name__}. "
            "Return the loss tensor itself, without .item() or float()."
        )
    if value.numel() != 1 or not value.is_floating_point():
        raise ObjectiveError(
            f"{name} must return one real number, got shape {tuple(value.shape)} of {value.dtype}. "
            "Return the mean over the examples, for example with reduction='mean'."
        )
    return value.reshape(())


def unwrapped(model: nn.Module) -> nn.Module:
    """The module inside ``torch.compile`` and data-parallel wrappers, which have no second derivative or would wait."""
    wrappers: Sequence[type] = (nn.parallel.DistributedDataParallel, nn.DataParallel)
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(model, tuple(wrappers)):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def gradients(loss: Tensor, params: Params, *, create_graph: bool = False) -> list[Tensor | None]:
    """Gradient of a loss with respect to each parameter; None where it does not depend on it."""
    if not loss.requires_grad:
        return [None] * len(params.tensors)
    found = torch.autograd.grad(loss, params.tensors, create_graph=create_graph, allow_unused=True)
    return list(found)


def check_parts(model: object, loss: object, data: object) -> None:
    """Refuse what no objective can be formed from, before work.

    Raises:
        ObjectiveError: If the model is no module, or the loss cannot be called.
        DataError: If there is no data.
    """
    if not isinstance(model, nn.Module):
        raise ObjectiveError(
            f"model must be a torch.nn.Module, got a {type(model).__name__}. For a function of one vector use "
            "Objective.from_function."
        )
    if not callable(loss):
        raise ObjectiveError(
            f"loss must be callable as loss(model, batch), got a {type(loss).__name__}. Pass a function."
        )
    if data is None:
        raise DataError(
            "data must be one batch or a re-iterable of batches, got None. Pass a batch, or a list of them."
        )
