"""Does Newton's method go where it is known to go: to the critical point nearby, of whatever kind?"""

import math

import numpy as np
import pytest
import torch

from families import BY_NAME
from landscape.test_critical_points import SUBSETS, balanced, linear_network, monkey, of, rosenbrock, ways
from theodolite.errors import SettingError, ShapeError
from theodolite.landscape import searches as home
from theodolite.landscape.critical_points import classify
from theodolite.landscape.searches import find_critical_point, newton
from theodolite.objective import Objective
from theodolite.records import Status


def point(*coordinates, dtype=torch.float64) -> torch.Tensor:
    return torch.tensor(coordinates, dtype=dtype)


def wells(t):
    """¼(x² − 1)² + ½y²: minima at (±1, 0), a saddle at 0."""
    return 0.25 * (t[0] ** 2 - 1) ** 2 + 0.5 * t[1] ** 2


def eggs(t):
    """cos x + cos y: minima, maxima and saddles at the multiples of π."""
    return t[0].cos() + t[1].cos()


# Plain Newton.


@ways
def test_a_quadratic_takes_one_step(dense_limit):
    """Also uphill: from 5x² − y² to its saddle."""
    path = newton(of(lambda t: 5 * t[0] ** 2 - t[1] ** 2, 3.0, 2.0), point(3.0, 2.0), 1, dense_limit=dense_limit)
    np.testing.assert_allclose(path.points, [[3, 2], [0, 0]], atol=1e-12)
    np.testing.assert_allclose(path.values, [41, 0], atol=1e-12)
    np.testing.assert_allclose(path.gradient_norms, [np.hypot(30, 4), 0], atol=1e-12)
    assert path.indices[0] == 1
    assert (path.end.kind, path.status, len(path)) == ("saddle", Status.CONVERGED, 2)


@pytest.mark.parametrize(
    ("start", "kind", "index"),
    [((0.3, -0.2), "maximum", 2), ((3.4, 0.2), "saddle", 1), ((3.0, 3.3), "minimum", 0)],
)
def test_the_failure_mode(start, kind, index):
    """Newton goes to whatever is near; where it ends at a maximum it has gone uphill."""
    path = newton(of(eggs, *start), point(*start), 6)
    assert (path.end.kind, path.end.index, path.status) == (kind, index, Status.CONVERGED)
    assert (path.values[-1] > path.values[0]) == (kind == "maximum")
    assert np.abs(np.round(path.points[-1] / np.pi) * np.pi - path.points[-1]).max() < 1e-12


def test_damping_beyond_the_least_eigenvalue_goes_downhill():
    start = point(0.3, 0.5)
    assert newton(of(wells, 0.3, 0.5), start, 8).end.kind == "saddle"
    damped = newton(of(wells, 0.3, 0.5), start, 15, damping=1.1)
    np.testing.assert_allclose(damped.points[-1], [1, 0], atol=1e-3)
    assert (np.diff(damped.values) <= 0).all()
    assert damped.damping == 1.1


def test_convergence_is_quadratic():
    path = newton(of(lambda t: t.exp().sum() - 2 * t.sum(), 1.0), point(1.0), 6)
    errors = np.abs(path.points[:, 0] - math.log(2))
    assert (errors[1:4] <= errors[:3] ** 2).all()
    assert path.end.kind == "minimum"


def test_a_singular_hessian_ends_the_path():
    slope = newton(of(lambda t: t[0] ** 2 + t[1], 1.0, 0.0), point(1.0, 0.0), 5)
    assert (len(slope), slope.status, slope.end.kind) == (1, Status.BREAKDOWN, "not critical")
    valley = newton(of(lambda t: (t[0] + t[1]) ** 2, 1.0, 0.0), point(1.0, 0.0), 3)
    np.testing.assert_allclose(valley.points[-1], [0.5, -0.5], atol=1e-14)  # the flat axis is left out
    assert (valley.end.kind, valley.status) == ("degenerate", Status.CONVERGED)


