"""How does an optimizer of ``torch.optim`` take steps that need J at other points?"""

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from theodolite._checks import warn
from theodolite.errors import ObjectiveError, SettingError
from theodolite.linalg.settings import check_count, check_tolerance
from theodolite.objective import Params
from theodolite.objective.knowledge import Knowledge
from theodolite.optim.batches import BatchObjective, Closure, ClosureSource, MixedPrecision
from theodolite.optim.groups import GroupedOptimizer, each_once, run_memory


class ClosureOptimizer(GroupedOptimizer):
    """Moves θ to a point that is chosen by J on the batch of a closure.

    Laws: a point that is not finite, or where J is not, is not gone to. The step is a function of θ, the batch, the
    settings and the state alone: the global generators are left as one call of the closure leaves them.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        settings: Mapping[str, Any],
        *,
        model: nn.Module | None = None,
    ) -> None:
        """Take parameters and settings.

        Args:
            params: Parameters, named or not, or groups of them; groups may differ in ``lr`` alone.
            lr: What the step is multiplied with.
            settings: What the step depends on besides.
            model: The module whose outputs the loss is a function of, where the step needs it.
        """
        check_tolerance("lr", lr)
        check_count("seed", settings["seed"], 0)
        self._model, self._knowledge, self._has_warned = model, Knowledge(), False
        super().__init__(params, {"lr": lr, **settings})

    def __getstate__(self) -> dict[str, Any]:
        """What a copy has: the state of ``torch.optim.Optimizer``, which leaves all else out, and what is ours."""
        ours = ("_model", "_knowledge", "_has_warned")
        return {**super().__getstate__(), **{name: getattr(self, name) for name in ours}}

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> Any:
        """Take one step.

        The closure is called once as it is; what it moves (statistics of BatchNorm, random generators, its own logs)
        moves as in any training. Then it is called again at other points, without a trace in the model.

        Args:
            closure: Clears gradients, computes the loss of one batch, calls ``backward`` on it, returns it. Without
                ``backward`` it must return the loss with its graph.

        Returns:
            What the first call returned: the loss before the step.

        Raises:
            SettingError: If there is no closure.

        Limits: of the closure only the losses on which it calls ``loss.backward()`` count. What it does to ``.grad``
        afterwards (clipping, decay) is not seen: there ``.grad`` is zero. Each call must see the same batch.
        """
        if closure is None:
            raise SettingError(
                f"{type(self).__name__}.step needs a closure that computes the loss, got None. Pass one that clears "
                "gradients, calls backward on the loss and returns it."
            )
        with torch.enable_grad():
            loss = closure()
        params = self._params()
        precision = MixedPrecision.around({"cpu", params.device.type})
        with precision.switched(on=False):
            self._advance(ClosureSource(params, closure, self._model, precision))
        return loss

    def _advance(self, source: ClosureSource) -> None:
        """Go where the step leads, if that is finite."""
        params, memory = source.params, self._memory()
        count = memory.setdefault("step", 0)
        # Batches differ, and so must their masks; one seed a step makes a run repeatable from any state of it.
        objective = BatchObjective(source, self.param_groups[0]["seed"] + count, self._knowledge)
        theta = params.point()
        memory["step"] = count + 1
        gradient = objective.gradient(theta)
        reached = self._propose(objective, theta, gradient) if bool(gradient.isfinite().all()) else None
        # What the closure tells others, as Lightning's logs, is what its last call told: the loss before the step.
        objective.value(theta)
        if reached is None or not bool(reached.isfinite().all()):
            self._tell()
            return
        for tensor, part in zip(params.tensors, params.unflatten(reached), strict=True):
            tensor.copy_(part)

    @abstractmethod
    def _propose(
        self, objective: BatchObjective, theta: Float[Tensor, "params"], gradient: Float[Tensor, "params"]
    ) -> Float[Tensor, "params"] | None:
        """The point to go to, θ itself to stay; None if no step is finite."""

    def _params(self) -> Params:
        """The parameters of all groups, as one vector."""
        held = [(f"{i}.{k}", tensor) for i, group in enumerate(self.param_groups) for k, tensor in _trained(group)]
        if not held:
            raise ObjectiveError(
                f"{type(self).__name__} needs a parameter that requires a gradient, got none. Unfreeze one."
            )
        names, tensors = zip(*held, strict=True)
        return Params(names, tensors)

    def _memory(self) -> dict[str, Any]:
        """What is remembered of the run as a whole."""
        return run_memory(self.param_groups, self.state)

    def _scaled(self, step: Float[Tensor, "params"]) -> Float[Tensor, "params"]:
        """A step, multiplied with the learning rate of each group."""
        rates = [float(group["lr"]) for group in self.param_groups]
        if len(set(rates)) == 1:
            return step * rates[0]
        sizes = [sum(tensor.numel() for _, tensor in _trained(group)) for group in self.param_groups]
        parts = [part * rate for part, rate in zip(step.split(sizes), rates, strict=True)]
        return torch.cat(parts)

    def _tell(self) -> None:
        """Say, once, that a step was not taken."""
        if not self._has_warned:
            self._has_warned = True
            warn(
                f"{type(self).__name__}: loss, gradient and curvature must be finite, and are not at this step: it is "
                "not taken, and the parameters stay as they are. Further ones will not be told. Look at the loss of "
                "this batch, raise the damping or lower lr."
            )


def _trained(group: Mapping[str, Any]) -> list[tuple[int, Tensor]]:
    """Parameters of a group that require a gradient, with their places."""
    return [(k, tensor) for k, tensor in enumerate(each_once(group)) if tensor.requires_grad]


def lowest(objective: BatchObjective, points: Iterable[Tensor]) -> tuple[Tensor, float] | None:
    """The point with the least finite J, and J there.

    Args:
        objective: J.
        points: The points; made one by one, so that few are held.

    Returns:
        Point and value; None if J is finite at none.

    Cost: one forward pass a point.
    """
    best: tuple[Tensor, float] | None = None
    for point in points:
        value = objective.value(point)
        if math.isfinite(value) and (best is None or value < best[1]):
            best = point, value
    return best
