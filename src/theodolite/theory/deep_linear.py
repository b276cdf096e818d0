"""How does a deep linear net learn one mode: how fast, along which curve, with which step?

The net is W_m…W₁ with m = N_l − 1 matrices (the paper counts N_l layers of neurons), the loss ½‖Y − W_m…W₁X‖² with
whitened inputs, XXᵀ = I. From decoupled starts each singular mode s of YXᵀ learns for itself: with scalars a₁…a_m its
strength u = a₁⋯a_m obeys τȧᵢ = (s − u) u/aᵢ. Times are in the unit of τ, the inverse of the learning rate.
Where the saddles are is told in ``linear_saddles``; what starts are decoupled, in ``linear_starts``.
"""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.special import hyp2f1

from theodolite.errors import SettingError
from theodolite.theory.arguments import positive, reals, whole

_SATURATED = 40.0
"""ln(u/(s − u)) from which on u is s in float64."""


def learning_time(
    initial: ArrayLike, final: ArrayLike, strength: float, *, matrices: int = 2, tau: float = 1.0
) -> Float[np.ndarray, "..."]:
    """Time that balanced weights, all aᵢ equal, take from u = ``initial`` to u = ``final``, in closed form.

    τu̇ = m u^{2−2/m} (s − u). For m = 2 this is t = (τ/2s) ln[u_f(s − u₀)/(u₀(s − u_f))]; for other m
    t = (τ/m)[F(u_f) − F(u₀)] with F(u) = u^{1−c}/((1 − c)s) ₂F₁(1, 1 − c; 2 − c; u/s) and c = 2 − 2/m.

    Args:
        initial: u₀, 0 ≤ u₀ < s.
        final: u_f, 0 ≤ u_f < s; a final below the initial one gives a negative time.
        strength: s > 0, the singular value that is learnt.
        matrices: m ≥ 1, number of weight matrices.
        tau: τ, inverse of the learning rate.

    Returns:
        The times; infinite from 0 with two matrices or more: that is the saddle.

    Raises:
        SettingError: If a strength lies outside [0, s), or s, τ or m is not positive.

    Limits: at a fixed learning rate the time is not monotone in depth; compare depths at ``optimal_rate``.
    Source: Saxe 2014; the integral by the hypergeometric function.

    Example:
        >>> learning_time(1e-3, [0.5], 1.0).round(5)
        array([3.45338])
    """
    positive(strength, "strength")
    start, end = (_unlearnt(value, name, strength) for value, name in ((initial, "initial"), (final, "final")))
    count = whole(matrices, "matrices")
    ages = _age(end / strength, count) - _age(start / strength, count)
    # In units of u/s the equation reads τ d(u/s)/dt = m s^{2−2/m} (u/s)^c (1 − u/s).
    return np.asarray(positive(tau, "tau") / count * strength ** (2 / count - 2) * ages)


def mode_strength(
    times: ArrayLike, initial: float, strength: float, *, matrices: int = 2, tau: float = 1.0
) -> Float[np.ndarray, "..."]:
    """Strength u(t) of a mode learnt by balanced weights, the inverse of ``learning_time``.

    u = s e^{2st/τ}/(e^{2st/τ} − 1 + s/u₀) for two matrices, s − (s − u₀)e^{−t/τ} for one, bisection for more.

    Args:
        times: t ≥ 0.
        initial: u₀, 0 ≤ u₀ < s.
        strength: s > 0.
        matrices: m ≥ 1, number of weight matrices.
        tau: τ, inverse of the learning rate.

    Returns:
        u(t), in the shape of the times.

    Raises:
        SettingError: If a time is negative, u₀ lies outside [0, s), or s, τ or m is not positive.

    Cost: 60 evaluations of ``learning_time`` for m > 2.
    Source: Saxe 2014.

    Example:
        >>> mode_strength([0.0, np.log(3.0) / 2], 0.25, 1.0)
        array([0.25, 0.5 ])
    """
    elapsed = reals(times, "times", least=0.0) / positive(tau, "tau")
    start, count = float(_unlearnt(initial, "initial", positive(strength, "strength"))), whole(matrices, "matrices")
    if count == 1:
        return np.asarray(strength - (strength - start) * np.exp(-elapsed))
    if start == 0:
        return np.zeros_like(elapsed)
    odds = np.log(start) - np.log(strength - start)
    if count == 2:
        return np.asarray(strength / (1 + np.exp(-odds - 2 * strength * elapsed)))
    low = np.full_like(elapsed, odds)
    high = np.full_like(elapsed, max(odds, _SATURATED))
    for _ in range(60):
        middle = (low + high) / 2
        share = 1 / (1 + np.exp(-middle))
        ages = _age(share, count) - _age(start / strength, count)
        is_early = strength ** (2 / count - 2) / count * ages < elapsed
        low, high = np.where(is_early, middle, low), np.where(is_early, high, middle)
    return np.asarray(strength / (1 + np.exp(-(low + high) / 2)))


