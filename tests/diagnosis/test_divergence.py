"""How a loss ceased to be finite: out of a gentle stretch at once, or step by step; and which gradients stand out."""

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.diagnosis.conftest import estimate, remedy
from theodolite.diagnosis import Evidence, History, judge
from theodolite.diagnosis.divergence import growth
from theodolite.diagnosis.spikes import spike, thrown_back
from theodolite.records import Continuation, Remedy, Series, Status, Survey, Trail, Trials, Verdict

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


def saved(clipped: tuple[float, ...], *shorter: tuple[float, ...], past: History = GENTLE) -> Evidence:
    """A run of which one plain branch blew up within two steps, and where clipped and shorter steps end."""
    seen = replayed([0.6, 0.5, 0.6, 0.5, 90.0, math.inf], [0.5] * 6, past=past)
    names = ("clipping", "step × 0.1", "step × 0.3")
    ends = zip(names, (clipped, *shorter), strict=False)
    endless = estimate(math.inf)
    remedies = tuple(Remedy(name, endless, estimate(0.0), 60, len(at), ends=at) for name, at in ends)
    survey = Survey(380, Status.NONFINITE, loss=estimate(0.5, 0.01))
    return replace(seen, survey=survey, trials=replace(seen.trials, remedies=remedies))


OVERSHOOT, WALL = ("step_too_large", "cliff"), ("cliff", "step_too_large")


@pytest.mark.parametrize(
    ("clipped", "shorter", "told"),
    [
        ((0.3, 0.31), ((0.1, 0.12), (0.4, 0.5)), OVERSHOOT),  # most of the excess is left
        ((0.1, 0.11), ((0.01, 0.012), (0.4, 0.5)), WALL),  # clipped steps get on well, whatever shorter ones do
        ((8.0, 9.0), ((0.1, 0.12), (0.4, 0.5)), OVERSHOOT),  # cutting the greatest gradients alone is of little use
        ((0.1, 0.12), ((0.4, 0.5), (0.3, 0.31)), WALL),  # the pace is kept
        ((0.3, 0.5), ((0.5, 0.3), (math.nan, 0.3)), WALL),  # as good as the best shorter step
        ((math.nan, math.nan), ((0.5, 0.3), (0.4, 0.3)), OVERSHOOT),
        ((0.3, 0.31), ((math.nan, math.nan), (math.nan, 0.3)), WALL),
        ((0.3,), ((0.1,), (0.2,)), OVERSHOOT),  # one order: no chance in the run
    ],
)
def test_what_saves_a_run_tells_walls_from_long_steps(clipped, shorter, told):
    found = judge(saved(clipped, *shorter))
    assert found.obstacle == told[0]
    assert found.findings[told[1]].verdict is Verdict.ABSENT


def test_what_saves_a_run_says_nothing_where_no_branch_blew_up():
    quiet = saved((8.0, 9.0), (0.1, 0.12), (0.4, 0.5))
    calm = Continuation(*(np.full((2, 6), 0.5) for _ in range(3)))
    found = judge(replace(quiet, trials=replace(quiet.trials, plain=calm)))
    assert found.obstacle == "undetermined"


def test_a_run_that_broke_at_once_was_not_at_a_wall_if_shorter_steps_save_it_as_well():
    at_once = History(50, start=estimate(2.0), nonfinite=10, first_nonfinite=4, least=2.0, least_at=1)
    assert judge(saved((0.3, 0.5), (0.5, 0.3), (0.4, 0.4), past=at_once)).obstacle == "step_too_large"


def test_a_loss_that_blew_up_but_is_finite_says_where_it_stands():
    risen = replace(GENTLE, nonfinite=0, first_nonfinite=0, later=estimate(3e6, 1e5))
    found = judge(saved((8.0, 9.0), (0.1, 0.12), (0.4, 0.5), past=risen))
    assert found.obstacle == "step_too_large"
    assert "blown up" in found.findings["none"].evidence[0]


def test_a_broken_run_is_never_well():
    fallen = replace(GENTLE, fallen=estimate(0.5, 0.01))
    trials = Trials(plain=Continuation(*(np.full((2, 6), 0.5) for _ in range(3))))
    evidence = Evidence(fallen, Survey(380, Status.NONFINITE, loss=estimate(0.5, 0.01)), trials)
    assert judge(evidence).findings["none"].verdict is Verdict.ABSENT


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


def series(*norms: float) -> Series:
    """Norms of a gradient at the steps 1, 2, ..."""
    return Series("grad_norm", np.arange(1, len(norms) + 1), np.array(norms))


def test_a_run_that_a_gradient_threw_back_has_lost_what_it_had():
    steps, losses = np.array([0, 20, 40, 60, 80]), np.array([2.0, 0.5, 0.4, 1.5, 1.2])
    still = np.zeros((5, 5))
    trail = Trail(steps, losses, np.array([0.2, 0.1, 0.1, 0.1, 0.0]), still, np.ones(5))
    norms = np.ones(80)
    assert math.isnan(thrown_back(series(*norms), trail).value)  # none stood out
    norms[50] = 30.0
    assert thrown_back(series(*norms), trail).value == pytest.approx(1.2 - 0.4)
    assert thrown_back(series(*norms), trail).error == pytest.approx(0.1)
    came_down = replace(trail, losses=np.array([2.0, 0.5, 0.4, 1.5, 0.3]))
    assert math.isnan(thrown_back(series(*norms), came_down).value)
    early = np.ones(80)
    early[10] = 30.0
    assert math.isnan(thrown_back(series(*early), trail).value)  # it stands below the start, all there was before
    assert math.isnan(thrown_back(series(1.0, 2.0), trail).value)


def test_a_wall_behind_the_run_is_a_cliff_unless_its_steps_are_too_long(evidence):
    """Calm where it stands, far above where it was; clipping has nothing to gain any more."""
    past = evidence()
    thrown = replace(past, history=replace(past.history, spike=30.0, thrown=estimate(0.3, 0.01)))
    found = judge(thrown)
    assert found.obstacle == "cliff"
    assert "lost 60 %" in " ".join(found.findings["cliff"].evidence)
    little = replace(past, history=replace(past.history, spike=30.0, thrown=estimate(0.01, 0.001)))
    assert judge(little).findings["cliff"].verdict is not Verdict.PRESENT
    swinging = evidence(own_uphill=estimate(0.6, 0.1), remedies=(remedy("step × 0.1", 0.3),))
    swinging = replace(swinging, history=thrown.history)
    assert judge(swinging).obstacle == "step_too_large"


def test_steps_that_go_up_without_a_gradient_that_stands_out_are_too_long():
    """Just beyond what is stable J grows for a hundred steps; there is nothing to clip, and a branch is too short."""
    slow = replayed([0.5 * 1.02**k for k in range(60)])
    shorter = remedy("step × 0.3", 0.6, fallen=-0.5)
    survey = Survey(380, Status.NONFINITE, loss=estimate(0.5, 0.01))
    found = judge(replace(slow, survey=survey, trials=replace(slow.trials, remedies=(shorter,))))
    assert found.obstacle == "step_too_large"
    assert "no gradient stands out" in " ".join(found.findings["step_too_large"].evidence)
    falling = remedy("step × 0.3", 0.1, fallen=0.2)
    assert judge(replace(slow, survey=survey, trials=replace(slow.trials, remedies=(falling,)))).obstacle != (
        "step_too_large"
    )
