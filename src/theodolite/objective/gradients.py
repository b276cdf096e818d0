"""What are value and gradient of J: means over examples, batch by batch?"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from theodolite.objective.isolation import isolated
from theodolite.objective.sources import Source, gradients


def mean_value(source: Source, theta: Tensor | None, *, seed: int) -> float:
    """J at θ: the mean over examples, summed in float64."""
    total, examples = 0.0, 0
    for index, (count, evaluate) in enumerate(source.terms()):
        with (
            source.params.placed(theta),
            isolated(source.modules, source.params.tensors, seed=seed + index),
            torch.enable_grad(),
        ):
            total += count * float(evaluate().detach())
        examples += count
    return total / examples


def mean_gradient(source: Source, theta: Tensor | None, *, seed: int) -> Float[Tensor, "params"]:
    """Gradient of J at θ: the mean over examples, batch by batch."""
    params = source.params
    total = torch.zeros(params.dimension, dtype=params.dtype, device=params.device)
    examples = 0
    for count, gradient in batch_gradients(source, theta, seed=seed):
        total.add_(gradient, alpha=count)
        examples += count
    return total.div_(examples)


def batch_gradients(source: Source, theta: Tensor | None, *, seed: int) -> Iterator[tuple[int, Tensor]]:
    """Number of examples and gradient of each batch, one at a time.

    The model is free between two batches: whoever takes them may run it.

    Args:
        source: The batches.
        theta: The point; None is the present one.
        seed: Seed of the pinned randomness.

    Yields:
        Pairs of count and gradient.
    """
    for index, (count, evaluate) in enumerate(source.terms()):
        with (
            source.params.placed(theta),
            isolated(source.modules, source.params.tensors, seed=seed + index),
            torch.enable_grad(),
        ):
            gradient = source.params.flatten(gradients(evaluate(), source.params))
        yield count, gradient
