"""Which hidden units can be read off the modules of a model?

Nothing is claimed of units that meet modules not known here, such as those of residual streams: write these by hand.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from theodolite.errors import SettingError
from theodolite.landscape.symmetries import Axis, Group, Symmetry, Units

_LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORMS = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
    nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.PReLU,
)  # fmt: skip
_UNITWISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Softsign,
    nn.Tanh, nn.Sigmoid, nn.LogSigmoid, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Threshold, nn.Tanhshrink,
    nn.Identity, nn.Flatten, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d,
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d,
)  # fmt: skip


def attention_heads(
    model: nn.Module, inputs: str | tuple[str, str, str], output: str, heads: int, *, name: str = ""
) -> Symmetry:
    """Heads that change places, and channels within each head: of queries with keys, and of values.

    Args:
        model: The net.
        inputs: The weight that gives queries, keys and values one after the other, or three weights; its bias is found
            by its name.
        output: The weight that reads the heads.
        heads: How many.
        name: What to call them; "" takes the name of the output.

    Returns:
        The symmetry.

    Raises:
        SettingError: If there is no such weight, or it does not hold the heads.

    Limits: heads that share keys and values are not known here.

    Example:
        >>> layer = nn.MultiheadAttention(8, 2)
        >>> attention_heads(layer, "in_proj_weight", "out_proj.weight", 2).groups[0].blocks
        2
    """
    tensors = _tensors(model)
    named = (inputs,) if isinstance(inputs, str) else inputs
    missing = [weight for weight in (*named, output) if weight not in tensors]
    if missing:
        raise SettingError(f"Weights must be parameters of the model, got {missing}. Names are as in named_parameters.")
    width = tensors[output].shape[1]
    fits = width % heads == 0 and sum(tensors[weight].shape[0] for weight in named) == 3 * width
    if not fits:
        sizes = [tuple(tensors[weight].shape) for weight in (*named, output)]
        raise SettingError(
            f"Queries, keys and values must each have the {width} rows that the output reads, in {heads} heads of "
            f"equal size; got shapes {sizes}. Write Units by hand where heads are shared."
        )
    spots = [(named[0], part * width) for part in range(3)] if len(named) == 1 else [(weight, 0) for weight in named]
    query, key, value = ([Axis(tensor, start=start) for tensor in _with_bias(spot, tensors)] for spot, start in spots)
    kinds = Units(width, (*query, *key)), Units(width, (*value, Axis(output, 1)))
    return Symmetry((Group(name or output.removesuffix(".weight"), kinds, heads),))


def hidden_units(model: nn.Module) -> Symmetry:
    """Hidden units of a model that can be read off its modules.

    Read are chains of linear, convolutional, normalising, activating and pooling layers in ``nn.Sequential``, the heads
    of ``nn.MultiheadAttention``, and the hidden units of ``nn.TransformerEncoderLayer`` and its decoder.

    Args:
        model: Any module.

    Returns:
        What was found; nothing is claimed of units that modules of other kinds meet, such as residual streams.

    Example:
        >>> hidden_units(nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))).names
        ('0.weight', '0.bias', '2.weight')
    """
    found = Symmetry(tuple(_found(model, "")))
    # Tied tensors have several names, but only the first is one of θ.
    first = {id(tensor): name for name, tensor in reversed(_tensors(model).items())}
    every = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))

    def renamed(units: Units) -> Units:
        axes = (replace(axis, tensor=first[id(every[axis.tensor])]) for axis in units.axes)
        return replace(units, axes=tuple(axes))

    return Symmetry(tuple(replace(group, kinds=tuple(map(renamed, group.kinds))) for group in found.groups))


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, each once."""
    return dict(model.named_parameters()) | dict(model.named_buffers())


def _with_bias(weight: str, tensors: Mapping[str, Tensor]) -> list[str]:
    """A weight, and its bias if there is one."""
    bias = weight.removesuffix("weight") + "bias"
    return [weight, bias] if bias in tensors and bias != weight else [weight]


