"""Are derivatives along a line right to any order, in closed form and against differences; is a missing one told?"""

import math
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from families import BY_NAME, FAMILIES
from objective.test_traces import lived
from objective.traces import traces
from theodolite.errors import SettingError, ShapeError
from theodolite.landscape.series import taylor, taylor_order
from theodolite.objective import Objective
from theodolite.objective.derivatives import directional_derivatives
from theodolite.objective.norms import PrimitiveNorms
from theodolite.records.obstacles import Status

W = torch.tensor([0.3, -0.2, 0.5, 0.1, 0.7], dtype=torch.float64)
D = torch.tensor([1.0, 2.0, -1.0, 0.5, 3.0], dtype=torch.float64)
SMOOTH = [family for family in FAMILIES if family.is_smooth]


def of(function, start=W) -> Objective:
    return Objective.from_function(function, start)


def chain(x: float):
    """y = w₁w₂w₃w₄w₅x of the tutorial."""
    return of(lambda w: w[0] * w[1] * w[2] * w[3] * w[4] * x)


def test_a_chain_of_five_weights_needs_five_orders():
    """Π(wᵢ + s dᵢ)·x is a polynomial of degree 5, whose coefficients NumPy multiplies out."""
    found = taylor(chain(1.7), D, 6)
    coefficients = 1.7 * np.polynomial.Polynomial([1.0]).coef
    for w, d in zip(W.tolist(), D.tolist(), strict=True):
        coefficients = np.polynomial.polynomial.polymul(coefficients, [w, d])
    expected = [c * math.factorial(k) for k, c in enumerate(coefficients)] + [0]
    np.testing.assert_allclose(found.derivatives, expected, rtol=1e-12, atol=1e-15)
    assert found.status is Status.CONVERGED
    for s in (-1.0, 0.3, 2.0):
        assert found.predict(s) == pytest.approx(chain(1.7).value(W + s * D), rel=1e-12)
    assert taylor_order(chain(1.7), torch.ones(5), 1.0, rtol=1e-6, at=0.1 * torch.ones(5)) == 5
    assert taylor_order(chain(1.7), torch.ones(5), 1e-4, at=torch.ones(5)) == 1
    assert taylor_order(chain(1.7), torch.ones(5), 1.0, max_order=4, at=0.1 * torch.ones(5)) is None


def test_closed_forms():
    a = float(D @ W)
    np.testing.assert_allclose(
        taylor(of(lambda w: (D @ w).exp()), D, 5).derivatives, math.exp(a) * float(D @ D) ** np.arange(6), rtol=1e-12
    )
    cosine = taylor(of(lambda w: (D @ w).cos()), D, 6).derivatives
    slopes = [math.cos(a), -math.sin(a), -math.cos(a), math.sin(a)]
    np.testing.assert_allclose(cosine, [slopes[k % 4] * float(D @ D) ** k for k in range(7)], rtol=1e-12)
    A = torch.diag(torch.tensor([1.0, -2.0, 3.0, 0.0, 5.0], dtype=torch.float64))
    bowl = taylor(of(lambda w: 0.5 * w @ A @ w), D, 4).derivatives
    np.testing.assert_allclose(bowl, [0.5 * W @ A @ W, W @ A @ D, D @ A @ D, 0, 0], rtol=1e-13)


def test_order_and_length_of_the_direction():
    wave = of(lambda w: w.sin().sum())
    full = taylor(wave, D, 4).derivatives
    for order in range(5):
        np.testing.assert_allclose(taylor(wave, D, order).derivatives, full[: order + 1], rtol=1e-14)
    np.testing.assert_allclose(taylor(wave, 3 * D, 4).derivatives, full * 3.0 ** np.arange(5), rtol=1e-12)
    assert taylor(wave, 0 * D, 3).derivatives.tolist() == [full[0], 0, 0, 0]
    at = taylor(wave, D, 2, at=2 * W).derivatives
    assert at[0] == wave.value(2 * W)
    assert taylor(of(lambda w: (0 * w).sum() + 2), D, 2).derivatives.tolist() == [2, 0, 0]
    assert taylor(of(lambda w: torch.full((), 2.0)), D, 2).derivatives.tolist() == [2, 0, 0]


@pytest.mark.parametrize("family", SMOOTH, ids=lambda family: family.name)
def test_two_orders_agree_with_value_gradient_and_hessian_product(family, generator):
    objective, d = line_of(family, generator)
    found = taylor(objective, d, 2)
    assert found.derivatives[0] == pytest.approx(objective.value(), rel=1e-12)
    assert found.derivatives[1] == pytest.approx(float(objective.gradient() @ d), rel=1e-10)
    assert found.derivatives[2] == pytest.approx(float(d @ objective.hvp(d)), rel=1e-9, abs=1e-14)


@pytest.mark.parametrize("family", SMOOTH, ids=lambda family: family.name)
def test_higher_orders_against_differences_of_the_second(family, generator):
    """Normalisation among them, of which torch's own third derivatives are wrong."""
    objective, d = line_of(family, generator)
    assert gaps(objective, d, lambda at: exact(objective, d, 4, at)).max() < 1e-6


