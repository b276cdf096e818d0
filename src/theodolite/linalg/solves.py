"""What does the inverse of a symmetric operator do to a vector, as far as products can tell?

MINRES and conjugate gradients are written here rather than taken from SciPy: theirs work on the host in the type of the
array, stop by an estimate of the residual, and go on through NaN. Here vectors stay on the device, scalars are float64,
every claim rests on a residual that was formed anew, and what rounding lost is solved for again.
"""

import math
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theodolite.errors import SettingError
from theodolite.linalg.interface import LinearOperator, as_array
from theodolite.linalg.krylov import krylov_space
from theodolite.linalg.lanczos import require_symmetric, working_dtype
from theodolite.linalg.rounding import precision, product_error
from theodolite.linalg.settings import check_count, check_tolerance, flat_vector, number, require_operator
from theodolite.records.obstacles import Status
from theodolite.records.solutions import Solution

_AIM = 0.9
"""Share of the tolerance that a recurrence aims at: the residual that it carries is not quite the true one."""

_STUCK = 0.9
"""A run that leaves more than this share of the residual is in vain: refinement has come to what rounding permits."""

_HIDDEN = 0.1
"""A residual of ten times the rounding of its own step is hidden by it: the recurrence adds no digit that is true."""


def solve(
    op: LinearOperator,
    b: Tensor | np.ndarray,
    *,
    method: Literal["minres", "cg"] = "minres",
    damping: float = 0.0,
    rtol: float = 1e-6,
    max_products: int = 200,
    x0: Tensor | np.ndarray | None = None,
) -> Solution:
    """Solution of (A + δI)x = b for a symmetric operator A, by MINRES or conjugate gradients.

    MINRES takes any symmetric A and makes ‖b − (A + δI)x‖ least on each Krylov space; conjugate gradients want A + δI
    positive definite, and stop at the first direction p that shows the contrary, pᵀ(A + δI)p ≤ 0.

    Args:
        op: Symmetric operator A.
        b: Right-hand side, shape (n,).
        method: "minres" or "cg".
        damping: δ ≥ 0, in the unit of A.
        rtol: Stop when the residual is at most rtol·‖b‖.
        max_products: Budget of products Av, at least 2; reaching it sets the status.
        x0: Where to begin, for example the solution of the step before; None is zero.

    Returns:
        The best x found, with its true residual. CONVERGED if that is at most rtol·‖b‖, or within the rounding of the
        products, 8ε‖A + δI‖‖x‖ but not above √ε‖b‖, ε being their relative error. Else BREAKDOWN says that the residual
        that is left lies in the null space of A + δI (x is a least-squares solution), that conjugate gradients met
        curvature which is not positive (``direction``), or that a further run no longer lowers it.

    Raises:
        ShapeError: If b or x0 has another shape, or is complex.
        SettingError: If b or x0 is not finite, op is no operator or not symmetric, a setting is out of range, or the
            method is unknown.

    Cost: at most ``max_products`` products, about ln(2/rtol)/2·√κ for conjugate gradients and up to κ in place of √κ
    for MINRES on an indefinite A, κ being the condition number; 6 vectors of size n.
    Limits: of a singular system, x is a least-squares solution but not always the shortest. Where κ exceeds the
    reciprocal of the rounding, such a system and a merely bad one cannot be told apart.
    Source: Paige & Saunders 1975 (MINRES); Hestenes & Stiefel 1952; Higham 2002, chapter 12 (refinement).

    Example:
        >>> from theodolite.linalg.matrices import dense
        >>> solve(dense(torch.diag(torch.tensor([2.0, -4.0]))), torch.tensor([2.0, 4.0])).vector.round(5)
        array([ 1., -1.], dtype=float32)
    """
    require_operator(op)
    if method not in _METHODS:
        raise SettingError(
            f"method must be one of {sorted(_METHODS)}, got {method!r}. Take minres unless A + δI is positive definite."
        )
    _check_settings(damping, rtol)
    check_count("max_products", max_products, 2)
    require_symmetric(op)
    right = _vector(op, b, "b")
    system = _System(op, right, damping, max_products)
    nothing = torch.zeros_like(right)
    start = nothing if x0 is None else _vector(op, x0, "x0")
    return _refine(system, method, system.at(start if system.scale > 0 else nothing), rtol)


