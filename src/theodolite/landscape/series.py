"""How many derivatives does it take to see what a step does?"""

import numpy as np
import torch

from theodolite.errors import SettingError
from theodolite.linalg.settings import check_tolerance
from theodolite.objective import Objective
from theodolite.objective.derivatives import directional_derivatives
from theodolite.objective.products import CENTRAL_DIFFERENCES
from theodolite.records.obstacles import Status
from theodolite.records.points import Taylor

_ROUNDING = 4
"""Rounding of a difference of two values of J, in units of its precision: a rule of thumb."""


def taylor(objective: Objective, direction: object, order: int, at: object = None) -> Taylor:
    """Taylor series of s ↦ J(θ + s·d) at s = 0, by repeated reverse-mode differentiation.

    Dᵏ = dᵏJ/dsᵏ = ∇Dᵏ⁻¹·d, exact to rounding; D¹ = gᵀd, D² = dᵀHd.

    Args:
        objective: J(θ).
        direction: d, shape (n,); not normalised.
        order: The highest order k, 0 or more.
        at: Point θ, shape (n,); None is the present one.

    Returns:
        The derivatives with ``status``; those that an operation does not have are NaN, and ``reason`` says why.

    Raises:
        SettingError: If the order is negative.
        ShapeError: If ``direction`` or ``at`` has another shape.

    Cost: grows about threefold an order, in time, and in memory for one batch: 1, 2.5, 6, 15, 33 and 105 gradients
    for the orders 1 to 6 of a small tanh network; above order 1 a check of 3 gradients.
    Limits: piecewise linear operations have the derivatives of the piece they are on; what the loss detaches is held
    fixed. Where double backward disagrees with differences of gradients, orders above 1 are NaN. Rounding grows with
    the order: in float32 orders above 3 or 4 are best taken with a float64 model.
    Source: Goodfellow 2015, tutorial, "Taylor series approximation".

    Example:
        >>> cube = Objective.from_function(lambda theta: theta.prod(), torch.ones(3))
        >>> taylor(cube, torch.ones(3), 3).derivatives
        array([1., 3., 6., 6.])
    """
    if order < 0:
        raise SettingError(f"order must be 0 or more, got {order}. 0 is the value, 1 the slope, 2 the curvature.")
    params = objective.params
    theta = None if at is None else params.vector(at, "at")
    vector = params.vector(direction, "direction")
    found = directional_derivatives(objective.source, theta, vector, order, seed=objective.seed)
    if found.reason:
        return Taylor(found.values, Status.BREAKDOWN, found.reason)
    doubt = _doubt(objective, theta, vector) if order > 1 else ""
    if doubt:
        believed = np.where(np.arange(order + 1) < 2, found.values, np.nan)
        return Taylor(believed, Status.BREAKDOWN, doubt)
    if not np.isfinite(found.values).all():
        return Taylor(found.values, Status.NONFINITE, "J or a derivative of it is not finite here")
    return Taylor(found.values)


def _doubt(objective: Objective, theta: torch.Tensor | None, vector: torch.Tensor) -> str:
    """Why double backward is not to be believed here; empty if it agrees with differences of gradients."""
    with objective.products(theta) as products:
        products.apply(vector.unsqueeze(1))
        return products.reason if products.method == CENTRAL_DIFFERENCES else ""


def taylor_order(
    objective: Objective, direction: object, s: float, *, rtol: float = 0.1, max_order: int = 5, at: object = None
) -> int | None:
    """The order of the Taylor series that it takes to see the effect of the step s·d.

    The least order from which on the prediction of J(θ + s·d) − J(θ) is right within a share of the real change.

    Args:
        objective: J(θ).
        direction: d, shape (n,).
        s: How far along d.
        rtol: Tolerance, as a share of the real change; the rounding of J is allowed on top.
        max_order: The highest order to try.
        at: Point θ, shape (n,); None is the present one.

    Returns:
        The order; 0 if the change does not stand above rounding; None if ``max_order`` does not see it.

    Raises:
        SettingError: If the tolerance is negative or not finite, or the order is negative.
        ShapeError: If ``direction`` or ``at`` has another shape.

    Cost: ``taylor`` of the highest order, and one forward pass.
    Source: Goodfellow 2015, tutorial, "Linear view of the difficulty".

    Example:
        >>> chain = Objective.from_function(lambda theta: theta.prod(), torch.full((5,), 0.1))
        >>> taylor_order(chain, torch.ones(5), 1.0)
        5
    """
    check_tolerance("rtol", rtol)
    series = taylor(objective, direction, max_order, at)
    real = objective.value(objective.at(at) + s * objective.params.vector(direction, "direction"))
    rounding = _ROUNDING * torch.finfo(objective.dtype).eps * max(abs(real), abs(float(series.derivatives[0])))
    return series.order_within(s, real, rtol, atol=rounding if np.isfinite(rounding) else 0.0)
