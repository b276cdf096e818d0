"""How does a command come by an objective and by points: a factory by its name, checkpoints from anywhere, runs."""

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theodolite.errors import SettingError

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.objective import Objective

_LEFT_OUT = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
"""Parameters that a call may leave out although they have no default."""

_NESTED = ("state_dict", "model_state_dict", "model")
"""Where training frameworks keep the parameters inside a checkpoint."""


def objective_of(name: str) -> "Objective":
    """The objective that a factory makes.

    Args:
        name: ``package.module:factory``; the working directory is searched first.

    Returns:
        What the factory returned.

    Raises:
        SettingError: If there is no such factory, it needs arguments, or it makes something else.
    """
    from theodolite.objective import Objective

    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise SettingError(f"--objective must be package.module:factory, got {name!r}. For example mymodel:objective.")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise SettingError(
            f"--objective must name a function that can be imported, and {name!r} cannot: {error}. "
            "Give the module as it is imported from this directory."
        ) from error
    made = _called(factory, name) if callable(factory) and not isinstance(factory, Objective) else factory
    if not isinstance(made, Objective):
        raise SettingError(
            f"{name} must return a theodolite.Objective, got a {type(made).__name__}. "
            "Return Objective(model, loss, data)."
        )
    return made


def _called(factory: Callable[..., Any], name: str) -> Any:
    """What a factory makes; what it raises itself passes, with the lines of the user's that it came from."""
    needed = [one for one in _signature(factory) if one.default is one.empty and one.kind not in _LEFT_OUT]
    if needed:
        raise SettingError(
            f"--objective must name a function without arguments, and {name} needs "
            f"{', '.join(one.name for one in needed)}. Write one that builds model, loss and data, and returns "
            "Objective(model, loss, data)."
        )
    return factory()


def _signature(factory: Callable[..., Any]) -> tuple[inspect.Parameter, ...]:
    """The parameters of a function; none where it does not tell them, as some that are compiled."""
    try:
        return tuple(inspect.signature(factory).parameters.values())
    except ValueError:
        return ()


def point_at(objective: "Objective", place: str) -> "Tensor":
    """A point θ, from a checkpoint or a run; what stands there beside θ is put into the model.

    Running statistics and frozen parameters are no part of θ, but J at a checkpoint is J with its own.

    Args:
        objective: J(θ).
        place: A ``.safetensors`` file, a file that ``torch.load`` reads with ``weights_only=True``, a run's folder (its
            last snapshot), or ``RUN@STEP``.

    Returns:
        The point, shape (n,).

    Raises:
        SettingError: If there is no such place, or it does not hold the parameters of the objective.
    """
    from theodolite.landscape.points import bare, point_of

    state = tensors_at(place)
    theta = point_of(objective, state)
    _put_beside(objective, bare(state, objective.names), place)
    return theta


def ends_at(objective: "Objective", start: str, end: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Named tensors at both ends of a line; frozen parameters, which are the same all along, are put into the model.

    Args:
        objective: J(θ).
        start: As for ``point_at``.
        end: Likewise.

    Returns:
        Tensors by name, of both.

    Raises:
        SettingError: As ``tensors_at`` does, and if a frozen parameter differs between the two.
    """
    import torch

    from theodolite.landscape.points import bare

    ends = tensors_at(start), tensors_at(end)
    here, there = (bare(state, objective.names) for state in ends)
    model, own = objective.source.model, set(objective.names)
    frozen = [] if model is None else [name for name, _ in model.named_parameters() if name not in own]
    both = {name: here[name] for name in frozen if name in here and name in there}
    for name, value in both.items():
        if not torch.equal(torch.as_tensor(value), torch.as_tensor(there[name])):
            raise SettingError(
                f"frozen parameters must be the same at both ends, but {name!r} differs between {start} and {end}. Let "
                "the factory leave it free, or take other checkpoints."
            )
    _put_beside(objective, both, start)
    return ends


def _put_beside(objective: "Objective", entries: Mapping[str, Any], place: str) -> None:
    """Put buffers and frozen parameters into the model."""
    import torch

    model, own = objective.source.model, set(objective.names)
    if model is None:
        return
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if name not in entries or name in own:
            continue
        value = torch.as_tensor(entries[name])
        if value.shape != tensor.shape:
            raise SettingError(
                f"{name!r} in {place} must have shape {tuple(tensor.shape)}, as in the model, got "
                f"{tuple(value.shape)}. Take a checkpoint of the same model."
            )
        tensor.data.copy_(value)


def tensors_at(place: str) -> Mapping[str, Any]:
    """Named tensors, from a checkpoint or a run.

    Args:
        place: As for ``point_at``.

    Returns:
        Tensors by name.

    Raises:
        SettingError: If there is no such place, or it cannot be read without running code of its own.
    """
    folder, _, step = place.rpartition("@")
    if folder and step.isdigit() and Path(folder).is_dir():
        return _snapshot(Path(folder), int(step))
    path = Path(place)
    if path.is_dir():
        return _snapshot(path, None)
    if not path.is_file():
        raise SettingError(f"a point must be a checkpoint, a run, or RUN@STEP; {place!r} is not there. Check the path.")
    return _unwrapped(_read(path))


def _snapshot(folder: Path, step: int | None) -> Mapping[str, Any]:
    from theodolite.records import Run

    run = Run(folder)
    steps = run.snapshot_steps
    if not steps:
        raise SettingError(f"{os.fspath(folder)} must hold snapshots of the parameters; it has none. Train with them.")
    return run.snapshot(steps[-1] if step is None else step)


def _read(path: Path) -> Any:
    """What a checkpoint holds; nothing in it is run."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise SettingError(f"{path} must be a checkpoint of tensors; it cannot be read: {error}") from error
    except Exception as error:
        if type(error).__name__ != "UnpicklingError":
            raise
        raise SettingError(
            f"{path} must hold tensors only, and it holds objects that would run code when they are read. Save "
            "model.state_dict(), best with safetensors."
        ) from error


def _unwrapped(value: Any) -> Mapping[str, Any]:
    """The parameters inside what was read, by their own names."""
    while isinstance(value, Mapping):
        inner = next((value[key] for key in _NESTED if isinstance(value.get(key), Mapping)), None)
        if inner is None:
            break
        value = inner
    if not isinstance(value, Mapping):
        raise SettingError(f"a checkpoint must hold named tensors, got a {type(value).__name__}. Save a state_dict.")
    return value
