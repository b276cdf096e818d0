"""Is what cannot be worked with told at the door, and the rest let through?

``inspect.unwrap`` takes the type checker of the tests off: people have none.
"""

import math
from inspect import unwrap

import numpy as np
import pytest
import torch
from torch import nn

from linalg.fakes import Fake
from theodolite.errors import SettingError, ShapeError
from theodolite.linalg.conditioning import gradient_conditioning
from theodolite.linalg.curvature import empirical_fisher, fisher, ggn, gradient_covariance, hessian
from theodolite.linalg.decomposition import eigendecomposition
from theodolite.linalg.density import spectral_density
from theodolite.linalg.krylov import krylov_space
from theodolite.linalg.matrices import dense
from theodolite.linalg.metric import Metric, preconditioned
from theodolite.linalg.operators import Operator
from theodolite.linalg.randomness import source
from theodolite.linalg.settings import (
    check_count,
    check_memory,
    check_tolerance,
    described,
    flat_vector,
    require_operator,
)
from theodolite.linalg.solves import solve, solve_absolute
from theodolite.linalg.traces import diagonal, frobenius_norm, trace
from theodolite.objective import Objective

BOWL = Objective(nn.Linear(1, 1), lambda model, x: (model(x) ** 2).mean(), torch.ones(2, 1))
V = torch.ones(2)

TAKERS = {
    "conditioning": lambda op: gradient_conditioning(op, V),
    "decomposition": eigendecomposition,
    "density": spectral_density,
    "diagonal": diagonal,
    "krylov space": lambda op: krylov_space(op, V, 1),
    "metric": lambda op: unwrap(preconditioned)(op, Metric(V, 2.0, "by hand")),
    "norm": frobenius_norm,
    "solve": lambda op: solve(op, V),
    "solve |A|": lambda op: solve_absolute(op, V),
    "trace": trace,
}


@pytest.mark.parametrize("take", TAKERS.values(), ids=TAKERS)
def test_an_objective_is_no_operator(take):
    with pytest.raises(
        SettingError, match=r"^op must be an operator, got an Objective. Form one with hessian\(objective\)\.$"
    ):
        take(BOWL)


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (torch.eye(2), r"got a Tensor. Form one with dense\(matrix\)\.$"),
        (np.eye(2), r"got a ndarray. Form one with dense\(matrix\)\.$"),
        (
            nn.Linear(1, 1),
            r"got a Linear. Form one of an objective with hessian\(objective\), or of a matrix with dense",
        ),
        (None, "got None. Form one of"),
    ],
)
def test_what_else_is_no_operator(thing, message):
    with pytest.raises(SettingError, match=message):
        require_operator(thing)


def test_what_has_products_is_an_operator():
    for op in (dense(torch.eye(2)), Fake(np.eye(2)), hessian(BOWL)):
        require_operator(op)


DRAWING = {
    "density": spectral_density,
    "diagonal": diagonal,
    "norm": frobenius_norm,
    "trace": trace,
}


@pytest.mark.parametrize("draw", DRAWING.values(), ids=DRAWING)
@pytest.mark.parametrize("size", [2, 200])
def test_a_seed_is_no_generator(draw, size):
    """Also where nothing would be drawn, since the matrix is small."""
    with pytest.raises(
        SettingError,
        match=r"^generator must be a torch.Generator or None, got an int. Use torch.Generator\(\).manual_seed\(7\)",
    ):
        unwrap(draw)(dense(torch.eye(size)), generator=7)


def test_what_gives_random_numbers():
    own = torch.Generator()
    assert source(own) is own
    assert source(None).initial_seed() != source(None).initial_seed()
    with pytest.raises(SettingError, match=r"got a Generator. Use torch.Generator\(\).manual_seed\(0\)"):
        unwrap(source)(np.random.default_rng(0))
    for scores in (ggn, fisher):
        with pytest.raises(SettingError, match="must be a torch.Generator or None, got a str"):
            unwrap(scores)(BOWL, samples=1, generator="seed")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, r"^b must be a tensor or array of shape \(2,\), got None. Pass a flat vector: objective.gradient"),
        ("b", r"got a str\. Pass"),
        ([torch.ones(1), torch.ones(1)], r"of shape \(2,\), got a list"),
        (torch.ones(2, 1), r"^b must have shape \(2,\), got \(2, 1\). Pass a flat vector"),
        (np.ones(3), r"got \(3,\)"),
        (torch.ones(2, dtype=torch.complex64), r"^b must be real, got torch.complex64. Pass its real"),
    ],
)
def test_what_is_no_vector(value, message):
    with pytest.raises(ShapeError, match=message):
        flat_vector(dense(torch.eye(2)), value, "b")


