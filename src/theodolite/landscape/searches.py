"""Where does Newton's method go? To a critical point, of whatever kind."""

import math
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theodolite.errors import SettingError
from theodolite.landscape.critical_points import classify_model
from theodolite.landscape.local_models import DENSE_LIMIT, LocalModel, local_model
from theodolite.linalg.curvature import hessian
from theodolite.linalg.interface import as_array
from theodolite.linalg.settings import check_count, check_tolerance
from theodolite.objective import Objective
from theodolite.records.obstacles import Status
from theodolite.records.points import CriticalPoint, NewtonPath

_ARRIVED = 0.5
"""Share of the tolerance within which a search ends: the classification after it may see a little more of H."""

_LEAST_QUALITY = 1e-4
"""A step must take away this share of what its model foretold of ‖g‖² (Nocedal & Wright, chapter 4: 0 to 1/4)."""

_GOOD, _POOR = 0.75, 0.25
"""Above and below such a quality the model is trusted more, or less (Nocedal & Wright, algorithm 4.1)."""

_MORE_TRUST, _LESS_TRUST = 0.1, 2.0
"""Factors of the damping after a good and a poor step; fast down, since near the end only Newton's own step is fast."""

_GROWTH = 2.0
"""Factor of the damping after a step that was not taken; it doubles each time (Nielsen 1999)."""

_FIRST_DAMPING = 1e-3
"""Damping of the first step over ‖H‖²: axes of curvature above 0.03‖H‖ get their Newton step at once."""

_LEAST_DAMPING = 1e-32
"""Below ε² of float64 damping changes nothing, and zero would divide zero by zero."""

_PATIENCE = 30
"""So many trials without ‖g‖ falling to ``_AT_REST`` of itself, and the search has come to rest."""

