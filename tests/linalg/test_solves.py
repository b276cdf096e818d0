"""Do solutions solve, with the residual that is stated, and does a failure say what it is?"""

import math
from inspect import unwrap

import numpy as np
import pytest
import torch

from linalg.fakes import Fake
from linalg.spectra import SPECTRA, tensor
from theodolite.errors import SettingError, ShapeError
from theodolite.linalg import solves
from theodolite.linalg.matrices import dense
from theodolite.linalg.operators import Operator
from theodolite.linalg.solves import solve, solve_absolute
from theodolite.records.obstacles import Status
from theodolite.records.solutions import Solution

spectra = pytest.mark.parametrize("spectrum", SPECTRA, ids=lambda spectrum: spectrum.name)
types = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
methods = pytest.mark.parametrize("method", ["minres", "cg"])


def definite(n: int = 40, condition: float = 100) -> torch.Tensor:
    Q, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(n, n)))
    A = (Q * np.geomspace(1, condition, n)) @ Q.T
    return torch.as_tensor((A + A.T) / 2)


@spectra
@types
@methods
@pytest.mark.parametrize("max_products", [2, 25, 300])
def test_the_residual_is_the_true_one_and_converged_is_true(spectrum, dtype, method, max_products, generator):
    A = tensor(spectrum.matrix(n=60), dtype)
    b = torch.randn(60, generator=generator(1), dtype=torch.float64).to(dtype)
    op = Fake(A)
    found = solve(Operator(op), b, method=method, max_products=max_products)
    x = found.vector.astype(np.float64)
    left = np.linalg.norm(b.double().numpy() - A.double().numpy() @ x)
    size = np.linalg.norm(A.double().numpy(), 2) * np.linalg.norm(x)
    precision = torch.finfo(dtype).eps
    assert abs(found.residual - left) <= 8 * precision * size + 1e-9 * left
    assert found.products == op.columns <= max_products
    assert found.scale == pytest.approx(float(b.double().norm()))
    if found.status is Status.CONVERGED:
        assert found.residual <= max(1e-6 * found.scale, min(8 * precision * size, precision**0.5 * found.scale))
    if method == "minres":
        assert found.residual <= found.scale


def check_the_solution(A: np.ndarray, b: torch.Tensor, found: Solution) -> None:
    """‖x − x*‖ ≤ ‖residual‖/min|λ|."""
    distance = np.linalg.norm(found.vector - np.linalg.solve(A, b.double().numpy()))
    assert distance <= 1.01 * found.residual / np.abs(np.linalg.eigvalsh(A)).min() + 1e-5


@types
@methods
@pytest.mark.parametrize("damping", [0.0, 3.0])
def test_a_definite_system_is_solved_as_numpy_does(dtype, method, damping, generator):
    A = definite().to(dtype)
    b = torch.randn(40, generator=generator(), dtype=dtype)
    found = solve(dense(A), b, method=method, damping=damping, rtol=1e-5)
    assert found.status is Status.CONVERGED
    assert found.relative_residual <= 1e-5
    check_the_solution(A.double().numpy() + damping * np.eye(40), b, found)
    assert found.direction is None
    assert math.isnan(found.curvature)


@types
def test_minres_solves_an_indefinite_system(dtype, generator):
    A = (definite() - 20 * torch.eye(40, dtype=torch.float64)).to(dtype)
    b = torch.randn(40, generator=generator(), dtype=dtype)
    found = solve(dense(A), b, rtol=1e-5)
    assert found.status is Status.CONVERGED
    assert found.relative_residual <= 1e-5
    check_the_solution(A.double().numpy(), b, found)


def test_minres_is_least_on_each_krylov_space(generator):
    """The law by which it is defined, against least squares on the space written down."""
    A = definite() - 20 * torch.eye(40, dtype=torch.float64)
    b = torch.randn(40, generator=generator(), dtype=torch.float64)
    space = [b]
    for size in range(1, 7):
        K = np.stack([v.numpy() / float(v.norm()) for v in space], 1)
        Q, _ = np.linalg.qr(K)
        weights = np.linalg.lstsq(A.numpy() @ Q, b.numpy(), rcond=None)[0]
        least = np.linalg.norm(b.numpy() - A.numpy() @ Q @ weights)
        assert solve(dense(A), b, max_products=size + 1).residual == pytest.approx(least, rel=1e-8)
        space.append(A @ space[-1])


