"""Is it the steps: too small, too large, too noisy, or none of it?"""

import math
from dataclasses import replace

from theodolite.diagnosis.evidence import Evidence, is_diverged
from theodolite.diagnosis.rules.parts import (
    LARGER_BATCH,
    NO_SURVEY,
    best_move,
    best_of,
    is_noisy,
    ratio,
    usable,
)
from theodolite.diagnosis.rules.thresholds import (
    CRITICAL,
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
)

_STEP_TOO_SMALL = Finding(
    "step_too_small",
    Verdict.UNDETERMINED,
    threshold=MANY_TIMES,
    meaning="gain of the best longer step over the gain of the real one, as far as the slope predicts it",
    picture="step_size",
)

_STEP_TOO_LARGE = Finding(
    "step_too_large",
    Verdict.UNDETERMINED,
    threshold=UPHILL,
    meaning="share of steps that raise the loss of their own batch",
    picture="step_size",
)

_GRADIENT_NOISE = Finding(
    "gradient_noise",
    Verdict.UNDETERMINED,
    threshold=NOISY,
    meaning="share of the promise of a step that is lost because its batch is not the data",
    picture="budget",
)


def judge_none(evidence: Evidence) -> Finding:
    """The loss falls at a useful rate for its age, or is at its floor.

    Args:
        evidence: The evidence.

    Returns:
        The finding.
    """
    past = evidence.history
    if is_diverged(evidence.survey, past):
        return replace(_NONE, verdict=Verdict.ABSENT, evidence=("the loss is not finite any more",))
    if evidence.is_at_floor:
        left = evidence.excess / evidence.initial_excess if evidence.initial_excess > 0 else 0.0
        why = f"the loss is at its floor: {percent(left)} of its first excess is left"
        return replace(
            _NONE, verdict=Verdict.PRESENT, statistic=past.fallen, effect=Estimate(0.0, 0.0), evidence=(why,)
        )
    fallen = past.fallen if past.fallen.is_finite else evidence.projected
    if not fallen.is_finite:
        return replace(
            _NONE,
            missing="at least 36 recorded losses, to tell a trend from scatter: train longer, or raise the budget",
        )
    source = "falls" if past.fallen.is_finite else "would fall, by plain steps on a branch,"
    why = f"the excess loss {source} by {percent(fallen.value)} ± {percent(fallen.error)} while the age doubles"
    if fallen.is_above(USEFUL_FALL, 1.0) and fallen.is_above(0.0):
        verdict = Verdict.PRESENT
    elif fallen.is_above(SLOW_FALL) and _nothing_gains_more(evidence):
        verdict, why = Verdict.PRESENT, why + ", slowly, and nothing that was tried gains a twentieth of it"
    elif fallen.is_below(USEFUL_FALL, 1.0):
        verdict = Verdict.ABSENT
    else:
        verdict = Verdict.UNDETERMINED
    missing = "" if verdict is not Verdict.UNDETERMINED else "more steps: the trend is within its scatter"
    return replace(_NONE, verdict=verdict, statistic=fallen, evidence=(why,), missing=missing)


