"""What holds at every door: results keep their numbers, and what is not symmetric is sent back with advice."""

from dataclasses import fields, is_dataclass

import numpy as np
import pytest
import torch

from linalg.fakes import Fake
from linalg.spectra import SPECTRA
from theodolite.errors import SettingError
from theodolite.linalg.conditioning import gradient_conditioning
from theodolite.linalg.decomposition import eigendecomposition
from theodolite.linalg.density import spectral_density
from theodolite.linalg.eigenvalues import extreme_eigenvalues, largest_eigenvalues, smallest_eigenvalues
from theodolite.linalg.interface import as_array
from theodolite.linalg.krylov import krylov_space
from theodolite.linalg.matrices import dense
from theodolite.linalg.operators import Operator
from theodolite.linalg.solves import solve, solve_absolute
from theodolite.linalg.traces import diagonal, frobenius_norm, trace

N = 12

DOORS = {
    "conditioning": lambda op, v, x, g: gradient_conditioning(op, v),
    "decomposition": lambda op, v, x, g: eigendecomposition(op),
    "density": lambda op, v, x, g: spectral_density(op, probes=2, products=4, generator=g),
    "density, exact": lambda op, v, x, g: spectral_density(op),
    "diagonal": lambda op, v, x, g: diagonal(op, products=4, generator=g),
    "diagonal, exact": lambda op, v, x, g: diagonal(op),
    "extremes": lambda op, v, x, g: extreme_eigenvalues(op, 2, 1, start=v, generator=g),
    "krylov space": lambda op, v, x, g: krylov_space(op, v, 4),
    "largest": lambda op, v, x, g: largest_eigenvalues(op, 2, start=v, generator=g),
    "largest, of an array": lambda op, v, x, g: largest_eigenvalues(op, 2, start=v.numpy(), generator=g),
    "norm": lambda op, v, x, g: frobenius_norm(op, products=4, generator=g),
    "smallest": lambda op, v, x, g: smallest_eigenvalues(op, 2, start=v, generator=g),
    "solve": lambda op, v, x, g: solve(op, v, x0=x),
    "solve, begun at the solution": lambda op, v, x, g: solve(op, op @ x, x0=x),
    "solve, of arrays": lambda op, v, x, g: solve(op, (op @ x).numpy(), x0=x.numpy()),
    "solve, of zero": lambda op, v, x, g: solve(op, 0 * v, x0=x),
    "solve, no better than its start": lambda op, v, x, g: solve(op, v, x0=x, max_products=2),
    "solve |A|": lambda op, v, x, g: solve_absolute(op, v),
    "solve |A|, of zero": lambda op, v, x, g: solve_absolute(op, v.zero_()),
    "trace": lambda op, v, x, g: trace(op, products=4, generator=g),
    "trace, exact": lambda op, v, x, g: trace(op),
}
doors = pytest.mark.parametrize("ask", DOORS.values(), ids=DOORS)


def arrays(result: object) -> list[np.ndarray]:
    """Every array in a result, as it is."""
    if isinstance(result, torch.Tensor):
        return [result.numpy()]
    if isinstance(result, np.ndarray):
        return [result]
    inside = [getattr(result, field.name) for field in fields(result)] if is_dataclass(result) else []
    return [array for part in inside for array in arrays(part)]


@doors
def test_results_do_not_change_with_what_came_in(ask, generator):
    A = torch.as_tensor(SPECTRA[4].matrix(n=N))
    v, x = torch.randn(2, N, dtype=torch.float64, generator=generator())
    found = arrays(ask(Operator(Fake(A)), v, x, generator()))
    before = [array.copy() for array in found]
    for given in (A, v, x):
        given.add_(5)
    for now, then in zip(found, before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_product_does_not_change_with_its_vector():
    class Identity(Fake):
        def apply(self, vectors):
            return vectors

    v = np.ones(2)
    product = Operator(Identity(np.eye(2))) @ v
    v += 5
    assert product.tolist() == [1, 1]


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool]
)
@pytest.mark.parametrize("form", [lambda t: t, lambda t: t.T, lambda t: t[:, :1].expand(2, 3), lambda t: t[:, ::2]])
def test_an_array_has_memory_of_its_own(dtype, form):
    whole = torch.tensor([[1, 0, 3], [0, 5, 6]]).to(dtype)
    part = form(whole)
    array = as_array(part)
    assert array.tolist() == part.tolist()
    whole.fill_(9)
    assert array[0, 0] == 1


@doors
def test_what_need_not_be_symmetric_is_sent_back_and_the_advice_works(ask, generator):
    A, B = (torch.as_tensor(spectrum.matrix(n=N, seed=i)) for i, spectrum in enumerate(SPECTRA[1:3]))
    v, x = torch.randn(2, N, dtype=torch.float64, generator=generator())
    op = dense(A) @ dense(B)
    with pytest.raises(
        SettingError, match=r"must be symmetric, got one that need not be \(dense\).*: op.symmetrize\(\)."
    ):
        ask(op, v.clone(), x, generator())
    found, expected = (
        arrays(ask(form, v.clone(), x, generator())) for form in (op.symmetrize(), dense((A @ B + B @ A) / 2))
    )
    for one, other in zip(found, expected, strict=True):
        rounding = 1e-11  # residuals are nothing else
        np.testing.assert_allclose(np.abs(one), np.abs(other), rtol=1e-6, atol=1e-6 * abs(other).max() + rounding)
