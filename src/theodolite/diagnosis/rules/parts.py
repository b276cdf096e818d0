"""What do several rules ask of the evidence?"""

import math
from dataclasses import replace
from typing import Any

from theodolite.diagnosis.evidence import Evidence
from theodolite.diagnosis.rules.thresholds import REVIVED, SEVERED
from theodolite.records import MISSING, Estimate, Finding, Status, Survey, Verdict

NO_SURVEY = "a survey of the point that the training has reached: call monitor.diagnose() while the model is there"
"""What settles a rule that needs a survey."""

LARGER_BATCH = "batch × 8"
"""Name of the cure that tells noise from steps that are too long."""


SHORTER_STEPS = ("step × 0.1", "step × 0.3")
"""Names of the cures that shorten the step."""

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
    """Greatest gain of the moves that follow gradient or curvature, as a share of the excess.

    Args:
        evidence: The evidence.
        survey: Its survey.

    Returns:
        The share; missing if no move was tried. Where the gradient is exactly zero and no curvature is negative there
        is nothing to follow, and the gain is zero.
    """
    if survey.grad_norm == 0 and not survey.what_ifs:
        return NOTHING
    gains = [evidence.share(move.gain) for move in survey.what_ifs if move.name != "random kick"]
    return max(gains, key=sure_gain, default=MISSING)


def best_of(evidence: Evidence, share: Estimate, names: tuple[str, ...]) -> Estimate:
    """The greater of a what-if's share and what the cures of these names gained on branches."""
    tried = [evidence.remedy(name) for name in names]
    shares = [evidence.share(r.gain) for r in tried if r is not None and r.gain.is_finite]
    return max([share, *shares], key=sure_gain)


def sure_gain(gain: Estimate) -> float:
    """A gain less two of its errors, to choose by; least where either is unknown."""
    sure = gain.value - 2 * gain.error
    return sure if math.isfinite(sure) else -math.inf


def is_noisy(survey: Survey) -> bool:
    """Whether a batch has more noise than gradient: the noise scale exceeds its size."""
    return not survey.noise_scale.value < survey.batch


def is_severed(survey: Survey) -> bool:
    """Whether a layer hands on next to nothing, and second order does not bring it back."""
    return survey.dead_worst >= SEVERED and not is_revived(survey)


def is_revived(survey: Survey) -> bool:
    """Whether parameters without a gradient have a part in a direction whose curvature is surely negative."""
    return survey.smallest.is_below(0.0, 1.0) and survey.revived > REVIVED