@pytest.mark.parametrize("name", ["layernorm", "conv batchnorm train", "transformer"])
def test_the_twin_with_the_normalisation_of_torch_is_wrong(name, generator, monkeypatch):
    objective, d = line_of(BY_NAME[name], generator)
    monkeypatch.setattr("theodolite.objective.norms._SUBSTITUTES", {})
    assert gaps(objective, d, lambda at: exact(objective, d, 4, at))[0] > 1e-3


def line_of(family, generator) -> tuple[Objective, torch.Tensor]:
    """An objective and a unit direction."""
    problem = family(torch.float64)
    objective = Objective(problem.model, problem.loss, problem.data)
    d = torch.randn(objective.dimension, dtype=torch.float64, generator=generator(3))
    return objective, d / d.norm()


def exact(objective: Objective, d: torch.Tensor, order: int, at: torch.Tensor) -> np.ndarray:
    """The derivatives, without the check of Hessian products."""
    return directional_derivatives(objective.source, at, d, order, seed=objective.seed).values


def gaps(objective: Objective, d: torch.Tensor, derivatives) -> np.ndarray:
    """Distance of the third and fourth derivative to differences of the second, relative to their size."""
    here, h = objective.point(), 1e-3
    second = np.array([exact(objective, d, 2, here + k * h * d)[2] for k in (-2, -1, 0, 1, 2)])
    third = second @ np.array([1, -8, 0, 8, -1]) / (12 * h)
    fourth = second @ np.array([-1, 16, -30, 16, -1]) / (12 * h**2)
    found = derivatives(here)[3:]
    return np.abs(found - [third, fourth]) / (np.abs([third, fourth]) + 0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["mlp", "layernorm", "conv batchnorm train", "gru"])
def test_coarser_types(name, dtype, generator):
    exact, d = line_of(BY_NAME[name], generator)
    problem = BY_NAME[name](dtype)
    objective = Objective(problem.model, problem.loss, problem.data)
    tolerance = 1e-3 if dtype is torch.float32 else 0.5
    truth, found = taylor(exact, d, 3).derivatives, taylor(objective, d.to(dtype), 3).derivatives
    assert np.linalg.norm(found - truth) < tolerance * np.linalg.norm(truth)


@pytest.mark.parametrize("name", ["conv batchnorm train", "dropout", "lstm", "stateful", "noisy"])
def test_nothing_is_touched_and_the_same_is_found_again(name):
    problem = lived(BY_NAME[name](torch.float64))
    objective = Objective(problem.model, problem.loss, problem.data)
    d = torch.ones(objective.dimension)
    before = traces(problem.model)
    first, again = taylor(objective, d, 3, objective.point() + 0.1), taylor(objective, d, 3, objective.point() + 0.1)
    assert traces(problem.model) == before
    assert (first.derivatives == again.derivatives).all()


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return 3 * ctx.saved_tensors[0] ** 2 * grad


def test_a_missing_derivative_is_told():
    x = torch.tensor([[0.0] * 5, [1.0] * 5], dtype=torch.float64)
    found = taylor(of(lambda w: torch.cdist(w[None], x).sum()), D, 3)
    np.testing.assert_allclose(found.derivatives[:2], taylor(of(lambda w: (w - x).norm(dim=1).sum()), D, 1).derivatives)
    assert np.isnan(found.derivatives[2:]).all()
    assert found.status is Status.BREAKDOWN
    assert "_cdist_backward" in found.reason
    assert taylor(of(lambda w: torch.cdist(w[None], x).sum()), D, 1).status is Status.CONVERGED


def test_a_derivative_that_is_wrong_without_a_word_is_told():
    """Of a sum over this function torch gives a second derivative of 0."""
    with pytest.warns(UserWarning, match="double backward disagrees"):
        found = taylor(of(lambda w: _Once.apply(w).sum()), D, 3)
    np.testing.assert_allclose(found.derivatives[:2], [float((W**3).sum()), float(3 * W**2 @ D)])
    assert np.isnan(found.derivatives[2:]).all()
    assert found.status is Status.BREAKDOWN
    assert "disagrees" in found.reason


def test_what_is_not_finite_is_told():
    broken = taylor(of(lambda w: w.sum() * math.nan), D, 2)
    assert broken.status is Status.NONFINITE
    assert np.isnan(broken.derivatives[0])
    kink = taylor(of(lambda w: (w[0] - 0.3).abs() ** 1.5), D, 2)
    assert kink.status is Status.NONFINITE
    assert kink.derivatives[:2].tolist() == [0, 0]
    assert taylor_order(of(lambda w: w.sum() * math.nan), D, 1.0) is None


def test_a_failure_of_the_model_is_its_own():
    def fails(w):
        raise RuntimeError("no luck")

    with pytest.raises(RuntimeError, match="no luck"):
        taylor(of(fails), D, 2)


def test_a_change_below_rounding_needs_no_order():
    assert taylor_order(of(lambda w: 1e6 + (D @ w)), D, 1e-14) == 0