def test_conjugate_gradients_come_nearer_in_the_norm_of_the_matrix(generator):
    """Least ‖x − x*‖_A on each Krylov space; the residual need not fall meanwhile."""
    A = definite(condition=1e4)
    b = torch.randn(40, generator=generator(3), dtype=torch.float64)
    exact = np.linalg.solve(A.numpy(), b.numpy())
    errors = [
        (d := solve(dense(A), b, method="cg", max_products=m).vector - exact) @ A.numpy() @ d for m in (2, 5, 9, 14)
    ]
    assert (np.diff(errors) < 0).all()
    space = np.linalg.qr(np.stack([np.linalg.matrix_power(A.numpy() / 1e4, i) @ b.numpy() for i in range(4)], 1))[0]
    best = space @ np.linalg.solve(space.T @ A.numpy() @ space, space.T @ b.numpy())
    np.testing.assert_allclose(solve(dense(A), b, method="cg", max_products=5).vector, best, rtol=1e-6)


@types
def test_conjugate_gradients_give_the_direction_of_negative_curvature(dtype, generator):
    A = tensor(SPECTRA[4].matrix(n=60), dtype)  # one negative eigenvalue
    b = torch.randn(60, generator=generator(), dtype=dtype)
    found = solve(dense(A), b, method="cg")
    assert found.status is Status.BREAKDOWN
    d = found.direction.astype(np.float64)
    assert np.linalg.norm(d) == pytest.approx(1, rel=1e-5)
    assert d @ A.double().numpy() @ d == pytest.approx(found.curvature, rel=1e-3)
    assert found.curvature < 0
    cured = solve(dense(A), b, method="cg", damping=1.0)
    assert cured.status is Status.CONVERGED


@types
@methods
def test_singular_and_consistent(dtype, method, generator):
    A = tensor(SPECTRA[7].matrix(n=50), torch.float64)
    A = (A @ A).to(dtype)  # rank 3, definite on its range
    b = A @ torch.randn(50, generator=generator(), dtype=dtype)
    found = solve(dense(A), b, method=method)
    assert found.status is Status.CONVERGED
    np.testing.assert_allclose(
        found.vector, np.linalg.pinv(A.double().numpy(), rcond=1e-5) @ b.double().numpy(), atol=1e-4
    )


@types
@pytest.mark.parametrize("kind", ["rank 3", "half the rank", "zero"])
def test_singular_and_inconsistent(dtype, kind, generator):
    """A least-squares solution, with the residual that no x can go below."""
    M = np.random.default_rng(0).normal(size=(60, 30))
    matrices = {"rank 3": SPECTRA[7].matrix(n=60), "half the rank": M @ M.T / 60, "zero": np.zeros((60, 60))}
    A = torch.as_tensor(matrices[kind]).to(dtype)
    b = torch.randn(60, generator=generator(), dtype=dtype)
    found = solve(dense(A), b)
    least = np.linalg.norm(
        b.double().numpy() - matrices[kind] @ np.linalg.pinv(matrices[kind], rcond=1e-10) @ b.double().numpy()
    )
    assert found.status is Status.BREAKDOWN
    assert found.residual == pytest.approx(least, rel=1e-4)
    assert np.linalg.norm(found.vector) < 1e4
    flat = solve(dense(A), b, method="cg")
    assert flat.status is Status.BREAKDOWN
    assert abs(flat.curvature) < 1
    assert flat.direction is not None


def test_a_start_is_used(generator):
    A = definite()
    b = torch.randn(40, generator=generator(), dtype=torch.float64)
    cold = solve(dense(A), b)
    near = solve(dense(A), b, x0=cold.vector + 1e-4)
    assert near.status is Status.CONVERGED
    assert near.products < cold.products
    there = solve(dense(A), b, x0=cold.vector)
    assert there.products == 1
    assert (there.vector == cold.vector).all()


