"""What does the evidence say of each obstacle? One pure rule an obstacle, ``judge(evidence) -> Finding``.

Every threshold stands here with its reason. Gains are shares of the excess loss J − floor, cross-validated by the
survey. A rule answers UNDETERMINED when what it needs was not measured.
"""

import math
from collections.abc import Callable
from dataclasses import replace

from theodolite.diagnosis.evidence import Evidence, is_diverged
from theodolite.diagnosis.words import number, percent
from theodolite.records import MISSING, Estimate, Finding, Status, Survey, Verdict

USEFUL_FALL = 0.1
"""A healthy loss falls like a power of the step. While the age doubles, t^(-1/2) loses 29 % of its excess, t^(-0.15)
10 %: slower than that is not what a run is kept on for."""

WORTH_IT = 0.02
"""A move is worth taking when it gains a fiftieth of the excess: fifty such moves finish the job."""

NOTHING_LEFT = 0.02
"""No way down: the best move that was found, with two errors, gains less than a fiftieth of the excess."""

MANY_TIMES = 5.0
"""A rescaled step gains *many times* the real one at five times: more than the usual tuning of a step would bring."""

LONGER, SHORTER = 10.0, 0.3
"""A step is far too small if ten times its length serves it, and too large if a third does."""

UPHILL = 0.3
"""Steps of a sensible length lower the loss of their own batch; three uphill in ten is no accident among 16."""

OVERSHOOT = 0.4
"""Curvature takes ½·step·λ of a promise: half at the best length for the own batch, all at the stability limit."""

NOISY = 0.5
"""The promise is lost to noise when more than half of it is."""

CRITICAL = 0.3
"""Near a critical point the slope changes the loss less than a third of what curvature does over the same length."""

DEAD, ALIVE = 0.5, 0.2
"""Half of a layer dead is loss of capacity; a fifth is usual in healthy rectifier nets."""

REVIVED = 0.1
"""A dead unit has neither gradient nor curvature; a unit that is zero at a saddle has a part in its way down."""

SEVERED = 0.95
"""A layer with so many dead units hands on next to nothing."""

VANISHING = 1e-4
"""Gradient scales of layers differ by one or two decades in healthy nets; four decades mean that depth kills them."""

LARGER_BATCH = "batch × 8"
"""Name of the cure that tells noise from steps that are too long."""

Rule = Callable[[Evidence], Finding]


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

_SADDLE_POINT = Finding(
    "saddle_point",
    Verdict.UNDETERMINED,
    threshold=CRITICAL,
    meaning="slope against negative curvature, ‖G‖ / (|λmin|·s), over the length s on which the quadratic model holds",
    picture="eigenvalues",
    source="Dauphin et al. 2014",
)

_LOCAL_MINIMUM = Finding(
    "local_minimum",
    Verdict.UNDETERMINED,
    threshold=NOTHING_LEFT,
    meaning="best gain of any move that was tried, as a share of the excess loss",
    picture="eigenvalues",
)

_PLATEAU = Finding(
    "plateau",
    Verdict.UNDETERMINED,
    threshold=NOTHING_LEFT,
    meaning="largest change of J to second order when the weights change by a tenth, as a share of the excess loss",
    picture="loss",
)

_DEAD_UNITS = Finding(
    "dead_units",
    Verdict.UNDETERMINED,
    threshold=DEAD,
    meaning="share of units in the worst layer that are zero on every example",
    picture="dead_units",
)


def judge_none(evidence: Evidence) -> Finding:
    """The loss falls at a useful rate for its age, or is at its floor."""
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
    elif fallen.is_below(USEFUL_FALL, 1.0):
        verdict = Verdict.ABSENT
    else:
        verdict = Verdict.UNDETERMINED
    missing = "" if verdict is not Verdict.UNDETERMINED else "more steps: the trend is within its scatter"
    return replace(_NONE, verdict=verdict, statistic=fallen, evidence=(why,), missing=missing)


