"""What did the user's own forward pass compute? Read off without running it again.

The loss of a training step is computed in the user's loop, where nobody can see it. The tape notes what the model was
given and what it returned; calling the loss once more on an echo of the model, which answers from the tape, gives the
loss of that very forward pass, dropout masks included, at the cost of the loss head alone.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map_only

from theodolite.objective.data import Batch
from theodolite.objective.isolation import RandomState, randomness_kept
from theodolite.objective.sources import LossFunction


class EchoError(Exception):
    """The loss called the model otherwise than the user's loop did."""


@dataclass(frozen=True, eq=False)
class Call:
    """One forward pass of the model: what went in and what came out."""

    inputs: tuple[Any, ...]
    options: dict[str, Any]
    output: Any


@dataclass(frozen=True)
class Precision:
    """The autocast state of the user's forward pass."""

    device: str = "cpu"
    enabled: bool = False
    dtype: torch.dtype = torch.bfloat16

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The same autocast state; nothing is done where none was on."""
        with ExitStack() as stack:
            if self.enabled:
                stack.enter_context(torch.autocast(self.device, dtype=self.dtype, cache_enabled=False))
            yield


class _Echo:
    """Stands for the model: answers calls from the tape, and everything else from the model itself."""

    def __init__(self, model: nn.Module, calls: list[Call]) -> None:
        """Play the calls back in order."""
        self._model, self._calls = model, iter(calls)
        self.mismatch: Tensor | None = None

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """The output of the next call on the tape, whose inputs must be the same."""
        call = next(self._calls, None)
        if call is None:
            raise EchoError("the loss calls the model more often than the training loop did")
        now, then = tree_flatten((inputs, options))[0], tree_flatten((call.inputs, call.options))[0]
        if len(now) != len(then):
            raise EchoError("the loss calls the model with other arguments than the training loop did")
        for new, old in zip(now, then, strict=True):
            self._compare(new, old)
        return call.output

    def _compare(self, new: Any, old: Any) -> None:
        """Raise on another argument; a comparison of values on an accelerator is noted, not waited for."""
        if new is old or not isinstance(new, Tensor):
            return
        if not isinstance(old, Tensor) or new.shape != old.shape or new.dtype != old.dtype:
            raise EchoError("the loss calls the model with other arguments than the training loop did")
        if new.data_ptr() != old.data_ptr() or new.stride() != old.stride():
            differs = (new != old).any()
            self.mismatch = differs if self.mismatch is None else self.mismatch | differs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


class Tape:
    """Notes the forward passes of a model in the user's loop.

    Only passes with gradients count; the tape runs only between ``start`` and ``stop``.
    """

    def __init__(self, model: nn.Module) -> None:
        """Attach nothing yet."""
        self._model = model
        self._handles: list[Any] = []
        self._is_running = False
        self.calls: list[Call] = []
        self.state: RandomState | None = None
        self.precision = Precision()

    def attach(self) -> None:
        """Hook the model."""
        if not self._handles:
            before = self._model.register_forward_pre_hook(self._before)
            after = self._model.register_forward_hook(self._after, with_kwargs=True)
            self._handles = [before, after]

    def detach(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self.stop()
        self.calls = []

    def start(self, *, with_state: bool) -> None:
        """Begin a new body of the loop; with the random state, so that the pass can be repeated."""
        self.calls, self.state, self._wants_state, self._is_running = [], None, with_state, True

    def stop(self) -> None:
        """Stop noting; what was noted stays."""
        self._is_running = False

    def _before(self, module: nn.Module, inputs: Any) -> None:
        if self._is_running and torch.is_grad_enabled() and self.state is None:
            device = next((t.device.type for t in module.parameters()), "cpu")
            self.precision = Precision(device, torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))
            if self._wants_state:
                self.state = RandomState.capture()

    def _after(self, module: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any], output: Any) -> None:
        if self._is_running and torch.is_grad_enabled():
            self.calls.append(Call(inputs, options, tree_map_only(Tensor, Tensor.detach, output)))

    def replay(self, loss: LossFunction, batch: Batch) -> Tensor | None:
        """Loss of the noted pass, a 0-d tensor; None if no pass was noted; NaN if the inputs were other ones.

        Args:
            loss: The caller's loss.
            batch: The batch of the loop's body.

        Returns:
            The loss, on its device, without waiting for it.

        Raises:
            EchoError: If the loss calls the model otherwise than the loop did.

        Cost: the loss head alone.
        """
        if not self.calls:
            return None
        echo = _Echo(self._model, self.calls)
        with randomness_kept(), torch.no_grad(), self.precision.entered():
            value = loss(echo, batch)  # type: ignore[arg-type]
            if not isinstance(value, Tensor) or value.numel() != 1:
                raise EchoError("the loss is not a scalar tensor")
            value = value.detach().reshape(()).double()
            return value if echo.mismatch is None else torch.where(echo.mismatch, torch.nan, value)


@dataclass(frozen=True, eq=False)
class Repeat:
    """A batch with the randomness and precision under which the user's loop saw it."""

    batch: Batch
    state: RandomState | None
    precision: Precision


def repeating(loss: LossFunction) -> Callable[[nn.Module, Repeat], Tensor]:
    """The loss of a batch under the randomness and precision of the user's own pass; for use in an objective."""

    def repeated(model: nn.Module, item: Repeat) -> Tensor:
        if item.state is not None:
            item.state.restore()
        with item.precision.entered():
            return loss(model, item.batch)

    return repeated
