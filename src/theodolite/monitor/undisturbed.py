"""What does a loss write to beside its result, and how is that undone?

Some losses count their calls, keep a running mean, or log; some forward hooks store activations. What they hold outside
the model is found once and brought back after each call of ours.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any

from torch import Tensor, nn

from theodolite.objective.data import Batch
from theodolite.objective.sources import LossFunction

_CONTAINERS = (list, dict, set, deque)
_MANY = 10_000
"""Longer containers are data, not state."""

_DEPTH = 4


def undisturbed(loss: LossFunction, model: nn.Module) -> LossFunction:
    """The same loss, which leaves behind what it and the model's forward hooks hold as it was.

    Args:
        loss: The caller's loss.
        model: The model, whose forward hooks run with it.

    Returns:
        The loss itself where nothing is held.

    Limits: state in files, global variables, other processes, or deeper than four references is not seen.
    """
    tables = (table for part in model.modules() for table in (part._forward_hooks, part._forward_pre_hooks))
    holders = _holders((loss, *(hook for table in tables for hook in table.values())))
    if not holders:
        return loss

    def called(model: nn.Module, batch: Batch) -> Tensor:
        with _brought_back(holders):
            return loss(model, batch)

    return called


def _holders(roots: Iterable[object]) -> list[Any]:
    """Cells, containers and objects that functions can write to."""
    found: dict[int, Any] = {}
    layer = list(roots)
    for _ in range(_DEPTH):
        following: list[object] = []
        for value in layer:
            if id(value) in found or isinstance(value, (nn.Module, Tensor, type, ModuleType)):
                continue
            if isinstance(value, (CellType, *_CONTAINERS)) or _is_object(value):
                found[id(value)] = value
            following.extend(_parts(value))
        layer = following
    return [value for value in found.values() if not isinstance(value, _CONTAINERS) or len(value) <= _MANY]


def _is_object(value: object) -> bool:
    """Whether something has attributes of its own and is no function."""
    return hasattr(value, "__dict__") and not isinstance(value, (FunctionType, MethodType, partial))


def _parts(value: object) -> Iterator[object]:
    """What a function, cell, container or object refers to."""
    if isinstance(value, partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, MethodType):
        yield from (value.__func__, value.__self__)
    elif isinstance(value, FunctionType):
        yield from value.__closure__ or ()
        yield from value.__defaults__ or ()
        names = value.__code__.co_names
        yield from (value.__globals__[n] for n in names if type(value.__globals__.get(n)) in (FunctionType, partial))
    elif isinstance(value, CellType):
        yield from _contents(value)
    elif isinstance(value, dict):
        yield from list(value.values())[:100]
    elif isinstance(value, (list, tuple)):
        yield from value[:100]
    else:
        yield from getattr(value, "__dict__", {}).values()


def _contents(cell: CellType) -> tuple[object, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:  # not filled yet
        return ()


@contextmanager
def _brought_back(holders: list[Any]) -> Iterator[None]:
    """Bring back what holders held, tensors that were written to in place included."""
    undo = [step for holder in holders for step in _remembered(holder)]
    try:
        yield
    finally:
        for step in reversed(undo):
            step()


def _remembered(holder: Any) -> Iterator[Callable[[], object]]:
    """Lay copies of tensors in place of what a holder holds, and yield how to undo all that is done to it."""
    if isinstance(holder, CellType):
        for value in _contents(holder):
            holder.cell_contents = _substitute(value)
            yield partial(setattr, holder, "cell_contents", value)
    elif isinstance(holder, dict):
        yield partial(_refill, holder, dict(holder))
        holder.update({key: _substitute(value) for key, value in holder.items() if _is_state(value)})
    elif isinstance(holder, list):
        yield partial(_refill, holder, list(holder))
        holder[:] = [_substitute(value) for value in holder]
    elif isinstance(holder, (set, deque)):
        yield partial(_refill, holder, holder.copy())
    else:
        yield partial(_refill, holder.__dict__, dict(holder.__dict__))
        holder.__dict__.update({key: _substitute(value) for key, value in vars(holder).items() if _is_state(value)})


def _is_state(value: object) -> bool:
    """Whether something is a tensor that may be written to in place, and no parameter."""
    return isinstance(value, Tensor) and not isinstance(value, nn.Parameter) and not value.requires_grad


def _substitute(value: Any) -> Any:
    return value.clone() if _is_state(value) else value


def _refill(container: Any, items: Any) -> None:
    """Give a container its former items, keeping its identity."""
    container.clear()
    container.extend(items) if isinstance(container, (list, deque)) else container.update(items)
