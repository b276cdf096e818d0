"""How does a discrete descent, with momentum and with noise, move along one eigenvector of a quadratic, and where to?

Along an eigenvector with eigenvalue λ the offset x from the stationary point obeys x' = p x − q x₋ − εξ with noise ξ of
the gradient, independent from step to step. Everything in this file is a property of that recursion. The flow that
small steps approach is in ``flow``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from theodolite.errors import SettingError
from theodolite.theory.arguments import positive, reals


@dataclass(frozen=True)
class Descent:
    """A method of the first order: x' = x + v', v' = βv − ε∇J, the gradient taken at x or, by Nesterov, at x + βv.

    Attributes:
        step: Step size ε > 0.
        momentum: β, 0 ≤ β < 1; 0 is gradient descent.
        nesterov: Whether the gradient is taken at the point ahead.

    Limits: ``torch.optim.SGD`` with Nesterov's momentum keeps the points ahead, x + βv, as its parameters: the same
    rates and limits, but another stationary loss.
    """

    step: float
    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        """Refuse steps and momenta with which nothing converges."""
        positive(self.step, "step")
        if not 0 <= self.momentum < 1:
            raise SettingError(f"momentum must lie in [0, 1), got {self.momentum}. 0 is gradient descent.")

    def recursion(self, eigenvalues: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients of x' = p x − q x₋.

        Args:
            eigenvalues: λ, of any sign.

        Returns:
            p and q, one for each eigenvalue.
        """
        contraction = 1 - self.step * reals(eigenvalues, "eigenvalues")
        if self.nesterov:
            return np.asarray(contraction * (1 + self.momentum)), np.asarray(contraction * self.momentum)
        return np.asarray(contraction + self.momentum), np.full_like(contraction, self.momentum)


def mode_rates(descent: Descent, eigenvalues: ArrayLike) -> Float[np.ndarray, "..."]:
    """The factor by which a mode shrinks or grows a step in the long run, by the roots of r² − p r + q.

    Args:
        descent: The method.
        eigenvalues: λ, of any sign.

    Returns:
        The greatest modulus of the roots: below 1 where the mode converges.

    Source: Polyak 1964; gradient descent gives |1 − ελ|.

    Example:
        >>> mode_rates(Descent(0.5), [1.0, -1.0, 4.0])
        array([0.5, 1.5, 1. ])
    """
    p, q = descent.recursion(eigenvalues)
    discriminant = np.asarray(p**2 / 4 - q)
    real = np.abs(p) / 2 + np.sqrt(np.maximum(discriminant, 0))
    return np.asarray(np.where(discriminant < 0, np.sqrt(np.abs(q)), real))


def stability_limit(descent: Descent) -> float:
    """The eigenvalue from which on a mode no longer converges.

    2(1 + β)/ε with heavy ball, 2(1 + β)/(ε(1 + 2β)) with Nesterov's momentum, 2/ε without.

    Args:
        descent: The method.

    Returns:
        The limit; modes with 0 < λ below it converge.

    Source: Cohen 2021, Gradient descent on neural networks typically occurs at the edge of stability.

    Example:
        >>> stability_limit(Descent(0.1, momentum=0.5))
        30.0
    """
    heavy = 2 * (1 + descent.momentum) / descent.step
    return heavy / (1 + 2 * descent.momentum) if descent.nesterov else heavy


def best_descent(least: float, greatest: float, *, with_momentum: bool = False) -> Descent:
    """The step, and the momentum, that make the slowest mode of a quadratic as fast as it can be.

    ε = 2/(μ + L) has the rate (κ − 1)/(κ + 1) with κ = L/μ. Heavy ball has ε = 4/(√L + √μ)² and
    β = ((√κ − 1)/(√κ + 1))², and the rate √β.

    Args:
        least: Least eigenvalue μ > 0.
        greatest: Greatest eigenvalue L ≥ μ.
        with_momentum: Whether heavy ball may be used.

    Returns:
        The method.

    Raises:
        SettingError: If the eigenvalues are not positive or not in order.

    Source: Polyak 1964.

    Example:
        >>> best_descent(1.0, 9.0, with_momentum=True)
        Descent(step=0.25, momentum=0.25, nesterov=False)
    """
    if positive(greatest, "greatest") < positive(least, "least"):
        raise SettingError(f"greatest must not be below least, got {greatest} and {least}. Exchange them.")
    if not with_momentum:
        return Descent(2 / (least + greatest))
    low, high = np.sqrt(least), np.sqrt(greatest)
    return Descent(float(4 / (low + high) ** 2), float(((high - low) / (high + low)) ** 2))


def stationary_losses(descent: Descent, eigenvalues: ArrayLike, noise: ArrayLike) -> Float[np.ndarray, "..."]:
    """Mean loss ½λE[x²] at which noise holds each mode, from the stationary variance of the recursion.

    ½λ ε²σ² (1 + q) / ((1 − q)((1 + q)² − p²)); gradient descent gives εσ²/(2(2 − ελ)).

    Args:
        descent: The method.
        eigenvalues: λ ≥ 0.
        noise: σ², variance of the gradient along each mode; divide by the batch size for the mean of a batch.

    Returns:
        The losses; infinite at and beyond the stability limit, with the limit εσ²/(4(1 − β)) for flat modes. Their sum
        is the loss of the whole quadratic.

    Limits: noise that depends on neither the point nor the step before.
    Source: the variance of an autoregression of order 2; Mandt 2017, for the limit of small steps.

    Example:
        >>> stationary_losses(Descent(1.0), [1.0], 2.0)
        array([1.])
    """
    curvature, variance = np.broadcast_arrays(
        reals(eigenvalues, "eigenvalues", least=0.0), reals(noise, "noise", least=0.0)
    )
    p, q = descent.recursion(curvature)
    # (1 + q)² − p² = ελ(1 + q + p): divided by λ once and for all, no digit is lost at flat modes.
    room = 1 + q + p
    is_stable = (room > 0) & (q < 1)
    loss = 0.5 * descent.step * variance * (1 + q)
    return np.asarray(np.divide(loss, (1 - q) * room, out=np.full(loss.shape, np.inf), where=is_stable))


