"""Is a point called what it is, and is no sign claimed that rounding could have made?"""

import itertools
import math

import numpy as np
import pytest
import torch

from families import BY_NAME
from theodolite.errors import ShapeError
from theodolite.landscape.critical_points import LocalModel, classify, local_model
from theodolite.objective import Objective
from theodolite.records import Status

types = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
ways = pytest.mark.parametrize("dense_limit", [2000, 0], ids=["dense", "Lanczos"])

STRENGTHS = (4.0, 3.0, 2.0, 1.0)
SUBSETS = [subset for k in range(4) for subset in itertools.combinations(range(4), k)]


def of(function, *point, dtype=torch.float64) -> Objective:
    return Objective.from_function(function, torch.tensor(point, dtype=dtype))


def monkey(t):
    return t[0] ** 3 - 3 * t[0] * t[1] ** 2


def rosenbrock(t):
    return (1 - t[0]) ** 2 + 100 * (t[1] - t[0] ** 2) ** 2


KNOWN = [
    ("bowl", lambda t: (t**2).sum(), (0.0, 0.0), "minimum", 0),
    ("hill", lambda t: -(t**2).sum(), (0.0, 0.0), "maximum", 2),
    ("saddle", lambda t: 5 * t[0] ** 2 - t[1] ** 2, (0.0, 0.0), "saddle", 1),
    ("monkey saddle", monkey, (0.0, 0.0), "degenerate", 0),
    ("x⁴", lambda t: t[0] ** 4, (0.0,), "degenerate", 0),
    ("x²y², crossing", lambda t: (t[0] * t[1]) ** 2, (0.0, 0.0), "degenerate", 0),
    ("x²y², valley", lambda t: (t[0] * t[1]) ** 2, (0.0, 1.5), "degenerate", 0),
    ("ridge with a flat", lambda t: -(t[0] ** 2) + t[1] ** 4, (0.0, 0.0), "degenerate", 1),
    ("saddle with a flat", lambda t: t[0] ** 2 - t[1] ** 2 + t[2] ** 4, (0.0, 0.0, 0.0), "saddle", 1),
    ("Rosenbrock", rosenbrock, (1.0, 1.0), "minimum", 0),
    ("n = 1, minimum", lambda t: t[0].cosh(), (0.0,), "minimum", 0),
    ("n = 1, maximum", lambda t: t[0].cos(), (0.0,), "maximum", 1),
    ("constant", lambda t: (0 * t).sum() + 3, (1.0, 2.0), "degenerate", 0),
    ("slope", lambda t: t.sum(), (0.0, 0.0), "not critical", 0),
    ("tail", lambda t: (-t).exp().sum(), (30.0,), "not critical", 0),
    ("tilted valley", lambda t: t[0] ** 2 + 1e-2 * t[1], (0.0, 0.0), "not critical", 0),
    ("flat inflection", lambda t: t[0] ** 3 + t[0], (0.0,), "not critical", 0),
    ("beside a soft minimum", lambda t: 10 * t[0] ** 2 + 1e-3 * t[1] ** 2, (0.0, 1.0), "not critical", 0),
]


known = pytest.mark.parametrize(
    ("function", "at", "kind", "index"), [row[1:] for row in KNOWN], ids=[row[0] for row in KNOWN]
)


@known
@pytest.mark.parametrize(
    ("dtype", "dense_limit"),
    [(torch.float64, 2000), (torch.float32, 2000), (torch.float64, 0)],
    ids=["float64", "float32", "Lanczos"],
)
def test_known_points(function, at, kind, index, dtype, dense_limit, generator):
    found = classify(of(function, *at, dtype=dtype), dense_limit=dense_limit, generator=generator())
    assert found.kind == kind
    assert found.status is Status.CONVERGED
    if kind != "not critical":
        assert found.index == index
        assert found.distance <= found.tolerance


@known
@pytest.mark.parametrize(("factor", "offset"), [(1e-8, 1e-3)])
def test_a_factor_before_and_an_offset_behind_change_nothing(function, at, kind, index, factor, offset):
    assert classify(of(lambda t: factor * function(t) + offset, *at)).kind == kind


@pytest.mark.parametrize("seed", [*range(5), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(5, 200))])
def test_random_quadratics(seed, generator):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 12))
    values = 10 ** rng.uniform(-3, 3) * rng.choice([-1, 1], n) ** rng.integers(1, 3) * rng.uniform(0.02, 1, n)
    Q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    H, centre = torch.as_tensor((Q * values) @ Q.T), 5 * torch.as_tensor(rng.normal(size=n))
    negative = int((values < 0).sum())
    kind = "minimum" if negative == 0 else "maximum" if negative == n else "saddle"
    dtype, dense_limit = ((torch.float64, 2000), (torch.float32, 2000), (torch.float64, 0))[seed % 3]
    A, c = H.to(dtype), centre.to(dtype)
    objective = Objective.from_function(lambda t: (t - c) @ A @ (t - c) / 2 + 7, c)
    found = classify(objective, dense_limit=dense_limit, count=6, generator=generator())
    assert (found.kind, found.index) == (kind, negative)
    assert abs(found.smallest.value - values.min()) <= found.smallest.error + 1e-5 * np.abs(values).max()
    assert classify(objective, c + 1, dense_limit=dense_limit, generator=generator()).kind == "not critical"