def solve_absolute(
    op: LinearOperator,
    b: Tensor | np.ndarray,
    *,
    damping: float = 0.0,
    rtol: float = 1e-6,
    products: int = 30,
) -> Solution:
    """Solution of (|A| + δI)x = b on the Krylov space of b, |A| having the moduli of A's eigenvalues.

    With Ritz pairs (θ, y) of the space, x = Σ (y·b)/(|θ| + δ) y. Exact once the space is exhausted.

    Args:
        op: Symmetric operator A.
        b: Right-hand side, shape (n,).
        damping: δ ≥ 0, in the unit of A.
        rtol: The status is CONVERGED if the bound of the residual is at most rtol·‖b‖, or if x is exact to the rounding
            of the products, the space being exhausted.
        products: How many products to spend, fewer if the space is exhausted before.

    Returns:
        x, with an upper bound of ‖(|A| + δI)x − b‖: Σ |xᵢ| rᵢ over the Ritz pairs, rᵢ being their residuals, since
        ‖|A|y − |θ|y‖ ≤ ‖Ay − θy‖. BUDGET if the products ran out before; BREAKDOWN if b has a part where |A| + δ is
        zero to rounding; that part is left out.

    Raises:
        ShapeError: If b has another shape, or is complex.
        SettingError: If b is not finite, op is no operator or not symmetric, or a setting is out of range.

    Cost: ``products`` products; holds 2·products + 1 vectors of size n for a moment.
    Limits: the bound adds what may cancel; it can be many times the residual before the space is nearly exhausted.
    Source: Dauphin et al. 2014, algorithm 1.

    Example:
        >>> from theodolite.linalg.matrices import dense
        >>> solve_absolute(dense(torch.diag(torch.tensor([2.0, -4.0]))), torch.tensor([2.0, 4.0])).vector.round(5)
        array([1., 1.], dtype=float32)
    """
    require_operator(op)
    _check_settings(damping, rtol)
    check_count("products", products)
    require_symmetric(op)
    right = _vector(op, b, "b")
    scale = _norm(right)
    if scale == 0:
        return Solution(as_array(right), 0.0, 0.0, Status.CONVERGED, 0, _ABSOLUTE)
    space = krylov_space(op, right, products)
    if space.status is Status.NONFINITE:
        return Solution(as_array(torch.zeros_like(right)), scale, scale, Status.NONFINITE, space.products, _ABSOLUTE)
    stiffness = np.abs(space.values) + damping
    noise = product_error(op) * float(stiffness.max())
    is_stiff = stiffness > noise
    weights = np.divide(space.components, stiffness, out=np.zeros_like(stiffness), where=is_stiff)
    lost = float(np.linalg.norm(space.components[~is_stiff]))
    rounding = noise * float(np.linalg.norm(weights))
    residual = lost + rounding + float(np.abs(weights) @ space.residuals)
    is_exact = space.status is Status.CONVERGED and lost <= rtol * scale and rounding <= precision(op) ** 0.5 * scale
    if is_exact or residual <= rtol * scale:
        status = Status.CONVERGED
    else:
        status = Status.BUDGET if space.status is Status.BUDGET and lost <= rtol * scale else Status.BREAKDOWN
    return Solution(as_array(space.combine(weights)), residual, scale, status, space.products, _ABSOLUTE)


_ABSOLUTE = "Krylov space of |A|"


@dataclass(frozen=True, eq=False)
class _Point:
    """A point x and b − (A + δI)x, formed by a product."""

    x: Tensor
    residual: Tensor

    @property
    def error(self) -> float:
        """Norm of the residual."""
        return _norm(self.residual)


