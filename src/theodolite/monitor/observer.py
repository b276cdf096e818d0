"""What happens between two batches: series are noted, due measurements are made, and the cost is kept."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from theodolite.errors import RunError
from theodolite.monitor.held import Held
from theodolite.monitor.measurements import (
    NEEDS_BEFORE,
    SHARES,
    Bench,
    Taken,
    measure_curvature,
    measure_layers,
    measure_look,
    measure_progress,
    snapshot_arrays,
)
from theodolite.monitor.recorder import Recorder
from theodolite.monitor.schedule import Schedule, is_landmark
from theodolite.monitor.tape import EchoError, Repeat, Tape
from theodolite.objective import Objective, Params
from theodolite.objective.data import Batch
from theodolite.objective.sources import LossFunction, unwrapped
from theodolite.probes.samples import regrouped, weighted_mean

_LOG = logging.getLogger(__name__)

_MAX_FAILURES = 3
"""A measurement that failed so often is not tried again."""

_ACCUMULATION_LIMIT = 256
"""More micro-batches than this between two steps are not kept."""


class Observer:
    """Looks between the batches of a loop.

    Every measurement is billed, and its failure becomes an event and a line in the log, never an exception in the
    user's loop.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: LossFunction,
        *,
        recorder: Recorder,
        params: Params,
        budget: float | None,
        seed: int,
    ) -> None:
        """Hook the optimizer; the model is hooked while a loop runs."""
        self.bench = Bench(unwrapped(model), loss, params, seed)
        self.optimizer = optimizer
        self.recorder = recorder
        self.schedule = Schedule(budget, SHARES)
        self.held = Held(params.device, seed)
        self.validation: Objective | None = None
        self.step = 0
        self.start_point: Tensor | None = None
        self.tape = Tape(model)
        self._pending: tuple[Taken, frozenset[str]] | None = None
        self._params = params
        self._generator = torch.Generator(params.device).manual_seed(seed)
        self._reference: Objective | None = None
        self._failures: dict[str, int] = {}
        self._due: frozenset[str] = frozenset()
        self._before: Tensor | None = None
        self._own: list[Repeat] = []
        self._losses: list[Tensor] = []
        self._grad_norm: Tensor | None = None
        self._rate = math.nan
        self._events = 0
        self._last_update: tuple[int, Tensor] | None = None
        self._batch: Batch | None = None
        self._in_body = False
        self._body_started = 0.0
        self._hook = optimizer.register_step_post_hook(self._stepped)

    # ------------------------------------------------------------------ between batches

    def arrive(self, batch: Batch, seconds: float) -> None:
        """A batch was drawn: measure the last step with it as the fresh one, and prepare the next."""
        self._wait()
        started, paid = time.perf_counter(), self.schedule.measuring
        self._measure_last(batch)
        self._prepare(batch)
        self.schedule.earn(seconds)
        self._bill(started, paid)
        self._in_body, self._body_started = True, time.perf_counter()

    def leave(self) -> None:
        """The body has ended: note what the step did."""
        if not self._in_body:
            return
        self._in_body = False
        self._wait()
        started, paid = time.perf_counter(), self.schedule.measuring
        self.schedule.earn(started - self._body_started)
        self.tape.stop()
        with self._guarded("loss"):
            self._replay_loss()
        with self._guarded("step"):
            self._close_step() if self._events else self._keep_open()
        self._batch = None
        self._bill(started, paid)

    def pause(self) -> None:
        """The loop has ended: measure the last step without a fresh batch, and let go of the model."""
        self.leave()
        started, paid = time.perf_counter(), self.schedule.measuring
        self._measure_last(None)
        self.tape.detach()
        with self._guarded("record"):
            self.recorder.flush()
        self._bill(started, paid)

    def finish(self) -> None:
        """Take all hooks off and store the last parameters."""
        self.pause()
        self._hook.remove()
        with self._guarded("snapshot"):
            self.snapshot()

    def headline(self) -> str:
        """The last loss, and the share of time that measuring took."""
        share = self.schedule.measuring / self.schedule.training if self.schedule.training else 0.0
        return f"loss {self.recorder.last.get('loss', math.nan):.4g}, measuring {share:.1%}"

    # ------------------------------------------------------------------ one step

    def _prepare(self, batch: Batch) -> None:
        """Decide what is due for the step to come, and take what is needed from before it."""
        if self.start_point is None:
            self.start_point = self._params.point()
            with self._guarded("snapshot"):
                self.snapshot()
        with self._guarded("sample"):
            self.held.arrive(batch)
        if not self._own and self._before is None:
            self._due = frozenset(name for name in SHARES if self._is_due(name))
            if self._due & NEEDS_BEFORE:
                self._before = self._params.point()
        self._batch = self.held.copy(batch) if self._due & {"look", "progress"} else batch
        self._events, self._grad_norm = 0, None
        self.tape.attach()
        self.tape.start(with_state=bool(self._due & {"look", "progress"}))

    def _is_due(self, name: str) -> bool:
        if self._failures.get(name, 0) >= _MAX_FAILURES or (name == "validation" and self.validation is None):
            return False
        if name in ("progress", "layers", "curvature") and not self.held.is_complete:
            return False
        return (name == "loss" and is_landmark(self.step + 1)) or self.schedule.affords(name)

    def _stepped(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        """The optimizer has made a step; gradients are still there, parameters are new."""
        started, paid = time.perf_counter(), self.schedule.measuring
        self.step += 1
        self._events += 1
        self._rate = optimizer.param_groups[0].get("lr", math.nan)
        if "norms" in self._due:
            with self._guarded("norms"):
                gradients = [tensor.grad.detach() for tensor in self._params.tensors if tensor.grad is not None]
                dense = [g.to_dense() if g.layout != torch.strided else g for g in gradients]
                if dense:
                    norms = torch.stack([n.to(self._params.device).double() for n in torch._foreach_norm(dense)])
                    self._grad_norm = torch.linalg.vector_norm(norms)
        spent = time.perf_counter() - started
        self._body_started += spent
        self._bill(started, paid)

    def _replay_loss(self) -> None:
        """The loss of the user's own forward pass, from the tape."""
        if "loss" not in self._due and not self._due & {"look", "progress"}:
            return
        with self._measuring("loss"):
            try:
                value = self.tape.replay(self.bench.loss, self._batch)
            except EchoError as error:
                raise RuntimeError(f"the loss of each step cannot be read off the loop: {error}") from error
            if value is not None:
                self._losses.append(value)

    def _keep_open(self) -> None:
        """No step in this body: gradients are being accumulated, or the step was skipped."""
        gradients = [tensor.grad.detach() for tensor in self._params.tensors if tensor.grad is not None]
        dense = [g for g in gradients if g.layout == torch.strided]
        was_skipped = bool(dense) and not all(bool(torch.isfinite(n)) for n in torch._foreach_norm(dense))
        if was_skipped:
            self.tell("skipped_step", {"after": self.step, "reason": "a gradient is not finite"})
        if was_skipped or not gradients:
            self._own, self._losses = [], []
        elif self._due & {"look", "progress"} and len(self._own) < _ACCUMULATION_LIMIT:
            self._own.append(Repeat(self._batch, self.tape.state, self.tape.precision))

    def _close_step(self) -> None:
        """Write the cheap series of the step, and keep what the measurements need."""
        values: dict[str, float | Tensor] = {}
        if self._losses:
            values["loss"] = torch.stack(self._losses).mean()
        if self._due & {"loss", "norms"}:
            values["learning_rate"] = float(self._rate)
        if self._before is not None:
            self._own.append(Repeat(self._batch, self.tape.state, self.tape.precision))
            after = self._params.point()
            if "norms" in self._due:
                with self._measuring("norms"):
                    values |= self._norms(self._before, after)
            own = tuple(self._own) if self._events == 1 and self._due & {"look", "progress"} else ()
            norm = float(self._grad_norm) if self._grad_norm is not None and "curvature" in self._due else math.nan
            self._pending = (Taken(self.step, self._before, after, own, None, norm), self._due)
        if values:
            values["seconds_training"] = self.schedule.training
            values["seconds_measuring"] = self.schedule.measuring
        self.recorder.add(self.step, values)
        self._own, self._losses, self._before = [], [], None

    def _norms(self, before: Tensor, after: Tensor) -> dict[str, float | Tensor]:
        """Norms of gradient, update and parameters; cosine to the last update if that was the step before."""
        update = after - before
        length = torch.linalg.vector_norm(update, dtype=torch.float64)
        values: dict[str, float | Tensor] = {
            "update_norm": length,
            "param_norm": torch.linalg.vector_norm(before, dtype=torch.float64),
        }
        if self._grad_norm is not None:
            values["grad_norm"] = self._grad_norm
        if self._last_update is not None and self._last_update[0] == self.step - 1:
            previous = self._last_update[1]
            lengths = length * torch.linalg.vector_norm(previous, dtype=torch.float64)
            values["update_cosine"] = torch.dot(update.double(), previous.double()) / lengths
        self._last_update = (self.step, update)
        return values

    # ------------------------------------------------------------------ measurements

    def _measure_last(self, fresh: Batch | None) -> None:
        """Make the measurements that were due for the last step."""
        if self._pending is None:
            return
        taken, due = self._pending
        self._pending = None
        precision = self.tape.precision
        if "look" in due:
            kept = None if fresh is None else self.held.copy(fresh)
            seen = replace(taken, fresh=kept)
            self._record("look", taken.step, lambda: measure_look(self.bench, seen, precision))
        if "validation" in due and self.validation is not None:
            self._record("validation", taken.step, self._validate)
        if not due & {"progress", "layers", "curvature"} or not self._has_reference():
            return
        reference = self._reference
        assert reference is not None
        if "progress" in due:
            self._record("progress", taken.step, lambda: measure_progress(self.bench, taken, reference))
        if "curvature" in due:
            self._record("curvature", taken.step, lambda: measure_curvature(taken, reference, self._generator))
        if "layers" in due:
            self._record("layers", taken.step, lambda: self._layers(taken, reference))

    def _has_reference(self) -> bool:
        """Form the reference sample as soon as it is complete."""
        if self._reference is None and self.held.is_complete and self.held.reference:
            batches = regrouped(self.held.reference, self.bench.model, groups=4)
            self._reference = self.bench.objective(batches, self.tape.precision)
        return self._reference is not None

    def _layers(self, taken: Taken, reference: Objective) -> Mapping[str, float]:
        values, arrays, layers = measure_layers(self.bench, taken, reference)
        self.recorder.arrays(taken.step, arrays, {"unit_layers": list(layers)})
        return values

    def _validate(self) -> Mapping[str, float]:
        assert self.validation is not None
        loss = weighted_mean(*self.validation.batch_values())
        return {"validation_loss": loss.value, "validation_error": loss.error}

    def _record(self, name: str, step: int, measure: Callable[[], Mapping[str, float]]) -> None:
        """Make one measurement, bill it, and write it."""
        with self._guarded(name), self._measuring(name):
            values = measure()
            self.recorder.add(step, values)

    def snapshot(self) -> None:
        """Store the parameters as they are now."""
        self.recorder.snapshot(self.step, snapshot_arrays(self._params))

    # ------------------------------------------------------------------ cost and failure

    def _wait(self) -> None:
        """Let the device finish before a clock is read, where a measurement is due."""
        if self._params.device.type == "cuda" and self._due:
            torch.cuda.synchronize(self._params.device)

    @contextmanager
    def _measuring(self, name: str) -> Iterator[None]:
        """Bill what is measured inside."""
        started = time.perf_counter()
        try:
            yield
        finally:
            if self._params.device.type == "cuda":
                torch.cuda.synchronize(self._params.device)
            self.schedule.pay(name, time.perf_counter() - started)

    def _bill(self, started: float, paid: float) -> None:
        """Charge the book-keeping since ``started``, less what measurements have paid since."""
        rest = time.perf_counter() - started - (self.schedule.measuring - paid)
        self.schedule.charge(max(0.0, rest))

    @contextmanager
    def _guarded(self, name: str) -> Iterator[None]:
        """Turn the failure of a measurement into an event and one log line.

        It is never a warning: the user may have made warnings errors.
        """
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever a user's model or loss raises in a probe
            self._failures[name] = self._failures.get(name, 0) + 1
            detail = {"probe": name, "type": type(error).__name__, "message": str(error)[:500]}
            self.tell("probe_failed", detail)
            if self._failures[name] == 1:
                _LOG.warning("measurement %r failed and training goes on: %s", name, error)

    def tell(self, kind: str, detail: Mapping[str, Any]) -> None:
        """Write an event; a record that cannot be written any more does not stop the training."""
        try:
            self.recorder.event(kind, self.step, detail)
        except RunError as error:
            _LOG.warning("the record of the run cannot be written: %s", error)
