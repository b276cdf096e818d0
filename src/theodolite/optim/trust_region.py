"""Newton steps no longer than the quadratic model holds."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from theodolite.errors import SettingError
from theodolite.linalg.settings import check_count, check_tolerance, number
from theodolite.optim.batches import BatchObjective
from theodolite.optim.stepping import ClosureOptimizer
from theodolite.optim.steps import bounded_newton_step, predicted_gain, reduction_ratio
from theodolite.records.obstacles import Status

_POOR, _GOOD = 0.25, 0.75
"""Real over predicted gain below which the radius shrinks, and above which it may double.

Source: Nocedal & Wright 2006, algorithm 4.1.
"""

_ACCEPTED = 0.1
"""A step counts that gains this share of what the model predicts: the middle of the range of algorithm 4.1, [0, ¼)."""

_LEAST = 1e-30
"""The radius shrinks no further, whatever is refused: it must stay positive, and come back."""


class TrustRegionNewtonCG(ClosureOptimizer):
    """Trust-region Newton-CG: the minimum of the quadratic model inside a ball, by conjugate gradients (Steihaug).

    A step counts if J falls by a tenth of what the model predicts; the radius shrinks to a quarter of the step where
    that is less than a quarter, and doubles where it is more than three quarters and the step ended on the sphere.

    Args:
        params: Parameters, or groups of them; groups may differ in ``lr``.
        lr: What the step is multiplied with; 1 is the method, and schedules are rarely of use.
        radius: First radius of the ball, in ‖Δθ‖.
        max_radius: Greatest radius.
        products: Most Hessian products a step.
        rtol: Conjugate gradients stop at a residual of min(rtol, √‖g‖)·‖g‖, so that the method ends superlinearly.
        seed: Seed of the pinned randomness (dropout masks), which differs from step to step.

    Raises:
        SettingError: If a setting is out of range, or differs between groups.

    Cost: a step takes one call of the closure, one gradient, three forward passes, and the products and one more (2
    gradients each); 5 vectors of size n.
    Limits: at a critical point, a saddle too, the gradient is zero and so is the step. A step that is refused leaves θ
    where it is, without a warning: the next one is shorter. At a kink, as ReLU has, steps may stay short for long.
    Source: Steihaug 1983; Nocedal & Wright 2006, algorithms 4.1 and 7.2, and 7.1 for the tolerance;
    Conn, Gould & Toint 2000, section 17.4.2, for rounding.

    Example:
        >>> theta = torch.nn.Parameter(torch.tensor([0.6, 0.8]))
        >>> optimizer = TrustRegionNewtonCG([theta])
        >>> float(optimizer.step(lambda: (2 * theta**2).sum()).detach())
        2.0
        >>> float(theta.detach().norm() < 1e-6)
        1.0
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        *,
        radius: float = 1.0,
        max_radius: float = 100.0,
        products: int = 50,
        rtol: float = 0.5,
        seed: int = 0,
    ) -> None:
        """Take parameters and settings."""
        if not 0 < number("radius", radius) <= number("max_radius", max_radius) < math.inf:
            raise SettingError(
                f"radius must be positive and at most max_radius, got {radius} and {max_radius}. 1.0 and 100.0 are "
                "usual."
            )
        check_count("products", products)
        check_tolerance("rtol", rtol)
        settings = {"radius": radius, "max_radius": max_radius, "products": products, "rtol": rtol, "seed": seed}
        super().__init__(params, lr, settings)

    def _propose(
        self, objective: BatchObjective, theta: Float[Tensor, "params"], gradient: Float[Tensor, "params"]
    ) -> Float[Tensor, "params"] | None:
        """The end of the step if it gains enough, θ if it does not; the radius is set for the next."""
        settings, memory, value = self.param_groups[0], self._memory(), objective.value(theta)
        if not math.isfinite(value):
            return None
        radius = memory.get("radius", settings["radius"])
        rtol = min(settings["rtol"], float(gradient.norm()) ** 0.5)
        with objective.hessian(theta) as op:
            step = bounded_newton_step(op, gradient, radius, rtol=rtol, max_products=settings["products"])
            if step.status is Status.NONFINITE:
                return None
            move = self._scaled(step.vector)
            if not bool(move.any()):
                return theta
            predicted = predicted_gain(op, gradient, move)
        reached = (theta + move).to(theta)
        is_lost = torch.equal(reached, theta)  # a step below the rounding of θ says nothing of J
        precision = float(torch.finfo(theta.dtype).eps)
        ratio = reduction_ratio(value, objective.value(reached), predicted, precision=precision)
        if ratio < _POOR and not is_lost:
            radius = max(float(step.vector.norm()) / 4, _LEAST)
        elif (ratio > _GOOD or is_lost) and step.is_bound:
            radius = min(2 * radius, settings["max_radius"])
        memory["radius"] = radius
        return reached if ratio > _ACCEPTED else theta
