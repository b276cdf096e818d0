"""Is local information misleading: better points across barriers, and no step that gains much?"""

import math
from functools import cache

import numpy as np
import pytest
import torch
from torch.autograd.functional import hessian
from torch.func import grad

from theodolite.problems.networks import Displacement
from theodolite.problems.problem import train
from theodolite.problems.winding import FREQUENCY, NONLOCAL, mean_image, mountain, moved, pole

BY_NAME = {ill.name: ill for ill in NONLOCAL}
PLANTED = [ill.name for ill in NONLOCAL if not ill.twin]


class Held(torch.nn.Module):
    """A module of a point that is given."""

    def __init__(self, theta):
        super().__init__()
        self.theta = theta

    def forward(self, inputs):
        return self.theta


@cache
def finished(name, seed):
    """J(θ) in float64, θ at the end, and the losses."""
    training = BY_NAME[name].build(seed)
    losses = train(training)
    data = tuple(part.double() for part in training.data)

    def value(theta):
        return training.loss(Held(theta), data)

    (theta,) = training.model.parameters()
    return value, theta.detach().double(), losses


def better_point(name, theta):
    """A point that is known to be better."""
    if name == "winding-corkscrew":
        return theta - torch.tensor([0.0, 0.0, 2 * math.pi / FREQUENCY], dtype=torch.float64)
    if name == "winding-images":
        return torch.cat([theta[:-1], theta[-1:] - 8.0])
    target = {"winding-mountain": [-3.0, 0.0, 0.0], "winding-pole": [1.0, -0.5]}[name]
    return torch.tensor(target, dtype=torch.float64)


@pytest.mark.parametrize("name", PLANTED)
def test_a_barrier_lies_before_a_better_point(name, seed):
    value, theta, _ = finished(name, seed)
    end = better_point(name, theta)
    heights = np.array([float(value(theta + s * (end - theta))) for s in np.linspace(0, 1, 401)])
    assert heights[-1] < heights[0] - 0.02
    assert heights.max() > heights[0] + 0.2


@pytest.mark.parametrize("name", ["winding-corkscrew", "winding-images"])
def test_no_step_gains_a_hundredth_of_what_is_to_be_gained(name, seed):
    value, theta, losses = finished(name, seed)
    slope = grad(value)(theta)
    values, vectors = torch.linalg.eigh(hessian(value, theta))
    newton = vectors @ ((vectors.T @ slope) / values.abs())  # saddle-free
    here = float(value(theta))
    for direction in (slope, newton):
        gains = [here - float(value(theta - scale * direction)) for scale in np.logspace(-2, 0.5, 100)]
        assert 0 < max(gains) < 0.01 * here
    half = losses[len(losses) // 2]
    assert here > 0.8 * half


@pytest.mark.parametrize("name", ["winding-mountain", "winding-pole"])
def test_descent_leads_away_from_the_better_point(name, seed):
    value, theta, losses = finished(name, seed)
    # The coordinate across the ridge, or of the pole: descent enlarges it, and the better point is smaller.
    across = 0 if name == "winding-mountain" else 1
    assert better_point(name, theta)[across] < theta[across]
    start = BY_NAME[name].build(seed).model.theta.detach()[across]
    assert float(theta[across]) > float(start) + 1.0
    assert float(value(theta)) > 0.8 * losses[len(losses) // 2]


def test_the_plain_stays_above_a_half():
    values = [float(mountain(torch.tensor([x, 0.0], dtype=torch.float64))) for x in np.linspace(0.5, 500, 5000)]
    assert (np.diff(values) < 0).all()
    assert 0.5 < values[-1] < 0.502
    assert float(mountain(torch.tensor([-3.0, 0.0]))) == 0


def test_on_the_wrong_side_a_constant_fits_best():
    x = np.linspace(0, 1, 33)
    y = 1 / (x + 0.5)
    best = []
    for p in np.logspace(0.01, 4, 200):
        column = 1 / (x - p)
        strength = column @ y / (column @ column)
        best.append(float(pole(torch.tensor([strength, p], dtype=torch.float64))))
    assert (np.diff(best) < 0).all()
    assert best[-1] == pytest.approx(y.var() / 2, rel=1e-3)
    assert best[-1] == pytest.approx(0.0691, abs=1e-4)
    assert float(pole(torch.tensor([1.0, -0.5], dtype=torch.float64))) < 1e-30


@pytest.mark.parametrize("columns", [0.0, 2.3, -5.0, 8.0])
def test_images_move_by_the_matrix_of_dirichlet(columns):
    image, shift = mean_image().double(), torch.tensor(columns, dtype=torch.float64)
    expected = Displacement(torch.stack([torch.zeros_like(shift), shift]))(image).detach()
    torch.testing.assert_close(moved(image, shift), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [f"{name}-twin" for name in PLANTED])
def test_a_twin_arrives(name, seed):
    value, theta, losses = finished(name, seed)
    assert float(value(theta)) < 1e-3 * losses[0]
