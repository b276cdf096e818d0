"""Is a point called what it is, and is no sign claimed that rounding could have made?"""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from families import BY_NAME
from theodolite.errors import SettingError, ShapeError
from theodolite.landscape.critical_points import classify, classify_model
from theodolite.landscape.local_models import local_model
from theodolite.linalg.decomposition import eigendecomposition
from theodolite.objective import Objective
from theodolite.records import Eigenpairs, Status

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


@pytest.mark.parametrize(("function", "at", "kind"), [row[1:4] for row in KNOWN], ids=[row[0] for row in KNOWN])
def test_a_factor_before_and_an_offset_behind_change_nothing(function, at, kind):
    assert classify(of(lambda t: 1e-8 * function(t) + 1e-3, *at)).kind == kind


@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 200))])
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
    monkeypatch.setattr("theodolite.landscape.critical_points._STEPS_AWAY", 0)
    monkeypatch.setattr("theodolite.landscape.local_models.eigendecomposition", without_errors)
    assert classify(objective, rtol=1e-2).num_zero < 9


def without_errors(op) -> Eigenpairs:
    pairs = eigendecomposition(op)
    return replace(pairs, residuals=np.zeros_like(pairs.residuals))


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


def stiff(strength: float, distance: float, n: int = 100) -> Objective:
    """½Σ dᵢtᵢ² with d = (strength, 1, 1, …), off its minimum along the soft axes only; float32."""
    d, start = torch.ones(n), torch.full((n,), distance)
    d[0], start[0] = strength, 0
    return Objective.from_function(lambda t: (d * t**2).sum() / 2, start)


@ways
@pytest.mark.parametrize("strength", [1e3, 1e4, 1e5, 1e8])
@pytest.mark.parametrize("distance", [9e-4, 0.05, 0.09])
def test_no_axis_hides_its_gradient_behind_a_stiff_one(strength, distance, dense_limit, generator):
    """In float32 8ε‖H‖ is 0.1 to 100, and so much was once forgiven each of n axes."""
    objective = stiff(strength, distance)
    found = classify(objective, dense_limit=dense_limit, generator=generator())
    assert found.kind == "not critical"
    assert found.gradient_norm == pytest.approx(distance * math.sqrt(99), rel=1e-5)
    if strength <= 1e5:
        assert found.distance == pytest.approx(distance * math.sqrt(99 / strength), rel=1e-2)
    assert "in the unit of θ" in found.criterion


TAILS = {
    "1e10·x² + y": lambda t: 1e10 * t[0] ** 2 + t[1],
    "1e8·x² + e⁻ʸ": lambda t: 1e8 * t[0] ** 2 + (-t[1]).exp(),
    "x² + e⁻ʸ": lambda t: t[0] ** 2 + (-t[1]).exp(),
}


@types
@ways
@pytest.mark.parametrize("name", TAILS)
@pytest.mark.parametrize("y", [0.0, 11.3, 31.0, 60.0, 80.0])
def test_what_falls_for_ever_is_nowhere_critical(name, y, dtype, dense_limit, generator):
    found = classify(of(TAILS[name], 0.0, y, dtype=dtype), dense_limit=dense_limit, generator=generator())
    assert found.kind == "not critical"


@pytest.mark.parametrize("rotated", [False, True])
def test_the_noise_of_the_axes_together_is_that_of_the_gradient(rotated, generator):
    """It is 8 times what rounding each coordinate of θ by ε, up or down, does to g; ‖H‖ for each axis would be more."""
    n = 60
    Q = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64, generator=generator()))[0]
    values = torch.logspace(0, -5, n, dtype=torch.float64)
    H = (Q * values) @ Q.T if rotated else torch.diag(values)
    theta = 3 * torch.randn(n, dtype=torch.float64, generator=generator(1))
    model = local_model(Objective.from_function(lambda t: t @ H @ t / 2, theta), theta, dense_limit=n, products=1)
    sizes = theta.abs().clamp_min(1)
    signs = 2.0 * torch.randint(2, (n, 200), generator=generator(2)) - 1
    moved = (H @ (2.0**-52 * sizes[:, None] * signs)).norm(dim=0).square().mean().sqrt()
    assert np.linalg.norm(model.noise) == pytest.approx(8 * float(moved), rel=0.1, abs=0)
    assert np.linalg.norm(model.noise) < model.product_error * model.scale * float(sizes.norm())


