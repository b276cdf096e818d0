"""Do rates, limits and stationary losses hold for the recursion itself, step by step and noise by noise?"""

import numpy as np
import pytest
import torch

from theodolite.errors import SettingError
from theodolite.theory.descent import (
    Descent,
    best_descent,
    escape_steps,
    expected_squares,
    mode_rates,
    stability_limit,
    stationary_losses,
)
from theodolite.theory.quadratic import descent_factor

METHODS = [
    Descent(0.1),
    Descent(0.1, momentum=0.5),
    Descent(0.1, momentum=0.9),
    Descent(0.1, momentum=0.5, nesterov=True),
    Descent(0.1, momentum=0.9, nesterov=True),
]
IDS = ["gradient", "heavy", "heavier", "nesterov", "nesterov-more"]


def walk(method: Descent, curvature, x, steps: int, noise=None):
    """The method as it is written in textbooks, with velocity; all offsets, one row a step."""
    x = np.array(x, dtype=np.float64)
    v, rows = np.zeros_like(x), [x]
    for k in range(steps):
        at = x + method.momentum * v if method.nesterov else x
        slope = curvature * at + (0 if noise is None else noise[k])
        v = method.momentum * v - method.step * slope
        x = x + v
        rows.append(x)
    return np.array(rows)


@pytest.mark.parametrize("method", METHODS, ids=IDS)
def test_squares_are_those_of_the_recursion(method):
    curvature = np.array([1.0, 0.0, -0.5, 12.0, 25.0])
    expected = walk(method, curvature, np.full(5, 0.3), 40)[[0, 1, 7, 40]] ** 2
    found = expected_squares(method, curvature, 0.3, steps=[0, 1, 7, 40])
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("method", METHODS, ids=IDS)
def test_rates_are_moduli_of_eigenvalues(method):
    curvature = np.array([-3.0, 0.0, 1e-8, 0.2, 1.0, 10.0, 19.0, 40.0])
    p, q = method.recursion(curvature)
    expected = [np.abs(np.linalg.eigvals([[a, -b], [1, 0]])).max() for a, b in zip(p, q, strict=True)]
    np.testing.assert_allclose(mode_rates(method, curvature), expected, rtol=1e-7)


@pytest.mark.parametrize("method", METHODS, ids=IDS)
def test_a_mode_just_below_the_limit_converges_and_just_above_does_not(method):
    limit = stability_limit(method)
    assert mode_rates(method, limit * 0.999) < 1 < mode_rates(method, limit * 1.001)
    assert mode_rates(method, limit) == pytest.approx(1)
    ends = walk(method, limit * np.array([0.99, 1.01]), [1.0, 1.0], 2000)[-1]
    assert abs(ends[0]) < 1e-3
    assert abs(ends[1]) > 1e3
    np.testing.assert_array_equal(np.isfinite(stationary_losses(method, limit * np.array([0.99, 1.01]), 1.0)), [1, 0])


