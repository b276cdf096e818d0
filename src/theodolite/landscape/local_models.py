"""What is J near a point, to second order?"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theodolite.linalg.curvature import hessian
from theodolite.linalg.decomposition import eigendecomposition
from theodolite.linalg.interface import as_array
from theodolite.linalg.krylov import krylov_space
from theodolite.linalg.operators import Operator
from theodolite.linalg.rounding import precision, product_error
from theodolite.objective import Objective
from theodolite.records.obstacles import Status
from theodolite.records.points import inertia_of

DENSE_LIMIT = 2000
"""Up to this n the Hessian is written down and decomposed: 200 MB at most, and seconds."""

_NEIGHBOURHOOD = 1e-3
"""A Newton step beyond this share of the size of a coordinate leads elsewhere: along e⁻ʸ it is 1/y, for ever."""


@dataclass(frozen=True, eq=False)
class LocalModel:
    """J near θ to second order, in axes of H: all of them, or those of the Krylov space of the gradient.

    Attributes:
        theta: θ, shape (n,).
        value: J(θ).
        gradient: g.
        axes: Orthonormal axes y, one a column; none if J, g or H is not finite.
        curvatures: yᵀHy, ascending.
        errors: An eigenvalue of H lies within this distance of each.
        components: yᵀg.
        sensitivity: What a change of θ by its own size, 1 at least, with signs as they come, does to a coordinate of g:
            √(Σⱼ Hᵢⱼ² max(|θⱼ|, 1)²), or one draw of it where H is not written down.
        scale: ‖H‖, as far as the axes tell; NaN if J, g or H is not finite.
        precision: Relative precision ε of the products.
        product_error: Error of the products over ‖H‖, a bound.
        is_complete: Whether these are all axes.
        is_finite: Whether J, g and H are, as far as is known.
        products: How many products H v it took.
        method: How the products were made.
    """

    theta: Float[Tensor, "params"]
    value: float
    gradient: Float[Tensor, "params"]
    axes: Float[Tensor, "params count"]
    curvatures: Float[np.ndarray, "count"]
    errors: Float[np.ndarray, "count"]
    components: Float[np.ndarray, "count"]
    sensitivity: Float[Tensor, "params"]
    scale: float
    precision: float
    product_error: float
    is_complete: bool
    is_finite: bool
    products: int
    method: str

    @cached_property
    def gradient_norm(self) -> float:
        """‖g‖."""
        return float(torch.linalg.vector_norm(self.gradient, dtype=torch.float64))

    @cached_property
    def length(self) -> float:
        """The unit of length at θ: the root mean square of its coordinates, 1 at least."""
        return max(1.0, float(torch.linalg.vector_norm(self.theta, dtype=torch.float64)) / math.sqrt(len(self.theta)))

    @property
    def index(self) -> int:
        """Number of axes of curvature that is negative beyond its error."""
        return inertia_of(self.curvatures, self.errors).negative

    @cached_property
    def noise(self) -> Float[np.ndarray, "count"]:
        """What each component of g is wrong by: what rounding θ, coordinate by coordinate, does to it.

        A coordinate that H does not couple to a stiff one has none of its noise, and n axes share the noise of one g.
        """
        largest = float(self.sensitivity.max()) or 1.0  # squares of the numbers themselves may leave float32
        shares = (self.sensitivity / largest).to(self.axes)
        seen = torch.linalg.vector_norm(self.axes * shares.unsqueeze(1), dim=0, dtype=torch.float64)
        noise: np.ndarray = self.product_error * largest * as_array(seen)
        return noise

    def tolerance(self, rtol: float | None) -> float:
        """The distance up to which θ is called critical."""
        return (math.sqrt(self.precision) if rtol is None else rtol) * self.length

    def distance(self) -> float:
        """Length of the Newton step |H|⁻¹g in the metric |H|/‖H‖: √(Σ (yᵀg)²/(|λ|·‖H‖)), NaN if something is.

        J changes by ½‖H‖ times its square. Of each component only what stands above its noise is counted.

        Returns:
            The distance; infinite where H is zero and g is not.
        """
        if not self.is_finite:
            return math.nan
        stiffness = np.sqrt(np.maximum(np.abs(self.curvatures), self.errors))
        ratios = _ratios(self._excess, stiffness)
        return float(np.linalg.norm(ratios)) / math.sqrt(self.scale) if self.scale > 0 else float(ratios.max(initial=0))

    def reach(self) -> float:
        """Length of the Newton step itself, along what stands above its noise; infinite where that is a mere slope.

        The metric forgives soft axes a long step, as J hardly changes along it. Short of this it cannot tell a minimum
        from a valley that falls for ever, nor from a slope beside a stiff axis.

        Returns:
            The length; NaN if something is not finite.
        """
        return float(np.linalg.norm(_ratios(self._excess, np.abs(self.curvatures)))) if self.is_finite else math.nan

    def farthest(self, rtol: float | None) -> float:
        """The reach up to which θ is called critical."""
        return max(_NEIGHBOURHOOD * self.length, self.tolerance(rtol))

    def is_critical(self, rtol: float | None, share: float = 1.0) -> bool:
        """Whether the Newton step is short, in the metric and by itself; never where something is not finite."""
        return self.distance() <= share * self.tolerance(rtol) and self.reach() <= share * self.farthest(rtol)

    def newton_shift(self) -> Float[Tensor, "params"]:
        """−H⁻¹g in the axes whose curvature has a sign."""
        has_sign = np.abs(self.curvatures) > self.errors
        weights = np.divide(-self.components, self.curvatures, out=np.zeros_like(self.components), where=has_sign)
        return self._combined(weights)

    def newton_step(self, damping: float) -> Float[Tensor, "params"] | None:
        """Where −(H + δ)⁻¹g leads; None if H + δ is singular along g. Singular axes without gradient are left out."""
        stiffness = self.curvatures + damping
        is_singular = np.abs(stiffness) <= self.errors
        if (is_singular & (self._excess > 0)).any():
            return None
        weights = np.divide(-self.components, stiffness, out=np.zeros_like(stiffness), where=~is_singular)
        return self.theta + self._combined(weights)

    def flatness(self) -> float:
        """‖Hg‖/(‖H‖‖g‖): small where ‖g‖ is stationary although g is not zero; NaN where g is zero."""
        if not self.is_finite or self.gradient_norm == 0:
            return math.nan
        image = float(np.linalg.norm(self.curvatures * self.components))
        return image / (self.scale * self.gradient_norm) if self.scale > 0 else 0.0

    @property
    def _excess(self) -> Float[np.ndarray, "count"]:
        """What stands above its noise of each component of g."""
        excess: np.ndarray = np.maximum(np.abs(self.components) - self.noise, 0.0)
        return excess

    def _combined(self, weights: np.ndarray) -> Tensor:
        """Σ wy, as a vector like θ."""
        return (self.axes @ torch.as_tensor(weights).to(self.axes)).to(self.theta)


def _ratios(parts: Float[np.ndarray, "count"], wholes: Float[np.ndarray, "count"]) -> Float[np.ndarray, "count"]:
    """Parts over wholes that may be zero; nothing over nothing is zero."""
    with np.errstate(divide="ignore", over="ignore"):
        ratios: np.ndarray = np.divide(parts, wholes, out=np.zeros_like(parts), where=parts > 0)
    return ratios


@dataclass(frozen=True, eq=False)
class _Axes:
    """Axes of H that are known, with their curvatures and errors, and the sensitivity; none where H is not finite."""

    vectors: Float[Tensor, "params count"]
    curvatures: Float[np.ndarray, "count"]
    errors: Float[np.ndarray, "count"]
    sensitivity: Float[Tensor, "params"]
    is_finite: bool
    products: int


def local_model(objective: Objective, theta: Float[Tensor, "params"], *, dense_limit: int, products: int) -> LocalModel:
    """J near a point to second order: H written down where n is small, its Krylov space of the gradient elsewhere.

    Args:
        objective: J(θ).
        theta: The point, shape (n,).
        dense_limit: Up to this n the Hessian is written down.
        products: Products Hv to spend where n is larger.

    Returns:
        The model.

    Cost: a value, a gradient, and n or ``products`` + 1 products.
    """
    value, gradient = objective.value(theta), objective.gradient(theta)
    is_complete = objective.dimension <= dense_limit
    with hessian(objective, theta) as op:
        if not (math.isfinite(value) and bool(gradient.isfinite().all())):
            found = _no_axes(gradient, is_finite=False)
        elif is_complete:
            found = _all_axes(op, theta)
        else:
            found = _krylov_axes(op, theta, gradient, products)
        return LocalModel(
            theta,
            value,
            gradient,
            found.vectors,
            found.curvatures,
            found.errors,
            components=as_array(gradient.to(found.vectors) @ found.vectors).astype(np.float64),
            sensitivity=found.sensitivity,
            scale=float(np.abs(found.curvatures).max(initial=0.0)) if found.is_finite else math.nan,
            precision=precision(op),
            product_error=product_error(op),
            is_complete=is_complete,
            is_finite=found.is_finite,
            products=found.products,
            method=op.method,
        )


def _no_axes(gradient: Tensor, *, is_finite: bool, products: int = 0) -> _Axes:
    """Nothing is known of H, or it is not finite."""
    none = gradient.new_zeros(len(gradient), 0)
    return _Axes(none, np.zeros(0), np.zeros(0), torch.zeros_like(gradient), is_finite, products)


def _sizes(theta: Tensor) -> Tensor:
    """Sizes of the coordinates, 1 at least, float64."""
    return theta.double().abs().clamp_min(1.0)


def _all_axes(op: Operator, theta: Tensor) -> _Axes:
    """The eigenvectors of H, float64."""
    pairs = eigendecomposition(op)
    if pairs.status is Status.NONFINITE:
        return _no_axes(theta, is_finite=False, products=pairs.products)
    vectors = torch.as_tensor(pairs.vectors).to(op.device)
    H = (vectors * torch.as_tensor(pairs.values).to(vectors)) @ vectors.T
    sensitivity = (H.square() @ _sizes(theta).to(H).square()).sqrt()
    return _Axes(vectors, pairs.values, pairs.residuals, sensitivity, True, pairs.products)


def _krylov_axes(op: Operator, theta: Tensor, gradient: Tensor, products: int) -> _Axes:
    """Ritz vectors of H; none if the gradient is zero."""
    if not bool(gradient.any()):
        return _no_axes(gradient, is_finite=True)
    space = krylov_space(op, gradient, products)
    if space.status is Status.NONFINITE:
        return _no_axes(gradient, is_finite=False, products=space.products)
    # The same signs at each point, so that a search can be repeated.
    signs = 2.0 * torch.randint(2, theta.shape, generator=torch.Generator().manual_seed(0)) - 1
    sizes = _sizes(theta)
    sensitivity = (op @ (sizes * signs.to(sizes)).to(op.dtype)).double().abs()
    rounding = product_error(op) * float(np.abs(space.values).max())
    return _Axes(space.vectors, space.values, space.residuals + rounding, sensitivity, True, space.products + 1)
