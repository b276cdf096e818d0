"""Do the records of a spectrum say what their nodes and weights mean, by hand and against SciPy?"""

import math

import numpy as np
import pytest
from scipy import stats

from theodolite.records.estimates import Estimate
from theodolite.records.obstacles import Status
from theodolite.records.spectra import (
    DiagonalEstimate,
    NormEstimate,
    SpectralDensity,
    TraceEstimate,
    root,
    student_factor,
)


def density(nodes, weights=None, residuals=0.0, *, n=100, exact=False, rounding=0.0) -> SpectralDensity:
    nodes = np.atleast_2d(np.asarray(nodes, dtype=float))
    weights = np.full_like(nodes, 1 / nodes.shape[1]) if weights is None else np.atleast_2d(weights)
    spread = np.broadcast_to(residuals, nodes.shape)
    return SpectralDensity(n, nodes, weights, spread, rounding, exact, Status.CONVERGED, nodes.size)


EMPTY = SpectralDensity(5, *[np.zeros((0, 0))] * 3, 0.0, False, Status.NONFINITE, 1)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 8, 20, 100])
def test_students_factor(count):
    assert student_factor(count) == pytest.approx(
        stats.t.ppf(0.975, count - 1) / 1.96, rel=1.25e-3 if count < 6 else 2e-4
    )


def test_one_value_has_no_factor():
    assert math.isnan(student_factor(1))


def test_root():
    assert root(Estimate(9.0, 0.75, 4)) == Estimate(3.0, 0.125, 4)
    assert root(Estimate(0.0, 0.25, 4)) == Estimate(0.0, 0.5, 4)
    assert root(Estimate(-1e-3, 0.04)).value == 0
    assert math.isnan(root(Estimate(math.nan, math.nan, 0)).value)


@pytest.mark.parametrize("kind", [TraceEstimate, NormEstimate])
def test_a_trace_and_a_norm_read_as_numbers(kind):
    found = kind(3.25, 0.5, 20, 40, Status.CONVERGED, "xtrace")
    assert str(found) == "3.25 ± 0.5"
    assert found.estimate == Estimate(3.25, 0.5, 20)


def test_exact_by_hand():
    found = density([-1.0, 0.0, 3.0, 6.0], n=4, exact=True, rounding=1e-9)
    assert found.moment(0) == Estimate(1.0, 0.0)
    assert found.moment(1) == Estimate(2.0, 0.0)
    assert found.trace == Estimate(8.0, 0.0)
    assert found.frobenius_norm == Estimate(math.sqrt(46), 0.0)
    assert found.effective_rank.value == pytest.approx(64 / 46)
    assert found.effective_rank.error == 0
    assert found.negative_fraction == Estimate(0.25, 0.0)
    assert found.largest == Estimate(6.0, 1e-9)
    assert found.smallest == Estimate(-1.0, 1e-9)
    assert found.width == pytest.approx(0.07)
    np.testing.assert_array_equal(found.errors, 0)
    value, _ = found.density(np.array([3.0]), 0.5)
    expected = stats.norm.pdf(3.0, [-1, 0, 3, 6], 0.5).mean()
    np.testing.assert_allclose(value, expected)


@pytest.mark.parametrize("nodes", [[-1.0, 0.0, 3.0], [0.0], [2.0, 2.0], [1e-20, -3e-20], [-1e12, 1e12]])
@pytest.mark.parametrize("residual", [0.0, 0.3])
def test_a_density_integrates_to_one(nodes, residual):
    found = density(nodes, residuals=residual * np.ptp(nodes) / 4)
    wide = np.linspace(found.grid[0] - np.ptp(found.grid), found.grid[-1] + np.ptp(found.grid), 20001)
    assert np.trapezoid(found.density(wide)[0], wide) == pytest.approx(1, abs=1e-6)
    assert (found.values >= 0).all()


