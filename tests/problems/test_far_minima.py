"""Is there no minimum: separable data, a loss that falls along the weights to infinity; and one in each twin?"""

import itertools
from functools import cache

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from scipy.special import lambertw

from theodolite.problems import far_minima
from theodolite.problems.far_minima import FAR_MINIMA, PENALTY, tumours, two_digits, wines
from theodolite.problems.problem import train

BY_NAME = {ill.name: ill for ill in FAR_MINIMA}
LINEAR = ["far-digits", "far-wine", "far-tumours"]


@cache
def finished(name, seed):
    training = BY_NAME[name].build(seed)
    return training, train(training)


def doubled(training):
    """Model and data in float64."""
    return training.model.double(), tuple(part.double() if part.is_floating_point() else part for part in training.data)


def is_separable(rows):
    """Whether some w has rows · w ≥ 1, by linear programming."""
    answer = linprog(np.zeros(rows.shape[1]), A_ub=-rows, b_ub=-np.ones(len(rows)), bounds=(None, None))
    return answer.status == 0


@pytest.mark.parametrize("data", [two_digits, tumours])
def test_a_plane_separates_two_classes(data):
    inputs, targets = (part.double().numpy() for part in data().training)
    assert is_separable((2 * targets - 1)[:, None] * np.c_[inputs, np.ones(len(inputs))])
    # Biased twin: with one label turned round of two equal rows no plane can do it.
    both = np.r_[inputs[:1], inputs[:1]]
    assert not is_separable(np.array([[1.0], [-1.0]]) * np.c_[both, np.ones(2)])


def test_planes_separate_the_wines():
    inputs, targets = (part.double().numpy() for part in wines().training)
    for kind in range(3):
        signs = np.where(targets == kind, 1.0, -1.0)
        assert is_separable(signs[:, None] * np.c_[inputs, np.ones(len(inputs))])


@pytest.mark.parametrize("name", LINEAR)
def test_along_the_weights_the_loss_falls_to_nothing(name, seed):
    training, losses = finished(name, seed)
    fresh = BY_NAME[name].build(seed)
    fresh.model.load_state_dict(training.model.state_dict())
    model, data = doubled(fresh)
    values = []
    with torch.no_grad():
        for _ in range(8):
            values.append(float(fresh.loss(model, data)))
            for part in model.parameters():
                part.mul_(2.0)
    # Below 1e-16 it is rounded to 0.
    assert all(after < before or after == 0 for before, after in itertools.pairwise(values))
    assert values[-1] < 1e-6
    late, half = np.mean(losses[-30:]), np.mean(losses[len(losses) // 2 - 30 : len(losses) // 2])
    assert late < 0.65 * half


def test_the_slope_falls_as_one_over_the_step(seed):
    training, _ = finished("far-slope", seed)
    (theta,) = training.model.parameters()
    (start,) = BY_NAME["far-slope"].build(seed).model.parameters()
    flow = 1.0 / (0.3 * BY_NAME["far-slope"].steps + torch.exp(start.detach()))
    # Steps of a finite length go by Euler's rule: the logarithm of t in the next order.
    torch.testing.assert_close(torch.exp(-theta.detach()), flow, rtol=0.03, atol=0.0)


def test_the_net_makes_no_mistake_and_gains_by_larger_weights(seed):
    training, losses = finished("far-net", seed)
    inputs, targets = training.data
    with torch.no_grad():
        assert torch.equal(training.model(inputs).argmax(1), targets)
        values = []
        for _ in range(4):
            values.append(float(training.loss(training.model, training.data)))
            training.model[-1].weight.mul_(2.0)
            training.model[-1].bias.mul_(2.0)
    assert (np.diff(values) < 0).all()
    assert np.mean(losses[-30:]) < 0.65 * np.mean(losses[570:600])
    finished.cache_clear()


@pytest.mark.parametrize(
    ("name", "floor"),
    [
        ("far-digits-twin", far_minima.TWO_DIGITS_FLOOR),
        ("far-wine-twin", far_minima.WINE_FLOOR),
        ("far-tumours-twin", far_minima.TUMOUR_FLOOR),
    ],
)
def test_the_floor_of_a_penalised_loss(name, floor):
    training = BY_NAME[name].build(0)
    model, data = doubled(training)
    optimizer = torch.optim.LBFGS(
        model.parameters(), max_iter=3000, tolerance_grad=1e-10, tolerance_change=1e-18, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        value = training.loss(model, data)
        value.backward()
        return value

    optimizer.step(closure)
    value = closure()
    # The loss is ε-strongly convex: it stands above its minimum by no more than |g|² / 2ε.
    assert sum(float(part.grad.square().sum()) for part in model.parameters()) / (2 * PENALTY) < 1e-12
    assert float(value.detach()) == pytest.approx(floor, rel=1e-9)
    assert BY_NAME[name].floor == floor


def test_the_floor_of_the_penalised_slope():
    theta = float(lambertw(1 / PENALTY).real)
    assert 4 * (np.exp(-theta) + 0.5 * PENALTY * theta**2) == pytest.approx(far_minima.SLOPE_FLOOR, rel=1e-12)


@pytest.mark.parametrize("name", [f"{name}-twin" for name in ("far-slope", *LINEAR)])
def test_a_twin_arrives_at_its_minimum(name, seed):
    training, losses = finished(name, seed)
    value = float(training.loss(training.model, training.data).detach())
    assert value - training.floor < 1e-3 * (losses[0] - training.floor)


def test_the_twin_of_the_net_still_falls(seed):
    _, losses = finished("far-net-twin", seed)
    assert np.mean(losses[-30:]) < 0.8 * np.mean(losses[570:600])
