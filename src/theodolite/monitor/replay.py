"""What was the loss of the user's own forward pass? Read off the tape, without running the model again.

Calling the loss once more on an echo of the model, which answers from the tape, gives the loss of that very forward
pass, dropout masks included, at the cost of the loss head alone. Where an echo cannot stand for the model (the loss
calls parts of it, or differentiates it), the pass is repeated instead.
"""

from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from theodolite.monitor.tape import Call, Precision, Repeat, Tape
from theodolite.objective import Objective
from theodolite.objective.capture import modules_within
from theodolite.objective.data import Batch
from theodolite.objective.isolation import RandomState, isolated, randomness_kept
from theodolite.objective.sources import LossFunction, scalar
from theodolite.probes.samples import versions_of

_MAX_ECHOES = 2
"""After so many failures of the echo the pass is repeated at once."""


class EchoError(Exception):
    """The echo cannot stand for the model in this loss."""


class OtherInputsError(Exception):
    """The loss gives the model other inputs than the user's loop did: it is not the loss of that pass."""


@dataclass(frozen=True, eq=False)
class Reading:
    """The loss of one forward pass in the user's loop.

    Attributes:
        value: The loss, a 0-d tensor in float64, on its device.
        doubt: A 0-d truth value: the inputs were other ones, the loss does not count. None if they were the same.
        state: Randomness under which the loss can be repeated.
    """

    value: Tensor
    doubt: Tensor | None
    state: RandomState | None


class _Echo:
    """Stands for the model: answers calls from the tape, and everything else from the model itself."""

    def __init__(self, model: nn.Module, calls: list[Call], *, begin: Callable[[], None]) -> None:
        """Play the calls back in order; ``begin`` is called once before anything of the model itself may run."""
        self._model, self._calls, self._begin = model, iter(calls), begin
        self.calls = 0
        self.doubt: Tensor | None = None
        self.generator: Tensor | None = None

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """The output of the next call on the tape, whose inputs must be the same."""
        if not self.calls:
            self.generator = torch.get_rng_state()
        self.calls += 1
        call = next(self._calls, None)
        if call is None:
            raise EchoError("the loss calls the model more often than the training loop did")
        now, then = _leaves(inputs, options), _leaves(call.inputs, call.options)
        if len(now) != len(then):
            raise OtherInputsError
        for new, old in zip(now, then, strict=True):
            self._compare(new, old)
        return call.output

    def _compare(self, new: Any, old: Any) -> None:
        """Raise on another argument; a comparison of values on an accelerator is noted, not waited for."""
        if new is old or not isinstance(new, Tensor):
            return
        if not isinstance(old, Tensor) or new.shape != old.shape or new.dtype != old.dtype or new.device != old.device:
            raise OtherInputsError
        if new.is_cpu:
            if not torch.equal(new, old) and not torch.allclose(new, old, rtol=0, atol=0, equal_nan=True):
                raise OtherInputsError
        else:
            differs = ((new != old) & ~(new.isnan() & old.isnan())).any()
            self.doubt = differs if self.doubt is None else self.doubt | differs

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self._model)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._model, name)
        if isinstance(value, (nn.Module, MethodType)):
            self._begin()
        return value


def _leaves(inputs: tuple[Any, ...], options: dict[str, Any]) -> list[Any]:
    """Arguments of a call, containers taken apart."""
    if not options and all(type(value) is Tensor for value in inputs):
        return list(inputs)
    return tree_flatten((inputs, options))[0]


class Reader:
    """Reads the loss of the user's forward pass off a tape."""

    def __init__(self, tape: Tape, loss: LossFunction, objective: Callable[[tuple[Repeat, ...]], Objective]) -> None:
        """Read from a tape; ``objective`` gives J of batches as the user's loop saw them."""
        self._tape, self._loss, self._objective = tape, loss, objective
        self._reached = modules_within(loss)
        self._echo_failures = 0

    def read(self, batch: Batch, *, is_before_step: bool) -> Reading:
        """The loss of the noted pass.

        Args:
            batch: A copy of the batch of the loop's body as it was drawn; the loss may write to it.
            is_before_step: Whether the parameters still are those of the pass.

        Returns:
            The loss, on its device, without waiting for it.

        Raises:
            RuntimeError: If the loss cannot be read.

        Cost: the loss head alone, as a rule; a forward pass where the echo does not stand for the model.
        """
        tape = self._tape
        if tape.error is not None:
            raise RuntimeError("the forward pass could not be noted") from tape.error
        versions = versions_of(batch)
        if tape.calls and self._echo_failures < _MAX_ECHOES:
            try:
                return self._echoed(batch)
            except OtherInputsError:
                raise RuntimeError(
                    "the loss of each step cannot be read off the loop: loss(model, batch) gives the model other "
                    "inputs than the loop did. Let the loss do all that the loop does with a batch"
                ) from None
            except Exception:
                if not is_before_step or versions_of(batch) != versions:
                    raise
                self._echo_failures += all(call.is_intact for call in tape.calls)
        if not is_before_step:
            raise RuntimeError("the loss of each step cannot be read off the loop: the model's call was not seen")
        value = self._objective((Repeat(batch, tape.body_state, tape.precision),)).value()
        return Reading(torch.tensor(value, dtype=torch.float64), None, tape.body_state)

    def _echoed(self, batch: Batch) -> Reading:
        """The loss on an echo, from the randomness at the start of the body: a loss may draw before it runs the model.

        If something else drew in between, the pass began with another randomness than the body, which then counts.

        Args:
            batch: The batch; the loss may write to it.

        Returns:
            The loss.

        Raises:
            EchoError: If the loop wrote to the model's output.
        """
        tape = self._tape
        if not all(call.is_intact for call in tape.calls):
            tape.clone_outputs()
            raise EchoError("the loop writes to the model's output")
        value, echo = self._attempt(batch, tape.body_state, tape.precision)
        state = tape.body_state if _is_at(echo.generator, tape.pass_state) else tape.pass_state
        return Reading(value, echo.doubt, state)

    def _attempt(self, batch: Batch, state: RandomState | None, precision: Precision) -> tuple[Tensor, _Echo]:
        """The loss on an echo."""
        with ExitStack() as stack:
            begun: list[bool] = []

            def begin() -> None:
                if not begun:
                    begun.append(True)
                    stack.enter_context(isolated((self._tape.model,)))

            stack.enter_context(isolated(self._reached) if self._reached else nullcontext())
            stack.enter_context(randomness_kept(self._tape.generators, last=self._tape.body_state))
            if state is not None:
                state.restore()
            echo = _Echo(self._tape.model, self._tape.calls, begin=begin)
            stack.enter_context(torch.no_grad())
            stack.enter_context(precision.entered())
            value = scalar(self._loss(echo, batch), "loss(model, batch)")  # type: ignore[arg-type]
            if not echo.calls:
                raise EchoError("the loss does not call the model")
            return value.detach().double(), echo


def _is_at(generator: Tensor | None, state: RandomState | None) -> bool:
    """Whether torch's CPU generator stood where a state says."""
    if generator is None or state is None:
        return False
    return any(isinstance(part, Tensor) and torch.equal(part, generator) for _, part in state.pairs)
