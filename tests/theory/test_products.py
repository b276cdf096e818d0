"""Are value, gradient, Hessian and series of w₁⋯w_k x those of autograd, and what do they show?"""

import numpy as np
import pytest
import torch
from torch.func import grad, jacrev

from theodolite.errors import SettingError, ShapeError
from theodolite.theory.products import (
    product_gradient,
    product_hessian,
    product_log_gradient,
    product_value,
    sufficient_order,
    update_series,
)

POINTS = [[0.7], [1.5, -0.5], [0.0, 2.0], [0.0, 0.0, 1.0], [0.9, -1.1, 1.3, 0.2, 2.0], [0.0] * 4]


def loss(w, x=-1.5, target=0.4):
    return 0.5 * (w.prod() * x - target) ** 2


@pytest.mark.parametrize("weights", POINTS, ids=str)
def test_derivatives_against_autograd(weights):
    w = torch.tensor(weights, dtype=torch.float64)

    def by_hand(v):  # prod() has no second derivative at zeros
        product = v[0]
        for part in v[1:]:
            product = product * part
        return 0.5 * (product * -1.5 - 0.4) ** 2

    assert product_value(weights, x=-1.5, target=0.4) == pytest.approx(float(loss(w)))
    np.testing.assert_allclose(product_gradient(weights, x=-1.5, target=0.4), grad(by_hand)(w), atol=1e-14)
    np.testing.assert_allclose(product_hessian(weights, x=-1.5, target=0.4), jacrev(grad(by_hand))(w), atol=1e-14)


def test_the_origin_hides_the_way_down():
    """papers.md, E: for two factors ½(1 − w₁w₂)² has the Hessian [[0, −1], [−1, 0]]; for more it is 0."""
    np.testing.assert_array_equal(product_hessian([0.0, 0.0]), [[0, -1], [-1, 0]])
    for k in (3, 5):
        assert not product_gradient(np.zeros(k)).any()
        assert not product_hessian(np.zeros(k)).any()


def test_gradients_vanish_and_explode_with_depth():
    for c in (0.5, 2.0):
        slopes = [product_gradient(np.full(k, c), target=0.0)[0] / c**k for k in (5, 10)]
        assert slopes[1] / slopes[0] == pytest.approx(c**5)
        np.testing.assert_allclose(product_log_gradient(np.full(10, -c), x=3.0), np.log(3) + 9 * np.log(c))
    assert product_log_gradient(np.full(5000, 0.1))[0] == pytest.approx(4999 * np.log(0.1))
    np.testing.assert_array_equal(product_log_gradient([0.0, 2.0, 1.0]), [np.log(2), -np.inf, -np.inf])
    np.testing.assert_array_equal(product_log_gradient([0.0, 2.0, 0.0]), [-np.inf] * 3)
    assert product_log_gradient([3.0], x=0.0) == -np.inf
    assert product_log_gradient([0.0]) == 0


@pytest.mark.parametrize("weights", POINTS, ids=str)
def test_series_is_the_loss_along_the_update(weights):
    w = np.array(weights)
    d = np.random.default_rng(0).normal(size=len(w))
    series = update_series(w, d, x=-1.5, target=0.4)
    assert len(series) == 2 * len(w) + 1
    for step in (-1.0, 0.3, 1.0, 2.0):
        expected = product_value(w + step * d, x=-1.5, target=0.4)
        assert np.polyval(series[::-1], step) == pytest.approx(expected, rel=1e-10)
    assert series[0] == pytest.approx(product_value(w, x=-1.5, target=0.4))
    assert series[1] == pytest.approx(product_gradient(w, x=-1.5, target=0.4) @ d, abs=1e-12)
    assert series[2] == pytest.approx(d @ product_hessian(w, x=-1.5, target=0.4) @ d / 2, abs=1e-12)


def test_how_many_orders_see_the_effect():
    # Small steps need one order, great ones many: of the gradient step by ε at w = 1.1, five factors.
    w = np.full(5, 1.1)
    g = product_gradient(w, target=0.0)
    orders = [sufficient_order(w, -step * g, target=0.0) for step in (1e-4, 1e-2, 0.1, 0.3)]
    assert orders[0] == 1
    assert orders == sorted(orders)
    assert orders[-1] >= 5
    # From the origin the first order that differs from 0 is the number of factors.
    for k in (1, 2, 5):
        assert sufficient_order(np.zeros(k), np.full(k, 1e-3)) == k
    assert sufficient_order([1.0, 1.0], [0.0, 0.0]) == 0
    assert sufficient_order([0.5, 0.5], [1.0, -0.2], rtol=1e-9) <= 4


@pytest.mark.parametrize("rtol", [0.1, 1e-3])
def test_the_order_is_the_least_that_is_near_for_good(rtol):
    rng = np.random.default_rng(1)
    for _ in range(50):
        w, d = rng.normal(size=(2, 4))
        n = sufficient_order(w, d, rtol=rtol)
        series = update_series(w, d)
        change = product_value(w + d) - product_value(w)
        errors = [abs(series[1 : k + 1].sum() - change) for k in range(len(series))]
        assert all(error <= rtol * abs(change) + 1e-12 for error in errors[n:])
        assert n == 0 or errors[n - 1] > rtol * abs(change) - 1e-12


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda: product_value([]), ShapeError, r"weights must have shape \(n,\) with n > 0"),
        (lambda: product_gradient([[1.0]]), ShapeError, r"got \(1, 1\)"),
        (lambda: product_hessian([np.nan]), SettingError, "weights must be finite"),
        (lambda: product_value([1.0], x=np.inf), SettingError, "x must be finite"),
        (lambda: product_value([1.0], target=np.nan), SettingError, "target must be finite"),
        (lambda: update_series([1.0, 2.0], [1.0, 2.0, 3.0]), ShapeError, "update must have shape"),
        (lambda: sufficient_order([1.0], [1.0], rtol=0.0), SettingError, "rtol must be finite and positive"),
    ],
)
def test_mistakes_are_told(ask, error, message):
    with pytest.raises(error, match=message):
        ask()
