"""What would be gained by another move from here? Evaluated on examples that did not choose the move."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theodolite.objective import Objective
from theodolite.probes.samples import rounding_of, weighted_mean
from theodolite.records import Estimate, Rescaled, WhatIf

FACTORS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10)
"""Scalings of a real step that are tried: half decades, then decades."""

_OCTAVES = range(-14, 4)
"""A line is tried from 2⁻¹⁴ to 8 times the reach, until the quadratic model fails: what lies beyond is not local."""


@dataclass(frozen=True, eq=False)
class Split:
    """The held examples in two halves, of which one proposes and the other judges.

    Attributes:
        first: Proposes directions and lengths.
        second: Judges what they gain.
        whole: Both together: judges where the run goes on, which trains on all of them.
        is_exact: Whether both are all the data there is; gains are then exact to rounding.
    """

    first: Objective
    second: Objective
    whole: Objective
    is_exact: bool


def gain(judge: Objective, here: tuple[np.ndarray, np.ndarray], there: Tensor) -> Estimate:
    """Gain of going to a point.

    Args:
        judge: J of the examples that judge.
        here: Their batch values at the point one comes from.
        there: The point one goes to, shape (n,).

    Returns:
        J here minus J there, with its error over batches and its rounding.

    Cost: one forward pass over the judging examples.
    """
    counts, before = here
    _, after = judge.batch_values(there)
    rounding = rounding_of(float(np.abs(before).mean()), judge.dtype)
    return weighted_mean(counts, before - after, rounding=rounding)


def best_along(
    split: Split,
    theta: Float[Tensor, "params"],
    move: Float[Tensor, "params"],
    *,
    name: str,
    model: tuple[float, float],
    reach: float,
) -> WhatIf:
    """The best length of a move, as far as the local quadratic model is right.

    Lengths at which the real gain is not within a factor two of the predicted one are far jumps: they say nothing about
    local information, and are not counted.

    Args:
        split: The held examples.
        theta: The point, shape (n,).
        move: Unit direction, shape (n,).
        name: What to call the move.
        model: Slope and curvature of the proposing half along the direction.
        reach: A length to scale the trial lengths by.

    Returns:
        The move with its gain on the judging half.

    Cost: up to 19 forward passes over the proposing half, two over the judging half.
    """
    slope, bend = model
    lengths = sorted([reach * 2.0**octave for octave in _OCTAVES] + ([-slope / bend] if bend > 0 > slope else []))
    here = split.second.batch_values(theta)
    base = split.first.value(theta)
    slack = 4 * rounding_of(base, split.first.dtype)
    best, best_gain = 0.0, slack
    for length in lengths:
        predicted = -slope * length - bend * length**2 / 2
        real = base - split.first.value(theta + length * move)
        if not math.isfinite(real) or (
            predicted > slack and not predicted / 2 <= real + slack <= 2 * predicted + 2 * slack
        ):
            break
        if real > best_gain and predicted > slack:
            best, best_gain = length, real
    if best == 0.0:
        return WhatIf(name, Estimate(0.0, slack), 0.0, 0.0)
    predicted = -slope * best - bend * best**2 / 2
    return WhatIf(name, gain(split.second, here, theta + best * move), best, predicted)


def rescaled(steps: Sequence[tuple[Objective, Tensor, Tensor]], slope: Estimate) -> Rescaled:
    """The same steps, longer and shorter, judged on examples that they were not made from.

    Args:
        steps: For each step J of the examples that judge it, the point, and the step taken from there.
        slope: Mean of −G·Δθ.

    Returns:
        Mean gains by factor, with errors over steps and examples; factors beyond a loss that is not finite are NaN.

    Cost: 18 forward passes over the judging examples a step.
    """
    gains: list[list[Estimate]] = []
    for judge, theta, delta in steps:
        here = judge.batch_values(theta)
        gains.append([_gain_or_none(judge, here, theta + factor * delta) for factor in FACTORS])
    return Rescaled(FACTORS, tuple(pooled([row[i] for row in gains]) for i in range(len(FACTORS))), slope)


def _gain_or_none(judge: Objective, here: tuple[np.ndarray, np.ndarray], there: Tensor) -> Estimate:
    """The gain of going to a point; NaN where the loss refuses what it is given there, as some do with NaN."""
    try:
        return gain(judge, here, there)
    except (RuntimeError, ValueError):
        return Estimate(math.nan, math.nan, 0)


def clipped(steps: Sequence[tuple[Objective, Tensor, Tensor]], norms: Sequence[float]) -> WhatIf:
    """The same steps with gradients clipped at the median of their norms, judged on examples they were not made from.

    A step is shortened as its gradient would be: what plain descent does. The others are as they were.

    Args:
        steps: For each step J of the examples that judge it, the point, and the step taken from there.
        norms: Norm of the gradient that each was made from.

    Returns:
        The mean gain of a step, with the mean length of a step; without a gain if no norm is beyond the median.

    Cost: two forward passes over the judging examples a step.
    """
    values = np.asarray(norms, np.float64)
    finite = values[np.isfinite(values)]
    median = float(np.median(finite)) if finite.size else 0.0
    if not median > 0 or not (values > median).any():
        return WhatIf("clipping")
    factors = [min(1.0, median / norm) if math.isfinite(norm) else 0.0 for norm in values.tolist()]
    shortened = [(judge, theta, factor * delta) for (judge, theta, delta), factor in zip(steps, factors, strict=True)]
    gains = [_gain_or_none(judge, judge.batch_values(at), at + delta) for judge, at, delta in shortened]
    length = float(np.mean([float(delta.double().norm()) for _, _, delta in shortened]))
    return WhatIf("clipping", pooled(gains), length)


def pooled(estimates: Sequence[Estimate]) -> Estimate:
    """Mean over steps; its error holds their scatter and the sampling error that they share.

    Args:
        estimates: One estimate a step, on the same examples.

    Returns:
        The mean.
    """
    if not estimates:
        return Estimate(math.nan, math.nan, 0)
    mean = Estimate.mean_of([estimate.value for estimate in estimates])
    shared = float(np.mean([e.error if math.isfinite(e.error) else 0.0 for e in estimates]))
    return Estimate(mean.value, math.hypot(mean.error if mean.count > 1 else 0.0, shared), mean.count)


def ratio(parts: Sequence[float], wholes: Sequence[float]) -> Estimate:
    """Σ parts / Σ wholes with the error of a ratio of means over the same cases.

    Args:
        parts: Numerators.
        wholes: Denominators, case by case.

    Returns:
        The ratio; NaN if the denominators do not add up to more than zero.

    Source: Cochran 1977, section 2.11.
    """
    top, bottom = np.asarray(parts, np.float64), np.asarray(wholes, np.float64)
    if top.size == 0 or not bottom.sum() > 0:
        return Estimate(math.nan, math.nan, int(top.size))
    value = float(top.sum() / bottom.sum())
    if top.size == 1:
        return Estimate(value, math.nan, 1)
    spread = float(np.std(top - value * bottom, ddof=1)) / math.sqrt(top.size)
    return Estimate(value, spread / float(bottom.mean()), int(top.size))


def unit(vector: Float[Tensor, "params"]) -> Float[Tensor, "params"] | None:
    """A vector scaled to length one; None if it is zero or not finite."""
    length = float(torch.linalg.vector_norm(vector, dtype=torch.float64))
    return vector / length if length > 0 and math.isfinite(length) else None