class _System:
    """(A + δI)x = b with a budget of products."""

    def __init__(self, op: LinearOperator, right: Tensor, damping: float, budget: int) -> None:
        self._op, self._right, self._damping, self.left, self.budget = op, right, damping, budget, budget
        self.scale = _norm(right)
        self.norm = 0.0
        """The greatest ‖(A + δI)v‖/‖v‖ seen: a lower bound of the norm of the matrix, soon a good one."""

    @property
    def precision(self) -> float:
        """Relative error of a product."""
        return precision(self._op)

    @property
    def noise(self) -> float:
        """What is zero to rounding, in the unit of A."""
        return product_error(self._op) * self.norm

    def apply(self, vector: Tensor) -> Tensor:
        """(A + δI)v, one product less to spend."""
        self.left -= 1
        image = self._op.apply(vector.to(self._op.dtype).unsqueeze(1)).squeeze(1).to(vector.dtype)
        image = image + self._damping * vector
        length = _norm(vector)
        self.norm = max(self.norm, _norm(image) / length) if length > 0 else self.norm  # max drops a NaN on the right
        return image

    def at(self, x: Tensor) -> _Point:
        """The point x, for one product; none at zero, whose residual is b."""
        return _Point(x, self._right - self.apply(x) if bool(x.any()) else self._right)


@dataclass(frozen=True, eq=False)
class _Cycle:
    """What one run of a recurrence gave: a correction, why it ended, and the bad direction that it met."""

    step: Tensor
    status: Status
    direction: Tensor | None = None
    curvature: float = math.nan


def _refine(system: _System, method: str, point: _Point, rtol: float) -> Solution:
    """Solve for the residual that is truly left, until it is small, or falls no further."""
    cycle = _Cycle(point.x, Status.CONVERGED)
    while point.error > rtol * system.scale and cycle.status is Status.CONVERGED and system.left >= 2:
        point, cycle = _advance(system, method, point, rtol * system.scale)
    status = _ending(system, point, cycle.status, rtol)
    direction = None if cycle.direction is None else as_array(cycle.direction)
    used = system.budget - system.left
    return Solution(as_array(point.x), point.error, system.scale, status, used, method, direction, cycle.curvature)


def _advance(system: _System, method: str, point: _Point, tolerance: float) -> tuple[_Point, _Cycle]:
    """One run on the residual that is left: the better point, and how the run ended; BREAKDOWN if it was in vain."""
    cycle = _METHODS[method](system, point.residual, _AIM * tolerance)
    after = system.at(point.x + cycle.step)
    if not math.isfinite(after.error):
        return point, replace(cycle, status=Status.NONFINITE)
    is_vain = cycle.status is Status.CONVERGED and after.error > max(tolerance, _STUCK * point.error)
    # Conjugate gradients come nearer to the solution at every step, though the residual may rise meanwhile.
    is_nearer = method == "cg" and not is_vain and cycle.status is not Status.NONFINITE
    better = after if is_nearer or after.error < point.error else point
    return better, replace(cycle, status=Status.BREAKDOWN) if is_vain else cycle


def _ending(system: _System, point: _Point, ended: Status, rtol: float) -> Status:
    """CONVERGED if the residual is within the tolerance or the rounding of products; else why it fell no further."""
    if ended is Status.NONFINITE or not math.isfinite(point.error):
        return Status.NONFINITE
    rounding = min(system.noise * _norm(point.x), system.precision**0.5 * system.scale)
    if point.error <= max(rtol * system.scale, rounding):
        return Status.CONVERGED
    return Status.BUDGET if ended is Status.CONVERGED else ended


