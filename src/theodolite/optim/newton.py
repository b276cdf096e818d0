"""Newton steps with a damping chosen by the loss, and those whose curvature is taken by its modulus."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theodolite.errors import SettingError
from theodolite.linalg import KrylovSpace, LinearOperator, krylov_space, saddle_free_step, smallest_eigenvalues
from theodolite.linalg.settings import check_count, check_tolerance
from theodolite.optim.batches import BatchObjective
from theodolite.optim.spaces import seen_from, whole_space, widened_space
from theodolite.optim.stepping import ClosureOptimizer, lowest
from theodolite.optim.steps import damped_newton_step, way_down
from theodolite.records.obstacles import Status

DAMPINGS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
"""Dampings of which the one with the lowest loss is taken (Dauphin et al. 2014, appendix F.1)."""

_EXACT = 1000
"""Up to so many parameters the whole matrix is decomposed: below 2 s on one core."""

_PRODUCTS = 50
"""Dimension of the Krylov space beyond; Dauphin et al. took 500 for an autoencoder of 2.8 million parameters."""

_RESCUES = 8
"""How many times the damping is raised tenfold where every step of the grid raises J."""

_LENGTHS = (1.0, 1e-1, 1e-2, 1e-3)
"""Lengths tried along the most negative curvature, over the greater of ‖θ‖ and 1."""

_STALLED = 1e-2
"""A step that lowers J by a smaller share has stalled. Tried at every step, the way down is greedy: J ends higher."""

_SPREAD = 1e-2
"""Relative error to which the most negative curvature is wanted: the direction is what counts."""

Step = Callable[[KrylovSpace, float], Tensor]
"""The step of a space and a damping."""


class DampedNewton(ClosureOptimizer):
    """Newton's method, damped: Δθ = −lr·(H + δI)⁻¹ g, with δ the one of a grid that gives the lowest loss.

    Goes to the critical point nearby, saddles included: that is what it is here to be compared with.

    Args:
        params: Parameters, or groups of them; groups may differ in ``lr``.
        lr: What the step is multiplied with.
        dampings: Each δ ≥ 0, in the unit of the curvature; ``(0.0,)`` is Newton's method itself.
        products: Hessian products a step, the dimension of the Krylov space of H and g in which the step is formed.
            None takes the exact step up to 1,000 parameters, and 50 products beyond.
        seed: Seed of the pinned randomness (dropout masks), which differs from step to step.

    Raises:
        SettingError: If a setting is out of range, or differs between groups.

    Cost: a step takes one call of the closure, one gradient, the products (2 gradients each), one forward pass for each
    damping, and one more; holds 2·products vectors of size n, or n² numbers.
    Source: Dauphin et al. 2014, section 4 and appendix F.1.

    Example:
        >>> theta = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
        >>> optimizer = DampedNewton([theta], dampings=(0.0,))
        >>> float(optimizer.step(lambda: (2 * theta**2).sum()).detach())
        50.0
        >>> theta.tolist()
        [0.0, 0.0]
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        *,
        dampings: Sequence[float] = DAMPINGS,
        products: int | None = None,
        seed: int = 0,
    ) -> None:
        """Take parameters and settings."""
        _check_settings(dampings, products)
        super().__init__(params, lr, {"dampings": tuple(dampings), "products": products, "seed": seed})

    def _propose(
        self, objective: BatchObjective, theta: Float[Tensor, "params"], gradient: Float[Tensor, "params"]
    ) -> Float[Tensor, "params"] | None:
        """The best of the grid, even where it raises the loss."""
        if not bool(gradient.any()):
            return theta
        settings = self.param_groups[0]
        with objective.hessian(theta) as op:
            space = _axes(op, gradient, settings["products"])
        best = lowest(objective, (theta + self._scaled(damped_newton_step(space, d)) for d in settings["dampings"]))
        return None if best is None else best[0].to(theta)