_AT_REST = 0.999
"""A search towards a critical point gains a factor in a few trials; a thousandth in thirty would never arrive."""

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
    generator: torch.Generator | None = None,
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
        generator: Source of the start vector of the last classification; give one for a repeatable result.

    Returns:
        The path with J, ‖g‖ and the number of negative eigenvalues at each point, and what the last one is. It is cut
        short where H + δ is singular along the gradient (BREAKDOWN), or something is not finite.

    Raises:
        SettingError: If a setting is out of range, or ``dense_limit`` allows a matrix of more than 4 GB.
        ShapeError: If ``start`` has another shape.

    Cost: n products and an eigendecomposition a point, or ``products`` + 1, and n or 200 at most for the last
    classification; keeps the points of the path.
    Limits: where n exceeds ``dense_limit`` the step is Newton's only on the Krylov space.
    Source: Goodfellow 2015, tutorial, "Newton's method's failure mode"; Dauphin et al. 2014, section 3.

    Example:
        >>> hill = Objective.from_function(lambda theta: theta.cos().sum(), torch.tensor([0.3]))
        >>> newton(hill, torch.tensor([0.3]), 4).end.kind
        'maximum'
    """
    check_count("steps", steps, least=0)
    check_count("products", products)
    check_count("dense_limit", dense_limit, least=0)
    if not math.isfinite(damping):
        raise SettingError(f"damping must be finite, got {damping}. Take 0, or a little more than −λmin.")
    theta = objective.params.vector(start, "start").clone()
    model = local_model(objective, theta, dense_limit=dense_limit, products=products)
    path = [_Waypoint.of(model)]
    while model.is_finite and len(path) <= steps:
        following = model.newton_step(damping)
        if following is None:
            break
        model = local_model(objective, following, dense_limit=dense_limit, products=products)
        path.append(_Waypoint.of(model))
    end = classify_model(objective, model, generator=generator)
    return NewtonPath(
        points=np.stack([waypoint.point for waypoint in path]),
        values=np.array([waypoint.value for waypoint in path]),
        gradient_norms=np.array([waypoint.gradient_norm for waypoint in path]),
        indices=np.array([waypoint.index for waypoint in path]),
        damping=damping,
        end=end,
        status=_ended(end, is_spent=len(path) > steps),
        products=sum(waypoint.products for waypoint in path[:-1]) + end.products,
        method=end.method,
    )


@dataclass(frozen=True, eq=False)
class _Waypoint:
    """What is kept of a point of the path: not its axes, n numbers each."""

    point: Float[np.ndarray, "params"]
    value: float
    gradient_norm: float
    index: int
    products: int

    @classmethod
    def of(cls, model: LocalModel) -> Self:
        """The point of a model; its index is −1 where H is not finite."""
        index = model.index if model.is_finite else -1
        return cls(as_array(model.theta), model.value, model.gradient_norm, index, model.products)


def _ended(end: CriticalPoint, *, is_spent: bool) -> Status:
    """How a path ended whose last point is known."""
    if end.kind != "not critical":
        return Status.CONVERGED
    if end.status is Status.NONFINITE:
        return Status.NONFINITE
    return Status.BUDGET if is_spent else Status.BREAKDOWN


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
        What was found, as ``classify`` sees it, with the path of ‖g‖. What is asked here is a critical point: only one
        that is critical has the status CONVERGED. Where ‖g‖ is stationary but not zero, as happens often in networks
        (``flatness`` near 0), the kind is "not critical" and the status is BREAKDOWN; out of iterations, it is BUDGET.

    Raises:
        SettingError: If a setting is out of range, or ``dense_limit`` allows a matrix of more than 4 GB.
        ShapeError: If ``start`` has another shape.

    Cost: an iteration takes two gradients; where the last step was taken also n products and an eigendecomposition, or
    2·``products`` + 1 products.
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
    check_count("max_iterations", max_iterations, least=0)
    check_count("products", products)
    check_count("dense_limit", dense_limit, least=0)
    if rtol is not None:
        check_tolerance("rtol", rtol)
    theta = objective.point() if start is None else objective.params.vector(start, "start").clone()
    first = local_model(objective, theta, dense_limit=dense_limit, products=products)
    settings = _Settings(rtol, products, dense_limit)
    outcome = _Search(objective, first, settings).run(max_iterations)
    if outcome.status in (Status.BUDGET, Status.BREAKDOWN):
        outcome = outcome.then(_Search(objective, first, settings).run_plain(min(_PLAIN, max_iterations)))
    found = classify_model(objective, outcome.model, rtol=rtol, generator=generator)
    return replace(
        found,
        status=_found(found, outcome.status),
        gradient_norms=np.array(outcome.norms),
        products=first.products + outcome.products + found.products - outcome.model.products,
    )


def _found(end: CriticalPoint, status: Status) -> Status:
    """How a search ended whose last point is known."""
    if end.kind != "not critical" or end.status is Status.NONFINITE:
        return end.status
    # Rounding may move a point that was critical by a hair's breadth out again.
    return Status.BREAKDOWN if status is Status.CONVERGED else status


@dataclass(frozen=True)
class _Settings:
    """How a search sees J, and when it has arrived: see ``find_critical_point``."""

    rtol: float | None
    products: int
    dense_limit: int


@dataclass(frozen=True, eq=False)
class _Outcome:
    """Where a search led, ‖g‖ after each trial, the products beyond those of its first model, and how it ended."""

    model: LocalModel
    norms: tuple[float, ...]
    products: int
    status: Status

    def then(self, second: Self) -> Self:
        """What is known after a second search: where that one led, if it arrived; it has cost its products anyway."""
        products = self.products + second.products
        if second.status is not Status.CONVERGED:
            return replace(self, products=products)
        return replace(second, norms=self.norms + second.norms, products=products)


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
    """Levenberg and Marquardt's method on its way: where it is, and how much it trusts its model."""

    def __init__(self, objective: Objective, start: LocalModel, settings: _Settings) -> None:
        """Say what to search, from where, and how exactly."""
        self._objective, self._settings = objective, settings
        self._damping, self._growth = _FIRST_DAMPING, _GROWTH
        self._model = start
        self._problem: _LeastSquares | None = None
        self._norms = [start.gradient_norm]
        self._products = 0

    def run(self, max_iterations: int) -> _Outcome:
        """Go on until the point is critical, nothing helps, or the budget is spent."""
        while self._model.is_finite and not self._has_arrived():
            if len(self._norms) > max_iterations:
                return self._outcome(Status.BUDGET)
            if len(self._norms) > _PATIENCE and self._norms[-1] > _AT_REST * self._norms[-1 - _PATIENCE]:
                return self._outcome(Status.BREAKDOWN)
            self._advance()
        return self._polished() if self._model.is_finite else self._outcome(Status.NONFINITE)

    def run_plain(self, steps: int) -> _Outcome:
        """Newton's own steps until the point is critical, or they end."""
        while self._model.is_finite and not self._has_arrived():
            if len(self._norms) > steps:
                return self._outcome(Status.BUDGET)
            following = self._model.newton_step(0.0)
            if following is None:
                return self._outcome(Status.BREAKDOWN)
            self._arrive(following)
        return self._polished() if self._model.is_finite else self._outcome(Status.NONFINITE)

    def _has_arrived(self) -> bool:
        """Whether the point is critical, with some room."""
        return self._model.is_critical(self._settings.rtol, share=_ARRIVED)

    def _outcome(self, status: Status) -> _Outcome:
        """What there is to tell at the end."""
        return _Outcome(self._model, tuple(self._norms), self._products, status)

    def _polished(self) -> _Outcome:
        """Go on until g does not stand above rounding: near a regular point, two or three steps."""
        for _ in range(_POLISHING):
            if not self._model.distance() > 0:
                break
            self._advance()
        return self._outcome(Status.CONVERGED)

    def _arrive(self, theta: Tensor) -> None:
        """Be at a new point."""
        settings = self._settings
        self._model = local_model(self._objective, theta, dense_limit=settings.dense_limit, products=settings.products)
        self._problem = None
        self._norms.append(self._model.gradient_norm)
        self._products += self._model.products

    def _advance(self) -> None:
        """Try a step, and take it if it lowers ‖g‖."""
        theta, quality = self._tried()
        if not quality > _LEAST_QUALITY:  # NaN is no gain either
            self._damping, self._growth = self._damping * self._growth, 2 * self._growth
            self._norms.append(self._model.gradient_norm)
            return
        factor = _MORE_TRUST if quality > _GOOD else _LESS_TRUST if quality < _POOR else 1.0
        self._damping, self._growth = max(factor * self._damping, _LEAST_DAMPING), _GROWTH
        self._arrive(theta)

    def _tried(self) -> tuple[Tensor, float]:
        """Where the step leads, and its quality: the fall of ‖g‖² over the one foretold; 0 if it is bent too much."""
        # To second order the path is s + ½a, a = −(H² + δ)⁻¹H D²g[s, s]: a narrow valley is followed only so.
        model, problem = self._model, self._least_squares()
        step, image, foretold = problem.solve(model.gradient, self._damping)
        if not foretold > 0:
            return model.theta, 0.0
        ahead = self._objective.gradient(model.theta + _AHEAD * step)
        bend = 2 / _AHEAD**2 * (ahead - model.gradient - _AHEAD * image)
        correction = problem.solve(bend, self._damping)[0] / 2 if bool(bend.any()) else bend
        theta = model.theta + step + correction
        if not float(correction.norm()) <= _BENT * float(step.norm()):
            return theta, 0.0
        norm = float(torch.linalg.vector_norm(self._objective.gradient(theta), dtype=torch.float64))
        return theta, (1 - (norm / model.gradient_norm) ** 2) / foretold

    def _least_squares(self) -> _LeastSquares:
        """The problems at the present point, formed once."""
        if self._problem is None:
            self._problem = _LeastSquares.at(self._objective, self._model)
            self._products += 0 if self._model.is_complete else len(self._model.curvatures)
        return self._problem
