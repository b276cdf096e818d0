"""Is it what lies far off: no minimum to arrive at, or a better place that the local slope does not lead to?"""

import math
from dataclasses import replace

from theodolite.diagnosis.evidence import Evidence
from theodolite.diagnosis.rules.parts import NO_SURVEY, best_move, found, headroom, is_bent_only, scaled_gain, usable
from theodolite.diagnosis.rules.points import judge_local_minimum, judge_plateau
from theodolite.diagnosis.rules.thresholds import (
    ALONG,
    CURED,
    FAR_GAIN,
    LATE,
    NEARLY_ALL,
    ROUGHLY_ALONG,
    SEVERAL_TIMES,
    SLIGHT_GAIN,
    WITHIN,
)
from theodolite.diagnosis.words import number
from theodolite.records import Estimate, Finding, Known, Ray, Survey, Verdict

_NO_MINIMUM = Finding(
    "no_minimum",
    Verdict.UNDETERMINED,
    threshold=NEARLY_ALL,
    meaning="share of the excess loss that is gone at the far end of a straight line on which the loss never rises",
    picture="norm",
    missing=NO_SURVEY,
    source="Soudry et al. 2018",
)

ENDLESS = ("outward", "growing weights", "growing last layer")
"""Ways on which a loss may fall for ever."""

_NONLOCAL = Finding(
    "nonlocal_structure",
    Verdict.UNDETERMINED,
    threshold=FAR_GAIN,
    meaning="share of the excess loss that the best known point takes off, beyond a barrier or off the way downhill",
    picture="path",
    missing=NO_SURVEY,
)


def judge_no_minimum(evidence: Evidence) -> Finding:
    """J falls for ever: along the way that the run goes it never rises again, and nearly all of it goes.

    Args:
        evidence: The evidence.

    Returns:
        The finding.
    """
    survey = evidence.survey
    rays = [ray for ray in survey.rays if ray.name in ENDLESS] if survey is not None else []
    if not rays:
        return _NO_MINIMUM
    endless = [ray for ray in rays if ray.is_falling and NEARLY_ALL < _taken(evidence, ray) <= 2 - NEARLY_ALL]
    best = max(endless or rays, key=lambda ray: (_taken(evidence, ray), ray.cosine))
    says = (
        f"{best.name}: at {best.lengths[-1]:.3g} from here the loss is {best.losses[-1]:.3g}, "
        + ("and it never rises on the way" if best.is_falling else "and it rises on the way"),
        f"the cosine of this way with the steepest descent is {best.cosine:.2g}",
        f"of the first excess, {evidence.initial_excess:.3g}, {evidence.excess:.3g} is left",
    )
    is_late = evidence.excess <= LATE * evidence.initial_excess
    aligned = max((ray.cosine for ray in rays if math.isfinite(ray.cosine)), default=0.0)
    present = any((is_late and aligned > ROUGHLY_ALONG) or ray.cosine > ALONG for ray in endless)
    effect = Estimate(1.0, 0.0) if present else Estimate(0.0, 0.0)
    return found(_NO_MINIMUM, present, statistic=Estimate(_taken(evidence, best), 0.0), effect=effect, evidence=says)


def _taken(evidence: Evidence, ray: Ray) -> float:
    """Share of the excess that is gone at the end of a ray; −inf where that is not finite."""
    taken = evidence.share(Estimate(float(ray.losses[0] - ray.losses[-1]), 0.0)).value
    return taken if math.isfinite(taken) else -math.inf


def judge_nonlocal_structure(evidence: Evidence) -> Finding:
    """Local information misleads: a better point is known, and neither slope nor curvature leads there.

    Args:
        evidence: The evidence.

    Returns:
        The finding.
    """
    survey = usable(evidence)
    if survey is None or not survey.rays:
        return _NONLOCAL
    if any(rule(evidence).verdict is Verdict.PRESENT for rule in (judge_local_minimum, judge_plateau)):
        why = "nothing is left to follow here: an obstacle of its own"
        return found(_NONLOCAL, False, effect=Estimate(0.0, 0.0), evidence=(why,))
    if _winds(evidence, survey):
        gained = Estimate(evidence.corrected - max(0.0, scaled_gain(evidence)), 0.0)
        why = "many steps along |H|⁻¹G get there, and one of them gains no more than a plain one: the way winds"
        return found(_NONLOCAL, True, statistic=gained, effect=gained, evidence=(why,))
    if best_move(evidence, survey).value > SLIGHT_GAIN or evidence.corrected > CURED:
        why = "local moves find a way down"
        return found(_NONLOCAL, False, effect=Estimate(0.0, 0.0), evidence=(why,))
    far = [(evidence.share(place.gain), _told(place)) for place in survey.known if _is_hidden(evidence, survey, place)]
    far += _jumps(evidence, survey)
    if not far:
        why = "no better point is known that the slope does not lead to"
        return found(_NONLOCAL, False, effect=Estimate(0.0, 0.0), evidence=(why,))
    share, told = max(far, key=lambda pair: pair[0].value)
    local = f"the best local move gains {number(best_move(evidence, survey))} of the excess"
    return found(_NONLOCAL, share.value > FAR_GAIN, statistic=share, effect=share, evidence=(told, local))


def _winds(evidence: Evidence, survey: Survey) -> bool:
    """Whether a way down is followed by many short steps that are right by curvature, and by no single one."""
    taken = evidence.corrected
    return (
        is_bent_only(survey) and survey.escape > 1 and taken > CURED and taken > SEVERAL_TIMES * scaled_gain(evidence)
    )


def _told(place: Known) -> str:
    """A better point in words."""
    rise = f"rises by {place.barrier:.3g}" if place.barrier > 0 else "does not rise"
    return (
        f"{place.source}, {place.distance:.3g} away, the loss is lower by {number(place.gain)}; on the straight line "
        f"there it {rise}, and the cosine with the steepest descent is {place.cosine:.2g}"
    )


def _jumps(evidence: Evidence, survey: Survey) -> list[tuple[Estimate, str]]:
    """What steps gain that are too long to be stable: they land elsewhere."""
    longest = headroom(survey, about=1.5)
    found_far = []
    for cure in evidence.remedies:
        factor = float(cure.name.removeprefix("step × ")) if cure.name.startswith("step × ") else 0.0
        if factor > max(longest, 1.0) and cure.gain.is_finite:
            told = f"steps {factor:g} times as long, far beyond what is stable, land where the loss has"
            size = replace(cure.gain, value=abs(cure.gain.value))
            sense = "fallen" if cure.gain.value > 0 else "risen"
            found_far.append((evidence.share(cure.gain), f"{told} {sense} by {number(size)}"))
    return found_far


def _is_hidden(evidence: Evidence, survey: Survey, place: Known) -> bool:
    """Whether a place is in reach and ahead, and the way there goes over a barrier or off the way downhill."""
    way = evidence.trail.displacement if evidence.trail is not None else 0.0
    is_behind = place.source.startswith("step ")  # the run was there, and was thrown back
    if is_behind or place.distance > WITHIN * max(survey.param_norm, way):
        return False
    return evidence.share(Estimate(place.barrier, 0.0)).value > SLIGHT_GAIN or abs(place.cosine) < FAR_GAIN
