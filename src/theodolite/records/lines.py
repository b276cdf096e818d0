"""What is J at several points, and along a straight line between two?"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

_ROUNDING = 1e-6
"""Changes of the loss below this share of its greatest value between the ends are rounding, not shape."""


@dataclass(frozen=True, eq=False)
class Evaluations:
    """J at several points.

    Attributes:
        losses: J at each; non-finite values are kept.
        errors: Standard error over the batches of the data; NaN where there is one batch only.
        method: How J was evaluated.
        seconds: How long it took.
    """

    losses: Float[np.ndarray, "points"]
    errors: Float[np.ndarray, "points"]
    method: str
    seconds: float


@dataclass(frozen=True, eq=False)
class Along:
    """A further quantity at the points of a line: the validation loss, the accuracy.

    Attributes:
        name: What it is.
        values: Its value at each point of the line.
        errors: Standard error over the batches of its data; NaN where there is one batch only.
    """

    name: str
    values: Float[np.ndarray, "points"]
    errors: Float[np.ndarray, "points"]


@dataclass(frozen=True, eq=False)
class Line:
    """Loss along a straight line θ(α) = (1−α)·start + α·end.

    Attributes:
        positions: α of each point, ascending; 0 is the start and 1 the end.
        losses: J(θ(α)); non-finite values are kept.
        errors: Standard error over the batches of the data; NaN where there is one batch only.
        start: What stands at α = 0.
        end: What stands at α = 1.
        metadata: Further numbers.
        length: ‖end − start‖; NaN where it was not noted.
        others: Further quantities at the same points.
        method: How J was evaluated.
        notes: What was left out, and why.
    """

    positions: Float[np.ndarray, "points"]
    losses: Float[np.ndarray, "points"]
    errors: Float[np.ndarray, "points"]
    start: str = "start"
    end: str = "end"
    metadata: dict[str, float] = field(default_factory=dict)
    length: float = float("nan")
    others: tuple[Along, ...] = ()
    method: str = ""
    notes: tuple[str, ...] = ()

    @property
    def _inside(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions and losses from start to end."""
        between = (self.positions >= 0) & (self.positions <= 1)
        return self.positions[between], self.losses[between]

    @property
    def _slack(self) -> float:
        """What rounding may change a loss by."""
        inside = self._inside[1]
        return _ROUNDING * float(np.abs(inside).max()) if inside.size else 0.0

    @property
    def barrier(self) -> float:
        """Height of the loss above the higher end, max over 0 ≤ α ≤ 1 (Goodfellow 2015: a bump on the line); ≥ 0.

        NaN if a value between the ends is not finite.
        """
        inside = self._inside[1]
        with np.errstate(invalid="ignore"):
            return float(inside.max() - max(inside[0], inside[-1])) if inside.size else float("nan")

    @property
    def barrier_above_chord(self) -> float:
        """Height above the straight line between the losses of the ends (mode connectivity: Frankle et al. 2020); ≥ 0.

        max over 0 ≤ α ≤ 1 of J(θ(α)) − (1−α)·J(start) − α·J(end); NaN if a value between the ends is not finite.
        """
        alpha, inside = self._inside
        if not inside.size:
            return float("nan")
        with np.errstate(invalid="ignore"):
            return float(np.max(inside - (1 - alpha) * inside[0] - alpha * inside[-1]))

    @property
    def is_monotone(self) -> bool:
        """Whether the loss never rises from start to end, beyond rounding of the values."""
        inside = self._inside[1]
        return bool(np.all(np.isfinite(inside)) and np.all(np.diff(inside) <= self._slack))

    @property
    def is_convex(self) -> bool:
        """Whether no point between the ends lies above the chord of its neighbours, beyond rounding of the values."""
        alpha, inside = self._inside
        if not np.all(np.isfinite(inside)):
            return False
        share = (alpha[1:-1] - alpha[:-2]) / (alpha[2:] - alpha[:-2])
        chord = (1 - share) * inside[:-2] + share * inside[2:]
        return bool(np.all(inside[1:-1] - chord <= self._slack))
