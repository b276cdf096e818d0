"""What is the loss on a plane through a point, and where do other points fall on it?"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theodolite.errors import SettingError
from theodolite.objective import Objective
from theodolite.records.planes import Plane, Track

Extent = float | tuple[float, float] | tuple[tuple[float, float], tuple[float, float]]
_SLIGHT = 1e-3
"""Sine of the angle below which a direction adds nothing to another that numbers would not blur."""

_PARALLEL = 1e-6
"""Sine of the angle between two directions below which they span a line."""


def plane(
    objective: Objective,
    origin: object,
    x: object,
    y: object,
    *,
    points: tuple[int, int] = (51, 51),
    extent: Extent = 1.0,
) -> Plane:
    """Loss on θ(a, b) = origin + a·x + b·y.

    Args:
        objective: J(θ).
        origin: The point at (0, 0), shape (n,).
        x: First direction, shape (n,), taken at its length.
        y: Second direction, not parallel to x; it need not be orthogonal.
        points: How many values of a and of b; 0 is exactly among them where the extent holds it.
        extent: How far to go: ``r`` for −r ≤ a, b ≤ r; ``(r, s)`` for −r ≤ a ≤ r and −s ≤ b ≤ s; or
            ``((a₀, a₁), (b₀, b₁))``.

    Returns:
        The grid with its losses; values that are not finite are kept.

    Raises:
        SettingError: If the directions are zero, not finite or parallel, there are fewer than 2 × 2 points, or the
            extent is empty or not finite.
        ShapeError: If a vector has another shape.

    Cost: points × points forward passes over the data.
    Limits: one plane through n dimensions: what lies beside it is not seen.

    Example:
        >>> bowl = Objective.from_function(lambda theta: theta @ theta, torch.zeros(2))
        >>> plane(bowl, torch.zeros(2), torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0]), points=(3, 3)).losses
        array([[5., 4., 5.],
               [1., 0., 1.],
               [5., 4., 5.]])
    """
    here = objective.params.vector(origin, "origin")
    first, second = objective.params.vector(x, "x"), objective.params.vector(y, "y")
    lengths, cosine = _checked(first, second)
    across, up = _ends(extent)
    a, b = grid(*across, points[0]), grid(*up, points[1])
    rows = [objective.values(here + v * second + u * first for u in a.tolist()).numpy() for v in b.tolist()]
    return Plane(a, b, np.stack(rows), lengths, cosine)


def grid(low: float, high: float, points: int) -> Float[np.ndarray, "points"]:
    """Ascending values from low to high, even on each side of 0, which is among them if it lies between.

    Args:
        low: First value.
        high: Last value.
        points: How many.

    Returns:
        The values.

    Raises:
        SettingError: If there are fewer than two points, fewer than three around 0, or low is not below high.
    """
    if not -np.inf < low < high < np.inf:
        raise SettingError(f"an extent must go from a finite value to a greater one, got {low} to {high}.")
    fewest = 3 if low < 0 < high else 2
    if points < fewest:
        raise SettingError(f"points must be at least {fewest} from {low} to {high}, got {points}. Take more.")
    if not low < 0 < high:
        return np.linspace(low, high, points)
    before = min(max(round((points - 1) * -low / (high - low)), 1), points - 2)
    return np.concatenate([np.linspace(low, 0, before + 1)[:-1], np.linspace(0, high, points - before)])


def project(
    origin: Float[Tensor, "params"],
    x: Float[Tensor, "params"],
    y: Float[Tensor, "params"] | None,
    points: Sequence[Float[Tensor, "params"]],
    *,
    name: str,
) -> Track:
    """Where points fall on a plane, or on a line: the nearest point of it, in its own coordinates, and how far off.

    Args:
        origin: The point at (0, 0), shape (n,).
        x: First direction, shape (n,).
        y: Second direction, not parallel to x; None for the line along x.
        points: The points, shape (n,) each.
        name: What to call them.

    Returns:
        Coordinates in multiples of x and y, and the distances to the plane, which are right to rounding of θ.

    Cost: a few inner products a point.
    """
    basis = torch.stack([v.double() for v in (x, y) if v is not None], 1)
    gram = basis.T @ basis
    rows = []
    for point in points:
        way = point.to(origin).double() - origin.double()
        at = torch.linalg.solve(gram, basis.T @ way)
        rows.append([*at.tolist(), float((way - basis @ at).norm()), float(way.norm())])
    table = np.array(rows, np.float64).reshape(len(points), basis.shape[1] + 2)
    second = table[:, 1] if y is not None else np.zeros(len(points))
    return Track(name, table[:, 0], second, table[:, -2], table[:, -1])


def beside(way: Float[Tensor, "params"], x: Float[Tensor, "params"]) -> Float[Tensor, "params"] | None:
    """Unit vector of the part of a direction that is orthogonal to a unit vector.

    Args:
        way: The direction, shape (n,).
        x: The unit vector, shape (n,).

    Returns:
        The vector in the type of x; None if less than a thousandth of the direction is orthogonal, or it is zero or not
        finite.
    """
    wide, base = way.double(), x.double()
    length = float(wide.norm())
    if not 0 < length < np.inf:
        return None
    for _ in range(2):  # once more takes off the rounding of the first time
        wide = wide - (wide @ base) * base
    left = float(wide.norm())
    return (wide / left).to(x) if left > _SLIGHT * length else None


def _checked(x: Tensor, y: Tensor) -> tuple[tuple[float, float], float]:
    """Lengths of two directions and the cosine between them, if they span a plane."""
    lengths = [float(v.double().norm()) for v in (x, y)]
    for name, length in zip("xy", lengths, strict=True):
        if not 0 < length < np.inf:
            raise SettingError(
                f"direction {name} must be finite and not zero, got a vector of norm {length}. Any length but 0 fits."
            )
    first, second = x.double() / lengths[0], y.double() / lengths[1]
    cosine = float(first @ second)
    if float((second - cosine * first).norm()) < _PARALLEL:
        raise SettingError(f"x and y must span a plane, but their cosine is {cosine:.6f}. Take another direction.")
    return (lengths[0], lengths[1]), cosine


def _ends(extent: Extent) -> tuple[tuple[float, float], tuple[float, float]]:
    """An extent written out."""
    first, second = extent if isinstance(extent, tuple) else (extent, extent)
    across = first if isinstance(first, tuple) else (-first, first)
    up = second if isinstance(second, tuple) else (-second, second)
    return across, up
