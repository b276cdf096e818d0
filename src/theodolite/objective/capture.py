"""Which modules does a function run that it was not handed: a teacher, a discriminator, a penalty on a model?"""

from collections.abc import Iterable, Iterator
from functools import partial
from types import FunctionType, MethodType, ModuleType

from torch import nn

_MANY = 100
"""Containers longer than this are data, not models."""


def modules_within(*functions: object, depth: int = 3) -> tuple[nn.Module, ...]:
    """Modules that functions reach: themselves, in closures, globals they name, bound objects, arguments of partials.

    Args:
        functions: Losses, functions of θ, any object.
        depth: How many steps to follow from one object to the next.

    Returns:
        Each module once; children of a module found are not listed.
    """
    found: dict[int, nn.Module] = {}
    seen: set[int] = set()
    layer: list[object] = list(functions)
    for _ in range(depth + 1):
        following: list[object] = []
        for value in layer:
            if id(value) in seen:
                continue
            seen.add(id(value))
            if isinstance(value, nn.Module):
                found[id(value)] = value
            else:
                following.extend(_held_by(value))
        layer = following
    return tuple(found.values())


def _held_by(value: object) -> Iterator[object]:
    """What an object refers to, where a model may be."""
    if isinstance(value, partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, MethodType):
        yield from (value.__func__, value.__self__)
    elif isinstance(value, FunctionType):
        yield from _named_in(value)
    elif isinstance(value, dict):
        yield from _few(value.values())
    elif isinstance(value, (list, tuple)):
        yield from _few(value)
    elif not isinstance(value, (type, ModuleType)):
        yield from _few(getattr(value, "__dict__", {}).values())


def _named_in(function: FunctionType) -> Iterator[object]:
    """What stands in a function's closure, its defaults, and the globals that it names."""
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            continue
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    for name in function.__code__.co_names:
        value = function.__globals__.get(name)
        if isinstance(value, (nn.Module, FunctionType, partial)):
            yield value


def _few(values: Iterable[object]) -> Iterator[object]:
    listed = list(values)
    if len(listed) <= _MANY:
        yield from listed