@pytest.mark.parametrize("nesterov", [False, True])
def test_limit_and_rate_are_those_of_the_optimizer(nesterov):
    """``torch.optim.SGD`` diverges above the limit, and shrinks at the rate below."""
    method = Descent(0.1, momentum=0.6, nesterov=nesterov)
    for share in (0.5, 0.99, 1.01):
        curvature = share * stability_limit(method)
        x = torch.ones(1, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.SGD([x], lr=0.1, momentum=0.6, nesterov=nesterov)
        logs = []
        for _ in range(400):
            x.grad = curvature * x.detach()
            optimizer.step()
            logs.append(np.log(abs(x.item()) + 1e-300))
        mean_rate = np.exp(np.polyfit(np.arange(200), logs[200:], 1)[0])
        assert mean_rate == pytest.approx(float(mode_rates(method, curvature)), rel=0.01)


def test_the_best_rate_is_known_and_nothing_near_is_better():
    least, greatest = 0.5, 50.0
    root = np.sqrt(greatest / least)
    modes = np.array([least, 3.0, greatest])
    plain, heavy = best_descent(least, greatest), best_descent(least, greatest, with_momentum=True)
    assert mode_rates(plain, modes).max() == pytest.approx((root**2 - 1) / (root**2 + 1))
    assert mode_rates(heavy, modes).max() == pytest.approx((root - 1) / (root + 1))
    for factor in (0.97, 1.03):
        assert mode_rates(Descent(plain.step * factor), modes).max() > mode_rates(plain, modes).max()
        for other in (Descent(heavy.step * factor, heavy.momentum), Descent(heavy.step, heavy.momentum * factor)):
            assert mode_rates(other, modes).max() > mode_rates(heavy, modes).max()
    assert best_descent(2.0, 2.0, with_momentum=True).step == pytest.approx(0.5)


@pytest.mark.parametrize("method", METHODS, ids=IDS)
def test_stationary_losses_are_where_expected_squares_end(method):
    curvature, noise = np.array([0.5, 3.0, 10.0]), 0.7
    settled = 0.5 * curvature * expected_squares(method, curvature, 5.0, steps=[5000], noise=noise)[0]
    np.testing.assert_allclose(stationary_losses(method, curvature, noise), settled, rtol=1e-9)


@pytest.mark.parametrize("method", METHODS, ids=IDS)
def test_stationary_losses_against_simulation(method):
    """4000 chains after 300 steps: a mean of squares is right to 2 √(2/4000) = 4.5 % at 2σ; the twin is not."""
    rng = np.random.default_rng(7)
    noise = np.sqrt(0.7) * rng.standard_normal((300, 4000))
    ends = walk(method, 4.0, np.zeros(4000), 300, noise)[-1]
    measured, error = 2.0 * np.mean(ends**2), 2.0 * np.std(ends**2) / np.sqrt(4000)
    assert abs(measured - float(stationary_losses(method, 4.0, 0.7))) < 4 * error
    twin = 0.1 * 0.7 / (4 * (1 - method.momentum))  # of small steps: curvature forgotten
    assert abs(measured - twin) > 2 * error


def test_stationary_losses_at_the_edges():
    assert stationary_losses(Descent(0.1), 0.0, 3.0) == pytest.approx(0.1 * 3 / 4)
    assert stationary_losses(Descent(0.1, momentum=0.9), 0.0, 3.0) == pytest.approx(0.1 * 3 / 0.4)
    assert stationary_losses(Descent(0.1), 19.0, 0.0) == 0
    assert stationary_losses(Descent(0.1), 20.0, 1.0) == np.inf


@pytest.mark.parametrize("method", METHODS, ids=IDS)
@pytest.mark.parametrize("offset", [1e-8, -1e-3, 0.5, 2.0])
def test_escape_steps_count_the_steps_of_the_recursion(method, offset):
    path = np.abs(walk(method, -0.8, offset, 600))
    expected = int(np.argmax(path >= 1.0))
    assert escape_steps(method, -0.8, offset, radius=1.0) == expected


def test_escape_of_descent_in_closed_form():
    offsets = np.logspace(-12, -1, 30)
    expected = np.ceil(np.log(1 / offsets) / np.log1p(0.01 * 0.3))
    np.testing.assert_array_equal(escape_steps(Descent(0.01), -0.3, offsets, radius=1.0), expected)
    # Ten times nearer costs ln 10/ln(1 + ε|λ|) more, wherever one starts.
    assert np.ptp(np.diff(escape_steps(Descent(0.01), -0.3, 10.0 ** -np.arange(1, 12), radius=1.0))) <= 1


def test_noise_leaves_a_saddle_by_itself():
    method = Descent(0.05)
    k = int(escape_steps(method, -1.0, 0.0, radius=1.0, noise=1e-6))
    squares = expected_squares(method, [-1.0], 0.0, steps=[k - 1, k], noise=1e-6).ravel()
    assert squares[0] < 1 <= squares[1]
    a = 1.05**2  # E[x²] = ε²σ²(aᵏ − 1)/(a − 1)
    assert k == np.ceil(np.log1p((a - 1) / (0.05**2 * 1e-6)) / np.log(a))
    assert int(escape_steps(method, -1.0, 0.01, radius=1.0, noise=1e-6)) < k


def test_momentum_escapes_faster():
    plain, heavy = Descent(0.01), Descent(0.01, momentum=0.9)
    assert 5 * escape_steps(heavy, -1.0, 1e-6, radius=1.0) < escape_steps(plain, -1.0, 1e-6, radius=1.0)


def test_means_agree_with_the_closed_form_of_descent():
    k = np.arange(0, 50, 7)
    path = 1 - 2.0 * descent_factor(2.0, 0.1, k)  # x₀ = 1, g = λx₀
    np.testing.assert_allclose(expected_squares(Descent(0.1), [2.0], 1.0, steps=k)[:, 0], path**2, rtol=1e-9)


def test_overflow_is_infinite_or_nan_and_no_warning():
    assert not np.isfinite(expected_squares(Descent(1.0), [-1.0], 1.0, steps=[10**6])).any()


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: Descent(0.0), "step must be finite and positive, got 0.0"),
        (lambda: Descent(0.1, momentum=1.0), r"momentum must lie in \[0, 1\), got 1.0"),
        (lambda: mode_rates(Descent(0.1), [np.nan]), "eigenvalues must be finite, got nan"),
        (lambda: stationary_losses(Descent(0.1), [-1.0], 1.0), "eigenvalues must be finite and in .*, got -1.0"),
        (lambda: stationary_losses(Descent(0.1), [1.0], -1.0), "noise must be finite and in"),
        (lambda: best_descent(2.0, 1.0), "greatest must not be below least, got 1.0 and 2.0"),
        (lambda: best_descent(0.0, 1.0), "least must be finite and positive"),
        (lambda: expected_squares(Descent(0.1), [1.0], 1.0, steps=[0.5]), "steps must be whole numbers"),
        (lambda: expected_squares(Descent(0.1), [1.0], 1.0, steps=[-1]), "steps must be finite and in"),
        (lambda: escape_steps(Descent(0.1), 1.0, 0.1, radius=1.0), "eigenvalue must be negative, got 1.0"),
        (lambda: escape_steps(Descent(0.1), -1.0, 0.0, radius=1.0), "offset must not be 0 without noise"),
        (lambda: escape_steps(Descent(0.1), -1.0, 0.1, radius=0.0), "radius must be finite and positive"),
    ],
)
def test_mistakes_are_told(ask, message):
    with pytest.raises(SettingError, match=message):
        ask()