@pytest.mark.parametrize("active", SUBSETS, ids=str)
@pytest.mark.parametrize("dtype", [pytest.param(torch.float32, marks=pytest.mark.slow), torch.float64])
def test_saddles_of_a_deep_linear_network(active, dtype):
    """The index of Saxe's fixed points, from a formula; among symmetries that make many eigenvalues zero."""
    theta = balanced(active)
    found = classify(Objective.from_function(linear_network, theta.to(dtype)))
    unlearned = [mode for mode in range(4) if mode not in active]
    swaps = sum(STRENGTHS[a] > STRENGTHS[b] for a in unlearned for b in active)
    assert found.index == (3 - len(active)) * len(unlearned) + swaps
    assert found.kind == ("degenerate" if found.index == 0 else "saddle")
    escapes = [STRENGTHS[b] - STRENGTHS[a] for a in unlearned for b in active]
    escapes += [-STRENGTHS[a] for a in unlearned] if len(active) < 3 else []
    assert found.smallest.value == pytest.approx(min([0.0, *escapes]), abs=1e-5)
    assert (found.num_zero > 0) == (active != ())


def linear_network(theta: torch.Tensor) -> torch.Tensor:
    """½‖Σ − W₂W₁‖² with Σ = diag(4, 3, 2, 1) and three hidden units."""
    target = torch.diag(torch.tensor(STRENGTHS, dtype=theta.dtype))
    return 0.5 * ((target - theta[12:].reshape(4, 3) @ theta[:12].reshape(3, 4)) ** 2).sum()


def balanced(active) -> torch.Tensor:
    """The fixed point at which these modes are learnt."""
    lower, upper = torch.zeros(3, 4, dtype=torch.float64), torch.zeros(4, 3, dtype=torch.float64)
    for unit, mode in enumerate(active):
        lower[unit, mode] = upper[mode, unit] = STRENGTHS[mode] ** 0.5
    return torch.cat([lower.reshape(-1), upper.reshape(-1)])


@pytest.mark.parametrize("name", ["mlp", "relu", "layernorm"])
def test_eigenvalues_are_those_of_the_dense_oracle(name):
    from objective.oracle import oracle_of

    truth = oracle_of(BY_NAME[name])
    values = np.linalg.eigvalsh(truth.hessian(truth.point).numpy())
    for dtype in (torch.float64, torch.float32):
        problem = BY_NAME[name](dtype)
        found = classify(Objective(problem.model, problem.loss, problem.data))
        assert (np.abs(found.eigenvalues - values) <= found.errors + 1e-14).all()
        assert found.kind == "not critical"
        assert found.gradient_norm == pytest.approx(float(truth.gradient(truth.point).norm()), rel=1e-4)
        assert found.is_complete


@ways
def test_flatness(dense_limit, generator):
    H = torch.diag(torch.tensor([4.0, -1.0, 0.0], dtype=torch.float64))
    objective = of(lambda t: t @ H @ t / 2 + 3 * t[2], 0.5, 0.5, 0.0)
    found = classify(objective, dense_limit=dense_limit, generator=generator())
    g = np.array([2.0, -0.5, 3.0])
    assert found.flatness == pytest.approx(np.linalg.norm(H.numpy() @ g) / 4 / np.linalg.norm(g), rel=1e-10)
    assert classify(objective, torch.zeros(3), dense_limit=dense_limit, generator=generator()).flatness < 1e-12
    assert math.isnan(classify(of(monkey, 0.0, 0.0)).flatness)


@pytest.mark.parametrize("distance", [1e-5, 1e-9])
@pytest.mark.parametrize("function", [monkey, lambda t: (t**4).sum(), lambda t: (t[0] * t[1]) ** 2])
def test_beside_a_degenerate_point_no_sign_is_claimed_of_it(distance, function, monkeypatch):
    """The Hessian there has signs, but they vanish at the critical point. The twin that takes them for it is wrong."""
    objective = of(function, 3 * distance, 4 * distance)
    assert classify(objective, rtol=1e-4).kind == "degenerate"
    monkeypatch.setattr("theodolite.landscape.critical_points._STEPS_AWAY", 0)
    assert classify(objective, rtol=1e-4).kind in {"saddle", "minimum"}


