"""Is it the place: a saddle, a minimum, a plateau, or dead units?"""

import math
from typing import Any

from theodolite.diagnosis.evidence import Evidence
from theodolite.diagnosis.names import ALONG_CURVATURE, RENEWED
from theodolite.diagnosis.rules.parts import (
    NO_SURVEY,
    NOTHING,
    best_move,
    best_of,
    found,
    is_bent_only,
    is_revived,
    is_severed,
    scaled_gain,
    usable,
)
from theodolite.diagnosis.rules.spoilt import how_spoilt
from theodolite.diagnosis.rules.thresholds import (
    ALIVE,
    BENT,
    CRITICAL,
    DEAD,
    MANY_TIMES,
    MORE,
    NOTHING_LEFT,
    SEVERED,
    SLIGHT,
    SLOW_FALL,
    TENTH,
    TWICE,
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
    missing=NO_SURVEY,
    needs="<",
)

_LOCAL_MINIMUM = Finding(
    "local_minimum",
    Verdict.UNDETERMINED,
    threshold=NOTHING_LEFT,
    meaning="best gain of any move that was tried, as a share of the excess loss",
    picture="eigenvalues",
    missing=NO_SURVEY,
    needs="<",
)

_PLATEAU = Finding(
    "plateau",
    Verdict.UNDETERMINED,
    threshold=NOTHING_LEFT,
    meaning="largest change of J, to second order, of weights changed by three tenths, as a share of the excess loss",
    picture="loss",
    missing=NO_SURVEY,
    needs="<",
)

_DEAD_UNITS = Finding(
    "dead_units",
    Verdict.UNDETERMINED,
    threshold=DEAD,
    meaning="share of units in the worst layer that are zero on every example",
    picture="dead_units",
    missing=NO_SURVEY,
)


_NO_WALLS = "curvature with a smaller error: it is not known whether there are walls around this point"


def judge_saddle_point(evidence: Evidence) -> Finding:
    """Near a critical point with a way down: little slope for the curvature, and clearly negative curvature.

    Args:
        evidence: The evidence.

    Returns:
        The finding.
    """
    survey = usable(evidence)
    if survey is None or not survey.smallest.is_finite:
        return _SADDLE_POINT
    if not survey.smallest.is_below(0.0, 1.0):
        return _judge_sign(survey)
    move, kick = survey.what_if("negative curvature"), survey.what_if("random kick")
    share = evidence.share(move.gain)
    says = (
        f"λmin = {number(survey.smallest)}, λmax = {number(survey.largest)}, ‖G‖ = {survey.grad_norm:.3g}",
        f"following λmin by {move.length:.3g} gains {number(move.gain)}, {percent(share.value)} of the excess loss; "
        f"a random kick of that length {number(kick.gain)}",
    )
    effect = best_of(evidence, share, (ALONG_CURVATURE,))
    gains = share.value > SLIGHT and effect.is_above(WORTH_IT, 1.0) and move.gain.value > 2 * max(kick.gain.value, 0.0)
    is_there = survey.escape < CRITICAL
    leads_out = _leads_out(evidence, MORE if is_there else TWICE) or _bends_out(evidence, survey)
    leads_out = leads_out and not _is_flat(evidence, survey)
    is_critical = is_there or (leads_out and best_move(evidence, survey).is_below(NOTHING_LEFT, 1.0))
    present = (gains or leads_out) and is_critical if move.gain.is_finite else None
    return found(_SADDLE_POINT, present, statistic=Estimate(survey.escape, 0.0), effect=effect, evidence=says)


def _leads_out(evidence: Evidence, most: float = TWICE) -> bool:
    """Whether a step along λmin leads to where plain steps gain far more than at any length from here."""
    along = evidence.remedy(ALONG_CURVATURE)
    if along is None or not along.gain.is_above(0.0):
        return False
    lengths = [cure.gain.value for cure in evidence.remedies if cure.name.startswith("step × ")]
    longest = max([0.0, *(gain for gain in lengths if math.isfinite(gain))])
    share, times = evidence.share(along.gain).value, along.gain.value / max(longest, 1e-300)
    return (share > TENTH and times > most) or (share > WORTH_IT and times > MANY_TIMES)


