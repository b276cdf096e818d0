"""Does a warm start save products without believing what it was told?"""

import numpy as np
import pytest
import torch

from linalg.fakes import diagonal
from linalg.spectra import CROWNS, SPECTRA
from theodolite.errors import SettingError, ShapeError
from theodolite.linalg import eigenvalues
from theodolite.linalg.eigenvalues import Extremes, extreme_eigenvalues, largest_eigenvalues, smallest_eigenvalues
from theodolite.linalg.matrices import dense
from theodolite.records.obstacles import Status
from theodolite.records.results import Eigenpairs

types = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
DIAGONAL = torch.tensor([4.0, -9.0, 1.0, 0.0])


def perturbed(spectrum: int, size: float, generator) -> tuple[np.ndarray, np.ndarray]:
    A = SPECTRA[spectrum].matrix(n=250)
    E = torch.randn(250, 250, dtype=torch.float64, generator=generator(9)).numpy()
    return A, A + size * np.linalg.norm(A, 2) * (E + E.T) / (2 * 500**0.5)


@pytest.mark.parametrize("spectrum", [0, 1, 2, 4])
def test_a_warm_start_gives_the_same_for_fewer_products(spectrum, generator):
    before, after = perturbed(spectrum, 0.01, generator)
    truth = np.linalg.eigvalsh(after)
    earlier = extreme_eigenvalues(dense(torch.as_tensor(before)), 5, 5, generator=generator(1))
    op = dense(torch.as_tensor(after))
    cold, warm = [], []
    for seed in range(5):
        alone = largest_eigenvalues(op, 5, generator=generator(seed))
        again = largest_eigenvalues(op, 5, start=earlier.largest, generator=generator(seed))
        np.testing.assert_allclose(again.values, truth[::-1][:5], rtol=2e-3)
        assert again.status is Status.CONVERGED
        cold.append(alone.products)
        warm.append(again.products)
    assert np.mean(warm) < np.mean(cold)
    low = smallest_eigenvalues(op, 5, start=earlier.smallest, generator=generator())
    np.testing.assert_allclose(low.values, truth[:5], rtol=2e-3, atol=1e-3 * np.abs(truth).max())
    both = extreme_eigenvalues(op, 5, 5, start=earlier, generator=generator(), max_products=400)
    np.testing.assert_allclose(both.largest.values, truth[::-1][:5], rtol=2e-3)


@pytest.mark.parametrize("name", ["ten per cent apart", "of slow decay"])
@pytest.mark.parametrize("k", [1, 3])
def test_a_start_from_the_wrong_vectors_is_seen_through(name, k, generator):
    """Exact eigenvectors that are not of the end leave no residual; the random part and the spare pair tell."""
    values = CROWNS[name]
    op, truth = diagonal(values), np.sort(values)[::-1][:k]
    n = len(values)
    others = np.eye(n)[:, 1 : k + 1]
    wrong = Eigenpairs(values[1 : k + 1], others, np.zeros(k), Status.CONVERGED, 1)
    for seed in range(10):
        found = largest_eigenvalues(op, k, start=wrong, generator=generator(seed))
        np.testing.assert_allclose(found.values, truth, rtol=1e-3)
    single = largest_eigenvalues(op, k, start=others[:, 0], generator=generator())
    np.testing.assert_allclose(single.values, truth, rtol=1e-3)
    short = largest_eigenvalues(op, 1, start=others[:, 0], generator=generator(), max_products=3)
    assert short.status is Status.BUDGET


def test_the_twin_without_a_random_part_is_taken_in(generator, monkeypatch):
    monkeypatch.setattr(eigenvalues, "_UNKNOWN", 1e-6)
    monkeypatch.setattr(
        eigenvalues._Goal, "is_reached", lambda self, r, z: self.is_met(r, z)[self.places(len(r.values))].all()
    )
    found = largest_eigenvalues(diagonal(CROWNS["ten per cent apart"]), start=np.eye(1002)[:, 1], generator=generator())
    assert found.values[0] == pytest.approx(9)


@types
def test_starts_of_every_kind(dtype, generator):
    op = dense(torch.diag(DIAGONAL.to(dtype)))
    empty = Eigenpairs(np.zeros(0), np.zeros((4, 0)), np.zeros(0), Status.NONFINITE, 1)
    exact = largest_eigenvalues(op, 4, generator=generator())
    for start in (torch.zeros(4), np.ones(4), torch.tensor([1, 0, 0, 0]), empty, exact, Extremes(exact, empty)):
        found = largest_eigenvalues(op, 2, start=start, generator=generator())
        np.testing.assert_allclose(found.values, [4, 1], atol=1e-5)
        assert found.status is Status.CONVERGED
    single = dense(torch.tensor([[-2.0]], dtype=dtype))
    one = largest_eigenvalues(single, start=torch.ones(1), generator=generator())
    assert (one.values.tolist(), one.status) == ([-2.0], Status.CONVERGED)
    assert largest_eigenvalues(op, 4, start=exact, generator=generator()).status is Status.CONVERGED


@pytest.mark.parametrize(
    ("start", "error", "message"),
    [
        (torch.ones(3), ShapeError, "start must hold vectors of size 4, got 3"),
        (torch.tensor([1.0, torch.nan, 0, 0]), SettingError, "start must be finite"),
    ],
)
def test_a_bad_start_is_told(start, error, message):
    with pytest.raises(error, match=message):
        largest_eigenvalues(dense(torch.diag(DIAGONAL)), start=start)
