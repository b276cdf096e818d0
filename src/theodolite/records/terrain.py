"""What lies further off: the way that the run came, straight lines far beyond, and better points that are known."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from theodolite.records.estimates import MISSING, Estimate


@dataclass(frozen=True, eq=False)
class Ray:
    """J far along a straight line from here.

    Attributes:
        name: Which way: "outward", on in the direction of the last half of the run; "growing weights", away from the
            origin; "downhill", along −G.
        lengths: How far each point is, ascending, the first 0.
        losses: J there; values that are not finite are kept.
        errors: Standard error of J there minus J here.
        cosine: Cosine between the direction and −G.
    """

    name: str
    lengths: Float[np.ndarray, "points"]
    losses: Float[np.ndarray, "points"]
    errors: Float[np.ndarray, "points"]
    cosine: float = float("nan")

    @property
    def lowest(self) -> int:
        """Place of the least finite loss."""
        return int(np.argmin(np.where(np.isfinite(self.losses), self.losses, np.inf)))

    @property
    def gain(self) -> Estimate:
        """J here minus the least J on the ray."""
        at = self.lowest
        return Estimate(float(self.losses[0] - self.losses[at]), float(self.errors[at]) if at else 0.0)

    @property
    def is_falling(self) -> bool:
        """Whether J never rises, beyond its error and rounding, up to the far end, and is lower there than here."""
        if len(self.losses) < 2 or not np.isfinite(self.losses).all():
            return False
        slack = 2 * np.maximum(self.errors[1:], 0.0) + 1e-6 * np.abs(self.losses[:-1])
        return bool((np.diff(self.losses) <= slack).all() and self.losses[-1] < self.losses[0] - slack[-1])


@dataclass(frozen=True, eq=False)
class Trail:
    """Points that the run came through, thinned evenly over its steps, the last one being here.

    Attributes:
        steps: The step after which the run stood there.
        losses: J of the held examples.
        errors: Standard error of J there minus J here, over the same batches.
        distances: ‖θᵢ − θⱼ‖.
        norms: ‖θ‖.
        validation: Loss of the validation data; empty if there are none.
        turn: How far the validation loss has risen above its least, both over three points, with the error of the
            difference over batches of the validation data.
        turned_at: The step of that least.
    """

    steps: Int[np.ndarray, "points"]
    losses: Float[np.ndarray, "points"]
    errors: Float[np.ndarray, "points"]
    distances: Float[np.ndarray, "points points"]
    norms: Float[np.ndarray, "points"]
    validation: Float[np.ndarray, "validated"] = field(default_factory=lambda: np.zeros(0))
    turn: Estimate = MISSING
    turned_at: int = 0

    @property
    def length(self) -> float:
        """Length of the way from point to point."""
        return float(np.diagonal(self.distances, 1).sum())

    @property
    def displacement(self) -> float:
        """Straight distance from the first point to the last."""
        return float(self.distances[0, -1])


@dataclass(frozen=True)
class Known:
    """A better point than this one, and what lies between.

    Attributes:
        source: How it was found.
        gain: J here minus J there.
        distance: ‖there − here‖.
        cosine: Cosine between the direction there and −G.
        barrier: Greatest J on the straight line there above J here; not above 0 if there is none.
        retreat: Cosine between the direction there and the way that the run has gone: below 0 where it leads back.
    """

    source: str
    gain: Estimate
    distance: float
    cosine: float = float("nan")
    barrier: float = float("nan")
    retreat: float = float("nan")