@methods
def test_a_half_precision_operator_says_what_it_can(method, generator):
    A = definite(condition=5).bfloat16()
    b = torch.randn(40, generator=generator())
    found = solve(dense(A), b, method=method, rtol=1e-6)
    assert found.status in (Status.CONVERGED, Status.BREAKDOWN)
    assert found.vector.dtype == np.float32
    assert found.relative_residual < 0.05


@methods
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_refinement_reaches_what_one_run_in_float32_does_not(method, seed, generator):
    A = definite(condition=3000).float()
    b = torch.randn(40, generator=generator(seed))
    refined = solve(dense(A), b, method=method, rtol=1e-5, max_products=400)
    system = solves._System(dense(A), b, 0.0, 400)
    naive = solves._METHODS[method](system, b, 1e-5 * system.scale)
    left = float((b.double() - A.double() @ naive.step.double()).norm() / b.double().norm())
    assert refined.status is naive.status is Status.CONVERGED  # so says the twin that trusts its own recurrence
    assert refined.relative_residual < left / 2


@pytest.mark.parametrize(("method", "begins"), [("minres", False), ("cg", False), ("minres", True)])
def test_converged_within_rounding_whatever_ended_the_run(method, begins, generator):
    """A residual that the products cannot tell from zero is solved, whether refinement or the budget came to an end."""
    A = definite(condition=1e5).float()
    b = torch.randn(40, generator=generator(2))
    x0 = torch.linalg.solve(A.double(), b.double()).float() if begins else None
    found = solve(dense(A), b, method=method, rtol=1e-9, max_products=12 if begins else 2000, x0=x0)
    size = np.linalg.norm(A.double().numpy(), 2) * np.linalg.norm(found.vector.astype(np.float64))
    assert found.status is Status.CONVERGED
    assert found.relative_residual > 1e-9
    assert found.residual <= min(8 * 2.0**-23 * size, 2.0**-11.5 * found.scale)


@methods
@pytest.mark.parametrize("spoil", [1, 3, 6])
def test_what_is_not_finite_ends_the_run(method, spoil, generator):
    b = torch.randn(40, generator=generator(), dtype=torch.float64)
    found = solve(Operator(Fake(definite(), spoil=spoil)), b, method=method)
    assert found.status is Status.NONFINITE
    assert np.isfinite(found.vector).all()
    dead = solve(dense(torch.full((2, 2), torch.nan)), torch.ones(2), method=method)
    assert dead.status is Status.NONFINITE
    assert dead.residual == pytest.approx(2**0.5)
    assert dead.vector.tolist() == [0, 0]
    started = solve(dense(torch.full((2, 2), torch.nan)), torch.ones(2), method=method, x0=torch.ones(2))
    assert started.status is Status.NONFINITE


@types
@methods
def test_edges(dtype, method):
    zero = solve(dense(torch.eye(3, dtype=dtype)), torch.zeros(3), method=method, x0=torch.ones(3))
    assert zero.vector.tolist() == [0, 0, 0]
    assert (zero.status, zero.products, zero.residual, zero.relative_residual) == (Status.CONVERGED, 0, 0.0, 0.0)
    one = solve(dense(torch.tensor([[4.0]], dtype=dtype)), torch.tensor([2.0]), method=method)
    assert (one.vector.tolist(), one.status, one.products) == ([0.5], Status.CONVERGED, 2)
    if method == "minres":
        negative = solve(dense(torch.tensor([[-4.0]], dtype=dtype)), torch.tensor([2.0]))
        assert negative.vector.tolist() == [-0.5]
    short = solve(dense(definite().to(dtype)), torch.ones(40), method=method, max_products=2)
    assert (short.status, short.products) == (Status.BUDGET, 2)


@types
@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_the_modulus_is_exact_when_the_space_is_exhausted(dtype, damping, generator):
    A = definite() - 20 * torch.eye(40, dtype=torch.float64)
    b = torch.randn(40, generator=generator(), dtype=torch.float64)
    values, Q = torch.linalg.eigh(A)
    expected = Q @ (Q.T @ b / (values.abs() + damping))
    found = solve_absolute(dense(A.to(dtype)), b, damping=damping, products=40)
    assert found.status is Status.CONVERGED
    assert found.products == 40
    np.testing.assert_allclose(found.vector, expected, rtol=1e-3, atol=1e-5)