def test_the_error_of_a_moment_is_that_of_a_direction_on_the_sphere():
    """A = diag(1 ×p, 0 ×(n−p)): v·Av has a beta distribution, of known variance."""
    n, p, rng = 40, 10, np.random.default_rng(0)
    v = rng.normal(size=(20000, n))
    shares = (v[:, :p] ** 2).sum(1) / (v**2).sum(1)
    found = density(np.tile([1.0, 0.0], (20000, 1)), np.stack([shares, 1 - shares], 1), n=n)
    true = math.sqrt(2 * p * (n - p) / (n**2 * (n + 2)) / 20000)  # of a beta distribution
    assert found.moment(1).error == pytest.approx(true, rel=0.01)
    assert found.moment(1).value == pytest.approx(p / n, abs=4 * true)
    assert shares.std() / math.sqrt(20000) == pytest.approx(true, rel=0.02)


def test_residuals_fill_gaps_and_are_owned_up_to():
    sharp, blurred = density([0.0, 1.0]), density([0.0, 1.0], residuals=0.5)
    middle = np.array([0.5])
    assert blurred.density(middle)[0] > 1e3 * sharp.density(middle)[0]
    assert blurred.density(middle)[1] > sharp.density(middle)[1]


def test_a_node_near_zero_is_of_both_signs():
    sure = density([-2.0, -1e-12, 5.0], residuals=1e-13, rounding=1e-9)
    assert sure.negative_fraction.value == pytest.approx(1 / 3)  # −1e-12 is zero to rounding
    unsure = density([-2.0, 0.0, 5.0], residuals=1.0)
    assert unsure.negative_fraction.value == pytest.approx(1 / 3 + 1 / 6)
    assert unsure.negative_fraction.error > 1 / 6
    assert density([-2.0, 0.5, 5.0], residuals=1.0).negative_fraction.value == pytest.approx(1 / 3 + 1 / 12)


def test_nothing_is_claimed_of_nothing():
    for estimate in (EMPTY.trace, EMPTY.frobenius_norm, EMPTY.effective_rank, EMPTY.negative_fraction, EMPTY.largest):
        assert math.isnan(estimate.value)
        assert estimate.count == 0
    assert EMPTY.grid.size == EMPTY.values.size == EMPTY.errors.size == 0
    assert np.isnan(EMPTY.density(np.zeros(3))).all()
    assert math.isnan(EMPTY.width)


def test_zero_has_no_rank():
    zero = density([0.0], n=1, exact=True)
    assert math.isnan(zero.effective_rank.value)
    assert zero.width == 1
    assert zero.negative_fraction.value == 0
    assert zero.trace == Estimate(0.0, 0.0)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (
            density([1.0, 3.0], residuals=0.5),
            "SpectralDensity(n = 100 from 1 ± 0.5 to 3 ± 0.5, 1 probe of 2 nodes; converged, 2 products)",
        ),
        (
            density([[1.0, 3.0], [0.0, 2.0]]),
            "SpectralDensity(n = 100 from 0 to 3, 2 probes of 2 nodes; converged, 4 products)",
        ),
        (density([1.0, 3.0], n=2, exact=True), "SpectralDensity(n = 2 from 1 to 3, exact; converged, 2 products)"),
        (EMPTY, "SpectralDensity(n = 5 from nan to nan, no probes; nonfinite, 1 product)"),
        (
            DiagonalEstimate(np.array([1.0, -2.0]), np.array([0.25, 0.5]), 9, Status.CONVERGED),
            "DiagonalEstimate(n = 2 from -2 to 1, errors up to 0.5; converged, 9 products)",
        ),
        (
            DiagonalEstimate(np.ones(1), np.zeros(1), 1, Status.CONVERGED),
            "DiagonalEstimate(n = 1 from 1 to 1, exact; converged, 1 product)",
        ),
        (
            DiagonalEstimate(np.ones(2), np.full(2, math.nan), 1, Status.CONVERGED),
            "DiagonalEstimate(n = 2 from 1 to 1, errors unknown; converged, 1 product)",
        ),
        (
            DiagonalEstimate(np.full(2, math.nan), np.full(2, math.nan), 3, Status.NONFINITE),
            "DiagonalEstimate(n = 2 from nan to nan, errors unknown; nonfinite, 3 products)",
        ),
    ],
)
def test_in_words(record, words):
    assert repr(record) == str(record) == words


def test_words_are_as_few_however_large_the_record():
    many = np.linspace(-1, 1, 10**5)
    assert len(repr(DiagonalEstimate(many, abs(many), 60, Status.CONVERGED))) < 120
    assert len(repr(density(np.tile(many[:1000], (20, 1)), residuals=0.1))) < 120
