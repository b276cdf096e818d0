"""What does a step gain: along one direction, along the gradient, in the worst case, and really?"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theodolite.errors import SettingError, ShapeError
from theodolite.linalg.curvature import hessian
from theodolite.linalg.decomposition import eigendecomposition
from theodolite.linalg.eigenvalues import largest_eigenvalues
from theodolite.linalg.interface import LinearOperator, as_array
from theodolite.linalg.lanczos import require_symmetric
from theodolite.linalg.rounding import product_error
from theodolite.linalg.settings import check_count, check_tolerance
from theodolite.objective import Objective
from theodolite.records.estimates import MISSING, Estimate
from theodolite.records.obstacles import Status
from theodolite.records.points import DirectionalCurvature, StepForecast, StepPrediction
from theodolite.records.results import Eigenpairs

_VALUE_ROUNDING = 4
"""Rounding of a difference of two values of J, in units of its precision: a rule of thumb."""


def directional_curvature(
    op: LinearOperator,
    direction: Float[Tensor, "params"] | Float[np.ndarray, "params"],
    eigenpairs: Eigenpairs | None = None,
    *,
    dense_limit: int = 500,
) -> DirectionalCurvature:
    """Curvature dᵀAd/dᵀd of a symmetric operator along a direction, by one product.

    It is the mean of the eigenvalues, weighted by the squared cosines of the angles between d and the eigenvectors:
    Σ λᵢ cos²∠(vᵢ, d).

    Args:
        op: Symmetric operator A.
        direction: d, shape (n,), of any length but 0.
        eigenpairs: Eigenpairs of A to split the curvature into, all or some; None computes all if n is small.
        dense_limit: Up to this n the operator is decomposed if no eigenpairs are given.

    Returns:
        The curvature with its terms; what eigenpairs that are not known contribute is the ``remainder``.

    Raises:
        ShapeError: If ``direction`` or the eigenvectors have another shape.
        SettingError: If the direction is zero or not finite, the operator is not symmetric, or ``dense_limit`` allows
            a matrix of more than 4 GB.

    Cost: one product; n more where the operator is decomposed.
    Source: Goodfellow 2015, tutorial, "Directional curvature".

    Example:
        >>> from theodolite.linalg.matrices import dense
        >>> found = directional_curvature(dense(torch.diag(torch.tensor([3.0, -1.0]))), torch.tensor([1.0, 1.0]))
        >>> round(found.value, 6), found.terms.round(6)
        (1.0, array([-0.5,  1.5]))
    """
    require_symmetric(op)
    check_count("dense_limit", dense_limit, least=0)
    vector = torch.as_tensor(direction).detach()
    column = _unit(vector.to(device=op.device, dtype=torch.float64), op.dimension).to(op.dtype)
    image, unit = op.apply(column.unsqueeze(1)).squeeze(1).double(), column.double()
    pairs = eigenpairs if eigenpairs is not None else _all_pairs(op, dense_limit)
    products = 1 if eigenpairs is not None else 1 + pairs.products
    if pairs.vectors.shape != (op.dimension, len(pairs.values)):
        raise ShapeError(
            f"eigenvectors must have shape ({op.dimension}, {len(pairs.values)}), got {pairs.vectors.shape}. Pass the "
            "eigenpairs of this operator, vectors as columns."
        )
    values, vectors = np.array(pairs.values, dtype=np.float64), pairs.vectors.astype(np.float64)
    scale = max([float(image.norm()), *np.abs(values)])
    curvature = Estimate(float(unit @ image) / float(unit @ unit), product_error(op) * scale)
    status = Status.CONVERGED if curvature.is_finite else Status.NONFINITE
    cosines = (as_array(unit / unit.norm()) @ vectors) / np.linalg.norm(vectors, axis=0)
    return DirectionalCurvature(curvature, values, cosines**2, status, products, op.method)


def _unit(vector: Tensor, dimension: int) -> Tensor:
    """The direction scaled to length one, checked."""
    if tuple(vector.shape) != (dimension,):
        raise ShapeError(f"direction must have shape ({dimension},), got {tuple(vector.shape)}. Flatten it.")
    length = float(vector.norm())
    if not 0 < length < math.inf:
        raise SettingError(
            f"direction must be finite and not zero, got a vector of norm {length}. Any length but 0 will do."
        )
    return vector / length


def _all_pairs(op: LinearOperator, dense_limit: int) -> Eigenpairs:
    """All eigenpairs; none where n is too large, or the operator is not finite."""
    if op.dimension <= dense_limit:
        return eigendecomposition(op)
    return Eigenpairs(np.zeros(0), np.zeros((op.dimension, 0)), np.zeros(0), Status.BUDGET, 0, op.method)


def gradient_step(
    objective: Objective,
    at: object = None,
    step: float | None = None,
    *,
    rtol: float = 1e-2,
    max_products: int = 100,
    generator: torch.Generator | None = None,
) -> StepForecast:
    """How much a gradient step −εg improves: predicted to first and second order, in the worst case, and really.

    J(θ − εg) ≈ J − ε gᵀg + ½ε² gᵀHg, least at ε* = gᵀg/gᵀHg where gᵀHg > 0; if g were aligned with λmax, the
    improvement would be (ε − ½ε²λmax) gᵀg.

    Args:
        objective: J(θ).
        at: Point θ, shape (n,); None is the present one.
        step: Step size ε > 0 to look at, beside ε*; None looks at ε* alone.
        rtol: How exact λmax shall be.
        max_products: Budget of products Hv for λmax.
        generator: Source of the start vector for λmax; give one for a repeatable result.

    Returns:
        The forecast; numbers carry their errors, and ``status`` says how the search for λmax ended.

    Raises:
        SettingError: If the step is not positive and finite, the budget is less than 1, or rtol is negative or not
            finite.
        ShapeError: If ``at`` has another shape.

    Cost: one gradient, up to ``max_products`` + 1 products Hv, three forward passes over the data.
    Source: Goodfellow 2015, tutorial, "How much does a gradient step improve?".

    Example:
        >>> bowl = Objective.from_function(lambda theta: 2 * theta[0] ** 2, torch.ones(1))
        >>> forecast = gradient_step(bowl, step=0.5)
        >>> forecast.optimal_step, forecast.optimal.real, forecast.given.real, forecast.given.is_uphill
        (0.25, 0.0, 2.0, False)
    """
    if step is not None and not 0 < step < math.inf:
        raise SettingError(f"step must be positive and finite, got {step}. The step goes along −g by itself.")
    check_tolerance("rtol", rtol)
    check_count("max_products", max_products)
    theta = objective.at(at)
    value, gradient = objective.value(theta), objective.gradient(theta)
    with hessian(objective, theta) as op:
        image = op @ gradient
        pairs = largest_eigenvalues(op, rtol=rtol, max_products=max_products, generator=generator)
        model = _Quadratic.of(value, gradient, image, pairs=pairs, error=product_error(op))
        method = op.method

    def taken(step: float) -> StepPrediction:
        return model.predict(step, objective.value(theta - step * gradient), torch.finfo(objective.dtype).eps)

    return StepForecast(
        value,
        model.squared_norm,
        model.curvature,
        model.top,
        model.optimal_step,
        given=None if step is None else taken(step),
        optimal=taken(model.optimal_step) if math.isfinite(model.optimal_step) else None,
        status=pairs.status if model.is_finite else Status.NONFINITE,
        products=pairs.products + 1,
        method=method,
    )


@dataclass(frozen=True)
class _Quadratic:
    """J along −g to second order.

    Attributes:
        value: J(θ).
        squared_norm: gᵀg.
        curvature: gᵀHg with its rounding.
        top: λmax with its error; missing if J, g or Hg is not finite.
    """

    value: float
    squared_norm: float
    curvature: Estimate
    top: Estimate

    @classmethod
    def of(cls, value: float, gradient: Tensor, image: Tensor, *, pairs: Eigenpairs, error: float) -> Self:
        """From J, g, Hg, the greatest eigenpair, and the error of a product over its size."""
        g, Hg = gradient.double(), image.double()
        squared_norm, form = float(g @ g), float(g @ Hg)
        is_known = all(map(math.isfinite, (value, squared_norm, form))) and len(pairs.values) > 0
        top = Estimate(float(pairs.values[0]), float(pairs.residuals[0])) if is_known else MISSING
        size = float(np.fmax(float(Hg.norm()) * math.sqrt(squared_norm), abs(top.value) * squared_norm))
        return cls(value, squared_norm, Estimate(form, error * size), top)

    @property
    def is_finite(self) -> bool:
        """Whether J, g and gᵀHg are."""
        return all(map(math.isfinite, (self.value, self.squared_norm, self.curvature.value)))

    @property
    def optimal_step(self) -> float:
        """ε* = gᵀg/gᵀHg; infinite where gᵀHg is not positive beyond its error."""
        has_minimum = self.curvature.is_above(0.0, errors=1.0)
        return self.squared_norm / self.curvature.value if has_minimum else math.inf

    def predict(self, step: float, real: float, precision: float) -> StepPrediction:
        """What the model says of a step, beside the J that was evaluated there and the precision of its values."""
        first, half = self.value - step * self.squared_norm, step**2 / 2
        worst = (step - half * self.top.value) * self.squared_norm
        return StepPrediction(
            step,
            self.value,
            first,
            second_order=Estimate(first + half * self.curvature.value, half * self.curvature.error),
            real=real,
            worst_case=Estimate(worst, half * self.top.error * self.squared_norm),
            rounding=_VALUE_ROUNDING * precision * max(abs(self.value), abs(real)),
        )