def _found(module: nn.Module, path: str) -> Iterator[Group]:
    """Groups of a module and of those within it."""
    if isinstance(module, nn.Sequential):
        yield from _chain(list(_leaves(module, path)))
        return
    if isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None and module.bias_k is None:
        yield from _prefixed(attention_heads(module, "in_proj_weight", "out_proj.weight", module.num_heads), path)
    if isinstance(module, (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)):
        yield from _chain([(f"{path}linear1", module.linear1), (f"{path}linear2", module.linear2)])
    for name, child in module.named_children():
        yield from _found(child, f"{path}{name}.")


def _prefixed(symmetry: Symmetry, path: str) -> Iterator[Group]:
    """Groups of a module by the names that they have in the model."""
    for group in symmetry.groups:
        kinds = tuple(
            replace(units, axes=tuple(replace(axis, tensor=path + axis.tensor) for axis in units.axes))
            for units in group.kinds
        )
        yield replace(group, name=path + group.name, kinds=kinds)


def _leaves(chain: nn.Sequential, path: str) -> Iterator[tuple[str, nn.Module]]:
    """The modules of a chain in order, those of chains within it in their place."""
    for name, child in chain._modules.items():  # named_children would leave out the second place of a module
        if child is None:
            continue
        if isinstance(child, nn.Sequential):
            yield from _leaves(child, f"{path}{name}.")
        else:
            yield f"{path}{name}", child


@dataclass
class _Open:
    """Units whose way through a chain is not at its end."""

    name: str
    count: int
    axes: list[Axis]
    blocks: int = 1


def _chain(parts: Sequence[tuple[str, nn.Module]]) -> Iterator[Group]:
    """Groups between two linear layers; a module that is not known cuts the chain."""
    units: _Open | None = None
    for name, part in parts:
        if isinstance(part, _LINEAR) and "weight" in part._parameters:
            if units is not None and _is_depthwise(part, units.count):
                units.axes += [Axis(f"{name}.{own}") for own in _own(part)]
                continue
            if units is not None and _closes(units, name, part):
                yield Group(units.name, (Units(units.count, tuple(units.axes)),), units.blocks)
            units = _opened(name, part)
        elif isinstance(part, _NORMS):
            _norm(units, name, part)
        elif not isinstance(part, _UNITWISE):
            units = None
            yield from _found(part, f"{name}.")


def _own(part: nn.Module) -> dict[str, Tensor]:
    """Tensors of a layer itself that have entries for units."""
    named = (*part.named_parameters(recurse=False), *part.named_buffers(recurse=False))
    return {name: tensor for name, tensor in named if tensor.ndim > 0}


def _is_depthwise(part: nn.Module, count: int) -> bool:
    """Whether each unit has a filter of its own, and keeps its place."""
    return getattr(part, "groups", 1) == count > 1 and _own(part)["weight"].shape[:2] == (count, 1)


def _closes(units: _Open, name: str, part: nn.Module) -> bool:
    """Let a layer read the units; whether it can."""
    dim = 0 if isinstance(part, _TRANSPOSED) else 1
    width, rest = divmod(_own(part)["weight"].shape[dim], units.count)
    if rest or getattr(part, "groups", 1) > 1:
        return False
    units.axes.append(Axis(f"{name}.weight", dim, width=width))
    return True


def _opened(name: str, part: nn.Module) -> _Open | None:
    """The units that a layer gives; None where they lie in groups of channels."""
    if getattr(part, "groups", 1) > 1:
        return None
    dim, own = 1 if isinstance(part, _TRANSPOSED) else 0, _own(part)
    axes = [Axis(f"{name}.weight", dim)] + ([Axis(f"{name}.bias")] if "bias" in own else [])
    return _Open(name, own["weight"].shape[dim], axes)


def _norm(units: _Open | None, name: str, part: nn.Module) -> None:
    """Let a layer that has an entry a unit, or several where pictures were flattened, meet the units."""
    if units is None:
        return
    if isinstance(part, nn.GroupNorm) and 1 < part.num_groups < units.count:
        units.blocks = part.num_groups
    for own, tensor in _own(part).items():
        width, rest = divmod(tensor.shape[0], units.count)
        if not rest:
            units.axes.append(Axis(f"{name}.{own}", width=width))
