"""Where did a training go: its principal components, its way beside a line, how it winds; curves between its ends."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True, eq=False)
class Components:
    """Principal components of a trajectory.

    Attributes:
        steps: Optimizer step of each point.
        coordinates: Coordinates of each point along the unit components, from the origin.
        shares: Share of the variance that each component holds, descending.
        outside: Distance of each point from the span of the components kept.
        distances: Distance of each point from the origin.
        losses: J at each point; empty if it was not measured.
        origin: What stands at 0.
    """

    steps: Int[np.ndarray, "points"]
    coordinates: Float[np.ndarray, "points components"]
    shares: Float[np.ndarray, "components"]
    outside: Float[np.ndarray, "points"]
    distances: Float[np.ndarray, "points"]
    losses: Float[np.ndarray, "measured"] = field(default_factory=lambda: np.zeros(0))
    origin: str = "end"


@dataclass(frozen=True, eq=False)
class Projection:
    """A trajectory seen from a straight line: how far along it, how far beside it, and J.

    With u the unit vector from start to end, of a point θ: progress α = (θ − start)·u, residual β = ‖θ − start − αu‖;
    v the unit vector along θ − start − αu. The surface is no plane: it is one straight line a point,
    J(start + αu + rv). Source: Goodfellow, Vinyals & Saxe 2015, the 3-D view.

    Attributes:
        steps: Optimizer step of each point.
        progress: α, in the length of θ.
        residuals: β, in the length of θ.
        losses: J at each point; empty if it was not measured.
        length: ‖end − start‖.
        offsets: r of the lines across, ascending, 0 among them; empty if they were not measured.
        surface: J(start + αu + rv), a row for each point of ``across``, a column for each offset.
        across: Which points, by place in ``steps``, the rows of ``surface`` stand for.
        start: What stands at progress 0.
        end: What stands at progress ``length``.
        method: How J was evaluated.
        notes: What was left out, and why.
    """

    steps: Int[np.ndarray, "points"]
    progress: Float[np.ndarray, "points"]
    residuals: Float[np.ndarray, "points"]
    losses: Float[np.ndarray, "measured"] = field(default_factory=lambda: np.zeros(0))
    length: float = float("nan")
    offsets: Float[np.ndarray, "offsets"] = field(default_factory=lambda: np.zeros(0))
    surface: Float[np.ndarray, "rows offsets"] = field(default_factory=lambda: np.zeros((0, 0)))
    across: Int[np.ndarray, "rows"] = field(default_factory=lambda: np.zeros(0, np.int64))
    start: str = "start"
    end: str = "end"
    method: str = ""
    notes: tuple[str, ...] = ()

    @property
    def share_on_line(self) -> float:
        """Least share |α|/√(α² + β²) of the distance from the start that lies along the line; NaN for one point."""
        distance = np.hypot(self.progress, self.residuals)
        moved = distance > 0
        return float(np.min(np.abs(self.progress[moved]) / distance[moved])) if moved.any() else float("nan")


@dataclass(frozen=True, eq=False)
class Winding:
    """How much a trajectory winds.

    Attributes:
        steps: Optimizer step of each point.
        path_length: Σ‖θₖ₊₁ − θₖ‖ over the points that were kept: a lower bound for the way really gone.
        displacement: ‖θ_last − θ_first‖.
        cosines: Cosine of the angle between successive moves, one for each inner point.
        descents: Cosine between −∇J and the direction to the last point, for each point but the last; empty if it was
            not measured. Positive where the straight way to the end goes downhill.
    """

    steps: Int[np.ndarray, "points"]
    path_length: float
    displacement: float
    cosines: Float[np.ndarray, "inner"]
    descents: Float[np.ndarray, "measured"] = field(default_factory=lambda: np.zeros(0))

    @property
    def ratio(self) -> float:
        """Path length over displacement, ≥ 1; infinite for a closed way, NaN for one point."""
        if self.displacement > 0:
            return self.path_length / self.displacement
        return float("inf") if self.path_length > 0 else float("nan")

    @property
    def descent_fraction(self) -> float:
        """Share of the points at which the straight way to the end is a descent direction; NaN if not measured."""
        return float(np.mean(self.descents > 0)) if self.descents.size else float("nan")


@dataclass(frozen=True, eq=False)
class Curve:
    """A curve of low loss between two points, beside the straight line between them.

    Attributes:
        kind: "bezier" or "polygon".
        positions: t of each point, ascending from 0 to 1.
        losses: J on the curve.
        errors: Standard error over the batches of the data; NaN where there is one batch only.
        straight: J on the straight line at the same t.
        bends: The control points between the ends, a row each.
        length: Length of the curve.
        displacement: ‖b − a‖.
        start: What stands at t = 0.
        end: What stands at t = 1.
        method: How it was found, and what J was evaluated with.
        notes: What was left out, and why.
    """

    kind: str
    positions: Float[np.ndarray, "points"]
    losses: Float[np.ndarray, "points"]
    errors: Float[np.ndarray, "points"]
    straight: Float[np.ndarray, "points"]
    bends: Float[np.ndarray, "bends params"]
    length: float
    displacement: float
    start: str = "a"
    end: str = "b"
    method: str = ""
    notes: tuple[str, ...] = ()

    @property
    def barrier(self) -> float:
        """Height of the curve above its higher end; NaN if a value on it is not finite."""
        return _above_ends(self.losses)

    @property
    def barrier_before(self) -> float:
        """Height of the straight line above its higher end; NaN if a value on it is not finite."""
        return _above_ends(self.straight)


def _above_ends(losses: np.ndarray) -> float:
    """Greatest value above the higher end."""
    with np.errstate(invalid="ignore"):
        return float(losses.max() - max(losses[0], losses[-1])) if losses.size else float("nan")
