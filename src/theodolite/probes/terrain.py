"""What lies further off than any local model is right?"""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theodolite.objective import Objective
from theodolite.probes.samples import rounding_of, weighted_mean
from theodolite.probes.whatifs import gain, unit
from theodolite.records import Estimate, Known, Ray

FURTHEST = 12
"""A ray is followed over so many doublings of its first length."""

_LINE_POINTS = 17
_FEW_PARAMS = 64
"""Up to so many parameters, points at random have a chance to find a lower loss."""

_RANDOM_POINTS = 160


def ray(
    judge: Objective,
    theta: Float[Tensor, "params"],
    direction: Float[Tensor, "params"],
    *,
    name: str,
    first: float,
    downhill: Float[Tensor, "params"] | None = None,
) -> Ray | None:
    """J along a straight line at lengths that double.

    Args:
        judge: J(θ).
        theta: Where the line begins, shape (n,).
        direction: Where it goes, shape (n,), of any length but zero.
        name: What to call it.
        first: The first length.
        downhill: Unit vector along −G, for the cosine.

    Returns:
        The ray; None if the direction has no length. It ends at the first loss that is not finite.

    Cost: 14 forward passes.
    """
    way = unit(direction)
    if way is None or not first > 0:
        return None
    counts, here = judge.batch_values(theta)
    base = weighted_mean(counts, here).value
    lengths, losses, errors = [0.0], [base], [0.0]
    for doubling in range(FURTHEST + 1):
        length = first * 2.0**doubling
        _, there = judge.batch_values(theta + length * way)
        change = weighted_mean(counts, there - here, rounding=rounding_of(base, judge.dtype))
        lengths.append(length)
        losses.append(base + change.value)
        errors.append(change.error if math.isfinite(change.error) else 0.0)
        if not math.isfinite(change.value):
            break
    cosine = float(way.double() @ downhill.double()) if downhill is not None else math.nan
    return Ray(name, np.array(lengths), np.array(losses), np.array(errors), cosine)


def known(
    judge: Objective,
    theta: Float[Tensor, "params"],
    better: Float[Tensor, "params"],
    *,
    source: str,
    downhill: Float[Tensor, "params"] | None = None,
    gone: Float[Tensor, "params"] | None = None,
) -> Known:
    """A better point, and what lies on the straight line there.

    Args:
        judge: J(θ).
        theta: Where one stands, shape (n,).
        better: The better point, shape (n,).
        source: How it was found.
        downhill: Unit vector along −G.
        gone: The way that the run has gone, θ − start.

    Returns:
        Its gain, distance, direction and barrier.

    Cost: 18 forward passes.
    """
    way = better - theta
    here = judge.batch_values(theta)
    base = weighted_mean(*here).value
    between = [judge.value(theta + float(at) * way) for at in np.linspace(0.0, 1.0, _LINE_POINTS)[1:-1]]
    towards, length = unit(way), float(way.double().norm())
    came = unit(gone) if gone is not None else None
    along = [
        float(towards.double() @ other.double()) if towards is not None and other is not None else math.nan
        for other in (downhill, came)
    ]
    highest = max(between, key=lambda value: value if math.isfinite(value) else math.inf)
    return Known(source, gain(judge, here, better), length, along[0], highest - base, along[1])


def lowest_at_random(
    judge: Objective, theta: Float[Tensor, "params"], radius: float, generator: torch.Generator
) -> Float[Tensor, "params"] | None:
    """The lowest of many points drawn around one: Gaussian, at a half to eight times a radius.

    Args:
        judge: J(θ).
        theta: The middle, shape (n,).
        radius: A length to scale the distances by.
        generator: Source of randomness.

    Returns:
        The lowest point, if it is lower than the middle; None otherwise, or with more than 64 parameters.

    Cost: 161 forward passes.
    """
    size = theta.numel()
    if size > _FEW_PARAMS or not radius > 0:
        return None
    draws = torch.randn(_RANDOM_POINTS, size, generator=generator, device=theta.device, dtype=torch.float32)
    scales = radius * 2.0 ** torch.linspace(-1, 3, _RANDOM_POINTS, device=theta.device) / math.sqrt(size)
    points = theta + (scales[:, None] * draws).to(theta)
    values = np.array([judge.value(point) for point in points])
    values = np.where(np.isfinite(values), values, np.inf)
    best = int(np.argmin(values))
    return points[best] if values[best] < judge.value(theta) else None


def turned(counts: np.ndarray, values: Float[np.ndarray, "points batches"]) -> tuple[Estimate, int]:
    """How far a validation loss has risen above its least, both taken over three points in a row.

    Args:
        counts: Examples in each validation batch.
        values: Loss of each batch at each point of the run.

    Returns:
        The rise with the error of the difference over the batches, and the place of the least.
    """
    if len(values) < 3:
        return Estimate(math.nan, math.nan, 0), 0
    smooth = np.stack([values[i : i + 3].mean(0) for i in range(len(values) - 2)])
    means = smooth @ counts / counts.sum()
    least = int(np.argmin(np.where(np.isfinite(means), means, np.inf)))
    return weighted_mean(counts, smooth[-1] - smooth[least]), least + 1
