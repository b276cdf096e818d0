"""How far do steps go that are corrected for curvature: saddle-free Newton in Krylov spaces, inside a trust radius?"""

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theodolite.linalg import KrylovSpace, hessian, krylov_space, saddle_free_step
from theodolite.objective import Objective
from theodolite.probes.samples import rounding_of
from theodolite.records import Status

_STEPS, _FEWEST_STEPS = 10, 3
_PRODUCTS, _FEWEST_PRODUCTS = 30, 5
_PRODUCT_COST = 3.0
"""Gradients that a product takes: 1.7 to 2.7 by the benchmark, and a share of orthogonalising and evaluating."""

_POOR, _GOOD = 0.25, 0.75
"""Real over predicted gain below which the radius shrinks to a quarter of the step, and above which it doubles.

Source: Nocedal & Wright 2006, algorithm 4.1.
"""

_FARTHEST = 30.0
"""The radius never grows beyond so many times the first: where J falls for ever, a longer step tells nothing local."""

_TRIES = 20
_BISECTIONS = 100
_BASIS_BYTES = 2**30


@dataclass(frozen=True, eq=False)
class CorrectedPath:
    """Where curvature-corrected steps led.

    Attributes:
        theta: Where it ended.
        values: J by the judge after each step.
        products: Hessian products of each step.
        ending: Why it ended, in words.
    """

    theta: Float[Tensor, "params"]
    values: Float[np.ndarray, "steps"]
    products: tuple[int, ...]
    ending: str


@dataclass(frozen=True, eq=False)
class _Move:
    """An accepted step: where it leads, the value there, its gain, and the radius for the next."""

    theta: Tensor
    value: float
    radius: float


def corrected_path(
    objective: Objective,
    theta: Float[Tensor, "params"],
    *,
    judge: Objective,
    radius: float,
    seconds: float,
    steps: int = _STEPS,
) -> CorrectedPath:
    """Follow saddle-free Newton steps −(|H| + δI)⁻¹g, each on a Krylov space of H and g.

    δ ≥ 0 is the least damping that keeps the step inside the trust radius. A step counts if it gains a quarter of what
    the quadratic model predicts; otherwise the radius shrinks and the step is formed anew, in the same space.

    Args:
        objective: J that proposes the steps.
        theta: Where to begin, shape (n,).
        judge: J by which the path is judged, and ended when it rises: another one where the loss is random, since steps
            made for fixed dropout masks gain on those alone. May be the same.
        radius: First trust radius, in ‖Δθ‖.
        seconds: About how long it may take: at least one step is made, with 5 to 30 products.
        steps: Most steps.

    Returns:
        The path; without steps if none gains anything.

    Cost: up to 30 products, two gradients and a few evaluations a step; holds 61 vectors of size n, within 1 GiB.
    Source: Dauphin et al. 2014, algorithm 1; the radius by Nocedal & Wright 2006, algorithm 4.1.
    """
    started = time.perf_counter()
    value, gradient = objective.value(theta), objective.gradient(theta)
    each = time.perf_counter() - started
    most, farthest = _affordable_products(theta, seconds, each), _FARTHEST * radius
    values, products = [judge.value(theta)], list[int]()
    ending = "as many as were allowed"
    while len(products) < steps:
        begun = time.perf_counter()
        space = _space(objective, theta, gradient, most)
        if space is None:
            ending = "the gradient or a product is zero or not finite"
            break
        move = _best_move(objective, theta, value, space, radius=radius, farthest=farthest)
        judged = judge.value(move.theta) if move is not None else math.nan
        if move is None or not judged < values[-1]:
            ending = "no further step gains what its model predicts"
            break
        theta, value, radius = move.theta, move.value, move.radius
        values.append(judged)
        products.append(space.products)
        now = time.perf_counter()
        if now - started + (now - begun) > seconds:
            ending = "the time was used up"
            break
        gradient = objective.gradient(theta)
    return CorrectedPath(theta, np.array(values[1:]), tuple(products), ending)


