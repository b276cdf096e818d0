"""The direction of Dauphin's comparison (2014, figure 3): saddle-free Newton below damped Newton and momentum."""

import pytest
import torch
from torch import nn

from theodolite.linalg import hessian, smallest_eigenvalues
from theodolite.objective import Objective
from theodolite.optim import DampedNewton, SaddleFreeNewton
from theodolite.problems.digits import digits
from theodolite.problems.networks import initialise, perceptron

UPDATES = 30
RATES = (0.03, 0.1, 0.3, 1.0)
MOMENTA = (0.0, 0.9)


def drawn(seed):
    """64 inputs, 5 hidden units of tanh, 10 classes: the smallest net of the paper, on smaller images."""
    model = perceptron((64, 5, 10), nn.Tanh)
    initialise(model, torch.Generator().manual_seed(seed))
    return model


def loss_of(model, data):
    return nn.functional.cross_entropy(model(data[0]), data[1])


def newton(make, seed):
    """A net after full-batch updates, and its loss."""
    model, data = drawn(seed), digits().training
    optimizer = make(model.parameters(), products=50)
    for _ in range(UPDATES):
        optimizer.step(lambda: loss_of(model, data))
    return model, loss_of(model, data).item()


def momentum(seed):
    """The best of a grid of rates and momenta, stochastic, with an epoch for an update."""
    inputs, targets = digits().training
    found = []
    for rate in RATES:
        for inertia in MOMENTA:
            model = drawn(seed)
            optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=inertia)
            order = torch.Generator().manual_seed(seed)
            for _ in range(UPDATES):
                for rows in torch.randperm(len(inputs), generator=order).split(100):
                    optimizer.zero_grad()
                    loss_of(model, (inputs[rows], targets[rows])).backward()
                    optimizer.step()
            found.append((loss_of(model, (inputs, targets)).item(), model))
    value, model = min(found, key=lambda one: one[0])
    return model, value


def most_negative(model):
    """Size of the most negative curvature on all data; 0 if there is none."""
    with hessian(Objective(model, loss_of, digits().training)) as op:
        pairs = smallest_eigenvalues(op, 1, max_products=150, generator=torch.Generator().manual_seed(0))
    return max(0.0, -float(pairs.values[0]))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_the_direction_of_the_comparison(seed):
    ours, value = newton(SaddleFreeNewton, seed)
    _, damped = newton(DampedNewton, seed)
    other, descent = momentum(seed)
    assert value < 0.5 * damped
    assert value < 0.5 * descent
    assert most_negative(ours) < 0.1 * most_negative(other)
