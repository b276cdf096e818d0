"""How a loss ceased to be finite: out of a gentle stretch at once, or step by step; and which gradients stand out."""

import math

import numpy as np
import pytest

from tests.diagnosis.conftest import estimate
from theodolite.diagnosis import Evidence, History, judge
from theodolite.diagnosis.divergence import growth
from theodolite.diagnosis.evidence import spike
from theodolite.records import Continuation, Status, Survey, Trials, Verdict

GENTLE = History(500, start=estimate(2.0), nonfinite=10, first_nonfinite=400, least=0.5, least_at=390)
"""A loss that had come down to a quarter when it broke."""


def replayed(*rows: list[float], past: History = GENTLE) -> Evidence:
    """A run that has ended in NaN, and plain branches from before with these losses."""
    losses = np.array(rows)
    plain = Continuation(losses, np.ones_like(losses), np.ones_like(losses))
    return Evidence(past, Survey(380, Status.NONFINITE), Trials(plain=plain))


@pytest.mark.parametrize(
    ("losses", "steps"),
    [
        ([1.0, 0.9, 1.1, 1.0, math.inf], 1.0),
        ([1.0, 0.9, 1.1, 1.0, 50.0, math.nan], 2.0),
        ([1.0] * 30 + [2.5**k for k in range(1, 21)] + [math.inf], 21.0),
        ([-1.0, -1.1, -0.9, -1.0, 7.0, math.inf], 2.0),
        ([1.0, 2.0, 3.0], math.nan),
        ([math.nan, 1.0], math.nan),
        ([], math.nan),
    ],
)
def test_steps_from_a_usual_loss_to_infinity(losses, steps):
    assert growth(np.array(losses)) == pytest.approx(steps, nan_ok=True)


def test_a_wall_out_of_a_gentle_stretch_is_a_cliff():
    found = judge(replayed([0.6, 0.5, 0.6, 0.5, math.inf, math.nan]))
    assert found.obstacle == "cliff"
    assert found.findings["step_too_large"].verdict is Verdict.ABSENT


def test_growth_step_by_step_is_an_overshoot():
    grown = [0.5] * 5 + [2.0**k for k in range(10)] + [math.inf]
    found = judge(replayed(grown))
    assert found.obstacle == "step_too_large"
    assert found.findings["cliff"].verdict is Verdict.ABSENT


def test_a_run_that_never_came_down_has_overshot():
    at_once = History(50, start=estimate(2.0), nonfinite=10, first_nonfinite=4, least=2.0, least_at=1)
    found = judge(replayed([2.0, 2.1, 90.0, math.inf], past=at_once))
    assert found.obstacle == "step_too_large"


def test_nobody_saw_how_it_grew():
    found = judge(replayed([0.6, 0.5, 0.6, 0.5]))
    assert found.obstacle == "undetermined"
    assert found.findings["cliff"].missing


def test_a_single_gradient_stands_out_of_those_around_it():
    falling = np.geomspace(100.0, 1.0, 200)  # a norm that falls with the loss is no spike
    assert spike(falling) < 1.5
    falling[120] *= 30
    assert spike(falling) == pytest.approx(30.0, rel=0.1)
    assert math.isnan(spike(np.ones(5)))
    assert math.isnan(spike(np.zeros(50)))
    noisy = np.random.default_rng(0).lognormal(0.0, 0.3, 2000)
    assert spike(noisy) < 4.0
