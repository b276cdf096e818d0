"""How many critical points of each index has a spherical spin glass of order H below the energy Λu?

Energies u are per spin: the Hamiltonian of ``spin_glass`` over its size Λ. Almost all critical points of a low index
lie in the band −E₀ < u < −E∞, in layers: below −E_k only indices up to k − 1 occur, where Λ is large.
"""

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from theodolite.errors import SettingError
from theodolite.records.estimates import Estimate
from theodolite.theory.arguments import reals, whole
from theodolite.theory.random_matrices import gaussian_symmetric, semicircle_cdf


def threshold_energy(order: int = 3) -> float:
    """E∞ = 2√((H − 1)/H): above −E∞ critical points have an index of the order of Λ.

    Args:
        order: H ≥ 3.

    Returns:
        E∞ per spin.

    Raises:
        SettingError: If H < 3.

    Source: Choromanska 2015.

    Example:
        >>> round(threshold_energy(3), 6)
        1.632993
    """
    H = whole(order, "order", least=3)
    return float(2 * np.sqrt((H - 1) / H))


def rate_function(energy: ArrayLike, order: int = 3) -> Float[np.ndarray, "..."]:
    """I(u) = −(u/E∞²)√(u² − E∞²) − ln(−u + √(u² − E∞²)) + ln E∞: the cost of one eigenvalue out of the semicircle.

    Args:
        energy: u ≤ −E∞.
        order: H ≥ 3.

    Returns:
        I(u) ≥ 0; 0 at −E∞.

    Raises:
        SettingError: If an energy lies above −E∞, or H < 3.

    Source: Choromanska 2015; Auffinger 2013.

    Example:
        >>> float(rate_function(-threshold_energy(3)))
        0.0
    """
    edge = threshold_energy(order)
    u = reals(energy, "energy", most=-edge)
    root = np.sqrt(u**2 - edge**2)
    return np.asarray(-u / edge**2 * root - np.log((-u + root) / edge))


def log_complexity(energy: ArrayLike, order: int = 3, *, index: int | None = None) -> Float[np.ndarray, "..."]:
    """Θ(u) = lim (1/Λ) ln E[number of critical points below Λu], of all indices or of one.

    ½ln(H − 1) − (H − 2)u²/(4(H − 1)) − (k + 1)I(u) for u ≤ −E∞, with one I for all indices together. Above: for one
    index the constant ½ln(H − 1) − (H − 2)/H; for all without I, and ½ln(H − 1) for u ≥ 0.

    Args:
        energy: u, per spin.
        order: H ≥ 3.
        index: k ≥ 0; None counts all.

    Returns:
        Θ(u), or Θ_k(u); where it is negative there are none.

    Raises:
        SettingError: If an energy is not finite, H < 3, or k < 0.

    Deviations: 1. The printed constant of Θ_k above −E∞ has the denominator 4(H − 1); continuity asks for H.
    Source: Choromanska 2015, after Auffinger 2013.

    Example:
        >>> log_complexity([0.0]).round(6)
        array([0.346574])
    """
    edge, u = threshold_energy(order), reals(energy, "energy")
    many = 1 if index is None else whole(index, "index", least=0) + 1
    reached = np.minimum(u, 0.0 if index is None else -edge)
    costs = many * rate_function(np.minimum(u, -edge), order)
    return np.asarray(0.5 * np.log(order - 1) - (order - 2) * reached**2 / (4 * (order - 1)) - costs)


def layer_energy(index: int, order: int = 3) -> float:
    """E_k, the root of Θ_k(−E): the mean number of critical points of index k below −ΛE_k vanishes with Λ.

    Args:
        index: k ≥ 0; E₀ is the energy of the ground state.
        order: H ≥ 3.

    Returns:
        E_k per spin, falling with k to E∞.

    Raises:
        SettingError: If k < 0 or H < 3.

    Source: Choromanska 2015; Auffinger 2013.

    Example:
        >>> round(layer_energy(0), 6), round(layer_energy(1), 6)
        (1.656998, 1.652873)
    """
    edge = threshold_energy(order)
    whole(index, "index", least=0)
    return float(-brentq(lambda u: float(log_complexity(u, order, index=index)), -edge - 1, -edge, xtol=1e-14))


