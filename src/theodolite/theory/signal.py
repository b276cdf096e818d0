"""How does the size of a signal, or of a gradient, walk at random through the layers of a net of finite width?

In x_{l+1} = g W φ(x_l), W with N × N entries of variance 1/N, each layer multiplies the squared norm by g² z with z
independent from layer to layer: ln‖x‖ walks at random with drift ln g + ½E[ln z] and variance ¼Var[ln z] a layer. For
linear and rectified units the distribution of z is known; for tanh see ``mean_field``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float
from scipy.special import digamma, polygamma
from scipy.stats import binom

from theodolite.errors import SettingError
from theodolite.theory.arguments import positive, whole
from theodolite.theory.mean_field import tanh_gain

ACTIVATIONS = ("linear", "relu", "tanh")


@dataclass(frozen=True)
class LogMoments:
    """Moments of a logarithm.

    Attributes:
        mean: Its mean: the drift of a walk.
        variance: Its variance: the square of the spread of a walk.
    """

    mean: float
    variance: float


def log_factor(width: int, activation: str = "linear") -> LogMoments:
    """Mean and variance of ln z, exactly.

    Linear: N z is χ² with N degrees of freedom, so E = ψ(N/2) − ln(N/2) ≈ −1/N and Var = ψ'(N/2) ≈ 2/N. ReLU: N z is
    χ² with K degrees of freedom, K binomial(N, ½) the number of live units, and K > 0 is given.

    Args:
        width: N.
        activation: "linear" or "relu".

    Returns:
        The moments.

    Raises:
        SettingError: If N is less than 1, or the activation is another.

    Cost: O(N).
    Limits: a layer of ReLU dies with the probability 2⁻ᴺ; narrow nets then carry no signal.
    Source: Sussillo & Abbott 2014, there by simulation. Var[ln z] = 2/N is of the squared norm; 1/(2N), also
        quoted, is that of ln‖x‖.

    Example:
        >>> round(log_factor(100).variance, 4)
        0.0202
    """
    n = whole(width, "width")
    if activation == "linear":
        return LogMoments(float(digamma(n / 2) - np.log(n / 2)), float(polygamma(1, n / 2)))
    if activation != "relu":
        raise SettingError(f"activation must be 'linear' or 'relu', got {activation!r}. For tanh see mean_field.")
    alive = np.arange(1, n + 1)
    chance = binom.pmf(alive, n, 0.5)
    chance /= chance.sum()
    means = digamma(alive / 2) - np.log(n / 2)
    mean = float(chance @ means)
    return LogMoments(mean, float(chance @ (polygamma(1, alive / 2) + (means - mean) ** 2)))


def walk_gain(width: int, activation: str = "linear") -> float:
    """The gain g = exp(−½E[ln z]) with which ln‖x‖ has no drift, exactly.

    Args:
        width: N.
        activation: "linear" or "relu".

    Returns:
        g: about exp(1/(2N)) for linear units, √2 exp(1.2/(max(N, 6) − 2.4)) for ReLU.

    Raises:
        SettingError: If N is less than 1, or the activation is another.

    Source: Sussillo & Abbott 2014, whose ReLU formula is a fit.

    Example:
        >>> round(walk_gain(100), 4)
        1.005
    """
    return float(np.exp(-log_factor(width, activation).mean / 2))


def fitted_gain(width: int, activation: str = "linear") -> float:
    """The gain as published: exp(1/(2N)) for linear units, the fit √2 exp(1.2/(max(N, 6) − 2.4)) for ReLU.

    Args:
        width: N.
        activation: "linear" or "relu".

    Returns:
        g.

    Raises:
        SettingError: If N is less than 1, or the activation is another.

    Limits: within 1 % of ``walk_gain`` for N ≥ 10.
    Source: Sussillo & Abbott 2014.

    Example:
        >>> round(fitted_gain(100, "relu"), 4)
        1.4317
    """
    n = whole(width, "width")
    if activation == "linear":
        return float(np.exp(0.5 / n))
    if activation != "relu":
        raise SettingError(f"activation must be 'linear' or 'relu', got {activation!r}. For tanh see mean_field.")
    return float(np.sqrt(2) * np.exp(1.2 / (max(n, 6) - 2.4)))


def walk_statistics(width: int, depth: int, *, gain: float, activation: str = "linear") -> LogMoments:
    """Mean and variance of the change of ln‖x‖ through D layers.

    D(ln g + ½E[ln z]) and ¼D Var[ln z], about D/(2N) for linear units.

    Args:
        width: N.
        depth: D ≥ 1.
        gain: g > 0.
        activation: "linear" or "relu".

    Returns:
        The moments: a gain that is off by a factor f drifts by D ln f, while the spread grows with √(D/N) only.

    Raises:
        SettingError: If a number is out of range, or the activation is another.

    Source: Sussillo & Abbott 2014.

    Example:
        >>> round(walk_statistics(100, 1000, gain=1.0).variance, 2)
        5.05
    """
    factor, layers = log_factor(width, activation), whole(depth, "depth")
    drift = layers * (np.log(positive(gain, "gain")) + factor.mean / 2)
    return LogMoments(float(drift), layers * factor.variance / 4)


def simulated_gradient_norms(
    width: int,
    depth: int,
    *,
    gain: float,
    activation: str = "linear",
    trials: int = 20,
    generator: np.random.Generator | None = None,
) -> Float[np.ndarray, "trials layers"]:
    """ln‖δ_l‖/‖δ_D‖ of gradients sent back through nets drawn at random, forward pass and backward pass as they are.

    Args:
        width: N.
        depth: D ≥ 1, up to thousands.
        gain: g > 0.
        activation: "linear", "relu" or "tanh".
        trials: Nets.
        generator: Source of weights, inputs (entries of variance 1) and gradients; give one for a repeatable result.

    Returns:
        One net a row; column 0 is the input, column D, all 0, the output. −∞ where a layer of ReLU died.

    Raises:
        SettingError: If a number is out of range, or the activation is another.

    Cost: 2·D·N² multiplications a net and as many random numbers, drawn twice; memory N² + D·N.
    """
    n, layers = whole(width, "width"), whole(depth, "depth")
    positive(gain, "gain")
    slope = _slope(activation)
    source = generator or np.random.default_rng()
    norms = np.zeros((whole(trials, "trials"), layers + 1))
    for trial in range(trials):
        # Each layer's weights are drawn anew on the way back, from the same seed: no net is kept in memory.
        seeds = source.integers(2**63, size=layers)
        draw = [partial(_weights, n, gain, int(seed)) for seed in seeds]
        slopes = _forward(draw, source.standard_normal(n), slope)
        norms[trial] = _backward(draw, source.standard_normal(n), slopes)
    return norms


def suggested_gain(width: int, depth: int, activation: str = "linear") -> float:
    """The gain with which gradients neither vanish nor explode on average, for any of the three activations.

    Args:
        width: N.
        depth: D ≥ 1; counts for tanh only.
        activation: "linear", "relu" or "tanh".

    Returns:
        g: exact for linear units and ReLU; for tanh by mean field, from inputs of variance 1.

    Raises:
        SettingError: If a number is out of range, or the activation is another.

    Source: Sussillo & Abbott 2014; for tanh they find 1.1 to 1.3 by experiment.
    """
    return tanh_gain(depth, width=width) if activation == "tanh" else walk_gain(width, activation)


def _slope(activation: str) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """φ and φ' of an activation."""
    if activation == "linear":
        return lambda x: (x, np.ones_like(x))
    if activation == "relu":
        return lambda x: (np.maximum(x, 0), (x > 0).astype(np.float64))
    if activation == "tanh":
        return lambda x: (np.tanh(x), 1 - np.tanh(x) ** 2)
    raise SettingError(f"activation must be one of {ACTIVATIONS}, got {activation!r}. Correct the spelling.")


def _weights(width: int, gain: float, seed: int) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed).standard_normal((width, width)) * (gain / np.sqrt(width)))


def _forward(
    draw: Sequence[Callable[[], np.ndarray]],
    signal: np.ndarray,
    slope: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> list[np.ndarray]:
    """φ' of each layer."""
    slopes = []
    for weights in draw:
        signal, here = slope(weights() @ signal)
        slopes.append(here)
    return slopes


def _backward(draw: Sequence[Callable[[], np.ndarray]], gradient: np.ndarray, slopes: list[np.ndarray]) -> np.ndarray:
    """Logarithm of the norm at each layer over that at the last; the direction is kept at norm 1 on the way."""
    norms = np.zeros(len(draw) + 1)
    direction = gradient / np.linalg.norm(gradient)
    for layer in reversed(range(len(draw))):
        direction = draw[layer]().T @ (slopes[layer] * direction)
        size = float(np.linalg.norm(direction))
        if size == 0:
            norms[: layer + 1] = -np.inf
            break
        norms[layer] = norms[layer + 1] + np.log(size)
        direction /= size
    return norms