def test_no_steps_too_few_and_what_is_not_finite():
    none = newton(of(eggs, 0.3, 0.3), point(0.3, 0.3), 0)
    assert (len(none), none.status) == (1, Status.BUDGET)
    few = newton(of(rosenbrock, -1.0, 2.0), point(-1.0, 2.0), 1)
    assert (len(few), few.status, few.end.kind) == (2, Status.BUDGET, "not critical")
    log = newton(of(lambda t: t[0] * t[0].log(), 2.0), point(2.0), 5)
    assert (len(log), log.status) == (2, Status.NONFINITE)  # the first step leads below zero
    assert log.indices.tolist() == [0, -1]
    assert math.isnan(log.values[-1])


# The search on ½‖g‖².

WAYS = ("float64", "float32", "Krylov")


NEARBY = [
    (lambda t: 5 * t[0] ** 2 - t[1] ** 2, (3.0, 2.0), (0, 0), "saddle"),
    (wells, (0.3, 0.2), (0, 0), "saddle"),
    (wells, (0.8, 1.0), (1, 0), "minimum"),
    (eggs, (0.5, 0.4), (0, 0), "maximum"),
    (eggs, (2.9, 0.3), (np.pi, 0), "saddle"),
    (lambda t: -torch.exp(-(t**2).sum()), (0.3, 0.4), (0, 0), "minimum"),
    (rosenbrock, (0.3, 0.4), (1, 1), "minimum"),
    (monkey, (0.3, 0.4), (0, 0), "degenerate"),
    (lambda t: (t[0] ** 4).sum(), (1.0,), (0,), "degenerate"),
]


@pytest.mark.parametrize(
    ("row", "dense_limit"), [*((row, 2000) for row in NEARBY), *((row, 0) for row in NEARBY[1:6:2])]
)
def test_the_critical_point_nearby(row, dense_limit, generator):
    function, start, end, kind = row
    objective = of(function, *start)
    found = find_critical_point(objective, dense_limit=dense_limit, generator=generator())
    assert (found.kind, found.status) == (kind, Status.CONVERGED)
    np.testing.assert_allclose(found.point, end, atol=1e-7)
    assert found.gradient_norm <= 1e-12
    assert found.gradient_norms[0] == pytest.approx(float(objective.gradient().norm()))
    assert (np.diff(found.gradient_norms) <= 0).all()
    assert found.iterations == len(found.gradient_norms) - 1 <= 200
    assert found.value == objective.value(found.point)


def test_where_plain_newton_leaves(generator):
    """On arctan-like gradients the plain step overshoots further and further; the search does not."""
    bell = of(lambda t: (1 + t**2).sqrt().sum(), 1.5)
    assert newton(bell, point(1.5), 6).status is not Status.CONVERGED
    assert find_critical_point(bell).kind == "minimum"


def case(active, way):
    """A row; all but one are slow."""
    return pytest.param(active, way, marks=() if (active, way) == ((0, 2), "float64") else pytest.mark.slow)


@pytest.mark.parametrize(("active", "way"), [case(active, way) for active in SUBSETS for way in WAYS])
def test_saddles_of_a_deep_linear_network(active, way, generator):
    """The search from nearby comes back to the saddle with the same loss and the same index."""
    dtype = torch.float32 if way == "float32" else torch.float64
    theta = balanced(active).to(dtype)
    objective = Objective.from_function(linear_network, theta)
    start = theta + 0.05 * torch.randn(24, dtype=torch.float64, generator=generator(1)).to(dtype)
    limit = 0 if way == "Krylov" else 2000
    found = find_critical_point(objective, start, products=20, dense_limit=limit, generator=generator())
    there = classify(objective)
    assert found.kind == there.kind
    assert found.index == there.index if limit else found.index <= there.index
    assert found.value == pytest.approx(there.value, rel=1e-5, abs=1e-9)
    assert found.status is Status.CONVERGED


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(200))
def test_random_quadratics(seed, generator):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 12))
    values = 10 ** rng.uniform(-3, 3) * rng.choice([-1, 1], n) * rng.uniform(0.02, 1, n)
    Q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    H, centre = torch.as_tensor((Q * values) @ Q.T), 5 * torch.as_tensor(rng.normal(size=n))
    dtype, limit, atol = ((torch.float64, 2000, 1e-7), (torch.float32, 2000, 1e-2), (torch.float64, 0, 1e-7))[seed % 3]
    A, c = H.to(dtype), centre.to(dtype)
    objective = Objective.from_function(lambda t: (t - c) @ A @ (t - c) / 2 + 7, c + 1)
    found = find_critical_point(objective, products=20, dense_limit=limit, generator=generator())
    np.testing.assert_allclose(found.point, c.numpy(), atol=atol)
    assert found.status is Status.CONVERGED
    if limit:
        assert found.index == (values < 0).sum()