def spread(y):
    """Channels of three numbers each."""
    return (y[:, :, None] * torch.arange(1.0, 4.0).to(y)).sin()


NORMS = {
    "layer_norm": lambda y: torch.layer_norm(y, (5,), None, None, 1e-5),
    "native_layer_norm": lambda y: torch.native_layer_norm(y, (5,), W, D, 1e-5)[0],
    "batch_norm": lambda y: torch.batch_norm(y, W, D, None, None, True, 0.1, 1e-5, False),
    "batch_norm, by name": lambda y: torch.batch_norm(
        input=y,
        weight=None,
        bias=None,
        running_mean=None,
        running_var=None,
        training=True,
        momentum=0.1,
        eps=1e-3,
        cudnn_enabled=False,
    ),
    "batch_norm, fixed": lambda y: torch.batch_norm(y, W, D, W, D.abs(), False, 0.1, 1e-5, False),
    "native_batch_norm": lambda y: torch.native_batch_norm(y, W, D, None, None, True, 0.1, 1e-5)[0],
    "instance_norm": lambda y: torch.instance_norm(spread(y), W, D, None, None, True, 0.1, 1e-5, False)[:, :, 0],
    "F.layer_norm": lambda y: torch.nn.functional.layer_norm(y, (5,), weight=W, eps=1e-3),
    "F.instance_norm": lambda y: torch.nn.functional.instance_norm(spread(y))[:, :, 0],
    "F.batch_norm": lambda y: torch.nn.functional.batch_norm(y, None, None, training=True),
    "F.batch_norm, fixed": lambda y: torch.nn.functional.batch_norm(y, W, D.abs(), training=False),
}


@pytest.mark.parametrize("name", NORMS)
def test_a_norm_that_is_called_by_hand_is_seen(name, generator, monkeypatch):
    """The twin without substitutes is wrong, but where torch's own derivatives are right: with fixed statistics."""
    x = torch.randn(4, 5, dtype=torch.float64, generator=generator())
    c = torch.randn(4, 5, dtype=torch.float64, generator=generator(1))
    objective, d = of(lambda w: (NORMS[name](torch.tanh(x * w)) * c).sin().sum()), D / D.norm()
    assert gaps(objective, d, lambda at: exact(objective, d, 4, at)).max() < 1e-6
    monkeypatch.setattr("theodolite.objective.norms._SUBSTITUTES", {})
    assert (gaps(objective, d, lambda at: exact(objective, d, 4, at)).max() > 1e-3) is not name.endswith("fixed")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_substitute_gives_what_torch_gives(dtype, generator):
    """Values and first derivatives, the statistics beside them included, which torch holds fixed."""
    x = torch.randn(4, 5, 3, generator=generator()).to(dtype)
    w, b = torch.randn(2, 5, generator=generator(1)).to(dtype)
    rows, columns = torch.randn(2, 5, 3, generator=generator(2)).to(dtype)
    for norm in (
        lambda y: torch.native_layer_norm(y, (5, 3), rows, columns, 1e-5),
        lambda y: torch.native_batch_norm(y, w, b, None, None, True, 0.1, 1e-5),
        lambda y: torch.native_batch_norm(y, w, b, w, b.abs(), False, 0.1, 1e-5)[:1],
        lambda y: (torch.batch_norm(y, w, b, None, None, True, 0.1, 1e-5, False),),
        lambda y: (torch.instance_norm(y, w, b, None, None, True, 0.1, 1e-5, False),),
        lambda y: (torch.instance_norm(y, w, b, w, b.abs(), False, 0.1, 1e-5, False),),
    ):
        own, ours = passed(norm, x), passed(norm, x, PrimitiveNorms())
        assert len(own) == len(ours)
        for expected, found in zip(own, ours, strict=True):
            torch.testing.assert_close(found, expected, check_stride=False)


def passed(norm, x, mode=None):
    """What a function gives and the gradient of a sum over all of it."""
    y = x.clone().requires_grad_()
    with mode or nullcontext():
        results = norm(y)
    (gradient,) = torch.autograd.grad(sum(result.sin().sum() for result in results), y)
    return [*(result.detach() for result in results), gradient]


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda: taylor(chain(1), D, -1), SettingError, "order must be 0 or more, got -1"),
        (lambda: taylor(chain(1), D[:2], 1), ShapeError, r"direction must have shape \(5,\), got \(2,\)"),
        (lambda: taylor(chain(1), D, 1, at=D[:2]), ShapeError, "at must have shape"),
        (lambda: taylor_order(chain(1), D, 1.0, rtol=-1), SettingError, "rtol must be finite and not negative"),
    ],
)
def test_mistakes_are_told(ask, error, message):
    with pytest.raises(error, match=message):
        ask()


def test_the_function_below_takes_a_source():
    objective = chain(1.0)
    found = directional_derivatives(objective.source, None, D, 1, seed=0)
    assert found.values[1] == pytest.approx(float(objective.gradient() @ D))
    assert not found.reason
