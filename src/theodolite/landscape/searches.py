"""Where does Newton's method go? To a critical point, of whatever kind."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theodolite.errors import SettingError
from theodolite.landscape.critical_points import DENSE_LIMIT, LocalModel, classify, local_model
from theodolite.linalg.curvature import hessian
from theodolite.linalg.interface import as_array
from theodolite.objective import Objective
from theodolite.records.obstacles import Status
from theodolite.records.points import CriticalPoint, NewtonPath

_FIRST_DAMPING = 1e-3
"""Damping of the first step over ‖H‖²: axes of curvature above 0.03‖H‖ get their Newton step at once."""

_LEAST_DAMPING = 1e-32
"""Below ε² of float64 damping changes nothing, and zero would divide zero by zero."""

_PATIENCE = 30
"""So many trials without ‖g‖ falling by a thousandth, and the search has come to rest."""

_AHEAD = 0.1
"""Share of a step along which the gradient is looked at to see how its path bends (Transtrum & Sethna)."""

_BENT = 0.375
"""A step whose correction is longer than this share of it is not taken; beside x⁴ = 0 it is a third."""

_PLAIN = 50
"""Steps of the plain method where the other one comes to rest; if it arrives at all, it is fast."""

_POLISHING = 10
"""So many trials at most are spent beyond what was asked for."""


def newton(
    objective: Objective,
    start: object,
    steps: int,
    *,
    damping: float = 0.0,
    products: int = 50,
    dense_limit: int = DENSE_LIMIT,
) -> NewtonPath:
    """Newton's method θ ← θ − (H + δ)⁻¹g, plain: it solves g = 0, and is drawn to saddles and maxima as to minima.

    This shows the failure mode. To find a critical point reliably, take ``find_critical_point``.

    Args:
        objective: J(θ).
        start: First point, shape (n,).
        steps: How many steps.
        damping: δ, in the unit of the curvature; above −λmin it keeps the steps downhill.
        products: Products Hv a step where n exceeds ``dense_limit``; the step is then that on the Krylov space of g.
        dense_limit: Up to this n the Hessian is written down.

    Returns:
        The path with J, ‖g‖ and the number of negative eigenvalues at each point, and what the last one is. It is cut
        short where H + δ is singular along the gradient (BREAKDOWN), or something is not finite.

    Raises:
        SettingError: If steps is negative.
        ShapeError: If ``start`` has another shape.

    Cost: n products and an eigendecomposition a step, or ``products``; keeps the whole path.
    Source: Goodfellow 2015, tutorial, "Newton's method's failure mode"; Dauphin et al. 2014, section 3.

    Example:
        >>> hill = Objective.from_function(lambda theta: theta.cos().sum(), torch.tensor([0.3]))
        >>> newton(hill, torch.tensor([0.3]), 4).end.kind
        'maximum'
    """
    if steps < 0:
        raise SettingError(f"steps must be 0 or more, got {steps}.")
    theta = objective.params.vector(start, "start")
    path = [local_model(objective, theta, dense_limit=dense_limit, products=products)]
    while path[-1].is_finite and len(path) <= steps:
        following = _newton_step(path[-1], damping)
        if following is None:
            break
        path.append(local_model(objective, following, dense_limit=dense_limit, products=products))
    end = classify(objective, path[-1].theta, dense_limit=dense_limit)
    cut = Status.BREAKDOWN if path[-1].is_finite else Status.NONFINITE
    failure = Status.BUDGET if len(path) > steps and path[-1].is_finite else cut
    return NewtonPath(
        points=np.stack([as_array(model.theta) for model in path]),
        values=np.array([model.value for model in path]),
        gradient_norms=np.array([model.gradient_norm for model in path]),
        indices=np.array([model.index if model.is_finite else -1 for model in path]),
        damping=damping,
        end=end,
        status=failure if end.kind == "not critical" else Status.CONVERGED,
    )


def _newton_step(model: LocalModel, damping: float) -> Tensor | None:
    """Where −(H + δ)⁻¹g leads; None if H + δ is singular along g. Singular axes without gradient are left out."""
    stiffness = model.curvatures + damping
    is_singular = np.abs(stiffness) <= model.errors
    if (is_singular & (np.abs(model.components) > model.noise)).any():
        return None
    weights = np.divide(-model.components, stiffness, out=np.zeros_like(stiffness), where=~is_singular)
    return model.theta + (model.axes @ torch.as_tensor(weights).to(model.axes)).to(model.theta)


def find_critical_point(
    objective: Objective,
    start: object = None,
    *,
    rtol: float | None = None,
    max_iterations: int = 200,
    products: int = 40,
    dense_limit: int = DENSE_LIMIT,
    generator: torch.Generator | None = None,
) -> CriticalPoint:
    """A critical point near a start, of any kind, by Levenberg and Marquardt's method on ½‖g‖².

    Each step minimises ‖g + Hs‖² + δ‖s‖²: s = −(H² + δ)⁻¹Hg, which tends to Newton's step as δ falls, and is corrected
    for the bend of its path. δ falls where the model ‖g + Hs‖ foretells ‖g‖ well, and rises where it does not; a step
    that does not lower ‖g‖ is not taken. Where that comes to rest short of a critical point, the plain method, which
    lets ‖g‖ rise, is tried from the same start.

    Args:
        objective: J(θ).
        start: First point, shape (n,); None is the present one.
        rtol: How far off the critical point may be, see ``classify``.
        max_iterations: Budget of steps, those not taken included.
        products: Size of the Krylov space of g where n exceeds ``dense_limit``; it takes twice as many products.
        dense_limit: Up to this n the Hessian is written down.
        generator: Source of the start vector of the last classification; give one for a repeatable result.

    Returns:
        What was found, as ``classify`` sees it, with the path of ‖g‖. Only a point that is critical has the status
        CONVERGED. Where ‖g‖ is stationary but not zero, as happens often in networks (``flatness`` near 0), the kind
        is "not critical" and the status is BREAKDOWN; out of iterations, it is BUDGET.

    Raises:
        SettingError: If max_iterations is negative, or products is less than 1.
        ShapeError: If ``start`` has another shape.

    Cost: an iteration takes two gradients; where the last step was taken also n products and an eigendecomposition, or
    2·``products`` products.
    Limits: a critical point is approached fast only where H is regular; on x⁴ ‖g‖ falls fivefold a step. From far away
    the critical point that is found need not be the nearest.
    Source: Nocedal & Wright 2006, chapter 10; Transtrum & Sethna 2012 for the bend; Dauphin et al. 2014, appendix C,
    for the use; Frye et al. 2021 for what goes wrong.

    Example:
        >>> saddle = Objective.from_function(lambda theta: theta[0] ** 2 - theta[1] ** 2 + theta[1] ** 4, torch.ones(2))
        >>> found = find_critical_point(saddle, torch.tensor([0.3, 0.2]))
        >>> found.kind, found.index, found.point.round(6)
        ('saddle', 1, array([0., 0.], dtype=float32))
    """
    if max_iterations < 0 or products < 1:
        raise SettingError(
            f"max_iterations must be 0 or more and products 1 or more, got {max_iterations} and {products}."
        )
    theta = objective.point() if start is None else objective.params.vector(start, "start")
    search = _Search(objective, rtol, products, dense_limit)
    status = search.run(theta, max_iterations)
    if status in (Status.BUDGET, Status.BREAKDOWN):
        plain = _Search(objective, rtol, products, dense_limit)
        if plain.run_plain(theta, min(_PLAIN, max_iterations)) is Status.CONVERGED:
            plain.norms, plain.products = search.norms + plain.norms, search.products + plain.products
            search, status = plain, Status.CONVERGED
    found = classify(objective, search.theta, rtol=rtol, dense_limit=dense_limit, generator=generator)
    if found.kind == "not critical":
        # Rounding may move a point that was critical by a hair's breadth out again.
        failed = found.status if found.status is Status.NONFINITE else status
        found = replace(found, status=Status.BREAKDOWN if failed is Status.CONVERGED else failed)
    return replace(found, gradient_norms=np.array(search.norms), products=found.products + search.products)


@dataclass(frozen=True, eq=False)
class _LeastSquares:
    """The problems min ‖r + Hs‖² + δ‖s‖² over a space, in axes that make them diagonal.

    Attributes:
        directions: Orthonormal directions d, one a column.
        images: Hd/‖Hd‖.
        strengths: ‖Hd‖/‖H‖.
        scale: ‖H‖.
    """

    directions: Float[Tensor, "params count"]
    images: Float[Tensor, "params count"]
    strengths: Float[np.ndarray, "count"]
    scale: float

    @classmethod
    def at(cls, objective: Objective, model: LocalModel) -> Self:
        """In eigenvectors where they are known; else in singular vectors of H on the Krylov space."""
        if model.is_complete:
            directions, strengths = model.axes, np.abs(model.curvatures)
            images = directions * torch.as_tensor(np.where(model.curvatures < 0, -1.0, 1.0)).to(directions)
        else:
            with hessian(objective, model.theta) as op:
                products = (op @ model.axes.to(op.dtype)).double()
            images, singular, right = torch.linalg.svd(products, full_matrices=False)
            directions, strengths = model.axes.double() @ right.T, as_array(singular)
        scale = float(strengths.max(initial=0.0))
        return cls(directions, images, strengths / scale if scale > 0 else strengths, scale)

    def solve(self, residual: Float[Tensor, "params"], damping: float) -> tuple[Tensor, Tensor, float]:
        """The minimiser s for δ = damping·‖H‖², Hs, and the share of ‖r‖² that it is to take away."""
        if self.scale == 0:
            return torch.zeros_like(residual), torch.zeros_like(residual), 0.0
        targets = as_array(residual.to(self.images) @ self.images)
        total = self.strengths**2 + damping
        weights = -self.strengths / total * targets
        norm = float(torch.linalg.vector_norm(residual, dtype=torch.float64))
        gain = np.sum((targets / norm) ** 2 * (1 - (damping / total) ** 2))
        step = self.directions @ torch.as_tensor(weights / self.scale).to(self.directions)
        image = self.images @ torch.as_tensor(weights * self.strengths).to(self.images)
        return step.to(residual), image.to(residual), float(gain)


class _Search:
    """Levenberg and Marquardt's method on its way: where it is, and how much it trusts its model.

    Attributes:
        theta: Where it is.
        norms: ‖g‖ after each trial; it repeats where a step was not taken.
        products: How many products H v were spent.
    """

    def __init__(self, objective: Objective, rtol: float | None, subspace: int, dense_limit: int) -> None:
        """Say what to search, and how exactly."""
        self._objective, self._rtol, self._subspace, self._dense_limit = objective, rtol, subspace, dense_limit
        self._damping, self._growth = _FIRST_DAMPING, 2.0
        self.norms: list[float] = []
        self.products = 0

    def run(self, theta: Float[Tensor, "params"], max_iterations: int) -> Status:
        """Go on from a point until it is critical, nothing helps, or the budget is spent."""
        model = self._arrive(theta)
        while model.is_finite:
            # Half, so that the last classification, which may see a little more of H, agrees.
            if model.distance() <= 0.5 * model.tolerance(self._rtol):
                self._polish(model)
                return Status.CONVERGED
            if len(self.norms) > max_iterations:
                return Status.BUDGET
            if len(self.norms) > _PATIENCE and self.norms[-1] > 0.999 * self.norms[-1 - _PATIENCE]:
                return Status.BREAKDOWN
            model = self._advance(model)
        return Status.NONFINITE

    def run_plain(self, theta: Float[Tensor, "params"], steps: int) -> Status:
        """Newton's own steps from a point until it is critical, or they end."""
        for _ in range(steps):
            model = self._arrive(theta)
            if model.is_finite and model.distance() <= 0.5 * model.tolerance(self._rtol):
                self._polish(model)
                return Status.CONVERGED
            following = _newton_step(model, 0.0) if model.is_finite else None
            if following is None:
                return Status.BREAKDOWN
            theta = following
        return Status.BUDGET

    def _polish(self, model: LocalModel) -> None:
        """Go on until g does not stand above rounding: near a regular point, two or three steps."""
        for _ in range(_POLISHING):
            if not model.distance() > 0:
                return
            model = self._advance(model)

    def _arrive(self, theta: Tensor) -> LocalModel:
        """The model at a new point."""
        model = local_model(self._objective, theta, dense_limit=self._dense_limit, products=self._subspace)
        self.theta = theta
        self.norms.append(model.gradient_norm)
        self.products += model.products
        self._problem: _LeastSquares | None = None
        return model

    def _advance(self, model: LocalModel) -> LocalModel:
        """Try a step: the model where it leads, or the same one if it does not lower ‖g‖."""
        if self._problem is None:
            self._problem = _LeastSquares.at(self._objective, model)
            self.products += 0 if model.is_complete else len(model.curvatures)
        theta, foretold = self._bent(model, self._problem)
        quality = 0.0
        if foretold > 0:
            norm = float(torch.linalg.vector_norm(self._objective.gradient(theta), dtype=torch.float64))
            quality = (1 - (norm / model.gradient_norm) ** 2) / foretold
        if not quality > 1e-4:  # NaN is no gain either
            self._damping, self._growth = self._damping * self._growth, 2 * self._growth
            self.norms.append(model.gradient_norm)
            return model
        factor = 0.1 if quality > 0.75 else 2.0 if quality < 0.25 else 1.0
        self._damping, self._growth = max(factor * self._damping, _LEAST_DAMPING), 2.0
        return self._arrive(theta)

    def _bent(self, model: LocalModel, problem: _LeastSquares) -> tuple[Tensor, float]:
        """Where the step leads, and the share of ‖g‖² that it is to take away: 0 if its path is bent too much."""
        # To second order the path is s + ½a, a = −(H² + δ)⁻¹H D²g[s, s]: a narrow valley is followed only so.
        step, image, foretold = problem.solve(model.gradient, self._damping)
        if not foretold > 0:
            return model.theta, 0.0
        ahead = self._objective.gradient(model.theta + _AHEAD * step)
        bend = 2 / _AHEAD**2 * (ahead - model.gradient - _AHEAD * image)
        correction = problem.solve(bend, self._damping)[0] / 2 if bool(bend.any()) else bend
        is_straight = float(correction.norm()) <= _BENT * float(step.norm())
        return model.theta + step + correction, foretold if is_straight else 0.0
