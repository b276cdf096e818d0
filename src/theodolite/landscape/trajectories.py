"""Which points did a training come through? A sequence of θ that is read in pieces and never held as a whole."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Literal, Protocol, Self

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from theodolite.errors import RunError, SettingError, ShapeError
from theodolite.objective import Objective
from theodolite.records import Run
from theodolite.records.snapshots import Stored

Origin = Literal["end", "mean", "start"]

_PIECE_BYTES = 24 * 2**20
"""Size of the piece that is held: a few such arrays stay well below 100 MB."""

GRAIN = 1024
"""Pieces hold a multiple of so many coordinates; what is made by blocks is made by these."""


class Source(Protocol):
    """Where the points of a trajectory are.

    Laws: ``rows(first, stop)[k]`` is ``point(k)[first:stop]`` in float64.
    """

    @property
    def shape(self) -> tuple[int, int]:
        """Number of points, and n."""

    def point(self, place: int) -> Float[Tensor, "params"]:
        """One point, a copy on the CPU, in the type in which it is kept."""

    def rows(self, first: int, stop: int) -> Float[np.ndarray, "points piece"]:
        """The coordinates from ``first`` until ``stop`` of every point, float64, free to be written to."""


class Trajectory:
    """Points θ of a training with the step of each, in order.

    Points of a run are what the monitor kept. Buffers, such as the running statistics of a normalisation, are no part
    of θ: an objective whose model is in eval mode measures every point with the statistics that the model has now.

    Attributes:
        steps: Optimizer step of each point, ascending.
        names: Names of the tensors that make up θ, in order; empty if they are not known.

    Example:
        >>> way = Trajectory.from_points([torch.zeros(2), torch.tensor([3.0, 4.0])])
        >>> len(way), way.dimension, way.point(-1)
        (2, 2, tensor([3., 4.]))
    """

    steps: Int[np.ndarray, "points"]
    names: tuple[str, ...]

    def __init__(self, run: Run | str | Path, *, names: Sequence[str] | None = None) -> None:
        """Open the points that a run has kept.

        Args:
            run: The run, or its folder.
            names: Names of the tensors that make up θ, in order, as ``objective.names`` has them; None is the order of
                the training.

        Raises:
            RunError: If there is no run, it has kept no parameters, or a file of them is damaged.
            ShapeError: If a tensor is not among those that were kept.
        """
        opened = run if isinstance(run, Run) else Run(run)
        steps = opened.snapshot_steps
        if not steps:
            raise RunError(
                f"a trajectory needs parameters that were kept; {opened.path} has none. Train with "
                "Monitor(..., snapshots=<bytes>), where the bytes hold at least two points."
            )
        order = opened.metadata.get("layers") if names is None else names
        self._begin(_Kept(opened, steps, tuple(order or sorted(opened.stored_snapshot(steps[0]).spans))), steps)

    def _begin(self, source: Source, steps: Sequence[int] | np.ndarray) -> None:
        """These are the points."""
        self.source = source
        self.steps = np.array(steps, np.int64)
        self.names = source.names if isinstance(source, _Kept) else ()

    @classmethod
    def of(cls, source: Source, steps: Sequence[int] | Int[np.ndarray, "points"] | None = None) -> Self:
        """The trajectory of points that stand anywhere.

        Args:
            source: The points.
            steps: Their steps, ascending; None counts them from 0.

        Returns:
            The trajectory.

        Raises:
            SettingError: If there is no point, or the steps do not ascend.
            ShapeError: If there is not one step a point.
        """
        count = source.shape[0]
        if not count:
            raise SettingError("a trajectory must have at least one point, got none. Keep some on the way.")
        known = np.arange(count) if steps is None else np.asarray(steps)
        if known.shape != (count,):
            raise ShapeError(f"steps must have shape ({count},), got {known.shape}. Give one step a point.")
        if np.any(np.diff(known) <= 0):
            raise SettingError(f"steps must ascend, got {known.tolist()[:20]}. Sort the points by their step.")
        trajectory = cls.__new__(cls)
        trajectory._begin(source, known)
        return trajectory

    @classmethod
    def from_points(
        cls, points: Iterable[object], steps: Sequence[int] | Int[np.ndarray, "points"] | None = None
    ) -> Self:
        """The trajectory of points at hand.

        Args:
            points: Vectors of shape (n,), tensors or arrays; or a matrix with a row a point, such as ``np.memmap``, of
                which nothing is copied. What can be gone through only once is held.
            steps: Their steps, ascending; None counts them from 0.

        Returns:
            The trajectory.

        Raises:
            SettingError: If there is no point, or the steps do not ascend.
            ShapeError: If the points differ in length, or there is not one step a point.
        """
        at_hand = points if isinstance(points, (Sequence, np.ndarray, Tensor)) else list(points)
        return cls.of(_Given(at_hand), steps)

    def __len__(self) -> int:
        """Number of points."""
        return len(self.steps)

    def __repr__(self) -> str:
        """Size and steps."""
        steps = f"steps {self.steps[0]} to {self.steps[-1]}"
        return f"Trajectory({len(self)} points, dimension {self.dimension}, {steps})"

    @property
    def dimension(self) -> int:
        """Length n of θ."""
        return self.source.shape[1]

    def point(self, place: int) -> Float[Tensor, "params"]:
        """One point.

        Args:
            place: Its place, from 0; negative ones count from the last.

        Returns:
            A copy of θ there on the CPU, in the type in which it is kept; bfloat16 as float32.

        Raises:
            SettingError: If there is no such place.
            RunError: If the file of the point is damaged or gone.
        """
        if not -len(self) <= place < len(self):
            raise SettingError(f"place must be one of {len(self)} points, got {place}. steps lists them.")
        return self.source.point(place % len(self))

    def points(self) -> Iterator[Float[Tensor, "params"]]:
        """The points in order, one at a time.

        Yields:
            Copies, as ``point`` gives them.
        """
        for place in range(len(self)):
            yield self.source.point(place)

    def pieces(self) -> Iterator[tuple[slice, Float[np.ndarray, "points piece"]]]:
        """All points, a few coordinates at a time: for sums over coordinates.

        Yields:
            Which coordinates, and their values in float64, a row a point, free to be written to.

        Cost: reads every point once; holds 24 MiB.
        """
        width = max(GRAIN, _PIECE_BYTES // (8 * len(self)) // GRAIN * GRAIN)
        for first in range(0, self.dimension, width):
            stop = min(first + width, self.dimension)
            yield slice(first, stop), self.source.rows(first, stop)

    def check(self, objective: Objective | None) -> None:
        """Refuse an objective of another θ.

        Args:
            objective: J(θ), if there is one.

        Raises:
            ShapeError: If its dimension or the order of its tensors is another.
        """
        if objective is None:
            return
        if objective.dimension != self.dimension:
            raise ShapeError(
                f"objective must be a function of the {self.dimension} parameters of the trajectory, got one of "
                f"{objective.dimension}. Form it from the same model."
            )
        if self.names and objective.names != self.names and len(objective.names) > 1:
            raise ShapeError(
                f"objective must have the tensors of the trajectory in their order {self.names[:4]}, got "
                f"{objective.names[:4]}. Open it with Trajectory(run, names=objective.names)."
            )


def gram_matrix(
    trajectory: Trajectory, origin: Origin
) -> tuple[Int[np.ndarray, "finite"], Float[np.ndarray, "finite finite"]]:
    """Which points are finite, and the inner products of their differences from the origin.

    Args:
        trajectory: The points.
        origin: Where the differences are taken from: the last finite point, the first one, or the mean.

    Returns:
        Places of the finite points, and (X − o)(X − o)ᵀ of these, summed in float64.

    Cost: N² products a parameter; reads every point once, and once more where one is not finite.
    """
    places = np.arange(len(trajectory))
    while places.size:
        gram = np.zeros((len(places), len(places)))
        is_finite = np.ones(len(places), bool)
        for _, _, away in pieces_from(trajectory, places, origin):
            is_finite &= np.isfinite(away.sum(1))
            if not is_finite.all():
                break
            gram += away @ away.T
        else:
            return places, gram
        places = _finite(trajectory, places)
    return places, np.zeros((0, 0))


def _finite(trajectory: Trajectory, places: Int[np.ndarray, "points"]) -> Int[np.ndarray, "finite"]:
    """Those of the points that are finite."""
    is_finite = np.ones(len(places), bool)
    for _, points in trajectory.pieces():
        is_finite &= np.isfinite(points[places]).all(1)
    return places[is_finite]


def pieces_from(
    trajectory: Trajectory, places: Int[np.ndarray, "points"], origin: Origin
) -> Iterator[tuple[slice, Float[np.ndarray, "piece"], Float[np.ndarray, "points piece"]]]:
    """Differences of points from an origin, a few coordinates at a time.

    Args:
        trajectory: The points.
        places: Which of them.
        origin: The last of these, the first one, or their mean.

    Yields:
        Which coordinates, those of the origin, and the differences, a row a point, free to be written to.
    """
    for place, points in trajectory.pieces():
        chosen = points if len(places) == len(points) else points[places]
        base = chosen.mean(0) if origin == "mean" else chosen[0 if origin == "start" else -1].copy()
        with np.errstate(invalid="ignore"):  # of points that are not finite
            chosen -= base
        yield place, base, chosen


class _Kept:
    """The points that a run has kept, on the disk."""

    def __init__(self, run: Run, steps: Sequence[int], names: tuple[str, ...]) -> None:
        """Look at the first one."""
        self._run, self._steps, self.names = run, steps, names
        first = run.stored_snapshot(steps[0]).spans
        missing = [name for name in names if name not in first]
        if missing:
            raise ShapeError(
                f"names must be tensors that the run has kept, but {missing[:4]} are not. It has {sorted(first)[:8]}."
            )
        self._sizes = [first[name].count for name in names]
        self._starts = [0, *accumulate(self._sizes)]
        self.shape = (len(steps), self._starts[-1])

    @cached_property
    def _files(self) -> list[Stored]:
        """The files, each checked once."""
        files = [self._run.stored_snapshot(step) for step in self._steps]
        for step, file in zip(self._steps, files, strict=True):
            sizes = [file.spans[name].count if name in file.spans else 0 for name in self.names]
            if sizes != self._sizes:
                raise ShapeError(f"every point must have the tensors of the first, but that of step {step} has others.")
        return files

    def point(self, place: int) -> Float[Tensor, "params"]:
        """One point, its file checked."""
        arrays = self._run.snapshot(self._steps[place])
        return torch.from_numpy(np.concatenate([arrays[name].reshape(-1) for name in self.names]))

    def rows(self, first: int, stop: int) -> Float[np.ndarray, "points piece"]:
        """Some coordinates of every point, read from the files."""
        found = np.empty((self.shape[0], stop - first))
        for name, start, size in zip(self.names, self._starts, self._sizes, strict=False):
            low, high = max(first, start), min(stop, start + size)
            if low < high:
                for row, file in zip(found, self._files, strict=True):
                    row[low - first : high - first] = file.piece(name, low - start, high - low)
        return found


class _Given:
    """Points in memory, or mapped into it."""

    def __init__(self, points: Sequence[object] | np.ndarray | Tensor) -> None:
        """Look at their shapes."""
        self._points = points
        shapes = {_shape(point) for point in points}
        if len(shapes) > 1 or any(len(shape) != 1 for shape in shapes):
            raise ShapeError(
                f"points must be vectors of one length, got shapes {sorted(shapes)[:4]}. Flatten each with "
                "objective.params.flatten, or take objective.point()."
            )
        self.shape = len(points), next(iter(shapes), (0,))[0]

    def point(self, place: int) -> Float[Tensor, "params"]:
        """A copy of a point."""
        point = self._points[place]
        return point.detach().cpu().clone() if isinstance(point, Tensor) else torch.tensor(np.asarray(point))

    def rows(self, first: int, stop: int) -> Float[np.ndarray, "points piece"]:
        """Some coordinates of every point."""
        found = np.empty((self.shape[0], stop - first))
        for row, place in zip(found, range(self.shape[0]), strict=True):
            part = self._points[place][first:stop]  # type: ignore[index]
            row[:] = part.detach().to("cpu", torch.float64).numpy() if isinstance(part, Tensor) else part
        return found


def _shape(point: object) -> tuple[int, ...]:
    """Shape of a tensor or array; a list is no point."""
    if not isinstance(point, (Tensor, np.ndarray)):
        raise ShapeError(f"points must be tensors or arrays of shape (n,), got a {type(point).__name__}. Convert them.")
    return tuple(point.shape)
