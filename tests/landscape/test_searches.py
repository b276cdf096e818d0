"""Does Newton's method go where it is known to go: to the critical point nearby, of whatever kind?"""

import math

import numpy as np
import pytest
import torch

from families import BY_NAME
from landscape.test_critical_points import (
    SUBSETS,
    TAILS,
    balanced,
    linear_network,
    monkey,
    of,
    rosenbrock,
    stiff,
    types,
    ways,
)
from theodolite.errors import SettingError, ShapeError
from theodolite.landscape import searches as home
from theodolite.landscape.critical_points import classify
from theodolite.landscape.searches import find_critical_point, newton
from theodolite.objective import Objective
from theodolite.objective.products import HessianProducts
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


def test_where_plain_newton_leaves():
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


ROOM = {"tilted valley": 3, "inflection": 14, "slope": 1}
"""So many trials until ‖g‖ is least; as many as the patience later a search says that nothing helps."""


@pytest.mark.parametrize(("name", "dense_limit"), [*((name, 2000) for name in FLAT), ("tilted valley", 0)])
def test_a_gradient_flat_point_is_not_called_critical(name, dense_limit, monkeypatch):
    """‖g‖ is least where g lies in the kernel of H, and g is not zero there: J has no critical point."""
    monkeypatch.setattr(home, "_PLAIN", 5)  # it would not arrive in more either
    function, start = FLAT[name]
    found = find_critical_point(
        of(function, *start), max_iterations=home._PATIENCE + ROOM[name], dense_limit=dense_limit
    )
    assert (found.kind, found.status) == ("not critical", Status.BREAKDOWN)
    assert found.gradient_norm > 1e-4
    if name == "tilted valley":
        assert found.flatness < 1e-6


def test_where_the_gradient_must_grow_first_the_plain_method_is_tried(monkeypatch):
    """From Rosenbrock's own start ‖g‖ falls for ever away from the minimum; its twin without a second try is lost."""
    objective = of(rosenbrock, -1.2, 1.0)
    found = find_critical_point(objective, max_iterations=30)
    assert (found.kind, found.status) == ("minimum", Status.CONVERGED)
    np.testing.assert_allclose(found.point, [1, 1], atol=1e-6)
    assert (np.diff(found.gradient_norms) > 0).any()
    monkeypatch.setattr(home, "_PLAIN", 0)
    lost = find_critical_point(objective, max_iterations=25)
    assert (lost.kind, lost.status) == ("not critical", Status.BUDGET)


def test_a_function_without_critical_points_spends_the_budget():
    found = find_critical_point(of(lambda t: (-t).exp().sum(), 0.0), max_iterations=20)
    assert (found.kind, found.status, found.iterations) == ("not critical", Status.BUDGET, 20)


@types
@pytest.mark.parametrize("start", [(1.0, 0.0), (0.0, 0.0)])
@pytest.mark.parametrize("name", TAILS)
def test_what_falls_for_ever_leads_nowhere(name, start, dtype, generator):
    found = find_critical_point(of(TAILS[name], *start, dtype=dtype), max_iterations=40, generator=generator())
    assert found.kind == "not critical"
    assert found.status in {Status.BUDGET, Status.BREAKDOWN}
    assert "in the unit of θ" in found.criterion


@pytest.mark.parametrize("distance", [9e-4, 0.05, 0.09])
@pytest.mark.parametrize("strength", [1e3, 1e5])
def test_a_stiff_axis_does_not_end_the_search_for_the_soft_ones(strength, distance, generator):
    found = find_critical_point(stiff(strength, distance), generator=generator())
    assert (found.kind, found.status) == ("minimum", Status.CONVERGED)
    assert np.linalg.norm(found.point) < 1e-5
    lost = find_critical_point(stiff(1e8, distance), generator=generator())  # ‖g‖² does not show the soft axes
    assert (lost.kind, lost.status) == ("not critical", Status.BREAKDOWN)


@types
def test_a_regression_with_one_feature_in_other_units(dtype, generator):
    """In float64 the search arrives; in float32, where the soft curvatures are below their errors, it says that not."""
    x = torch.randn(50, 3, dtype=torch.float64, generator=generator()) * point(1e4, 1.0, 1.0)
    y = x @ point(1e-4, 1.0, -2.0)
    model = torch.nn.Linear(3, 1).to(dtype)
    objective = Objective(
        model,
        lambda m, b: torch.nn.functional.mse_loss(m(b[0]).squeeze(1), b[1]),
        (x.to(dtype), y.to(dtype)),
    )
    found = find_critical_point(objective, point(1e-4, 0.0, 0.0, 0.0, dtype=dtype), generator=generator())
    if dtype is torch.float64:
        assert (found.kind, found.status) == ("minimum", Status.CONVERGED)
        assert found.value < 1e-20
    else:
        assert (found.kind, found.status) == ("not critical", Status.BREAKDOWN)
        assert found.value > 1


