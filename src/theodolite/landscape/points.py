"""Which point of θ-space is meant: by a flat vector, the state of a model, a snapshot of a run?"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from theodolite.errors import SettingError, ShapeError
from theodolite.objective import Objective


def point_of(objective: Objective, value: object, name: str = "point") -> Float[Tensor, "params"]:
    """A point as one flat vector.

    Args:
        objective: J(θ).
        value: A vector of shape (n,); or tensors or arrays by name, as ``model.state_dict()``, ``Run.snapshot(step)``
            and safetensors give them. Buffers and parameters that are no part of θ may be among them, and one prefix
            before all names of the model.
        name: What to call it in the error.

    Returns:
        The vector, in the type and on the device of θ.

    Raises:
        SettingError: If a parameter is missing, or a name is none of the model's.
        ShapeError: If a vector or a tensor has another shape.
    """
    params = objective.params
    if not isinstance(value, Mapping):
        return params.vector(value, name)
    entries = bare(value, params.names)
    missing = [key for key in params.names if key not in entries]
    if missing:
        raise SettingError(
            f"{name} must hold every parameter of the objective, but lacks {_few(missing)}; it has "
            f"{_few(list(entries))}. Take the state of the same model."
        )
    unknown = [key for key in entries if key not in _names(objective) and not key.endswith("_extra_state")]
    if unknown:
        raise SettingError(
            f"{name} must be a state of the objective's model, which knows no {_few(unknown)}. Take the state of the "
            "same model."
        )
    parts = [
        _part(entries[key], tensor, f"{name}[{key!r}]")
        for key, tensor in zip(params.names, params.tensors, strict=True)
    ]
    return params.flatten(parts)


def bare(state: Mapping[str, object], names: Sequence[str]) -> dict[str, object]:
    """A state without what wrappers and trainers put before every name, such as "module." or "model.".

    Args:
        state: Tensors by name.
        names: Names of the parameters.

    Returns:
        The state itself if it holds them all, or does not have exactly one prefix under which they all stand; else what
        stands under that prefix.
    """
    entries = dict(state)
    if not names or all(name in entries for name in names):
        return entries
    ends = (key.removesuffix(names[0]) for key in entries if key.endswith(f".{names[0]}"))
    prefixes = [prefix for prefix in ends if all(f"{prefix}{name}" in entries for name in names)]
    if len(prefixes) != 1:
        return entries
    (prefix,) = prefixes
    return {key.removeprefix(prefix): value for key, value in entries.items() if key.startswith(prefix)}


def _names(objective: Objective) -> frozenset[str]:
    """Every name that a state of the model may hold."""
    model: nn.Module | None = objective.source.model
    if model is None:
        return frozenset(objective.names)
    named = (*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False))
    return frozenset(name for name, _ in named)


def _part(value: object, like: Tensor, name: str) -> Tensor:
    """One tensor of a state, checked."""
    tensor = torch.as_tensor(value).detach()
    if tensor.shape != like.shape:
        raise ShapeError(
            f"{name} must have shape {tuple(like.shape)}, got {tuple(tensor.shape)}. Take the state of the same model."
        )
    return tensor.to(like.device)


def _few(names: list[str]) -> str:
    """The first names of some."""
    return ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
