"""Newton is drawn to saddles and saddle-free Newton leaves them: surfaces whose saddles are known, and the zoo's."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from theodolite.optim import DampedNewton, PerturbedGradientDescent, SaddleFreeNewton, TrustRegionNewtonCG
from theodolite.problems.saddles import SADDLES, ridge, scalar_net

STARTS = 100
PLANTED = [problem for problem in SADDLES if not problem.twin]


def classical(x):
    """5x² − y² (Dauphin 2014, figure 2)."""
    return 5 * x[0] ** 2 - x[1] ** 2


def monkey(x):
    """x³ − 3xy² (Dauphin 2014, figure 2): at 0 gradient and Hessian vanish."""
    return x[0] ** 3 - 3 * x[0] * x[1] ** 2


def deep_linear(x):
    """½(abc − 1)²: at 0 gradient and Hessian vanish; all other critical points with abc ≠ 1 have two zeros."""
    return 0.5 * (x.prod() - 1) ** 2


def starts(size, count=STARTS, spread=1.0):
    draw = torch.Generator().manual_seed(3)
    return spread * (2 * torch.rand(count, size, generator=draw, dtype=torch.float64) - 1)


def ends(make, surface, start, steps):
    """Where an optimizer comes to, and the values on the way."""
    point = nn.Parameter(start.clone())
    optimizer = make([point])

    def closure():
        optimizer.zero_grad()
        value = surface(point)
        value.backward()
        return value

    values = [optimizer.step(closure).item() for _ in range(steps)]
    return point.detach(), [*values, closure().item()]


def rest(make, surface, start, steps):
    """Where an optimizer moves no more, or is after some steps."""
    point = nn.Parameter(start.clone())
    optimizer = make([point])
    for _ in range(steps):
        before = point.detach().clone()
        optimizer.step(lambda: surface(point))
        if float((point.detach() - before).norm()) < 1e-6:
            break
    return point.detach()


def newton(params):
    return DampedNewton(params, dampings=(0.0,))


def test_newton_jumps_onto_a_saddle_in_one_step():
    point, _ = ends(newton, classical, torch.tensor([0.3, -0.7], dtype=torch.float64), 1)
    assert float(point.norm()) < 1e-12


@pytest.mark.parametrize("escape", [True, False])
def test_saddle_free_newton_always_goes_down(escape):
    for start in starts(2, 4):
        _, values = ends(lambda p: SaddleFreeNewton(p, escape=escape), classical, start, 4)
        assert all(after < before for before, after in pairwise(values))


SURFACES = [(classical, 2, 12), (monkey, 2, 25), (deep_linear, 3, 30), (scalar_net, 2, 12), (ridge, 3, 12)]
"""Function, dimension, and steps that bring Newton's method to rest."""


@pytest.mark.slow
@pytest.mark.parametrize(("surface", "size", "steps"), SURFACES)
def test_newton_is_drawn_to_saddles_from_most_starts(surface, size, steps):
    found = [rest(newton, surface, start, steps) for start in starts(size, spread=0.5)]
    assert sum(is_near_a_saddle(surface, point) for point in found) > STARTS / 2


@pytest.mark.slow
@pytest.mark.parametrize("products", [None, 2])
@pytest.mark.parametrize("escape", [True, False])
@pytest.mark.parametrize(("surface", "size", "steps"), SURFACES)
def test_saddle_free_newton_is_drawn_to_none(surface, size, steps, escape, products):
    """Below a saddle it cannot come back, since no step raises J: so that it is enough to look when it is there."""
    level = float(surface(torch.zeros(size, dtype=torch.float64)))
    for start in starts(size, spread=0.5):
        point = nn.Parameter(start.clone())
        optimizer = SaddleFreeNewton([point], products=products, escape=escape)
        for _ in range(steps):
            if optimizer.step(lambda point=point: surface(point)).item() < level - 0.01:
                break
        assert float(surface(point.detach())) < level - 0.01


def is_near_a_saddle(surface, point):
    """All saddles here lie where J is that of the origin, and the slope is small."""
    leaf = point.clone().requires_grad_()
    (slope,) = torch.autograd.grad(surface(leaf), leaf)
    level = float(surface(torch.zeros_like(point)))
    return abs(float(surface(point)) - level) < 1e-3 and float(slope.norm()) < 1e-2


def fall(problem, make, steps):
    """Losses of the whole data under an optimizer, from the planted start."""
    training = problem.build(0)
    optimizer = make(training.model.parameters())

    def closure():
        optimizer.zero_grad()
        loss = training.loss(training.model, training.data)
        loss.backward()
        return loss

    return [optimizer.step(closure).item() for _ in range(steps)]


