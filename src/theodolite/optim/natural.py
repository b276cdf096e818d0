"""Steps of steepest descent where distance is counted in what the model predicts."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from theodolite.errors import SettingError
from theodolite.linalg.settings import check_count, check_tolerance
from theodolite.optim.batches import BatchObjective
from theodolite.optim.stepping import ClosureOptimizer
from theodolite.optim.steps import natural_step, predicted_gain, reduction_ratio

_POOR, _GOOD, _CHANGE = 0.25, 0.75, 1.5
"""Real over predicted gain below which the damping grows by half, and above which it shrinks to two thirds.

Source: Martens 2010, section 4.1.
"""

_TRIALS, _HARDER = 12, 10.0
"""How many dampings a step may try, each ten times the one before, until J falls."""

_LEAST = 1e-10
"""The damping shrinks no further: beyond, it says nothing in any type, and would take long to come back."""


class NaturalGradient(ClosureOptimizer):
    """Natural gradient: Δθ = −lr·(F + δI)⁻¹ g with the Gauss-Newton matrix F, by conjugate gradients.

    Of losses that are negative log-likelihoods of an exponential family (cross-entropy, squared error), F is the Fisher
    information of the model's predictions on the batch, averaged like the loss.

    The damping δ is that of Levenberg and Marquardt: it shrinks where J falls as the quadratic model of F says, and
    grows where it does not. Where J rises on the batch, a greater one is tried at once; no step raises it.

    Args:
        params: Parameters, or groups of them; groups may differ in ``lr``.
        lr: What the step is multiplied with.
        model: The module whose outputs the loss is a function of; the closure must call it.
        damping: First δ ≥ 0, in the unit of F; 1 is a careful first step where losses are means.
        products: Most Gauss-Newton products for a damping, at least 2.
        rtol: Conjugate gradients stop at a residual of rtol·‖g‖.
        seed: Seed of the pinned randomness (dropout masks), which differs from step to step.

    Raises:
        SettingError: If a setting is out of range, or differs between groups, or there is no model.

    Cost: a step takes one call of the closure, one gradient, three forward passes, and the products and one more (1.4
    to 2.4 gradients each); again one forward pass and the products, fewer each time, for each damping that is refused.
    6 vectors of size n.
    Limits: the damping suits the batch of the step, and on small batches J of all data may still rise now and then.
    F is positive where the loss is convex in the outputs, so at a saddle of the model the step goes downhill, but no
    faster than the gradient says. A step that is refused leaves θ where it is, without a warning.
    Source: Amari 1998; Martens 2010, section 4.1; Martens 2020, sections 6 and 8.

    Example:
        >>> import torch
        >>> model = nn.Linear(1, 1, bias=False)
        >>> optimizer = NaturalGradient(model.parameters(), model=model, damping=0.0)
        >>> _ = optimizer.step(lambda: (model(torch.tensor([[3.0]])) - 6.0).square().mean())
        >>> round(model.weight.item(), 4)
        2.0
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        *,
        model: nn.Module | None = None,
        damping: float = 1.0,
        products: int = 50,
        rtol: float = 1e-4,
        seed: int = 0,
    ) -> None:
        """Take parameters, settings and the model."""
        if model is None:
            raise SettingError("model must be the module whose outputs are meant, got None. Pass model=model.")
        check_tolerance("damping", damping)
        check_tolerance("rtol", rtol)
        check_count("products", products, 2)
        settings = {"damping": damping, "products": products, "rtol": rtol, "seed": seed}
        super().__init__(params, lr, settings, model=model)

    def _propose(
        self, objective: BatchObjective, theta: Float[Tensor, "params"], gradient: Float[Tensor, "params"]
    ) -> Float[Tensor, "params"] | None:
        """The end of the first step that does not raise J, θ if each does; the damping is set for the next."""
        settings, memory, value = self.param_groups[0], self._memory(), objective.value(theta)
        if not math.isfinite(value):
            return None
        if not bool(gradient.any()) or not any(float(group["lr"]) for group in self.param_groups):
            return theta
        damping, precision = memory.get("damping", settings["damping"]), float(torch.finfo(theta.dtype).eps)
        with objective.ggn(theta) as op:
            for _ in range(_TRIALS):
                step = natural_step(op, gradient, damping, rtol=settings["rtol"], max_products=settings["products"])
                move = self._scaled(step)
                predicted = predicted_gain(op, gradient, move)
                if not math.isfinite(predicted):
                    return None
                reached = (theta + move).to(theta)
                ratio = reduction_ratio(value, objective.value(reached), predicted, precision=precision)
                # Without a step conjugate gradients met negative curvature: F is not positive, and wants more damping.
                if ratio > 0 and bool(move.any()):
                    memory["damping"] = _next_damping(damping, ratio)
                    return reached
                damping = _HARDER * max(damping, _LEAST)
        memory["damping"] = damping
        return theta


def _next_damping(damping: float, ratio: float) -> float:
    """More where J fell by too little, less where it fell by as much as was said."""
    if ratio < _POOR:
        return max(damping, _LEAST) * _CHANGE
    return max(damping / _CHANGE, _LEAST) if ratio > _GOOD else damping
