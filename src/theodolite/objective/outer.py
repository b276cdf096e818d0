"""What stands between the Jacobian and its transpose in JᵀSJ: the curvature of the loss, or gradients of examples.

Each is a linear map S on tensors shaped like the outputs z of one batch; the weight of an example in the mean loss of
the batch is part of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor

from theodolite.errors import ObjectiveError
from theodolite.objective.batchwise import Parts, pull_back
from theodolite.objective.split import Split

Pair = tuple[Parts, Parts]
"""Tensors shaped like the outputs, and tensors shaped like the parameters."""


class Outer(Protocol):
    """S as a map of pairs: a change w of the outputs, and a change v of parameters that the loss reaches directly."""

    def apply(self, w: Parts, v: Parts, *, is_block: bool) -> Pair:
        """S on a pair, or on a block of pairs that are stacked in front of each tensor."""
        ...


OuterOf = Callable[[int, Split, Sequence[Tensor]], Outer]
"""Builds S for a batch: its number of examples, its split loss, the parameters."""


@dataclass(frozen=True, eq=False)
class LossHessian:
    """S = ∇²ℓ, with respect to outputs and parameters together."""

    gradient: Parts
    inputs: tuple[Tensor, ...]
    outputs: int

    @classmethod
    def of(cls, count: int, split: Split, params: Sequence[Tensor]) -> Self:
        """∇²ℓ of a batch, by double backward through the loss alone."""
        inputs = (*split.leaves, *params)
        gradient = torch.autograd.grad(split.loss, inputs, create_graph=True, allow_unused=True)
        return cls(gradient, inputs, len(split.leaves))

    def apply(self, w: Parts, v: Parts, *, is_block: bool) -> Pair:
        """∇²ℓ on a pair or a block."""
        found = pull_back(self.gradient, self.inputs, (*w, *v), is_block=is_block)
        return found[: self.outputs], found[self.outputs :]


@dataclass(frozen=True, eq=False)
class ExampleGradients:
    """S = Σₙ aₙ(aₙ − ā)ᵀ / count, where aₙ is the gradient of the loss of example n by outputs and parameters.

    Attributes:
        gradients: a by the outputs, one tensor each, examples first; None where the loss does not depend on one.
        direct: a by the parameters that the loss reaches past the outputs; the same for each example.
        count: How many examples.
        centre: Mean gradient over all data, shaped like the parameters: ā is what it is along a direction; None is 0.
    """

    gradients: Parts
    direct: Parts
    count: int
    centre: Parts | None

    @classmethod
    def of(cls, count: int, split: Split, params: Sequence[Tensor], *, centre: Parts | None = None) -> Self:
        """Gradients of the examples of a batch.

        Args:
            count: Number of examples.
            split: The loss of the batch.
            params: The parameters.
            centre: Mean gradient over all data; None counts from zero.

        Returns:
            The map.

        Raises:
            ObjectiveError: If the outputs do not hold one row an example, or the loss mixes outputs with parameters
                that it reaches past them.
        """
        require_separate(LossHessian.of(count, split, params))
        found = torch.autograd.grad(split.loss, (*split.leaves, *params), allow_unused=True)
        gradients, direct = found[: len(split.leaves)], found[len(split.leaves) :]
        for gradient in gradients:
            if gradient is not None and (gradient.ndim == 0 or gradient.shape[0] != count):
                raise ObjectiveError(
                    f"the gradient of each example needs outputs with {count} rows, one an example, but the model puts "
                    f"out shape {tuple(gradient.shape)}. Let examples come first, or count what comes first with "
                    "Objective(..., count=...)."
                )
        return cls([None if a is None else a * count for a in gradients], direct, count, centre)

    def apply(self, w: Parts, v: Parts, *, is_block: bool) -> Pair:
        """S on a pair or a block."""
        return each(self._apply, w, v) if is_block else self._apply(w, v)

    def _apply(self, w: Parts, v: Parts) -> Pair:
        """Each gradient, times its slope along the direction."""
        constant = inner(self.direct, v) - (0.0 if self.centre is None else inner(self.centre, v))
        rows = [(a.double() * x.double()).reshape(self.count, -1).sum(1) for a, x in present(self.gradients, w)]
        slopes = constant + (torch.stack(rows).sum(0) if rows else torch.zeros(self.count, dtype=torch.float64))
        back = [
            None if a is None else a * slopes.to(a).reshape(-1, *[1] * (a.ndim - 1)) / self.count
            for a in self.gradients
        ]
        return back, [None if p is None else p * slopes.mean().to(p) for p in self.direct]


def require_separate(hessian: LossHessian) -> None:
    """Complain if what the loss reaches past the outputs is mixed with them: then it is not the same for each example.

    Args:
        hessian: ∇²ℓ.

    Raises:
        ObjectiveError: If ∂²ℓ/∂z∂θ is not zero.
    """
    leaves = hessian.inputs[: hessian.outputs]
    direct = [g for g in hessian.gradient[hessian.outputs :] if g is not None and g.requires_grad]
    found = (
        torch.autograd.grad(direct, leaves, [torch.ones_like(g) for g in direct], retain_graph=True, allow_unused=True)
        if direct
        else ()
    )
    if any(slope is not None for slope in found):
        raise ObjectiveError(
            "parameters that the loss reaches past the model's outputs must not be mixed with these, as a read-out or "
            "a noise level inside the loss is. Let the model apply them, or name the module after which nothing does: "
            "output='head'."
        )


def each(function: Callable[[Parts, Parts], Pair], w: Parts, v: Parts) -> Pair:
    """A map on pairs, applied to a block of them one after the other."""
    count = next(len(tensor) for tensor in (*w, *v) if tensor is not None)
    images = [function(_item(w, k), _item(v, k)) for k in range(count)]
    first, second = zip(*images, strict=True)
    return _stacked(first), _stacked(second)


def _item(block: Parts, k: int) -> Parts:
    return [None if tensor is None else tensor[k] for tensor in block]


def _stacked(images: Sequence[Parts]) -> Parts:
    return [None if same[0] is None else torch.stack(same) for same in zip(*images, strict=True)]


def present(first: Parts, second: Parts) -> list[tuple[Tensor, Tensor]]:
    """Pairs of tensors of which neither is None."""
    return [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]


def inner(first: Parts, second: Parts) -> float:
    """Sum of inner products, in float64."""
    return sum(float((a.double() * b.double()).sum()) for a, b in present(first, second))
