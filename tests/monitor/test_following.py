"""Are steps that are taken again those that the run would have taken there?"""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from theodolite import Monitor
from theodolite.records import Run

EIGENVALUES = np.array([1.0, 0.3, 0.05])
RATES = (0.1, 0.01)
STEPS = 64


class Bowl(nn.Module):
    """½ Σ λᵢ θᵢ²: the same for every batch."""

    def __init__(self):
        super().__init__()
        self.theta = nn.Parameter(torch.ones(3, dtype=torch.float64))

    def forward(self, _):
        return 0.5 * (torch.from_numpy(EIGENVALUES) * self.theta**2).sum()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A run down a bowl whose learning rate falls to a tenth half way, and what came of steps taken again."""
    place, model = tmp_path_factory.mktemp("again") / "run", Bowl()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATES[0])
    monitor = Monitor(model, optimizer, lambda model, batch: model(batch), run=place)
    for step, batch in enumerate(monitor(torch.zeros(1) for _ in range(STEPS))):
        optimizer.param_groups[0]["lr"] = RATES[step >= STEPS // 2]
        optimizer.zero_grad()
        model(batch).backward()
        optimizer.step()
    monitor.diagnose(seconds=60)
    return Run(place).result("Passages")


def budget(step, rate):
    """Mean promise and curvature of the four steps from the ninth after a step, in closed form."""
    thetas = [np.ones(3) * (1 - RATES[0] * EIGENVALUES) ** step * (1 - rate * EIGENVALUES) ** k for k in range(8, 12)]
    gradients = [EIGENVALUES * theta for theta in thetas]
    promises = [rate * gradient @ gradient for gradient in gradients]
    return np.mean(promises), np.mean([rate**2 / 2 * gradient @ (EIGENVALUES * gradient) for gradient in gradients])


def test_steps_that_are_taken_again_follow_the_closed_form_at_the_rate_of_their_time(recorded):
    assert len(recorded.points) >= 3
    for one in recorded.points:
        promise, curvature = budget(one.step, RATES[0])
        assert one.promise.value == pytest.approx(promise, rel=1e-9)
        assert one.curvature.value == pytest.approx(curvature, rel=1e-6)
        assert one.noise.value == pytest.approx(0.0, abs=1e-12)
        assert one.higher_order.value == pytest.approx(0.0, abs=1e-12)
        assert one.own_uphill == 0.0
        assert one.promise.value != pytest.approx(budget(one.step, RATES[1])[0], rel=0.1)  # the rate of the end


def test_there_is_a_passage_at_most_for_each_window_but_the_last(recorded):
    edges = [4, 8, 16, 32]
    for first, last in pairwise(edges):
        found = recorded.within(first, last)
        assert found is None or first <= found.step < last
    assert all(one.step < STEPS // 2 for one in recorded.points)


def test_a_run_too_short_for_windows_is_not_looked_at_again(tmp_path):
    model = Bowl()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor = Monitor(model, optimizer, lambda model, batch: model(batch), run=tmp_path / "run")
    for batch in monitor(torch.zeros(1) for _ in range(8)):
        optimizer.zero_grad()
        model(batch).backward()
        optimizer.step()
    assert monitor.diagnose(seconds=5).obstacle
    assert Run(tmp_path / "run").result("Passages") is None
