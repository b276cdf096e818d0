"""Is the conditioning that a gradient sees the one of its dense spectral measure, with errors that hold?"""

import math
from inspect import unwrap

import numpy as np
import pytest
import torch

from linalg.spectra import SPECTRA, tensor
from theodolite.errors import SettingError, ShapeError
from theodolite.linalg.conditioning import gradient_conditioning
from theodolite.linalg.matrices import dense
from theodolite.records.obstacles import Status

spectra = pytest.mark.parametrize(
    "spectrum", [s for s in SPECTRA if s.name != "rank 3"], ids=lambda spectrum: spectrum.name
)
types = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def measure(A: torch.Tensor, g: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    values, U = np.linalg.eigh(A.double().numpy())
    weights = (U.T @ g.double().numpy()) ** 2
    return values, weights / weights.sum()


def condition(values: np.ndarray, weights: np.ndarray, share: float) -> float:
    order = np.argsort(np.abs(values))
    size, below = np.abs(values)[order], np.cumsum(weights[order])
    tail = (1 - share) / 2
    return size[np.searchsorted(below, 1 - tail - 1e-12)] / size[np.searchsorted(below, tail, side="right")]


def ratio(values: np.ndarray, weights: np.ndarray) -> float:
    return (weights @ np.abs(values)) * (weights @ (1 / np.abs(values)))


@spectra
@pytest.mark.parametrize("share", [1.0, 0.99, 0.5])
def test_an_exhausted_space_gives_the_dense_numbers(spectrum, share, generator):
    A = tensor(spectrum.matrix(n=60))
    g = torch.randn(60, dtype=torch.float64, generator=generator(2))
    values, weights = measure(A, g)
    found = gradient_conditioning(dense(A), g, products=60, share=share)
    assert found.status is Status.CONVERGED
    np.testing.assert_allclose(found.curvatures, values, atol=1e-12 * np.abs(values).max())
    gaps = np.minimum(np.diff(values, prepend=-np.inf), np.diff(values, append=np.inf))  # tell how sure u is
    assert (np.abs(found.weights - weights) <= 1e-13 * np.abs(values).max() / gaps + 1e-12).all()
    expected = condition(values, weights, share), ratio(values, weights), weights[values < 0].sum()
    for estimate, true in zip((found.condition_number, found.gain_ratio, found.negative_share), expected, strict=True):
        assert abs(estimate.value - true) <= estimate.error + 1e-9 * true
        assert estimate.error <= 1e-2 * true + 1e-12
    assert found.products == 60


def test_the_gauss_rule_stays_below_for_a_definite_operator(generator):
    """And rises with each product: the law of the remainder for 1/λ."""
    A = tensor(SPECTRA[0].matrix(n=60))
    g = torch.randn(60, dtype=torch.float64, generator=generator())
    values, weights = measure(A, g)
    results = [gradient_conditioning(dense(A), g, products=m, share=1.0) for m in (1, 2, 4, 8, 16, 32)]
    assert all(found.status is Status.BUDGET for found in results)
    ratios = np.array([found.gain_ratio.value for found in results])
    numbers = np.array([found.condition_number.value for found in results])
    assert ratios[0] == numbers[0] == 1
    assert (np.diff(ratios) > 0).all()
    assert (np.diff(numbers) > 0).all()
    assert ratios[-1] <= ratio(values, weights) * (1 + 1e-12)
    assert numbers[-1] <= values[-1] / values[0]
    assert math.isnan(results[0].gain_ratio.error)  # one node has nothing to compare with
    # Kantorovich: no measure on [a, b] exceeds (1 + κ)²/(4κ)
    assert (ratios <= (1 + numbers) ** 2 / (4 * numbers) * (1 + 1e-12)).all()


def test_errors_of_a_quadrature_cover_most_of_the_truth():
    """An estimate, not a bound: over spectra whose gradient sees no eigenvalue near zero, it covers nine in ten."""
    rng = np.random.default_rng(0)
    hits = []
    for trial in range(40):
        values = rng.uniform(0.05, 1, 200) * np.where(rng.random(200) < 0.2 * (trial % 2), -1, 1)
        g = torch.as_tensor(rng.normal(size=200))
        weights = g.numpy() ** 2 / float(g @ g)
        found = gradient_conditioning(dense(torch.diag(torch.as_tensor(values))), g, products=20)
        hits.append(abs(found.gain_ratio.value - ratio(values, weights)) <= found.gain_ratio.error)
        assert abs(found.negative_share.value - weights[values < 0].sum()) <= found.negative_share.error + 1e-12
    assert np.mean(hits) >= 0.9


@types
@pytest.mark.parametrize("n", [1, 2, 50])
def test_a_gradient_along_an_eigenvector_sees_a_perfect_bowl(dtype, n):
    A = tensor(SPECTRA[0].matrix(n=max(n, 6))[:n, :n])
    values, U = torch.linalg.eigh(A)
    found = gradient_conditioning(dense(A.to(dtype)), 7 * U[:, 0].to(dtype))
    assert found.condition_number.value == pytest.approx(1, rel=1e-3)
    assert found.gain_ratio.value == pytest.approx(1, rel=1e-3)
    assert found.negative_share.value == 0
    assert found.weights.sum() == pytest.approx(1)
    assert found.curvatures[found.weights.argmax()] == pytest.approx(float(values[0]), rel=1e-3)


@types
def test_numbers_do_not_change_with_the_scale_of_either(dtype, generator):
    A = tensor(SPECTRA[1].matrix(n=50)).to(dtype)
    g = torch.randn(50, dtype=dtype, generator=generator())
    first = gradient_conditioning(dense(A), g, products=12)
    other = gradient_conditioning(dense(64 * A), -0.25 * g, products=12)
    for name in ("condition_number", "gain_ratio", "negative_share"):
        assert getattr(first, name).value == pytest.approx(getattr(other, name).value, rel=1e-3)


def test_flat_directions_in_the_gradient_have_no_finite_conditioning():
    A = torch.diag(torch.tensor([1.0, 2.0, 0.0]))
    found = gradient_conditioning(dense(A), torch.ones(3), share=1.0)
    assert found.status is Status.CONVERGED
    assert found.condition_number.error == found.gain_ratio.error == math.inf
    assert found.negative_share.error == pytest.approx(1 / 3, rel=1e-3)
    unseen = gradient_conditioning(dense(A), torch.tensor([1.0, 1.0, 0.0]), share=1.0)
    assert unseen.condition_number.value == pytest.approx(2, rel=1e-5)
    assert unseen.gain_ratio.value == pytest.approx(1.5 * 0.75, rel=1e-5)
    flat = gradient_conditioning(dense(torch.zeros(2, 2)), torch.ones(2))
    assert flat.condition_number.value == flat.gain_ratio.value == math.inf


def test_what_is_not_finite_claims_nothing():
    found = gradient_conditioning(dense(torch.full((2, 2), torch.nan)), torch.ones(2))
    assert found.status is Status.NONFINITE
    for estimate in (found.condition_number, found.gain_ratio, found.negative_share):
        assert math.isnan(estimate.value)
        assert math.isnan(estimate.error)


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda op: gradient_conditioning(op, torch.zeros(2)), SettingError, "a zero gradient spans nothing"),
        (
            lambda op: gradient_conditioning(op, torch.ones(3)),
            ShapeError,
            r"^gradient must have shape \(2,\), got \(3,\)",
        ),
        (
            lambda op: unwrap(gradient_conditioning)(op, [1.0, 1.0]),
            ShapeError,
            r"^gradient must be a tensor or array of shape \(2,\), got a list. Pass a flat vector: objective.gradient",
        ),
        (lambda op: gradient_conditioning(op, torch.ones(2), share=0), SettingError, "share must lie above 0"),
        (lambda op: gradient_conditioning(op, torch.ones(2), products=0), SettingError, "products must be at least 1"),
        (lambda op: gradient_conditioning(op @ dense(torch.ones(2, 2)), torch.ones(2)), SettingError, "be symmetric"),
    ],
)
def test_mistakes_are_told(ask, error, message):
    with pytest.raises(error, match=message):
        ask(dense(torch.eye(2)))
