"""How did a loss cease to be finite: step by step, or out of a gentle stretch at once?"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from theodolite.diagnosis.evidence import Evidence, greatest_spike
from theodolite.records import Verdict

_SUDDEN = 3
"""Steps from a usual loss to infinity: a step beyond what is stable multiplies the error and takes many, a wall one."""

_GROWN = 2.0
"""A loss that diverges step by step has at least doubled over three recorded steps before it is not finite."""

_GENTLE_STEPS, _GENTLE_FALL = 20, 0.1
"""A stretch is gentle if a tenth of the first excess had gone, and it lasted."""

SPIKE = 8.0
"""Norms of batch gradients of healthy nets scatter by a factor of two to four about those around them."""

_USUAL = 10.0
"""A loss is usual up to so many median deviations above its median."""


@dataclass(frozen=True)
class Divergence:
    """What is known of it.

    Attributes:
        growing: Steps from a usual loss to one that is not finite, the least of the branches that replayed it; NaN if
            none came to that.
        was_gentle: Whether the loss had fallen for a while before.
        rise: How far the recorded losses had grown before, as in ``History``.
        spike: As ``spike`` of the gradient norms of the branches.
    """

    growing: float
    was_gentle: bool
    rise: float
    spike: float = math.nan

    @property
    def is_spiked(self) -> bool:
        """Whether a gradient exploded on a branch that did not come to infinity."""
        return self.was_gentle and not math.isfinite(self.growing) and self.spike > SPIKE

    @property
    def is_cliff(self) -> Verdict:
        """Whether it was a wall; undetermined if nobody saw how the loss grew."""
        if not self.was_gentle:
            return Verdict.ABSENT
        if math.isfinite(self.growing):
            return Verdict.PRESENT if self.growing <= _SUDDEN else Verdict.ABSENT
        if self.is_spiked:
            return Verdict.PRESENT
        return Verdict.ABSENT if self.rise > _GROWN else Verdict.UNDETERMINED

    @property
    def is_overshoot(self) -> Verdict:
        """Whether steps too large made it grow."""
        if math.isfinite(self.growing):
            is_grown = self.growing > _SUDDEN or not self.was_gentle
            return Verdict.PRESENT if is_grown else Verdict.ABSENT
        if self.is_spiked:
            return Verdict.ABSENT
        return Verdict.PRESENT if self.rise > _GROWN else Verdict.UNDETERMINED

    def told(self) -> tuple[str, ...]:
        """It in words."""
        says = ["the loss is not finite any more"]
        if math.isfinite(self.growing):
            says.append(f"replayed from before, it takes {self.growing:.0f} steps from a usual loss to infinity")
        elif self.is_spiked:
            says.append(f"on a branch from before, a gradient is {self.spike:.3g} times those around it")
        if math.isfinite(self.rise) and self.rise > 1:
            says.append(f"the last recorded losses stand at {self.rise:.3g} times their median")
        says.append("it had fallen for a while before" if self.was_gentle else "it had not fallen for long before")
        return tuple(says)


def divergence(evidence: Evidence) -> Divergence:
    """What is known of how the loss of a run ceased to be finite.

    Args:
        evidence: The evidence.

    Returns:
        The divergence.
    """
    rows = [growth(row) for row in evidence.trials.plain.losses]
    seen = [steps for steps in rows if math.isfinite(steps)]
    past = evidence.history
    fall = evidence.initial_excess - (past.least - evidence.floor)
    was_gentle = past.least_at >= _GENTLE_STEPS and fall > _GENTLE_FALL * evidence.initial_excess
    return Divergence(float(min(seen, default=math.nan)), was_gentle, past.rise, greatest_spike(evidence))


def growth(losses: Float[np.ndarray, "steps"]) -> float:
    """Steps from the last usual loss to the first that is not finite.

    Args:
        losses: Losses in order.

    Returns:
        The number of steps; NaN if all are finite, or none.

    Example:
        >>> growth(np.array([1.0, 0.9, 1.1, 1.0, 50.0, np.inf]))
        2.0
    """
    bad = np.flatnonzero(~np.isfinite(losses))
    if not bad.size or bad[0] == 0:
        return math.nan
    before = losses[: bad[0]]
    median = float(np.median(before))
    spread = float(np.median(np.abs(before - median)))
    usual = np.flatnonzero(before <= median + max(_USUAL * spread, abs(median)))
    return float(bad[0] - usual[-1])
