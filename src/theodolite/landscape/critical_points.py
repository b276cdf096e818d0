"""Is this point critical, and of what kind?"""

import math
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theodolite.landscape.local_models import DENSE_LIMIT, LocalModel, local_model
from theodolite.linalg.curvature import hessian
from theodolite.linalg.eigenvalues import Extremes, extreme_eigenvalues
from theodolite.linalg.interface import as_array
from theodolite.linalg.settings import check_count, check_tolerance
from theodolite.objective import Objective
from theodolite.records.obstacles import Status
from theodolite.records.points import CriticalPoint, Kind

_KRYLOV = 50
"""Products Hv to spend on the Krylov space of g where H is not written down."""

_STEPS_AWAY = 3
"""So many Newton steps may lie between a point and the critical point, see ``at_the_critical_point``."""


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
    typical coordinate, 1 at least; and its length itself is at most 10⁻³ of that, or ``rtol`` where that is more. Of g
    only what stands above its rounding counts: 8ε√(Σⱼ Hᵢⱼ² max(|θⱼ|, 1)²) of coordinate i. The criterion does not
    change when J is multiplied or an offset is added. With the default rtol = √ε the step would change J by ½ε‖H‖.
    Errors of eigenvalues hold rounding, residuals, and three times what the curvature changes by over the Newton step.

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
        *maximum* rest on the end of the spectrum that Lanczos found; with the status BUDGET they are not claimed. What
        is asked here is what the point is: the status is CONVERGED too where the answer is "not critical".

    Raises:
        SettingError: If a setting is out of range, or ``dense_limit`` allows a matrix of more than 4 GB.
        ShapeError: If ``at`` has another shape.

    Cost: n products, another n beside a critical point, and an eigendecomposition of size n; where n exceeds
    ``dense_limit`` up to ``max_products`` + 2·``count`` + 51 products.
    Limits: a Lanczos run may miss an eigenvalue; in float32 products are rounded, and eigenvalues below 10⁻⁶‖H‖ have
    no sign. The unit of length is that of the coordinates: give ``rtol`` where typical ones are far below 1.
    Source: Goodfellow 2015, tutorial, "Critical points"; Frye et al. 2021 for ``flatness``.

    Example:
        >>> saddle = Objective.from_function(lambda theta: theta[0] ** 2 - theta[1] ** 2, torch.zeros(2))
        >>> classify(saddle).kind, classify(saddle).index, classify(saddle, torch.ones(2)).kind
        ('saddle', 1, 'not critical')
    """
    _check(rtol, count, max_products)
    check_count("dense_limit", dense_limit, least=0)
    products = max(2, min(_KRYLOV, max_products))
    model = local_model(objective, objective.at(at), dense_limit=dense_limit, products=products)
    return classify_model(objective, model, rtol=rtol, count=count, max_products=max_products, generator=generator)


def classify_model(
    objective: Objective,
    model: LocalModel,
    *,
    rtol: float | None = None,
    count: int = 4,
    max_products: int = 200,
    generator: torch.Generator | None = None,
) -> CriticalPoint:
    """What a point is, from the model of J there that is at hand; see ``classify``.

    Args:
        objective: J(θ).
        model: J near the point.
        rtol: How far off the critical point may be; None is √ε of the precision of the products.
        count: Eigenvalues to find at each end where the model is not complete.
        max_products: Budget of products Hv for them.
        generator: Source of the start vector; give one for a repeatable result.

    Returns:
        The kind with its evidence; products count those of the model.

    Raises:
        SettingError: If a setting is out of range.

    Cost: n products beside a critical point, none elsewhere; where the model is not complete up to ``max_products``
    + 2·``count``.
    """
    _check(rtol, count, max_products)
    if not model.is_finite:
        nothing = _Spectrum(np.zeros(0), model.axes[:, :0], np.zeros(0), Status.NONFINITE, 0)
        return _judged(model, nothing, rtol)
    if model.is_complete:
        spectrum = _Spectrum(model.curvatures, model.axes, model.errors, Status.CONVERGED, 0)
    else:
        n = objective.dimension
        high, low = min(count, n // 2), min(count, (n + 1) // 2)
        with hessian(objective, model.theta) as op:
            ends = extreme_eigenvalues(op, high, low, max_products=max_products, generator=generator)
        spectrum = _Spectrum.of_ends(ends, model.axes)
        model = _seen_whole(model, spectrum)
    if model.is_critical(rtol):
        spectrum = spectrum.at_the_critical_point(objective, model)
    return _judged(model, spectrum, rtol)


def _check(rtol: float | None, count: int, max_products: int) -> None:
    """Complain of settings that are out of range."""
    if rtol is not None:
        check_tolerance("rtol", rtol)
    check_count("count", count)
    check_count("max_products", max_products)


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


def _seen_whole(model: LocalModel, spectrum: _Spectrum) -> LocalModel:
    """The model with the scale ‖H‖ that the ends of the spectrum tell."""
    if spectrum.status is Status.NONFINITE:
        return replace(model, scale=math.nan, is_finite=False)
    return replace(model, scale=float(np.abs(spectrum.values).max(initial=model.scale)))


def _judged(model: LocalModel, spectrum: _Spectrum, rtol: float | None) -> CriticalPoint:
    """The verdict on a point whose model and spectrum are known."""
    return CriticalPoint(
        kind=spectrum.kind() if model.is_critical(rtol) else "not critical",
        point=as_array(model.theta),
        value=model.value,
        gradient_norm=model.gradient_norm,
        distance=model.distance(),
        tolerance=model.tolerance(rtol),
        criterion=_criterion(model, rtol),
        flatness=model.flatness(),
        eigenvalues=spectrum.values,
        errors=spectrum.errors,
        is_complete=model.is_complete,
        status=spectrum.status,
        products=model.products + spectrum.products,
        method=model.method,
    )


def _criterion(model: LocalModel, rtol: float | None) -> str:
    """Where the tolerance comes from, and what stands against a point even if it is within it."""
    origin = f"√{model.precision:.1e} of the products" if rtol is None else f"rtol={rtol:g}"
    origin += f", times the coordinate size {model.length:.3g}"
    reach, farthest = model.reach(), model.farthest(rtol)
    if reach <= farthest or math.isnan(reach):
        return origin
    return f"{origin}; in the unit of θ {reach:.2g}, critical up to {farthest:.2g}"
