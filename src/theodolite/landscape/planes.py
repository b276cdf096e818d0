"""What is the loss on a plane through a point, and where do other points fall on it?"""

import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from numbers import Integral, Real
from operator import index
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from theodolite.errors import SettingError
from theodolite.landscape.batch_norm import notes_of_statistics
from theodolite.landscape.evaluation import evaluate
from theodolite.landscape.points import point_of
from theodolite.landscape.refinement import Filled, Hierarchy, lower, widest_gap, worst
from theodolite.linalg.settings import check_tolerance
from theodolite.objective import Objective
from theodolite.records.lines import Evaluations
from theodolite.records.planes import Plane, Track

Extent = float | tuple[float, float] | tuple[tuple[float, float], tuple[float, float]]
_SLIGHT = 1e-3
"""Sine of the angle below which a direction adds nothing to another that numbers would not blur."""

_ROUNDING = 1e-6
"""Share of the greatest loss below which errors of interpolation are as small as those of a loss in float32."""

_MARGIN = 0.15
"""How far a picture goes beyond the points in it, in their spread."""

_PARALLEL = 1e-6
"""Sine of the angle between two directions below which they span a line."""


def plane(  # noqa: PLR0913  # a point, two directions, where to look, and how
    objective: Objective,
    origin: object,
    x: object,
    y: object,
    *,
    points: int | tuple[int, int] = 51,
    extent: Extent | None = None,
    tracks: Sequence[Track] = (),
    tolerance: float | None = None,
    budget: int | None = None,
    names: tuple[str, str] = ("x", "y"),
    preview: bool = False,
    executor: Executor | None = None,
    progress: bool = False,
) -> Plane:
    """Loss on θ(a, b) = origin + a·x + b·y.

    Args:
        objective: J(θ).
        origin: The point at (0, 0): a vector of shape (n,), or tensors by name.
        x: First direction, shape (n,), taken at its length: the axis counts in multiples of it.
        y: Second direction, not parallel to x; it need not be orthogonal.
        points: How many values of a and of b, or one number for both; 0 is exactly among them if the extent holds it.
        extent: How far to go: ``r`` for −r ≤ a, b ≤ r; ``(r, s)`` for −r ≤ a ≤ r and −s ≤ b ≤ s; or
            ``((a₀, a₁), (b₀, b₁))``. None is as far as the tracks go with a margin, or 1 where there are none.
        tracks: Points to be drawn on this plane, as ``track`` and ``pca_plane`` give them.
        tolerance: J is measured where it must be, and interpolated between, until the expected error is everywhere
            below this share of the range of the finite losses; 0.01 is a hundredth. None measures everywhere.
        budget: How many points may be measured.
        names: What x and y are.
        preview: Whether a forward pass in bfloat16 will do.
        executor: Where points are evaluated beside this process.
        progress: Whether to draw a progress bar on a terminal.

    Returns:
        The grid with its losses; values that are not finite are kept.

    Raises:
        SettingError: If the directions are zero, not finite or parallel, there are fewer than 2 × 2 points, the extent
            is empty or not finite, the tolerance is negative or not finite, or the budget too small for a first look.
        ShapeError: If a vector has another shape.

    Cost: points × points forward passes over the data; with a tolerance of 0.01 a twentieth to a tenth of them
    for a net on its training data.
    Limits: one plane through n dimensions: what lies beside it is not seen. With a tolerance or budget, a bump that
    touches no measured point is not seen either; the notes say how large it could be. A ridge along an axis is met
    however narrow; of 400 slanting ones, half a cell to four cells wide, none was missed, but where features are that
    narrow the true error was up to four times the tolerance. The range counts the highest corner, so that what is low
    is less exact in proportion: look at it in a smaller extent.

    Example:
        >>> bowl = Objective.from_function(lambda theta: theta @ theta, torch.zeros(2))
        >>> plane(bowl, torch.zeros(2), torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0]), points=(3, 3)).losses
        array([[5., 4., 5.],
               [1., 0., 1.],
               [5., 4., 5.]])
    """
    here = point_of(objective, origin, "origin")
    first, second = objective.params.vector(x, "x"), objective.params.vector(y, "y")
    lengths, cosine = _checked(first, second)
    x_name, y_name = _two("names", names)
    a, b = _axes(points, (extent_of(tracks) if tracks else 1.0) if extent is None else extent)

    def at(cells: Int[np.ndarray, "cells 2"]) -> Evaluations:
        shares = np.stack([b[cells[:, 0]], a[cells[:, 1]]], 1)
        return evaluate(objective, here, (second, first), shares, preview=preview, executor=executor, progress=progress)

    hierarchy = Hierarchy.of(b, a)
    start = np.ones((len(b), len(a)), bool) if tolerance is None and budget is None else hierarchy.first
    aim = _aim(tolerance, budget, int(start.sum()))
    found, measured, method = _measured(at, hierarchy, start, aim)
    picture = Plane(
        a, b, found.values, lengths, cosine,
        x_name=x_name, y_name=y_name, tracks=tuple(tracks), notes=notes_of_statistics(objective), method=method,
    )  # fmt: skip
    return picture if measured.all() else _in_part(picture, measured, found, aim)


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


