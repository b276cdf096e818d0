"""Are the laws of random matrices those of draws, and the exact probabilities those of integrals and of coins?"""

import numpy as np
import pytest
from scipy.integrate import quad

from theodolite.errors import SettingError
from theodolite.theory.random_matrices import (
    DECAY,
    covariance_density,
    covariance_edges,
    covariance_outlier,
    gaussian_symmetric,
    independent_positive_probability,
    positive_probability,
    positive_share,
    semicircle_cdf,
    semicircle_density,
    symmetric_outlier,
)


def distance(values, cdf):
    """Kolmogorov's distance between a sample and a law."""
    ordered = np.sort(values)
    return np.abs(cdf(ordered) - (np.arange(len(ordered)) + 0.5) / len(ordered)).max()


def test_draws_have_the_variances_they_should():
    draws = gaussian_symmetric(3, count=20000, radius=3.0, generator=np.random.default_rng(0))
    np.testing.assert_array_equal(draws, draws.swapaxes(1, 2))
    off, on = draws[:, 0, 1].var(), draws[:, 1, 1].var()
    assert off == pytest.approx(9 / 12, rel=0.05)
    assert on == pytest.approx(9 / 6, rel=0.05)


@pytest.mark.parametrize(("radius", "shift"), [(2.0, 0.0), (0.5, -3.0)])
def test_semicircle(radius, shift):
    at = shift + radius * np.array([-1.2, -0.9, 0.0, 0.3, 1.0])
    for value in at:
        area = quad(lambda x: semicircle_density(x, radius=radius, shift=shift), shift - radius, value)[0]
        assert semicircle_cdf(value, radius=radius, shift=shift) == pytest.approx(max(area, 0), abs=1e-8)
    (H,) = gaussian_symmetric(400, radius=radius, generator=np.random.default_rng(1))
    levels = np.linalg.eigvalsh(H + shift * np.eye(400))
    assert distance(levels, lambda x: semicircle_cdf(x, radius=radius, shift=shift)) < 0.01
    assert distance(levels, lambda x: semicircle_cdf(x, radius=radius, shift=shift + 0.1 * radius)) > 0.04


def test_the_weighted_coin():
    """Share of negative eigenvalues as the semicircle is shifted, and no digit lost where few are left."""
    np.testing.assert_allclose(semicircle_cdf(0.0, shift=[-2.0, 0.0, 2.0]), [1, 0.5, 0])
    few = float(semicircle_cdf(-1 + 1e-6, radius=1.0))
    assert few == pytest.approx(4 * np.sqrt(2) / (3 * np.pi) * 1e-9, rel=1e-5)
    assert semicircle_cdf(np.linspace(-1, 1, 1001), radius=1.0).min() == 0