def test_vectors_keep_their_type_where_it_has_fractions():
    op = dense(torch.eye(2))
    assert flat_vector(op, np.ones(2), "b").dtype == torch.float64
    assert flat_vector(op, torch.ones(2, dtype=torch.bfloat16, requires_grad=True), "b").requires_grad is False
    assert flat_vector(op, torch.tensor([1, 2]), "b").dtype == torch.float32
    assert krylov_space(op, np.array([3, 4]), 2).components.tolist() == pytest.approx([5])


@pytest.mark.parametrize("limit", ["1GiB", -1, 1.5, None])
def test_what_is_no_number_of_bytes(limit):
    message = rf"^memory_limit must be a whole number of bytes, not negative, got {limit!r}. 2\*\*30 is 1 GiB"
    asks = [lambda form=form: unwrap(form)(BOWL, memory_limit=limit) for form in (hessian, gradient_covariance)]
    asks += [lambda: unwrap(eigendecomposition)(dense(torch.eye(2)), memory_limit=limit)]
    asks += [lambda: unwrap(Operator.to_dense)(dense(torch.eye(2)), memory_limit=limit), lambda: check_memory(limit)]
    for ask in asks:
        with pytest.raises(SettingError, match=message):
            ask()


@pytest.mark.parametrize("form", [ggn, fisher, empirical_fisher])
def test_memory_is_not_negative(form):
    with pytest.raises(SettingError, match="bytes, not negative, got -1"):
        form(BOWL, memory_limit=-1)


def test_bytes_that_will_do():
    for limit in (0, 1, np.int64(2**40)):
        check_memory(limit)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda op: check_tolerance("rtol", "1e-3"), "^rtol must be a number, got '1e-3'. Give one such as 1e-3"),
        (lambda op: check_tolerance("rtol", None), "must be a number, got None"),
        (lambda op: check_count("samples", 2.5), "^samples must be a whole number, got 2.5. Round it"),
        (lambda op: check_count("samples", "2"), "whole number, got '2'"),
        (lambda op: unwrap(solve)(op, V, rtol="a"), "rtol must be a number, got 'a'"),
        (lambda op: unwrap(trace)(op, rtol="a"), "rtol must be a number, got 'a'"),
        (lambda op: unwrap(gradient_conditioning)(op, V, share="all"), "share must be a number, got 'all'"),
        (
            lambda op: unwrap(ggn)(BOWL, samples=2.5),
            r"^samples \(None for the exact matrix\) must be a whole number, got 2.5",
        ),
        (lambda op: unwrap(hessian)(nn.Linear(1, 1)), "^objective must be an Objective, got a Linear. Form one with"),
    ],
)
def test_what_is_no_setting(ask, message):
    with pytest.raises(SettingError, match=message):
        ask(dense(torch.eye(2)))


def test_things_are_described():
    assert [described(thing) for thing in (1, "a", [], BOWL, None, {})] == [
        "an int",
        "a str",
        "a list",
        "an Objective",
        "None",
        "a dict",
    ]


@pytest.mark.parametrize("value", [1, 7, 2**80])
def test_counts_that_will_do(value):
    check_count("products", value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "products must be at least 1, got 0. Raise it."),
        (-3, "at least 1, got -3"),
        (2.0, "products must be a whole number, got 2.0. Round it."),
        (math.nan, "whole number, got nan"),
    ],
)
def test_counts_that_will_not(value, message):
    with pytest.raises(SettingError, match=message):
        check_count("products", value)


@pytest.mark.parametrize("value", [0, 0.0, 1e-300, 1e-3, 2, np.float32(1), torch.tensor(0.5)])
def test_tolerances_that_will_do(value):
    check_tolerance("rtol", value)


@pytest.mark.parametrize("value", [-1e-300, -1, math.nan, math.inf, -math.inf])
def test_tolerances_that_will_not(value):
    with pytest.raises(SettingError, match=f"rtol must be finite and not negative, got {value}. Give a number"):
        check_tolerance("rtol", value)