def _space(objective: Objective, theta: Tensor, gradient: Tensor, products: int) -> KrylovSpace | None:
    """The Krylov space of Hessian and gradient; None if there is none."""
    if not bool(torch.isfinite(gradient).all()) or not bool(gradient.any()):
        return None
    with hessian(objective, theta) as op:
        space = krylov_space(op, gradient, products)
    return None if space.status is Status.NONFINITE else space


def _affordable_products(theta: Tensor, seconds: float, each: float) -> int:
    """Products a step, so that time is left for a few steps and the basis fits."""
    wanted = int(seconds / (_FEWEST_STEPS * _PRODUCT_COST * max(each, 1e-9)))
    fitting = int(_BASIS_BYTES // (2 * max(1, theta.nbytes)))
    return max(1, min(_PRODUCTS, max(_FEWEST_PRODUCTS, wanted), max(_FEWEST_PRODUCTS, fitting), theta.numel()))


def _best_move(
    objective: Objective, theta: Tensor, value: float, space: KrylovSpace, *, radius: float, farthest: float
) -> _Move | None:
    """The longest step of a space that gains what its model predicts, found by doubling and quartering the radius."""
    best: _Move | None = None
    slack = 2 * rounding_of(value, objective.dtype)
    for _ in range(_TRIES):
        damping = damping_within(space, radius)
        length, predicted = forecast(space, damping)
        if not predicted > slack:
            break
        there = theta + saddle_free_step(space, damping)
        reached = objective.value(there)
        agreement = (value - reached) / predicted if math.isfinite(reached) else -math.inf
        if agreement < _POOR:
            if best is not None:
                break
            radius = min(radius, length) / 4
            continue
        if best is not None and reached >= best.value:
            break
        is_held_back = damping > 0
        grown = min(2 * radius, farthest) if agreement > _GOOD and is_held_back else radius
        best = _Move(there, reached, grown)
        if grown == radius:
            break
        radius = grown
    return best


def damping_within(space: KrylovSpace, radius: float) -> float:
    """The least δ ≥ 0 with ‖(|H| + δI)⁻¹g‖ ≤ radius on a Krylov space, to 1e-6 of itself or above.

    Args:
        space: Krylov space of the Hessian H and the gradient g.
        radius: Greatest length of the step.

    Returns:
        The damping, in the unit of the curvature.
    """
    if _full_length(space, 0.0) <= radius:
        return 0.0
    high = float(np.linalg.norm(space.components)) / radius  # |H| ≥ 0, so that this alone keeps the length
    low = high * 1e-16
    for _ in range(_BISECTIONS):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if _full_length(space, middle) <= radius else (middle, high)
        if high <= low * (1 + 1e-6):
            break
    return high


def _full_length(space: KrylovSpace, damping: float) -> float:
    """Length of a step that leaves out no axis: infinite where one without curvature carries some gradient."""
    stiffness = np.abs(space.values) + damping
    unbound = np.where(space.components == 0, 0.0, np.inf)
    return float(np.linalg.norm(np.divide(space.components, stiffness, out=unbound, where=stiffness > 0)))


def forecast(space: KrylovSpace, damping: float) -> tuple[float, float]:
    """Length of a saddle-free step, and the gain −(g·s + ½ s·Hs) that the quadratic model predicts for it.

    Args:
        space: Krylov space of the Hessian and the gradient.
        damping: δ, in the unit of the curvature.

    Returns:
        Length and gain, not finite where they overflow; both are exact in the space, whose axes diagonalise H there.
    """
    stiffness = np.abs(space.values) + damping
    floor = float(torch.finfo(space.vectors.dtype).eps) * (stiffness.max() if stiffness.size else 0.0)
    weights = np.divide(-space.components, stiffness, out=np.zeros_like(stiffness), where=stiffness > floor)
    with np.errstate(over="ignore", invalid="ignore"):  # far off J overflows, and the gain is then not finite
        gain = -float(np.sum(space.components * weights + 0.5 * space.values * weights**2))
    return float(np.linalg.norm(weights)), gain
