"""How does J change along one direction, to any order?

Every derivative is that of the one before, by reverse mode with respect to the parameters themselves.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theodolite.objective.isolation import isolated
from theodolite.objective.kernels import lacks_second_derivative, twice_differentiable
from theodolite.objective.norms import PrimitiveNorms
from theodolite.objective.params import Params
from theodolite.objective.sources import Source, gradients


@dataclass(frozen=True, eq=False)
class Derivatives:
    """Derivatives of s ↦ J(θ + s·d) at s = 0.

    Attributes:
        values: dᵏJ/dsᵏ for k = 0, 1, …; NaN from the order on that an operation does not have.
        reason: What autograd said of the missing order; empty if none is missing.
    """

    values: Float[np.ndarray, "orders"]
    reason: str = ""


def directional_derivatives(
    source: Source, theta: Tensor | None, direction: Float[Tensor, "params"], order: int, *, seed: int
) -> Derivatives:
    """Derivatives of J along a direction, orders 0 to ``order``: Dᵏ = ∇Dᵏ⁻¹·d.

    Args:
        source: The batches.
        theta: The point; None is the present one.
        direction: d, not normalised.
        order: The highest order.
        seed: Seed of the pinned randomness.

    Returns:
        The derivatives of the mean over examples, float64.

    Cost: see ``taylor``; holds the graph of one batch at a time.
    Limits: rounding is that of the types that run, and grows with the order.
    """
    parts = source.params.unflatten(direction)
    totals, examples, reason = np.zeros(order + 1), 0, ""
    for index, (count, evaluate) in enumerate(source.terms()):
        with (
            source.params.placed(theta),
            isolated(source.modules, source.params.tensors, seed=seed + index),
            _differentiable(source, order),
            torch.enable_grad(),
        ):
            found = _climb(evaluate, source.params, parts, order)
        totals += count * found.values
        examples += count
        reason = reason or found.reason
    return Derivatives(totals / examples, reason)


def _climb(evaluate: Callable[[], Tensor], params: Params, parts: tuple[Tensor, ...], order: int) -> Derivatives:
    """The derivatives of one batch."""
    rung = evaluate()
    values = np.zeros(order + 1)
    values[0] = float(rung.detach())
    for k in range(1, order + 1):
        if not rung.requires_grad:
            break  # constant: what follows is zero
        try:
            rung = _dot(gradients(rung, params, create_graph=k < order), parts)
        except (RuntimeError, NotImplementedError) as error:
            if k < 2 or not lacks_second_derivative(error):
                raise
            values[k:] = math.nan
            return Derivatives(values, str(error).splitlines()[0])
        values[k] = float(rung.detach())
    return Derivatives(values)


def _dot(tensors: Sequence[Tensor | None], parts: tuple[Tensor, ...]) -> Tensor:
    """Sum of inner products in float64, with its graph."""
    terms = [(g.double() * v.double()).sum() for g, v in zip(tensors, parts, strict=True) if g is not None]
    return torch.stack(terms).sum() if terms else torch.zeros((), dtype=torch.float64)


@contextmanager
def _differentiable(source: Source, order: int) -> Iterator[None]:
    """Kernels whose derivatives are right up to an order."""
    with ExitStack() as stack:
        stack.enter_context(twice_differentiable(source.modules))
        if order > 2:
            stack.enter_context(PrimitiveNorms())
        yield
