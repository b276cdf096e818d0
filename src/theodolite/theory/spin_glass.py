"""What does the spherical spin glass look like, and where does descent on it end?

L(w) = Λ^{−(H−1)/2} Σ X_{i₁…i_H} w_{i₁}⋯w_{i_H} with independent couplings X ~ N(0, 1) on the sphere ‖w‖² = Λ. All is
written with the symmetrised couplings S, so that L = S[w, …, w]: one contraction gives value, gradient and Hessian, for
many points at once. How many critical points there are is told in ``complexity``.
"""

import math
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike

from theodolite.errors import SettingError, ShapeError
from theodolite.theory.arguments import positive, reals, whole


@dataclass(frozen=True, eq=False)
class SpinGlass:
    """One surface: the Hamiltonian L(w) = S[w, …, w] of order H on the sphere ‖w‖² = Λ.

    Attributes:
        tensor: S, symmetric in its H indices of size Λ each, scaled by Λ^{−(H−1)/2}; its type is that of all results.
    """

    tensor: Float[np.ndarray, "..."]

    def __post_init__(self) -> None:
        """Refuse couplings that are no symmetric tensor."""
        shape = self.tensor.shape
        if self.tensor.ndim < 2 or len(set(shape)) != 1:
            raise ShapeError(
                f"tensor must have H ≥ 2 equal sides, got shape {shape}. Call draw_spin_glass or symmetrized."
            )

    @property
    def size(self) -> int:
        """Number of spins Λ."""
        return len(self.tensor)

    @property
    def order(self) -> int:
        """H."""
        return self.tensor.ndim

    def energies(self, points: Float[np.ndarray, "points size"]) -> Float[np.ndarray, "points"]:
        """L(w), one for each row; divide by Λ for the energy per spin."""
        return np.asarray(np.einsum("bi,bi->b", self._contracted(points, 1), points))

    def gradients(self, points: Float[np.ndarray, "points size"]) -> Float[np.ndarray, "points size"]:
        """∇L = H S[w, …, w, ·], in the space around the sphere; w·∇L = H L. Cost: Λᴴ multiplications a point."""
        return np.asarray(self.order * self._contracted(points, 1))

    def tangent_gradients(self, points: Float[np.ndarray, "points size"]) -> Float[np.ndarray, "points size"]:
        """∇L − w (w·∇L)/Λ: the gradient on the sphere."""
        slopes = self.gradients(points)
        return np.asarray(slopes - points * (np.einsum("bi,bi->b", points, slopes) / self.size)[:, None])

    def hessians(self, points: Float[np.ndarray, "points size"]) -> Float[np.ndarray, "points size size"]:
        """∇²L = H(H − 1) S[w, …, w, ·, ·], in the space around the sphere."""
        return np.asarray(self.order * (self.order - 1) * self._contracted(points, 2))

    def tangent_hessians(self, points: Float[np.ndarray, "points size"]) -> Float[np.ndarray, "points tangent tangent"]:
        """Bᵀ(∇²L − (w·∇L/Λ)I)B, the Hessian on the sphere in orthonormal tangent coordinates B: Λ − 1 a side."""
        basis = tangent_basis(points)
        ambient = np.swapaxes(basis, 1, 2) @ self.hessians(points) @ basis
        pull = self.order * self.energies(points) / self.size
        return np.asarray(ambient - pull[:, None, None] * np.eye(self.size - 1, dtype=self.tensor.dtype))

    def _contracted(self, points: np.ndarray, free: int) -> np.ndarray:
        """S[w, …, w] with so many indices left free, one point a row."""
        size, count = self.size, len(points)
        if self.order == free:
            return np.broadcast_to(self.tensor, (count, *self.tensor.shape))
        # The first contraction is one product of matrices; it is nearly all of the work.
        left: np.ndarray = (points @ self.tensor.reshape(size, -1)).reshape(count, *(size,) * (self.order - 1))
        while left.ndim - 1 > free:
            left = np.einsum("bi,bi...->b...", points, left)
        return left


@dataclass(frozen=True, eq=False)
class Descents:
    """Where many descents, or searches for critical points, on one surface ended.

    Attributes:
        points: One a row, on the sphere.
        energies: L/Λ.
        gradient_norms: ‖gradient on the sphere‖.
        steps: Steps that each took.
        has_converged: Whether the gradient norm came below the tolerance.
    """

    points: Float[np.ndarray, "points size"]
    energies: Float[np.ndarray, "points"]
    gradient_norms: Float[np.ndarray, "points"]
    steps: Int[np.ndarray, "points"]
    has_converged: Bool[np.ndarray, "points"]