class SaddleFreeNewton(ClosureOptimizer):
    """Saddle-free Newton: Δθ = −lr·(|H| + δI)⁻¹ g, with δ the one of a grid that gives the lowest loss.

    |H| has the moduli of the eigenvalues of H: Newton's lengths, and away from saddles. The step is exact on small
    models; beyond, it is formed in a Krylov space of H and g, widened by the previous update.

    Args:
        params: Parameters, or groups of them; groups may differ in ``lr``.
        lr: What the step is multiplied with.
        dampings: Each δ ≥ 0, in the unit of the curvature.
        products: Hessian products a step, the dimension of the Krylov space. None takes the exact step up to 1,000
            parameters, and 50 products beyond.
        inner_steps: Steps taken with one decomposition of H, each with the gradient where the one before led.
        escape: Whether to try lengths along the most negative curvature where the step has stalled.
        seed: Seed of the pinned randomness (dropout masks) and of the search for a way down, which differ from step to
            step.

    Raises:
        SettingError: If a setting is out of range, or differs between groups.

    Deviations from the paper: (1) where every step of the grid raises J, the damping is raised tenfold until one does
    not, and θ stays where all do. (2) ``escape``: the paper's step doubles at best the distance from a saddle, so that
    it takes 20 steps from a distance of 1e-6, and none at all where the gradient has no part along the way down. So
    where the step has stalled (J falls by less than 1 %), or the gradient cannot show it, lengths along the most
    negative curvature are tried, too, and the lowest loss is taken; if none shows, Lanczos looks for one from a random
    vector. ``escape=False`` leaves that out. (3) The Krylov space is fully reorthogonalised, with Ritz vectors as
    basis.

    Cost: a step takes one call of the closure, one gradient, the products (2 gradients each), one forward pass for each
    damping and each length, and two more; up to as many products again where it has stalled. Holds 2·products vectors
    of size n, or n² numbers.
    Limits: among steps that were tried the lowest loss on *this batch* wins: use large batches.
    Source: Dauphin et al. 2014, equation 5, algorithm 1, appendices E and F.1.

    Example:
        >>> theta = torch.nn.Parameter(torch.tensor([1.0, 0.5]))
        >>> optimizer = SaddleFreeNewton([theta], dampings=(0.0,), escape=False)
        >>> float(optimizer.step(lambda: theta[0] ** 2 - theta[1] ** 2).detach())
        0.75
        >>> theta.tolist()
        [0.0, 1.0]
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        *,
        dampings: Sequence[float] = DAMPINGS,
        products: int | None = None,
        inner_steps: int = 1,
        escape: bool = True,
        seed: int = 0,
    ) -> None:
        """Take parameters and settings."""
        _check_settings(dampings, products)
        check_count("inner_steps", inner_steps)
        settings = {"products": products, "inner_steps": inner_steps, "escape": escape, "seed": seed}
        super().__init__(params, lr, {"dampings": tuple(dampings), **settings})

    def _propose(
        self, objective: BatchObjective, theta: Float[Tensor, "params"], gradient: Float[Tensor, "params"]
    ) -> Float[Tensor, "params"] | None:
        """The best step of the grid, the best way down from there, and further steps in the same axes."""
        settings, value = self.param_groups[0], objective.value(theta)
        if not math.isfinite(value):
            return None
        with objective.hessian(theta) as op:
            space = self._space(op, gradient)
            if space is not None and space.status is Status.NONFINITE:
                return None
            best = (theta, value) if space is None else self._step(objective, space, theta, value)
            is_stalled = value - best[1] <= _STALLED * abs(value)
            if settings["escape"] and (is_stalled or _is_blind(space)):
                way = None if space is None else way_down(space)
                way = self._found_way(op) if way is None and not _is_whole(space) else way
                best = best if way is None else _along(objective, best, self._scaled(way))
        for _ in range(1, settings["inner_steps"]):
            slope = objective.gradient(best[0])
            if space is None or not bool(slope.isfinite().all()):
                break
            best = self._step(objective, seen_from(space, slope), *best)
        self._remember(best[0] - theta)
        return best[0]

    def _space(self, op: LinearOperator, gradient: Tensor) -> KrylovSpace | None:
        """Axes for the step, the previous update among them; None where a zero gradient spans no Krylov space."""
        products = self.param_groups[0]["products"]
        previous = self._previous()
        if _is_exact(op, products):
            return whole_space(op, gradient)
        if not bool(gradient.any()):
            return None
        if previous is None or (products or _PRODUCTS) == 1:
            return _axes(op, gradient, products)
        space = _axes(op, gradient, (products or _PRODUCTS) - 1)
        # A space that is exact for the gradient gains nothing by another direction.
        return widened_space(space, op, previous) if space.status is Status.BUDGET else space

    def _step(self, objective: BatchObjective, space: KrylovSpace, theta: Tensor, value: float) -> tuple[Tensor, float]:
        """The lowest of the grid; with more damping until J does not rise; the point itself where it does."""
        dampings = sorted(
            self.param_groups[0]["dampings"]
        )  # of equal values, as beside a saddle, the longest step wins

        def points(dampings: Iterable[float]) -> Iterator[Tensor]:
            return ((theta + self._scaled(saddle_free_step(space, d))).to(theta) for d in dampings)

        best = lowest(objective, points(dampings))
        harder = max(*dampings, 1e-5)
        for power in range(1, _RESCUES + 1):
            if best is not None and best[1] <= value:
                return best
            best = lowest(objective, points([harder * 10**power]))
        return best if best is not None and best[1] <= value else (theta, value)

    def _found_way(self, op: LinearOperator) -> Tensor | None:
        """The most negative curvature that Lanczos meets from a random vector; None if none is surely negative."""
        generator = torch.Generator().manual_seed(self.param_groups[0]["seed"] + self._memory()["step"])
        budget = self.param_groups[0]["products"] or _PRODUCTS
        pairs = smallest_eigenvalues(op, 1, rtol=_SPREAD, max_products=budget, generator=generator)
        if not pairs.values.size or not pairs.values[0] < -pairs.residuals[0]:
            return None
        return torch.as_tensor(pairs.vectors[:, 0]).to(device=op.device)

    def _previous(self) -> Tensor | None:
        """The update of the step before; None at the first."""
        params = self._params()
        parts = [self.state[tensor].get("previous") for tensor in params.tensors]
        return params.flatten(parts) if any(part is not None for part in parts) else None

    def _remember(self, update: Tensor) -> None:
        """Keep the update for the next space."""
        params = self._params()
        for tensor, part in zip(params.tensors, params.unflatten(update), strict=True):
            self.state[tensor]["previous"] = part.clone()


def _along(objective: BatchObjective, best: tuple[Tensor, float], way: Tensor) -> tuple[Tensor, float]:
    """The lowest point along a way down, on both sides of a point; the point itself if none is lower."""
    theta, value = best
    reach = max(1.0, float(theta.norm()))
    points = ((theta + sign * reach * length * way).to(theta) for length in _LENGTHS for sign in (1, -1))
    lower = lowest(objective, points)
    return best if lower is None or not lower[1] < value else lower


def _axes(op: LinearOperator, gradient: Tensor, products: int | None) -> KrylovSpace:
    """All axes of a small operator, else those of the Krylov space of a gradient that is not zero."""
    return whole_space(op, gradient) if _is_exact(op, products) else krylov_space(op, gradient, products or _PRODUCTS)


def _is_exact(op: LinearOperator, products: int | None) -> bool:
    """Whether the whole matrix is decomposed."""
    return products is None and op.dimension <= _EXACT


def _is_whole(space: KrylovSpace | None) -> bool:
    """Whether a space has all axes, so that no other curvature is to be found."""
    return space is not None and space.vectors.shape[0] == space.vectors.shape[1]


def _is_blind(space: KrylovSpace | None) -> bool:
    """Whether the gradient will never tell of a way down: H does not lead there, or it has nothing along it."""
    if space is None or (space.status is Status.CONVERGED and not _is_whole(space)):
        return True
    # To half of the digits: what is left below is rounding, doubled at each step.
    nothing = float(torch.finfo(space.vectors.dtype).eps) ** 0.5 * float(np.linalg.norm(space.components))
    return bool(space.values[0] < 0 and abs(space.components[0]) <= nothing)


def _check_settings(dampings: Sequence[float], products: int | None) -> None:
    """Complain of settings out of range."""
    if not dampings:
        raise SettingError("dampings must hold at least one, got none. (0.0,) is Newton's own step.")
    for damping in dampings:
        check_tolerance("each damping", damping)
    if products is not None:
        check_count("products", products)
