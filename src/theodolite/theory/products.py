"""What does the simplest deep net, y = w₁⋯w_k x with the loss ½(y − t)², show of slopes, curvature and series?"""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from theodolite.errors import ShapeError
from theodolite.theory.arguments import positive, reals, row


def product_value(weights: ArrayLike, *, x: float = 1.0, target: float = 1.0) -> float:
    """½(w₁⋯w_k x − t)².

    Args:
        weights: w, shape (k,).
        x: The input.
        target: t.

    Returns:
        The loss.

    Raises:
        ShapeError: If the weights are no vector.
        SettingError: If something is not finite.

    Example:
        >>> product_value([2.0, 1.0])
        0.5
    """
    return float(0.5 * (_output(row(weights, "weights"), x) - float(reals(target, "target"))) ** 2)


def product_gradient(weights: ArrayLike, *, x: float = 1.0, target: float = 1.0) -> Float[np.ndarray, "params"]:
    """(y − t) x Π_{j≠i} w_j: the other weights rule each gradient.

    Args:
        weights: w, shape (k,).
        x: The input.
        target: t.

    Returns:
        The gradient. At w_i = c it goes like c^{k−1}: it vanishes with depth for |c| < 1, and explodes for |c| > 1.

    Raises:
        ShapeError: If the weights are no vector.
        SettingError: If something is not finite.

    Cost: O(k), without a division: weights may be 0.

    Example:
        >>> product_gradient([2.0, 1.0])
        array([1., 2.])
    """
    w = row(weights, "weights")
    return (_output(w, x) - float(reals(target, "target"))) * x * _others(w)


def product_hessian(weights: ArrayLike, *, x: float = 1.0, target: float = 1.0) -> Float[np.ndarray, "params params"]:
    """x² Pᵢ Pⱼ + (y − t) x Pᵢⱼ, Pᵢ the product without wᵢ, Pᵢⱼ without both, and no second term where i = j.

    Args:
        weights: w, shape (k,).
        x: The input.
        target: t.

    Returns:
        The Hessian; at the origin it is 0 for k ≥ 3, and of second order there is no way to see the descent.

    Raises:
        ShapeError: If the weights are no vector.
        SettingError: If something is not finite.

    Cost: O(k²).

    Example:
        >>> product_hessian([0.0, 0.0])
        array([[ 0., -1.],
               [-1.,  0.]])
    """
    w = row(weights, "weights")
    single = _others(w)
    residual = _output(w, x) - float(reals(target, "target"))
    return x**2 * np.outer(single, single) + residual * x * _other_pairs(w)


def product_log_gradient(weights: ArrayLike, *, x: float = 1.0) -> Float[np.ndarray, "params"]:
    """ln|∂y/∂wᵢ| = ln|x| + Σ_{j≠i} ln|w_j|: gradients of any depth, where numbers would under- or overflow.

    Args:
        weights: w, shape (k,).
        x: The input.

    Returns:
        The logarithms; −∞ where another weight is 0.

    Raises:
        ShapeError: If the weights are no vector.
        SettingError: If something is not finite.

    Example:
        >>> product_log_gradient(np.full(1001, np.exp(-1.0)))[[0]].round(9)
        array([-1000.])
    """
    w = np.abs(row(weights, "weights"))
    zeros = np.count_nonzero(w == 0) - (w == 0)
    logs = np.log(np.where(w == 0, 1.0, w))
    with np.errstate(divide="ignore"):
        scale = np.log(np.abs(reals(x, "x")))
    return np.where(zeros > 0, -np.inf, scale + logs.sum() - logs)


def update_series(
    weights: ArrayLike, update: ArrayLike, *, x: float = 1.0, target: float = 1.0
) -> Float[np.ndarray, "orders"]:
    """Coefficients c₀ … c_2k of the loss along an update: J(w + εd) = Σ cₙ εⁿ, exactly.

    y(ε) = x Π(wᵢ + εdᵢ) has the degree k, and the loss the degree 2k.

    Args:
        weights: w, shape (k,).
        update: d, shape (k,).
        x: The input.
        target: t.

    Returns:
        The coefficients; their sum is the loss after the whole update.

    Raises:
        ShapeError: If a shape is wrong.
        SettingError: If something is not finite.

    Cost: O(k²).
    Source: Goodfellow 2015, tutorial: an update of all layers at once has effects of every order.

    Example:
        >>> update_series([1.0], [1.0], target=0.0)
        array([0.5, 1. , 0.5])
    """
    w, d = row(weights, "weights"), row(update, "update")
    if d.shape != w.shape:
        raise ShapeError(f"update must have shape {w.shape}, one entry a weight, got {d.shape}.")
    output = np.array([float(reals(x, "x"))])
    for here, there in zip(w, d, strict=True):
        output = np.convolve(output, [here, there])
    output[0] -= float(reals(target, "target"))
    return 0.5 * np.convolve(output, output)


def sufficient_order(
    weights: ArrayLike, update: ArrayLike, *, x: float = 1.0, target: float = 1.0, rtol: float = 0.1
) -> int:
    """The order n from which on the Taylor series sees the true effect of an update: |Σ_{m≤n} cₘ − J(w + d)| small.

    Args:
        weights: w, shape (k,).
        update: d, shape (k,).
        x: The input.
        target: t.
        rtol: How near, as a share of the true change of the loss.

    Returns:
        The least n such that this and all higher orders are that near; 0 if the loss does not change at all.

    Raises:
        ShapeError: If a shape is wrong.
        SettingError: If something is not finite, or ``rtol`` not positive.

    Example: from the origin in k dimensions, y = εᵏ: orders below k see nothing.
        >>> sufficient_order(np.zeros(5), np.full(5, 0.1))
        5
    """
    series = update_series(weights, update, x=x, target=target)
    change = series[1:].sum()
    errors = np.abs(np.concatenate([[0.0], np.cumsum(series[1:])]) - change)
    wrong = np.flatnonzero(errors > positive(rtol, "rtol") * abs(change))
    return int(wrong[-1]) + 1 if len(wrong) else 0


def _output(w: np.ndarray, x: float) -> float:
    return float(reals(x, "x") * w.prod())


def _others(w: np.ndarray) -> np.ndarray:
    """Products of all other entries, by products from the left and from the right."""
    before = np.concatenate([[1.0], np.cumprod(w[:-1])])
    after = np.concatenate([np.cumprod(w[:0:-1])[::-1], [1.0]])
    return np.asarray(before * after)


def _other_pairs(w: np.ndarray) -> np.ndarray:
    """Products without two entries, 0 on the diagonal: left of both, between them, right of both."""
    k = len(w)
    before = np.concatenate([[1.0], np.cumprod(w[:-1])])
    after = np.concatenate([np.cumprod(w[:0:-1])[::-1], [1.0]])
    pairs = np.zeros((k, k))
    for i in range(k - 1):
        between = np.concatenate([[1.0], np.cumprod(w[i + 1 : -1])])
        pairs[i, i + 1 :] = before[i] * between * after[i + 1 :]
    return pairs + pairs.T
