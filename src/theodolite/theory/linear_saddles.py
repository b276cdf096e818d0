"""Where are the saddles and the global minima of a linear net with one hidden layer, and how do they curve?

In coordinates of the singular modes s₁…s_r of YXᵀ, with whitened inputs and equally many inputs, outputs and modes,
the loss is ½‖diag(s) − W₂W₁‖². Each set of learnt modes S, |S| ≤ hidden width N₂, gives one family of critical points.
"""

from collections.abc import Iterable
from itertools import combinations

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from theodolite.errors import SettingError, ShapeError
from theodolite.theory.arguments import matrix, row, whole


def saddle_families(count: int, width: int) -> list[tuple[int, ...]]:
    """All sets of at most N₂ modes that a critical point may have learnt.

    Args:
        count: Number of modes r.
        width: Hidden width N₂.

    Returns:
        The sets, by size; of the full ones there are C(r, N₂), and only the one of the strongest modes is stable.

    Raises:
        SettingError: If a number is less than 1.

    Cost: Σ C(r, k), k ≤ N₂.
    Source: Saxe 2014; Baldi & Hornik 1989.

    Example:
        >>> saddle_families(2, 1)
        [(), (0,), (1,)]
    """
    modes = range(whole(count, "count"))
    return [chosen for size in range(min(count, whole(width, "width")) + 1) for chosen in combinations(modes, size)]


def saddle_weights(
    strengths: ArrayLike, width: int, learnt: Iterable[int]
) -> tuple[Float[np.ndarray, "hidden modes"], Float[np.ndarray, "modes hidden"]]:
    """The balanced critical point that has learnt the modes S, one hidden unit each: a = b = √s.

    Args:
        strengths: s, shape (r,), not negative.
        width: Hidden width N₂.
        learnt: S, indices of modes.

    Returns:
        W₁ and W₂.

    Raises:
        SettingError: If a strength is negative, or S does not fit.

    Example:
        >>> saddle_weights([4.0, 1.0], 1, [0])[0]
        array([[2., 0.]])
    """
    values, chosen = _modes(strengths, width, learnt)
    first = np.zeros((width, len(values)))
    first[np.arange(len(chosen)), chosen] = np.sqrt(values[list(chosen)])
    return first, first.T.copy()


def saddle_loss(strengths: ArrayLike, learnt: Iterable[int]) -> float:
    """½Σ s² over the modes that are not learnt.

    Args:
        strengths: s, shape (r,), not negative.
        learnt: S, indices of modes.

    Returns:
        The loss, the same at every point of the family.

    Raises:
        SettingError: If a strength is negative, or S does not fit.

    Example:
        >>> saddle_loss([4.0, 1.0], [0])
        0.5
    """
    values, chosen = _modes(strengths, None, learnt)
    return float(0.5 * np.sum(np.delete(values, list(chosen)) ** 2))


def saddle_spectrum(strengths: ArrayLike, width: int, learnt: Iterable[int]) -> Float[np.ndarray, "params"]:
    """All eigenvalues of the Hessian at the balanced critical point that has learnt S, in closed form.

    A free hidden unit gives ±s_α for each unlearnt mode and (0, 0) for each learnt one. The hidden unit of a learnt
    mode β gives s_β ± s_α for each unlearnt mode α: s_β − s_α is the swap. A pair of learnt modes gives s_α + s_β twice
    and 0 twice, a learnt mode by itself 2s_β and 0.

    Args:
        strengths: s, shape (r,), not negative.
        width: Hidden width N₂.
        learnt: S, indices of modes.

    Returns:
        The 2 r N₂ eigenvalues, ascending.

    Raises:
        SettingError: If a strength is negative, or S does not fit.

    Cost: O(r N₂).
    Limits: as many inputs as outputs as modes; another point (GW₁, W₂G⁻¹) has other eigenvalues, of the same signs.
    Source: derived here from the second variation; a dense Hessian agrees at all subsets.

    Example:
        >>> saddle_spectrum([2.0], 1, [])
        array([-2.,  2.])
        >>> saddle_spectrum([3.0, 1.0], 1, [1])
        array([-2.,  0.,  2.,  4.])
    """
    values, chosen = _modes(strengths, width, learnt)
    known, unknown = values[list(chosen)], np.delete(values, list(chosen))
    free = width - len(chosen)
    swaps, sums = known[:, None] - unknown, known[:, None] + unknown
    pairs = known[:, None] + known  # the diagonal holds 2s; each pair stands there twice
    parts = (np.tile(unknown, free), -np.tile(unknown, free), swaps.ravel(), sums.ravel(), pairs.ravel())
    zeros = np.zeros(2 * free * len(known) + len(known) ** 2)
    return np.sort(np.concatenate([*parts, zeros]))