def test_signs_in_the_rounding_are_not_claimed(monkeypatch):
    """A symmetric direction of a network: the twin without errors takes rounding for curvature."""
    theta = balanced((0, 1, 2)).float()
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))[0]
    theta = torch.cat([(turn @ theta[:12].reshape(3, 4)).reshape(-1), (theta[12:].reshape(4, 3) @ turn.T).reshape(-1)])
    objective = Objective.from_function(linear_network, theta)
    found = classify(objective)
    assert (found.kind, found.index, found.num_zero) == ("degenerate", 0, 9)
    monkeypatch.setattr("theodolite.landscape.critical_points._ROUNDING", 0)
    monkeypatch.setattr("theodolite.landscape.critical_points._STEPS_AWAY", 0)
    monkeypatch.setattr(torch.linalg, "matrix_norm", lambda matrix: torch.zeros(()))
    assert classify(objective, rtol=1e-2).num_zero < 9


def test_lower_bounds_where_not_all_is_known(generator):
    values = torch.cat([-torch.arange(1.0, 7.0), torch.arange(1.0, 25.0)]).double()
    objective = Objective.from_function(lambda t: (values * t**2).sum() / 2, torch.zeros(30, dtype=torch.float64))
    found = classify(objective, dense_limit=29, generator=generator())
    assert (found.kind, found.index, found.num_positive, found.is_complete) == ("saddle", 4, 4, False)
    np.testing.assert_allclose(found.eigenvalues, [-6, -5, -4, -3, 21, 22, 23, 24], rtol=1e-2)
    assert found.products < 100


def test_without_convergence_a_definite_sign_is_not_claimed(generator):
    values = torch.logspace(-6, 0, 200, dtype=torch.float64)
    objective = Objective.from_function(lambda t: (values * t**2).sum() / 2, torch.zeros(200, dtype=torch.float64))
    found = classify(objective, dense_limit=10, max_products=12, generator=generator())
    assert (found.kind, found.status) == ("degenerate", Status.BUDGET)
    assert found.index == 0
    assert classify(objective).kind == "minimum"


@ways
def test_what_is_not_finite_is_not_critical(dense_limit):
    for function in (lambda t: t.sum() * math.nan, lambda t: t.abs().sqrt().sum(), lambda t: (t.abs() ** 1.5).sum()):
        found = classify(of(function, 0.0, 0.0), dense_limit=dense_limit)
        assert (found.kind, found.status) == ("not critical", Status.NONFINITE)
        assert (found.index, len(found.eigenvalues)) == (0, 0)
        assert not found.smallest.is_finite


def test_the_tolerance_says_where_it_comes_from():
    bowl = of(lambda t: (t**2).sum(), 1e-5, 100.0)
    found = classify(bowl)
    assert found.tolerance == pytest.approx(math.sqrt(2.0**-52) * 100 / math.sqrt(2), rel=1e-6)
    assert "2.2e-16 of the products" in found.criterion
    asked = classify(of(lambda t: (t**2).sum(), 1e-5, 0.0), rtol=1e-4)
    assert (asked.kind, asked.tolerance) == ("minimum", 1e-4)
    assert "rtol=0.0001" in asked.criterion
    assert classify(of(lambda t: (t**2).sum(), 1e-5, 0.0)).kind == "not critical"


def test_the_point_of_a_model_is_its_own_until_another_is_given():
    problem = BY_NAME["mlp"](torch.float64)
    objective = Objective(problem.model, problem.loss, problem.data)
    assert classify(objective).value == objective.value()
    found = classify(objective, objective.point() + 1)
    assert found.value == objective.value(objective.point() + 1)
    np.testing.assert_array_equal(found.point, objective.point().numpy() + 1)


def test_half_precision(generator):
    saddle = of(lambda t: t[0] ** 2 - t[1] ** 2, 0.0, 0.0, dtype=torch.bfloat16)
    for dense_limit in (2000, 0):
        found = classify(saddle, dense_limit=dense_limit, generator=generator())
        assert (found.kind, found.index) == ("saddle", 1)
        assert found.tolerance == pytest.approx(2.0**-3.5)


def test_the_local_model_is_the_quadratic_one(generator):
    A = torch.randn(6, 6, dtype=torch.float64, generator=generator())
    A, g = A + A.T, torch.randn(6, dtype=torch.float64, generator=generator(1))
    objective = Objective.from_function(lambda t: t @ A @ t / 2 + g @ t, torch.zeros(6, dtype=torch.float64))
    for dense_limit in (6, 0):
        model = local_model(objective, torch.zeros(6, dtype=torch.float64), dense_limit=dense_limit, products=6)
        assert isinstance(model, LocalModel)
        torch.testing.assert_close(model.newton_shift(), -torch.linalg.solve(A, g))
        newton = -torch.linalg.solve(A, g)
        values, Q = torch.linalg.eigh(A)
        metric = (Q * values.abs()) @ Q.T / values.abs().max()
        assert model.distance() == pytest.approx(float(newton @ metric @ newton) ** 0.5, rel=1e-9)


def test_mistakes_are_told():
    with pytest.raises(ShapeError, match=r"at must have shape \(2,\), got \(3,\)"):
        classify(of(monkey, 0.0, 0.0), torch.zeros(3))