def possible_indices(energy: ArrayLike, order: int = 3, *, most: int = 100) -> Int[np.ndarray, "..."]:
    """How many of the indices 0, 1, 2, … have critical points below Λu: the band structure.

    Args:
        energy: u, per spin.
        order: H ≥ 3.
        most: Where counting stops.

    Returns:
        The number of k < ``most`` with E_k ≥ −u: 0 below the ground state, 1 where there are only minima.

    Raises:
        SettingError: If an energy is not finite, H < 3 or ``most`` < 1.

    Cost: ``most`` roots.

    Example:
        >>> possible_indices([-1.66, -1.655, -1.651])
        array([0, 1, 2])
    """
    layers = np.array([layer_energy(index, order) for index in range(whole(most, "most"))])
    return np.asarray(np.count_nonzero(layers >= -reals(energy, "energy")[..., None], axis=-1))


def negative_fraction(energy: ArrayLike, order: int = 3) -> Float[np.ndarray, "..."]:
    """Share α(u) of negative eigenvalues at a critical point of energy u: the semicircle, shifted by −Hu.

    With x = −u/E∞: α = [arccos x − x√(1 − x²)]/π, from 0 at u = −E∞ to ½ at u = 0 and 1 at u = E∞.

    Args:
        energy: u, per spin.
        order: H ≥ 3.

    Returns:
        α, between 0 and 1.

    Raises:
        SettingError: If an energy is not finite, or H < 3.

    Limits: Λ → ∞; at Λ = 60 critical points scatter about it by 0.013.
    Source: Bray & Dean 2007 for Gaussian fields; derived here for the sphere.

    Example:
        >>> negative_fraction(0.0)
        array(0.5)
    """
    H, u = whole(order, "order", least=3), reals(energy, "energy")
    return semicircle_cdf(0.0, radius=2 * np.sqrt(H * (H - 1)), shift=-H * u)


def mean_critical_points(
    size: int,
    order: int = 3,
    *,
    energy: float = np.inf,
    draws: int = 1000,
    generator: np.random.Generator | None = None,
) -> list[Estimate]:
    """E[number of critical points with energy ≤ Λu] for each index 0 … Λ − 1, at finite Λ, from GOE spectra.

    2√(2/H)(H − 1)^{Λ/2} E[exp(−Λ(H − 2)λ_k²/(2H)); λ_k ≤ √(H/(2(H − 1))) u], λ₀ ≤ λ₁ ≤ … eigenvalues of a GOE matrix
    with off-diagonal variance 1/(2Λ).

    Args:
        size: Λ ≥ 1.
        order: H ≥ 2.
        energy: u; infinity counts all.
        draws: GOE matrices to average over.
        generator: Source of the draws; give one for a repeatable result.

    Returns:
        The mean numbers, one for each index.

    Raises:
        SettingError: If a number is out of range.

    Cost: ``draws`` eigendecompositions, O(Λ³).
    Limits: the estimate is good where λ_k scatters by little against √(H/(Λ(H − 2))): always near the typical energies.
    Source: Auffinger, Ben Arous & Černý 2013; tests hold it against Rice's count and against drawn surfaces.

    Example: with H = 2, whose critical points are 2Λ eigenvectors, two of each index, nothing is left to chance.
        >>> [round(mean.value, 9) for mean in mean_critical_points(3, 2, draws=5)]
        [2.0, 2.0, 2.0]
    """
    n, H = whole(size, "size"), whole(order, "order", least=2)
    if np.isnan(energy):
        raise SettingError("energy must be a number, got nan. Infinity counts all critical points.")
    source = generator or np.random.default_rng()
    matrices = gaussian_symmetric(n, count=whole(draws, "draws", least=2), radius=np.sqrt(2), generator=source)
    levels = np.linalg.eigvalsh(matrices)
    heights = np.exp(np.log(2) + 0.5 * np.log(2 / H) + 0.5 * n * np.log(H - 1) - n * (H - 2) / (2 * H) * levels**2)
    counts = np.where(levels <= np.sqrt(H / (2 * (H - 1))) * energy, heights, 0.0)
    return [Estimate.mean_of(column) for column in counts.T]
