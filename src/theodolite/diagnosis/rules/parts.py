"""What do several rules ask of the evidence?"""

import math
from dataclasses import replace
from typing import Any

from theodolite.diagnosis.evidence import Evidence, sure_gain
from theodolite.diagnosis.names import CLIPPING, NORMALISED, SHORTER_STEPS
from theodolite.diagnosis.rules.thresholds import (
    CORRECTED_MORE,
    CURED,
    DEAD,
    LONGER,
    MANY_TIMES,
    REVIVED,
    SEVERED,
    STEEP,
    STRAYS,
    UPHILL,
)
from theodolite.records import MISSING, Estimate, Finding, Status, Survey, Verdict

NO_SURVEY = "a survey of the point that the training has reached: call monitor.diagnose() while the model is there"
"""What settles a rule that needs a survey."""

_STEP = "step × "

_NO_WAYS = ("random kick", "clipping")
"""What-ifs that follow neither gradient nor curvature: the control, and real steps cut short."""

NOTHING = Estimate(0.0, 0.0)
"""An effect of zero, exactly."""


def found(template: Finding, present: bool | None, **measured: Any) -> Finding:
    """A finding with a verdict: present, absent, or None for undetermined, which then says what is missing.

    Args:
        template: The finding of a rule before it has heard the evidence.
        present: The verdict.
        measured: Fields of the finding.

    Returns:
        The finding.
    """
    verdict = Verdict.UNDETERMINED if present is None else Verdict.PRESENT if present else Verdict.ABSENT
    return replace(template, verdict=verdict, **({"missing": ""} if present is not None else {}) | measured)


def usable(evidence: Evidence) -> Survey | None:
    """The survey, if it found finite numbers."""
    survey = evidence.survey
    return survey if survey is not None and survey.status is not Status.NONFINITE else None


def ratio(part: Estimate, whole: Estimate) -> Estimate:
    """Part over whole with propagated error; infinite if the whole is not positive."""
    if not whole.value > 0:
        return Estimate(math.inf, math.nan, part.count)
    value = part.value / whole.value
    return Estimate(value, math.hypot(part.error, value * whole.error) / whole.value, part.count)


def best_move(evidence: Evidence, survey: Survey) -> Estimate:
    """Greatest gain of the moves that follow gradient or curvature, as a share of the excess; else of rescaled steps.

    Args:
        evidence: The evidence.
        survey: Its survey.

    Returns:
        The share; missing if no move was tried. Where the gradient is exactly zero and no curvature is negative there
        is nothing to follow, and the gain is zero.
    """
    if survey.grad_norm == 0 and not survey.what_ifs:
        return NOTHING
    gains = [evidence.share(move.gain) for move in survey.what_ifs if move.name not in _NO_WAYS]
    gains = gains or [evidence.share(gain) for gain in survey.rescaled.gains if gain.is_finite]
    return max(gains, key=sure_gain, default=MISSING)


def longer_steps(evidence: Evidence) -> dict[str, float]:
    """The cures that made the step at least ten times as long, with their factors.

    Args:
        evidence: The evidence.

    Returns:
        Factors by name; empty if none was tried.
    """
    names = [cure.name for cure in evidence.remedies if cure.name.startswith(_STEP)]
    factors = {name: float(name.removeprefix(_STEP)) for name in names}
    return {name: factor for name, factor in factors.items() if factor >= LONGER}


def best_of(evidence: Evidence, share: Estimate, names: tuple[str, ...]) -> Estimate:
    """The greater of a what-if's share and what the cures of these names gained on branches."""
    tried = [evidence.remedy(name) for name in names]
    shares = [evidence.cured(r) for r in tried if r is not None]
    return max([share, *shares], key=sure_gain)


def scaled_gain(evidence: Evidence) -> float:
    """Share of the excess that the best step size gains on a branch, plain steps among them; NaN if none was tried."""
    if not evidence.remedies or not evidence.remedies[0].baseline.is_finite:
        return math.nan
    plain = evidence.share(evidence.remedies[0].baseline).value
    tried = [evidence.share(cure.gain).value for cure in evidence.remedies if cure.name.startswith("step × ")]
    return plain + max([0.0, *(gain for gain in tried if math.isfinite(gain))])


def is_slowed_by_inputs(evidence: Evidence) -> bool:
    """Whether normalised inputs take half of the excess on a branch, and many times what the best step size takes."""
    cure, scaled = evidence.remedy(NORMALISED), scaled_gain(evidence)
    if cure is None or not cure.gain.is_above(0.0):
        return False
    taken = evidence.share(cure.gain).value + evidence.share(cure.baseline).value
    return taken > CURED and taken > MANY_TIMES * scaled


def is_bent_only(survey: Survey) -> bool:
    """Whether curvature is negative somewhere, and one step that is corrected for it gains no more than another."""
    # Many corrected steps may get far all the same: they leave a saddle, or follow a way that winds.
    return survey.smallest.is_below(0.0, 1.0) and survey.gain_ratio.value < CORRECTED_MORE


def is_noisy(survey: Survey) -> bool:
    """Whether a batch has more noise than gradient: the noise scale exceeds its size."""
    return not survey.noise_scale.value < survey.batch


def is_steep(survey: Survey) -> bool:
    """Whether the steps come near to what is stable on a quadratic: where noise is to blame, they are far from it."""
    return survey.sharpness.value > STEEP * survey.stable_sharpness


def is_straying(survey: Survey) -> bool:
    """Whether steps come near to what is unstable, and some go uphill on the very batch that they were made from."""
    return is_steep(survey) and not survey.own_uphill.value < STRAYS


def is_overshooting(evidence: Evidence, survey: Survey) -> bool:
    """Whether unstable steps are to blame, not single gradients: shorter ones gain twice what clipping does."""
    clip = evidence.remedy(CLIPPING)
    shorter = best_of(evidence, MISSING, SHORTER_STEPS)
    is_swinging = is_steep(survey) and survey.own_uphill.value >= UPHILL
    return is_swinging and clip is not None and shorter.value > 2 * max(0.0, evidence.cured(clip).value)


def headroom(survey: Survey, about: float = 3.0) -> float:
    """How many times longer steps may be and still be about stable on a quadratic; infinite where that is unknown.

    Args:
        survey: The survey.
        about: How far beyond the stable sharpness, which is that of one point, steps may still be well.

    Returns:
        The factor.
    """
    if not survey.sharpness.value > 0 or not survey.stable_sharpness > 0:
        return math.inf
    return about * survey.stable_sharpness / survey.sharpness.value


def is_severed(survey: Survey) -> bool:
    """Whether a layer hands on next to nothing, and second order does not bring it back."""
    is_silent = survey.silent_rectifiers > 0 and survey.blocked >= DEAD
    return (survey.dead_worst >= SEVERED or is_silent) and not is_revived(survey)


def is_revived(survey: Survey) -> bool:
    """Whether parameters without a gradient have a part in a direction whose curvature is surely negative."""
    return survey.smallest.is_below(0.0, 1.0) and survey.revived > REVIVED
