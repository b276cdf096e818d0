"""How is a model run without leaving a trace?

Inside ``isolated`` a model may be run at will; afterwards its buffers, attributes, gradients and hooks, every random
generator and the global switches are what they were, to the bit.
"""

import ctypes
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
import torch.utils.checkpoint
from torch import Tensor, nn

from theodolite.objective.attributes import generators_of, modules_kept

_MT19937_BYTES = 625 * 4
"""NumPy's Mersenne twister: 624 words and a place, ``mt19937_state`` in its headers."""

_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")


def _default_generators() -> list[torch.Generator]:
    """The default generators that exist in this process, on every device in use."""
    generators = [torch.default_generator]
    if torch.cuda.is_initialized():
        generators.extend(torch.cuda.default_generators)
    return generators


def own_generator(value: object) -> tuple[Callable[[Any], object], Any] | None:
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


def _seed_generator(value: object, seed: int) -> None:
    """Let a generator object start at a seed."""
    if isinstance(value, torch.Generator):
        value.manual_seed(seed)
    elif isinstance(value, (random.Random, np.random.RandomState)):
        value.seed(seed % 2**32)
    elif isinstance(value, np.random.Generator):
        kind: Any = type(value.bit_generator)
        value.bit_generator.state = kind(seed).state


def _numpy_memory() -> bytes | None:
    """The memory of NumPy's global generator, read in a microsecond; None if it is another than the usual one."""
    bits = np.random.get_bit_generator()  # type: ignore[attr-defined]  # public since NumPy 1.24
    return ctypes.string_at(bits.ctypes.state_address, _MT19937_BYTES) if type(bits) is np.random.MT19937 else None


@dataclass(frozen=True, eq=False)
class _NumpyState:
    """The state of NumPy's global generator.

    Reading and setting it takes 50 µs each, most often for nothing. Its memory tells whether it has moved, unless a
    second normal number waits, which is kept elsewhere.
    """

    state: Any
    memory: bytes | None

    @classmethod
    def capture(cls, last: Self | None) -> Self:
        """The state as it is now; an earlier one, if it has not moved since."""
        memory = _numpy_memory()
        if last is not None and last.is_at(memory):
            return last
        return cls(np.random.get_state(), memory)

    def is_at(self, memory: bytes | None) -> bool:
        """Whether the generator is in this state, told by its memory alone."""
        has_waiting = bool(self.state[3])
        return memory is not None and memory == self.memory and not has_waiting

    def restore(self) -> None:
        """Set the generator to this state, unless it is there."""
        if not self.is_at(_numpy_memory()):
            np.random.set_state(self.state)


@dataclass(frozen=True, eq=False)
class RandomState:
    """The state of every global random generator (torch on each device, Python, NumPy), and of some more."""

    pairs: tuple[tuple[Callable[[Any], object], Any], ...]
    numpy: _NumpyState

    @classmethod
    def capture(cls, own: Iterable[object] = (), *, last: Self | None = None) -> Self:
        """The states as they are now.

        Args:
            own: Further generator objects.
            last: An earlier state; what has not moved since is taken from it.

        Returns:
            The states.
        """
        found = (own_generator(generator) for generator in (*_default_generators(), *own))
        pairs = ((random.setstate, random.getstate()), *(pair for pair in found if pair is not None))
        return cls(pairs, _NumpyState.capture(last.numpy if last is not None else None))

    def restore(self) -> None:
        """Set the generators to this state."""
        self.numpy.restore()
        for set_state, state in self.pairs:
            set_state(state)


def pin_randomness(seed: int, own: Iterable[object] = ()) -> None:
    """Let every global random generator start at a seed; only to be called where ``RandomState`` is kept.

    Args:
        seed: The seed.
        own: Further generator objects.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    for generator in (*_default_generators(), *own):
        _seed_generator(generator, seed)


@contextmanager
def randomness_kept(own: Iterable[object] = (), *, last: RandomState | None = None) -> Iterator[None]:
    """Bring every random generator back afterwards.

    Args:
        own: Further generator objects.
        last: An earlier state; what has not moved since is taken from it.

    Yields:
        Nothing.
    """
    state = RandomState.capture(own, last=last)
    try:
        yield
    finally:
        state.restore()


@contextmanager
def autocast_uncached() -> Iterator[None]:
    """Switch off autocast's cache of cast weights, which hides a change of the weights (measured: a flat surface)."""
    enabled = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(enabled)


@contextmanager
def gradients_kept(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Lay aside ``.grad``, and the hooks on it that users put on parameters: they would change what is measured.

    A hook may even take the optimizer's step.

    Args:
        tensors: The parameters.

    Yields:
        Nothing.
    """
    held = [(tensor, tensor.grad) for tensor in tensors if tensor.is_leaf]
    tables: list[dict[int, Any]] = [getattr(tensor, name) for tensor, _ in held for name in _HOOKS]
    hooks = [(table, table.copy()) for table in tables if table]
    for tensor, _ in held:
        tensor.grad = None
    for table, _ in hooks:
        table.clear()  # autograd holds on to the table itself
    try:
        yield
    finally:
        for tensor, grad in held:
            tensor.grad = grad
        for table, entries in hooks:
            table.update(entries)


class _NoCheckpoint:
    """Stands in for reentrant checkpointing: runs the function and keeps what it saves."""

    @staticmethod
    def apply(function: Callable[..., object], preserve: bool, *args: object) -> object:
        """What the checkpointed function gives."""
        return function(*args)


@contextmanager
def plain_autograd() -> Iterator[None]:
    """Run eagerly what ``torch.compile`` has compiled, and keep what reentrant checkpointing would recompute.

    Neither can be differentiated twice; reentrant checkpoints not even once by ``torch.autograd.grad``.
    """
    module: Any = torch.utils.checkpoint
    reentrant = module.CheckpointFunction
    module.CheckpointFunction = _NoCheckpoint
    try:
        # Nothing is compiled before dynamo is loaded, and loading it takes a second.
        if "torch._dynamo" in sys.modules:
            with torch.compiler.set_stance("force_eager"):
                yield
        else:
            yield
    finally:
        module.CheckpointFunction = reentrant


@contextmanager
def isolated(
    modules: Iterable[nn.Module] = (), tensors: Iterable[Tensor] = (), *, seed: int | None = None
) -> Iterator[None]:
    """Run modules inside, and leave no trace of it.

    Kept to the bit: buffers (BatchNorm statistics), attributes one container deep (counters, caches, stored
    activations), generators held by modules, the global generators of torch on every device in use, of Python and of
    NumPy, ``.grad``, gradient hooks on tensors, autocast's cache. Train and eval mode are kept as found.

    Args:
        modules: Roots of the module trees that will be run.
        tensors: Parameters beyond those of the modules.
        seed: Where every generator, global or held by a module, starts inside; None lets them run on.

    Yields:
        Nothing.

    Limits: objects that forward hooks or the loss itself write to outside the modules are not seen.
    """
    found = list(dict.fromkeys(module for root in modules for module in root.modules()))
    leaves = dict.fromkeys([*tensors, *(tensor for module in found for tensor in module.parameters(recurse=False))])
    own = generators_of(found)
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(plain_autograd())
        stack.enter_context(autocast_uncached())
        stack.enter_context(modules_kept(found))
        stack.enter_context(gradients_kept(leaves))
        stack.enter_context(randomness_kept(own))
        if seed is not None:
            pin_randomness(seed, own)
        yield
