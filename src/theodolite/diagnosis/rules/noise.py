"""Is it the batches: too noisy to follow?"""

import math

from theodolite.diagnosis.evidence import Evidence, sure_gain
from theodolite.diagnosis.names import LARGER_BATCH, LONGER_STEPS, SHORTER_STEPS
from theodolite.diagnosis.rules.parts import NO_SURVEY, best_of, found, is_noisy, is_straying, usable
from theodolite.diagnosis.rules.thresholds import FIFTH, NOISY, QUIETER, TEN_TIMES, TENTH, WORTH_IT
from theodolite.diagnosis.words import number, percent
from theodolite.records import MISSING, Estimate, Finding, Survey, Verdict

_GRADIENT_NOISE = Finding(
    "gradient_noise",
    Verdict.UNDETERMINED,
    threshold=NOISY,
    meaning="share of the promise of a step that is lost because its batch is not the data",
    picture="budget",
    missing=NO_SURVEY,
)


def judge_gradient_noise(evidence: Evidence) -> Finding:
    """The batch gradient is mostly noise: its promise arrives on its own batch only, and a larger batch gains.

    Args:
        evidence: The evidence.

    Returns:
        The finding.
    """
    survey = usable(evidence)
    if survey is None or not survey.promise.is_finite:
        return _GRADIENT_NOISE
    if survey.promise.value <= 0:
        why = "these go uphill" if survey.promise.value < 0 else "these have no length; is the learning rate 0?"
        return found(_GRADIENT_NOISE, None, missing=f"steps that promise something: {why}")
    effect = best_of(evidence, MISSING, (LARGER_BATCH, *SHORTER_STEPS))
    says = (
        f"of a promise of {number(survey.promise)} a step, {number(survey.noise)} is noise",
        f"what arrives is {number(survey.delivered)}",
        f"gradient noise scale {number(survey.noise_scale)} examples, batch {survey.batch:.3g}",
        f"a larger batch or a shorter step gains {percent(effect.value)} ± {percent(effect.error, 2)} of the excess",
    )
    longer = _longer_gains(evidence, effect)
    if longer:
        return found(_GRADIENT_NOISE, False, statistic=survey.noise_share, effect=effect, evidence=(longer, *says))
    present, missing = _is_lost_to_noise(survey, effect), "larger batches or shorter steps tried on branches"
    told = {} if present is not None else {"missing": missing}
    return found(_GRADIENT_NOISE, present, statistic=survey.noise_share, effect=effect, evidence=says, **told)


def _longer_gains(evidence: Evidence, effect: Estimate) -> str:
    """That longer steps gain twice what averaging noise out does: where noise limits progress, they make it worse.

    Returns:
        It in words; empty if they do not.
    """
    longer = best_of(evidence, MISSING, LONGER_STEPS)
    if not sure_gain(longer) > 2 * max(0.0, effect.value):
        return ""
    return f"longer steps gain {percent(longer.value)} ± {percent(longer.error, 2)}: far more than averaging noise out"


def _is_lost_to_noise(survey: Survey, effect: Estimate) -> bool | None:
    """Whether most of the promise is noise, and averaging it out gains; None if that was not tried or is not sure."""
    lost = survey.noise_share
    if not is_noisy(survey) or is_straying(survey) or lost.is_below(NOISY, 0.0):
        return False
    is_sure = lost.is_above(NOISY) or (lost.value > NOISY and effect.is_above(FIFTH))
    if not is_sure or not math.isfinite(effect.error):
        return None
    return effect.is_above(WORTH_IT, 1.0) and effect.is_above(0.0)


def is_drowned(evidence: Evidence) -> bool:
    """Whether noise limits a loss that falls all the same: both ways of averaging it out surely gain much."""
    batch, shorter = evidence.remedy(LARGER_BATCH), best_of(evidence, MISSING, SHORTER_STEPS)
    survey = usable(evidence)
    if survey is None or not survey.noise_scale.value > TEN_TIMES * survey.batch:
        return False
    if batch is None or judge_gradient_noise(evidence).verdict is not Verdict.PRESENT:
        return False
    return evidence.share(batch.gain).is_above(QUIETER) and shorter.is_above(TENTH)
