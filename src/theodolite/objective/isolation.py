"""How is a model run without leaving a trace?

Inside ``isolated`` a model may be run at will; afterwards its buffers, attributes and hooks, every random generator and
the global switches are what they were, to the bit.
"""

import random
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

_CONTAINERS = (list, dict, set, deque)


def _generators() -> dict[str, torch.Generator]:
    """The default generators that exist in this process, by device."""
    found = {"cpu": torch.default_generator}
    if torch.cuda.is_initialized():
        found |= {f"cuda:{index}": generator for index, generator in enumerate(torch.cuda.default_generators)}
    return found


@dataclass(frozen=True, eq=False)
class RandomState:
    """The state of every global random generator: torch on each device, Python, NumPy."""

    torch_states: dict[str, Tensor]
    python_state: tuple[Any, ...]
    numpy_state: Any

    @classmethod
    def capture(cls) -> Self:
        """The states as they are now."""
        states = {name: generator.get_state() for name, generator in _generators().items()}
        return cls(states, random.getstate(), np.random.get_state())

    def restore(self) -> None:
        """Set the generators to this state."""
        for name, generator in _generators().items():
            if name in self.torch_states:
                generator.set_state(self.torch_states[name])
        random.setstate(self.python_state)
        np.random.set_state(self.numpy_state)


def pin_randomness(seed: int) -> None:
    """Seed every global random generator; only to be called inside ``isolated``."""
    for generator in _generators().values():
        generator.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def _restore_container(container: Any, items: Any) -> None:
    """Give a container its former items, keeping its identity."""
    container.clear()
    container.extend(items) if isinstance(container, (list, deque)) else container.update(items)


def own_generator(value: Any) -> tuple[Any, Any] | None:
    """How to set a generator object, and its state, if value is one."""
    if isinstance(value, torch.Generator):
        return value.set_state, value.get_state()
    if isinstance(value, random.Random):
        return value.setstate, value.getstate()
    if isinstance(value, np.random.RandomState):
        return value.set_state, value.get_state()
    if isinstance(value, np.random.Generator):
        generator = value.bit_generator
        return (lambda state: setattr(generator, "state", state)), generator.state
    return None


class _ModuleState:
    """What one module holds beside its parameters, and how to bring it back."""

    def __init__(self, module: nn.Module, copies: dict[int, Tensor]) -> None:
        """Remember the module's attributes, and lay copies of its buffers and plain tensors in their place."""
        self._module = module
        self._attributes = dict(module.__dict__)
        self._containers = [
            (value, value.copy()) for value in self._attributes.values() if isinstance(value, _CONTAINERS)
        ]
        found = (own_generator(value) for value in self._attributes.values())
        self._generators = [pair for pair in found if pair is not None]
        buffers = module._buffers
        for name, value in list(buffers.items()):
            if value is not None:
                buffers[name] = copies.setdefault(id(value), value.clone())
        for name, value in self._attributes.items():
            if isinstance(value, Tensor) and not isinstance(value, nn.Parameter) and value.is_leaf:
                module.__dict__[name] = copies.setdefault(id(value), value.detach().clone())

    def restore(self) -> None:
        """Bring everything back."""
        self._module.__dict__.clear()
        self._module.__dict__.update(self._attributes)
        for container, items in self._containers:
            _restore_container(container, items)
        for set_state, state in self._generators:
            set_state(state)


@contextmanager
def _modules_kept(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Bring buffers and attributes of all modules back afterwards."""
    copies: dict[int, Tensor] = {}
    states = [_ModuleState(module, copies) for root in modules for module in root.modules()]
    try:
        yield
    finally:
        for state in reversed(states):
            state.restore()


@contextmanager
def randomness_kept() -> Iterator[None]:
    """Bring every random generator back afterwards."""
    state = RandomState.capture()
    try:
        yield
    finally:
        state.restore()


@contextmanager
def _autocast_uncached() -> Iterator[None]:
    """Switch off autocast's cache of cast weights, which hides a change of the weights (measured: a flat surface)."""
    enabled = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(enabled)


@contextmanager
def _tensor_hooks_off(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Take off the gradient hooks that the user put on parameters: they would change and count what is measured."""
    hooked = [(tensor, tensor._backward_hooks) for tensor in tensors if tensor._backward_hooks]
    for tensor, _ in hooked:
        tensor._backward_hooks = None
    try:
        yield
    finally:
        for tensor, hooks in hooked:
            tensor._backward_hooks = hooks


@contextmanager
def isolated(modules: Iterable[nn.Module] = (), tensors: Iterable[Tensor] = ()) -> Iterator[None]:
    """Run modules inside, and leave no trace of it.

    Kept to the bit: buffers (BatchNorm statistics), attributes one container deep (counters, caches, stored
    activations), generators held by modules, the global generators of torch on every device in use, of Python and of
    NumPy, gradient hooks on tensors, autocast's cache. Train and eval mode are kept as found.

    Args:
        modules: Roots of the module trees that will be run.
        tensors: Parameters whose gradient hooks must not fire.

    Limits: objects that forward hooks or the loss itself write to outside the modules are not seen.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(randomness_kept())
        stack.enter_context(_autocast_uncached())
        stack.enter_context(_modules_kept(modules))
        stack.enter_context(_tensor_hooks_off(tensors))
        yield
