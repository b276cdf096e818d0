"""Is the training loss no longer the point?"""

import math

import numpy as np

from theodolite.diagnosis.evidence import Evidence
from theodolite.diagnosis.rules.parts import NO_SURVEY, found
from theodolite.diagnosis.rules.thresholds import TURNED
from theodolite.diagnosis.words import number, percent
from theodolite.records import Estimate, Finding, Trail, Verdict

_OVERFITTING = Finding(
    "overfitting",
    Verdict.UNDETERMINED,
    threshold=TURNED,
    meaning="rise of the validation loss above its least, as a share of what it had fallen until then",
    picture="validation",
    missing=NO_SURVEY,
    source="Prechelt 1998",
)


_NEARLY = 1.5
"""A training loss that falls on is about the lowest of the run."""


def judge_overfitting(evidence: Evidence) -> Finding:
    """The training loss falls on while the validation loss has turned up beyond its error.

    Args:
        evidence: The evidence.

    Returns:
        The finding.
    """
    came = evidence.trail
    if not evidence.is_validated:
        return found(_OVERFITTING, None, missing="validation data: Monitor(..., validation=batches)")
    if came is None or not came.turn.is_finite:
        return _OVERFITTING
    learnt = float(came.validation[0]) - (float(came.validation[-3:].mean()) - came.turn.value)
    trained = _trained_on(came)
    rise = Estimate(came.turn.value / learnt, came.turn.error / learnt) if learnt > 0 else Estimate(math.inf, math.nan)
    before = f"{percent(rise.value)} of what it had fallen" if learnt > 0 else "and had not fallen before"
    says = (
        f"the validation loss has risen by {number(came.turn)} since step {came.turned_at}, {before}",
        f"the training loss has fallen by {trained:.3g} since then",
    )
    # What new data never gained was not learnt and lost: then the training data must have gained, or all is chaos.
    is_learnt = learnt > 0 or evidence.excess < evidence.initial_excess / 2
    # By heart is what new data do not share: a loss that is thrown to and fro rises on both alike.
    lowest, now = float(came.losses.min()) - evidence.floor, float(came.losses[-1]) - evidence.floor
    is_apart = (
        now <= _NEARLY * lowest + came.turn.error and float(came.validation[-1] - came.losses[-1]) > came.turn.value / 2
    )
    has_turned = (
        came.turn.is_above(0.0)
        and came.turn.value > 2 * _scatter(came)
        and rise.value > TURNED
        and trained > 0
        and is_learnt
        and is_apart
    )
    return found(_OVERFITTING, has_turned, statistic=rise, effect=rise, evidence=says)


def _scatter(came: Trail) -> float:
    """How far the validation loss moves to and fro between points of the last half; a straight trend does not count."""
    bends = np.diff(came.validation[len(came.validation) // 2 :], 2)
    return float(np.sqrt(np.mean(bends**2) / 6)) if bends.size else 0.0


def _trained_on(came: Trail) -> float:
    """How far the training loss has fallen since the validation loss was least."""
    least = int((came.steps == came.turned_at).argmax())
    return float(came.losses[least] - came.losses[-1])
