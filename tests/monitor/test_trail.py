"""Which way the run came, and what the loop does beside plain steps."""

import numpy as np
import pytest
import torch
from torch import nn

from theodolite import Monitor, Objective, Run
from theodolite.monitor.habits import clip_of, rate_of
from theodolite.monitor.trail import Buffers, Points, trail
from theodolite.objective import trainable
from theodolite.records import Series, Trail


def walked(steps):
    """Points of a run whose one parameter is the step."""
    model = nn.Linear(1, 1, bias=False)
    points = Points(trainable(model, ["weight"]), model)
    for step in range(steps):
        with torch.no_grad():
            model.weight.fill_(step)
        if step >= points.next:
            points.pass_by(step)
    return points


@pytest.mark.parametrize("steps", [1, 2, 31, 32, 33, 100, 1000, 4097])
def test_points_are_few_even_and_begin_at_the_start(steps):
    points = walked(steps)
    assert 1 <= len(points.steps) <= 32
    assert steps < 32 or len(points.steps) >= 16
    assert points.steps[0] == 0
    assert len(set(np.diff(points.steps))) <= 1
    assert steps - points.steps[-1] <= max(1, 2 * steps // 32 + 1)
    assert [float(theta) for theta in points.thetas] == points.steps


def test_points_that_are_not_finite_or_too_large_are_not_kept():
    model = nn.Linear(1, 1, bias=False)
    points = Points(trainable(model, ["weight"]), model)
    points.pass_by(0)
    with torch.no_grad():
        model.weight.fill_(float("nan"))
    points.pass_by(1)
    assert points.steps == [0]
    large = nn.Linear(3000, 3000, bias=False)  # 36 MB: four do not fit
    assert Points(trainable(large, ["weight"]), large).next == float("inf")


def test_the_trail_of_a_descent_on_a_bowl():
    bowl = Objective.from_function(lambda theta: (theta**2).sum(), torch.zeros(1))
    points = walked(10)
    found = trail(points, bowl, torch.tensor([10.0]), 10)
    assert found.steps.tolist() == list(range(11))
    assert found.losses == pytest.approx(np.arange(11.0) ** 2, rel=1e-6)
    assert (found.length, found.displacement) == (pytest.approx(10.0), pytest.approx(10.0))
    assert found.norms == pytest.approx(np.arange(11.0))
    assert found.validation.size == 0
    assert found.turn.count == 0


def test_validation_sees_the_buffers_of_its_time():
    model = nn.BatchNorm1d(1)
    buffers = Buffers(model)
    held = buffers.copy()
    model.running_mean.fill_(7.0)
    buffers.place(held)
    assert float(model.running_mean) == 0.0
    assert set(held) == {"running_mean", "running_var"}


def test_a_diagnosis_keeps_the_trail_and_its_validation(tmp_path):
    torch.manual_seed(0)
    inputs, targets = torch.randn(64, 8), torch.randn(64, 1)
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)

    def loss(net, batch):
        return ((net(batch[0]) - batch[1]) ** 2).mean()

    batches = [(inputs[:32], targets[:32])] * 20
    held_out = (inputs[32:], targets[32:])
    with Monitor(model, optimizer, loss, run=tmp_path / "run", validation=held_out) as monitor:
        for batch in monitor(batches):
            optimizer.zero_grad()
            loss(model, batch).backward()
            optimizer.step()
        monitor.diagnose(seconds=2)
    found = Run(tmp_path / "run").result("Trail")
    assert isinstance(found, Trail)
    assert found.steps[0] == 0
    assert found.steps[-1] == 20
    assert found.losses[0] > found.losses[-1]
    with torch.no_grad():
        assert found.validation[-1] == pytest.approx(float(loss(model, held_out)), rel=1e-5)


def test_clipping_is_told_from_norms_that_often_equal_the_greatest():
    random = np.random.default_rng(0)
    norms = random.lognormal(0.0, 1.0, 200)
    assert clip_of(norms) is None
    assert clip_of(np.minimum(norms, 1.0)) == 1.0
    assert clip_of(np.full(50, 0.3)) == 0.3  # always clipped, at a round norm
    assert clip_of(np.full(50, 0.3123456)) is None  # a slope that is the same everywhere
    assert clip_of(np.array([])) is None
    assert clip_of(np.array([np.nan] * 10)) is None
    assert clip_of(np.zeros(10)) is None


def test_a_schedule_that_ended_at_nothing():
    steps = np.arange(1, 101)
    rates = Series("learning_rate", steps, 0.1 * (1 + np.cos(np.pi * steps / 100)) / 2)
    late = rates.values[steps > 75]
    assert rate_of(rates) == pytest.approx(np.median(late))
    assert rate_of(Series("learning_rate", steps, np.full(100, 0.1))) is None
    assert rate_of(Series("learning_rate", steps[:0], np.zeros(0))) is None
