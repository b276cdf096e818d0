"""Does a training go anywhere? How much its way winds, and a random walk with the same steps to compare it with."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from theodolite.errors import SettingError
from theodolite.landscape.trajectories import GRAIN, Trajectory
from theodolite.linalg.randomness import source
from theodolite.objective import Objective
from theodolite.records.trajectories import Winding

_HELD_BYTES = 32 * 2**20
"""Walks up to this size are held; larger ones are drawn anew whenever they are read."""


def random_walk_like(trajectory: Trajectory, *, generator: torch.Generator | None = None) -> Trajectory:
    """A random walk from the same start, with steps of the same lengths in isotropic directions: a control experiment.

    What a picture of the training shows and that of the walk shows too, is no property of the training. Of T steps of
    length √D in D dimensions, the walk makes, as D grows, an exact semicircle over the line to its end:
    α = k√(D/T), β = √(Dk(1 − k/T)).

    Args:
        trajectory: Whose lengths are taken: the distances between the points that were kept.
        generator: Source of randomness; give one for a repeatable result.

    Returns:
        The walk, with the same steps.

    Cost: one pass over the points, and N·n normal numbers. A walk of up to 32 MiB is held; a larger one is drawn again
    whenever it is read, and all the points before a single one with it.
    Source: Goodfellow, Vinyals & Saxe 2015, appendix, figure 11.

    Example:
        >>> way = Trajectory.from_points([torch.zeros(3), torch.tensor([3.0, 4.0, 0.0])])
        >>> walk = random_walk_like(way, generator=torch.Generator().manual_seed(0))
        >>> round(float(walk.point(1).norm()), 6)
        5.0
    """
    squares, _ = _moves(trajectory)
    return random_walk(trajectory.point(0), np.sqrt(squares), steps=trajectory.steps, generator=generator)


def random_walk(
    start: Float[Tensor, "params"],
    lengths: Float[np.ndarray, "moves"],
    *,
    steps: Int[np.ndarray, "points"] | None = None,
    generator: torch.Generator | None = None,
) -> Trajectory:
    """A random walk with steps of given lengths in isotropic directions.

    Args:
        start: Where it begins, shape (n,).
        lengths: Length of each move.
        steps: Step of each point; None counts them from 0.
        generator: Source of randomness; give one for a repeatable result.

    Returns:
        The walk: one point more than there are lengths.

    Raises:
        SettingError: If a length is negative or not finite.

    Cost: N·n normal numbers, see ``random_walk_like``.
    """
    if not (np.isfinite(lengths).all() and np.all(lengths >= 0)):
        raise SettingError(
            "lengths of moves must be finite and not negative, got others. Leave out points that are not finite."
        )
    draw = source(generator)
    seed = int(torch.randint(2**62, (1,), generator=draw, device=draw.device))
    walk = _Walk(start.detach().to("cpu", torch.float64).numpy(), lengths, seed)
    if 8 * walk.shape[0] * walk.shape[1] <= _HELD_BYTES:
        return Trajectory.from_points(walk.rows(0, walk.shape[1]), steps)
    return Trajectory.of(walk, steps)


def winding(trajectory: Trajectory, objective: Objective | None = None) -> Winding:
    """How much a trajectory winds: its length beside its displacement, its turns, and whether the end lies downhill.

    Args:
        trajectory: The points.
        objective: Measures −∇J at each point but the last; None leaves ``descents`` empty.

    Returns:
        Lengths and cosines; NaN where a move is zero or a point is not finite.

    Raises:
        ShapeError: If the objective is one of another θ.

    Cost: one pass over the points; with an objective a gradient over its data a point.
    Limits: what happened between the points that were kept is not seen; steps that turn from one to the next look
    straighter where points are sparse.

    Example:
        >>> corner = Trajectory.from_points([torch.tensor(p) for p in ([0.0, 0.0], [3.0, 0.0], [3.0, 4.0])])
        >>> found = winding(corner)
        >>> found.path_length, found.displacement, found.cosines
        (7.0, 5.0, array([0.]))
    """
    trajectory.check(objective)
    squares, products = _moves(trajectory)
    displacement = 0.0
    for _, points in trajectory.pieces():
        displacement += float(np.sum((points[-1] - points[0]) ** 2))
    lengths = np.sqrt(squares)
    return Winding(
        steps=trajectory.steps,
        path_length=float(lengths.sum()),
        displacement=float(np.sqrt(displacement)),
        cosines=_cosines(products, lengths[:-1] * lengths[1:]),
        descents=np.zeros(0) if objective is None else _descents(trajectory, objective),
    )


def _moves(trajectory: Trajectory) -> tuple[Float[np.ndarray, "moves"], Float[np.ndarray, "inner"]]:
    """Squared lengths of the moves between successive points, and inner products of successive moves."""
    count = len(trajectory)
    squares, products = np.zeros(count - 1), np.zeros(max(0, count - 2))
    for _, points in trajectory.pieces():
        with np.errstate(invalid="ignore"):  # of points that are not finite
            moves = np.diff(points, axis=0)
            squares += np.einsum("ij,ij->i", moves, moves)
            products += np.einsum("ij,ij->i", moves[:-1], moves[1:])
    return squares, products


def _descents(trajectory: Trajectory, objective: Objective) -> Float[np.ndarray, "measured"]:
    """Cosine between −∇J and the way to the last point, at each other point."""
    end = trajectory.point(-1).double()
    products, norms = [], []
    for place in range(len(trajectory) - 1):
        theta = trajectory.point(place)
        way, slope = end - theta.double(), objective.gradient(theta).to("cpu", torch.float64)
        products.append(-float(way @ slope))
        norms.append(float(way.norm() * slope.norm()))
    return _cosines(np.array(products), np.array(norms))


def _cosines(products: Float[np.ndarray, "pairs"], norms: Float[np.ndarray, "pairs"]) -> Float[np.ndarray, "pairs"]:
    """Products over norms, in [−1, 1]; NaN where a norm is 0."""
    ratios = np.divide(products, norms, out=np.full(len(products), np.nan), where=norms != 0)
    return np.asarray(np.clip(ratios, -1, 1))


class _Walk:
    """A random walk that is drawn when it is read, by blocks of coordinates with a stream of numbers each."""

    def __init__(self, start: Float[np.ndarray, "params"], lengths: Float[np.ndarray, "moves"], seed: int) -> None:
        """Draw once, to know how long the raw moves are."""
        self._start, self._seed = start, seed
        self.shape = len(lengths) + 1, len(start)
        squares = np.zeros(len(lengths))
        for first in range(0, len(start), GRAIN):
            raw = self._raw(first)
            squares += np.einsum("ij,ij->i", raw, raw)
        self._scales = np.divide(lengths, np.sqrt(squares), out=np.zeros(len(lengths)), where=squares > 0)

    def _raw(self, first: int) -> Float[np.ndarray, "moves block"]:
        """Moves of a block, before they have their length."""
        width = min(GRAIN, self.shape[1] - first)
        return np.random.default_rng([self._seed, first]).standard_normal((self.shape[0] - 1, width))

    def rows(self, first: int, stop: int) -> Float[np.ndarray, "points piece"]:
        """Some coordinates of every point."""
        found = np.empty((self.shape[0], stop - first))
        for block in range(first - first % GRAIN, stop, GRAIN):
            low, high = max(first, block), min(stop, block + GRAIN)
            here = found[:, low - first : high - first]
            here[0] = self._start[low:high]
            here[1:] = self._raw(block)[:, low - block : high - block] * self._scales[:, None]
            np.cumsum(here, axis=0, out=here)
        return found

    def point(self, place: int) -> Float[Tensor, "params"]:
        """One point, by drawing all before it."""
        found = np.empty(self.shape[1])
        for first in range(0, self.shape[1], GRAIN):
            found[first : first + GRAIN] = self.rows(first, min(first + GRAIN, self.shape[1]))[place]
        return torch.from_numpy(found)
