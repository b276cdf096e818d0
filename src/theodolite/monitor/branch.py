"""How does a training go on from here, without the training knowing? On a copy of model and optimizer."""

import copy
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from theodolite.monitor.tape import Repeat
from theodolite.objective import Params, trainable
from theodolite.objective.capture import modules_within
from theodolite.objective.isolation import RandomState, isolated, pin_randomness, randomness_kept
from theodolite.objective.sources import LossFunction


class Branch:
    """A copy of a model and its optimizer that trains by itself.

    Modules that only the loss reaches (a discriminator, a teacher, the watched model itself) are run but left as they
    are: their buffers, attributes and gradients are brought back after every step.

    Limits: what the user's loop does beside the plain step (clipping, schedules, averaging) is not repeated.
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, loss: LossFunction, names: Sequence[str]
    ) -> None:
        """Copy both; whatever cannot be copied raises as ``copy.deepcopy`` does."""
        memo: dict[int, Any] = {}
        self.model: nn.Module = copy.deepcopy(model, memo)
        self.optimizer = _copied(optimizer, memo)
        self._loss = loss
        self._bystanders = modules_within(loss)
        self.params: Params = trainable(self.model, names)

    def scale_step(self, factor: float) -> None:
        """Multiply the learning rate of every parameter group."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["lr"] * factor

    def move(self, delta: Tensor) -> None:
        """Add a vector to the parameters."""
        with torch.no_grad():
            for tensor, part in zip(self.params.tensors, self.params.unflatten(delta), strict=True):
                tensor.add_(part)

    def step(self, items: Sequence[Repeat], seed: int) -> RandomState:
        """One optimizer step on the mean over some batches, all under one pinned random state.

        Args:
            items: Batches with their precision; a state of theirs is not used.
            seed: Pins the randomness of this step.

        Returns:
            The random state under which each batch was run.
        """
        others = [tensor for module in self._bystanders for tensor in module.parameters()]
        with randomness_kept(), isolated(self._bystanders, others), torch.enable_grad():
            pin_randomness(seed)
            state = RandomState.capture()

            def closure() -> float:
                self.optimizer.zero_grad()
                total = 0.0
                for item in items:
                    state.restore()
                    with item.precision.entered():
                        loss = self._loss(self.model, item.batch)
                    (loss / len(items)).backward()
                    total += float(loss.detach()) / len(items)
                return total

            self.optimizer.step(closure)
        return state


def _copied(optimizer: torch.optim.Optimizer, memo: dict[int, Any]) -> torch.optim.Optimizer:
    """A copy of an optimizer over the copied parameters.

    Unlike its own ``deepcopy`` it keeps private attributes, which LBFGS needs. Hooks, and a ``step`` that a scheduler
    has wrapped, belong to the run and are left behind.

    Returns:
        The copy.
    """
    twin: torch.optim.Optimizer = object.__new__(type(optimizer))
    for name, value in optimizer.__dict__.items():
        if name.endswith("_hooks"):
            twin.__dict__[name] = OrderedDict()
        elif name != "step":
            twin.__dict__[name] = copy.deepcopy(value, memo)
    return twin
