"""Steps of steepest descent where distance is counted in what the model predicts."""

from collections.abc import Iterable
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from theodolite.errors import SettingError
from theodolite.linalg.settings import check_count, check_tolerance
from theodolite.optim.batches import BatchObjective
from theodolite.optim.stepping import ClosureOptimizer, lowest
from theodolite.optim.steps import natural_step


class NaturalGradient(ClosureOptimizer):
    """Natural gradient: Δθ = −lr·(F + δI)⁻¹ g with the Gauss-Newton matrix F, by conjugate gradients.

    Of losses that are negative log-likelihoods of an exponential family (cross-entropy, squared error), F is the Fisher
    information of the model's predictions on the batch, averaged like the loss.

    Args:
        params: Parameters, or groups of them; groups may differ in ``lr``.
        lr: What the step is multiplied with.
        model: The module whose outputs the loss is a function of; the closure must call it.
        damping: δ ≥ 0, in the unit of F.
        products: Most Gauss-Newton products a step, at least 2.
        rtol: Conjugate gradients stop at a residual of rtol·‖g‖.
        seed: Seed of the pinned randomness (dropout masks), which differs from step to step.

    Raises:
        SettingError: If a setting is out of range, or differs between groups, or there is no model.

    Cost: a step takes one call of the closure, one gradient, the products (1.4 to 2.4 gradients each), one forward
    pass; 6 vectors of size n.
    Limits: lr and damping are not adapted. F is positive where the loss is convex in the outputs, so at a saddle of the
    model the step goes downhill, but no faster than the gradient says.
    Source: Amari 1998; Martens 2020, sections 6 and 8.

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
        damping: float = 1e-3,
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
        """The end of the step."""
        if not bool(gradient.any()):
            return theta
        settings = self.param_groups[0]
        with objective.ggn(theta) as op:
            step = natural_step(
                op, gradient, settings["damping"], rtol=settings["rtol"], max_products=settings["products"]
            )
        best = lowest(objective, [theta + self._scaled(step)])
        return None if best is None else best[0].to(theta)