@ways
@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_the_noise_of_large_and_small_functions(factor, dense_limit):
    """Squares of these leave float32."""
    objective = of(lambda t: factor * (t[0] ** 2 + 2 * t[1] ** 2), 3.0, 0.5, dtype=torch.float32)
    model = local_model(objective, objective.point(), dense_limit=dense_limit, products=2)
    expected = np.linalg.norm([3 * 2, 1 * 4]) * 8 * 2.0**-23 * factor
    assert np.linalg.norm(model.noise) == pytest.approx(expected, rel=1e-6, abs=0)


@types
@ways
def test_a_gradient_that_is_all_rounding_does_not_hide_a_critical_point(dtype, dense_limit, generator):
    """Softmax regression on balanced labels at θ = 0: g is zero but for rounding, and H θ is zero too."""
    x = torch.randn(40, 5, generator=generator()).to(dtype).repeat(4, 1)
    model = torch.nn.Linear(5, 4).to(dtype)
    objective = Objective(model, lambda m, b: torch.nn.functional.cross_entropy(m(b[0]), b[1]), (x, labels()))
    found = classify(objective, torch.zeros(24, dtype=dtype), dense_limit=dense_limit, generator=generator())
    assert (found.kind, found.status) == ("degenerate", Status.CONVERGED)
    assert 0 < found.gradient_norm < 10 * torch.finfo(dtype).eps


def labels() -> torch.Tensor:
    return torch.arange(4).repeat_interleave(40)


def test_a_flat_minimum_nearby_is_seen_where_its_curvature_is_not():
    """Beside x² + y⁴ = 0 the curvature of y is below its error, yet its Newton step is a third of the way."""
    assert classify(of(lambda t: t[0] ** 2 + t[1] ** 4, 0.0, 1e-8)).kind == "degenerate"


@ways
def test_what_is_not_finite_is_not_critical(dense_limit):
    for function in (lambda t: t.sum() * math.nan, lambda t: t.abs().sqrt().sum(), lambda t: (t.abs() ** 1.5).sum()):
        found = classify(of(function, 0.0, 0.0), dense_limit=dense_limit)
        assert (found.kind, found.status) == ("not critical", Status.NONFINITE)
        assert (found.index, len(found.eigenvalues)) == (0, 0)
        assert not found.smallest.is_finite
        assert "not critical, as nothing is known: J, g or H is not finite (nonfinite" in str(found)


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
        torch.testing.assert_close(model.newton_shift(), -torch.linalg.solve(A, g))
        newton = -torch.linalg.solve(A, g)
        values, Q = torch.linalg.eigh(A)
        metric = (Q * values.abs()) @ Q.T / values.abs().max()
        assert model.distance() == pytest.approx(float(newton @ metric @ newton) ** 0.5, rel=1e-9)


@ways
@pytest.mark.parametrize("function", [lambda t: t.sum() * math.nan, lambda t: (t.abs() ** 1.5).sum()])
def test_of_what_is_not_finite_no_axis_is_known(dense_limit, function):
    objective = of(function, 0.0, 1.0)
    model = local_model(objective, objective.point(), dense_limit=dense_limit, products=2)
    assert not model.is_finite
    assert model.axes.shape == (2, 0)
    assert len(model.curvatures) == len(model.errors) == len(model.components) == 0
    assert math.isnan(model.scale)
    assert math.isnan(model.distance())


def test_a_model_at_hand_is_not_formed_again():
    objective = of(rosenbrock, 0.3, 0.4)
    model = local_model(objective, objective.point(), dense_limit=2, products=2)
    found, anew = classify_model(objective, model), classify(objective)
    assert str(found) == str(anew)
    assert "in the unit of θ" in str(found)
    assert found.products == model.products == 2  # far from a critical point nothing is added


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"at": torch.zeros(3)}, ShapeError, r"at must have shape \(2,\), got \(3,\)"),
        ({"rtol": -1e-3}, SettingError, "rtol must be finite and not negative, got -0.001"),
        ({"rtol": math.nan}, SettingError, "got nan"),
        ({"rtol": math.inf}, SettingError, "got inf"),
        ({"count": 0}, SettingError, "count must be at least 1, got 0"),
        ({"max_products": 0}, SettingError, "max_products must be at least 1, got 0"),
        ({"dense_limit": -1}, SettingError, "dense_limit must be at least 0, got -1"),
    ],
)
def test_mistakes_are_told(settings, error, message):
    with pytest.raises(error, match=message):
        classify(of(monkey, 0.0, 0.0), **settings)


def test_a_matrix_that_does_not_fit_is_refused():
    large = Objective.from_function(lambda t: (t**2).sum(), torch.zeros(20_000))
    with pytest.raises(SettingError, match="memory_limit"):
        classify(large, dense_limit=20_000)
