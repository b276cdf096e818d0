"""Is it the steps: too small, too large, too noisy, or none of it?"""

import math

from theodolite.diagnosis.divergence import Divergence, divergence, how_ended
from theodolite.diagnosis.evidence import Evidence, is_diverged
from theodolite.diagnosis.names import LARGER_BATCH, SHORTER_STEPS
from theodolite.diagnosis.rules.noise import is_drowned
from theodolite.diagnosis.rules.parts import (
    NO_SURVEY,
    NOTHING,
    best_move,
    best_of,
    found,
    headroom,
    is_noisy,
    is_overshooting,
    is_slowed_by_inputs,
    is_steep,
    is_straying,
    longer_steps,
    ratio,
    usable,
)
from theodolite.diagnosis.rules.spoilt import how_spoilt
from theodolite.diagnosis.rules.surface import is_stiff, judge_cliff
from theodolite.diagnosis.rules.thresholds import (
    CRAWLING,
    CRITICAL,
    DEAD,
    FAR_GAIN,
    FIFTH,
    HUNDREDS,
    LONGER,
    MANY_TIMES,
    NOISY,
    OVERSHOOT,
    SHORTER,
    SLOW_FALL,
    TENTH,
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

_ALL = Estimate(1.0, 0.0)
"""What is gained by what undoes a run that came to nothing."""


def judge_none(evidence: Evidence) -> Finding:
    """The loss falls at a useful rate for its age, or is at its floor.

    Args:
        evidence: The evidence.

    Returns:
        The finding.
    """
    past = evidence.history
    stopped = _why_stopped(evidence)
    if stopped:
        return found(_NONE, False, statistic=past.fallen, evidence=(stopped,))
    if evidence.is_at_floor:
        left = evidence.excess / evidence.initial_excess if evidence.initial_excess > 0 else 0.0
        why = f"the loss is at its floor: {percent(left)} of its first excess is left"
        return found(_NONE, True, statistic=past.fallen, effect=NOTHING, evidence=(why,))
    fallen = past.fallen if past.fallen.is_finite else evidence.projected
    return _judge_fall(evidence, fallen) if fallen.is_finite else _NONE


def _why_stopped(evidence: Evidence) -> str:
    """What shows at once that the run is not well; empty if nothing does."""
    if is_diverged(evidence.survey, evidence.history):
        return how_ended(evidence.history)
    if evidence.is_thrown:
        return "going on plainly, the loss is on average far above where it stands"
    if evidence.is_above_start:
        return "the loss stands above where it started"
    return how_spoilt(evidence) or _why_far_slower(evidence)


def _why_far_slower(evidence: Evidence) -> str:
    """Which defect makes a run far slower than it need be, though its loss may fall; empty if none does."""
    if is_slowed_by_inputs(evidence):
        return "with its inputs normalised the run gains half of the excess, and many times what it does as it is"
    if _is_crawling(evidence):
        return "steps could be a thousand times as long, and longer ones gain hundreds of times as much"
    if is_stiff(evidence):
        return (
            "corrected for curvature, a few steps take nearly all of the excess, and 20 times what the best size does"
        )
    if is_drowned(evidence):
        return "a larger batch takes a third of the excess in as many steps, and shorter steps a tenth"
    survey = usable(evidence)
    if survey is not None and survey.dead_worst >= DEAD and evidence.is_overtaken:
        return "units are dead, and new parameters get a tenth of the excess loss farther in no more steps"
    return ""


def _is_crawling(evidence: Evidence) -> bool:
    """Whether steps are so short that the loss falls usefully for its age only because the run is as good as young."""
    survey, judged = usable(evidence), judge_step_too_small(evidence)
    if (
        survey is None
        or judged.verdict is not Verdict.PRESENT
        or not evidence.excess > FAR_GAIN * evidence.initial_excess
    ):
        return False
    return headroom(survey) > CRAWLING and judged.statistic.is_above(HUNDREDS, 1.0)


def _judge_fall(evidence: Evidence, fallen: Estimate) -> Finding:
    """Whether the excess falls at a useful rate, looking back and going on."""
    verb = "fall" if fallen.value >= 0 else "rise"
    source = f"{verb}s" if evidence.history.fallen.is_finite else f"would {verb}, by plain steps on a branch,"
    why = f"the excess loss {source} by {percent(abs(fallen.value))} ± {percent(fallen.error, 2)} while the age doubles"
    if _is_useful(fallen) and evidence.is_confirmed:
        if _is_still_falling(evidence):
            return found(_NONE, True, statistic=fallen, evidence=(why,))
        why = f"{why}, but going on plainly from here gains next to nothing"
        return found(_NONE, False, statistic=fallen, evidence=(why,))
    if fallen.is_above(SLOW_FALL) and _nothing_gains_more(evidence):
        slow = f"{why}, slowly, and nothing that was tried gains a twentieth of it"
        return found(_NONE, True, statistic=fallen, evidence=(slow,))
    present = False if fallen.is_below(USEFUL_FALL / 2, 1.0) else None
    told = {"missing": "more steps: the fall is slow, or within its scatter"} if present is None else {}
    return found(_NONE, present, statistic=fallen, evidence=(why,), **told)


def _is_useful(fallen: Estimate) -> bool:
    """Whether the excess falls fast enough within its error, and beyond two errors at least half as fast."""
    return fallen.value + fallen.error > USEFUL_FALL and fallen.is_above(USEFUL_FALL / 2)


def _is_still_falling(evidence: Evidence) -> bool:
    """Whether going on plainly may gain half a useful fall while the age doubles; True if nobody tried."""
    ahead = evidence.projected
    return not (math.isfinite(ahead.error) and ahead.is_below(USEFUL_FALL / 2))


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
    is_told = any(gain.is_above(0.0) for _, gain in longer)
    if not is_told and _is_shown(evidence, survey) and _is_first_order(survey):
        return _judge_by_branch(evidence)
    if not longer:
        why = "no step ten times as long or more gains what its slope promises"
        return found(_STEP_TOO_SMALL, False, statistic=NOTHING, effect=NOTHING, evidence=(why,))
    factor, best = max(longer, key=lambda pair: pair[1].value)
    real, pace = survey.rescaled.at(1.0), _kept_up(evidence, best)
    says = (
        f"steps × {factor:g} gain {number(best)} each; kept up over as many steps as the run has made, that is "
        f"{percent(pace.value)} of the excess loss",
        f"as they are, they gain {number(real)}",
    )
    gains = pace.is_above(FIFTH, 1.0) and best.value - 2 * best.error > MANY_TIMES * max(real.value, 0.0)
    effect = best_of(evidence, evidence.share(best), tuple(longer_steps(evidence)))
    present = (gains or _is_shown(evidence, survey)) and _is_first_order(survey) and _is_sustained(evidence)
    return found(_STEP_TOO_SMALL, present, statistic=ratio(best, real), effect=effect, evidence=says)


def _judge_by_branch(evidence: Evidence) -> Finding:
    """Longer steps gained on a branch, where single ones were too short to tell anything."""
    names = longer_steps(evidence)
    best = max((cure for cure in evidence.remedies if cure.name in names), key=lambda cure: cure.gain.value)
    effect = evidence.share(best.gain)
    says = (f"{best.name} gains {percent(effect.value)} ± {percent(effect.error, 2)} of the excess loss on a branch",)
    statistic = Estimate(ratio(best.gain, best.baseline).value, math.nan)
    return found(_STEP_TOO_SMALL, True, statistic=statistic, effect=effect, evidence=says)


def _is_shown(evidence: Evidence, survey: Survey) -> bool:
    """Whether longer steps took a tenth of the excess on a branch, or would take a fifth over the age of the run."""
    slope, factors = max(0.0, survey.rescaled.slope.value), longer_steps(evidence)
    is_lost = slope == 0 or survey.rescaled.at(1.0).value == 0
    for cure in (cure for cure in evidence.remedies if cure.name in factors):
        factor, share = factors[cure.name], evidence.share(cure.gain)
        # Steps that are lost to rounding promise nothing that longer ones could be held against.
        promised = math.inf if is_lost else 2 * factor * slope * cure.steps
        is_slope = factor <= headroom(survey) and cure.gain.value <= promised + cure.gain.error
        plain = max(0.0, cure.baseline.value)
        is_many = cure.gain.value + plain > MANY_TIMES * plain
        is_much = share.value > TENTH or share.value * evidence.history.steps > FIFTH * cure.steps
        if is_slope and is_many and is_much and cure.gain.is_above(0.0):
            return True
    return False


def _kept_up(evidence: Evidence, gain: Estimate) -> Estimate:
    """Share of the excess that the gain of one step would take in as many steps as the run has made."""
    share, steps = evidence.share(gain), max(1, evidence.history.steps)
    return Estimate(share.value * steps, share.error * steps, share.count)


def _promised(survey: Survey) -> list[tuple[float, Estimate]]:
    """Longer steps that would be stable, and whose gains the slope promises: others are far jumps."""
    slope = max(0.0, survey.rescaled.slope.value)
    pairs = zip(survey.rescaled.factors, survey.rescaled.gains, strict=True)
    longest = headroom(survey)
    return [(f, gain) for f, gain in pairs if LONGER <= f <= longest and gain.value <= 2 * f * slope + gain.error]


def _is_first_order(survey: Survey) -> bool:
    """Whether the slope, not negative curvature, is what a longer step would follow."""
    return not (survey.escape < CRITICAL and survey.smallest.is_below(0.0, 1.0))


def _is_sustained(evidence: Evidence) -> bool:
    """Whether longer steps, kept up on a branch, gain many times what plain ones do; True if none was tried."""
    names = longer_steps(evidence)
    tried = [cure for cure in evidence.remedies if cure.name in names and not math.isnan(cure.gain.value)]
    if not tried:
        return True
    best = max(tried, key=lambda cure: cure.gain.value)
    plain = max(0.0, best.baseline.value)
    return best.gain.value + plain > MANY_TIMES * plain and best.gain.is_above(0.0)


def judge_step_too_large(evidence: Evidence) -> Finding:
    """Overshoot: steps raise the loss of their own batch, and shorter ones gain more.

    Args:
        evidence: The evidence.

    Returns:
        The finding.
    """
    if is_diverged(evidence.survey, evidence.history):
        return _judge_divergence(divergence(evidence))
    survey = usable(evidence)
    if survey is None or not survey.own_uphill.is_finite:
        return _STEP_TOO_LARGE
    spoilt = how_spoilt(evidence)
    if spoilt:
        return found(_STEP_TOO_LARGE, True, statistic=survey.own_uphill, effect=_ALL, evidence=(spoilt,))
    share = best_of(evidence, _shorter_gain(evidence, survey), SHORTER_STEPS)
    bent = ratio(Estimate(survey.curvature.value + survey.higher_order.value), survey.promise).value
    says, otherwise = _overshoot_in_words(survey, share, bent), _other_cause(evidence, survey, share)
    present = False if otherwise else _overshoots(survey, share, bent)
    evidence_told = (*says, otherwise) if otherwise else says
    told = {"missing": "more examples: what shorter steps gain is within its error"} if present is None else {}
    return found(_STEP_TOO_LARGE, present, statistic=survey.own_uphill, effect=share, evidence=evidence_told, **told)


def _overshoot_in_words(survey: Survey, share: Estimate, bent: float) -> tuple[str, ...]:
    """What was measured of the length of the steps."""
    says = [
        f"{percent(survey.own_uphill.value)} of {survey.steps} steps raised the loss of their own batch",
        f"shorter steps gain {percent(share.value)} ± {percent(share.error, 2)} of the excess loss",
    ]
    if 0 < bent < math.inf:
        says.append(f"curvature takes {percent(bent)} of what steps promise")
    if survey.sharpness.is_finite:
        says.append(
            f"in the metric of the optimizer the sharpness is {number(survey.sharpness)}; beyond "
            f"{survey.stable_sharpness:.3g} steps diverge on a quadratic"
        )
    return tuple(says)


def _other_cause(evidence: Evidence, survey: Survey, share: Estimate) -> str:
    """Why shorter steps gain although it is not their length; empty if nothing else is known."""
    if judge_cliff(evidence).verdict is Verdict.PRESENT and not is_overshooting(evidence, survey):
        return "single gradients explode: it is walls that shorter steps run into less hard"
    if _is_cured_by_batch(evidence, survey, share):
        return "a larger batch gains as well: it is noise that shorter steps average out"
    return ""


def _overshoots(survey: Survey, share: Estimate, bent: float) -> bool | None:
    """Whether steps go too far and shorter ones gain; None if their gain is within its error."""
    goes_uphill, steep = survey.own_uphill.value >= UPHILL, is_steep(survey)
    if not (goes_uphill or steep or bent >= OVERSHOOT):
        return False
    if share.is_above(WORTH_IT, 1.0) and ((goes_uphill and steep) or share.is_above(0.0)):
        return True
    return False if share.is_below(WORTH_IT) else None


def _judge_divergence(how: Divergence) -> Finding:
    """The verdict on a run whose loss is not finite: it must have grown before, step by step."""
    verdict = how.is_overshoot
    if verdict is Verdict.UNDETERMINED:
        unsure = "whether the loss grew step by step or in one jump: the last losses before it was not finite"
        return found(_STEP_TOO_LARGE, None, missing=unsure, evidence=how.told())
    present = verdict is Verdict.PRESENT
    return found(_STEP_TOO_LARGE, present, effect=_ALL if present else NOTHING, evidence=how.told())


def _is_cured_by_batch(evidence: Evidence, survey: Survey, share: Estimate) -> bool:
    """Whether a step may be mostly noise, a larger batch gains half of what shorter steps do, and steps are stable."""
    batch = evidence.remedy(LARGER_BATCH)
    is_gaining = batch is not None and evidence.share(batch.gain).value > share.value / 2
    may_be_noise = is_noisy(survey) and not survey.noise_share.is_below(NOISY, 1.0)
    return is_gaining and may_be_noise and not is_straying(survey)


def _shorter_gain(evidence: Evidence, survey: Survey) -> Estimate:
    """What the best shorter step gains over the real one, as a share of the excess."""
    real = survey.rescaled.at(1.0)
    gains = [survey.rescaled.at(factor) for factor in survey.rescaled.factors if factor <= SHORTER]
    best = max((gain for gain in gains if gain.is_finite), key=lambda gain: gain.value, default=MISSING)
    if not real.is_finite:
        return evidence.share(best)
    return evidence.share(Estimate(best.value - real.value, math.hypot(best.error, real.error), best.count))
