"""How does a training go on from here, without the training knowing? On a copy of model and optimizer."""

import copy
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from theodolite.monitor.measurements import gradient_norm
from theodolite.monitor.tape import Precision, Repeat
from theodolite.objective import Params, trainable
from theodolite.objective.capture import modules_within
from theodolite.objective.isolation import RandomState, isolated, pin_randomness, randomness_kept
from theodolite.objective.sources import LossFunction
from theodolite.probes.samples import kept

_HALF = (torch.float16, torch.bfloat16)
_ROUNDING_OF_NORMS = 1e-6
"""Added to the norm by ``torch.nn.utils.clip_grad_norm_``; a branch clips as loops do."""


@dataclass(frozen=True, eq=False)
class Stride:
    """One step of a branch, as float64 scalars on the device: reading them is left to who needs them.

    Attributes:
        loss: Loss of the step's own batches before the step.
        grad_norm: ‖gradient‖ there, before clipping.
        update_norm: ‖Δθ‖.
    """

    loss: Float[Tensor, ""]
    grad_norm: Float[Tensor, ""]
    update_norm: Float[Tensor, ""]

    def read(self) -> tuple[float, float, float]:
        """Loss, gradient norm and update norm, in one transfer."""
        loss, grad_norm, update_norm = torch.stack((self.loss, self.grad_norm, self.update_norm)).tolist()
        return loss, grad_norm, update_norm


class Branch:
    """A copy of a model and its optimizer that trains by itself.

    Modules that only the loss reaches (a discriminator, a teacher, the watched model itself) are run but left as they
    are: their buffers, attributes and gradients are brought back after every step. The copy runs in the train and eval
    modes of the user's own pass, whatever modes the model is found in.

    Attributes:
        model: The copy.
        optimizer: A copy of the optimizer, or what was put in its place.
        params: The tensors that make up θ.
        clip: Norm to which gradients are clipped before each step; None leaves them alone.
        stride: The last step; None before the first.

    Limits: what the user's loop does beside the plain step (schedules, averaging) is not repeated, clipping only if it
    is named.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: LossFunction,
        names: Sequence[str],
        *,
        clip: float | None = None,
    ) -> None:
        """Copy both; whatever cannot be copied raises as ``copy.deepcopy`` does."""
        memo: dict[int, Any] = {}
        self.model: nn.Module = copy.deepcopy(model, memo)
        self.optimizer = _copied(optimizer, memo)
        self._loss = loss
        self._bystanders = modules_within(loss)
        self._precision: Precision | None = None
        self.params: Params = trainable(self.model, names)
        self.clip = clip
        self.stride: Stride | None = None

    def scale_step(self, factor: float) -> None:
        """Multiply the learning rate of every parameter group."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["lr"] * factor

    def set_rate(self, rate: float) -> None:
        """Give every parameter group one learning rate."""
        for group in self.optimizer.param_groups:
            group["lr"] = torch.full_like(group["lr"], rate) if torch.is_tensor(group["lr"]) else rate

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
            The random state under which each batch was run; ``stride`` tells how the step went.

        Cost: the step itself, and one copy of the parameters.
        """
        before = [tensor.detach().clone() for tensor in self.params.tensors]
        first: list[tuple[Tensor, Tensor]] = []
        with self._pinned(seed) as state:

            def closure() -> Tensor:
                self.optimizer.zero_grad()
                total = self._accumulated(items, state)
                norm = gradient_norm(self.params)
                norm = torch.zeros_like(total) if norm is None else norm
                if not first:
                    first.append((total, norm))
                if self.clip is not None:
                    self._shorten(norm, self.clip)
                return total

            self.optimizer.step(closure)  # type: ignore[arg-type]  # a tensor saves a transfer, and all of torch take it
        loss, norm = first[0] if first else (torch.tensor(torch.nan), torch.tensor(torch.nan))
        self.stride = Stride(loss.double(), norm.double(), self._distance(before))
        return state

    def evaluate(self, item: Repeat, seed: int) -> Tensor:
        """Loss of a batch, with its graph, for hooks to see the pass; buffers of the copy move as in training."""
        with self._pinned(seed):
            return self._loss_of(item)

    def forget(self, tensor: Tensor, rows: Tensor | None = None) -> None:
        """Empty what the optimizer remembers of a parameter, or of some of its rows."""
        if rows is None:
            self.optimizer.state.pop(tensor, None)
            return
        for value in self.optimizer.state.get(tensor, {}).values():
            if isinstance(value, Tensor) and value.shape == tensor.shape:
                value[rows] = 0

    @contextmanager
    def _pinned(self, seed: int) -> Iterator[RandomState]:
        """Run modules under one random state and leave no trace outside the copy."""
        others = [tensor for module in self._bystanders for tensor in module.parameters()]
        with randomness_kept(), isolated(self._bystanders, others), torch.enable_grad():
            pin_randomness(seed)
            yield RandomState.capture()

    def _accumulated(self, items: Sequence[Repeat], state: RandomState) -> Tensor:
        """Mean loss of some batches; its gradient is added to ``.grad``."""
        losses = []
        for item in items:
            state.restore()
            loss = self._loss_of(item)
            (loss / len(items)).backward()
            losses.append(loss.detach().double())
        return torch.stack(losses).mean()

    def _loss_of(self, item: Repeat) -> Tensor:
        is_new = item.precision is not self._precision
        self._precision = item.precision
        with item.precision.entered(self.model if is_new else None):
            return self._loss(self.model, kept(item.batch))  # some losses write to their batch

    def _shorten(self, norm: Tensor, clip: float) -> None:
        """Scale gradients to a norm of at most ``clip``."""
        factor = (clip / (norm + _ROUNDING_OF_NORMS)).clamp(max=1.0)
        for tensor in self.params.tensors:
            if tensor.grad is not None:
                tensor.grad.mul_(factor.to(tensor.grad.device, tensor.grad.dtype))

    def _distance(self, before: Sequence[Tensor]) -> Tensor:
        """‖θ − θ before‖."""
        moved = torch._foreach_sub([tensor.detach() for tensor in self.params.tensors], list(before))
        wide = torch.float32 if any(part.dtype in _HALF for part in moved) else None
        norms = torch._foreach_norm(moved, 2, dtype=wide)
        length: Tensor = torch.linalg.vector_norm(torch.stack([n.to(self.params.device).double() for n in norms]))
        return length


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