def infinite_depth_time(initial: ArrayLike, final: ArrayLike, strength: float) -> Float[np.ndarray, "..."]:
    """N_l t/τ, the time of learning in the limit of infinitely many layers, in closed form.

    N_l t/τ = (1/s²) ln[u_f(s − u₀)/(u₀(s − u_f))] + 1/(s u₀) − 1/(s u_f), from τu̇ = N_l u²(s − u).

    Args:
        initial: u₀, 0 < u₀ < s.
        final: u_f, 0 < u_f < s.
        strength: s > 0.

    Returns:
        The times, multiplied by N_l and in the unit of τ.

    Raises:
        SettingError: If a strength lies outside (0, s).

    Source: Saxe 2014.

    Example:
        >>> infinite_depth_time(1e-3, [0.5], 1.0).round(3)
        array([1004.907])
    """
    positive(strength, "strength")
    start, end = _unlearnt(initial, "initial", strength), _unlearnt(final, "final", strength)
    if not ((start > 0).all() and (end > 0).all()):
        raise SettingError("initial and final must be above 0, got 0. From 0 nothing is ever learnt.")
    return np.asarray(_log_odds(start, end, strength) / strength**2 + (1 / start - 1 / end) / strength)


def tuned_infinite_depth_time(initial: ArrayLike, final: ArrayLike, strength: float) -> Float[np.ndarray, "..."]:
    """Time of learning in infinitely many layers, in steps of the rate 1/λ₁ that suits the depth: it is finite.

    With α = c/λ₁, t_∞ = c{ln[u_f(s − u₀)/(u₀(s − u_f))] + s/u₀ − s/u_f}, against c times the first term with one
    hidden layer: the delay is about c s/u₀, whatever the depth.

    Args:
        initial: u₀, 0 < u₀ < s.
        final: u_f, 0 < u_f < s.
        strength: s > 0.

    Returns:
        The times at c = 1.

    Raises:
        SettingError: If a strength lies outside (0, s).

    Source: Saxe 2014.
    """
    return np.asarray(strength**2 * infinite_depth_time(initial, final, strength))


def top_curvature(weight: float, strength: float, *, matrices: int) -> float:
    """λ₁ of ½(s − a₁⋯a_m)² where all aᵢ = a: its eigenvector is (1, …, 1).

    (2m − 1)a^{2m−2} − (m − 1)s a^{m−2}; m s^{2−2/m} at the solution, the greatest value on the way there.

    Args:
        weight: a ≥ 0.
        strength: s > 0.
        matrices: m ≥ 2, number of weight matrices.

    Returns:
        The eigenvalue; below it the others, (s − aᵐ)a^{m−2}, lie near the solution.

    Raises:
        SettingError: If a or s is not finite or negative, or m < 2.

    Source: Saxe 2014.

    Example:
        >>> top_curvature(1.0, 1.0, matrices=5)
        5.0
    """
    a = float(reals(weight, "weight", least=0.0))
    m, s = whole(matrices, "matrices", least=2), positive(strength, "strength")
    return float((2 * m - 1) * a ** (2 * m - 2) - (m - 1) * s * a ** (m - 2))


def optimal_rate(strength: float, *, matrices: int) -> float:
    """1/λ₁ at the solution: the learning rate that suits the depth, 1/(m s^{2−2/m}), of order 1/(N_l s²).

    Args:
        strength: s > 0, the strongest mode.
        matrices: m ≥ 1, number of weight matrices.

    Returns:
        The rate; twice of it is the limit of stability.

    Raises:
        SettingError: If s or m is not positive.

    Source: Saxe 2014.

    Example:
        >>> optimal_rate(4.0, matrices=2)
        0.125
    """
    m = whole(matrices, "matrices")
    return float(1 / (m * positive(strength, "strength") ** (2 - 2 / m)))


