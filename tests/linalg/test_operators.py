"""Is an operator the matrix that it stands for, in every form in which it can be asked?"""

from inspect import unwrap

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import eigsh

from families import BY_NAME
from linalg.spectra import SPECTRA, tensor
from objective.oracle import oracle
from theodolite.errors import SettingError, ShapeError
from theodolite.linalg import Metric, dense, ggn, hessian, preconditioned
from theodolite.linalg.operators import Operator
from theodolite.objective import Objective


def net(name="mlp", dtype=torch.float64):
    problem = BY_NAME[name](dtype)
    return Objective(problem.model, problem.loss, problem.data)


OPERATORS = {
    "dense": lambda dtype: dense(tensor(SPECTRA[1].matrix(n=26), dtype)),
    "hessian": lambda dtype: hessian(net(dtype=dtype)),
    "hessian without memory": lambda dtype: hessian(net(dtype=dtype), memory_limit=0),
}
operators = pytest.mark.parametrize("build", OPERATORS.values(), ids=OPERATORS)
types = pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)


@operators
@types
def test_forms_agree(build, dtype, generator):
    op = build(dtype)
    V = torch.randn(26, 3, generator=generator()).to(dtype)
    product = op @ V
    assert product.shape == (26, 3)
    assert product.dtype == op.dtype == dtype
    assert op.shape == (26, 26)
    for k in range(3):
        torch.testing.assert_close(op @ V[:, k], product[:, k], rtol=0, atol=0)
    if dtype != torch.bfloat16:
        from_numpy = op @ V.numpy()
        assert isinstance(from_numpy, np.ndarray)
        np.testing.assert_array_equal(from_numpy, product.numpy())
        np.testing.assert_array_equal(op.to_scipy() @ V.numpy(), product.numpy())
        torch.testing.assert_close(op.to_dense() @ V, product, rtol=1e-4, atol=1e-4)


@operators
def test_laws(build, generator):
    op = build(torch.float64)
    u, v = torch.randn(2, 26, dtype=torch.float64, generator=generator())
    assert float(u @ (op @ v)) == pytest.approx(float(v @ (op @ u)), rel=1e-10)
    torch.testing.assert_close(op @ (2 * u - 3 * v), 2 * (op @ u) - 3 * (op @ v))
    assert torch.equal(op @ u, op @ u)
    assert (op @ torch.zeros(26)).abs().max() == 0
    assert (op @ torch.zeros(26, 0)).shape == (26, 0)
    with op as held:
        assert held is op
    torch.testing.assert_close(op @ u, build(torch.float64) @ u)  # released, not dead


@pytest.mark.parametrize("name", ["mlp", "causal attention, tied", "lstm"])
def test_dense_hessian(name):
    problem = BY_NAME[name]()
    truth = oracle(problem)
    op = hessian(Objective(problem.model, problem.loss, problem.data))
    expected = truth.hessian(truth.point)
    H = op.to_dense()
    assert torch.equal(H, H.T)
    torch.testing.assert_close(H, expected, rtol=1e-9, atol=1e-11)
    raw = op.to_dense(symmetrize=False)
    assert 0 < (raw - raw.T).abs().max() < 1e-12


