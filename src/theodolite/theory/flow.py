"""How does gradient flow, with inertia and noise, move along one eigenvector of a quadratic, and away from a saddle?

The equation is m ẍ + ẋ = −λx + s ξ(t) with white noise ξ of unit strength. Small steps approach it: gradient descent
with m = 0, t = kε and s² = εσ²; heavy ball with m = ε(1 + β)/(2(1 − β)²), t = kε/(1 − β) and s² = εσ²/(1 − β).
"""

import numpy as np
from jaxtyping import Complex, Float
from numpy.typing import ArrayLike
from scipy.linalg import expm

from theodolite.errors import SettingError
from theodolite.theory.arguments import positive, reals
from theodolite.theory.quadratic import flow_factor


def flow_rates(eigenvalues: ArrayLike, *, mass: float = 0.0) -> Complex[np.ndarray, "..."]:
    """The exponent that rules a mode in the long run: the root r of m r² + r + λ = 0 with the greatest real part.

    Args:
        eigenvalues: λ, of any sign.
        mass: Inertia m ≥ 0; 0 is gradient flow, r = −λ.

    Returns:
        r, complex: a negative real part converges; an imaginary part, where 4mλ > 1, oscillates.

    Source: Qian 1999, On the momentum term in gradient descent learning algorithms.

    Example:
        >>> flow_rates([1.0, -2.0], mass=1.0).round(3)
        array([-0.5+0.866j,  1. +0.j   ])
    """
    curvature = reals(eigenvalues, "eigenvalues")
    inertia = float(reals(mass, "mass", least=0.0))
    # −2λ/(1 + √(1 − 4mλ)) loses no digits where mλ is small.
    return np.asarray(-2 * curvature / (1 + np.sqrt(1 - 4 * inertia * curvature + 0j)))


def stationary_flow_losses(eigenvalues: ArrayLike, noise: ArrayLike) -> Float[np.ndarray, "..."]:
    """Mean loss ½λE[x²] = s²/4 at which noise holds a mode of the flow, whatever its inertia.

    Args:
        eigenvalues: λ > 0.
        noise: s², strength of the white noise.

    Returns:
        The losses; infinite for λ ≤ 0, where nothing holds the mode (0 if there is no noise).

    Source: equipartition; Mandt 2017.

    Example:
        >>> stationary_flow_losses([1.0, 5.0], 4.0)
        array([1., 1.])
    """
    curvature, strength = np.broadcast_arrays(reals(eigenvalues, "eigenvalues"), reals(noise, "noise", least=0.0))
    return np.where((curvature > 0) | (strength == 0), strength / 4, np.inf)


def expected_flow_squares(
    eigenvalues: ArrayLike, offsets: ArrayLike, *, times: ArrayLike, mass: float = 0.0, noise: ArrayLike = 0.0
) -> Float[np.ndarray, "times modes"]:
    """E[x²] of each mode at time t of the flow from rest.

    Without inertia x₀² e^{−2λt} + s²(1 − e^{−2λt})/(2λ); with it, by the exponential of the matrix of second moments.

    Args:
        eigenvalues: λ of any sign, shape (n,).
        offsets: x₀, one number or one for each mode.
        times: t ≥ 0, shape (m,).
        mass: Inertia m ≥ 0.
        noise: s², strength of the white noise along each mode.

    Returns:
        One time a row.

    Raises:
        SettingError: If something is not finite, or a time, a mass or a strength is negative.

    Example:
        >>> expected_flow_squares([0.0], 1.0, times=[0.0, 2.0], noise=3.0).ravel()
        array([1., 7.])
    """
    curvature, start, strength = np.broadcast_arrays(
        np.atleast_1d(reals(eigenvalues, "eigenvalues")),
        reals(offsets, "offsets"),
        reals(noise, "noise", least=0.0),
    )
    elapsed = np.atleast_1d(reals(times, "times", least=0.0))
    inertia = float(reals(mass, "mass", least=0.0))
    if inertia == 0:
        time = elapsed[:, None]
        with np.errstate(over="ignore"):
            return np.asarray(start**2 * np.exp(-2 * curvature * time) + strength * flow_factor(2 * curvature, time))
    moments = _moment_generator(curvature, inertia, strength)
    begin = np.stack([start**2, 0 * start, 0 * start, np.ones_like(start)], axis=-1)
    return np.stack([np.einsum("ni,ni->n", expm(moments * time)[:, 0], begin) for time in elapsed])


def escape_times(
    eigenvalue: float, offsets: ArrayLike, *, radius: float, noise: float = 0.0
) -> Float[np.ndarray, "..."]:
    """Time until gradient flow that starts near a saddle is away: E[x²] = r².

    With c = s²/(2|λ|), t = ln((r² + c)/(x₀² + c)) / (2|λ|); without noise ln(r/|x₀|)/|λ|: only the logarithm of the
    starting offset counts.

    Args:
        eigenvalue: λ < 0.
        offsets: x₀, the component of the start along the eigenvector; 0 without noise never leaves.
        radius: r > 0, where the quadratic ends.
        noise: s², strength of the white noise along the eigenvector.

    Returns:
        The times, in the shape of the offsets; 0 for starts that are away, infinite for a start that never leaves.

    Raises:
        SettingError: If λ is not negative or a number is out of range.

    Limits: with noise this is when the root mean square is away, not the mean of the first passage.
    Source: Goodfellow 2015, tutorial, "Gradient descent flees saddle points".

    Example:
        >>> escape_times(-2.0, [1.0, np.exp(-4.0)], radius=1.0)
        array([0., 2.])
    """
    if not (np.isfinite(eigenvalue) and eigenvalue < 0):
        raise SettingError(f"eigenvalue must be negative, got {eigenvalue}. Only downward curvature leads away.")
    away, growth = positive(radius, "radius") ** 2, 2 * abs(eigenvalue)
    spread = float(reals(noise, "noise", least=0.0)) / growth
    with np.errstate(divide="ignore"):
        times = np.log((away + spread) / (reals(offsets, "offsets") ** 2 + spread)) / growth
    return np.asarray(np.maximum(times, 0.0))


def _moment_generator(eigenvalues: np.ndarray, mass: float, noise: np.ndarray) -> np.ndarray:
    """The linear equation of (E[x²], E[xẋ], E[ẋ²], 1), one matrix a mode."""
    change = np.zeros((len(eigenvalues), 4, 4))
    change[:, 0, 1] = 2.0
    change[:, 1, 0], change[:, 1, 1], change[:, 1, 2] = -eigenvalues / mass, -1 / mass, 1.0
    change[:, 2, 1], change[:, 2, 2] = -2 * eigenvalues / mass, -2 / mass
    change[:, 2, 3] = noise / mass**2
    return change
