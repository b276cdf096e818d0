"""Which hidden units are zero, or saturated, on every example?"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from theodolite.objective import Objective

_LAYERS = (nn.Linear, nn.modules.conv._ConvNd)
_RECTIFIERS = frozenset(
    (torch.ops.aten.relu.default, torch.ops.aten.clamp_min.default, torch.ops.aten.threshold.default)
)

_ENDS = {torch.ops.aten.sigmoid.default: (0.0, 1.0), torch.ops.aten.tanh.default: (-1.0, 1.0)}
_FLAT = 0.0025
"""So near to an end of its range, as a share of it, 4y(1 − y) and 1 − y² are below a hundredth."""


@dataclass(frozen=True, eq=False)
class DeadUnits:
    """Share of units that are exactly zero on every example, layer by layer.

    Attributes:
        layers: Names of the layers whose inputs were looked at.
        fractions: Share of dead inputs of each.
        units: How many inputs each has.
    """

    layers: tuple[str, ...]
    fractions: Float[np.ndarray, "layers"]
    units: Float[np.ndarray, "layers"]

    @property
    def overall(self) -> float:
        """Share of all units that are dead; 0 where there is no hidden unit."""
        total = float(self.units.sum())
        return float(self.fractions @ self.units) / total if total else 0.0

    @property
    def worst(self) -> float:
        """Share in the worst layer; 0 where there is no hidden layer."""
        return float(self.fractions.max()) if self.fractions.size else 0.0


def dead_units(objective: Objective, model: nn.Module, at: object = None) -> DeadUnits:
    """Hidden units that are exactly zero on every example of a sample.

    A unit is an input feature (channel) of a linear or convolutional layer that depends on parameters: what a
    rectifier, as a module or a function, hands on. Inputs that are data are not units.

    Args:
        objective: The sample.
        model: The model that it runs.
        at: Point θ, shape (n,); None is the present one.

    Returns:
        Shares by layer.

    Cost: one gradient of the sample.
    Limits: layers whose kernel is not called as a module (attention's inner projections) are not seen.
    """
    alive: dict[str, Tensor] = {}
    with _watched(model, alive):
        for _ in objective.batch_gradients(at):
            pass
    names = tuple(alive)
    dead = [float((~alive[name]).double().mean()) for name in names]
    return DeadUnits(names, np.array(dead, np.float64), np.array([alive[name].numel() for name in names], np.float64))


class _Rectified(TorchDispatchMode):
    """Notes of each call of a rectifier, in order, whether it handed on anything but zero."""

    def __init__(self) -> None:
        """Note nothing yet."""
        super().__init__()
        self.active: list[Tensor] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation, and look at what a rectifier gives."""
        output = func(*args, **(kwargs or {}))
        if func in _RECTIFIERS and isinstance(output, Tensor) and output.numel():
            self.active.append((output != 0).any())
        return output


def silent_rectifiers(objective: Objective, at: object = None) -> float:
    """Share of the rectifiers, in layers or in the loss, that hand on nothing but zero on every example of a sample.

    Args:
        objective: The sample.
        at: Point θ, shape (n,); None is the present one.

    Returns:
        The share of calls of a rectifier in one pass; 0 where there is none, or passes differ in their calls.

    Cost: one forward pass of the sample.
    Limits: a call counts as a whole; single units are seen by ``dead_units``, where layers are modules.
    """
    with _Rectified() as seen:
        counts, _ = objective.batch_values(at)
    if not seen.active or len(seen.active) % len(counts):
        return 0.0
    active = torch.stack(seen.active).reshape(len(counts), -1).any(0)
    return float((~active).double().mean())


class _Squashed(TorchDispatchMode):
    """Notes of each call of a sigmoid or tanh which of its units are saturated on every example."""

    def __init__(self) -> None:
        """Note nothing yet."""
        super().__init__()
        self.units: list[Tensor] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation, and look at what a squashing function gives."""
        output = func(*args, **(kwargs or {}))
        ends = _ENDS.get(func)
        if ends is not None and isinstance(output, Tensor) and output.ndim > 1 and output.numel():
            low, high = ends
            units = output.movedim(1 if output.ndim == 4 else -1, -1).flatten(0, -2)
            slack = _FLAT * (high - low)
            self.units.append(((units < low + slack) | (units > high - slack)).all(0))
        return output


def saturated_units(objective: Objective, at: object = None) -> float:
    """Share of sigmoid and tanh units that are saturated on every example of a sample.

    A unit is a feature (channel) of what ``torch.sigmoid`` or ``torch.tanh`` gives, as a module or a function. It is
    saturated where it lies within a quarter of a per cent of the range from an end: its slope is then below a hundredth
    of the greatest.

    Args:
        objective: The sample.
        at: Point θ, shape (n,); None is the present one.

    Returns:
        The share; NaN where there is no such unit, or passes differ in their calls.

    Cost: one forward pass of the sample.
    Limits: recurrent layers hide their gates in one kernel, and are not seen. A unit of the output that is saturated is
    sure of its answer, which may be the right one.
    """
    with _Squashed() as seen:
        counts, _ = objective.batch_values(at)
    calls = len(seen.units) // len(counts)
    rows = [seen.units[place::calls] for place in range(calls)] if calls and len(seen.units) % len(counts) == 0 else []
    if not rows or any(len({unit.shape for unit in row}) > 1 for row in rows):
        return float("nan")
    return float(torch.cat([torch.stack(row).all(0) for row in rows]).double().mean())


@contextmanager
def _watched(model: nn.Module, alive: dict[str, Tensor]) -> Iterator[None]:
    """Note for each layer which input units were ever different from zero."""
    named: Iterable[tuple[str, nn.Module]] = model.named_modules()
    handles = [
        module.register_forward_pre_hook(_note(name, module, alive))
        for name, module in named
        if isinstance(module, _LAYERS)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _note(name: str, module: nn.Module, alive: dict[str, Tensor]) -> Any:
    """A hook that notes the units of one layer."""
    channel = -1 if isinstance(module, nn.Linear) else 1

    def hook(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        value = inputs[0] if inputs else None
        if not isinstance(value, Tensor) or not value.requires_grad or value.ndim < 2:
            return
        units = value.detach().movedim(channel, -1).reshape(-1, value.shape[channel])
        active = (units != 0).any(0)
        alive[name] = alive[name] | active if name in alive else active

    return hook


def layer_norms(parts: Iterable[Tensor]) -> Float[np.ndarray, "layers"]:
    """Euclidean norm of each tensor, float64.

    Args:
        parts: Tensors, for example the parts of a gradient.

    Returns:
        One norm a tensor.
    """
    norms = torch._foreach_norm([part.detach() for part in parts])
    return np.asarray(torch.stack([norm.double().cpu() for norm in norms]).numpy(), np.float64)