def _bends_out(evidence: Evidence, survey: Survey) -> bool:
    """Whether steps along |H|⁻¹G get far where none of another length does, though not for being better conditioned."""
    taken = evidence.corrected
    return is_bent_only(survey) and taken > TENTH and taken > MANY_TIMES * scaled_gain(evidence)


def _judge_sign(survey: Survey) -> Finding:
    """No negative curvature beyond its error: absent if the error is small for the spectrum, else nobody knows."""
    says = f"λmin = {number(survey.smallest)}: no negative curvature beyond its error"
    if survey.smallest.value - survey.smallest.error < -SLIGHT * abs(survey.largest.value):
        return found(
            _SADDLE_POINT, None, evidence=(says,), missing="more Lanczos products, until the sign of λmin is sure"
        )
    return found(_SADDLE_POINT, False, effect=NOTHING, evidence=(says,))


def judge_local_minimum(evidence: Evidence) -> Finding:
    """A critical point with no way down nearby, above the floor, with walls around it.

    Args:
        evidence: The evidence.

    Returns:
        The finding.
    """
    survey = usable(evidence)
    if survey is None or not survey.what_ifs or not survey.largest.is_finite:
        return _LOCAL_MINIMUM
    best, otherwise = best_move(evidence, survey), _why_no_minimum(evidence, survey)
    says = (
        f"the best move gains {percent(best.value)} ± {percent(best.error, 2)} of the excess, {evidence.excess:.4g}",
        f"λmin = {number(survey.smallest)}, λmax = {number(survey.largest)}",
    )
    if otherwise:
        return found(_LOCAL_MINIMUM, False, statistic=best, evidence=(otherwise, *says))
    if not survey.largest.is_above(0.0):
        return found(_LOCAL_MINIMUM, None, statistic=best, evidence=says, missing=_NO_WALLS)
    if best.is_below(NOTHING_LEFT, 1.0):
        advice = "if this is the least loss that the model can reach, say so with floor="
        return found(_LOCAL_MINIMUM, True, statistic=best, effect=NOTHING, evidence=(*says, advice))
    present = False if best.value > NOTHING_LEFT else None
    told = {"missing": "more examples, to tell a small gain from none"} if present is None else {}
    return found(_LOCAL_MINIMUM, present, statistic=best, evidence=says, **told)


def _why_no_minimum(evidence: Evidence, survey: Survey) -> str:
    """What speaks against a minimum above the floor, whatever moves gain; empty if nothing does."""
    if evidence.is_at_floor:
        return "the loss is at its floor"
    if evidence.history.fallen.is_above(SLOW_FALL):
        return "the loss is still falling"
    if evidence.corrected > NOTHING_LEFT:
        return f"curvature-corrected steps go on down: they took {percent(evidence.corrected)} of the excess"
    if _is_flat(evidence, survey) or is_severed(survey):
        return "there are no walls here: it is flat"
    if _leads_out(evidence):
        return "the most negative curvature leads down on a branch"
    is_bent = survey.smallest.value < -max(2 * survey.smallest.error, SLIGHT * survey.largest.value)
    return "the loss bends down in some direction" if is_bent and not _is_trapped(evidence) else ""


def _is_trapped(evidence: Evidence) -> bool:
    """Whether following λmin on a branch led nowhere, while new parameters get a tenth of the excess farther."""
    along = evidence.remedy(ALONG_CURVATURE)
    led_nowhere = along is not None and evidence.share(along.gain).is_below(NOTHING_LEFT)
    return led_nowhere and evidence.is_overtaken


