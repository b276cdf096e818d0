"""Are dead units those that are zero on every example, however a model is written?"""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from probes.again import Again
from theodolite.objective import Objective
from theodolite.probes.units import dead_units, layer_norms, saturated_units, silent_rectifiers


def killed(layer, count):
    """Let the first units of a layer be silenced by a rectifier for ever."""
    with torch.no_grad():
        layer.bias[:count] = -1e3
        layer.bias[count:] = 1e2
    return layer


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = killed(nn.Linear(4, 8), 3), nn.Linear(8, 2)

    def forward(self, x):
        return self.second(functional.relu(self.first(x)))


def modules(dropout=0.0):
    return nn.Sequential(killed(nn.Linear(4, 8), 3), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 2))


def convolutions():
    return nn.Sequential(
        killed(nn.Conv2d(1, 4, 3, padding=1), 1), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


def looked(model, *batches):
    objective = Objective(model, lambda m, x: m(x).square().mean(), Again(batches))
    return dead_units(objective, model)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize(
    ("build", "share", "inputs"),
    [
        (Functional, 3 / 8, (5, 4)),
        (modules, 3 / 8, (5, 4)),
        (lambda: modules(0.5), 3 / 8, (64, 4)),
        (lambda: modules().eval(), 3 / 8, (5, 4)),
        (convolutions, 1 / 4, (3, 1, 5, 5)),
    ],
    ids=["functional", "modules", "dropout", "eval", "convolution"],
)
def test_planted_dead_units_are_found(build, share, inputs):
    found = looked(build(), torch.randn(inputs))
    assert found.overall == pytest.approx(share)
    assert found.worst == pytest.approx(share)
    assert len(found.layers) == 1


def test_a_unit_that_lives_on_one_example_of_one_batch_lives():
    model = Functional()
    with torch.no_grad():
        model.first.weight.zero_()
        model.first.weight[0, 0] = 1e4
    batches = [torch.zeros(6, 4), torch.zeros(6, 4)]
    assert looked(model, *batches).overall == pytest.approx(3 / 8)
    batches[1][2, 0] = 1.0
    assert looked(model, *batches).overall == pytest.approx(2 / 8)


def test_zeros_in_the_data_are_no_units():
    model = nn.Linear(6, 2)
    found = looked(model, torch.zeros(4, 6))
    assert found.layers == ()
    assert found.overall == found.worst == 0.0


def test_smooth_units_do_not_die():
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    assert looked(model, torch.randn(5, 4)).overall == 0.0


def test_no_hook_stays():
    model = modules()
    looked(model, torch.randn(5, 4))
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_norms_are_those_of_numpy():
    parts = [torch.randn(3, 4), torch.randn(()), torch.zeros(2)]
    assert np.allclose(layer_norms(parts), [np.linalg.norm(part.numpy()) for part in parts], rtol=1e-6)


def test_a_rectifier_in_the_loss_that_is_silent_on_every_example():
    """One of two rectifiers is zero on both batches; the other one on the first batch only."""
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(1.0)

    def loss(net, batch):
        return (torch.relu(net(batch)) + (net(batch) - 100.0).clamp_min(0.0)).mean()

    batches = [torch.tensor([[-1.0]]), torch.tensor([[2.0]])]
    objective = Objective(model, loss, batches)
    assert silent_rectifiers(objective) == 0.5
    assert silent_rectifiers(objective, torch.tensor([-1.0])) == 0.5
    assert silent_rectifiers(objective, torch.tensor([0.0])) == 1.0
    plain = Objective(model, lambda net, batch: net(batch).square().mean(), batches)
    assert silent_rectifiers(plain) == 0.0


def test_units_that_are_saturated_on_every_example():
    """Of six units two sigmoids and two tanhs lie at an end on both rows, at either end or by turns."""
    rows = torch.tensor([[9.0, 0.0, -9.0], [9.0, 9.0, 9.0]], dtype=torch.float64)

    def loss(theta):
        return (torch.sigmoid(rows + theta) + torch.tanh(torch.stack([-rows[0].abs(), rows[0]]) + theta)).sum()

    still = torch.zeros(3, dtype=torch.float64)
    assert saturated_units(Objective.from_function(loss, still)) == pytest.approx(4 / 6)
    assert math.isnan(saturated_units(Objective.from_function(lambda theta: (theta**2).sum(), still)))


def test_saturation_is_counted_over_all_batches():
    """A unit that one batch leaves alone is not saturated; the slope at the limit is a hundredth of the greatest."""
    model = nn.Linear(1, 1, bias=False).double()
    with torch.no_grad():
        model.weight.fill_(1.0)
    edge = math.log((1 - 0.0025) / 0.0025)
    assert 4 / (2 + math.exp(edge) + math.exp(-edge)) == pytest.approx(0.01, rel=0.01)

    def loss(net, batch):
        return torch.sigmoid(net(batch)).mean()

    def share(*values):
        return saturated_units(Objective(model, loss, [torch.tensor([[v]], dtype=torch.float64) for v in values]))

    assert (share(edge + 0.01, 50.0), share(edge - 0.01, 50.0), share(-50.0, 50.0)) == (1.0, 0.0, 1.0)
