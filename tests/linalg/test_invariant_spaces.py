"""Are the ends of a spectrum found where a Krylov space closes early, or the whole spectrum stands far from zero?"""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from linalg.fakes import diagonal
from theodolite.linalg.curvature import ggn, hessian
from theodolite.linalg.eigenvalues import extreme_eigenvalues, largest_eigenvalues
from theodolite.linalg.matrices import dense
from theodolite.objective import Objective
from theodolite.records.obstacles import Status

types = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def overparametrised(generator):
    """Four examples, 353 parameters: a Gauss-Newton matrix of rank 4."""
    draw = generator(0)
    X, Y = torch.randn(4, 20, generator=draw).double(), torch.randn(4, 1, generator=draw).double()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(20, 16), nn.Tanh(), nn.Linear(16, 1)).double()
    return Objective(model, lambda m, b: (m(b[0]) - b[1]).pow(2).mean(), (X, Y))


@pytest.mark.parametrize("k", [1, 2, 3, 6])
def test_zeros_outside_a_matrix_of_low_rank_are_found(k, generator):
    op = ggn(overparametrised(generator))
    truth = np.linalg.eigvalsh(op.to_dense().numpy())
    found = extreme_eigenvalues(op, k, k, generator=generator(1))
    slack = 1e-12 * truth[-1]
    np.testing.assert_allclose(found.smallest.values, truth[:k], atol=slack)
    np.testing.assert_allclose(found.largest.values, truth[::-1][:k], rtol=1e-3, atol=slack)


@types
@pytest.mark.parametrize("rank", [1, 2, 5])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_low_rank_in_every_precision(dtype, rank, k, generator):
    for seed in range(10):
        draw = generator(seed)
        U = torch.linalg.qr(torch.randn(123, rank, generator=draw).double())[0]
        signs = torch.where(torch.rand(rank, generator=draw) < 0.5, -1.0, 1.0).double()
        A = ((U * (signs * (1 + torch.rand(rank, generator=draw).double()))) @ U.T).to(dtype)
        A = (A + A.T) / 2
        truth = np.linalg.eigvalsh(A.double().numpy())
        found = extreme_eigenvalues(dense(A), k, k, generator=generator(seed + 100))
        bound = 1e-3 * np.abs(truth).max()
        np.testing.assert_allclose(found.largest.values, truth[::-1][:k], atol=bound)
        np.testing.assert_allclose(found.smallest.values, truth[:k], atol=bound)


@pytest.mark.parametrize("shift", [0.0, 1.0, 10.0, -10.0])
def test_a_shift_of_the_operator_changes_nothing_for_the_method(shift, generator):
    """A bulk in [0, 0.01] with 0.5 above it and −0.4 below: found wherever the whole stands."""
    bulk = torch.rand(3000, generator=generator(2)).double() * 0.01
    values = torch.cat([bulk, torch.tensor([0.5, -0.4]).double()])
    op = diagonal(values.numpy()).shift(shift)
    found = extreme_eigenvalues(op, 1, 1, generator=generator(3))
    assert found.largest.values[0] == pytest.approx(0.5 + shift, abs=1e-3)
    assert found.smallest.values[0] == pytest.approx(-0.4 + shift, abs=1e-3)


def test_one_value_above_a_great_many_equal_ones(generator):
    values = torch.ones(100_000).double()
    values[7] = 1.3
    found = largest_eigenvalues(diagonal(values.numpy()), generator=generator(0))
    assert found.values[0] == pytest.approx(1.3, rel=1e-6)


def test_products_that_say_nothing_converge_to_nothing(generator):
    """No second derivative, kinks, float32: the residual exceeds the value, and the status does not hide it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))
        batch = torch.randn(64, 8), torch.randint(0, 4, (64,))
    objective = Objective(model, lambda m, b: nn.functional.multi_margin_loss(m(b[0]), b[1], p=2), batch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = largest_eigenvalues(hessian(objective), generator=generator(0))
    assert found.status is Status.BREAKDOWN
    assert found.residuals[0] > abs(found.values[0]) / 10
