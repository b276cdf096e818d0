"""What does J look like around a point: on a plane, along straight lines, and layer by layer?"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int


def _nothing() -> Float[np.ndarray, "points"]:
    return np.zeros(0)


@dataclass(frozen=True, eq=False)
class Track:
    """Points of θ-space as they fall on a plane or a line: the foot of each, and how far the point itself lies off.

    Attributes:
        name: What went there.
        x: First coordinate of each foot.
        y: Second one; zeros on a line.
        outside: Distance from each point to its foot, in the length of θ.
        distances: Distance from each point to the origin of the plane or line, in the same length.
        losses: J at the points themselves, not at their feet; NaN where it is unknown, empty if nowhere measured.
        steps: The optimizer step of each; empty if these are no steps of the run.
    """

    name: str
    x: Float[np.ndarray, "points"]
    y: Float[np.ndarray, "points"]
    outside: Float[np.ndarray, "points"]
    distances: Float[np.ndarray, "points"]
    losses: Float[np.ndarray, "measured"] = field(default_factory=_nothing)
    steps: Int[np.ndarray, "taken"] = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def outside_share(self) -> float:
        """Share of the distance from the origin that lies outside: √(Σ outside² / Σ distance²); NaN if all is 0."""
        total = float(np.sum(np.square(self.distances)))
        return float(np.sqrt(np.sum(np.square(self.outside)) / total)) if total > 0 else float("nan")


@dataclass(frozen=True, eq=False)
class Plane:
    """Loss on a plane θ(a, b) = origin + a·x + b·y.

    Attributes:
        x: Values of a, ascending, 0 among them where the plane holds its origin.
        y: Values of b.
        losses: J at each point, a row for each b; values that are not finite are kept.
        lengths: ‖x‖ and ‖y‖.
        cosine: Cosine between x and y.
        name: What the plane is to show.
        origin: What stands at (0, 0).
        x_name: What direction x is.
        y_name: What direction y is.
        tracks: Points that were projected onto the plane.
        notes: What was left out, and why.
        measured: Where J was evaluated; elsewhere it is interpolated between such points. Empty if it was everywhere.
        interpolation_error: Greatest error of the interpolated values, estimated, in loss; 0 if there are none.
        method: How J was evaluated.
    """

    x: Float[np.ndarray, "grid_x"]
    y: Float[np.ndarray, "grid_y"]
    losses: Float[np.ndarray, "grid_y grid_x"]
    lengths: tuple[float, float] = (1.0, 1.0)
    cosine: float = 0.0
    name: str = "plane"
    origin: str = "origin"
    x_name: str = "x"
    y_name: str = "y"
    tracks: tuple[Track, ...] = ()
    notes: tuple[str, ...] = ()
    measured: Bool[np.ndarray, "grid_y_or_0 grid_x_or_0"] = field(default_factory=lambda: np.zeros((0, 0), bool))
    interpolation_error: float = 0.0
    method: str = ""

    def track(self, name: str) -> Track | None:
        """One of the tracks; None if it is not there."""
        return next((track for track in self.tracks if track.name == name), None)


@dataclass(frozen=True, eq=False)
class Section:
    """Loss along a straight line through a point.

    Attributes:
        name: Which way.
        lengths: Signed distance from the point, ascending, 0 among them.
        losses: J there; values that are not finite are kept.
        errors: Standard error of J there minus J at the point; NaN where it is unknown.
        target: Where on the line something else stands, such as a better point; NaN if nothing does.
        tracks: Points that were projected onto the line.
    """

    name: str
    lengths: Float[np.ndarray, "points"]
    losses: Float[np.ndarray, "points"]
    errors: Float[np.ndarray, "points"]
    target: float = float("nan")
    tracks: tuple[Track, ...] = ()


@dataclass(frozen=True, eq=False)
class Sections:
    """Loss along several straight lines through one point.

    Attributes:
        name: What they are to show.
        origin: What stands at length 0.
        lines: The lines.
        notes: What was left out, and why.
    """

    name: str
    origin: str
    lines: tuple[Section, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Layers:
    """What each layer of a net does, from its input to its output.

    Attributes:
        step: The optimizer step.
        weights: Names of the weight matrices, in order.
        gradients: Root mean square of each one's gradient over batches, times ‖weights‖: the change of J when that
            layer changes by its own size.
        units: Names of the layers whose inputs are hidden units.
        dead: Share of those units that are zero on every example.
        counts: How many units each has.
        examples: How many examples were looked at.
    """

    step: int
    weights: tuple[str, ...]
    gradients: Float[np.ndarray, "layers"]
    units: tuple[str, ...]
    dead: Float[np.ndarray, "unit_layers"]
    counts: Float[np.ndarray, "unit_layers"]
    examples: int = 0
