"""The damping of the natural gradient: safe from the defaults on, right where the model is right."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from optim.closures import batch, flat, loss_of, net, trained, usual
from theodolite.linalg import dense
from theodolite.optim import NaturalGradient, natural_step, predicted_gain, reduction_ratio
from theodolite.problems.digits import digits
from theodolite.problems.networks import initialise, perceptron


def exclusive_or():
    inputs = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    return inputs, (inputs.prod(1) > 0).long()


def few_digits():
    inputs, targets = digits().training
    return inputs[:64], targets[:64]


def squares(outputs, targets):
    return (outputs - nn.functional.one_hot(targets, outputs.shape[1])).square().mean()


CASES = {
    "exclusive or": ((2, 8, 2), exclusive_or, nn.functional.cross_entropy),
    "digits": ((64, 10, 10), few_digits, nn.functional.cross_entropy),
    "digits, squares": ((64, 10, 10), few_digits, squares),
}


def course(case, activation, seed, size=64, epochs=6, make=NaturalGradient):
    """Losses of all data, before and after each epoch, with the defaults."""
    shape, data, loss = CASES[case]
    inputs, targets = data()
    model = perceptron(shape, activation)
    initialise(model, torch.Generator().manual_seed(seed))
    optimizer, values = make(model.parameters(), model=model), []
    for _ in range(epochs):
        values.append(float(loss(model(inputs), targets).detach()))
        for rows in torch.arange(len(inputs)).split(size):
            optimizer.step(lambda rows=rows: loss(model(inputs[rows]), targets[rows]))
    return [*values, float(loss(model(inputs), targets).detach())]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("activation", [nn.Tanh, pytest.param(nn.ReLU, marks=pytest.mark.slow)])
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_no_step_of_the_defaults_raises_the_loss(case, activation, seed):
    values = course(case, activation, seed)
    assert all(after <= before * (1 + 1e-6) for before, after in pairwise(values))
    assert values[-1] < 0.75 * values[0]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_halves_of_the_data_do_not_throw_it_off(seed):
    values = course("exclusive or", nn.ReLU, seed, size=32, epochs=20)
    assert max(values) < 1.1 * values[0]
    assert values[-1] < 0.1


class Undamped(NaturalGradient):
    """The biased twin: δ of 1e-3 for good, every step taken."""

    def _propose(self, objective, theta, gradient):
        with objective.ggn(theta) as op:
            return theta + natural_step(op, gradient, 1e-3)


@pytest.mark.parametrize("activation", [nn.Tanh, pytest.param(nn.ReLU, marks=pytest.mark.slow)])
def test_a_small_fixed_damping_overshoots(activation):
    values = course("exclusive or", activation, 0, make=Undamped)
    assert max(values) > 100 * values[0]


def remembered(optimizer):
    return optimizer._memory()["damping"]


def test_the_damping_shrinks_where_the_model_is_right():
    """On a quadratic the ratio is 1: after k steps δ is (⅔)ᵏ of the first."""
    model = nn.Linear(3, 1, bias=False).double()
    optimizer = NaturalGradient(model.parameters(), model=model, damping=2.0)
    inputs = torch.randn(10, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for _ in range(3):
        optimizer.step(lambda: model(inputs).square().mean())
    assert math.isclose(remembered(optimizer), 2.0 / 1.5**3)


@pytest.mark.parametrize("damping", [1e-3, 0.0])
def test_the_damping_grows_until_the_loss_falls(damping):
    """J = ln(1 + z²) from z = 3, where F = 2(1 − z²)/(1 + z²)² = −0.16: conjugate gradients give no step below it."""
    model = nn.Linear(1, 1, bias=False).double()
    with torch.no_grad():
        model.weight.fill_(3.0)
    optimizer = NaturalGradient(model.parameters(), model=model, damping=damping)
    optimizer.step(lambda: model(torch.ones(1, 1, dtype=torch.float64)).square().log1p().mean())
    assert remembered(optimizer) > 0.16
    assert 0 <= model.weight.item() < 3.0


def test_where_each_step_raises_the_loss_none_is_taken():
    """A kink: J = |w − 1| + 2 at w = 1 with a slope that says otherwise."""
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(1.0)
    optimizer = NaturalGradient(model.parameters(), model=model, damping=1.0)
    one = torch.ones(1, 1)

    def loss():
        z = model(one)
        return 2.0 + torch.where(z >= 1, z - 1, 10 * (1 - z)).mean()

    for _ in range(2):
        optimizer.step(loss)
        assert float(model.weight.detach()) == 1.0
    assert remembered(optimizer) > 1e6


def test_a_rate_of_zero_leaves_everything():
    model = net()
    before, optimizer = flat(model), NaturalGradient(model.parameters(), model=model, lr=0.0)
    trained(model, optimizer, 1)
    assert torch.equal(flat(model), before)
    assert "damping" not in optimizer._memory()


@pytest.mark.parametrize("seed", range(3))
def test_the_step_is_that_of_dense_algebra(seed):
    """Against (G + δ)⁻¹g with G = Σ Jᵀ(diag p − ppᵀ)J / N of softmax, J by autograd, all in float64."""
    model, data = net(seed, torch.float64), batch(dtype=torch.float64)
    theta = flat(model)
    optimizer = NaturalGradient(model.parameters(), model=model, damping=0.7, rtol=1e-12, products=200)
    G, g = np.zeros((len(theta), len(theta))), np.zeros(len(theta))
    for x, y in zip(*data, strict=True):
        z = model(x)
        rows = [torch.autograd.grad(z[c], list(model.parameters()), retain_graph=True) for c in range(3)]
        J = np.stack([torch.cat([part.reshape(-1) for part in row]).numpy() for row in rows])
        p = z.softmax(0).detach().numpy()
        G += J.T @ (np.diag(p) - np.outer(p, p)) @ J / 20
        g += J.T @ (p - np.eye(3)[int(y)]) / 20
    optimizer.step(usual(model, optimizer, data, loss_of))
    expected = theta.numpy() - np.linalg.solve(G + 0.7 * np.eye(len(theta)), g)
    assert np.allclose(flat(model).numpy(), expected, rtol=0, atol=1e-10)


def test_the_predicted_gain_is_that_of_the_model():
    A, g, s = np.diag([1.0, -2.0]), np.array([1.0, 3.0]), np.array([0.5, 1.0])
    expected = -(g @ s + 0.5 * s @ A @ s)
    assert predicted_gain(dense(torch.tensor(A)), torch.tensor(g), torch.tensor(s)) == expected


@pytest.mark.parametrize(
    ("after", "predicted", "ratio"),
    [
        (1.0, 1.0, 1.0),
        (1.5, 1.0, 0.5),
        (3.0, 1.0, -1.0),
        (2.0, 0.0, -math.inf),
        (1.0, -0.5, -math.inf),
        (math.nan, 1.0, -math.inf),
        (math.inf, 1.0, -math.inf),
        (1.0, math.nan, -math.inf),
    ],
)
def test_the_reduction_ratio(after, predicted, ratio):
    assert reduction_ratio(2.0, after, predicted, precision=0.0) == ratio


def test_what_is_rounding_refuses_no_step():
    eps = 1e-7
    assert reduction_ratio(2.0, 2.0 + 2e-7, 1e-12, precision=eps) == pytest.approx(0.0, abs=1e-3)
    assert reduction_ratio(2.0, 2.0, 1e-12, precision=eps) == pytest.approx(1.0, abs=1e-4)
    assert reduction_ratio(2.0, 2.5, 1e-12, precision=eps) < -1e5