FLAT = {
    "tilted valley": (lambda t: t[0] ** 2 + 1e-3 * t[1], (1.0, 0.5)),
    "inflection": (lambda t: t[0] ** 3 + t[0], (0.5,)),
    "slope": (lambda t: t.sum(), (1.0, 2.0)),
}


@pytest.mark.parametrize(("name", "dense_limit"), [*((name, 2000) for name in FLAT), ("tilted valley", 0)])
def test_a_gradient_flat_point_is_not_called_critical(name, dense_limit):
    """‖g‖ is least where g lies in the kernel of H, and g is not zero there: J has no critical point."""
    function, start = FLAT[name]
    found = find_critical_point(of(function, *start), dense_limit=dense_limit)
    assert (found.kind, found.status) == ("not critical", Status.BREAKDOWN)
    assert found.gradient_norm > 1e-4
    if name == "tilted valley":
        assert found.flatness < 1e-6


def test_where_the_gradient_must_grow_first_the_plain_method_is_tried(monkeypatch):
    """From Rosenbrock's own start ‖g‖ falls for ever away from the minimum; its twin without a second try is lost."""
    objective = of(rosenbrock, -1.2, 1.0)
    found = find_critical_point(objective)
    assert (found.kind, found.status) == ("minimum", Status.CONVERGED)
    np.testing.assert_allclose(found.point, [1, 1], atol=1e-6)
    assert (np.diff(found.gradient_norms) > 0).any()
    monkeypatch.setattr(home, "_PLAIN", 0)
    lost = find_critical_point(objective, max_iterations=25)
    assert (lost.kind, lost.status) == ("not critical", Status.BUDGET)


def test_a_function_without_critical_points_spends_the_budget():
    found = find_critical_point(of(lambda t: (-t).exp().sum(), 0.0), max_iterations=20)
    assert (found.kind, found.status, found.iterations) == ("not critical", Status.BUDGET, 20)


def test_edges(generator):
    there = find_critical_point(of(monkey, 0.0, 0.0))
    assert (there.kind, there.iterations, there.status) == ("degenerate", 0, Status.CONVERGED)
    none = find_critical_point(of(eggs, 0.5, 0.5), max_iterations=0)
    assert (none.kind, none.iterations, none.status) == ("not critical", 0, Status.BUDGET)
    broken = find_critical_point(of(lambda t: t.sum() * math.nan, 0.0))
    assert (broken.kind, broken.status) == ("not critical", Status.NONFINITE)
    constant = find_critical_point(of(lambda t: (0 * t).sum(), 1.0))
    assert constant.kind == "degenerate"
    edge = find_critical_point(of(lambda t: (t[0] - 1) ** 2 - 1e-3 * t[0].log(), 1e-3))  # beyond 0 it is NaN
    assert (edge.kind, edge.status) == ("minimum", Status.CONVERGED)


def test_a_network_is_left_as_it_was(generator):
    from objective.test_traces import lived
    from objective.traces import traces

    problem = lived(BY_NAME["mlp"](torch.float64))
    objective = Objective(problem.model, problem.loss, problem.data)
    before = traces(problem.model)
    found = find_critical_point(objective, objective.point(), max_iterations=5)
    newton(objective, objective.point(), 2)
    assert traces(problem.model) == before
    assert found.gradient_norms[-1] < found.gradient_norms[0]
    assert found.products >= objective.dimension


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda J: newton(J, point(1.0, 1.0), -1), SettingError, "steps must be 0 or more, got -1"),
        (lambda J: newton(J, point(1.0), 1), ShapeError, r"start must have shape \(2,\), got \(1,\)"),
        (lambda J: find_critical_point(J, point(1.0)), ShapeError, "start must have shape"),
        (lambda J: find_critical_point(J, max_iterations=-1), SettingError, "0 or more and products 1 or more, got -1"),
        (lambda J: find_critical_point(J, products=0), SettingError, "got 200 and 0"),
    ],
)
def test_mistakes_are_told(ask, error, message):
    with pytest.raises(error, match=message):
        ask(of(eggs, 0.5, 0.5))
