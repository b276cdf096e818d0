"""Is it the steps: too small, too large, too noisy, or none of it?"""

import math

from theodolite.diagnosis.evidence import Evidence, History, is_diverged
from theodolite.diagnosis.rules.parts import (
    LARGER_BATCH,
    NO_SURVEY,
    NOTHING,
    SHORTER_STEPS,
    best_move,
    best_of,
    found,
    is_noisy,
    ratio,
    usable,
)
from theodolite.diagnosis.rules.thresholds import (
    CRITICAL,
    DEAD,
    GROWN,
    LONGER,
    MANY_TIMES,
    NOISY,
    OVERSHOOT,
    SHORTER,
    SLOW_FALL,
    TWENTIETH,
    UPHILL,
    USEFUL_FALL,
    WORTH_IT,
)
from theodolite.diagnosis.words import number, percent
from theodolite.records import MISSING, Estimate, Finding, Survey, Verdict

_NONE = Finding(
    "none",
    Verdict.UNDETERMINED,
    threshold=USEFUL_FALL,
    meaning="share of the excess loss that falls while the age of the run doubles",
    picture="loss",
    missing="at least 36 recorded losses, to tell a trend from scatter: train longer, or raise the budget",
)

_STEP_TOO_SMALL = Finding(
    "step_too_small",
    Verdict.UNDETERMINED,
    threshold=MANY_TIMES,
    meaning="gain of the best longer step over the gain of the real one, as far as the slope predicts it",
    picture="step_size",
    missing=NO_SURVEY,
)

_STEP_TOO_LARGE = Finding(
    "step_too_large",
    Verdict.UNDETERMINED,
    threshold=UPHILL,
    meaning="share of steps that raise the loss of their own batch",
    picture="step_size",
    missing=NO_SURVEY,
)

_GRADIENT_NOISE = Finding(
    "gradient_noise",
    Verdict.UNDETERMINED,
    threshold=NOISY,
    meaning="share of the promise of a step that is lost because its batch is not the data",
    picture="budget",
    missing=NO_SURVEY,
)


def judge_none(evidence: Evidence) -> Finding:
    """The loss falls at a useful rate for its age, or is at its floor.

    Args:
        evidence: The evidence.

    Returns:
        The finding.
    """
    past = evidence.history
    if is_diverged(evidence.survey, past) or evidence.is_above_start:
        why = "the loss stands above where it started" if evidence.is_above_start else "the loss is not finite any more"
        return found(_NONE, False, statistic=past.fallen, evidence=(why,))
    if evidence.is_at_floor:
        left = evidence.excess / evidence.initial_excess if evidence.initial_excess > 0 else 0.0
        why = f"the loss is at its floor: {percent(left)} of its first excess is left"
        return found(_NONE, True, statistic=past.fallen, effect=NOTHING, evidence=(why,))
    fallen = past.fallen if past.fallen.is_finite else evidence.projected
    if not fallen.is_finite:
        return _NONE
    verb = "fall" if fallen.value >= 0 else "rise"
    source = f"{verb}s" if past.fallen.is_finite else f"would {verb}, by plain steps on a branch,"
    why = f"the excess loss {source} by {percent(abs(fallen.value))} ± {percent(fallen.error)} while the age doubles"
    if fallen.is_above(USEFUL_FALL, 1.0) and fallen.is_above(0.0) and evidence.is_confirmed:
        return found(_NONE, True, statistic=fallen, evidence=(why,))
    if fallen.is_above(SLOW_FALL) and _nothing_gains_more(evidence):
        slow = f"{why}, slowly, and nothing that was tried gains a twentieth of it"
        return found(_NONE, True, statistic=fallen, evidence=(slow,))
    present = False if fallen.is_below(USEFUL_FALL, 1.0) else None
    told = {"missing": "more steps: the trend is within its scatter"} if present is None else {}
    return found(_NONE, present, statistic=fallen, evidence=(why,), **told)


def _nothing_gains_more(evidence: Evidence) -> bool:
    """Whether every move and every cure was tried, none gained a twentieth of the excess, and no capacity is gone."""
    survey = usable(evidence)
    if survey is None or not survey.what_ifs or not evidence.remedies or not survey.dead_worst < DEAD:
        return False
    cures = [evidence.share(remedy.gain) for remedy in evidence.remedies if remedy.gain.is_finite]
    return all(gain.value < TWENTIETH for gain in (best_move(evidence, survey), *cures))


def judge_step_too_small(evidence: Evidence) -> Finding:
    """The direction is fine, the step is not: the same step, made longer, gains many times more.

    Args:
        evidence: The evidence.

    Returns:
        The finding.
    """
    survey = usable(evidence)
    if survey is None or not survey.rescaled.factors:
        return _STEP_TOO_SMALL
    longer = _promised(survey)
    if not longer:
        why = "no step ten times as long or more gains what its slope promises"
        return found(_STEP_TOO_SMALL, False, statistic=NOTHING, effect=NOTHING, evidence=(why,))
    factor, best = max(longer, key=lambda pair: pair[1].value)
    real, share = survey.rescaled.at(1.0), evidence.share(best)
    says = (
        f"steps × {factor:g} gain {number(best)} each, {percent(share.value)} of the excess loss",
        f"as they are, they gain {number(real)}",
    )
    gains = share.is_above(WORTH_IT) and best.value - 2 * best.error > MANY_TIMES * max(real.value, 0.0)
    present = gains and _is_first_order(survey) and _is_sustained(evidence)
    return found(_STEP_TOO_SMALL, present, statistic=ratio(best, real), effect=share, evidence=says)