@pytest.mark.slow
@pytest.mark.parametrize("centre", [0.0, 1.0, 100.0])
@pytest.mark.parametrize("condition", [1e2, 1e4, 1e6, 1e7])
@pytest.mark.parametrize("seed", range(3))
def test_ill_conditioned_quadratics_in_float32(seed, condition, centre, generator):
    """What is claimed is so: J is at its minimum, as far as products in float32 know H."""
    n = 50
    Q = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64, generator=generator(seed)))[0]
    A = ((Q * torch.logspace(0, -math.log10(condition), n, dtype=torch.float64)) @ Q.T).float()
    c = centre * torch.randn(n, generator=generator(seed + 10))
    start = c + 0.05 * torch.randn(n, generator=generator(seed + 20))
    found = find_critical_point(
        Objective.from_function(lambda t: (t - c) @ A @ (t - c) / 2, start), generator=generator()
    )
    assert (found.kind, found.status) == ("minimum" if condition < 1e7 else "degenerate", Status.CONVERGED)
    off = (torch.as_tensor(found.point) - c).double()
    assert float(off @ A.double() @ off) / 2 < 1e-7 * max(1.0, centre**2)


def test_edges():
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


def test_a_network_is_left_as_it_was():
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


@ways
def test_newton_can_be_repeated(dense_limit, generator):
    starts = torch.arange(12.0, dtype=torch.float64)
    objective = Objective.from_function(lambda t: (t.cos() * starts).sum(), starts)
    paths = [newton(objective, starts, 1, dense_limit=dense_limit, generator=generator()) for _ in range(2)]
    assert str(paths[0]) == str(paths[1])
    np.testing.assert_array_equal(paths[0].end.eigenvalues, paths[1].end.eigenvalues)
    if not dense_limit:  # without one, a coin is tossed
        other = newton(objective, starts, 1, dense_limit=0, generator=generator(1))
        assert (other.end.eigenvalues != paths[0].end.eigenvalues).any()


@ways
@pytest.mark.parametrize("start", [(0.3, 0.2, 1.0), (0.0, 0.0, 0.0)])
def test_products_are_those_that_were_formed(start, dense_limit, generator, monkeypatch):
    """A first search that fails, and the second one after it, among them."""
    formed, apply = [], HessianProducts.apply

    def counted(products, vectors):
        formed.append(vectors.shape[1])
        return apply(products, vectors)

    monkeypatch.setattr(HessianProducts, "apply", counted)
    objective = of(lambda t: wells(t) + (-t[2]).exp(), *start)
    options = {"dense_limit": dense_limit, "generator": generator()}
    for ask in (
        lambda: classify(objective, **options),
        lambda: newton(objective, objective.point(), 3, **options),
        lambda: find_critical_point(objective, max_iterations=4, **options),
        lambda: find_critical_point(of(eggs, *start[:2]), **options),
    ):
        formed.clear()
        assert ask().products == sum(formed)


def test_a_path_counts_what_its_points_took():
    path = newton(of(lambda t: 5 * t[0] ** 2 - t[1] ** 2, 3.0, 2.0), point(3.0, 2.0), 1)
    assert path.products == 4  # two points of two, and nothing anew for the last classification
    assert path.method == "double backward"


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda J: newton(J, point(1.0, 1.0), -1), SettingError, "steps must be at least 0, got -1"),
        (lambda J: newton(J, point(1.0, 1.0), 1, damping=math.nan), SettingError, "damping must be finite, got nan"),
        (lambda J: newton(J, point(1.0, 1.0), 1, damping=math.inf), SettingError, "damping must be finite, got inf"),
        (lambda J: newton(J, point(1.0, 1.0), 1, dense_limit=-1), SettingError, "dense_limit must be at least 0"),
        (lambda J: newton(J, point(1.0, 1.0), 1, products=0), SettingError, "products must be at least 1, got 0"),
        (lambda J: newton(J, point(1.0), 1), ShapeError, r"start must have shape \(2,\), got \(1,\)"),
        (lambda J: find_critical_point(J, point(1.0)), ShapeError, "start must have shape"),
        (
            lambda J: find_critical_point(J, max_iterations=-1),
            SettingError,
            "max_iterations must be at least 0, got -1",
        ),
        (lambda J: find_critical_point(J, products=0), SettingError, "products must be at least 1, got 0"),
        (lambda J: find_critical_point(J, dense_limit=-1), SettingError, "dense_limit must be at least 0"),
        (lambda J: find_critical_point(J, rtol=-1.0), SettingError, "rtol must be finite and not negative, got -1"),
        (
            lambda J: find_critical_point(J, rtol=math.nan),
            SettingError,
            "rtol must be finite and not negative, got nan",
        ),
    ],
)
def test_mistakes_are_told(ask, error, message):
    with pytest.raises(error, match=message):
        ask(of(eggs, 0.5, 0.5))
