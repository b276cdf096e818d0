"""Are there walls: gentle ground, single steps with a far greater gradient, and runs thrown back by them?"""

import math
from functools import cache

import numpy as np
import pytest
import torch

from theodolite.problems.cliffs import CLIFFS, POISSON_FLOOR, Echo, Recurrent, Wall, clipped, ink
from theodolite.problems.recipe import sgd

BY_NAME = {ill.name: ill for ill in CLIFFS}


@cache
def watched(name, seed):
    """The training of a problem after its end, its losses and the norms of its gradients."""
    training = BY_NAME[name].build(seed)
    losses, norms = [], []
    for batch in training.batches:
        training.optimizer.zero_grad()
        loss = training.loss(training.model, batch)
        loss.backward()
        # Of the raw gradient: clipping comes later, in the step.
        norms.append(math.sqrt(sum(float(part.grad.square().sum()) for part in training.model.parameters())))
        training.optimizer.step()
        losses.append(float(loss.detach()))
    return training, np.array(losses), np.array(norms)


@pytest.mark.parametrize("steepness", [1.0, 40.0])
def test_the_bottom_of_the_wall_is_known(steepness):
    bottom = torch.tensor([math.log(0.01 / steepness) / steepness, 0.0, 0.0], dtype=torch.float64)
    bottom.requires_grad_()
    value = Wall(steepness)(bottom)
    (slope,) = torch.autograd.grad(value, bottom)
    assert abs(float(value.detach())) < 1e-15
    assert float(slope.norm()) < 1e-12


@pytest.mark.parametrize("length", [1, 40])
def test_the_echo_is_perfect_at_one(length):
    theta = torch.ones(2, dtype=torch.float64, requires_grad=True)
    value = Echo(length)(theta)
    assert float(value.detach()) == 0
    assert float(torch.autograd.grad(value, theta)[0].norm()) == 0


def test_the_wall_throws_back_again_and_again(seed):
    _, losses, norms = watched("cliff-wall", seed)
    late = norms[300:]
    assert late.max() > 50 * np.median(late)
    walls = np.flatnonzero(norms > 20 * np.median(norms))
    assert len(walls) >= 3
    # One step, and the next one is on gentle ground again, higher up than the last hundred steps' lowest.
    assert all(norms[step + 1] < 2 * np.median(norms) for step in walls if step + 1 < len(norms))
    assert all(losses[step + 1] > 5 * losses[step - 1] for step in walls if step + 1 < len(losses))
    # On the slope the curvature allows the rate: 20 · 40² exp(40 x) < 2 for most of the run.
    assert np.mean(norms < 0.011) > 0.6
    assert losses[300:].mean() > 0.02
    assert watched("cliff-wall-twin", seed)[1][-1] < 1e-6


def test_the_echo_falls_gently_and_then_leaves_all_numbers(seed):
    _, losses, norms = watched("cliff-echo", seed)
    assert not np.isfinite(losses[-1])
    wall = int(np.argmax(~(norms < 20)))  # the first great gradient
    assert wall > 90
    assert (np.diff(losses[:wall]) <= 0).all()
    # No growth step by step: five steps before, the gradient was that of the whole stretch.
    assert norms[wall - 5] < 1.0
    assert watched("cliff-echo-twin", seed)[1][-1] < 1e-4


def test_the_floor_of_the_poisson_model():
    x, counts = (part.double() for part in ink().training)
    rows = torch.cat([x, torch.ones(len(x), 1, dtype=torch.float64)], 1)
    theta = torch.zeros(rows.shape[1], 1, dtype=torch.float64)
    theta[-1] = counts.mean().log()
    for _ in range(20):
        rates = torch.exp(rows @ theta)
        slope = rows.T @ (rates - counts) / len(counts)
        theta = theta - torch.linalg.pinv((rows * rates).T @ rows / len(counts), hermitian=True) @ slope
    deviance = torch.exp(rows @ theta) - counts * (rows @ theta) - counts + counts * counts.log()
    assert float(slope.abs().max()) < 1e-12
    assert float(deviance.mean()) == pytest.approx(POISSON_FLOOR, rel=1e-9)


def test_the_poisson_model_is_thrown_back(seed):
    _, losses, norms = watched("cliff-ink", seed)
    assert norms.max() > 8 * np.median(norms)
    throws = np.flatnonzero(losses[1:] > 5 * losses[:-1])
    assert throws.max() > BY_NAME["cliff-ink"].steps - 50
    assert np.median(losses[300:]) > 20
    assert watched("cliff-ink-twin", seed)[1][-50:].mean() < POISSON_FLOOR + 0.05


@pytest.mark.parametrize("start", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))])
def test_the_gradient_explodes_for_single_batches(start):
    training, _, norms = watched("cliff-pixels", start)
    assert norms.max() > 12 * np.median(norms)
    clean, _, _ = watched("cliff-pixels-twin", start)
    values = [float(one.loss(one.model, one.data).detach()) for one in (training, clean)]
    assert values[1] < 0.8 * values[0]


def test_clipping_bounds_the_step():
    part = torch.nn.Parameter(torch.zeros(4))
    optimizer = clipped(sgd(0.5), 2.0)([part])
    part.grad = torch.full((4,), 10.0)
    optimizer.step()
    assert float(part.detach().norm()) == pytest.approx(1.0, rel=1e-4)
    part.grad = torch.full((4,), 0.1)
    before = part.detach().clone()
    optimizer.step()
    torch.testing.assert_close(part.detach() - before, torch.full((4,), -0.05))


def test_the_recurrence_has_the_gain_it_says(generator):
    model = Recurrent((1, 400, 3), 1.2, generator(0))
    weight = model.cell.weight_hh_l0.detach().double()
    assert float(torch.linalg.eigvals(weight).abs().max()) == pytest.approx(1.2, rel=0.1)
    assert model(torch.zeros(2, 5, 1)).shape == (2, 5, 3)
