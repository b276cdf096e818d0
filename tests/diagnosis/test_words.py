"""What a verdict says first: what it means, why, and what to do where the loop is at fault and no step size."""

import math
from dataclasses import replace
from typing import Any

import pytest

from tests.diagnosis.conftest import estimate
from theodolite.diagnosis import judge
from theodolite.diagnosis.words import EXPLANATIONS, percent, summary
from theodolite.records import OBSTACLES, Finding, Verdict


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_a_summary_says_what_it_means_and_why(obstacle: str) -> None:
    """The explanation, then the first sentence of the evidence, with a capital and a full stop; no other sentence."""
    finding = Finding(obstacle, Verdict.PRESENT, evidence=("half of it is gone", "and more"))
    assert summary(obstacle, finding, ()) == f"{EXPLANATIONS[obstacle]} Half of it is gone."


def test_a_summary_without_a_finding_or_evidence_explains_alone() -> None:
    """Nothing is put where no sentence is."""
    assert summary("undetermined", None, ()) == EXPLANATIONS["undetermined"]
    assert summary("cliff", Finding("cliff", Verdict.PRESENT), ()) == EXPLANATIONS["cliff"]


def test_a_loop_that_keeps_gradients_is_told_to_zero_them(evidence: Any) -> None:
    """From the rule to the words: what to call comes first, and shorter steps are not recommended."""
    stalled = replace(evidence(), keeps_gradients=True)
    stalled = replace(stalled, history=replace(stalled.history, fallen=estimate(0.01, 0.001)))
    judged = judge(stalled)
    assert judged.obstacle == "step_too_large"
    assert judged.summary.startswith("Gradients are not zeroed: each step is made from the sum")
    assert "call optimizer.zero_grad() before every backward pass" in judged.summary
    assert "shorter ones would gain more" not in judged.summary


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.1488, "14.9 %"),
        (-0.5, "-50 %"),
        (0.0, "0 %"),
        (9.99, "999 %"),
        (10.0, "10 times"),
        (333.6, "334 times"),
        (-19.2, "-19 times"),
        (2.5e7, "2.5e+07 times"),
        (math.nan, "?"),
        (math.inf, "?"),
    ],
)
def test_a_share_is_said_in_per_cent_or_as_a_multiple(value: float, said: str) -> None:
    """Multiples that a person can read have all their digits, and no exponent."""
    assert percent(value) == said
