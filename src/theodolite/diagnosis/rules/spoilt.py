"""Did its steps spoil the run: do shorter ones, from its start, get far where its own come to nothing again?"""

import math

from theodolite.diagnosis.evidence import Evidence
from theodolite.diagnosis.names import AGAIN, AGAIN_SHORTER, CLIPPING, SHORTER_STEPS
from theodolite.diagnosis.rules.parts import best_of
from theodolite.diagnosis.rules.thresholds import CURED, TWENTIETH, USEFUL_FALL
from theodolite.diagnosis.words import NOT_ZEROED, percent
from theodolite.records import MISSING, Estimate


def how_spoilt(evidence: Evidence) -> str:
    """How too long steps spoilt the run, in words; empty if they did not, or nobody tried.

    Units that were killed, or saturated, do not come back with shorter steps from here: what the steps did shows only
    where they did it.

    Args:
        evidence: The evidence.

    Returns:
        What shorter steps gain from the start of the run, from here, and what the run's own gain from its start; or
        that gradients are not zeroed, where the loss does not fall usefully all the same.
    """
    if evidence.keeps_gradients and not evidence.history.fallen.value > USEFUL_FALL:
        return f"{NOT_ZEROED}: each step is made from the sum of all gradients so far, and is far too long"
    again, best = _gain(evidence, AGAIN), best_of(evidence, MISSING, AGAIN_SHORTER)
    here = best_of(evidence, MISSING, (*SHORTER_STEPS, CLIPPING))
    if not (best.is_above(TWENTIETH, 1.0) and best.is_above(0.0)) or math.isnan(again):
        return ""
    if max(again, here.value if here.is_finite else -math.inf) > CURED * best.value:
        return ""
    told = "diverges" if again == -math.inf else f"gains {percent(again)}"
    return (
        f"with shorter steps from its start the run gains {percent(best.value)} ± {percent(best.error, 2)} of the "
        f"excess loss over where it stands; as it was, from its start again, it {told}"
    )


def _gain(evidence: Evidence, name: str) -> float:
    """What a cure gains at the end of its branch, as a share of the excess; −inf if it diverged, NaN if not tried."""
    cure = evidence.remedy(name)
    if cure is None or not math.isfinite(cure.gain.value):
        return math.nan if cure is None else cure.gain.value
    return evidence.share(Estimate(cure.gain.value, 0.0)).value
