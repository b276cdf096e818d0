"""How did a loss blow up: were its steps too long, or was there a wall?

Both end in infinity, in a deep net within a few steps. What tells them apart is what cures them: steps that are too
long everywhere do harm also when the greatest gradients alone are cut; a run that meets walls then keeps its pace.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from theodolite.diagnosis.evidence import Evidence, History, greatest_spike
from theodolite.diagnosis.names import CLIPPING, SHORTER_STEPS
from theodolite.diagnosis.spikes import SPIKE
from theodolite.diagnosis.words import number, percent
from theodolite.records import MISSING, Estimate, Verdict

_SUDDEN = 3
"""Steps from a usual loss to infinity: a step beyond what is stable multiplies the error and takes many, a wall one."""

_GROWN = 2.0
"""A loss that diverges step by step has at least doubled over three recorded steps before it is not finite."""

_GENTLE_STEPS, _GENTLE_FALL = 20, 0.1
"""A stretch is gentle if a tenth of the first excess had gone, and it lasted."""

_BETTER = 0.02
"""One cure beats another by a fiftieth of what it leaves, beyond its error."""

_GETS_ON = 0.5
"""Clipped steps that take half of the excess on a branch get on well, whatever shorter ones do."""

_BLOWN_UP = 10.0
"""A branch has blown up where a loss is beyond so many times the first excess."""

_USUAL = 10.0
"""A loss is usual up to so many median deviations above its median."""


@dataclass(frozen=True)
class Divergence:
    """What is known of it.

    Attributes:
        growing: Steps from a usual loss to one that is not finite, the least of the branches that replayed it; NaN if
            none came to that.
        was_gentle: Whether the loss had fallen for a while before, or at least lasted, where cutting the greatest
            gradients saves the run no less than shorter steps do.
        rise: How far the recorded losses had grown before, as in ``History``.
        spike: As ``spike`` of the gradient norms of the branches.
        length: How much lower shorter steps end than clipped ones, on branches of which a plain one blew up, as a share
            of the higher of both; missing if none did, or nobody tried both.
        left: What clipped steps leave of the excess on those branches, as a share; NaN as above.
        is_smooth: Whether plain steps go up on branches, shorter ones less, and no gradient stands out.
        ended: How the run ended, in words.
    """

    growing: float
    was_gentle: bool
    rise: float
    spike: float = math.nan
    length: Estimate = MISSING
    left: float = math.nan
    is_smooth: bool = False
    ended: str = "the loss is not finite any more"

    @property
    def is_length(self) -> bool | None:
        """Whether it was the length of the steps; None if no branch tells.

        Shorter steps surely save more of the run than clipped ones. Where both save as much, or clipped ones get on
        well, it was not for long that the run was well; else cutting the greatest gradients is enough: it was walls.
        """
        if self.is_smooth or math.isnan(self.length.value):
            return True if self.is_smooth else None
        is_better = self.length.is_above(_BETTER, 1.0) and self.length.is_above(0.0)
        if is_better and not self.left < _GETS_ON:
            return True
        return False if self.length.is_below(-_BETTER, 1.0) and self.length.is_below(0.0) else not self.was_gentle

    @property
    def is_spiked(self) -> bool:
        """Whether a gradient exploded on a branch that did not come to infinity."""
        return self.was_gentle and not math.isfinite(self.growing) and self.spike > SPIKE

    @property
    def is_cliff(self) -> Verdict:
        """Whether it was a wall; undetermined if nobody saw how the loss grew."""
        if self.is_length is not None:
            return Verdict.ABSENT if self.is_length else Verdict.PRESENT
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
        if self.is_length is not None:
            return Verdict.PRESENT if self.is_length else Verdict.ABSENT
        if math.isfinite(self.growing):
            is_grown = self.growing > _SUDDEN or not self.was_gentle
            return Verdict.PRESENT if is_grown else Verdict.ABSENT
        if self.is_spiked:
            return Verdict.ABSENT
        return Verdict.PRESENT if self.rise > _GROWN else Verdict.UNDETERMINED

    def told(self) -> tuple[str, ...]:
        """It in words."""
        says = [self.ended]
        if math.isfinite(self.growing):
            says.append(f"replayed from before, it takes {self.growing:.0f} steps from a usual loss to infinity")
        elif self.is_spiked:
            says.append(f"on a branch from before, a gradient is {self.spike:.3g} times those around it")
        if math.isfinite(self.rise) and self.rise > 1:
            says.append(f"the last recorded losses stand at {self.rise:.3g} times their median")
        if self.is_smooth:
            says.append(
                "on branches plain steps go up, shorter ones less, and no gradient stands out that could be cut"
            )
        elif self.is_length is not None:
            better, other = ("shorter", "clipped") if self.length.value > 0 else ("clipped", "shorter")
            by = f"{percent(abs(self.length.value))} ± {percent(self.length.error, 2)}"
            says.append(f"on branches {better} steps end {by} lower than {other} ones")
        says.append("it had been well for a while before" if self.was_gentle else "it had not fallen for long before")
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
    has_fallen = past.least_at >= _GENTLE_STEPS and fall > _GENTLE_FALL * evidence.initial_excess
    length = _of_length(evidence) if _has_blown_up(evidence) else MISSING
    return Divergence(
        growing=float(min(seen, default=math.nan)),
        was_gentle=has_fallen or (length.is_finite and past.first_nonfinite > _GENTLE_STEPS),
        rise=past.rise,
        spike=greatest_spike(evidence),
        length=length,
        left=_left(evidence) if length.is_finite else math.nan,
        is_smooth=_rises_smoothly(evidence),
        ended=how_ended(past),
    )


def how_ended(past: History) -> str:
    """How a run that diverged ended, in words."""
    if past.nonfinite or not past.later.is_finite:
        return "the loss is not finite any more"
    return f"the loss has blown up: over the last quarter it is {number(past.later)} on average"


def _has_blown_up(evidence: Evidence) -> bool:
    """Whether a plain branch did what the run had done: without that, cures have nothing to save."""
    losses = evidence.trials.plain.losses
    heights = np.where(np.isfinite(losses), losses, np.inf) - evidence.floor
    return bool((heights > _BLOWN_UP * evidence.initial_excess).any())


def _rises_smoothly(evidence: Evidence) -> bool:
    """Whether plain steps go up, shorter ones less, and no gradient stood out that could have been cut."""
    tried = [remedy for remedy in map(evidence.remedy, SHORTER_STEPS) if remedy is not None]
    rises = any(remedy.baseline.is_below(0.0) and remedy.gain.is_above(0.0) for remedy in tried)
    return rises and evidence.remedy(CLIPPING) is None and not greatest_spike(evidence) > SPIKE


def _of_length(evidence: Evidence) -> Estimate:
    """How much lower the best of the shorter steps ends than clipped ones do, paired by order, as a share."""
    clip, *shorter = (evidence.remedy(name) for name in (CLIPPING, *SHORTER_STEPS))
    tried = [remedy.ends for remedy in shorter if remedy is not None and remedy.ends]
    if clip is None or not clip.ends or not tried:
        return MISSING
    pairs = list(zip(*(_heights(ends, evidence.floor) for ends in (clip.ends, min(tried, key=_mean))), strict=True))
    shares = [_lower(cut, short) for cut, short in pairs if math.isfinite(cut) or math.isfinite(short)]
    found = Estimate.mean_of(shares)
    return replace(found, error=0.0) if found.count == 1 else found


def _left(evidence: Evidence) -> float:
    """What clipped steps leave of the excess, as a share; infinite where they diverged, NaN where nobody tried."""
    clip = evidence.remedy(CLIPPING)
    if clip is None or not clip.ends or not evidence.excess > 0:
        return math.nan
    return _mean(_heights(clip.ends, evidence.floor)) / evidence.excess


def _heights(ends: Sequence[float], floor: float) -> list[float]:
    """How far above the floor branches end; infinite where they diverged."""
    return [math.inf if math.isnan(end) else end - floor for end in ends]


def _mean(ends: Sequence[float]) -> float:
    """Mean of where branches end; infinite if one of them diverged."""
    return float(np.mean(_heights(ends, 0.0)))


def _lower(height: float, other: float) -> float:
    """How much lower the other is, as a share of the higher of both; 1 or −1 where one is infinite."""
    if not (math.isfinite(height) and math.isfinite(other)):
        return math.copysign(1.0, height - other)
    return (height - other) / (max(abs(height), abs(other)) or 1.0)


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