def draw_spin_glass(
    size: int, order: int = 3, *, generator: np.random.Generator | None = None, dtype: type[np.floating] = np.float64
) -> SpinGlass:
    """Draw a surface: independent couplings X ~ N(0, 1), symmetrised and scaled.

    Args:
        size: Λ.
        order: H ≥ 2.
        generator: Source of the couplings; give one for a repeatable result.
        dtype: Type of the couplings.

    Returns:
        The surface; at a fixed w, L(w) has mean 0 and variance Λ.

    Raises:
        SettingError: If Λ < 1 or H < 2.

    Cost: Λᴴ numbers, twice while they are symmetrised: 8 MB at Λ = 100 and H = 3.
    Source: Choromanska 2015.
    """
    n, H = whole(size, "size"), whole(order, "order", least=2)
    couplings = (generator or np.random.default_rng()).standard_normal((n,) * H).astype(dtype)
    return symmetrized(couplings)


def symmetrized(couplings: Float[np.ndarray, "..."]) -> SpinGlass:
    """The surface of given couplings: Λ^{−(H−1)/2} times the mean of X over all orders of its indices.

    Args:
        couplings: X, with H ≥ 2 equal sides Λ.

    Returns:
        The surface, of the same L as with X itself.

    Raises:
        ShapeError: If the sides differ or are fewer than two.

    Cost: H! passes over X.

    Example:
        >>> symmetrized(np.array([[0.0, 2.0], [0.0, 0.0]])).energies(np.array([[1.0, 1.0]])) * np.sqrt(2)
        array([2.])
    """
    orders = list(permutations(range(couplings.ndim)))
    if couplings.ndim < 2 or len(set(couplings.shape)) != 1:
        raise ShapeError(f"couplings must have H ≥ 2 equal sides, got shape {couplings.shape}.")
    total = np.zeros_like(couplings)
    for axes in orders:
        total += couplings.transpose(axes)
    total /= len(orders) * len(couplings) ** ((couplings.ndim - 1) / 2)
    return SpinGlass(total)


def sphere_points(
    size: int, count: int, *, generator: np.random.Generator | None = None
) -> Float[np.ndarray, "count size"]:
    """Points drawn uniformly from the sphere ‖w‖² = Λ.

    Args:
        size: Λ.
        count: How many.
        generator: Source of the draws; give one for a repeatable result.

    Returns:
        One point a row.

    Raises:
        SettingError: If a number is less than 1.
    """
    shape = whole(count, "count"), whole(size, "size")
    return _on_sphere((generator or np.random.default_rng()).standard_normal(shape))


def tangent_basis(points: Float[np.ndarray, "points size"]) -> Float[np.ndarray, "points size tangent"]:
    """Orthonormal bases of the tangent spaces, by the reflection that takes the first axis to the point.

    Args:
        points: w, one a row, not 0.

    Returns:
        For each point Λ × (Λ − 1) columns, all orthogonal to w.

    Example:
        >>> tangent_basis(np.array([[0.0, 2.0]]))[0].round(12)
        array([[-1.],
               [ 0.]])
    """
    normals = points / np.linalg.norm(points, axis=1, keepdims=True)
    signs = np.where(normals[:, 0] >= 0, 1.0, -1.0).astype(points.dtype)
    normals[:, 0] += signs  # away from cancellation
    shrink = 1 / (1 + np.abs(normals[:, 0] - signs))  # 2/‖n + e₁‖²
    reflected = np.eye(points.shape[1], dtype=points.dtype) - normals[:, :, None] * (
        shrink[:, None, None] * normals[:, None, :]
    )
    return np.asarray(reflected[:, :, 1:])