def _minres(system: _System, residual: Tensor, target: float) -> _Cycle:
    """MINRES on (A + δI)d = r: one product and one Givens rotation a step."""
    step, w, w_before = (torch.zeros_like(residual) for _ in range(3))
    cosine, sine, diagonal, second = -1.0, 0.0, 0.0, 0.0
    left, least = _norm(residual), (math.inf, step)
    for v, alpha, beta in _lanczos(system, residual):
        if not math.isfinite(alpha + beta):
            return _Cycle(step, Status.NONFINITE)
        first, pivot, following = cosine * diagonal + sine * alpha, sine * diagonal - cosine * alpha, -cosine * beta
        image = math.hypot(pivot, following)  # ‖(A + δI)r‖/‖r‖: r is in the null space where it vanishes
        least = min(least, (image, step), key=operator.itemgetter(0))
        is_hidden = _HIDDEN * left <= system.noise * _norm(step)  # the rounding of a step that grows and grows
        if image <= system.noise or (is_hidden and least[0] <= system.precision**0.5 * system.norm):
            return _Cycle(least[1], Status.BREAKDOWN)
        if is_hidden:
            return _Cycle(step, Status.CONVERGED)
        gamma = math.hypot(pivot, beta)
        w, w_before = (v - second * w_before - first * w) / gamma, w
        second, diagonal = sine * beta, following
        cosine, sine = pivot / gamma, beta / gamma
        step = step + cosine * left * w
        left *= sine
        if left <= target:
            return _Cycle(step, Status.CONVERGED)
    return _Cycle(step, Status.BUDGET)


def _lanczos(system: _System, start: Tensor) -> Iterator[tuple[Tensor, float, float]]:
    """Basis vectors v with their entries α and next β of the tridiagonal matrix; a product is kept for the residual."""
    beta = _norm(start)
    v, before = start / beta, torch.zeros_like(start)
    beta = 0.0
    while system.left >= 2:
        image = system.apply(v)
        alpha = _dot(v, image)
        image = image - alpha * v - beta * before
        beta = _norm(image)
        yield v, alpha, beta
        v, before = image / beta, v


def _conjugate_gradients(system: _System, residual: Tensor, target: float) -> _Cycle:
    """Conjugate gradients on (A + δI)d = r, as far as curvature is positive beyond rounding."""
    step, p, r = torch.zeros_like(residual), residual, residual
    squared = _dot(r, r)
    while system.left >= 2:
        image = system.apply(p)
        length = _norm(p)
        curvature = _dot(p, image) / length**2
        if not math.isfinite(curvature):
            return _Cycle(step, Status.NONFINITE)
        if curvature <= system.noise:
            return _Cycle(step, Status.BREAKDOWN, p / length, curvature)
        alpha = squared / (curvature * length**2)
        step, r = step + alpha * p, r - alpha * image
        before, squared = squared, _dot(r, r)
        if squared**0.5 <= target:
            return _Cycle(step, Status.CONVERGED)
        p = r + squared / before * p
    return _Cycle(step, Status.BUDGET)


_METHODS: dict[str, Callable[[_System, Tensor, float], _Cycle]] = {"minres": _minres, "cg": _conjugate_gradients}


def _check_settings(damping: object, rtol: object) -> None:
    """Complain of settings out of range."""
    check_tolerance("damping", damping)
    if not 0 < number("rtol", rtol) < 1:
        raise SettingError(f"rtol must lie between 0 and 1, got {rtol}. 1e-6 is usual.")


def _vector(op: LinearOperator, value: object, name: str) -> Float[Tensor, "params"]:
    """A caller's vector, checked, in the type and on the device of the basis vectors."""
    vector = flat_vector(op, value, name).to(dtype=working_dtype(op), device=op.device)
    if not bool(vector.isfinite().all()):
        raise SettingError(f"{name} must be finite, got NaN or infinity. Look where it comes from first.")
    return vector


def _norm(vector: Tensor) -> float:
    """‖v‖ in float64."""
    return float(torch.linalg.vector_norm(vector, dtype=torch.float64))


def _dot(u: Tensor, v: Tensor) -> float:
    """u·v in float64."""
    return float(torch.dot(u.double(), v.double()))
