"""Are all eigenvalues of a small operator there, with honest errors and signs?"""

import numpy as np
import pytest
import torch

from linalg.fakes import Fake, noisy
from linalg.spectra import SPECTRA, tensor
from theodolite.errors import SettingError
from theodolite.linalg.decomposition import eigendecomposition, inertia
from theodolite.linalg.matrices import dense
from theodolite.linalg.operators import Operator
from theodolite.records.obstacles import Status

spectra = pytest.mark.parametrize("spectrum", SPECTRA, ids=lambda spectrum: spectrum.name)
types = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


@spectra
@types
def test_all_pairs_are_those_of_numpy(spectrum, dtype):
    A = tensor(spectrum.matrix(n=80), dtype)
    truth, _ = np.linalg.eigh(A.double().numpy())
    found = eigendecomposition(dense(A))
    assert (found.status, found.products) == (Status.CONVERGED, 80)
    assert (np.diff(found.values) >= 0).all()
    assert (np.abs(found.values - truth) <= found.residuals).all()  # Weyl: in order, each within its error
    V = found.vectors
    np.testing.assert_allclose(V.T @ V, np.eye(80), atol=1e-12)
    true = np.linalg.norm(A.double().numpy() @ V - V * found.values, axis=0)
    assert (true <= found.residuals).all()


@spectra
@types
def test_no_sign_is_claimed_that_is_not_there(spectrum, dtype):
    """Nor is one left open that is clear."""
    A = tensor(spectrum.matrix(n=80), dtype)
    counts = inertia(eigendecomposition(dense(A)))
    assert counts.negative + counts.zero + counts.positive == 80
    exact = np.linalg.eigvalsh(A.double().numpy())
    assert counts.negative <= (exact < 0).sum()
    assert counts.positive <= (exact > 0).sum()
    if spectrum.name == "rank 3":
        assert (counts.negative, counts.zero, counts.positive) == (1, 77, 2)
    clear = np.abs(exact) > 20 * torch.finfo(dtype).eps * np.abs(exact).max()
    assert counts.negative >= (clear & (exact < 0)).sum()
    assert counts.positive >= (clear & (exact > 0)).sum()


def test_multiple_and_interior_eigenvalues():
    found = eigendecomposition(dense(torch.diag(torch.tensor([5.0, 5.0, 0.0, -1.0, 5.0]))))
    np.testing.assert_allclose(found.values, [-1, 0, 5, 5, 5], atol=1e-6)
    one = eigendecomposition(dense(torch.tensor([[-3.0]])))
    assert (one.values.tolist(), one.vectors.shape) == ([-3.0], (1, 1))
    nothing = eigendecomposition(dense(torch.zeros(3, 3)))
    assert (nothing.values.tolist(), nothing.residuals.tolist()) == ([0, 0, 0], [0, 0, 0])
    assert inertia(nothing).zero == 3


def test_asymmetry_of_the_products_shows_in_the_residuals(generator):
    A = SPECTRA[4].matrix(n=30)
    found = eigendecomposition(noisy(A, 1e-3, generator(1)))
    truth = np.linalg.eigvalsh(A)
    assert (found.residuals > 1e-4).all()
    assert np.abs(found.values - truth).max() <= found.residuals.max()


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_gives_no_pairs(value):
    A = torch.eye(4)
    A[2, 2] = value
    found = eigendecomposition(Operator(Fake(A)))
    assert found.status is Status.NONFINITE
    assert found.values.shape == (0,)
    assert found.vectors.shape == (4, 0)
    with pytest.raises(
        SettingError, match="must be those of an operator that is finite, got the status NONFINITE. Look"
    ):
        inertia(found)


def test_mistakes_are_told():
    with pytest.raises(SettingError, match=r"must fit memory_limit=1,000 bytes, but takes 4,400 for 10 parameters"):
        eigendecomposition(dense(torch.eye(10)), memory_limit=1000)