def extent_of(tracks: Sequence[Track]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where tracks are: all feet that are finite, and the origin, with a margin.

    Args:
        tracks: The tracks.

    Returns:
        First and last value of each coordinate.
    """
    return _around([track.x for track in tracks]), _around([track.y for track in tracks])


def _around(sides: Sequence[Float[np.ndarray, "points"]]) -> tuple[float, float]:
    """An interval around values and 0, with a margin."""
    values = np.concatenate([np.zeros(1), *sides])
    finite = values[np.isfinite(values)]
    low, high = float(finite.min()), float(finite.max())
    margin = _MARGIN * (high - low) or 1.0
    return low - margin, high + margin


def project(
    origin: Float[Tensor, "params"],
    x: Float[Tensor, "params"],
    y: Float[Tensor, "params"] | None,
    points: Iterable[Float[Tensor, "params"]],
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
        way = point.to(origin.device, torch.float64) - origin.double()
        at = torch.linalg.solve(gram, basis.T @ way)
        rows.append([*at.tolist(), float((way - basis @ at).norm()), float(way.norm())])
    table = np.array(rows, np.float64).reshape(-1, basis.shape[1] + 2)
    second = table[:, 1] if y is not None else np.zeros(len(table))
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


def _axes(points: Any, extent: Any) -> tuple[Float[np.ndarray, "grid_x"], Float[np.ndarray, "grid_y"]]:
    """The values of a and of b, of what a caller asks for."""
    counts = (points, points) if isinstance(points, Integral) else _two("points", points)
    sides = (extent, extent) if isinstance(extent, Real) else _two("extent", extent)
    ends = [(-side, side) if isinstance(side, Real) else _two("extent", side) for side in sides]
    across, up = (grid(float(low), float(high), index(count)) for (low, high), count in zip(ends, counts, strict=True))
    return across, up


def _two(name: str, pair: Any) -> tuple[Any, Any]:
    """Both parts of a pair."""
    try:
        first, second = pair
    except (TypeError, ValueError) as error:
        raise SettingError(f"{name} must be two, the first for x and the second for y, got {pair!r}.") from error
    return first, second


@dataclass(frozen=True)
class _Aim:
    """When to stop measuring.

    Attributes:
        tolerance: At this expected error, as a share of the range.
        budget: At so many points.
    """

    tolerance: float
    budget: int


def _aim(tolerance: float | None, budget: int | None, fewest: int) -> _Aim:
    """The aim, checked; a budget alone is spent."""
    if tolerance is not None:
        check_tolerance("tolerance", tolerance)
    if budget is not None and budget < fewest:
        raise SettingError(
            f"budget must be at least {fewest} to look at all parts of the plane once, got {budget}. Raise it, or take "
            "fewer points."
        )
    return _Aim(tolerance or 0.0, sys.maxsize if budget is None else budget)


def _measured(
    at: Callable[[Int[np.ndarray, "cells 2"]], Evaluations],
    hierarchy: Hierarchy,
    start: Bool[np.ndarray, "grid_y grid_x"],
    aim: _Aim,
) -> tuple[Filled, Bool[np.ndarray, "grid_y grid_x"], str]:
    """The losses, measured from ``start`` on where they are least known; which were; and how."""
    measured, values = np.zeros_like(start), np.full(start.shape, np.nan)
    cells, methods = np.argwhere(start), []
    while len(cells):
        found = at(cells)
        places = tuple(cells.T)
        values[places], measured[places] = found.losses, True
        methods.append(found.method)
        filled = hierarchy.fill(measured, values)
        finite = values[np.isfinite(values)]
        rounding = _ROUNDING * float(np.abs(finite).max()) if finite.size else 0.0
        bound = max(aim.tolerance * float(np.ptp(finite)), rounding) if finite.size else 0.0
        left = aim.budget - int(measured.sum())
        cells = worst(filled, hierarchy.levels, tolerance=bound, count=left)
        if not len(cells):
            cells = lower(filled, measured, tolerance=rounding, count=left)
    return filled, measured, "; ".join(dict.fromkeys(methods))


def _in_part(picture: Plane, measured: Bool[np.ndarray, "grid_y grid_x"], found: Filled, aim: _Aim) -> Plane:
    """What to know of a picture that is interpolated in part."""
    gap, error = widest_gap(measured), float(found.errors.max())
    notes = [
        *picture.notes,
        f"What fits between the points where J was measured, at most {gap} × {gap} points wide, may have been missed.",
    ]
    if measured.sum() >= aim.budget:
        notes.append(f"The budget of {aim.budget} points was spent.")
    return replace(picture, measured=measured, interpolation_error=error, notes=tuple(notes))
