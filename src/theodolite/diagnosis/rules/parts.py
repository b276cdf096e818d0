"""What do several rules ask of the evidence?"""

import math

from theodolite.diagnosis.evidence import Evidence
from theodolite.diagnosis.rules.thresholds import REVIVED, SEVERED
from theodolite.records import MISSING, Estimate, Status, Survey

NO_SURVEY = "a survey of the point that the training has reached: call monitor.diagnose() while the model is there"
"""What settles a rule that needs a survey."""

LARGER_BATCH = "batch × 8"
"""Name of the cure that tells noise from steps that are too long."""


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
    """Greatest gain of the moves that follow gradient or curvature, as a share of the excess."""
    gains = [evidence.share(move.gain) for move in survey.what_ifs if move.name != "random kick"]
    return max(gains, key=lambda gain: gain.value, default=MISSING)


def best_of(evidence: Evidence, share: Estimate, names: tuple[str, ...]) -> Estimate:
    """The greater of a what-if's share and what the cures of these names gained on branches."""
    tried = [evidence.remedy(name) for name in names]
    shares = [evidence.share(r.gain) for r in tried if r is not None and r.gain.is_finite]
    return max([share, *shares], key=lambda gain: gain.value if gain.is_finite else -math.inf)


def is_noisy(survey: Survey) -> bool:
    """Whether a batch has more noise than gradient: the noise scale exceeds its size."""
    return not survey.noise_scale.value < survey.batch


def is_severed(survey: Survey) -> bool:
    """Whether a layer hands on next to nothing, and second order does not bring it back."""
    return survey.dead_worst >= SEVERED and not survey.revived > REVIVED