@spectra
@types
@pytest.mark.parametrize("damping", [0.0, 0.5])
@pytest.mark.parametrize("products", [1, 8, 30])
def test_the_bound_of_the_modulus_is_one(spectrum, dtype, damping, products, generator):
    A = tensor(spectrum.matrix(n=60), dtype)
    b = torch.randn(60, generator=generator(1), dtype=torch.float64).to(dtype)
    values, Q = np.linalg.eigh(A.double().numpy())
    found = solve_absolute(dense(A), b, damping=damping, products=products)
    whole = (Q * (np.abs(values) + damping)) @ Q.T
    left = np.linalg.norm(b.double().numpy() - whole @ found.vector.astype(np.float64))
    assert left <= found.residual * (1 + 1e-6) + 8 * torch.finfo(dtype).eps * found.scale
    if found.status is Status.CONVERGED:
        assert found.relative_residual <= torch.finfo(dtype).eps ** 0.5 + 2e-6


def test_edges_of_the_modulus():
    assert solve_absolute(dense(torch.eye(2)), torch.zeros(2)).vector.tolist() == [0, 0]
    part = solve_absolute(dense(torch.diag(torch.tensor([2.0, 0.0]))), torch.tensor([2.0, 1.0]))
    assert part.status is Status.BREAKDOWN
    assert part.residual == pytest.approx(1, rel=1e-4)
    np.testing.assert_allclose(part.vector, [1, 0], atol=1e-6)
    dead = solve_absolute(dense(torch.full((2, 2), torch.nan)), torch.ones(2))
    assert (dead.status, dead.vector.tolist()) == (Status.NONFINITE, [0, 0])


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda op: solve(op, torch.ones(3)), ShapeError, r"b must have shape \(2,\), got \(3,\)"),
        (lambda op: solve(op, torch.ones(2), x0=torch.ones(1)), ShapeError, r"x0 must have shape \(2,\)"),
        (lambda op: solve(op, torch.tensor([1.0, math.nan])), SettingError, "b must be finite"),
        (lambda op: solve(op, torch.zeros(2), x0=torch.ones(1)), ShapeError, r"x0 must have shape \(2,\)"),
        (
            lambda op: solve(op, torch.ones(2), damping=-1),
            SettingError,
            "damping must be finite and not negative, got -1",
        ),
        (lambda op: solve(op, torch.ones(2), rtol=0), SettingError, "rtol must lie between 0 and 1, got 0. 1e-6"),
        (lambda op: solve(op, torch.ones(2), max_products=1), SettingError, "max_products must be at least 2, got 1"),
        (lambda op: solve_absolute(op, torch.ones(2), damping=math.inf), SettingError, "damping must be finite"),
        (
            lambda op: solve_absolute(op, torch.ones(2), rtol=1.0),
            SettingError,
            "rtol must lie between 0 and 1, got 1.0",
        ),
        (lambda op: solve_absolute(op, torch.ones(2), products=0), SettingError, "products must be at least 1"),
        (lambda op: solve_absolute(op, torch.ones(1)), ShapeError, r"b must have shape \(2,\)"),
        (
            lambda op: unwrap(solve)(op, None),
            ShapeError,
            r"^b must be a tensor or array of shape \(2,\), got None. Pass",
        ),
        (lambda op: unwrap(solve)(op, "b"), ShapeError, "^b must be a tensor or array .* got a str"),
        (
            lambda op: unwrap(solve)(op, torch.ones(2), x0=[1.0]),
            ShapeError,
            "^x0 must be a tensor or array .* got a list",
        ),
        (lambda op: unwrap(solve_absolute)(op, None), ShapeError, "^b must be a tensor or array"),
        (lambda op: solve(op, 1j * torch.ones(2)), ShapeError, "^b must be real, got torch.complex64"),
    ],
)
def test_mistakes_are_told(ask, error, message):
    with pytest.raises(error, match=message):
        ask(dense(torch.eye(2)))