def expected_squares(
    descent: Descent, eigenvalues: ArrayLike, offsets: ArrayLike, *, steps: ArrayLike, noise: ArrayLike = 0.0
) -> Float[np.ndarray, "steps modes"]:
    """E[x²] of each mode after k steps from rest, exactly, by powers of the matrix of second moments.

    Args:
        descent: The method.
        eigenvalues: λ of any sign, shape (n,).
        offsets: x at the start, where v = 0; one number or one for each mode.
        steps: k, shape (m,), whole numbers ≥ 0.
        noise: σ², variance of the gradient along each mode.

    Returns:
        One k a row; infinite or NaN on overflow. ½λ times an entry is the mean loss of that mode.

    Raises:
        SettingError: If something is not finite, a variance is negative, or k is no whole number ≥ 0.

    Cost: O(ln k) products of 4 × 4 matrices for each mode and k.

    Example:
        >>> expected_squares(Descent(0.5), [1.0], 1.0, steps=[0, 1, 2], noise=4.0).ravel()
        array([1.    , 1.25  , 1.3125])
    """
    curvature, start = np.broadcast_arrays(np.atleast_1d(reals(eigenvalues, "eigenvalues")), reals(offsets, "offsets"))
    counts = np.atleast_1d(reals(steps, "steps", least=0.0))
    if (counts != np.round(counts)).any():
        raise SettingError(f"steps must be whole numbers, got {steps!r}.")
    moments = _moment_matrix(descent, curvature, reals(noise, "noise", least=0.0))
    begin = np.stack([start**2, start**2, start**2, np.ones_like(start)], axis=-1)
    with np.errstate(over="ignore", invalid="ignore"):
        powers = [np.linalg.matrix_power(moments, int(count)) for count in counts]
        return np.stack([np.einsum("ni,ni->n", power[:, 0], begin) for power in powers])


def escape_steps(
    descent: Descent, eigenvalue: float, offsets: ArrayLike, *, radius: float, noise: float = 0.0
) -> Int[np.ndarray, "..."]:
    """Steps until a descent that starts near a saddle, at rest, is away: the least k with E[x²] ≥ r².

    Along a negative eigenvalue, without noise and momentum, k = ⌈ln(r/|x₀|) / ln(1 + ε|λ|)⌉.

    Args:
        descent: The method.
        eigenvalue: λ < 0.
        offsets: x₀, the component of the start along the eigenvector; 0 needs noise.
        radius: r > 0, where the quadratic ends.
        noise: σ², variance of the gradient along the eigenvector.

    Returns:
        The numbers of steps, in the shape of the offsets.

    Raises:
        SettingError: If λ is not negative, a number is out of range, or an offset of 0 has no noise to leave by.

    Cost: O(ln² k) products of 4 × 4 matrices for each offset.
    Limits: with noise this is the step at which the root mean square is away, not the mean of the first passage.

    Example:
        >>> escape_steps(Descent(1.0), -1.0, [1.0, 0.25, 0.1], radius=1.0)
        array([0, 2, 4])
    """
    start = reals(offsets, "offsets")
    if not (np.isfinite(eigenvalue) and eigenvalue < 0):
        raise SettingError(f"eigenvalue must be negative, got {eigenvalue}. Only downward curvature leads away.")
    target = positive(radius, "radius") ** 2
    if not float(reals(noise, "noise", least=0.0)) and (start == 0).any():
        raise SettingError("an offset must not be 0 without noise, got 0.0: descent never leaves. Give noise > 0.")

    def is_away(x: float, k: int) -> bool:
        return not expected_squares(descent, [eigenvalue], x, steps=[k], noise=noise)[0, 0] < target

    found = [_first(partial(is_away, float(x))) for x in start.ravel()]
    return np.array(found, dtype=np.int64).reshape(start.shape)


def _moment_matrix(descent: Descent, eigenvalues: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """The linear map of (E[x²], E[x x₋], E[x₋²], 1) in one step, one matrix a mode."""
    p, q = descent.recursion(eigenvalues)
    step = np.zeros((len(p), 4, 4))
    step[:, 0, 0], step[:, 0, 1], step[:, 0, 2] = p**2, -2 * p * q, q**2
    step[:, 0, 3] = descent.step**2 * noise
    step[:, 1, 0], step[:, 1, 1] = p, -q
    step[:, 2, 0] = step[:, 3, 3] = 1.0
    return step


def _first(holds: Callable[[int], bool]) -> int:
    """The least k ≥ 0 from which on a condition holds, by doubling and bisection."""
    if holds(0):
        return 0
    low, high = 0, 1
    while not holds(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