def _promised(survey: Survey) -> list[tuple[float, Estimate]]:
    """Longer steps, with gains that do not exceed what the slope promises: more than that is a far jump."""
    slope = max(0.0, survey.rescaled.slope.value)
    pairs = zip(survey.rescaled.factors, survey.rescaled.gains, strict=True)
    return [(f, gain) for f, gain in pairs if f >= LONGER and gain.value <= 2 * f * slope + gain.error]


def _is_first_order(survey: Survey) -> bool:
    """Whether the slope, not negative curvature, is what a longer step would follow."""
    return not (survey.escape < CRITICAL and survey.smallest.is_below(0.0, 1.0))


def _is_sustained(evidence: Evidence) -> bool:
    """Whether ten times the step, kept up on a branch, gains at least half of ten times as much; True if not tried."""
    tried = evidence.remedy("step × 10")
    if tried is None:
        return True
    plain = max(0.0, tried.baseline.value)
    return tried.gain.is_finite and tried.gain.value + plain > MANY_TIMES * plain and tried.gain.is_above(0.0)


def judge_step_too_large(evidence: Evidence) -> Finding:
    """Overshoot: steps raise the loss of their own batch, and shorter ones gain more.

    Args:
        evidence: The evidence.

    Returns:
        The finding.
    """
    if is_diverged(evidence.survey, evidence.history):
        return _judge_divergence(evidence.history)
    survey = usable(evidence)
    if survey is None or not survey.own_uphill.is_finite:
        return _STEP_TOO_LARGE
    share = best_of(evidence, _shorter_gain(evidence, survey), SHORTER_STEPS)
    bent = ratio(Estimate(survey.curvature.value + survey.higher_order.value), survey.promise).value
    says = [
        f"{percent(survey.own_uphill.value)} of {survey.steps} steps raised the loss of their own batch",
        f"shorter steps gain {percent(share.value)} ± {percent(share.error)} of the excess loss",
    ]
    if 0 < bent < math.inf:
        says.append(f"curvature takes {percent(bent)} of what steps promise")
    if _is_cured_by_batch(evidence, survey, share):
        says.append("a larger batch gains as well: it is noise that shorter steps average out")
        return found(_STEP_TOO_LARGE, False, statistic=survey.own_uphill, effect=share, evidence=tuple(says))
    overshoots = survey.own_uphill.value >= UPHILL or bent >= OVERSHOOT
    gains = share.is_above(WORTH_IT, 1.0) and share.is_above(0.0)
    may_gain = not share.is_below(WORTH_IT)
    present = (True if gains else None if may_gain else False) if overshoots else False
    return found(_STEP_TOO_LARGE, present, statistic=survey.own_uphill, effect=share, evidence=tuple(says))


def _judge_divergence(past: History) -> Finding:
    """The verdict on a run whose loss is not finite: it must have grown before, step by step."""
    if not past.rise > GROWN:
        unsure = "whether the loss grew step by step or in one jump: the last losses before it was not finite"
        return found(_STEP_TOO_LARGE, None, missing=unsure)
    grew = (
        f"the loss grew to {past.rise:.3g} times its median",
        f"from step {past.first_nonfinite} it is not finite",
    )
    return found(_STEP_TOO_LARGE, True, effect=Estimate(1.0, 0.0), evidence=grew)


def _is_cured_by_batch(evidence: Evidence, survey: Survey, share: Estimate) -> bool:
    """Whether a batch is mostly noise, and a larger one gains at least half of what a shorter step does."""
    batch = evidence.remedy(LARGER_BATCH)
    return batch is not None and is_noisy(survey) and evidence.share(batch.gain).value > share.value / 2


def _shorter_gain(evidence: Evidence, survey: Survey) -> Estimate:
    """What the best shorter step gains over the real one, as a share of the excess."""
    real = survey.rescaled.at(1.0)
    gains = [survey.rescaled.at(factor) for factor in survey.rescaled.factors if factor <= SHORTER]
    best = max((gain for gain in gains if gain.is_finite), key=lambda gain: gain.value, default=MISSING)
    if not real.is_finite:
        return evidence.share(best)
    return evidence.share(Estimate(best.value - real.value, math.hypot(best.error, real.error), best.count))


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
        f"a larger batch or a shorter step gains {percent(effect.value)} ± {percent(effect.error)} of the excess loss",
    )
    present, missing = _is_lost_to_noise(survey, effect), "larger batches or shorter steps tried on branches"
    told = {} if present is not None else {"missing": missing}
    return found(_GRADIENT_NOISE, present, statistic=survey.noise_share, effect=effect, evidence=says, **told)


def _is_lost_to_noise(survey: Survey, effect: Estimate) -> bool | None:
    """Whether most of the promise is noise, and averaging it out gains; None if that was not tried or is not sure."""
    lost = survey.noise_share
    if not is_noisy(survey) or lost.is_below(NOISY, 0.0):
        return False
    if not lost.is_above(NOISY) or not math.isfinite(effect.error):
        return None
    return effect.is_above(WORTH_IT, 1.0) and effect.is_above(0.0)