def unbalanced_learning_time(
    first: float, second: float, final: ArrayLike, strength: float, *, tau: float = 1.0
) -> Float[np.ndarray, "..."]:
    """Time that two unequal weights a ≠ b take until ab = u_f, on their hyperbola a² − b² = const.

    With c₀ = |a² − b²|, S = 2s, R = √(c₀² + S²), sinh θ = 2ab/c₀:
    t = (τ/R) [ln((R + c₀ + S tanh(θ/2))/(R − c₀ − S tanh(θ/2)))] from θ₀ to θ_f.

    Args:
        first: a at the start.
        second: b at the start.
        final: u_f between ab and s.
        strength: s > 0.
        tau: τ, inverse of the learning rate.

    Returns:
        The times.

    Raises:
        SettingError: If a² = b² (``learning_time`` is for that), or u_f is not between ab and s.

    Deviations: 1. The printed eq. 25 and 26 put ab = c₀ sinh θ; it is (c₀/2) sinh θ, and s becomes 2s.
    Source: Saxe 2014, corrected; an integrator agrees to 1e-10, the printed form is 1.8 times too long.

    Example:
        >>> unbalanced_learning_time(0.3, 0.1, [0.9], 1.0).round(7)
        array([2.6814206])
    """
    a, b = (float(reals(value, name)) for value, name in ((first, "first"), (second, "second")))
    gap, s, end = abs(a**2 - b**2), positive(strength, "strength"), reals(final, "final")
    if gap == 0:
        raise SettingError(f"first and second must differ in size, got {a} and {b}. Call learning_time.")
    if ((end - a * b) * (s - end) < 0).any() or (end == s).any():
        raise SettingError(f"final must lie between ab = {a * b:g} and s = {s:g}, s excluded, got {final!r}.")
    target = 2 * s
    root = np.hypot(gap, target)

    def age(product: np.ndarray) -> np.ndarray:
        slope = target * np.tanh(np.arcsinh(2 * product / gap) / 2)
        # R − c₀ = S²/(R + c₀): the difference would vanish for weights that are far apart.
        return np.asarray(np.log(np.abs((root + gap + slope) / (target**2 / (root + gap) - slope))))

    return np.asarray(positive(tau, "tau") / root * (age(end) - age(np.asarray(a * b))))


def unbalanced_strength(
    times: ArrayLike, first: float, second: float, strength: float, *, tau: float = 1.0
) -> Float[np.ndarray, "..."]:
    """Strength u(t) = ab of a mode learnt by two unequal weights, the inverse of ``unbalanced_learning_time``.

    With y = tanh(θ/2), (R + c₀ + Sy)/(R − c₀ − Sy) grows like e^{Rt/τ}, and u = c₀ y/(1 − y²).

    Args:
        times: t ≥ 0.
        first: a at the start.
        second: b at the start.
        strength: s > 0.
        tau: τ, inverse of the learning rate.

    Returns:
        u(t), in the shape of the times; it starts from ab, of any sign, also above s.

    Raises:
        SettingError: If a² = b² (``mode_strength`` is for that), or a number is out of range.

    Source: Saxe 2014, corrected as there.

    Example:
        >>> unbalanced_strength([0.0, 2.6814206, 100.0], 0.3, 0.1, 1.0).round(6)
        array([0.03, 0.9 , 1.  ])
    """
    elapsed, s = reals(times, "times", least=0.0), positive(strength, "strength")
    a, b = (float(reals(value, name)) for value, name in ((first, "first"), (second, "second")))
    large, small = (a, b) if abs(a) > abs(b) else (b, a)
    gap, target = (large - small) * (large + small), 2 * s
    if gap == 0:
        raise SettingError(f"first and second must differ in size, got {a} and {b}. Call mode_strength.")
    root = np.hypot(gap, target)
    # S − R = −c₀²/(R + S) and 1 − y = (a − b)/a: differences of nearly equal numbers are taken by hand.
    short = gap**2 / (root + target)
    lag = (short - gap + target * (large - small) / large) / (root + gap + target * small / large)
    faded = lag * np.exp(-root * elapsed / positive(tau, "tau"))
    slope = (root - gap) - (root + gap) * faded
    below = (target + root + gap) * faded + (gap - short)
    above = (root + target - gap) - (short + gap) * faded
    return np.asarray(gap * target * slope * (1 + faded) / (below * above))


def balances(weights: ArrayLike) -> Float[np.ndarray, "..."]:
    """What gradient flow conserves in a chain of scalars: a₍ᵢ₊₁₎² − aᵢ².

    Args:
        weights: a₁ … a_m along the last axis.

    Returns:
        The m − 1 differences along the last axis: trajectories are hyperbolas.

    Raises:
        SettingError: If a weight is not finite.

    Limits: a step of descent moves them by a relative O(ε²), so their drift over a time is O(ε).
    Source: Saxe 2014; of matrices see ``linear_starts.matrix_balances``.

    Example:
        >>> balances([1.0, 2.0, 4.0])
        array([ 3., 12.])
    """
    return np.diff(reals(weights, "weights") ** 2, axis=-1)


def _unlearnt(value: ArrayLike, name: str, strength: float) -> np.ndarray:
    array = reals(value, name)
    if ((array < 0) | (array >= strength)).any():
        raise SettingError(f"{name} must lie in [0, {strength:g}), got {value!r}. s itself is never reached.")
    return array


def _log_odds(initial: np.ndarray, final: np.ndarray, strength: float) -> np.ndarray:
    return np.asarray(np.log(final) + np.log(strength - initial) - np.log(initial) - np.log(strength - final))


def _age(share: ArrayLike, matrices: int) -> np.ndarray:
    """∫ dz/(z^c (1 − z)), c = 2 − 2/m, up to a constant."""
    share, power = np.asarray(share), 2 / matrices - 1
    with np.errstate(divide="ignore"):
        if matrices == 2:
            return np.asarray(np.log(share) - np.log1p(-share))
        return np.asarray(share**power / power * hyp2f1(1.0, power, 1 + power, share))
