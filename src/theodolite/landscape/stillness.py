"""Does a forward pass leave a model as it found it?

Where it does, one guard around many passes is enough; dropout, batch statistics that are kept and counters need one
around each.
"""

from collections import deque
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from theodolite.objective.attributes import generators_of
from theodolite.objective.isolation import RandomState

_PLAIN = (bool, int, float, str, bytes, type(None))


class Stillness:
    """The state of modules and random generators at one time, to be asked later whether it has changed since."""

    def __init__(self, roots: Iterable[nn.Module]) -> None:
        """Note the state of these module trees, and of every random generator."""
        self._modules = list(dict.fromkeys(module for root in roots for module in root.modules()))
        self._own = generators_of(self._modules)
        self._random = RandomState.capture(self._own)
        self._attributes = [_attributes(module) for module in self._modules]
        self._buffers = [(tensor, tensor.clone()) for tensor in _buffers(self._modules)]

    def holds(self) -> bool:
        """Whether nothing has changed; NaN in a buffer counts as a change."""
        random = RandomState.capture(self._own, last=self._random)
        pairs = zip(random.pairs, self._random.pairs, strict=True)
        return (
            random.numpy is self._random.numpy
            and all(_same(now, then) for (_, now), (_, then) in pairs)
            and all(_attributes(module) == then for module, then in zip(self._modules, self._attributes, strict=True))
            and all(torch.equal(tensor, then) for tensor, then in self._buffers)
        )


def _same(now: Any, then: Any) -> bool:
    """Whether two states of a generator are equal."""
    if isinstance(now, Tensor):
        return torch.equal(now, then)
    return bool(now is then or str(now) == str(then))


def _buffers(modules: Iterable[nn.Module]) -> list[Tensor]:
    """Every buffer once."""
    found = (buffer for module in modules for buffer in module.buffers(recurse=False))
    return list({id(buffer): buffer for buffer in found}.values())


def _attributes(module: nn.Module) -> list[tuple[str, "_Seen", tuple["_Seen", ...]]]:
    """What a module holds, and what its containers hold."""
    return [(name, _Seen(value), tuple(map(_Seen, _items(value)))) for name, value in module.__dict__.items()]


def _items(value: object) -> Iterable[object]:
    """What a container holds; keys and values of a dict."""
    if isinstance(value, dict):
        return (item for pair in value.items() for item in pair)
    return value if isinstance(value, (list, tuple, set, deque)) else ()


class _Seen:
    """An object as it was: plain values are equal by value, others if they are the same and were not written to."""

    def __init__(self, value: object) -> None:
        self._value = value  # held, so that its place in memory is not given to another
        self._version = value._version if isinstance(value, Tensor) and not value.is_inference() else 0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Seen):
            return False
        if type(self._value) in _PLAIN and type(other._value) in _PLAIN:
            return self._value is other._value or self._value == other._value
        return self._value is other._value and self._version == other._version

    __hash__ = None  # type: ignore[assignment]
