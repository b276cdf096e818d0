"""Do the closed forms solve the differential equation, and the recursion, for curvature of every sign?"""

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from theodolite.errors import SettingError, ShapeError
from theodolite.theory.quadratic import descent_factor, flow_factor, quadratic_descent, quadratic_flow

SIZES = [1, 2, 7]


def quadratic(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues of both signs with a zero among them, axes, a gradient, and H itself."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=n)
    values[n // 2] = 0.0
    Q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    return values, Q, rng.normal(size=n), (Q * values) @ Q.T


@pytest.mark.parametrize("n", SIZES)
def test_flow_against_the_exponential_of_a_matrix(n):
    """(θ − θ₀, 1) obeys a linear equation whose matrix is exponentiated."""
    values, Q, g, H = quadratic(n)
    generator = np.block([[-H, -g[:, None]], [np.zeros((1, n + 1))]])
    times = np.array([0.0, 1e-9, 0.3, 2.0, -1.0])
    expected = [expm(generator * t)[:n, n] for t in times]
    np.testing.assert_allclose(quadratic_flow(values, Q, g, times), expected, rtol=1e-12, atol=1e-14)


def test_flow_against_an_integrator():
    values, Q, g, H = quadratic(7, seed=1)
    found = solve_ivp(lambda _, u: -g - H @ u, (0, 3), np.zeros(7), t_eval=[1, 2, 3], rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(quadratic_flow(values, Q, g, found.t), found.y.T, rtol=1e-8)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("step", [0.01, 0.7, 1.0, 3.0])
def test_descent_against_the_recursion(n, step):
    values, Q, g, H = quadratic(n, seed=2)
    walk, u = [], np.zeros(n)
    for _ in range(30):
        walk.append(u)
        u = u - step * (g + H @ u)
    np.testing.assert_allclose(
        quadratic_descent(values, Q, g, step=step, steps=np.arange(30)), walk, rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("curvature", [1e-300, -1e-300, 1e-17, -1e-12, 5e-324])
def test_no_digit_is_lost_near_zero_curvature(curvature):
    """The naive formula, the twin, gives 0 or noise there."""
    assert flow_factor(curvature, 3.0) == pytest.approx(3.0, rel=1e-11)
    assert descent_factor(curvature, 0.1, 30) == pytest.approx(3.0, rel=1e-11)
    with np.errstate(all="ignore"):
        naive = (1 - np.exp(-curvature * 3.0)) / curvature
    assert not np.isclose(naive, 3.0, rtol=1e-11)


def test_limits():
    assert flow_factor([4.0], 1e9) == 0.25
    assert descent_factor([4.0], 0.1, 10**6) == 0.25
    assert flow_factor([-1.0], 1e4) == np.inf
    assert descent_factor([-1.0], 1.0, 10**4) == np.inf
    assert flow_factor([0.0, 1.0, -1.0], 0.0).tolist() == [0, 0, 0]
    assert descent_factor([0.0, 1.0, 7.0], 1.0, 0).tolist() == [0, 0, 0]
    assert descent_factor([1.0, 2.0, 3.0], 1.0, [[1], [2]]).tolist() == [[1, 1, 1], [1, 0, -1]]
    small, t = 1e-5, 2.0
    np.testing.assert_allclose(descent_factor([0.5, -0.5], small, round(t / small)), flow_factor([0.5, -0.5], t), 1e-4)


def test_the_flow_flees_a_saddle_and_stays_where_there_is_no_gradient():
    found = quadratic_flow([1.0, -1.0], np.eye(2), [1e-3, 1e-3], [10.0])
    assert found[0, 0] == pytest.approx(-1e-3, rel=1e-4)
    assert found[0, 1] == pytest.approx(-1e-3 * (np.exp(10) - 1))
    assert quadratic_flow([-1.0], np.eye(1), [0.0], [1e4]).tolist() == [[0.0]]
    assert quadratic_flow([-1.0, 1.0], np.eye(2), [1.0, 0.0], [1e4])[0, 0] == -np.inf
    assert quadratic_flow([1.0, 2.0], np.eye(2), [1.0, 0.0], []).shape == (0, 2)


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda: flow_factor([np.nan], 1.0), SettingError, "eigenvalues must be finite, got"),
        (lambda: flow_factor([1.0], np.inf), SettingError, "time must be finite"),
        (lambda: descent_factor([1.0], 0.0, 1), SettingError, "step must be finite and positive, got 0.0"),
        (lambda: descent_factor([1.0], 0.1, [1.5]), SettingError, "steps must be whole numbers"),
        (lambda: descent_factor([1.0], 0.1, -1), SettingError, "got -1"),
        (lambda: quadratic_flow([1.0], np.eye(2), [1.0], [0.0]), ShapeError, r"vectors must have shape \(1, 1\)"),
        (lambda: quadratic_flow([1.0, 1.0], np.eye(2), [1.0], [0.0]), ShapeError, r"gradient must have shape \(2,\)"),
        (lambda: quadratic_flow([1.0], np.eye(1), [1.0], 0.0), ShapeError, "times must have one dimension"),
        (lambda: quadratic_flow([1.0], [[2.0]], [1.0], [0.0]), SettingError, "orthonormal, but QᵀQ is off by 3"),
        (lambda: quadratic_descent([1.0], np.eye(1), [1.0], step=0.1, steps=3), ShapeError, "steps must have one"),
    ],
)
def test_mistakes_are_told(ask, error, message):
    with pytest.raises(error, match=message):
        ask()
