"""Is it the place: a saddle, a minimum, a plateau, or dead units?"""

import math
from dataclasses import replace

from theodolite.diagnosis.evidence import Evidence
from theodolite.diagnosis.rules.parts import (
    NO_SURVEY,
    best_move,
    best_of,
    is_severed,
    usable,
)
from theodolite.diagnosis.rules.thresholds import (
    ALIVE,
    CRITICAL,
    DEAD,
    NOTHING_LEFT,
    REVIVED,
    SEVERED,
    VANISHING,
    WORTH_IT,
)
from theodolite.diagnosis.words import number, percent
from theodolite.records import Estimate, Finding, Survey, Verdict

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
    meaning="largest change of J, to second order, of weights changed by three tenths, as a share of the excess loss",
    picture="loss",
)

_DEAD_UNITS = Finding(
    "dead_units",
    Verdict.UNDETERMINED,
    threshold=DEAD,
    meaning="share of units in the worst layer that are zero on every example",
    picture="dead_units",
)


def judge_saddle_point(evidence: Evidence) -> Finding:
    """Near a critical point with a way down: little slope for the curvature, and clearly negative curvature.

    Args:
        evidence: The evidence.

    Returns:
        The finding.
    """
    survey = usable(evidence)
    if survey is None or not survey.smallest.is_finite:
        return replace(_SADDLE_POINT, verdict=Verdict.UNDETERMINED, missing=NO_SURVEY)
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
    effect = best_of(evidence, share, ("move along negative curvature",))
    return replace(_SADDLE_POINT, verdict=verdict, statistic=statistic, effect=effect, evidence=says)


def judge_local_minimum(evidence: Evidence) -> Finding:
    """A critical point with no way down nearby, above the floor, with walls around it.

    Args:
        evidence: The evidence.

    Returns:
        The finding.
    """
    survey = usable(evidence)
    if survey is None or not survey.what_ifs or not survey.largest.is_finite:
        return replace(_LOCAL_MINIMUM, verdict=Verdict.UNDETERMINED, missing=NO_SURVEY)
    if evidence.is_at_floor:
        return replace(_LOCAL_MINIMUM, verdict=Verdict.ABSENT, evidence=("the loss is at its floor",))
    best = best_move(evidence, survey)
    says = (
        f"the best move gains {percent(best.value)} ± {percent(best.error)} of the excess, {evidence.excess:.4g}",
        f"λmin = {number(survey.smallest)}, λmax = {number(survey.largest)}",
        "if this is the least loss that the model can reach, say so with floor=",
    )
    if _is_flat(evidence, survey) or is_severed(survey):
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
    """Gradient and curvature have vanished: neither offers a gain, all over or in the layers behind the last ones.

    Args:
        evidence: The evidence.

    Returns:
        The finding.
    """
    survey = usable(evidence)
    if survey is None or not math.isfinite(survey.flatness):
        return replace(_PLATEAU, verdict=Verdict.UNDETERMINED, missing=NO_SURVEY)
    if evidence.is_at_floor:
        return replace(_PLATEAU, verdict=Verdict.ABSENT, evidence=("the loss is at its floor",))
    best = best_move(evidence, survey)
    flat = evidence.share(Estimate(survey.flatness, 0.0))
    says = [
        f"weights changed by three tenths change the loss by {percent(flat.value)} of its excess, to second order",
        f"the best move gains {percent(best.value)} ± {percent(best.error)}",
    ]
    if math.isfinite(survey.depth_ratio):
        says.append(f"the weakest layer's gradient is {survey.depth_ratio:.1e} of the strongest's")
    present = _is_flat(evidence, survey) and best.is_below(NOTHING_LEFT, 1.0) and not is_severed(survey)
    verdict = Verdict.PRESENT if present else Verdict.ABSENT
    return replace(_PLATEAU, verdict=verdict, statistic=flat, effect=Estimate(0.0, 0.0), evidence=tuple(says))


def _is_flat(evidence: Evidence, survey: Survey) -> bool:
    """Whether gradient and curvature have vanished, all over or across depth."""
    return evidence.share(Estimate(survey.flatness, 0.0)).value < NOTHING_LEFT or survey.depth_ratio < VANISHING


def judge_dead_units(evidence: Evidence) -> Finding:
    """Capacity is gone: units that are zero on every example.

    Args:
        evidence: The evidence.

    Returns:
        The finding.
    """
    survey = usable(evidence)
    if survey is None or not math.isfinite(survey.dead_worst):
        return replace(_DEAD_UNITS, verdict=Verdict.UNDETERMINED, missing=NO_SURVEY)
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
