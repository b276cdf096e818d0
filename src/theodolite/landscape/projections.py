"""What does a training look like from outside: in the plane of its principal components, and beside a straight line?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from theodolite.errors import SettingError, ShapeError
from theodolite.landscape.batch_norm import notes_of_statistics
from theodolite.landscape.directions import Frame
from theodolite.landscape.evaluation import evaluate
from theodolite.landscape.planes import extent_of, grid
from theodolite.landscape.points import bare
from theodolite.landscape.trajectories import Origin, Trajectory, gram_matrix, pieces_from
from theodolite.objective import Objective
from theodolite.records.planes import Track
from theodolite.records.trajectories import Components, Projection

_RANK = 1e-13
"""Share of the variance below which a component is rounding of the Gram matrix."""

_ON_LINE = 1e-9
"""Share of the distance from the start below which a point has no side of the line on which it lies."""


_TOLD = 4
"""So many steps are told by their number."""


@dataclass(frozen=True, eq=False)
class PrincipalPlane:
    """The plane of the first two principal components: ``plane(objective, *found, tracks=(found.track,))``.

    Attributes:
        frame: Origin, and the unit vectors of both components, in the type of the points.
        components: Shares of the variance, and coordinates.
        track: The points as they fall on the plane, and how far off they are; with J at the points if it was measured.
        feet: J at their feet; empty if it was not measured. What a picture shows under a point is this.
    """

    frame: Frame
    components: Components
    track: Track
    feet: Float[np.ndarray, "measured"]

    def __iter__(self) -> Iterator[Tensor]:
        """Origin, x and y."""
        return iter(self.frame)

    @property
    def gaps(self) -> Float[np.ndarray, "measured"]:
        """J at each point less J at its foot: how far the point stands above the surface that is drawn."""
        return np.asarray(self.track.losses - self.feet)

    @property
    def extent(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Where to draw: all feet and the origin, with a margin."""
        return extent_of((self.track,))


@dataclass(frozen=True, eq=False)
class _Axes:
    """Principal axes in terms of the points: axis = mixture @ (points − origin), a row an axis."""

    places: Int[np.ndarray, "points"]
    mixture: Float[np.ndarray, "components points"]
    coordinates: Float[np.ndarray, "points components"]
    shares: Float[np.ndarray, "components"]
    distances: Float[np.ndarray, "points"]
    origin: Origin


def principal_components(
    trajectory: Trajectory, *, count: int = 2, origin: Origin = "end", objective: Objective | None = None
) -> Components:
    """Principal components of a trajectory, by its Gram matrix.

    With G = (X − o)(X − o)ᵀ of the points X and J = I − 11ᵀ/N: JGJ u = λu gives the component (X − o)ᵀu/√λ, which holds
    the share λ/tr JGJ of the variance about the mean. Coordinates are taken from o, through which a picture is laid.

    Args:
        trajectory: At least two points; those that are not finite are left out, and ``steps`` lists the others.
        count: How many components.
        origin: What stands at 0: the last point, the first one, or the mean.
        objective: Measures J at the points; None leaves ``losses`` empty.

    Returns:
        Coordinates and shares; zero for components that the points do not have. The sign of a component is such that
        the first point has a positive coordinate, or the last one where the first is at 0.

    Raises:
        SettingError: If fewer than two points are finite, count is not in 1 to the number of points, or the origin is
            another word.
        ShapeError: If the objective is one of another θ.

    Cost: N² products a parameter and two passes over the points; holds pieces of them, 24 MiB at a time, never all.
    With an objective a forward pass over its data a point.
    Limits: a component whose share is below 1e-13 is given as zero.

    Example:
        >>> bent = Trajectory.from_points([torch.tensor(p) for p in ([4.0, 0.0], [2.0, 1.0], [0.0, 0.0])])
        >>> principal_components(bent).shares.round(3)
        array([0.923, 0.077])
    """
    trajectory.check(objective)
    return _components(trajectory, _axes(trajectory, count, origin), objective)


