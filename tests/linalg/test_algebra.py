"""Are sums, multiples, shifts, products and parts of operators those of their matrices?"""

import numpy as np
import pytest
import torch

from families import BY_NAME
from theodolite.errors import SettingError, ShapeError
from theodolite.linalg import dense, ggn, hessian
from theodolite.linalg.algebra import scaled_both_sides
from theodolite.linalg.operators import Operator
from theodolite.objective import Objective


@pytest.fixture(scope="module")
def pair():
    problem = BY_NAME["mlp"]()
    objective = Objective(problem.model, problem.loss, problem.data)
    return hessian(objective), ggn(objective)


@pytest.fixture(scope="module")
def matrices(pair):
    return [op.to_dense() for op in pair]


COMBINATIONS = {
    "sum": (lambda a, b: a + b, lambda A, B, I: A + B),
    "difference": (lambda a, b: a - b, lambda A, B, I: A - B),
    "negative": (lambda a, b: -a, lambda A, B, I: -A),
    "multiple": (lambda a, b: 2.5 * a * 2, lambda A, B, I: 5 * A),
    "quotient": (lambda a, b: a / 4, lambda A, B, I: A / 4),
    "shift": (lambda a, b: a.shift(0.3), lambda A, B, I: A + 0.3 * I),
    "product": (lambda a, b: a @ b, lambda A, B, I: A @ B),
    "square": (lambda a, b: a @ a, lambda A, B, I: A @ A),
    "symmetric part": (lambda a, b: (a @ b).symmetrize(), lambda A, B, I: (A @ B + B @ A) / 2),
    "symmetric part of itself": (lambda a, b: a.symmetrize(), lambda A, B, I: A),
    "mixed": (lambda a, b: (a + 2 * b).shift(-1) @ (b - a).T, lambda A, B, I: (A + 2 * B - I) @ (B - A)),
    "restricted": (lambda a, b: (a @ b).restrict("0.bias", "2"), lambda A, B, I: (A @ B)[12:][:, 12:]),
}


@pytest.mark.parametrize(("combine", "expect"), COMBINATIONS.values(), ids=COMBINATIONS)
def test_combinations_are_those_of_the_matrices(combine, expect, pair, matrices, generator):
    found, expected = combine(*pair), expect(*matrices, torch.eye(26, dtype=torch.float64))
    V = torch.randn(found.dimension, 3, dtype=torch.float64, generator=generator())
    torch.testing.assert_close(found @ V, expected @ V, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.T @ V, expected.T @ V, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.to_dense(), expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found.to_scipy().rmatvec(V[:, 0].numpy()), (expected.T @ V[:, 0]).numpy(), atol=1e-12)
    if found.is_symmetric:
        torch.testing.assert_close(expected, expected.T, rtol=1e-10, atol=1e-12)
    assert found.relative_error == pair[0].relative_error
    found.release()
    torch.testing.assert_close(found @ V, expected @ V, rtol=1e-10, atol=1e-12)


def test_symmetry_is_not_claimed_of_products(pair):
    a, b = pair
    assert not (a @ b).is_symmetric
    assert not ((a @ b) + a).is_symmetric
    assert (a @ a).is_symmetric
    assert (a + b).shift(1).restrict("0").is_symmetric
    assert (a @ b).symmetrize().is_symmetric
    assert a.symmetrize() is a
    assert (a @ b).T.T.to_dense().equal((a @ b).to_dense())


WHICH = {
    "a name": (("0.weight",), range(12)),
    "a module": (("2",), range(16, 26)),
    "a pattern": (("*.bias",), [12, 13, 14, 15, 24, 25]),
    "two": (("2.bias", "0.bias"), [12, 13, 14, 15, 24, 25]),
    "places": ((np.array([25, 3, 7]),), [25, 3, 7]),
}


@pytest.mark.parametrize(("which", "places"), WHICH.values(), ids=WHICH)
def test_a_restriction_is_a_submatrix(which, places, pair, matrices):
    H = matrices[0]
    part = pair[0].restrict(*which)
    torch.testing.assert_close(part.to_dense(), H[list(places)][:, list(places)], rtol=1e-10, atol=1e-12)
    if part.layout is not None:
        assert sum(part.layout.sizes) == part.dimension
        again = part.restrict(part.layout.names[-1])
        assert again.dimension == part.layout.sizes[-1]


