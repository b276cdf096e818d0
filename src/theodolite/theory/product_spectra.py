"""What singular values and eigenvalues has a deep product of large Gaussian matrices, W_m…W₁?

Entries have the variance 1/N, and laws hold for N → ∞. A product of orthogonal matrices has all singular values 1.
"""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.special import binom

from theodolite.theory.arguments import reals, whole


def product_edge(matrices: int) -> float:
    """The largest singular value of a product of m Gaussian matrices: √((m + 1)^{m+1}/mᵐ).

    Args:
        matrices: m ≥ 1.

    Returns:
        The edge; it grows like √(e m), while most singular values go to 0.

    Raises:
        SettingError: If m is less than 1.

    Source: Saxe 2014, fig. 6; the edge of the Fuss–Catalan law, Penson & Życzkowski 2011.

    Example:
        >>> product_edge(1)
        2.0
    """
    m = whole(matrices, "matrices")
    return float(np.exp(0.5 * ((m + 1) * np.log1p(1 / m) + np.log(m))))


def product_moment(matrices: int, order: int) -> float:
    """Limit of (1/N) tr[(WWᵀ)ᵏ], W a product of m Gaussian matrices: the Fuss–Catalan number C(mk + k, k)/(mk + 1).

    Args:
        matrices: m ≥ 1.
        order: k ≥ 0.

    Returns:
        The mean of σ²ᵏ over the singular values σ.

    Raises:
        SettingError: If m or k is less than that.

    Source: Penson & Życzkowski 2011.

    Example:
        >>> product_moment(1, 2), product_moment(2, 2)
        (2.0, 3.0)
    """
    m, k = whole(matrices, "matrices"), whole(order, "order", least=0)
    return float(binom(m * k + k, k) / (m * k + 1))


def product_density(singular_values: ArrayLike, matrices: int) -> Float[np.ndarray, "..."]:
    """Density of the singular values σ of a product of m Gaussian matrices, through the angle of its parametric form.

    σ² = sin^{m+1}((m + 1)φ)/(sin φ sinᵐ(mφ)), with the density sin²φ sin^{m−1}(mφ)/(π sinᵐ((m + 1)φ)) of σ².

    Args:
        singular_values: σ ≥ 0.
        matrices: m ≥ 1.

    Returns:
        The density; 0 beyond the edge. At 0 it is 2/π for m = 1 and infinite for more.

    Raises:
        SettingError: If a value is negative or not finite, or m is less than 1.

    Cost: 60 halvings for each value.
    Source: Forrester & Liu 2015, after Haagerup & Möller 2013; m = 1 is the quarter circle √(4 − σ²)/π.

    Example:
        >>> product_density([1.0], 1) * np.pi
        array([1.73205081])
    """
    m, sigma = whole(matrices, "matrices"), reals(singular_values, "singular_values", least=0.0)
    low, high = np.zeros_like(sigma), np.full_like(sigma, np.pi / (m + 1))
    for _ in range(60):  # σ² falls with φ, from the edge to 0
        middle = (low + high) / 2
        is_large = _log_square(middle, m) > 2 * np.log(np.maximum(sigma, 1e-300))
        low, high = np.where(is_large, middle, low), np.where(is_large, high, middle)
    angle = (low + high) / 2
    with np.errstate(divide="ignore", over="ignore"):
        logarithm = (
            2 * np.log(np.sin(angle)) + (m - 1) * np.log(np.sin(m * angle)) - m * np.log(np.sin((m + 1) * angle))
        )
        density = np.exp(logarithm + np.log(2 * sigma)) / np.pi
    at_zero = 2 / np.pi if m == 1 else np.inf
    return np.where(sigma >= product_edge(m), 0.0, np.where(sigma == 0, at_zero, density))


def product_eigenvalue_share(radius: ArrayLike, matrices: int) -> Float[np.ndarray, "..."]:
    """Share of the eigenvalues of a product of m Gaussian matrices with |z| ≤ r: r^{2/m}.

    Args:
        radius: r, 0 ≤ r ≤ 1.
        matrices: m ≥ 1.

    Returns:
        The share: with depth nearly all eigenvalues lie at 0.

    Raises:
        SettingError: If a radius lies outside [0, 1], or m is less than 1.

    Source: Götze & Tikhomirov 2010; Saxe 2014, fig. 6.

    Example:
        >>> product_eigenvalue_share(0.25, 2)
        array(0.25)
    """
    return np.asarray(reals(radius, "radius", least=0.0, most=1.0) ** (2 / whole(matrices, "matrices")))


def product_singular_values(
    size: int, matrices: int, *, generator: np.random.Generator | None = None
) -> Float[np.ndarray, "size"]:
    """Singular values of one draw of a product of m Gaussian matrices, by SVD.

    Args:
        size: N.
        matrices: m ≥ 1.
        generator: Source of the draw; give one for a repeatable result.

    Returns:
        σ, descending; the least of a deep product are lost in rounding below 1e-16 of the greatest.

    Raises:
        SettingError: If N or m is less than 1.

    Cost: O(m N³).
    """
    source, n = generator or np.random.default_rng(), whole(size, "size")
    product = np.eye(n)
    for _ in range(whole(matrices, "matrices")):
        product = source.standard_normal((n, n)) / np.sqrt(n) @ product
    return np.asarray(np.linalg.svd(product, compute_uv=False))


def _log_square(angle: ArrayLike, matrices: int) -> np.ndarray:
    """Logarithm of σ² at an angle."""
    angle, m = np.asarray(angle), matrices
    return np.asarray((m + 1) * np.log(np.sin((m + 1) * angle)) - np.log(np.sin(angle)) - m * np.log(np.sin(m * angle)))