def judge_plateau(evidence: Evidence) -> Finding:
    """Gradient and curvature have vanished: neither offers a gain, all over or in the layers behind the last ones.

    Args:
        evidence: The evidence.

    Returns:
        The finding.
    """
    survey = usable(evidence)
    if survey is None or not (math.isfinite(survey.flatness) or survey.depth_ratio < VANISHING):
        return _PLATEAU
    if evidence.is_at_floor:
        return found(_PLATEAU, False, evidence=("the loss is at its floor",))
    best, flat = best_move(evidence, survey), evidence.share(Estimate(survey.flatness, 0.0))
    says = [
        f"weights changed by three tenths change the loss by {percent(flat.value)} of its excess, to second order",
        f"the best move gains {percent(best.value)} ± {percent(best.error, 2)}",
    ]
    if math.isfinite(survey.depth_ratio):
        says.append(f"the weakest layer's gradient is {survey.depth_ratio:.1e} of the strongest's")
    if survey.saturated > 0:
        says.append(f"{percent(survey.saturated)} of the sigmoid and tanh units are saturated on every example")
    is_still = best.is_below(NOTHING_LEFT, 1.0) if math.isfinite(best.error) else None
    present = is_still if _is_flat(evidence, survey) and not is_severed(survey) else False
    return found(_PLATEAU, present, statistic=flat, effect=NOTHING, evidence=tuple(says))


def _is_flat(evidence: Evidence, survey: Survey) -> bool:
    """Whether gradient and curvature have vanished, all over or across depth; near-zero weights at a saddle look so."""
    is_bent = survey.smallest.value < -BENT * survey.largest.value
    is_bowl = survey.smallest.is_above(SLIGHT * survey.largest.value)  # walls in every direction
    is_deep = survey.depth_ratio < VANISHING and not (is_bent or is_bowl)
    return evidence.share(Estimate(survey.flatness, 0.0)).value < NOTHING_LEFT or is_deep


def judge_dead_units(evidence: Evidence) -> Finding:
    """Capacity is gone: units that are zero on every example.

    Args:
        evidence: The evidence.

    Returns:
        The finding.
    """
    survey = usable(evidence)
    if survey is None or not math.isfinite(survey.dead_worst):
        return _DEAD_UNITS
    says = [f"{percent(survey.dead_fraction)} of all hidden units are zero on all {survey.examples} examples"]
    if survey.dead_layer:
        says.append(f"worst: the input of {survey.dead_layer}, {percent(survey.dead_worst)}")
    if survey.blocked > 0:
        says.append(f"{percent(survey.blocked)} of the parameters get no gradient at all")
    if survey.silent_rectifiers > 0:
        says.append(f"{percent(survey.silent_rectifiers)} of the rectifiers hand on nothing but zero")
    killed = how_spoilt(evidence)
    says += [f"long steps killed them: {killed}"] if killed else []
    worst = 1.0 if survey.silent_rectifiers > 0 and survey.blocked >= DEAD else survey.dead_worst
    is_severe = max(worst, survey.blocked) >= SEVERED
    measured: dict[str, Any] = {
        "statistic": Estimate(worst, 0.0, survey.examples),
        "effect": Estimate(1.0, 0.0) if is_severe else Estimate(survey.dead_fraction / 2, math.nan),
    }
    if is_revived(survey) and worst >= DEAD:
        why = f"{says[0]}, but not lost: the most negative curvature brings them back"
        return found(_DEAD_UNITS, False, evidence=(why, *says[1:]), **measured)
    if DEAD <= worst < SEVERED and _is_spare(evidence):
        why = "brought back on a branch, they gain nothing: it is not capacity that the run lacks"
        return found(_DEAD_UNITS, False, evidence=(*says, why), **measured | {"effect": NOTHING})
    if ALIVE < worst < DEAD:
        unsure = "whether the lost units matter: re-initialise them on a branch"
        return found(_DEAD_UNITS, None, evidence=tuple(says), missing=unsure, **measured)
    return found(_DEAD_UNITS, worst >= DEAD, evidence=tuple(says), **measured)


def _is_spare(evidence: Evidence) -> bool:
    """Whether dead units that were re-initialised gained nothing, and new parameters get no farther either."""
    revived = evidence.remedy(RENEWED)
    is_idle = revived is not None and evidence.cured(revived).is_below(WORTH_IT)
    return is_idle and not evidence.is_overtaken
