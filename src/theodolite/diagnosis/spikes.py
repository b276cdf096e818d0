"""Which gradients stand out of those around them, and did one of them throw the run back?"""

import math

import numpy as np
from jaxtyping import Float

from theodolite.records import MISSING, Estimate, Series, Trail

SPIKE = 8.0
"""Norms of batch gradients of healthy nets scatter by a factor of two to four about those around them."""

_AROUND = 9
"""A single gradient is held against so many before it and as many after."""


def spike(norms: Float[np.ndarray, "steps"]) -> float:
    """How far single gradients stand out: the greatest ratio of a norm to the median of those around it.

    Args:
        norms: Norms in order; those that are not finite are left out.

    Returns:
        The ratio, over windows of nine before and nine after; NaN with fewer than nine norms, or where a median is 0.
    """
    found = _ratios(norms[np.isfinite(norms)])
    return float(found.max()) if found.size else math.nan


def thrown_back(norms: Series, came: Trail) -> Estimate:
    """How far J stands above the least that the run had come down to before a gradient stood out.

    Args:
        norms: The recorded gradient norms.
        came: The points that the run came through.

    Returns:
        J at the end minus that, with its error, after the gradient that cost most; missing if none stood out, or J came
        down again.
    """
    finite = np.isfinite(norms.values)
    at, found = norms.steps[finite], _ratios(norms.values[finite])
    places = [np.flatnonzero(came.steps <= step) for step in at[found > SPIKE]]
    lows = [int(before[np.argmin(came.losses[before])]) for before in places if before.size]
    lost = [
        Estimate(float(came.losses[-1] - came.losses[low]), float(math.hypot(came.errors[-1], came.errors[low])))
        for low in lows
    ]
    most = max(lost, key=lambda one: one.value, default=MISSING)
    return most if most.value > 0 else MISSING


def _ratios(seen: Float[np.ndarray, "steps"]) -> Float[np.ndarray, "steps"]:
    """Each norm over the median of those around it; NaN where there are too few, or a median is 0."""
    if seen.size < _AROUND:
        return np.full(seen.size, np.nan)
    padded = np.pad(seen, _AROUND, mode="reflect" if seen.size > _AROUND else "edge")
    medians = np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * _AROUND + 1), axis=1)
    return seen / medians if (medians > 0).all() else np.full(seen.size, np.nan)