def test_a_restriction_is_the_hessian_of_fewer_parameters(matrices):
    problem = BY_NAME["mlp"]()
    fewer = Objective(problem.model, problem.loss, problem.data, parameters=["2.weight", "2.bias"])
    torch.testing.assert_close(matrices[0][16:, 16:], hessian(fewer).to_dense(), rtol=1e-10, atol=1e-12)


def test_scaling_both_sides(pair, matrices, generator):
    d = torch.rand(26, dtype=torch.float64, generator=generator())
    H, G = matrices
    for op, A in ((pair[0], H), (pair[0] @ pair[1], H @ G)):
        found = Operator(scaled_both_sides(op, d))
        torch.testing.assert_close(found.to_dense(), d[:, None] * A * d, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(found.T.to_dense(), d[:, None] * A.T * d, rtol=1e-10, atol=1e-12)


I2, I3 = dense(torch.eye(2)), dense(torch.eye(3))
MISTAKES = {
    "sizes": (lambda: I2 + I3, ShapeError, "one size, type and device to be combined"),
    "types": (lambda: I2 @ dense(torch.eye(2).double()), ShapeError, "float64"),
    "divisor": (lambda: I2 / 0, SettingError, "divided by a number that is not zero, got 0. Look where it comes from"),
    "small divisor": (lambda: I2 / 5e-324, SettingError, "finite real number, got inf"),
    "factor": (lambda: I2 * float("nan"), SettingError, "finite real number, got nan"),
    "shift": (lambda: I2.shift(float("inf")), SettingError, "finite real number, got inf"),
    "no names": (lambda: I2.restrict("0.weight"), SettingError, "must know its parameters by name"),
    "twice": (lambda: I2.restrict(np.array([0, 0])), SettingError, "distinct integers"),
    "none": (lambda: I2.restrict(np.array([], dtype=int)), SettingError, "at least one"),
    "far": (lambda: I2.restrict(np.array([2])), SettingError, r"lie in 0 … 1, got 2 … 2"),
    "scale": (lambda: scaled_both_sides(I2, torch.ones(3)), ShapeError, r"shape \(2,\), got \(3,\)"),
    "addend": (lambda: I2 + torch.eye(2), TypeError, "unsupported operand"),
    "left array": (lambda: np.eye(2) @ I2, TypeError, "unsupported operand"),
    "array of factors": (lambda: np.ones(2) * I2, TypeError, "unsupported operand|annotations"),
    "word": (lambda: I2 * "a", TypeError, "multiply|annotations"),
    "divisor in words": (lambda: I2 / "a", TypeError, "unsupported operand|annotations"),
}


@pytest.mark.parametrize(("ask", "error", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_told(ask, error, message):
    with pytest.raises(error, match=message):
        ask()


def test_numbers_of_numpy_are_numbers():
    for factor in (np.float64(3), np.float32(3), np.int64(3)):
        for op in (factor * I2, I2 * factor, (9 * I2) / factor):
            assert op.to_dense().equal(3 * torch.eye(2))


def test_an_operator_keeps_what_it_was_made_of():
    """Writing to a scale or to places afterwards changes nothing."""
    scale, places = torch.tensor([1.0, 2.0, 3.0]), np.array([0, 2])
    skew = dense(torch.diag(torch.tensor([1.0, 2.0, 3.0]))) @ dense(torch.ones(3, 3))
    made = [Operator(scaled_both_sides(skew, scale)), skew.restrict(places)]
    before = [(op.to_dense(), op.T.to_dense()) for op in made]
    scale.fill_(9)
    places[:] = 1
    for op, (A, back) in zip(made, before, strict=True):
        assert op.to_dense().equal(A)
        assert op.T.to_dense().equal(back)


def test_a_pattern_that_matches_nothing(pair):
    with pytest.raises(SettingError, match=r"'3\.weight' matches none of \('0.weight'.*Take one of these names"):
        pair[0].restrict("3.weight")