def _nothing_gains_more(evidence: Evidence) -> bool:
    """Whether every move and every cure was tried, and none gained a twentieth of the excess."""
    survey = usable(evidence)
    if survey is None or not survey.what_ifs or not evidence.remedies:
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
        return replace(_STEP_TOO_SMALL, verdict=Verdict.UNDETERMINED, missing=NO_SURVEY)
    real = survey.rescaled.at(1.0)
    longer = [
        (factor, gain)
        for factor, gain in zip(survey.rescaled.factors, survey.rescaled.gains, strict=True)
        if factor >= LONGER
        and gain.is_finite
        and gain.value <= 2 * factor * max(0.0, survey.rescaled.slope.value) + gain.error
    ]
    if not longer:
        return replace(
            _STEP_TOO_SMALL,
            verdict=Verdict.ABSENT,
            statistic=Estimate(0.0, 0.0),
            effect=Estimate(0.0, 0.0),
            evidence=("no step ten times as long or more gains what its slope promises",),
        )
    factor, best = max(longer, key=lambda pair: pair[1].value)
    share = evidence.share(best)
    times = ratio(best, real)
    says = (
        f"steps × {factor:g} gain {number(best)} each, {percent(share.value)} of the excess loss",
        f"as they are, they gain {number(real)}",
    )
    present = share.is_above(WORTH_IT) and best.value - 2 * best.error > MANY_TIMES * max(real.value, 0.0)
    present = present and _is_first_order(survey) and _is_sustained(evidence)
    verdict = Verdict.PRESENT if present else Verdict.ABSENT
    return replace(_STEP_TOO_SMALL, verdict=verdict, statistic=times, effect=share, evidence=says)


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
    past = evidence.history
    if is_diverged(evidence.survey, past):
        if past.rise > 2.0:
            grew = (
                f"the loss grew to {past.rise:.3g} times its median",
                f"from step {past.first_nonfinite} it is not finite",
            )
            return replace(_STEP_TOO_LARGE, verdict=Verdict.PRESENT, effect=Estimate(1.0, 0.0), evidence=grew)
        return replace(
            _STEP_TOO_LARGE,
            verdict=Verdict.UNDETERMINED,
            missing="whether the loss grew step by step or in one jump: the last losses before it was not finite",
        )
    survey = usable(evidence)
    if survey is None or not survey.own_uphill.is_finite:
        return replace(_STEP_TOO_LARGE, verdict=Verdict.UNDETERMINED, missing=NO_SURVEY)
    cures = ("step × 0.1", "step × 0.3")
    share = best_of(evidence, _shorter_gain(evidence, survey), cures)
    batch = evidence.remedy(LARGER_BATCH)
    says = [
        f"{percent(survey.own_uphill.value)} of {survey.steps} steps raised the loss of their own batch",
        f"shorter steps gain {percent(share.value)} ± {percent(share.error)} of the excess loss",
    ]
    is_noise = batch is not None and evidence.share(batch.gain).value > share.value / 2 and is_noisy(survey)
    if is_noise:
        says.append("so does a larger batch: it is noise that shorter steps average out")
    bent = (
        (survey.curvature.value + survey.higher_order.value) / survey.promise.value if survey.promise.value > 0 else 0.0
    )
    if bent > 0:
        says.append(f"curvature takes {percent(bent)} of what steps promise")
    overshoots = survey.own_uphill.value >= UPHILL or bent >= OVERSHOOT
    present = overshoots and not is_noise and share.is_above(WORTH_IT, 1.0) and share.is_above(0.0)
    verdict = Verdict.PRESENT if present else Verdict.ABSENT
    return replace(_STEP_TOO_LARGE, verdict=verdict, statistic=survey.own_uphill, effect=share, evidence=tuple(says))


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
        return replace(_GRADIENT_NOISE, verdict=Verdict.UNDETERMINED, missing=NO_SURVEY)
    if survey.promise.value <= 0:
        return replace(
            _GRADIENT_NOISE, verdict=Verdict.UNDETERMINED, missing="steps that promise anything: these go uphill"
        )
    lost = survey.noise_share
    remedy = evidence.remedy(LARGER_BATCH)
    smaller = [r for r in (evidence.remedy("step × 0.1"), evidence.remedy("step × 0.3")) if r is not None]
    gains = [r.gain for r in (remedy, *smaller) if r is not None and r.gain.is_finite]
    effect = max((evidence.share(gain) for gain in gains), key=lambda gain: gain.value, default=MISSING)
    says = [
        f"of a promise of {number(survey.promise)} a step, {number(survey.noise)} is noise",
        f"what arrives is {number(survey.delivered)}",
    ]
    if remedy is not None:
        says.append(f"a batch eight times as large gains {number(remedy.gain)} over {remedy.steps} steps")
    if survey.noise_scale.value > 0:
        says.append(f"gradient noise scale {number(survey.noise_scale)} examples, batch {survey.batch:.3g}")
    if not is_noisy(survey):
        verdict = Verdict.ABSENT
    elif not lost.is_above(NOISY):
        verdict = Verdict.ABSENT if lost.is_below(NOISY, 0.0) or lost.is_below(2 * NOISY) else Verdict.UNDETERMINED
    elif not effect.is_finite:
        verdict = Verdict.UNDETERMINED
    else:
        verdict = Verdict.PRESENT if effect.is_above(WORTH_IT, 1.0) and effect.is_above(0.0) else Verdict.ABSENT
    missing = "" if verdict is not Verdict.UNDETERMINED else "larger batches or shorter steps tried on branches"
    return replace(
        _GRADIENT_NOISE, verdict=verdict, statistic=lost, effect=effect, evidence=tuple(says), missing=missing
    )
