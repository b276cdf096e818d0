"""Is the curvature-corrected step on a Krylov space the one that the dense Hessian gives?"""

import numpy as np
import pytest
import torch

from linalg.fakes import Fake
from linalg.spectra import SPECTRA, tensor
from theodolite.errors import SettingError, ShapeError
from theodolite.linalg import dense, krylov_space, saddle_free_step
from theodolite.linalg.lanczos import Krylov
from theodolite.linalg.operators import Operator
from theodolite.records.obstacles import Status

types = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def indefinite(n: int = 30) -> torch.Tensor:
    return tensor(SPECTRA[4].matrix(n=n) + 0.01 * np.eye(n))


@pytest.mark.parametrize("damping", [0.0, 0.1])
def test_the_whole_space_gives_the_dense_step(damping, generator):
    A = indefinite()
    g = torch.randn(30, dtype=torch.float64, generator=generator())
    space = krylov_space(dense(A), g, 30)
    assert space.status is Status.CONVERGED
    values, Q = torch.linalg.eigh(A)
    expected = -(Q / (values.abs() + damping)) @ (Q.T @ g)
    torch.testing.assert_close(saddle_free_step(space, damping), expected, rtol=1e-6, atol=1e-8)


@types
def test_the_gradient_lies_in_the_space(dtype, generator):
    A, g = indefinite().to(dtype), torch.randn(30, generator=generator()).to(dtype)
    space = krylov_space(dense(A), g, 6)
    assert space.status is Status.BUDGET
    assert space.products == len(space.values) == len(space.residuals) == 6
    torch.testing.assert_close(space.combine(space.components), g, rtol=1e-5, atol=1e-5)
    Y = space.vectors.double()
    torch.testing.assert_close(Y.T @ Y, torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-5)
    torch.testing.assert_close(Y.T @ A.double() @ Y, torch.diag(tensor(space.values)), rtol=0, atol=1e-5)
    true = torch.linalg.vector_norm(A.double() @ Y - Y * tensor(space.values), dim=0)
    np.testing.assert_allclose(space.residuals, true, atol=1e-5)


def test_the_step_is_downhill_and_scales(generator):
    A, g = indefinite(), torch.randn(30, dtype=torch.float64, generator=generator())
    for products in (1, 3, 10):
        step = saddle_free_step(krylov_space(dense(A), g, products), 0.01)
        assert float(step @ g) < 0
        torch.testing.assert_close(saddle_free_step(krylov_space(dense(A), 5 * g, products), 0.01), 5 * step)


def test_a_bowl_in_one_product():
    step = saddle_free_step(krylov_space(dense(4 * torch.eye(3)), torch.tensor([1.0, 2.0, 2.0]), 3))
    torch.testing.assert_close(step, torch.tensor([-0.25, -0.5, -0.5]))


def test_edges():
    g = torch.tensor([3.0, 4.0])
    flat = krylov_space(dense(torch.zeros(2, 2)), g, 2)
    assert flat.status is Status.CONVERGED
    assert saddle_free_step(flat).tolist() == [0.0, 0.0]  # no curvature, no length
    torch.testing.assert_close(saddle_free_step(flat, 2.0), -g / 2)
    broken = krylov_space(dense(torch.full((2, 2), torch.nan)), g, 2)
    assert broken.status is Status.NONFINITE
    assert saddle_free_step(broken).isnan().all()  # what is not known is not zero
    assert saddle_free_step(broken).shape == (2,)
    late = krylov_space(Operator(Fake(indefinite(), spoil=3)), torch.ones(30, dtype=torch.float64), 5)
    assert (late.status, len(late.values)) == (Status.NONFINITE, 2)
    assert saddle_free_step(late).isnan().all()
    single = krylov_space(dense(torch.tensor([[-2.0]])), torch.ones(1), 5)
    assert saddle_free_step(single).tolist() == [-0.5]


@pytest.mark.parametrize(
    ("matrix", "spoil", "products"),
    [(indefinite(), None, 7), (torch.eye(30), None, 1), (indefinite(), 3, 3)],
    ids=["room", "invariant", "not finite"],
)
def test_a_space_is_filled_as_far_as_it_goes(matrix, spoil, products):
    krylov = Krylov(Fake(matrix, spoil=spoil), torch.ones(30), 7)
    krylov.fill()
    assert krylov.products == products
    krylov.fill()
    assert krylov.products == products


def test_in_words():
    op = dense(torch.diag(torch.tensor([1.0, 3.0, 5.0])))
    assert repr(krylov_space(op, torch.tensor([1.0, 0, 0]), 2)) == "KrylovSpace(1 of 3: 1; converged, 1 product)"
    assert len(repr(krylov_space(dense(torch.eye(300)), torch.ones(300), 1))) < 100


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda op: krylov_space(op, torch.ones(3), 2), ShapeError, r"shape \(2,\), got \(3,\)"),
        (lambda op: krylov_space(op, torch.zeros(2), 2), SettingError, "not zero, got a vector of norm 0.*Move off"),
        (lambda op: krylov_space(op, torch.tensor([torch.nan, 1]), 2), SettingError, "norm nan"),
        (lambda op: krylov_space(op, torch.ones(2), 0), SettingError, "products must be at least 1, got 0. Raise it"),
        (
            lambda op: saddle_free_step(krylov_space(op, torch.ones(2), 2), -1),
            SettingError,
            "damping must be finite and not negative, got -1",
        ),
    ],
)
def test_mistakes_are_told(ask, error, message):
    with pytest.raises(error, match=message):
        ask(dense(torch.eye(2)))
