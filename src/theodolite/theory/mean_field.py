"""What becomes of signals and gradients in a wide net x_{l+1} = g W φ(x_l) with many layers, in mean-field theory?

W has independent entries of variance 1/N; q is the mean square of the preactivations of a layer, φ is tanh. At g = 1
the silent state q = 0 turns unstable. Corrections are of order 1/N; see ``signal``.
"""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from theodolite.theory.arguments import positive, reals, whole

CRITICAL_GAIN = 1.0
"""Gain of a tanh net below which every signal dies out, and above which it settles at q∞ > 0. Source: Saxe 2014."""

_GRID = np.linspace(0.0, 1.0, 257)


def next_variance(variance: ArrayLike, gain: float) -> Float[np.ndarray, "..."]:
    """Mean square of preactivations one layer on, q' = g² ∫Dz tanh²(√q z), by quadrature.

    Args:
        variance: q ≥ 0.
        gain: g > 0.

    Returns:
        q', in the shape of q.

    Raises:
        SettingError: If q is negative or g not positive.

    Cost: 257 evaluations of tanh for each q.
    Source: Saxe 2014.

    Example:
        >>> next_variance([1.0], 1.0).round(4)
        array([0.3943])
    """
    q = reals(variance, "variance", least=0.0)
    outputs, chances = _tanh_of_gaussian(q)
    return np.asarray(positive(gain, "gain") ** 2 * (outputs**2 * chances).sum(-1))


def stationary_variance(gain: float) -> float:
    """q∞, the mean square at which signals settle in a deep net: the stable fixed point of ``next_variance``.

    Args:
        gain: g > 0.

    Returns:
        q∞; 0 for g ≤ 1, about g − 1 a little above.

    Raises:
        SettingError: If g is not positive.

    Source: Saxe 2014, fig. 8.

    Example:
        >>> round(stationary_variance(1.5), 4)
        0.7934
    """
    if positive(gain, "gain") <= CRITICAL_GAIN:
        return 0.0

    def growth(log_variance: float) -> float:
        q = np.exp(log_variance)
        return float(np.log(next_variance(q, gain) / q))

    # q' ≈ g²(q − 2q²) at small q and q' < g² always enclose the root.
    low = np.log((gain**2 - 1) / (8 * gain**2))
    return float(np.exp(brentq(growth, low, 2 * np.log(gain), xtol=1e-13)))


def gradient_gain(variance: ArrayLike, gain: float) -> Float[np.ndarray, "..."]:
    """χ = g² ∫Dz tanh'(√q z)²: the factor of a squared gradient norm in one layer, backwards.

    Args:
        variance: q ≥ 0 of the preactivations of the layer.
        gain: g > 0.

    Returns:
        χ, in the shape of q; g² at q = 0. Gradients vanish where it stays below 1, and explode where above.

    Raises:
        SettingError: If q is negative or g not positive.

    Source: Poole 2016 and Schoenholz 2017, χ₁.

    Example:
        >>> gradient_gain([0.0], 2.0).round(12)
        array([4.])
    """
    q = reals(variance, "variance", least=0.0)
    outputs, chances = _tanh_of_gaussian(q)
    return np.asarray(positive(gain, "gain") ** 2 * ((1 - outputs**2) ** 2 * chances).sum(-1))


def variances_through(depth: int, gain: float, *, start: float) -> Float[np.ndarray, "layers"]:
    """Mean square of the preactivations layer by layer.

    Args:
        depth: Number of layers D ≥ 1.
        gain: g > 0.
        start: q of the first preactivations, > 0.

    Returns:
        q₁ = start, …, q_D.

    Raises:
        SettingError: If a number is out of range.
    """
    q = [positive(start, "start")]
    for _ in range(whole(depth, "depth") - 1):
        q.append(float(next_variance(q[-1], gain)))
    return np.array(q)


def log_gradient_gain(depth: int, gain: float, *, start: float) -> float:
    """½Σ ln χ: by how much ln‖gradient‖ changes through D tanh layers, backwards, in the limit of wide layers.

    Args:
        depth: D ≥ 1.
        gain: g > 0.
        start: q of the first preactivations, > 0.

    Returns:
        The change; 0 is a gradient that arrives as it left.

    Raises:
        SettingError: If a number is out of range.

    Example:
        >>> round(log_gradient_gain(10, np.exp(-1.0), start=1e-12), 9)
        -10.0
    """
    return float(0.5 * np.log(gradient_gain(variances_through(depth, gain, start=start), gain)).sum())


def tanh_gain(depth: int, *, inputs: float = 1.0, width: int | None = None) -> float:
    """The gain at which a gradient keeps its size through D tanh layers: the root of ``log_gradient_gain``.

    Args:
        depth: D ≥ 1.
        inputs: Mean square of the inputs, > 0; the first preactivations have g² times that.
        width: N; given, the first correction exp(1/(2N)) of a random walk is added.

    Returns:
        g, above 1: the slopes of tanh that a signal meets are below 1.

    Raises:
        SettingError: If a number is out of range.

    Cost: about 10·D evaluations of ``next_variance``.
    Source: mean field for what Sussillo & Abbott 2014 find by experiment, g between 1.1 and 1.3.
    """
    layers, power = whole(depth, "depth"), positive(inputs, "inputs")
    correction = 1.0 if width is None else float(np.exp(0.5 / whole(width, "width")))

    def change(gain: float) -> float:
        return log_gradient_gain(layers, gain, start=gain**2 * power)

    # Below 1 every layer shrinks the gradient; above, for a large gain, χ grows like 0.53 g, whatever the inputs.
    highest = 10 * (1 + power)
    return correction * float(brentq(change, 0.5, highest, xtol=1e-12))


def _tanh_of_gaussian(variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values of tanh(√q z) for z > 0 along a last axis, and their weights under the Gaussian of both signs."""
    # The trapezoidal rule in t, z = sinh(t)/(1 + √q), resolves the step of tanh at 0 and the Gaussian at any q alike,
    # and converges geometrically, where Gauss–Hermite nodes step over the step.
    root = np.sqrt(variance)[..., None]
    end = np.arcsinh(10 * (1 + root))  # z = 10
    z = np.sinh(end * _GRID) / (1 + root)
    density = np.exp(-(z**2) / 2) * np.cosh(end * _GRID) / (1 + root)
    weights = 2 / np.sqrt(2 * np.pi) * density * end * _GRID[1]
    weights[..., 0] /= 2
    return np.tanh(root * z), weights
