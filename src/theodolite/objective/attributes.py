"""What does a module hold beside its parameters, and how is it brought back?"""

import random
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_GENERATORS = (torch.Generator, random.Random, np.random.RandomState, np.random.Generator)
_CONTAINERS = (list, dict, set, deque)
_PLAIN = frozenset((bool, int, float, str, bytes, type(None), dict, OrderedDict, nn.Parameter))
_OWN_TABLES = frozenset(("_parameters", "_buffers", "_modules"))
"""Tables that every module has, whose tensors are looked after elsewhere."""

_MANY = 1000
"""Longer containers are not searched for tensors."""


def generators_of(owners: Iterable[object]) -> list[object]:
    """Random generators among the attributes of some objects, and those objects that are generators themselves.

    Args:
        owners: Modules, samplers, data sets, …

    Returns:
        Each generator once.
    """
    found: dict[int, object] = {}
    for owner in owners:
        for value in (owner, *getattr(owner, "__dict__", {}).values()):
            if type(value) not in _PLAIN and isinstance(value, _GENERATORS):
                found[id(value)] = value
    return list(found.values())


def _refill(container: Any, items: Any) -> None:
    """Give a container its former items, keeping its identity."""
    container.clear()
    container.extend(items) if isinstance(container, (list, deque)) else container.update(items)


class _Substitutes:
    """Copies of tensors, to be written to in place of the originals; the same copy for the same tensor."""

    def __init__(self) -> None:
        self._copies: dict[int, tuple[Tensor, Tensor]] = {}

    def of(self, value: Tensor) -> Tensor:
        """The copy that stands in for a tensor."""
        if id(value) not in self._copies:
            # A stored activation is state, not a function of θ: its graph belongs to a step that is over.
            is_parameter = value.is_leaf and value.requires_grad
            # The original is held too, so that its id is not given to another.
            self._copies[id(value)] = (value, value.detach().clone().requires_grad_(is_parameter))
        return self._copies[id(value)][1]

    def inside(self, value: Any) -> Any:
        """A value, or what a tuple of values holds, with tensors replaced by their copies."""
        if isinstance(value, Tensor):
            return value if isinstance(value, nn.Parameter) else self.of(value)
        if type(value) is tuple:
            return tuple(self.inside(item) for item in value)
        return value


class _ModuleState:
    """Everything one module holds beside its parameters.

    Most attributes of most modules are plain values and empty tables of hooks: they are told by their type alone, since
    asking whether something is a tensor costs more than a small layer.
    """

    def __init__(self, module: nn.Module, substitutes: _Substitutes) -> None:
        """Remember the module's attributes, and lay copies of buffers and other tensors in their place."""
        self._module = module
        self._attributes = dict(module.__dict__)
        self._containers: list[tuple[Any, Any]] = []
        self._buffers = [(name, value) for name, value in module._buffers.items() if value is not None]
        for name, value in self._buffers:
            module._buffers[name] = substitutes.of(value)
        for name, value in self._attributes.items():
            if isinstance(value, _CONTAINERS):
                self._keep_container(name, value, substitutes)
            elif type(value) not in _PLAIN and isinstance(value, (tuple, Tensor)):
                module.__dict__[name] = substitutes.inside(value)

    def _keep_container(self, name: str, value: Any, substitutes: _Substitutes) -> None:
        """Remember the items of a container, and lay copies of tensors in their place."""
        self._containers.append((value, value.copy() if value else ()))
        if name in _OWN_TABLES or not isinstance(value, (list, dict)) or not 0 < len(value) <= _MANY:
            return
        for key, item in enumerate(value) if isinstance(value, list) else list(value.items()):
            if isinstance(item, (tuple, Tensor)):
                value[key] = substitutes.inside(item)

    def restore(self) -> None:
        """Bring everything back."""
        self._module.__dict__.clear()
        self._module.__dict__.update(self._attributes)
        for container, items in self._containers:
            if items or container:
                _refill(container, items)
        for name, value in self._buffers:
            self._module._buffers[name] = value


@contextmanager
def modules_kept(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Bring buffers and attributes of modules back afterwards.

    Args:
        modules: Each module by itself, without its children.

    Yields:
        Nothing.
    """
    substitutes = _Substitutes()
    states = [_ModuleState(module, substitutes) for module in modules]
    try:
        yield
    finally:
        for state in reversed(states):
            state.restore()