def saddle_index(strengths: ArrayLike, width: int, learnt: Iterable[int]) -> int:
    """Number of negative eigenvalues at a critical point that has learnt S.

    (N₂ − |S|) · #{α ∉ S: s_α > 0} + #{α ∉ S, β ∈ S: s_α > s_β}.

    Args:
        strengths: s, shape (r,), not negative.
        width: Hidden width N₂.
        learnt: S, indices of modes.

    Returns:
        The index; 0 for global minima only: there is no other minimum.

    Raises:
        SettingError: If a strength is negative, or S does not fit.

    Source: derived here; Saxe 2014 says that only the strongest modes are stable.

    Example:
        >>> saddle_index([4.0, 3.0, 2.0, 1.0], 3, [])
        12
    """
    values, chosen = _modes(strengths, width, learnt)
    known, unknown = values[list(chosen)], np.delete(values, list(chosen))
    escapes = (width - len(chosen)) * np.count_nonzero(unknown)
    return int(escapes + np.count_nonzero(unknown > known[:, None]))


def global_minimum(
    strengths: ArrayLike, width: int, *, mixing: ArrayLike | None = None
) -> tuple[Float[np.ndarray, "hidden modes"], Float[np.ndarray, "modes hidden"]]:
    """A point on the manifold of global minima: the N₂ strongest modes learnt, (GW₁, W₂G⁻¹).

    Args:
        strengths: s, shape (r,), not negative.
        width: Hidden width N₂.
        mixing: Any invertible G, shape (N₂, N₂); None is the identity, the balanced minimum.

    Returns:
        W₁ and W₂.

    Raises:
        SettingError: If a strength is negative, or G is singular.
        ShapeError: If G has another shape.

    Source: Saxe 2014; Baldi & Hornik 1989.

    Example:
        >>> global_minimum([4.0], 1, mixing=[[2.0]])
        (array([[4.]]), array([[1.]]))
    """
    values = row(strengths, "strengths")
    order = np.argsort(-values, kind="stable")[: whole(width, "width")]
    first, second = saddle_weights(values, width, sorted(int(mode) for mode in order))
    if mixing is None:
        return first, second
    G = matrix(mixing, "mixing")
    if G.shape != (width, width):
        raise ShapeError(f"mixing must have shape ({width}, {width}), got {G.shape}. It acts on hidden units.")
    if np.linalg.matrix_rank(G) < width:
        raise SettingError(f"mixing must be invertible, got rank {np.linalg.matrix_rank(G)} of {width}.")
    return G @ first, np.linalg.solve(G.T, second.T).T


def minimum_dimension(count: int, width: int) -> int:
    """Dimension of the manifold of global minima: N₂² up to N₂ = r, 2rN₂ − r² beyond.

    The orbit of invertible G is free where every hidden unit is used; beyond, W₂W₁ = diag(s) are r² equations.

    Args:
        count: Number of modes r, all with s > 0 and distinct; also of inputs and outputs.
        width: Hidden width N₂.

    Returns:
        The dimension, which is the number of zero eigenvalues at a minimum.

    Raises:
        SettingError: If a number is less than 1.

    Example:
        >>> minimum_dimension(4, 3), minimum_dimension(4, 5)
        (9, 24)
    """
    r, hidden = whole(count, "count"), whole(width, "width")
    return hidden**2 if hidden <= r else 2 * r * hidden - r**2


def _modes(strengths: ArrayLike, width: int | None, learnt: Iterable[int]) -> tuple[np.ndarray, tuple[int, ...]]:
    """Strengths and learnt modes, checked."""
    values, chosen = row(strengths, "strengths"), tuple(learnt)
    if (values < 0).any():
        raise SettingError(f"strengths must not be negative, got {values.min()}. Take singular values.")
    most = len(values) if width is None else min(whole(width, "width"), len(values))
    if len(set(chosen)) < len(chosen) or any(not 0 <= mode < len(values) for mode in chosen) or len(chosen) > most:
        raise SettingError(f"learnt must be at most {most} different modes out of {len(values)}, got {chosen}.")
    return values, chosen