def judge_step_too_small(evidence: Evidence) -> Finding:
    """The direction is fine, the step is not: the same step, made longer, gains many times more."""
    survey = _usable(evidence)
    if survey is None or not survey.rescaled.factors:
        return replace(_STEP_TOO_SMALL, verdict=Verdict.UNDETERMINED, missing=_MISSING_SURVEY)
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
    ratio = _ratio(best, real)
    says = (
        f"steps × {factor:g} gain {number(best)} each, {percent(share.value)} of the excess loss",
        f"as they are, they gain {number(real)}",
    )
    present = share.is_above(WORTH_IT) and best.value - 2 * best.error > MANY_TIMES * max(real.value, 0.0)
    present = present and _is_first_order(survey) and _is_sustained(evidence)
    verdict = Verdict.PRESENT if present else Verdict.ABSENT
    return replace(_STEP_TOO_SMALL, verdict=verdict, statistic=ratio, effect=share, evidence=says)


def judge_step_too_large(evidence: Evidence) -> Finding:
    """Overshoot: steps raise the loss of their own batch, and shorter ones gain more."""
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
    survey = _usable(evidence)
    if survey is None or not survey.own_uphill.is_finite:
        return replace(_STEP_TOO_LARGE, verdict=Verdict.UNDETERMINED, missing=_MISSING_SURVEY)
    cures = ("step × 0.1", "step × 0.3")
    share = _best_of(evidence, _shorter_gain(evidence, survey), cures)
    batch = evidence.remedy(LARGER_BATCH)
    says = [
        f"{percent(survey.own_uphill.value)} of {survey.steps} steps raised the loss of their own batch",
        f"shorter steps gain {percent(share.value)} ± {percent(share.error)} of the excess loss",
    ]
    is_noise = batch is not None and evidence.share(batch.gain).value > share.value / 2 and _is_noisy(survey)
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


def _is_noisy(survey: Survey) -> bool:
    """Whether a batch has more noise than gradient: the noise scale exceeds its size."""
    return not survey.noise_scale.value < survey.batch


def _shorter_gain(evidence: Evidence, survey: Survey) -> Estimate:
    """What the best shorter step gains over the real one, as a share of the excess."""
    real = survey.rescaled.at(1.0)
    gains = [survey.rescaled.at(factor) for factor in survey.rescaled.factors if factor <= SHORTER]
    best = max((gain for gain in gains if gain.is_finite), key=lambda gain: gain.value, default=MISSING)
    if not real.is_finite:
        return evidence.share(best)
    return evidence.share(Estimate(best.value - real.value, math.hypot(best.error, real.error), best.count))


def judge_gradient_noise(evidence: Evidence) -> Finding:
    """The batch gradient is mostly noise: its promise arrives on its own batch only, and a larger batch gains."""
    survey = _usable(evidence)
    if survey is None or not survey.promise.is_finite:
        return replace(_GRADIENT_NOISE, verdict=Verdict.UNDETERMINED, missing=_MISSING_SURVEY)
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
    if not _is_noisy(survey):
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


def judge_saddle_point(evidence: Evidence) -> Finding:
    """Near a critical point with a way down: little slope for the curvature, and clearly negative curvature."""
    survey = _usable(evidence)
    if survey is None or not survey.smallest.is_finite:
        return replace(_SADDLE_POINT, verdict=Verdict.UNDETERMINED, missing=_MISSING_SURVEY)
    if not survey.smallest.is_below(0.0, 1.0):
        none = f"λmin = {number(survey.smallest)}: no negative curvature beyond its error"
        return replace(_SADDLE_POINT, verdict=Verdict.ABSENT, effect=Estimate(0.0, 0.0), evidence=(none,))
    move, kick = survey.what_if("negative curvature"), survey.what_if("random kick")
    share = evidence.share(move.gain)
    says = (
        f"λmin = {number(survey.smallest)}, λmax = {number(survey.largest)}, ‖G‖ = {survey.grad_norm:.3g}",
        f"following λmin by {move.length:.3g} gains {number(move.gain)}, {percent(share.value)} of the excess loss; "
        f"a random kick of that length {number(kick.gain)}",
    )
    statistic = Estimate(survey.escape, 0.0)
    gains = share.is_above(WORTH_IT, 1.0) and move.gain.value > 2 * max(kick.gain.value, 0.0)
    present = gains and survey.escape < CRITICAL
    verdict = Verdict.PRESENT if present else Verdict.ABSENT
    effect = _best_of(evidence, share, ("move along negative curvature",))
    return replace(_SADDLE_POINT, verdict=verdict, statistic=statistic, effect=effect, evidence=says)


