"""Where do the eigenvalues of large random matrices lie, and how likely is it that all of them are positive?

Symmetric Gaussian matrices (GOE), sample covariances, and both with a few strong directions planted.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.special import betainc, betaln, gammaln

from theodolite.errors import SettingError
from theodolite.records.estimates import Estimate
from theodolite.theory.arguments import positive, reals, whole

DECAY = np.log(3) / 4
"""P(all eigenvalues of an n × n GOE matrix > 0) ~ exp(−DECAY·n²). Source: Dean & Majumdar 2006."""

_BLOCK = 10_000
"""Matrices that are drawn and decomposed at a time."""

_LARGEST_EXACT = 10
"""Size up to which the Pfaffian keeps seven digits in float64; at 13 it keeps three."""


@dataclass(frozen=True, eq=False)
class Outlier:
    """The largest eigenvalue of a matrix with a direction planted in it, one for each strength of the plant.

    Attributes:
        eigenvalues: Where it lies.
        cosines: Squared cosine between its eigenvector and the direction planted; 0 up to the threshold.
    """

    eigenvalues: Float[np.ndarray, "..."]
    cosines: Float[np.ndarray, "..."]


def gaussian_symmetric(
    size: int, *, count: int = 1, radius: float = 2.0, generator: np.random.Generator | None = None
) -> Float[np.ndarray, "count size size"]:
    """Matrices of the Gaussian orthogonal ensemble whose spectrum fills [−R, R].

    Entries are independent up to symmetry, of variance R²/(4n) off the diagonal and twice that on it.

    Args:
        size: n.
        count: How many.
        radius: R > 0, of the semicircle that the spectrum tends to.
        generator: Source of the draws; give one for a repeatable result.

    Returns:
        The matrices.

    Raises:
        SettingError: If a number is out of range.
    """
    n, many = whole(size, "size"), whole(count, "count")
    draws = (generator or np.random.default_rng()).standard_normal((many, n, n))
    return np.asarray((draws + draws.swapaxes(1, 2)) * (positive(radius, "radius") / np.sqrt(8 * n)))


def semicircle_density(values: ArrayLike, *, radius: float = 2.0, shift: float = 0.0) -> Float[np.ndarray, "..."]:
    """Wigner's semicircle 2√(R² − (λ − c)²)/(πR²).

    Args:
        values: λ.
        radius: R > 0.
        shift: c, the centre.

    Returns:
        The density; 0 outside.

    Raises:
        SettingError: If something is not finite, or R not positive.

    Source: Wigner 1955.

    Example:
        >>> semicircle_density([0.0, 3.0]) * np.pi
        array([1., 0.])
    """
    x = (reals(values, "values") - float(reals(shift, "shift"))) / positive(radius, "radius")
    return np.asarray(2 / (np.pi * radius) * np.sqrt(np.maximum(1 - x**2, 0)))


def semicircle_cdf(values: ArrayLike, *, radius: float = 2.0, shift: ArrayLike = 0.0) -> Float[np.ndarray, "..."]:
    """Share of the semicircle below λ: 1 − [arccos x − x√(1 − x²)]/π with x = (λ − c)/R.

    At λ = 0 this is the share of negative eigenvalues of a matrix to which cI was added: the coin's weight.

    Args:
        values: λ.
        radius: R > 0.
        shift: c, the centre; broadcast against λ.

    Returns:
        The shares.

    Raises:
        SettingError: If something is not finite, or R not positive.

    Source: Bray & Dean 2007 for c as a function of the energy; ``complexity.negative_fraction`` for a spin glass.

    Example:
        >>> semicircle_cdf([-2.0, 0.0, 2.0])
        array([0. , 0.5, 1. ])
    """
    x = np.clip((reals(values, "values") - reals(shift, "shift")) / positive(radius, "radius"), -1, 1)
    # arccos of −x, not 1 − arccos of x, and 1 − x² in factors: few digits are lost at the lower edge.
    return np.asarray((np.arccos(-x) + x * np.sqrt((1 - x) * (1 + x))) / np.pi)


def covariance_edges(ratio: float, *, variance: float = 1.0) -> tuple[float, float]:
    """Edges σ²(1 ± √γ)² of the spectrum of a sample covariance of p variables from n samples, γ = p/n.

    Args:
        ratio: γ > 0.
        variance: σ² > 0.

    Returns:
        Lower and upper edge; for γ > 1 a share 1 − 1/γ of the eigenvalues is 0 besides.

    Raises:
        SettingError: If a number is not positive.

    Source: Marchenko & Pastur 1967.

    Example:
        >>> covariance_edges(0.25)
        (0.25, 2.25)
    """
    root, scale = np.sqrt(positive(ratio, "ratio")), positive(variance, "variance")
    return float(scale * (1 - root) ** 2), float(scale * (1 + root) ** 2)


def covariance_density(values: ArrayLike, ratio: float, *, variance: float = 1.0) -> Float[np.ndarray, "..."]:
    """Marchenko–Pastur density √((b − λ)(λ − a))/(2πσ²γλ) between the edges a and b.

    Args:
        values: λ.
        ratio: γ = p/n > 0.
        variance: σ² > 0.

    Returns:
        The density, with the total mass min(1, 1/γ): the rest sits at 0.

    Raises:
        SettingError: If something is not finite, or not positive.

    Source: Marchenko & Pastur 1967.

    Example:
        >>> covariance_density([1.0], 1.0) * np.pi
        array([0.8660254])
    """
    low, high = covariance_edges(ratio, variance=variance)
    x = reals(values, "values")
    inside = (x > low) & (x < high)
    height = np.sqrt(np.where(inside, (high - x) * (x - low), 0))
    scale = 2 * np.pi * variance * ratio
    return np.asarray(np.divide(height, scale * x, out=np.zeros_like(x), where=inside))


def covariance_outlier(spike: ArrayLike, ratio: float) -> Outlier:
    """Where the sample eigenvalue of a planted variance ℓ lies, ℓ(1 + γ/(ℓ − 1)), and how far its eigenvector is right.

    It leaves the bulk above the threshold ℓ > 1 + √γ; the squared cosine is (1 − γ/(ℓ − 1)²)/(1 + γ/(ℓ − 1)).

    Args:
        spike: ℓ ≥ 1, variance in one direction where it is 1 in all others.
        ratio: γ = p/n > 0.

    Returns:
        Eigenvalue and squared cosine; the upper edge and 0 up to the threshold.

    Raises:
        SettingError: If ℓ < 1 or γ is not positive.

    Source: Baik, Ben Arous & Péché 2005; Paul 2007 for the cosine.

    Example:
        >>> covariance_outlier(3.0, 1.0)
        Outlier(eigenvalues=array(4.5), cosines=array(0.5))
    """
    excess = reals(spike, "spike", least=1.0) - 1
    edge = covariance_edges(ratio)[1]
    is_out = excess > np.sqrt(ratio)
    pull = np.divide(ratio, excess, out=np.zeros_like(excess), where=is_out)
    cosine = np.where(is_out, (1 - np.divide(pull**2, ratio)) / (1 + pull), 0.0)
    return Outlier(np.where(is_out, (1 + excess) * (1 + pull), edge), cosine)


def symmetric_outlier(spike: ArrayLike, *, radius: float = 2.0) -> Outlier:
    """Where the largest eigenvalue of a GOE matrix plus θvvᵀ lies, θ + R²/(4θ), and its squared cosine with v.

    It leaves the semicircle above the threshold θ > R/2; the squared cosine is 1 − R²/(4θ²).

    Args:
        spike: θ ≥ 0.
        radius: R > 0.

    Returns:
        Eigenvalue and squared cosine; R and 0 up to the threshold.

    Raises:
        SettingError: If θ is negative or R not positive.

    Source: Péché 2006; Benaych-Georges & Nadakuditi 2011.

    Example:
        >>> symmetric_outlier(2.0)
        Outlier(eigenvalues=array(2.5), cosines=array(0.75))
    """
    theta, half = reals(spike, "spike", least=0.0), positive(radius, "radius") / 2
    is_out = theta > half
    pull = np.divide(half**2, theta, out=np.zeros_like(theta), where=is_out)
    return Outlier(np.where(is_out, theta + pull, radius), np.where(is_out, 1 - (pull / half) ** 2, 0.0))


def positive_probability(size: int) -> float:
    """Probability that all eigenvalues of an n × n GOE matrix are positive, as a ratio of Pfaffians.

    De Bruijn's formula turns ∫_{0<λ₁<…<λₙ} Π(λⱼ − λᵢ) exp(−Σλ²/2) into the Pfaffian of
    ∫∫ sgn(y − x) xʲ yᵏ e^{−(x²+y²)/2}, here by incomplete beta functions; Mehta's integral is the whole.

    Args:
        size: n, 1 to 10.

    Returns:
        The probability: ½, (2 − √2)/4, (π − 2√2)/(4π), …, far below the 2⁻ⁿ of independent coins.

    Raises:
        SettingError: If n is out of range; beyond, exp(−``DECAY``·n²) gives the order of magnitude.

    Cost: O(n³).
    Source: de Bruijn 1955; Mehta 2004; repulsion of eigenvalues, Dean & Majumdar 2006.

    Example:
        >>> round(positive_probability(2), 6)
        0.146447
    """
    n = whole(size, "size")
    if n > _LARGEST_EXACT:
        raise SettingError(f"size must be at most {_LARGEST_EXACT}, got {n}. Beyond, use exp(−DECAY·n²).")
    power = np.arange(n)
    j, k = power[:, None], power[None, :]
    a, b = (j + 1) / 2, (k + 1) / 2
    # In polar coordinates: a radial gamma function times the angle on either side of the diagonal.
    radial = np.exp((j + k) / 2 * np.log(2) + gammaln(a + b) + betaln(a, b) - np.log(2))
    pairs = radial * (1 - 2 * betainc(b, a, 0.5))
    if n % 2:
        edge = np.exp((power - 1) / 2 * np.log(2) + gammaln((power + 1) / 2))
        pairs = np.block([[pairs, edge[:, None]], [-edge[None, :], np.zeros((1, 1))]])
    scale = np.sqrt(np.abs(pairs).max(axis=1))
    ordered = 0.5 * np.linalg.slogdet(pairs / np.outer(scale, scale))[1] + np.log(scale).sum()
    sizes = np.arange(1, n + 1)
    whole_line = n / 2 * np.log(2 * np.pi) + (gammaln(1 + sizes / 2) - gammaln(1.5)).sum() - gammaln(n + 1)
    return float(np.exp(ordered - whole_line))


def independent_positive_probability(size: int) -> float:
    """2⁻ⁿ: the probability that n fair coins all show heads, the cartoon of a random Hessian.

    Args:
        size: n.

    Returns:
        The probability.

    Raises:
        SettingError: If n is less than 1.

    Source: Dauphin 2014; Goodfellow 2015, tutorial. Eigenvalues repel: ``positive_probability`` is far smaller.

    Example:
        >>> independent_positive_probability(3)
        0.125
    """
    return 2.0 ** -whole(size, "size")


def positive_share(
    size: int,
    *,
    shift: float = 0.0,
    radius: float = 2.0,
    draws: int = 10_000,
    generator: np.random.Generator | None = None,
) -> Estimate:
    """Share of GOE matrices plus cI whose eigenvalues are all positive, by Monte Carlo.

    Args:
        size: n.
        shift: c; above R nearly all are positive, at 0 nearly none.
        radius: R > 0.
        draws: How many matrices.
        generator: Source of the draws; give one for a repeatable result.

    Returns:
        The share; its error is by Laplace's rule of succession, and so never 0.

    Raises:
        SettingError: If a number is out of range.

    Cost: ``draws`` eigendecompositions of n × n matrices; memory for 10,000 of them at most.
    """
    source, least, hits = generator or np.random.default_rng(), -float(reals(shift, "shift")), 0
    for done in range(0, whole(draws, "draws"), _BLOCK):
        matrices = gaussian_symmetric(size, count=min(_BLOCK, draws - done), radius=radius, generator=source)
        hits += int(np.count_nonzero(np.linalg.eigvalsh(matrices)[:, 0] > least))
    smoothed = (hits + 1) / (draws + 2)
    return Estimate(hits / draws, float(np.sqrt(smoothed * (1 - smoothed) / draws)), draws)
