"""Which layers make the hidden units that are dead, and how are such units given a fresh start?"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from theodolite.monitor.branch import Branch
from theodolite.monitor.tape import Repeat

_MAKERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True, eq=False)
class DeadRows:
    """The dead units that one layer makes.

    Attributes:
        layer: Name of the layer whose rows make them.
        rows: Which of its outputs are dead.
    """

    layer: str
    rows: Bool[Tensor, "units"]


@dataclass(frozen=True, eq=False)
class DeadUnitsFound:
    """What a pass over the examples showed.

    Attributes:
        made: Dead units whose layer is known.
        untold: Names of layers that receive dead units of which it cannot be told what makes them.
    """

    made: tuple[DeadRows, ...]
    untold: tuple[str, ...]


@dataclass(eq=False)
class _Trace:
    """Which parametrised module was called last before each layer, and which of its inputs were ever alive."""

    last: str = ""
    makers: dict[str, set[str]] = field(default_factory=dict)
    alive: dict[str, Tensor] = field(default_factory=dict)


def find_dead_rows(branch: Branch, items: Sequence[Repeat]) -> DeadUnitsFound:
    """Units that are zero on every example, by the layer that makes them.

    The maker of a unit is the last module with parameters that is called before the layer that receives it; it must be
    a linear layer or a convolution with as many outputs, and the same in every pass. A convolution's unit is a channel,
    dead if all of its places are.

    Args:
        branch: A branch, whose buffers may move.
        items: The examples.

    Returns:
        Dead rows by layer.

    Cost: one forward pass over the examples.
    Limits: where a normalisation, or any other module with parameters, stands between, the maker is not told.
    """
    trace = _Trace()
    with _traced(branch.model, trace):
        for index, item in enumerate(items):
            trace.last = ""
            branch.evaluate(item, index)
    modules = dict(branch.model.named_modules())
    made, untold = [], []
    for name, alive in trace.alive.items():
        if bool(alive.all()):
            continue
        rows = _rows_of(modules, trace.makers[name], ~alive)
        if rows is None:
            untold.append(name)
        elif bool(rows.rows.any()):
            made.append(rows)
    return DeadUnitsFound(tuple(made), tuple(untold))


def revive(branch: Branch, dead: Sequence[DeadRows], seed: int) -> int:
    """Give the incoming weights of dead units values by He et al. 2015, √(2 / fan-in) times a normal number, bias 0.

    What the optimizer remembers of them is set to zero; outgoing weights stay. Parameters that the run does not train
    stay as they are.

    Args:
        branch: The branch.
        dead: The units.
        seed: Seed of the numbers.

    Returns:
        How many units were given new weights.
    """
    trained = {id(tensor) for tensor in branch.params.tensors}
    modules = dict(branch.model.named_modules())
    source = torch.Generator().manual_seed(seed)
    count = 0
    for one in dead:
        layer: Any = modules[one.layer]
        weight, bias = layer.weight, layer.bias
        if id(weight) not in trained:
            continue
        rows = one.rows.to(weight.device)
        some = int(rows.sum())
        fresh = torch.randn((some, *weight.shape[1:]), generator=source) * math.sqrt(2 / weight[0].numel())
        with torch.no_grad():
            weight[rows] = fresh.to(weight)
            branch.forget(weight, rows)
            if bias is not None and id(bias) in trained:
                bias[rows] = 0
                branch.forget(bias, rows)
        count += some
    return count


@contextmanager
def _traced(model: nn.Module, trace: _Trace) -> Iterator[None]:
    """Hook every module that holds parameters itself."""
    handles = []
    for name, module in model.named_modules():
        if isinstance(module, _MAKERS):
            handles.append(module.register_forward_pre_hook(_receiving(name, module, trace)))
        if next(module.parameters(recurse=False), None) is not None:
            handles.append(module.register_forward_hook(_leaving(name, trace)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _receiving(name: str, module: nn.Module, trace: _Trace) -> Any:
    """A hook that notes the inputs of a layer, and what was called before it."""
    channel = -1 if isinstance(module, nn.Linear) else 1

    def hook(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        value = inputs[0] if inputs else None
        if not trace.last or not isinstance(value, Tensor) or not value.requires_grad or value.ndim < 2:
            return
        units = value.detach().movedim(channel, -1).reshape(-1, value.shape[channel])
        active = (units != 0).any(0)
        trace.alive[name] = trace.alive[name] | active if name in trace.alive else active
        trace.makers.setdefault(name, set()).add(trace.last)

    return hook


def _leaving(name: str, trace: _Trace) -> Any:
    def hook(*_: Any) -> None:
        trace.last = name

    return hook


def _rows_of(modules: dict[str, nn.Module], makers: set[str], dead: Tensor) -> DeadRows | None:
    """Dead inputs of a layer as outputs of the layer that makes them; None if that cannot be told."""
    maker = next(iter(makers))
    layer = modules[maker]
    if len(makers) > 1 or not isinstance(layer, _MAKERS):
        return None
    outputs = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
    if dead.numel() == outputs:
        return DeadRows(maker, dead)
    if isinstance(layer, nn.Linear) or dead.numel() % outputs:
        return None
    return DeadRows(maker, dead.reshape(outputs, -1).all(1))  # flattened channels lie one after the other