def judge_local_minimum(evidence: Evidence) -> Finding:
    """A critical point with no way down nearby, above the floor, with walls around it."""
    survey = _usable(evidence)
    if survey is None or not survey.what_ifs or not survey.largest.is_finite:
        return replace(_LOCAL_MINIMUM, verdict=Verdict.UNDETERMINED, missing=_MISSING_SURVEY)
    if evidence.is_at_floor:
        return replace(_LOCAL_MINIMUM, verdict=Verdict.ABSENT, evidence=("the loss is at its floor",))
    best = _best_move(evidence, survey)
    says = (
        f"the best move gains {percent(best.value)} ± {percent(best.error)} of the excess, {evidence.excess:.4g}",
        f"λmin = {number(survey.smallest)}, λmax = {number(survey.largest)}",
        "if this is the least loss that the model can reach, say so with floor=",
    )
    if _is_flat(evidence, survey) or _is_severed(survey):
        return replace(
            _LOCAL_MINIMUM,
            verdict=Verdict.ABSENT,
            statistic=best,
            evidence=(*says[:2], "there are no walls here: it is flat"),
        )
    curved_down = survey.smallest.value < -max(2 * survey.smallest.error, 1e-2 * survey.largest.value)
    if best.is_below(NOTHING_LEFT, 1.0) and not curved_down:
        verdict = Verdict.PRESENT
    elif best.value > NOTHING_LEFT or curved_down:
        verdict = Verdict.ABSENT
    else:
        verdict = Verdict.UNDETERMINED
    missing = "" if verdict is not Verdict.UNDETERMINED else "more examples, to tell a small gain from none"
    return replace(
        _LOCAL_MINIMUM, verdict=verdict, statistic=best, effect=Estimate(0.0, 0.0), evidence=says, missing=missing
    )


def judge_plateau(evidence: Evidence) -> Finding:
    """Gradient and curvature have vanished: neither offers a gain, all over or in the layers behind the last ones."""
    survey = _usable(evidence)
    if survey is None or not math.isfinite(survey.flatness):
        return replace(_PLATEAU, verdict=Verdict.UNDETERMINED, missing=_MISSING_SURVEY)
    if evidence.is_at_floor:
        return replace(_PLATEAU, verdict=Verdict.ABSENT, evidence=("the loss is at its floor",))
    best = _best_move(evidence, survey)
    flat = evidence.share(Estimate(survey.flatness, 0.0))
    says = [
        f"weights changed by a tenth change the loss by {percent(flat.value)} of its excess at most, to second order",
        f"the best move gains {percent(best.value)} ± {percent(best.error)}",
    ]
    if math.isfinite(survey.depth_ratio):
        says.append(f"the weakest layer's gradient is {survey.depth_ratio:.1e} of the strongest's")
    present = _is_flat(evidence, survey) and best.is_below(NOTHING_LEFT, 1.0) and not _is_severed(survey)
    verdict = Verdict.PRESENT if present else Verdict.ABSENT
    return replace(_PLATEAU, verdict=verdict, statistic=flat, effect=Estimate(0.0, 0.0), evidence=tuple(says))


