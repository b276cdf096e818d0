"""How is J evaluated at many points that lie on one line, plane or flat?"""

from collections.abc import Sequence
from time import perf_counter

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theodolite.errors import ShapeError
from theodolite.objective import Objective
from theodolite.records.lines import Evaluations


def evaluate(
    objective: Objective,
    origin: object,
    directions: Sequence[object],
    coefficients: Float[np.ndarray, "points directions"],
) -> Evaluations:
    """J at the points θ = origin + Σₖ cₖ·directionₖ.

    Args:
        objective: J(θ).
        origin: Where all coefficients are 0, shape (n,).
        directions: Vectors of shape (n,).
        coefficients: c, a row a point, a column a direction.

    Returns:
        One loss a point with its standard error over the batches.

    Raises:
        ShapeError: If a vector has another shape than θ, or there is not one column of coefficients a direction.

    Cost: one forward pass over the data a point.
    """
    here = objective.params.vector(origin, "origin")
    ways = [objective.params.vector(way, "direction") for way in directions]
    rows = np.asarray(coefficients, np.float64)
    if rows.ndim != 2 or rows.shape[1] != len(ways):
        raise ShapeError(
            f"coefficients must have shape (points, {len(ways)}), got {rows.shape}. Give one column a direction."
        )
    start = perf_counter()
    found = [mean_and_error(*objective.batch_values(_point(here, ways, row))) for row in rows]
    losses, errors = np.array(found, np.float64).reshape(len(rows), 2).T
    return Evaluations(losses, errors, "one by one", perf_counter() - start)


def _point(origin: Tensor, ways: Sequence[Tensor], row: Float[np.ndarray, "directions"]) -> Tensor:
    """One point of the flat."""
    theta = origin.clone()
    for share, way in zip(row.tolist(), ways, strict=True):
        theta = torch.add(theta, way, alpha=share)
    return theta


def mean_and_error(counts: Float[np.ndarray, "batches"], losses: Float[np.ndarray, "batches"]) -> tuple[float, float]:
    """Mean over examples, and its standard error from the scatter over batches.

    Args:
        counts: Examples of each batch.
        losses: Mean loss of each batch.

    Returns:
        Σwl/Σw and the square root of B/(B−1) Σw²(l − mean)² / (Σw)²; the error is NaN for one batch.

    Source: Cochran 1977, section 2.11 (ratio estimate).
    """
    mean = float(np.dot(counts, losses) / counts.sum())
    size = len(counts)
    if size < 2 or not np.isfinite(mean):
        return mean, float("nan")
    scatter = float(np.sum(counts**2 * (losses - mean) ** 2))
    return mean, float(np.sqrt(size / (size - 1) * scatter) / counts.sum())
