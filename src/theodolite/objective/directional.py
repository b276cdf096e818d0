"""How does J change along one direction: slope and curvature of each batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from theodolite.objective.isolation import isolated
from theodolite.objective.kernels import lacks_second_derivative, twice_differentiable
from theodolite.objective.params import Params
from theodolite.objective.sources import Source, gradients


@dataclass(frozen=True)
class Directional:
    """The loss of one batch along a direction d.

    Attributes:
        count: Number of examples.
        value: L(θ).
        slope: ∇L·d.
        curvature: dᵀ∇²L d; NaN if an operation has no second derivative.
    """

    count: int
    value: float
    slope: float
    curvature: float


def batch_directional(
    source: Source, theta: Tensor | None, direction: Float[Tensor, "params"], *, seed: int
) -> Iterator[Directional]:
    """Value, slope and curvature of each batch along a direction, by double backward.

    Args:
        source: The batches.
        theta: The point; None is the present one.
        direction: d.
        seed: Seed of the pinned randomness.

    Yields:
        One record a batch.

    Cost: about 3 gradients over the data; holds the graph of one batch at a time.
    """
    params = source.params
    parts = params.unflatten(direction)
    for index, (count, evaluate) in enumerate(source.terms()):
        with (
            params.placed(theta),
            isolated(source.modules, params.tensors, seed=seed + index),
            twice_differentiable(source.modules),
            torch.enable_grad(),
        ):
            loss = evaluate()
            graph = gradients(loss, params, create_graph=True)
            slope = _dot(graph, parts)
            value = float(loss.detach())
            yielded = Directional(count, value, float(slope.detach()), _curvature(slope, params, parts))
        yield yielded


def _dot(tensors: Sequence[Tensor | None], parts: tuple[Tensor, ...]) -> Tensor:
    """Sum of inner products, in float64 so that small slopes survive."""
    terms = [(g.double() * v.double()).sum() for g, v in zip(tensors, parts, strict=True) if g is not None]
    return torch.stack(terms).sum() if terms else torch.zeros((), dtype=torch.float64)


def _curvature(slope: Tensor, params: Params, parts: tuple[Tensor, ...]) -> float:
    if not slope.requires_grad:
        return 0.0
    try:
        second = list(torch.autograd.grad(slope, params.tensors, allow_unused=True))
    except (RuntimeError, NotImplementedError) as error:
        if not lacks_second_derivative(error):
            raise
        return float("nan")
    return float(_dot(second, parts))