def judge_dead_units(evidence: Evidence) -> Finding:
    """Capacity is gone: units that are zero on every example."""
    survey = _usable(evidence)
    if survey is None or not math.isfinite(survey.dead_worst):
        return replace(_DEAD_UNITS, verdict=Verdict.UNDETERMINED, missing=_MISSING_SURVEY)
    says = [f"{percent(survey.dead_fraction)} of all hidden units are zero on all {survey.examples} examples"]
    if survey.dead_layer:
        says.append(f"worst: the input of {survey.dead_layer}, {percent(survey.dead_worst)}")
    if survey.blocked > 0:
        says.append(f"{percent(survey.blocked)} of the parameters get no gradient at all")
    statistic = Estimate(survey.dead_worst, 0.0, survey.examples)
    effect = Estimate(1.0 if survey.dead_worst >= SEVERED else survey.dead_fraction / 2, math.nan)
    verdict = Verdict.PRESENT if survey.dead_worst >= DEAD else Verdict.ABSENT
    if survey.revived > REVIVED and survey.dead_worst >= DEAD:
        says.append("but they are not lost: the most negative curvature brings them back")
        verdict = Verdict.ABSENT
    elif ALIVE < survey.dead_worst < DEAD:
        verdict = Verdict.UNDETERMINED
    missing = (
        "" if verdict is not Verdict.UNDETERMINED else "whether the lost units matter: re-initialise them on a branch"
    )
    return replace(
        _DEAD_UNITS, verdict=verdict, statistic=statistic, effect=effect, evidence=tuple(says), missing=missing
    )


RULES: dict[str, Rule] = {
    "none": judge_none,
    "step_too_small": judge_step_too_small,
    "step_too_large": judge_step_too_large,
    "gradient_noise": judge_gradient_noise,
    "saddle_point": judge_saddle_point,
    "local_minimum": judge_local_minimum,
    "plateau": judge_plateau,
    "dead_units": judge_dead_units,
}
"""The rules that there are; other obstacles are undetermined."""

_MISSING_SURVEY = (
    "a survey of the point that the training has reached: call monitor.diagnose() while the model is there"
)


def _usable(evidence: Evidence) -> Survey | None:
    """The survey, if it found finite numbers."""
    survey = evidence.survey
    return survey if survey is not None and survey.status is not Status.NONFINITE else None


def _ratio(part: Estimate, whole: Estimate) -> Estimate:
    """Part over whole with propagated error; infinite if the whole is not positive."""
    if not whole.value > 0:
        return Estimate(math.inf, math.nan, part.count)
    value = part.value / whole.value
    return Estimate(value, math.hypot(part.error, value * whole.error) / whole.value, part.count)


def _best_move(evidence: Evidence, survey: Survey) -> Estimate:
    """Greatest gain of the moves that follow gradient or curvature, as a share of the excess."""
    gains = [evidence.share(move.gain) for move in survey.what_ifs if move.name != "random kick"]
    return max(gains, key=lambda gain: gain.value, default=MISSING)


def _best_of(evidence: Evidence, share: Estimate, names: tuple[str, ...]) -> Estimate:
    """The greater of a what-if's share and what the cures of these names gained on branches."""
    tried = [evidence.remedy(name) for name in names]
    shares = [evidence.share(r.gain) for r in tried if r is not None and r.gain.is_finite]
    return max([share, *shares], key=lambda gain: gain.value if gain.is_finite else -math.inf)


def _is_flat(evidence: Evidence, survey: Survey) -> bool:
    """Whether gradient and curvature have vanished, all over or across depth."""
    return evidence.share(Estimate(survey.flatness, 0.0)).value < NOTHING_LEFT or survey.depth_ratio < VANISHING


def _is_sustained(evidence: Evidence) -> bool:
    """Whether ten times the step, kept up on a branch, gains at least half of ten times as much; True if not tried."""
    tried = evidence.remedy("step × 10")
    if tried is None:
        return True
    plain = max(0.0, tried.baseline.value)
    return tried.gain.is_finite and tried.gain.value + plain > MANY_TIMES * plain and tried.gain.is_above(0.0)


def _is_severed(survey: Survey) -> bool:
    """Whether a layer hands on next to nothing, and second order does not bring it back."""
    return survey.dead_worst >= SEVERED and not survey.revived > REVIVED


def _is_first_order(survey: Survey) -> bool:
    """Whether the slope, not negative curvature, is what a longer step would follow."""
    return not (survey.escape < CRITICAL and survey.smallest.is_below(0.0, 1.0))
