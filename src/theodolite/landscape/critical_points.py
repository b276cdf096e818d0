"""Is this point critical, and of what kind?"""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theodolite.linalg.curvature import hessian
from theodolite.linalg.eigenvalues import Extremes, extreme_eigenvalues
from theodolite.linalg.interface import as_array
from theodolite.linalg.krylov import krylov_space
from theodolite.linalg.operators import Operator
from theodolite.objective import Objective
from theodolite.records.obstacles import Status
from theodolite.records.points import CriticalPoint, Kind

DENSE_LIMIT = 2000
"""Up to this n the Hessian is written down and decomposed: 32 MB, and seconds."""

_ROUNDING = 8
"""Products of double backward are wrong by up to so many times their precision (measured, see ``eigenvalues``)."""


_STEPS_AWAY = 3
"""So many Newton steps may lie between a point and the critical point, see ``at_the_critical_point``."""


@dataclass(frozen=True, eq=False)
class LocalModel:
    """J near θ to second order, in axes of H: all of them, or those of the Krylov space of the gradient.

    Attributes:
        theta: θ, shape (n,).
        value: J(θ).
        gradient: g.
        axes: Orthonormal axes y, one a column.
        curvatures: yᵀHy, ascending; empty if H or g is not finite.
        errors: An eigenvalue of H lies within this distance of each.
        components: yᵀg.
        scale: ‖H‖, as far as the axes tell.
        relative_error: Error of the products over ‖H‖.
        is_complete: Whether these are all axes.
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
    scale: float
    relative_error: float
    is_complete: bool
    products: int
    method: str

    @property
    def is_finite(self) -> bool:
        """Whether J, g and H are."""
        return math.isfinite(self.value) and math.isfinite(self.gradient_norm) and math.isfinite(self.scale)

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
        return int((self.curvatures < -self.errors).sum())

    @property
    def noise(self) -> float:
        """What a component of g is wrong by: what rounding θ does to it."""
        return _ROUNDING * self.relative_error * self.scale * self.length

    def tolerance(self, rtol: float | None) -> float:
        """The distance up to which θ is called critical."""
        return (math.sqrt(self.relative_error) if rtol is None else rtol) * self.length

    def distance(self) -> float:
        """Length of the Newton step |H|⁻¹g in the metric |H|/‖H‖: √(Σ (yᵀg)²/(|λ|·‖H‖)), NaN if something is.

        J changes by ½‖H‖ times its square. Of each component only what stands above its noise is counted.

        Returns:
            The distance; infinite where H is zero and g is not.
        """
        if not self.is_finite:
            return math.nan
        excess = np.maximum(np.abs(self.components) - self.noise, 0.0)
        stiffness = np.maximum(np.abs(self.curvatures), self.errors)
        with np.errstate(divide="ignore"):
            ratios = np.divide(excess, np.sqrt(stiffness), out=np.zeros_like(excess), where=excess > 0)
        return float(np.linalg.norm(ratios)) / math.sqrt(self.scale) if self.scale > 0 else float(ratios.max(initial=0))

    def newton_shift(self) -> Float[Tensor, "params"]:
        """−H⁻¹g in the axes whose curvature has a sign."""
        has_sign = np.abs(self.curvatures) > self.errors
        weights = np.divide(-self.components, self.curvatures, out=np.zeros_like(self.components), where=has_sign)
        return (self.axes @ torch.as_tensor(weights).to(self.axes)).to(self.theta)

    def flatness(self) -> float:
        """‖Hg‖/(‖H‖‖g‖): small where ‖g‖ is stationary although g is not zero; NaN where g is zero."""
        if not self.is_finite or self.gradient_norm == 0:
            return math.nan
        image = float(np.linalg.norm(self.curvatures * self.components))
        return image / (self.scale * self.gradient_norm) if self.scale > 0 else 0.0


def local_model(objective: Objective, theta: Float[Tensor, "params"], *, dense_limit: int, products: int) -> LocalModel:
    """J near a point to second order: H written down where n is small, its Krylov space of the gradient elsewhere.

    Args:
        objective: J(θ).
        theta: The point, shape (n,).
        dense_limit: Up to this n the Hessian is written down.
        products: Products Hv to spend where n is larger.

    Returns:
        The model.

    Cost: a value, a gradient, and n or ``products`` products.
    """
    value, gradient = objective.value(theta), objective.gradient(theta)
    n = objective.dimension
    with hessian(objective, theta) as op:
        is_complete = n <= dense_limit
        is_finite = math.isfinite(value) and bool(gradient.isfinite().all())
        if not is_finite:
            axes, curvatures, errors, spent = torch.zeros(n, 0, device=op.device), np.zeros(0), np.zeros(0), 0
        elif is_complete:
            axes, curvatures, errors = _decomposed(op)
            spent = n
        else:
            axes, curvatures, errors, spent = _krylov_axes(op, gradient, products)
        scale = float(np.abs(curvatures).max(initial=0.0)) if is_finite and np.isfinite(curvatures).all() else math.nan
        components = as_array(gradient.to(axes) @ axes).astype(np.float64)
        return LocalModel(
            theta,
            value,
            gradient,
            axes,
            curvatures,
            errors,
            components,
            scale,
            relative_error=op.relative_error,
            is_complete=is_complete,
            products=spent,
            method=op.method,
        )


def _decomposed(op: Operator) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """Eigenvectors, eigenvalues and their errors, of which the asymmetry of the products is a part."""
    matrix = op.to_dense(symmetrize=False).double()
    if not bool(matrix.isfinite().all()):
        return matrix[:, :1], np.full(1, math.nan), np.full(1, math.nan)
    values, axes = torch.linalg.eigh((matrix + matrix.T) / 2)
    asymmetry = float(torch.linalg.matrix_norm(matrix - matrix.T)) / 2
    rounding = _ROUNDING * op.relative_error * float(values.abs().max())
    return axes, as_array(values), np.full(len(values), max(rounding, asymmetry))


def _krylov_axes(op: Operator, gradient: Tensor, products: int) -> tuple[Tensor, np.ndarray, np.ndarray, int]:
    """Ritz vectors, Ritz values, their residuals and the products; none if the gradient is zero."""
    if not bool(gradient.any()):
        return gradient.new_zeros(len(gradient), 0), np.zeros(0), np.zeros(0), 0
    space = krylov_space(op, gradient, products)
    if space.status is Status.NONFINITE:
        return gradient[:, None], np.full(1, math.nan), np.full(1, math.nan), space.products
    rounding = _ROUNDING * op.relative_error * float(np.abs(space.values).max())
    return space.vectors, space.values, space.residuals + rounding, space.products


def classify(
    objective: Objective,
    at: object = None,
    *,
    rtol: float | None = None,
    count: int = 4,
    max_products: int = 200,
    dense_limit: int = DENSE_LIMIT,
    generator: torch.Generator | None = None,
) -> CriticalPoint:
    """What a point is: minimum, maximum, saddle, degenerate, or not critical; by the signs of the eigenvalues of H.

    Critical is a point whose Newton step |H|⁻¹g is short: in the metric |H|/‖H‖ at most ``rtol`` times the size of a
    typical coordinate, 1 at least. The criterion does not change when J is multiplied or an offset is added. With the
    default rtol = √ε the step would change J by ½ε‖H‖, which rounding hides. Errors of eigenvalues hold rounding,
    residuals, and three times what the curvature changes by over the Newton step.

    * *saddle*: some eigenvalues are negative and some are positive, beyond their errors, whatever the others are;
    * *minimum*, *maximum*: all are positive, or all negative, beyond their errors;
    * *degenerate*: no such pattern, because some are zero within their errors. H does not decide there: a monkey
      saddle, a valley of minima and the flat bottom of x⁴ are all degenerate. So is nearly every minimum of a real
      network: the symmetries of its weights (scaling between layers of ReLU, the shift of a softmax, products of
      linear layers) make eigenvalues zero. ``index``, ``num_zero`` and ``num_positive`` tell more.

    Args:
        objective: J(θ).
        at: Point θ, shape (n,); None is the present one.
        rtol: How far off the critical point may be; None is √ε of the precision of the products.
        count: Eigenvalues to find at each end where n exceeds ``dense_limit``.
        max_products: Budget of products Hv for them.
        dense_limit: Up to this n all eigenvalues are found.
        generator: Source of the start vector; give one for a repeatable result.

    Returns:
        The kind with its evidence. Where not all eigenvalues are known, counts are lower bounds, and *minimum* and
        *maximum* rest on the end of the spectrum that Lanczos found; with the status BUDGET they are not claimed.

    Raises:
        ShapeError: If ``at`` has another shape.

    Cost: 2n products and an eigendecomposition of size n, or up to ``max_products`` + 2·``count`` + 50 products.
    Limits: a Lanczos run may miss an eigenvalue; in float32 products are rounded, and eigenvalues below 10⁻⁶‖H‖ have
    no sign. The unit of length is that of the coordinates: give ``rtol`` where typical ones are far below 1.
    Source: Goodfellow 2015, tutorial, "Critical points"; Frye et al. 2021 for ``flatness``.

    Example:
        >>> saddle = Objective.from_function(lambda theta: theta[0] ** 2 - theta[1] ** 2, torch.zeros(2))
        >>> classify(saddle).kind, classify(saddle).index, classify(saddle, torch.ones(2)).kind
        ('saddle', 1, 'not critical')
    """
    theta = objective.point() if at is None else objective.params.vector(at, "at")
    model = local_model(objective, theta, dense_limit=dense_limit, products=max(2, min(50, max_products)))
    if not model.is_finite:
        nothing = _Spectrum(np.zeros(0), model.axes[:, :0], np.zeros(0), Status.NONFINITE, 0)
        return _judged(model, nothing, rtol)
    if model.is_complete:
        spectrum = _Spectrum(model.curvatures, model.axes, model.errors, Status.CONVERGED, 0)
    else:
        n = objective.dimension
        with hessian(objective, theta) as op:
            ends = extreme_eigenvalues(
                op, min(count, n // 2), min(count, (n + 1) // 2), max_products=max_products, generator=generator
            )
        spectrum = _Spectrum.of_ends(ends, model.axes)
        is_finite = spectrum.status is not Status.NONFINITE
        model = replace(model, scale=np.abs(spectrum.values).max(initial=model.scale) if is_finite else math.nan)
    if model.distance() <= model.tolerance(rtol):
        spectrum = spectrum.at_the_critical_point(objective, model)
    return _judged(model, spectrum, rtol)


@dataclass(frozen=True, eq=False)
class _Spectrum:
    """Eigenpairs that are known, ascending, with their errors; how sure the ends are; what it took to find them."""

    values: Float[np.ndarray, "count"]
    vectors: Float[Tensor, "params count"]
    errors: Float[np.ndarray, "count"]
    status: Status
    products: int

    @classmethod
    def of_ends(cls, ends: Extremes, like: Tensor) -> Self:
        """Both ends of a spectrum, with vectors of the type and on the device of some tensor."""
        low, high = ends.smallest, ends.largest
        values = np.concatenate([low.values, high.values[::-1]])
        errors = np.concatenate([low.residuals, high.residuals[::-1]])
        statuses = {low.status, high.status}
        worst = next((s for s in (Status.NONFINITE, Status.BUDGET, Status.BREAKDOWN) if s in statuses), low.status)
        vectors = np.concatenate([low.vectors, high.vectors[:, ::-1]], axis=1)
        return cls(values, torch.as_tensor(vectors).to(like), errors, worst, low.products)

    def at_the_critical_point(self, objective: Objective, model: LocalModel) -> Self:
        """The errors, as statements on the critical point itself: with what vᵀHv changes by on the way there.

        A point beside a monkey saddle has eigenvalues of both signs, which vanish at the saddle. They change by a half
        over the Newton step; on x⁴ by 5/9, and the minimum is three such steps away.

        Args:
            objective: J(θ).
            model: J near θ.

        Returns:
            The spectrum with larger errors.
        """
        shift = model.newton_shift()
        if not bool(shift.any()):
            return self
        with hessian(objective, model.theta + shift) as op:
            images = (op @ self.vectors.to(op.dtype)).to(self.vectors)
        there = as_array((self.vectors * images).sum(0))
        change = _STEPS_AWAY * np.abs(np.nan_to_num(there - self.values, nan=math.inf))
        return replace(self, errors=self.errors + change, products=self.products + len(self.values))

    def kind(self) -> Kind:
        """What the signs say of a critical point."""
        negative, positive = self.values < -self.errors, self.values > self.errors
        if negative.any() and positive.any():
            return "saddle"
        # A definite sign is a statement on all eigenvalues: it needs an end that was really found.
        if self.status is Status.CONVERGED and positive.all():
            return "minimum"
        if self.status is Status.CONVERGED and negative.all():
            return "maximum"
        return "degenerate"


def _judged(model: LocalModel, spectrum: _Spectrum, rtol: float | None) -> CriticalPoint:
    """The verdict on a point whose model and spectrum are known."""
    distance, tolerance = model.distance(), model.tolerance(rtol)
    origin = f"√{model.relative_error:.1e} of the products" if rtol is None else f"rtol={rtol:g}"
    return CriticalPoint(
        kind=spectrum.kind() if distance <= tolerance else "not critical",
        point=as_array(model.theta),
        value=model.value,
        gradient_norm=model.gradient_norm,
        distance=distance,
        tolerance=tolerance,
        criterion=f"{origin}, times the coordinate size {model.length:.3g}",
        flatness=model.flatness(),
        eigenvalues=spectrum.values,
        errors=spectrum.errors,
        is_complete=model.is_complete,
        status=spectrum.status,
        products=model.products + spectrum.products,
        method=model.method,
    )
