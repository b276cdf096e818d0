"""Under which conditions did the user's own forward pass run, and what did it return?

The loss of a training step is computed in the user's loop, where nobody can see it. The tape notes what the model was
given and what it returned, and the randomness, precision and modes under which it ran, so that the pass can be read off
(``replay``) or repeated.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map_only

from theodolite.objective.attributes import generators_of
from theodolite.objective.data import Batch
from theodolite.objective.isolation import RandomState
from theodolite.objective.sources import LossFunction, unwrapped
from theodolite.probes.samples import kept

_IS_MEASURING: ContextVar[bool] = ContextVar("is_measuring", default=False)
"""Whether a measurement of some monitor runs the models: such passes are not the user's."""


@contextmanager
def measuring() -> Iterator[None]:
    """Let no tape of any monitor note what happens inside, and no number that overflows warn: it is kept as it is."""
    token = _IS_MEASURING.set(True)
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        _IS_MEASURING.reset(token)


@dataclass(frozen=True)
class Precision:
    """The autocast state and the train and eval modes of the user's forward pass."""

    device: str = "cpu"
    enabled: bool = False
    dtype: torch.dtype = torch.bfloat16
    modes: Mapping[str, bool] = field(default_factory=dict)

    @contextmanager
    def entered(self, model: nn.Module | None = None) -> Iterator[None]:
        """The same autocast state, and the same modes of a model if one is given.

        Modes are left as they are set: only for use where modules are kept.

        Args:
            model: The model, or a copy of it.

        Yields:
            Nothing.
        """
        if model is not None:
            for name, module in model.named_modules():
                if module.training is not self.modes.get(name, module.training):
                    module.training = self.modes[name]
        with ExitStack() as stack:
            if self.enabled:
                stack.enter_context(torch.autocast(self.device, dtype=self.dtype, cache_enabled=False))
            elif torch.is_autocast_enabled(self.device):
                stack.enter_context(torch.autocast(self.device, enabled=False))
            yield


@dataclass(frozen=True, eq=False)
class Call:
    """One forward pass of the model: what went in and what came out, and how often that was changed in place."""

    inputs: tuple[Any, ...]
    options: dict[str, Any]
    output: Any
    versions: tuple[int, ...]

    @property
    def is_intact(self) -> bool:
        """Whether nobody has written to the output since."""
        return self.versions == _versions(self.output)


def _versions(output: Any) -> tuple[int, ...]:
    """How often each tensor of an output was changed in place."""
    leaves = [output] if type(output) is Tensor else tree_flatten(output)[0]
    return tuple(leaf._version for leaf in leaves if isinstance(leaf, Tensor) and not leaf.is_inference())


class _Hook:
    """A hook on the user's model. In a copy or a pickle of the model it becomes one that does nothing."""

    def __init__(self, note: Callable[..., None]) -> None:
        """Call a function that never raises."""
        self._note = note

    def __call__(self, *args: Any) -> None:
        """Note, and change nothing."""
        self._note(*args)

    def __reduce__(self) -> tuple[Any, ...]:
        """A function of the standard library that takes anything and returns None."""
        return getattr, (nullcontext(), "__exit__")


class Tape:
    """Notes the forward passes of a model in the user's loop.

    Only passes with gradients count; the model is hooked only between ``start`` and ``stop``. What goes wrong in a hook
    is kept in ``error``, never raised in the user's forward pass; ``spent`` is the time that the hooks took.
    """

    def __init__(self, model: nn.Module) -> None:
        """Hook nothing yet."""
        self.model = model
        self._inner = unwrapped(model)
        self._device = next((tensor.device.type for tensor in model.parameters()), "cpu")
        self.generators = generators_of(model.modules())
        self._handles: list[Any] = []
        self._given: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self._is_running = self._is_noted = False
        self._is_cloning = False
        self.calls: list[Call] = []
        self.body_state: RandomState | None = None
        self.pass_state: RandomState | None = None
        self.precision = Precision()
        self.error: Exception | None = None
        self.spent = 0.0

    def _attach(self) -> None:
        """Hook the model, first and last of all hooks.

        A model that was compiled in place is left alone: its hooks would be compiled with it.
        """
        if not self._handles and getattr(self.model, "_compiled_call_impl", None) is None:
            options: dict[str, Any] = {"prepend": True, "with_kwargs": True}
            before = self.model.register_forward_pre_hook(_Hook(self._before), **options)
            after = self.model.register_forward_hook(_Hook(self._after), with_kwargs=True)
            self._handles = [before, after]

    def start(self) -> None:
        """Begin to note a body of the loop."""
        self._attach()
        self.calls, self._given, self.error, self.pass_state = [], [], None, None
        self.body_state = RandomState.capture(self.generators, last=self.body_state)
        self._is_running, self._is_noted = True, False

    def stop(self) -> None:
        """Stop noting, and take the hooks off; what was noted stays."""
        self._is_running = False
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def forget(self) -> None:
        """Let go of inputs and outputs."""
        self.calls, self._given = [], []

    def clone_outputs(self) -> None:
        """From now on keep copies of outputs: the user's loop writes to them in place."""
        self._is_cloning = True

    def _before(self, module: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> None:
        if not self._is_running or not torch.is_grad_enabled() or _IS_MEASURING.get():
            return
        self._given.append((inputs, options))
        if self._is_noted:
            return
        started = time.perf_counter()
        try:
            self._is_noted = True
            self.pass_state = RandomState.capture(self.generators, last=self.body_state)
            modes = {name: part.training for name, part in self._inner.named_modules()}
            enabled = torch.is_autocast_enabled(self._device)
            self.precision = Precision(self._device, enabled, torch.get_autocast_dtype(self._device), modes)
        except Exception as error:  # noqa: BLE001 - never to be raised in the user's forward pass
            self.error = error
        self.spent += time.perf_counter() - started

    def _after(self, module: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any], output: Any) -> None:
        if not self._is_running or not torch.is_grad_enabled() or _IS_MEASURING.get():
            return
        try:
            taken = self._taken(output) if type(output) is Tensor else tree_map_only(Tensor, self._taken, output)
            self.calls.append(Call(*self._given.pop(), taken, _versions(taken)))
        except Exception as error:  # noqa: BLE001 - never to be raised in the user's forward pass
            self.error = error

    def _taken(self, output: Tensor) -> Tensor:
        return output.detach().clone() if self._is_cloning else output.detach()


@dataclass(frozen=True, eq=False)
class Repeat:
    """A batch with the randomness and precision under which the user's loop saw it."""

    batch: Batch
    state: RandomState | None
    precision: Precision


def repeating(loss: LossFunction) -> Callable[[nn.Module, Repeat], Tensor]:
    """The loss of a batch under the randomness and precision of the user's own pass; for use in an objective.

    The loss gets a copy of the batch, since some losses write to it.

    Args:
        loss: The caller's loss.

    Returns:
        A loss of a model and a ``Repeat``.
    """

    def repeated(model: nn.Module, item: Repeat) -> Tensor:
        if item.state is not None:
            item.state.restore()
        with item.precision.entered(model):
            return loss(model, kept(item.batch))

    return repeated
