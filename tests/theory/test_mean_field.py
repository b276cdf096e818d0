"""Does mean-field theory of tanh nets agree with the paper's numbers, with adaptive quadrature, and with wide nets?"""

from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad

from theodolite.errors import SettingError
from theodolite.theory.linear_starts import orthogonal_matrix
from theodolite.theory.mean_field import (
    CRITICAL_GAIN,
    gradient_gain,
    log_gradient_gain,
    next_variance,
    stationary_variance,
    tanh_gain,
    variances_through,
)


def gaussian_mean(function):
    pieces = [0, 1e-4, 1e-3, 1e-2, 0.1, 1, 12]
    halves = [
        quad(lambda z: function(z) * np.exp(-(z**2) / 2), low, high, epsabs=1e-14, epsrel=1e-13, limit=400)[0]
        for low, high in pairwise(pieces)
    ]
    return 2 * sum(halves) / np.sqrt(2 * np.pi)


@pytest.mark.parametrize(
    ("variance", "expected"), [(0.1, 0.0842), (0.2, 0.1472), (0.5, 0.2737), (1, 0.3943), (2, 0.5200), (4, 0.6353)]
)
def test_map_of_the_paper(variance, expected):
    """papers.md A.7, figure 8, at g = 1; the gain enters as g²."""
    assert next_variance(variance, 1.0) == pytest.approx(expected, abs=6e-5)
    assert next_variance(variance, 1.5) == pytest.approx(2.25 * float(next_variance(variance, 1.0)))


@pytest.mark.parametrize(
    ("variance", "tolerance"), [(0.0, 1e-12), (0.01, 1e-12), (1.0, 1e-12), (5.0, 1e-12), (100.0, 1e-11), (1e8, 1e-7)]
)
def test_quadrature_against_an_adaptive_one(variance, tolerance):
    root = np.sqrt(variance)
    expected = gaussian_mean(lambda z: np.tanh(root * z) ** 2)
    assert next_variance(variance, 1.0) == pytest.approx(expected, rel=tolerance)
    slope = gaussian_mean(lambda z: (1 - np.tanh(root * z) ** 2) ** 2)
    assert gradient_gain(variance, 1.0) == pytest.approx(slope, rel=10 * tolerance)


@pytest.mark.parametrize(
    ("gain", "expected"),
    [
        (1.05, 0.0533), (1.1, 0.1127), (1.2, 0.2495), (1.3, 0.4090), (1.4, 0.5904), (1.5, 0.7934), (1.6, 1.0174),
        (1.7, 1.2625), (1.8, 1.5282),
    ],
)  # fmt: skip
def test_fixed_points_of_the_paper(gain, expected):
    found = stationary_variance(gain)
    assert found == pytest.approx(expected, abs=6e-5)
    assert next_variance(found, gain) == pytest.approx(found, rel=1e-9)


def test_the_critical_gain():
    assert stationary_variance(CRITICAL_GAIN) == 0
    assert stationary_variance(0.5) == 0
    small = 1e-4
    assert stationary_variance(1 + small) == pytest.approx(small, rel=1e-3)
    assert gradient_gain(0.0, 1.3) == pytest.approx(1.69)
    # A silent signal: below the critical gain gradients vanish at the rate g, above they meet χ > 1 where it settles.
    assert gradient_gain(stationary_variance(1.5), 1.5) > 1
    assert variances_through(2000, 0.99, start=1.0)[-1] < 1e-15
    assert variances_through(200, 1.5, start=1.0)[-1] == pytest.approx(stationary_variance(1.5))
    assert variances_through(1, 1.5, start=0.3).tolist() == [0.3]
    assert stationary_variance(50.0) == pytest.approx(2500 * (1 - np.sqrt(2 / np.pi) / 50), rel=5e-3)