def pca_plane(trajectory: Trajectory, *, origin: Origin = "end", objective: Objective | None = None) -> PrincipalPlane:
    """The plane of the first two principal components of a trajectory, and its points as they fall on it.

    Args:
        trajectory: At least three points that do not lie on one line.
        origin: What stands at (0, 0).
        objective: Measures J at the points and at their feet in the plane; None leaves both out.

    Returns:
        Origin and unit directions, and the track with the distance of each point from the plane.

    Raises:
        SettingError: As ``principal_components`` does, and if the points lie on one line.
        ShapeError: If the objective is one of another θ.

    Cost: that of ``principal_components``; with an objective two forward passes over its data a point.
    Source: Li et al. 2018, section 7, where neither distances nor gaps are told.
    """
    trajectory.check(objective)
    axes = _axes(trajectory, 2, origin)
    if not axes.shares[1] > 0:
        raise SettingError("points must span a plane, but lie on one line. Draw line(objective, start, end) instead.")
    found = _components(trajectory, axes, objective)
    vectors = np.empty((3, trajectory.dimension))
    for place, base, away in pieces_from(trajectory, axes.places, origin):
        vectors[0, place], vectors[1:, place] = base, axes.mixture @ away
    like = trajectory.point(int(axes.places[-1])).dtype
    frame = Frame(*torch.from_numpy(vectors).to(like))
    feet = np.zeros(0)
    if objective is not None:
        feet = evaluate(objective, frame.origin, frame[1:], found.coordinates).losses
    x, y = found.coordinates.T
    track = Track("path", x, y, found.outside, found.distances, found.losses, found.steps)
    return PrincipalPlane(frame, found, track, feet)


def project(
    trajectory: Trajectory,
    start: object,
    end: object,
    *,
    objective: Objective | None = None,
    offsets: int | Float[np.ndarray, "offsets"] | None = None,
    rows: int | Sequence[int] = 32,
) -> Projection:
    """A trajectory beside the straight line from start to end: progress α, residual β, loss.

    With u the unit vector from start to end: α = (θ − start)·u and β = ‖θ − start − αu‖ of each point θ.

    Args:
        trajectory: The points.
        start: Where the line begins, most often ``trajectory.point(0)``: a vector of shape (n,), or tensors by name.
        end: Where it ends, likewise.
        objective: Measures J at the points, and on the lines across.
        offsets: Distances r from the line at which J is measured on the line through each point and its foot, where the
            point itself stands at r = β; or how many, from −max β to 1.25 max β, with 0 among them. None measures none.
        rows: Through which points, by place, or how many of them, evenly chosen.

    Returns:
        One row a point. A row through a point that lies on the line itself looks to the side of the nearest row that
        has one, and ``notes`` says so.

    Raises:
        SettingError: If start and end are one point or not finite, offsets are asked for without an objective or do not
            ascend, or a row is no point.
        ShapeError: If start or end has another shape than the points, or the objective is one of another θ.

    Cost: two passes over the points; with an objective a forward pass over its data a point, and one an offset and row.
    Limits: the surface is no plane: neighbouring rows look to different sides.
    Source: Goodfellow, Vinyals & Saxe 2015, section 5 and figures 13 to 20.
    """
    trajectory.check(objective)
    here, there = (_vector(value, name, trajectory) for value, name in ((start, "start"), (end, "end")))
    length = float(np.linalg.norm(there - here))
    if not 0 < length < np.inf:
        raise SettingError(f"start and end must be two finite points, but lie {length} apart. Take others.")
    unit = (there - here) / length
    along, beside = _beside(trajectory, here, unit)
    found = Projection(trajectory.steps, along, beside, length=length)
    if objective is None:
        if offsets is not None:
            raise SettingError("lines across need an objective, got offsets alone. Give objective=.")
        return found
    losses = _losses(trajectory, np.arange(len(trajectory)), objective)
    found = replace(found, losses=losses, notes=notes_of_statistics(objective))
    if offsets is None:
        return found
    places, r = _places(rows, len(trajectory)), _offsets(offsets, beside)
    places = places[np.isfinite(beside[places])]
    feet = _Feet(trajectory, here, unit, along, beside)
    return _across(found, objective, feet, places=places, offsets=r)


