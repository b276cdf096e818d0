"""Is it the shape of the surface under the steps: badly conditioned, or with cliffs?"""

import math
from typing import Any

from theodolite.diagnosis.divergence import Divergence, divergence
from theodolite.diagnosis.evidence import Evidence, greatest_spike, is_diverged
from theodolite.diagnosis.names import CLIPPING
from theodolite.diagnosis.rules.noise import judge_gradient_noise
from theodolite.diagnosis.rules.parts import (
    NO_SURVEY,
    found,
    headroom,
    is_bent_only,
    is_overshooting,
    is_slowed_by_inputs,
    scaled_gain,
    usable,
)
from theodolite.diagnosis.rules.spoilt import how_spoilt
from theodolite.diagnosis.rules.thresholds import (
    CRITICAL,
    FAR_FROM_STABLE,
    NEARLY_ALL,
    SEVERAL_TIMES,
    STIFF,
    TENTH,
    TWENTY_TIMES,
    UPHILL,
    WORTH_IT,
)
from theodolite.diagnosis.spikes import SPIKE
from theodolite.diagnosis.words import number, percent
from theodolite.records import MISSING, Estimate, Finding, Verdict

_ILL_CONDITIONING = Finding(
    "ill_conditioning",
    Verdict.UNDETERMINED,
    threshold=SEVERAL_TIMES,
    meaning="gain of a few curvature-corrected steps over that of the best single step size, kept up on a branch",
    picture="conditioning",
    missing=NO_SURVEY,
)

_CLIFF = Finding(
    "cliff",
    Verdict.UNDETERMINED,
    threshold=SPIKE,
    meaning="greatest norm of a gradient over the median of those around it",
    picture="gradient_norms",
    missing=NO_SURVEY,
    source="Pascanu et al. 2013",
)


def judge_ill_conditioning(evidence: Evidence) -> Finding:
    """No single step size fits: steps corrected for curvature gain many times what the best step size gains.

    Args:
        evidence: The evidence.

    Returns:
        The finding.
    """
    survey, gained, scaled = usable(evidence), evidence.corrected, scaled_gain(evidence)
    if survey is None or not (math.isfinite(gained) and math.isfinite(scaled)):
        return _ILL_CONDITIONING
    times = gained / max(scaled, 1e-9)
    count = len(evidence.trials.corrected)
    says = (
        f"{count} curvature-corrected steps take {percent(gained)} off the excess; the best of all step sizes takes "
        f"{percent(scaled)} in {evidence.remedies[0].steps} steps",
        f"condition number {number(survey.condition_number)} for 99 % of the gradient; one corrected step gains "
        f"{number(survey.gain_ratio)} times the best plain one, to second order",
    )
    measured = {"statistic": Estimate(times, math.nan), "evidence": says}
    if judge_gradient_noise(evidence).verdict is Verdict.PRESENT:
        unsure = "steps on larger batches: corrected steps see all examples, and noise may be what they are free of"
        return found(_ILL_CONDITIONING, None, missing=unsure, **measured)
    if headroom(survey) > FAR_FROM_STABLE or judge_cliff(evidence).verdict is Verdict.PRESENT:
        return found(_ILL_CONDITIONING, False, **measured)
    if is_bent_only(survey) and not is_slowed_by_inputs(evidence):
        return found(_ILL_CONDITIONING, False, **measured)
    is_saddle = survey.escape < CRITICAL and survey.smallest.is_below(0.0, 1.0)
    is_cured = any(gained > share and times > at_least for share, at_least in STIFF)
    present = (is_cured or is_slowed_by_inputs(evidence)) and not is_saddle
    return found(
        _ILL_CONDITIONING,
        present,
        effect=Estimate(gained - max(scaled, 0.0), 0.0),
        **measured,
    )


def is_stiff(evidence: Evidence) -> bool:
    """Whether conditioning is in the way of a loss that falls all the same: corrected steps take nearly all at once."""
    judged = judge_ill_conditioning(evidence)
    is_far = evidence.corrected > NEARLY_ALL and judged.statistic.value > TWENTY_TIMES
    return judged.verdict is Verdict.PRESENT and is_far and not evidence.is_at_floor


def judge_cliff(evidence: Evidence) -> Finding:
    """Walls: gradients explode for single steps, and throw the run back.

    Args:
        evidence: The evidence.

    Returns:
        The finding.
    """
    if is_diverged(evidence.survey, evidence.history):
        return _judge_blow_up(divergence(evidence))
    greatest, survey = greatest_spike(evidence), usable(evidence)
    if not math.isfinite(greatest):
        return _CLIFF
    clip, lost = evidence.remedy(CLIPPING), evidence.share(evidence.history.thrown)
    share = evidence.cured(clip) if clip is not None else Estimate(math.nan)
    measured: dict[str, Any] = {"statistic": Estimate(greatest, 0.0), "effect": share}
    says = _walls_in_words(evidence, greatest, share)
    if survey is not None and is_overshooting(evidence, survey):
        why = "shorter steps gain twice as much: it is their length"
        return found(_CLIFF, False, evidence=(*says, why), **measured)
    if survey is not None and survey.own_uphill.value < UPHILL and lost.is_above(TENTH) and not how_spoilt(evidence):
        gone = f"{percent(lost.value)} ± {percent(lost.error, 2)} of the excess"
        why = f"after one that stood out the run lost {gone} again"
        return found(_CLIFF, True, evidence=(*says, why), **measured | {"effect": lost})
    if greatest < SPIKE:
        return found(_CLIFF, False, evidence=says, **measured)
    present = True if share.is_above(WORTH_IT, 1.0) or (clip is not None and clip.gain.value == math.inf) else None
    present = False if present is None and share.is_below(WORTH_IT) else present
    return found(_CLIFF, present, evidence=says, **measured)


def _walls_in_words(evidence: Evidence, greatest: float, share: Estimate) -> tuple[str, ...]:
    """What was measured of gradients that stand out, and of cutting them."""
    says = [f"the greatest gradient is {greatest:.3g} times the median of those around it"]
    clip, survey = evidence.remedy(CLIPPING), usable(evidence)
    if clip is not None:
        gained = f"{percent(share.value)} ± {percent(share.error, 2)} of the excess loss"
        is_saved = clip.gain.value == math.inf
        says.append("clipping saves a branch that diverges without it" if is_saved else f"clipping gains {gained}")
    cut = survey.what_if("clipping").gain if survey is not None else MISSING
    if survey is not None and cut.is_finite:
        real = number(survey.delivered)
        says.append(f"single steps, clipped at the median norm, gain {number(cut)} each; as they are, {real}")
    return tuple(says)


def _judge_blow_up(how: Divergence) -> Finding:
    """The verdict on a run whose loss is not finite: a wall, if that came at once out of a gentle stretch."""
    verdict = how.is_cliff
    present = None if verdict is Verdict.UNDETERMINED else verdict is Verdict.PRESENT
    told = {"missing": "a branch that repeats how the loss grew"} if present is None else {}
    return found(
        _CLIFF, present, effect=Estimate(1.0, 0.0) if present else Estimate(math.nan), evidence=how.told(), **told
    )
