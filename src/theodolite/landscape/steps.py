"""What does a step gain: along one direction, along the gradient, in the worst case, and really?"""

import math
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theodolite.errors import SettingError, ShapeError
from theodolite.linalg.curvature import hessian
from theodolite.linalg.eigenvalues import largest_eigenvalues
from theodolite.linalg.interface import LinearOperator, as_array
from theodolite.linalg.operators import Operator
from theodolite.objective import Objective
from theodolite.records.estimates import MISSING, Estimate
from theodolite.records.obstacles import Status
from theodolite.records.points import DirectionalCurvature, StepForecast, StepPrediction
from theodolite.records.results import Eigenpairs

_ROUNDING = 8
"""Products of double backward are wrong by up to so many times their precision (measured, see ``eigenvalues``)."""

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
        SettingError: If the direction is zero or not finite.

    Cost: one product; n more where the operator is decomposed.
    Source: Goodfellow 2015, tutorial, "Directional curvature".

    Example:
        >>> from theodolite.linalg.matrices import dense
        >>> found = directional_curvature(dense(torch.diag(torch.tensor([3.0, -1.0]))), torch.tensor([1.0, 1.0]))
        >>> round(found.value, 6), found.terms.round(6)
        (1.0, array([-0.5,  1.5]))
    """
    vector = torch.as_tensor(direction)
    column = _unit(vector.detach().to(device=op.device, dtype=torch.float64), op.dimension).to(op.dtype)
    image, unit = op.apply(column.unsqueeze(1)).squeeze(1).double(), column.double()
    products = 1
    if eigenpairs is None:
        values, vectors, spent = _decompose(op) if op.dimension <= dense_limit else _nothing(op)
        products += spent
    else:
        values, vectors = eigenpairs.values, eigenpairs.vectors.astype(np.float64)
    if vectors.shape != (op.dimension, len(values)):
        raise ShapeError(f"eigenvectors must have shape ({op.dimension}, {len(values)}), got {vectors.shape}.")
    scale = max([float(image.norm()), *np.abs(values)])
    curvature = Estimate(float(unit @ image) / float(unit @ unit), _ROUNDING * op.relative_error * scale)
    status = Status.CONVERGED if curvature.is_finite else Status.NONFINITE
    cosines = (as_array(unit / unit.norm()) @ vectors) / np.linalg.norm(vectors, axis=0)
    return DirectionalCurvature(curvature, values, cosines**2, status, products, op.method)


def _unit(vector: Tensor, dimension: int) -> Tensor:
    """The direction scaled to length one, checked."""
    if tuple(vector.shape) != (dimension,):
        raise ShapeError(f"direction must have shape ({dimension},), got {tuple(vector.shape)}.")
    length = float(vector.norm())
    if not 0 < length < math.inf:
        raise SettingError(f"direction must be finite and not zero, got a vector of norm {length}.")
    return vector / length


def _decompose(op: LinearOperator) -> tuple[np.ndarray, np.ndarray, int]:
    """All eigenpairs, ascending, and the products they took; none if the operator is not finite."""
    matrix = Operator(op).to_dense().double()
    if not bool(matrix.isfinite().all()):
        return np.zeros(0), np.zeros((op.dimension, 0)), op.dimension
    values, vectors = torch.linalg.eigh(matrix)
    return as_array(values), as_array(vectors), op.dimension


def _nothing(op: LinearOperator) -> tuple[np.ndarray, np.ndarray, int]:
    """No eigenpairs."""
    return np.zeros(0), np.zeros((op.dimension, 0)), 0


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
        SettingError: If the step is not positive and finite, or the budget is less than 1.
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
    theta = objective.point() if at is None else objective.params.vector(at, "at")
    value, gradient = objective.value(theta), objective.gradient(theta)
    with hessian(objective, theta) as op:
        image = (op @ gradient).double()
        pairs = largest_eigenvalues(op, rtol=rtol, max_products=max_products, generator=generator)
        relative_error, method = op.relative_error, op.method
    g = gradient.double()
    squared_norm, form = float(g @ g), float(g @ image)
    is_finite = all(map(math.isfinite, (value, squared_norm, form)))
    top = Estimate(float(pairs.values[0]), float(pairs.residuals[0])) if is_finite and len(pairs.values) else MISSING
    size = float(np.fmax(float(image.norm()) * math.sqrt(squared_norm), abs(top.value) * squared_norm))
    curvature = Estimate(form, _ROUNDING * relative_error * size)
    optimal_step = squared_norm / form if curvature.is_above(0.0, errors=1.0) else math.inf
    predict = partial(_prediction, objective, (theta, gradient), (value, squared_norm, curvature, top))
    return StepForecast(
        value,
        squared_norm,
        curvature,
        top,
        optimal_step,
        given=None if step is None else predict(step),
        optimal=predict(optimal_step) if math.isfinite(optimal_step) else None,
        status=pairs.status if is_finite else Status.NONFINITE,
        products=pairs.products + 1,
        method=method,
    )


def _prediction(
    objective: Objective,
    line: tuple[Tensor, Tensor],
    model: tuple[float, float, Estimate, Estimate],
    step: float,
) -> StepPrediction:
    """One step along −g, by the model and by evaluation."""
    (theta, gradient), (value, squared_norm, curvature, top) = line, model
    first = value - step * squared_norm
    half = step**2 / 2
    real = objective.value(theta - step * gradient)
    return StepPrediction(
        step,
        value,
        first,
        second_order=Estimate(first + half * curvature.value, half * curvature.error),
        real=real,
        worst_case=Estimate((step - half * top.value) * squared_norm, half * top.error * squared_norm),
        rounding=_VALUE_ROUNDING * torch.finfo(objective.dtype).eps * max(abs(value), abs(real)),
    )