def _beside(
    trajectory: Trajectory, start: Float[np.ndarray, "params"], unit: Float[np.ndarray, "params"]
) -> tuple[Float[np.ndarray, "points"], Float[np.ndarray, "points"]]:
    """Progress and residual of each point; in one pass less, a residual of 1e-8 would be left where there is none."""
    along, beside = np.zeros(len(trajectory)), np.zeros(len(trajectory))
    with np.errstate(invalid="ignore"):  # of points that are not finite
        for place, points in trajectory.pieces():
            along += (points - start[place]) @ unit[place]
        for place, points in trajectory.pieces():
            rest = np.subtract(points, start[place], out=points)
            beside += _squares(np.subtract(rest, along[:, None] * unit[place], out=rest))
    return along, np.sqrt(beside)


@dataclass(frozen=True, eq=False)
class _Feet:
    """Feet of the points of a trajectory on a line, and the way from each to its point."""

    trajectory: Trajectory
    start: Float[np.ndarray, "params"]
    unit: Float[np.ndarray, "params"]
    along: Float[np.ndarray, "points"]
    beside: Float[np.ndarray, "points"]

    def foot(self, place: int) -> Float[np.ndarray, "params"]:
        """The foot of a point."""
        return np.asarray(self.start + self.along[place] * self.unit)

    def has_side(self, place: int) -> bool:
        """Whether the point lies off the line, beyond rounding."""
        return bool(self.beside[place] > _ON_LINE * np.hypot(self.along[place], self.beside[place]))

    def side(self, place: int) -> Float[np.ndarray, "params"]:
        """Unit vector from the foot to the point."""
        way = self.trajectory.point(place).double().numpy() - self.foot(place)
        return np.asarray(way / np.linalg.norm(way))


def _across(
    found: Projection,
    objective: Objective,
    feet: _Feet,
    *,
    places: Int[np.ndarray, "rows"],
    offsets: Float[np.ndarray, "offsets"],
) -> Projection:
    """Measure J on the lines across."""
    sided = np.array([place for place in places.tolist() if feet.has_side(place)], np.int64)
    if not sided.size:
        return replace(found, notes=(*found.notes, "Every point lies on the line: there is no way across."))
    notes = _alone(found.steps[places[~np.isin(places, sided)]])
    rows, method = [], ""
    for place in places.tolist():
        nearest = int(sided[np.argmin(np.abs(sided - place))])
        ways = (torch.from_numpy(feet.side(nearest)),)
        row = evaluate(objective, torch.from_numpy(feet.foot(place)), ways, offsets[:, None])
        rows.append(row.losses)
        method = row.method
    surface = np.array(rows).reshape(len(places), len(offsets))
    return replace(found, offsets=offsets, surface=surface, across=places, method=method, notes=(*found.notes, *notes))


def _alone(steps: Int[np.ndarray, "points"]) -> tuple[str, ...]:
    """That points on the line have no side of their own."""
    if not steps.size:
        return ()
    told = ", ".join(str(step) for step in steps[:_TOLD]) + (f" and {steps.size - _TOLD} more" * (steps.size > _TOLD))
    if steps.size == 1:
        return (f"The point of step {told} lies on the line; its row looks to the side of the nearest row.",)
    return (f"The points of steps {told} lie on the line; their rows look to the side of the nearest row.",)


def _axes(trajectory: Trajectory, count: int, origin: Origin) -> _Axes:
    """Principal axes of the points that are finite."""
    if origin not in ("end", "mean", "start"):
        raise SettingError(f'origin must be "end", "mean" or "start", got {origin!r}.')
    places, gram = gram_matrix(trajectory, origin)
    size = len(places)
    if size < 2:
        raise SettingError(
            f"at least two points must be finite, got {size} of {len(trajectory)}. Keep more on the way."
        )
    if not 1 <= count <= size:
        raise SettingError(f"count must be from 1 to the {size} points, got {count}.")
    centred = gram - gram.mean(0) - gram.mean(1)[:, None] + gram.mean()
    values, vectors = np.linalg.eigh((centred + centred.T) / 2)
    values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count]
    # Of a small component rounding leaves a part along 1, which the way from the mean to the origin would blow up.
    vectors -= vectors.mean(0)
    total = float(np.trace(centred))
    holds = values > _RANK * max(total, 0.0)
    scale = np.where(holds, 1 / np.sqrt(np.where(holds, values, 1.0)), 0.0)
    coordinates = gram @ (vectors * scale)
    ends = coordinates[-1] if origin == "start" else coordinates[0]
    signs = np.where(ends < 0, -1.0, 1.0)
    return _Axes(
        places=places,
        mixture=(vectors * scale * signs).T,
        coordinates=coordinates * signs,
        shares=np.where(holds, values, 0.0) / total if total > 0 else np.zeros(count),
        distances=np.sqrt(np.maximum(np.diag(gram), 0.0)),
        origin=origin,
    )


