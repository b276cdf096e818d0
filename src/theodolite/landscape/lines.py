"""What is the loss along a straight line between two points?"""

import numpy as np
import torch
from jaxtyping import Float

from theodolite.errors import SettingError
from theodolite.landscape.evaluation import evaluate
from theodolite.objective import Objective
from theodolite.records.lines import Line


def line(
    objective: Objective,
    start: object,
    end: object,
    *,
    points: int = 51,
    extend: float = 0.25,
    labels: tuple[str, str] = ("start", "end"),
) -> Line:
    """Loss along θ(α) = (1−α)·start + α·end, from α = −extend to 1 + extend.

    Args:
        objective: J(θ).
        start: Point at α = 0, shape (n,).
        end: Point at α = 1, shape (n,).
        points: How many points, 0 and 1 exactly among them.
        extend: How far to go beyond both ends, in lengths of the line.
        labels: What stands at the ends.

    Returns:
        Positions, losses and their standard errors over the batches; values that are not finite are kept.

    Raises:
        SettingError: If there are too few points, or extend is negative or not finite.
        ShapeError: If an end has another shape.

    Cost: ``points`` forward passes over the data.
    Source: Goodfellow, Vinyals & Saxe 2015, section 2.

    Example:
        >>> import torch
        >>> bowl = Objective.from_function(lambda theta: theta @ theta, torch.ones(1))
        >>> line(bowl, torch.ones(1), torch.zeros(1), points=3, extend=0).losses
        array([1.  , 0.25, 0.  ])
    """
    here = objective.params.vector(start, "start")
    there = objective.params.vector(end, "end")
    alphas = positions(points, extend)
    # From zero, so that both ends are met to the bit.
    found = evaluate(objective, torch.zeros_like(here), (here, there), np.stack([1 - alphas, alphas], 1))
    return Line(alphas, found.losses, found.errors, *labels, method=found.method)


def positions(points: int, extend: float) -> Float[np.ndarray, "points"]:
    """Ascending positions from −extend to 1 + extend, even between the ends and even beyond, 0 and 1 among them.

    Args:
        points: How many.
        extend: How far beyond both ends.

    Returns:
        The positions.

    Raises:
        SettingError: If there are too few points, or extend is negative or not finite.
    """
    fewest = 4 if extend > 0 else 2
    if not 0 <= extend < float("inf"):
        raise SettingError(f"extend must be a finite number, not negative, got {extend}. 0 stays between the ends.")
    if points < fewest:
        raise SettingError(
            f"points must be at least {fewest} with extend={extend}, got {points}. Both ends are among them, and what "
            "lies beyond: take more, or extend=0."
        )
    outside = min(max(round((points - 1) * extend / (1 + 2 * extend)), 1), (points - 2) // 2) if extend > 0 else 0
    before = np.linspace(-extend, 0, outside + 1)[:-1]
    after = np.linspace(1, 1 + extend, outside + 1)[1:]
    return np.concatenate([before, np.linspace(0, 1, points - 2 * outside), after])