def test_symmetrizing_in_blocks():
    A = torch.randn(1100, 1100, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    A = A + A.T + 1e-12 * A
    assert torch.equal(dense(A).to_dense(), (A + A.T) * 0.5)


def test_scipy_finds_the_same_ends():
    op = hessian(net())
    truth = np.linalg.eigvalsh(op.to_dense().numpy())
    assert op.to_scipy().dtype == np.float64
    np.testing.assert_allclose(eigsh(op.to_scipy(), 2, which="LA", v0=np.ones(26))[0], truth[-2:])


def test_the_point_is_fixed():
    objective = net()
    op, there = hessian(objective), hessian(objective, objective.point() + 1)
    before = op.to_dense()
    assert (there.to_dense() - before).abs().max() > 1e-3
    for tensor_ in objective.params.tensors:
        tensor_.data.add_(1)
    torch.testing.assert_close(op.to_dense(), before)
    torch.testing.assert_close(hessian(objective).to_dense(), there.to_dense())


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda op: op @ torch.ones(3), ShapeError, r"shape \(26,\) or \(26, k\), got \(3,\)"),
        (lambda op: op @ np.ones((26, 1, 1)), ShapeError, r"got \(26, 1, 1\)"),
        (
            lambda op: op @ torch.ones(26, 2, dtype=torch.complex64),
            ShapeError,
            "^v must be real, got torch.complex64. Pass",
        ),
        (lambda op: op @ (1j * np.ones(26)), ShapeError, "^v must be real, got torch.complex128"),
        (lambda op: unwrap(Operator.__matmul__)(op, [1.0]), ShapeError, r"got a list. Convert it with torch.as_tensor"),
        (
            lambda op: unwrap(dense)(None),
            ShapeError,
            r"^matrix must be a tensor or array of shape \(n, n\), got None. Of",
        ),
        (lambda op: op.restrict(), SettingError, "^restrict must be told what to keep, got nothing. Pass names"),
        (
            lambda op: unwrap(Operator.restrict)(op, "0", 3),
            SettingError,
            r"names alone, or places alone, got \('0', 3\)",
        ),
        (lambda op: op.to_dense(memory_limit=100), SettingError, r"memory_limit=100 bytes, but 26 x 26 takes 5,408"),
        (lambda op: dense(torch.ones(2, 3)), ShapeError, r"square, real and not empty, got shape \(2, 3\)"),
        (lambda op: dense(torch.ones(2, 2).long()), ShapeError, "torch.int64"),
        (lambda op: dense(torch.tensor([[0.0, 1.0], [0.0, 0.0]])), ShapeError, "symmetric, but entries differ"),
    ],
)
def test_mistakes_are_told(ask, error, message):
    with pytest.raises(error, match=message):
        ask(OPERATORS["dense"](torch.float64))


def test_in_words():
    assert repr(dense(torch.eye(2))) == "Operator(shape=(2, 2), dtype=torch.float32, device=cpu, method='dense')"


def test_what_it_was_made_of():
    objective = net()
    H, G = hessian(objective), ggn(objective)
    assert repr(H) == ("Operator(Hessian, shape=(26, 26), dtype=torch.float64, device=cpu, method='double backward')")
    metric = Metric(torch.ones(26), 2.0, "Adam")
    names = {
        "2 · Hessian": 2 * H,
        "-1 · Hessian": -H,
        "0.5 · (2 · Hessian)": (2 * H) / 2,
        "Hessian + Gauss-Newton": H + G,
        "Hessian − (2 · Gauss-Newton)": H - 2 * G,
        "Hessian − 3 · I": H.shift(-3),
        "2 · Hessian + 0.25 · I": (2 * H).shift(0.25),
        "(Hessian + 1 · I) · Gauss-Newton": H.shift(1.0) @ G,
        "(Hessian · Gauss-Newton)ᵀ": (H @ G).T,
        "symmetric part of (Hessian · Gauss-Newton)": (H @ G).symmetrize(),
        "Hessian[0, 2.bias]": H.restrict("0", "2.bias"),
        "Hessian[2 places]": H.restrict(np.array([3, 5])),
        "Hessian[4 patterns]": H.restrict("0.weight", "0.bias", "2.weight", "2.bias"),
        "D^½ Hessian D^½, D of Adam": preconditioned(H, metric),
        "2 · dense": 2 * dense(torch.eye(2)),
    }
    assert [op.name for op in names.values()] == list(names)
    for name, op in names.items():
        assert repr(op).startswith(f"Operator({name}, shape=")


@pytest.mark.parametrize("names", [["2"], ("2.weight", "2.bias"), ["2.*"]])
def test_names_in_a_list_are_names(names):
    H = hessian(net())
    part, expected = H.restrict(names), H.restrict("2")
    assert part.layout == expected.layout
    assert part.to_dense().equal(expected.to_dense())
    assert H.restrict([0, 3]).to_dense().equal(H.restrict(np.array([0, 3])).to_dense())