@pytest.mark.parametrize("gain", [0.9, 1.3])
def test_wide_nets_follow(gain):
    """G, A14: N = 500, 30 layers, five nets, 5 %: the mean square of preactivations, and of the gradient."""
    rng = np.random.default_rng(0)
    depth, squares, changes = 30, [], []
    for _ in range(5):
        weights = rng.normal(size=(depth, 500, 500)) * gain / np.sqrt(500)
        x, layers = rng.normal(size=500), []
        for W in weights:
            layers.append(W @ x)
            x = np.tanh(layers[-1])
        squares.append([np.mean(h**2) for h in layers])
        delta = rng.normal(size=500)
        norm = np.linalg.norm(delta)
        for W, h in zip(weights[::-1], layers[::-1], strict=True):
            delta = W.T @ ((1 - np.tanh(h) ** 2) * delta)
        changes.append(np.log(np.linalg.norm(delta) / norm))
    mean = np.mean(squares, axis=0)
    theory = variances_through(depth, gain, start=float(mean[0]))
    # Each layer of each net multiplies q by a factor with the relative variance 2/N, which adds up; 4σ of it.
    bound = 4 * np.sqrt(2 * np.arange(1, depth + 1) / (500 * 5))
    assert (np.abs(np.log(mean / theory)) < bound).all()
    twin = variances_through(depth, 0.85 * gain, start=float(mean[0]))
    assert (np.abs(np.log(mean / twin)) > bound).any()
    if gain > 1:
        assert mean[-5:].mean() == pytest.approx(stationary_variance(gain), rel=0.05)
    error = np.std(changes, ddof=1) / np.sqrt(5)
    assert np.mean(changes) == pytest.approx(log_gradient_gain(depth, gain, start=float(mean[0])), abs=4 * error + 0.1)


@pytest.mark.parametrize("depth", [1, 10, 100])
def test_the_gain_keeps_the_gradient(depth):
    gain = tanh_gain(depth)
    assert log_gradient_gain(depth, gain, start=gain**2) == pytest.approx(0, abs=1e-9)
    for power in (1e-6, 100.0):
        gain_of = tanh_gain(depth, inputs=power)
        assert log_gradient_gain(depth, gain_of, start=gain_of**2 * power) == pytest.approx(0, abs=1e-9)
    assert gain > 1
    assert tanh_gain(depth, width=100) == pytest.approx(gain * np.exp(0.005))


def test_deeper_nets_need_less_gain_since_signals_shrink():
    gains = [tanh_gain(depth) for depth in (1, 3, 10, 30, 100, 300)]
    assert all(np.diff(gains) < 0)
    assert 1.0 < gains[-1] < 1.1


@pytest.mark.slow
def test_orthogonal_nets_are_isometric_at_the_critical_gain():
    """G, A15: greatest singular value of the Jacobian through 100 layers at N = 200, within a factor 1.5."""
    table = {
        0.9: (2.2e-5, 1.7e-5, 1.5e-5), 0.95: (4.1e-3, 3.0e-3, 2.5e-3), 1.0: (0.28, 0.19, 0.15),
        1.05: (1.6, 0.96, 0.69), 1.1: (4.8, 2.8, 1.9),
    }  # fmt: skip
    rng = np.random.default_rng(0)
    for gain, row in table.items():
        for variance, expected in zip((0.2, 1.0, 4.0), row, strict=True):
            x, J = np.sqrt(variance) * rng.normal(size=200), np.eye(200)
            for _ in range(100):
                W = gain * orthogonal_matrix(200, generator=rng)
                J = W @ ((1 - np.tanh(x) ** 2)[:, None] * J)
                x = W @ np.tanh(x)
            top = np.linalg.norm(J, 2)
            assert expected / 1.5 < top < expected * 1.5
            assert top <= gain**100


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: next_variance(-1.0, 1.0), "variance must be finite and in"),
        (lambda: next_variance(1.0, 0.0), "gain must be finite and positive"),
        (lambda: gradient_gain(1.0, -1.0), "gain must be finite and positive"),
        (lambda: stationary_variance(np.nan), "gain must be finite and positive, got nan"),
        (lambda: variances_through(0, 1.0, start=1.0), "depth must be a whole number, 1 or more"),
        (lambda: variances_through(1, 1.0, start=0.0), "start must be finite and positive"),
        (lambda: tanh_gain(0), "depth must be a whole number"),
        (lambda: tanh_gain(3, width=0), "width must be a whole number"),
    ],
)
def test_mistakes_are_told(ask, message):
    with pytest.raises(SettingError, match=message):
        ask()