def descend_spin_glass(
    glass: SpinGlass, starts: ArrayLike, *, rate: float = 0.05, steps: int = 3000, tolerance: float = 1e-2
) -> Descents:
    """Gradient descent on the sphere from many starts at once: step along −gradient, then back to the sphere.

    Args:
        glass: The surface.
        starts: Points, one a row; brought to the sphere first.
        rate: Step size ε; stable below 2/λ, where λ ≤ 2√(H(H − 1)) + HE₀, about 0.2 for H = 3.
        steps: At most so many.
        tolerance: A start is done when its gradient norm is below; the default is that of the paper's code.

    Returns:
        Where they ended; a start that is done stays where it is.

    Raises:
        ShapeError: If the starts have another size.
        SettingError: If something is not finite or out of range.

    Cost: Λᴴ multiplications a start and step; memory Λ^{H−1} a start.
    Source: Choromanska 2015, and the authors' code.
    """
    points = _starts(glass, starts)
    positive(rate, "rate")
    taken = np.zeros(len(points), dtype=np.int64)
    active = np.arange(len(points))
    for _ in range(whole(steps, "steps", least=0)):
        slopes = glass.tangent_gradients(points[active])
        going = np.linalg.norm(slopes, axis=1) >= tolerance
        active, slopes = active[going], slopes[going]
        if not len(active):
            break
        points[active] = _on_sphere(points[active] - rate * slopes)
        taken[active] += 1
    return _ends(glass, points, taken, tolerance)


def newton_spin_glass(
    glass: SpinGlass, starts: ArrayLike, *, steps: int = 50, tolerance: float = 1e-8, longest: float = 0.2
) -> Descents:
    """Critical points of any index near the starts, by Newton's method on the sphere: g + Hv = 0, back to the sphere.

    Args:
        glass: The surface.
        starts: Points, one a row; brought to the sphere first.
        steps: At most so many.
        tolerance: A start is done when its gradient norm is below.
        longest: Longest step, as a share of the radius √Λ; it holds where the Hessian is nearly singular.

    Returns:
        Where they ended; only those that converged are critical points.

    Raises:
        ShapeError: If the starts have another size.
        SettingError: If something is not finite or out of range.

    Cost: Λᴴ + ⅔Λ³ multiplications a start and step; memory Λ² a start.
    Source: Dauphin 2014, appendix C, for the idea: Newton's method is drawn to saddles.
    """
    points = _starts(glass, starts)
    positive(longest, "longest")
    taken = np.zeros(len(points), dtype=np.int64)
    active = np.arange(len(points))
    for _ in range(whole(steps, "steps", least=0)):
        slopes = glass.tangent_gradients(points[active])
        active = active[np.linalg.norm(slopes, axis=1) >= tolerance]
        if not len(active):
            break
        points[active] = _on_sphere(points[active] + _newton_steps(glass, points[active], longest))
        taken[active] += 1
    return _ends(glass, points, taken, tolerance)


def _newton_steps(glass: SpinGlass, points: np.ndarray, longest: float) -> np.ndarray:
    """−H⁻¹g in the tangent space, no longer than a share of the radius."""
    basis = tangent_basis(points)
    slopes = np.einsum("bij,bi->bj", basis, glass.gradients(points))
    moves = -np.linalg.solve(glass.tangent_hessians(points), slopes[..., None])[..., 0]
    lengths = np.linalg.norm(moves, axis=1, keepdims=True)
    moves *= np.minimum(1, longest * math.sqrt(glass.size) / np.maximum(lengths, np.finfo(moves.dtype).tiny))
    return np.asarray(np.einsum("bij,bj->bi", basis, moves))


def _starts(glass: SpinGlass, starts: ArrayLike) -> np.ndarray:
    points = reals(starts, "starts").astype(glass.tensor.dtype)
    if points.ndim != 2 or points.shape[1] != glass.size:
        raise ShapeError(f"starts must have shape (points, {glass.size}), got {points.shape}. One start a row.")
    if not points.any(axis=1).all():
        raise SettingError("starts must not be 0: the origin has no place on the sphere. Draw them by sphere_points.")
    return _on_sphere(points)


def _ends(glass: SpinGlass, points: np.ndarray, taken: np.ndarray, tolerance: float) -> Descents:
    norms = np.linalg.norm(glass.tangent_gradients(points), axis=1)
    return Descents(points, glass.energies(points) / glass.size, norms, taken, norms < tolerance)


def _on_sphere(points: np.ndarray) -> np.ndarray:
    size = points.shape[1]
    # math.sqrt, not NumPy's, which would widen float32
    return np.asarray(points * (math.sqrt(size) / np.linalg.norm(points, axis=1, keepdims=True)))
