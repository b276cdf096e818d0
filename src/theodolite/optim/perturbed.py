"""Gradient descent that shakes itself off where the slope is gone."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from theodolite._checks import warn
from theodolite.linalg.settings import check_count, check_tolerance
from theodolite.optim.groups import GroupedOptimizer, each_once, run_memory
from theodolite.optim.steps import ball_noise


class PerturbedGradientDescent(GroupedOptimizer):
    """Perturbed gradient descent: Δθ = −lr·g, and a point of a ball where ‖g‖ is small.

    Where ‖g‖ ≤ threshold and the last perturbation is more than ``interval`` steps ago, θ moves by a point drawn
    uniformly from the ball of the radius; else by −lr·g. From the neighbourhood of a strict saddle, gradient descent
    then leaves in time that depends on the dimension only by a logarithm.

    Args:
        params: Parameters, or groups of them; groups may differ in ``lr``.
        lr: Learning rate; the theory wants 1/(greatest curvature) at most.
        radius: r, the length of a perturbation at most.
        threshold: g_thres, the gradient norm, over all parameters, at or below which θ is perturbed.
        interval: t_thres, fewest steps between two perturbations.
        seed: Seed of the perturbations; the global generators are not moved.

    Raises:
        SettingError: If a setting is out of range, or differs between groups.

    Deviations from the paper: (1) the perturbation is a step of its own, so that the gradient after it is that of the
    perturbed point without a second call of the closure. (2) The end of the search where a perturbation gained too
    little is left out: when to end a training is not an optimizer's business. (3) Settings are given as such, not
    derived from Lipschitz constants, which are not known.

    Cost: one pass over the parameters; a perturbation draws n normal numbers on the CPU.
    Limits: a gradient of a small batch is never small, and then there is no perturbation: its noise does the same.
    Source: Jin et al. 2017, algorithms 1 and 4.

    Example:
        >>> theta = torch.nn.Parameter(torch.zeros(2))
        >>> theta.grad = torch.zeros(2)
        >>> PerturbedGradientDescent([theta], lr=0.1, radius=0.5).step()
        >>> 0 < float(theta.detach().norm()) <= 0.5
        True
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        *,
        radius: float = 1e-2,
        threshold: float = 1e-3,
        interval: int = 50,
        seed: int = 0,
    ) -> None:
        """Take parameters and settings."""
        for name, value in (("lr", lr), ("radius", radius), ("threshold", threshold)):
            check_tolerance(name, value)
        check_count("interval", interval, 0)
        check_count("seed", seed, 0)
        self._has_warned = False
        settings = {"lr": lr, "radius": radius, "threshold": threshold, "interval": interval, "seed": seed}
        super().__init__(params, settings)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy has: the state of ``torch.optim.Optimizer``, which leaves all else out, and what is ours."""
        return {**super().__getstate__(), "_has_warned": self._has_warned}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step.

        Args:
            closure: Computes the loss and its gradients anew; not needed where ``.grad`` is filled.

        Returns:
            What the closure returned; None without one.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        held = [
            (tensor, tensor.grad, float(group["lr"]))
            for group in self.param_groups
            for tensor in each_once(group)
            if tensor.grad is not None
        ]
        norm = math.hypot(*(_norm(gradient) for _, gradient, _ in held))
        settings, memory = self.param_groups[0], run_memory(self.param_groups, self.state)
        count = memory.get("step", 0)
        memory["step"] = count + 1
        if not math.isfinite(norm):
            self._tell()
        elif (
            held and norm <= settings["threshold"] and count - memory.get("perturbed", -math.inf) > settings["interval"]
        ):
            memory["perturbed"] = count
            _perturb([tensor for tensor, _, _ in held], settings["radius"], settings["seed"] + count)
        else:
            for tensor, gradient, rate in held:
                tensor.add_(gradient, alpha=-rate)
        return loss

    def _tell(self) -> None:
        """Say, once, that a step was not taken."""
        if not self._has_warned:
            self._has_warned = True
            warn(
                "PerturbedGradientDescent: the gradient must be finite, and is not at this step: it is not taken, and "
                "the parameters stay as they are. Further ones will not be told. Look at the loss of this batch."
            )


def _perturb(tensors: list[Tensor], radius: float, seed: int) -> None:
    """Move parameters, taken as one vector, by a point of the ball."""
    sizes = [tensor.numel() for tensor in tensors]
    for tensor, part in zip(tensors, ball_noise(sum(sizes), radius, seed).split(sizes), strict=True):
        tensor.add_(part.reshape(tensor.shape).to(tensor))


def _norm(gradient: Tensor) -> float:
    """‖g‖ in float64; a sparse gradient may hold an entry in parts."""
    whole = gradient.to_dense() if gradient.layout != torch.strided else gradient
    return float(torch.linalg.vector_norm(whole, dtype=torch.float64))