def goal(level, floor):
    """What J must fall below to have left a plateau: a tenth of the way to the floor is made."""
    return level - 0.1 * (level - floor)


LEVELS = {"saddle-product": 0.5, "saddle-ridge": 0.25, "saddle-factors": 0.981}
"""J at the saddle; of the factors half the sum of squares of the class means, to three digits."""


@pytest.mark.parametrize("name", sorted(LEVELS))
def test_saddle_free_newton_leaves_small_saddles_in_ten_steps(name):
    problem = next(problem for problem in PLANTED if problem.name == name)
    losses = fall(problem, lambda p: SaddleFreeNewton(p, products=10), 4)
    assert losses[-1] < goal(LEVELS[name], problem.floor)


@pytest.mark.slow
@pytest.mark.parametrize("problem", PLANTED, ids=lambda problem: problem.name)
def test_every_saddle_is_left_in_ten_steps_where_descent_takes_over_a_thousand(problem):
    """At rate 0.01 J of gradient descent stays on its plateau from step 300 to 1,000: that is the saddle's level."""
    halted = fall(problem, lambda p: torch.optim.SGD(p, lr=0.01), 1001)
    assert halted[-1] > goal(halted[300], problem.floor)
    for products in (None, 30):
        losses = fall(problem, lambda p, k=products: SaddleFreeNewton(p, products=k), 11)
        assert losses[-1] < goal(halted[300], problem.floor)


def test_the_step_of_the_paper_doubles_the_distance_from_a_saddle():
    """Without ``escape``: ½(ab − 1)² from (1e-6, 1e-6), where λ = −1 along (1, 1); 10 steps are not enough."""
    problem = next(problem for problem in PLANTED if problem.name == "saddle-product")
    training = problem.build(0)
    before = total(training.model)
    optimizer = SaddleFreeNewton(training.model.parameters(), dampings=(0.0,), escape=False)
    for _ in range(10):
        optimizer.step(lambda: training.loss(training.model, training.data))
    assert math.isclose(total(training.model), before * 2**10, rel_tol=1e-2)


def total(model):
    return sum(float(tensor.detach().sum()) for tensor in model.parameters())


def test_a_way_down_is_found_where_the_gradient_shows_none():
    """At (1, 0) of x²/2 + y⁴ − y², the slope is along x alone: no Krylov space of it knows y."""

    def surface(x):
        return 0.5 * x[0] ** 2 + x[1:].pow(4).sum() - x[1:].pow(2).sum()

    start = torch.tensor([1.0] + [0.0] * 5, dtype=torch.float64)
    blind, _ = ends(lambda p: SaddleFreeNewton(p, products=4, escape=False), surface, start, 5)
    assert not blind[1:].any()
    for products in (None, 4):
        seen, values = ends(lambda p, k=products: SaddleFreeNewton(p, products=k), surface, start, 12)
        assert values[-1] < -5 / 4 + 1e-6  # each y ends at ±√½, where y⁴ − y² = −¼
        assert seen[1:].abs().allclose(torch.tensor(0.5, dtype=torch.float64).sqrt(), atol=1e-3)


def test_the_trust_region_leaves_a_saddle_beside_which_it_starts():
    start = torch.tensor([0.5, 1e-3], dtype=torch.float64)
    _, values = ends(TrustRegionNewtonCG, lambda x: 0.5 * x[0] ** 2 + x[1] ** 4 - x[1] ** 2, start, 25)
    assert abs(values[-1] + 0.25) < 1e-9


def test_perturbed_descent_leaves_a_saddle_where_plain_descent_stays():
    """½(x² − y²) + ¼y⁴ from 0, where the gradient is exactly zero; minima at y = ±1."""

    def surface(x):
        return 0.5 * (x[0] ** 2 - x[1] ** 2) + 0.25 * x[1] ** 4

    start = torch.zeros(2, dtype=torch.float64)
    plain, _ = ends(lambda p: torch.optim.SGD(p, lr=0.1), surface, start, 150)
    assert not plain.any()
    settings = {"lr": 0.1, "radius": 0.01, "threshold": 1e-3, "interval": 100}
    shaken, values = ends(lambda p: PerturbedGradientDescent(p, **settings), surface, start, 100)
    assert abs(float(shaken[1].abs()) - 1) < 1e-2
    assert abs(values[-1] + 0.25) < 1e-3
