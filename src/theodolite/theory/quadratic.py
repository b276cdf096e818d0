"""Where does gradient flow, or gradient descent, stand on a quadratic J(θ) = J₀ + gᵀ(θ−θ₀) + ½ (θ−θ₀)ᵀH(θ−θ₀)?"""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from theodolite.errors import SettingError, ShapeError


def flow_factor(eigenvalues: ArrayLike, time: ArrayLike) -> Float[np.ndarray, "..."]:
    """λ'(t) = (1 − exp(−λt))/λ: how far gradient flow has come along an eigenvector, over the gradient there.

    Args:
        eigenvalues: λ, of any sign; 0 gives t.
        time: t, finite; broadcast against λ.

    Returns:
        The factors, float64: at most 1/λ where λ > 0; infinite where exp(−λt) overflows.

    Raises:
        SettingError: If an eigenvalue or a time is not finite.

    Source: Goodfellow 2015, tutorial, "Gradient descent flees saddle points".

    Example:
        >>> flow_factor([1.0, 0.0, -1.0], np.log(2.0)).round(6)
        array([0.5     , 0.693147, 1.      ])
    """
    curvature, elapsed = _finite(eigenvalues, "eigenvalues"), _finite(time, "time")
    # t·(eᶻ − 1)/z with z = −λt loses no digits where λt is small, and no sense where it underflows.
    z = np.asarray(-curvature * elapsed)
    with np.errstate(over="ignore"):
        return np.asarray(elapsed * np.divide(np.expm1(z), z, out=np.ones_like(z), where=z != 0))


def descent_factor(eigenvalues: ArrayLike, step: float, steps: ArrayLike) -> Float[np.ndarray, "..."]:
    """(1 − (1 − ελ)ᵏ)/λ: how far k steps of gradient descent have come along an eigenvector, over the gradient there.

    Args:
        eigenvalues: λ, of any sign; 0 gives kε.
        step: Step size ε > 0.
        steps: k ≥ 0, whole numbers; broadcast against λ.

    Returns:
        The factors, float64: bounded for 0 ≤ λ < 2/ε; infinite where (1 − ελ)ᵏ overflows.

    Raises:
        SettingError: If a number is not finite, the step is not positive, or k is no whole number ≥ 0.

    Example:
        >>> descent_factor([1.0, 0.0, -1.0], 0.5, 2)
        array([0.75, 1.  , 1.25])
    """
    curvature, counts = _finite(eigenvalues, "eigenvalues"), _finite(steps, "steps")
    if not (np.isfinite(step) and step > 0):
        raise SettingError(f"step must be finite and positive, got {step}. Descent goes along −g by itself.")
    if (counts < 0).any() or (counts != np.round(counts)).any():
        raise SettingError(f"steps must be whole numbers, 0 or more, got {steps!r}.")
    share, number = np.broadcast_arrays(step * curvature, counts)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        near = np.expm1(number * np.log1p(-share))  # of (1 − ελ)ᵏ − 1, exact where ελ is small
        far = (1 - share) ** number - 1
        summed = -np.where(share < 1, near, far) / share
    return np.asarray(step * np.where(share == 0, number, summed))


def quadratic_flow(
    eigenvalues: ArrayLike, vectors: ArrayLike, gradient: ArrayLike, times: ArrayLike
) -> Float[np.ndarray, "times params"]:
    """θ(t) − θ₀ of gradient flow dθ/dt = −∇J on a quadratic, in closed form: −Q Λ'(t) Qᵀ g.

    Along an eigenvector of negative curvature the distance grows like exp(|λ|t): the flow flees saddle points.

    Args:
        eigenvalues: λ of H, shape (n,), of any sign.
        vectors: Orthonormal eigenvectors Q, one a column, shape (n, n).
        gradient: g at θ₀, shape (n,).
        times: t, shape (m,), finite.

    Returns:
        Displacements, one time a row; add θ₀ for positions. Where exp(−λt) overflows, entries are infinite or NaN.

    Raises:
        ShapeError: If shapes do not fit together.
        SettingError: If something is not finite, or the vectors are not orthonormal.

    Source: Goodfellow 2015, tutorial, "Gradient descent flees saddle points".

    Example:
        >>> quadratic_flow([1.0, -1.0], np.eye(2), [1.0, 1.0], [0.0, np.log(2.0)])
        array([[-0. , -0. ],
               [-0.5, -1. ]])
    """
    curvature, axes, components = _axes(eigenvalues, vectors, gradient)
    return _displaced(flow_factor(curvature, _row(times, "times")[:, None]), axes, components)


def quadratic_descent(
    eigenvalues: ArrayLike, vectors: ArrayLike, gradient: ArrayLike, *, step: float, steps: ArrayLike
) -> Float[np.ndarray, "times params"]:
    """θₖ − θ₀ of gradient descent θ ← θ − ε∇J on a quadratic, in closed form.

    Args:
        eigenvalues: λ of H, shape (n,), of any sign.
        vectors: Orthonormal eigenvectors Q, one a column, shape (n, n).
        gradient: g at θ₀, shape (n,).
        step: Step size ε > 0.
        steps: k, shape (m,), whole numbers ≥ 0.

    Returns:
        Displacements, one k a row; add θ₀ for positions.

    Raises:
        ShapeError: If shapes do not fit together.
        SettingError: If something is not finite, the vectors are not orthonormal, or ε or k is out of range.
    """
    curvature, axes, components = _axes(eigenvalues, vectors, gradient)
    return _displaced(descent_factor(curvature, step, _row(steps, "steps")[:, None]), axes, components)


def _displaced(factors: np.ndarray, axes: np.ndarray, components: np.ndarray) -> np.ndarray:
    """−Q (factor · Qᵀg), one row of factors a row; an axis without gradient stays where it is, whatever its factor."""
    lengths = np.zeros_like(factors)
    np.multiply(factors, components, out=lengths, where=components != 0)
    with np.errstate(invalid="ignore"):  # ∞·0 where a coordinate takes no part in an axis that overflows
        displaced: np.ndarray = -(lengths @ axes.T)
    return displaced


def _finite(value: ArrayLike, name: str) -> np.ndarray:
    array = np.asarray(value, dtype=np.float64)
    if not np.isfinite(array).all():
        raise SettingError(f"{name} must be finite, got {array[~np.isfinite(array)][:3]} among them.")
    return array


def _row(value: ArrayLike, name: str) -> np.ndarray:
    array = _finite(value, name)
    if array.ndim != 1:
        raise ShapeError(f"{name} must have one dimension, got shape {array.shape}. For one of them pass [t].")
    return array


def _axes(eigenvalues: ArrayLike, vectors: ArrayLike, gradient: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues, eigenvectors and the components Qᵀg, checked."""
    curvature, axes, slope = _row(eigenvalues, "eigenvalues"), _finite(vectors, "vectors"), _row(gradient, "gradient")
    n = len(curvature)
    if axes.shape != (n, n):
        raise ShapeError(f"vectors must have shape ({n}, {n}), one column for each eigenvalue, got {axes.shape}.")
    if slope.shape != (n,):
        raise ShapeError(f"gradient must have shape ({n},), one entry for each row of vectors, got {slope.shape}.")
    error = float(np.abs(axes.T @ axes - np.eye(n)).max(initial=0.0))
    if error > 1e-6:  # float32 eigenvectors pass
        raise SettingError(f"vectors must be orthonormal, but QᵀQ is off by {error:.2g}. Take them from eigh.")
    return curvature, axes, axes.T @ slope
