"""Where does J(θ) come from: a model with a loss and data, or a function of one vector."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Protocol

import torch
from torch import Tensor, nn

from theodolite.errors import ObjectiveError
from theodolite.objective.capture import modules_within
from theodolite.objective.data import Batch
from theodolite.objective.params import Params

LossFunction = Callable[[nn.Module, Batch], Tensor]
"""``loss(model, batch)``: mean loss over the examples of a batch, a scalar tensor."""


class Source(Protocol):
    """A sum of terms over batches.

    Laws: ``terms`` gives the same terms in the same order at each call; a term's loss is a mean over its examples.
    """

    @property
    def params(self) -> Params:
        """The tensors that make up θ."""
        ...

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """Modules that are run."""
        ...

    def terms(self) -> Iterator[tuple[int, Callable[[], Tensor]]]:
        """Number of examples and loss of each batch."""
        ...


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

    def terms(self) -> Iterator[tuple[int, Callable[[], Tensor]]]:
        """Number of examples and loss of each batch; batches without examples are left out.

        Yields:
            Pairs of count and a function that evaluates the loss.

        Raises:
            ObjectiveError: If no batch has an example.
        """
        examples = 0
        for batch in self.batches():
            count = self.count(batch)
            if count > 0:
                examples += count
                yield count, partial(self._evaluate, batch)
        if not examples:
            raise ObjectiveError("data must hold at least one example, got none. Check the batches and their sizes.")

    def _evaluate(self, batch: Batch) -> Tensor:
        return scalar(self.loss(self.model, batch), "loss(model, batch)")


@dataclass(frozen=True, eq=False)
class FunctionSource:
    """A function of one vector."""

    params: Params
    function: Callable[[Tensor], Tensor]

    @cached_property
    def modules(self) -> tuple[nn.Module, ...]:
        """The modules that the function reaches."""
        return modules_within(self.function)

    def terms(self) -> Iterator[tuple[int, Callable[[], Tensor]]]:
        """The function itself."""
        yield 1, lambda: scalar(self.function(self.params.tensors[0]), "f(theta)")


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