def _components(trajectory: Trajectory, axes: _Axes, objective: Objective | None) -> Components:
    """The record of some axes, with the distances from their span, which the Gram matrix would give to 1e-8 only."""
    outside = np.zeros(len(axes.places))
    for _, _, away in pieces_from(trajectory, axes.places, axes.origin):
        outside += _squares(np.subtract(away, axes.coordinates @ (axes.mixture @ away), out=away))
    return Components(
        steps=trajectory.steps[axes.places],
        coordinates=axes.coordinates,
        shares=axes.shares,
        outside=np.sqrt(outside),
        distances=axes.distances,
        losses=_losses(trajectory, axes.places, objective),
        origin=axes.origin,
    )


def _squares(rows: Float[np.ndarray, "points piece"]) -> Float[np.ndarray, "points"]:
    """Sum of squares of each row, without a copy."""
    return np.asarray(np.einsum("ij,ij->i", rows, rows))


def _losses(
    trajectory: Trajectory, places: Int[np.ndarray, "points"], objective: Objective | None
) -> Float[np.ndarray, "measured"]:
    """J at some points; empty without an objective."""
    if objective is None:
        return np.zeros(0)
    return objective.values(trajectory.point(int(place)) for place in places).numpy()


def _vector(value: object, name: str, trajectory: Trajectory) -> Float[np.ndarray, "params"]:
    """A point of the caller, in float64; tensors by name stand in the order of the trajectory."""
    if isinstance(value, Mapping):
        entries = bare(value, trajectory.names)
        missing = [key for key in trajectory.names if key not in entries]
        if missing or not trajectory.names:
            raise SettingError(
                f"{name} must be a vector, or hold the tensors of the trajectory {trajectory.names[:4]}, got "
                f"{list(entries)[:4]}. Take a point of the trajectory, or open it with names=objective.names."
            )
        value = torch.cat([torch.as_tensor(entries[key]).detach().reshape(-1) for key in trajectory.names])
    vector = torch.as_tensor(value).detach().to("cpu", torch.float64).numpy()
    if vector.shape != (trajectory.dimension,):
        raise ShapeError(
            f"{name} must have shape ({trajectory.dimension},), got {vector.shape}. Take a point of the trajectory."
        )
    return vector


def _places(rows: int | Sequence[int], count: int) -> Int[np.ndarray, "rows"]:
    """Which points have lines across."""
    if isinstance(rows, int):
        if rows < 1:
            raise SettingError(f"rows must be at least 1, got {rows}.")
        return np.unique(np.linspace(0, count - 1, min(rows, count)).round().astype(np.int64))
    places = np.array(rows, np.int64)
    if places.ndim != 1 or not places.size or places.min() < 0 or places.max() >= count:
        raise SettingError(f"rows must be places from 0 to {count - 1}, got {list(rows)[:8]}.")
    return places


def _offsets(offsets: int | Float[np.ndarray, "offsets"], beside: Float[np.ndarray, "points"]) -> np.ndarray:
    """Distances from the line on the lines across."""
    if isinstance(offsets, int):
        farthest = float(np.max(beside[np.isfinite(beside)], initial=0.0)) or 1.0
        return grid(-farthest, 1.25 * farthest, offsets)
    values = np.asarray(offsets, np.float64)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all() or np.any(np.diff(values) <= 0):
        raise SettingError(f"offsets must be finite values that ascend, got {values.tolist()!r:.80}. Sort them.")
    return values