@pytest.mark.parametrize("ratio", [0.1, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("variance", [1.0, 4.0])
def test_marchenko_pastur(ratio, variance):
    low, high = covariance_edges(ratio, variance=variance)

    def moment(order):
        """In the angle that undoes the roots at both edges."""
        middle, half = (low + high) / 2, (high - low) / 2
        return quad(
            lambda a: (
                (middle + half * np.cos(a)) ** order
                * float(covariance_density(middle + half * np.cos(a), ratio, variance=variance))
                * half
                * np.sin(a)
            ),
            0,
            np.pi,
        )[0]

    assert moment(0) == pytest.approx(min(1, 1 / ratio), rel=1e-6)
    assert moment(1) == pytest.approx(variance, rel=1e-6)
    assert moment(2) == pytest.approx(variance**2 * (1 + ratio), rel=1e-6)
    p, n = 300, round(300 / ratio)
    X = np.sqrt(variance) * np.random.default_rng(0).normal(size=(p, n))
    levels = np.linalg.eigvalsh(X @ X.T / n)
    levels = levels[levels > 1e-9]
    assert len(levels) == min(p, n)
    assert levels[-1] == pytest.approx(high, rel=0.06)
    assert levels[0] == pytest.approx(low, abs=0.05 * high)
    assert (covariance_density([low - 0.1, 0.0, high + 0.1], ratio, variance=variance) == 0).all()


@pytest.mark.parametrize("spike", [1.2, 1.6, 3.0, 8.0])
def test_outliers_of_covariances(spike):
    """Threshold 1 + √γ = 1.707 at γ = ½, p = 400."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 800))
    X[0] *= np.sqrt(spike)
    levels, vectors = np.linalg.eigh(X @ X.T / 800)
    found = covariance_outlier(spike, 0.5)
    # The planted variance itself is estimated from 800 samples: its relative error is √(2/800).
    assert levels[-1] == pytest.approx(float(found.eigenvalues), rel=0.03 if spike < 1.7 else 0.15)
    assert vectors[0, -1] ** 2 == pytest.approx(float(found.cosines), abs=0.12)
    assert (found.cosines > 0) == (spike > 1 + np.sqrt(0.5))


@pytest.mark.parametrize("spike", [0.0, 0.7, 1.5, 4.0])
def test_outliers_of_symmetric_matrices(spike):
    (H,) = gaussian_symmetric(800, generator=np.random.default_rng(0))
    H[0, 0] += spike
    levels, vectors = np.linalg.eigh(H)
    found = symmetric_outlier(spike)
    assert levels[-1] == pytest.approx(float(found.eigenvalues), abs=0.06)
    assert vectors[0, -1] ** 2 == pytest.approx(float(found.cosines), abs=0.08)
    scaled = symmetric_outlier(3 * spike, radius=6.0)
    assert scaled.eigenvalues == pytest.approx(3 * found.eigenvalues)
    assert scaled.cosines == pytest.approx(float(found.cosines))


def test_outliers_join_the_bulk_without_a_jump():
    above = symmetric_outlier(1 + 1e-6)
    assert above.eigenvalues == pytest.approx(2.0, abs=1e-6)
    assert above.cosines == pytest.approx(0, abs=1e-5)
    close = covariance_outlier(1 + np.sqrt(0.5) + 1e-6, 0.5)
    assert close.eigenvalues == pytest.approx(covariance_edges(0.5)[1], abs=1e-6)
    assert close.cosines == pytest.approx(0, abs=1e-5)


def test_positive_probabilities_in_closed_form():
    root = np.sqrt(2)
    expected = [0.5, (2 - root) / 4, (np.pi - 2 * root) / (4 * np.pi)]
    np.testing.assert_allclose([positive_probability(n) for n in (1, 2, 3)], expected, rtol=1e-12)
    # papers.md, erratum 7
    np.testing.assert_allclose([positive_probability(n) for n in (4, 5)], [0.0026, 0.0001], atol=2e-4)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_positive_probabilities_against_draws(size):
    """G, E4: within 4σ; coins, the twin, are not."""
    share = positive_share(size, draws=100_000, generator=np.random.default_rng(size))
    assert abs(share.value - positive_probability(size)) < 4 * share.error
    if size > 1:
        assert abs(share.value - independent_positive_probability(size)) > 4 * share.error


@pytest.mark.slow
def test_positive_probability_of_five_against_draws():
    share = positive_share(5, draws=2_000_000, generator=np.random.default_rng(5))
    assert abs(share.value - positive_probability(5)) < 4 * share.error
    assert share.error < 0.1 * share.value


def test_positive_probabilities_fall_as_the_asymptote_says():
    """ln P/n² → −(ln 3)/4; the next term of the difference of logarithms is linear in n."""
    logs = -np.log([positive_probability(n) for n in range(1, 11)])
    second = np.diff(logs, 2)
    np.testing.assert_allclose(second[3:] / 2, DECAY, rtol=0.02)
    assert all(logs / np.arange(1, 11) ** 2 > DECAY)


@pytest.mark.parametrize("size", [6, 8, 10])
def test_many_digits_of_the_pfaffian_are_right(size):
    """Against a Pfaffian in 60 digits, worked out beforehand."""
    known = {6: 4.620187477548993e-06, 8: 9.694546749307667e-10, 10: 2.265653158108417e-14}
    assert positive_probability(size) == pytest.approx(known[size], rel=1e-7)


def test_a_shift_weights_the_coin():
    rng = np.random.default_rng(0)
    shares = [positive_share(10, shift=c, draws=2000, generator=rng).value for c in (-3.0, 0.0, 1.0, 1.7, 3.0)]
    assert shares[0] == shares[1] == 0
    assert shares[2] < shares[3] < shares[4]
    assert shares[4] > 0.99
    assert positive_share(10, draws=10, generator=rng).error > 0


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: gaussian_symmetric(0), "size must be a whole number, 1 or more"),
        (lambda: gaussian_symmetric(1, radius=0.0), "radius must be finite and positive"),
        (lambda: semicircle_density([np.nan]), "values must be finite, got nan"),
        (lambda: semicircle_cdf([0.0], radius=-1.0), "radius must be finite and positive"),
        (lambda: covariance_edges(0.0), "ratio must be finite and positive"),
        (lambda: covariance_outlier(0.5, 1.0), "spike must be finite and in .*, got 0.5"),
        (lambda: symmetric_outlier(-1.0), "spike must be finite and in"),
        (lambda: positive_probability(11), "size must be at most 10, got 11. Beyond, use"),
        (lambda: positive_share(0), "size must be a whole number"),
        (lambda: positive_share(1, shift=np.inf), "shift must be finite"),
        (lambda: independent_positive_probability(0), "size must be a whole number"),
    ],
)
def test_mistakes_are_told(ask, message):
    with pytest.raises(SettingError, match=message):
        ask()
