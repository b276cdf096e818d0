"""What happens between two batches: series are noted, due measurements are made, and the cost is kept."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from theodolite.diagnosis.evidence import history
from theodolite.monitor.attempts import Attempts
from theodolite.monitor.held import Held
from theodolite.monitor.keeping import Keeping
from theodolite.monitor.making import NOTHING_DUE, Making, fingerprint
from theodolite.monitor.measurements import (
    NEEDS_BATCH,
    NEEDS_BEFORE,
    NEEDS_REFERENCE,
    SHARES,
    Bench,
    Taken,
    gradient_norm,
    measure_curvature,
    measure_layers,
    measure_look,
    measure_progress,
    thawed,
    update_norms,
)
from theodolite.monitor.recorder import Recorder
from theodolite.monitor.replay import Reader
from theodolite.monitor.schedule import Schedule
from theodolite.monitor.tape import Precision, Tape
from theodolite.monitor.trail import Points
from theodolite.monitor.undisturbed import undisturbed
from theodolite.objective import Objective, Params
from theodolite.objective.data import Batch
from theodolite.objective.sources import LossFunction, unwrapped
from theodolite.probes.samples import kept, weighted_mean


class Observer:
    """Looks between the batches of a loop.

    Every measurement is billed, and its failure becomes an event and a line in the log, never an exception in the
    user's loop.
    """

    def __init__(  # noqa: PLR0913 - what Monitor was given
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: LossFunction,
        *,
        recorder: Recorder,
        keeping: Keeping,
        params: Params,
        budget: float | None,
        seed: int,
        validation: object = None,
        floor: float = 0.0,
    ) -> None:
        """Hook the optimizer; the model is hooked while a loop runs."""
        quiet = undisturbed(loss, unwrapped(model))
        self.bench = Bench(unwrapped(model), quiet, params, seed)
        self.optimizer = optimizer
        self.recorder, self.keeping = recorder, keeping
        self.schedule = Schedule(budget, SHARES)
        self.attempts = Attempts(self.schedule, self.tell, params.device)
        self.held = Held(params.device, seed)
        self.step = 0
        self.start_point: Tensor | None = None
        self.points = Points(params, self.bench.model)
        self.validation, self.floor = validation, floor
        self.tape = Tape(model)
        self._reader = Reader(self.tape, quiet, self.bench.repeat)
        has_check = validation is not None
        self._check = self.bench.checked(validation, lambda: self.tape.precision) if has_check else None
        if not has_check:
            self.schedule.leave_out("validation")
        self._params = params
        self._generator = torch.Generator(params.device).manual_seed(seed)
        self._reference: Objective | None = None
        self._making: Making | None = None
        self._pending: tuple[Taken, frozenset[str], Precision] | None = None
        self._last_update: tuple[int, Tensor, bool] | None = None
        self._batch: Batch | None = None
        self._is_read = self._in_body = self._is_over = False
        self._gradients: tuple[tuple[int, int], ...] = ()
        self._events = 0
        self._drawn_seconds = self._body_started = 0.0
        self._has_told_steps = False
        self._hooks = [
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        ]

    # ------------------------------------------------------------------ between batches

    def arrive(self, batch: Batch, seconds: float) -> None:
        """A batch was drawn: measure the last step with it as the fresh one, and prepare the next."""
        if self._is_over:
            return
        started, paid = time.perf_counter(), self.schedule.measuring
        try:
            if self._pending is not None:
                self._measure_last(batch)
            self._prepare(batch)
        except Exception as error:  # noqa: BLE001 - nothing of ours may end the user's loop
            self.attempts.failed("observer", error)
        self._in_body, self._events, self._drawn_seconds = True, 0, seconds
        self._body_started = self._bill(started, paid)

    def leave(self) -> None:
        """The body has ended: note what the step did."""
        if not self._in_body:
            return
        self._in_body = False
        making = self._making
        if making is NOTHING_DUE and self._events:
            self._making = None
            self.schedule.earn(self._drawn_seconds + time.perf_counter() - self._body_started)
            return
        if making is not None and making.due:
            self.attempts.wait()
        started, paid = time.perf_counter(), self.schedule.measuring
        self.schedule.earn(self._drawn_seconds + started - self._body_started - self.tape.spent)
        self.schedule.charge(self.tape.spent)
        self.tape.spent, paid = 0.0, self.schedule.measuring
        try:
            if self._events:
                self._close_step()
            else:
                self._keep_open()
        except Exception as error:  # noqa: BLE001 - nothing of ours may end the user's loop
            self._making = None
            self.attempts.failed("observer", error)
        self._bill(started, paid)

    def pause(self) -> None:
        """The loop has ended: measure the last step without a fresh batch, and let go of the model."""
        is_broken_off = self._in_body
        self.leave()
        if is_broken_off:
            self._making = None
        started, paid = time.perf_counter(), self.schedule.measuring
        try:
            self._measure_last(None)
            self.tape.stop()
            self.tape.forget()
            self.recorder.flush()
            self.recorder.account(self.step, self.schedule.account)
        except Exception as error:  # noqa: BLE001 - nothing of ours may end the user's loop
            self.attempts.failed("observer", error)
        self._bill(started, paid)

    def finish(self) -> None:
        """Take all hooks off and store the last parameters."""
        self.keep()
        self._is_over = True
        for hook in self._hooks:
            hook.remove()
        self.recorder.account(self.step, self.schedule.account, is_last=True)

    def keep(self) -> None:
        """Pause, and store the parameters as they are now, and what waits to be stored."""
        self.pause()
        self.attempts.make("snapshot", partial(self.keeping.end, self.step))

    def headline(self) -> str:
        """The last loss, what can be said of it so far, and the share of time that measuring took."""
        share = self.schedule.measuring / self.schedule.training if self.schedule.training else 0.0
        seen = history(self.recorder.losses, self.step, self.floor)
        if seen.nonfinite:
            verdict = f"not finite at step {seen.first_nonfinite}"
        elif seen.fallen.is_above(0.0):
            verdict = f"falling {seen.fallen.value:.0%} a doubling"
        elif math.isfinite(seen.fallen.error):
            verdict = "not falling"
        else:
            verdict = "too early to tell"
        return f"loss {self.recorder.last.get('loss', math.nan):.4g}, {verdict}, measuring {share:.1%}"

    def tell(self, kind: str, detail: Mapping[str, Any]) -> None:
        """Write an event."""
        self.recorder.event(kind, self.step, detail)

    # ------------------------------------------------------------------ one step

    def _prepare(self, batch: Batch) -> None:
        """Decide what is due for the step to come, and take what is needed from before it."""
        if self.start_point is None:
            self.start_point = self._params.point().cpu()
            self._snapshot()
        elif self.keeping.is_copy_due(self.step):
            self.keeping.copy(self.step)
        if self.step >= self.points.next:
            self.points.pass_by(self.step)
        self.held.arrive(batch)
        making = self._making
        if making is None:
            making = self._making = self._begin()
        self._is_read = False
        if making.due and making.due & NEEDS_BATCH:
            self._batch = self.held.copy(batch)
            self._gradients = fingerprint(self._params)
            self.tape.start()

    def _begin(self) -> Making:
        """Begin a step: what is due for it?"""
        step, last = self.step + 1, self._last_update
        lacks_second = last is not None and last[0] == self.step and not last[2]  # a cosine takes two updates in a row
        if not lacks_second and self.schedule.is_idle(step):
            return NOTHING_DUE
        due = set(self.schedule.affordable()) | set(self.schedule.landmarks(step))
        if lacks_second and self.schedule.is_in_credit("norms"):
            due.add("norms")
        due = {name for name in due if not self.attempts.is_given_up(name)}
        if self.schedule.affords("snapshot"):
            self._snapshot()
        due -= {"skips", "snapshot"} if self.held.is_complete else {"skips", "snapshot", *NEEDS_REFERENCE}
        if not due:
            return NOTHING_DUE
        return Making(frozenset(due), self._params.point() if due & NEEDS_BEFORE else None)

    def _before_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        """The optimizer is about to step; without a closure, the forward pass lies behind us, θ is still its own."""
        making = self._making
        if making is NOTHING_DUE or making is None or not self._in_body or self._is_read:
            return
        if any(part is not None for part in (*args[1:], *kwargs.values())):  # the first is the optimizer
            return
        started, paid = time.perf_counter(), self.schedule.measuring
        self._read(making, is_before_step=True)
        self._body_started += time.perf_counter() - started
        self._bill(started, paid)

    def _after_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        """The optimizer has made a step; gradients are still there, parameters are new."""
        self.step += 1
        self._events += 1
        making = self._making
        if making is NOTHING_DUE or making is None or not self._in_body:
            return
        started, paid = time.perf_counter(), self.schedule.measuring
        try:
            making.rate = float(optimizer.param_groups[0].get("lr", math.nan))
            if "norms" in making.due:
                making.grad_norm = gradient_norm(self._params)
        except Exception as error:  # noqa: BLE001 - nothing of ours may end the user's loop
            self.attempts.failed("norms", error)
        self._body_started += time.perf_counter() - started
        self._bill(started, paid)

    def _read(self, making: Making, *, is_before_step: bool) -> None:
        """Read the loss of this body's forward pass, once, and note the batch as one that the step is made from."""
        if self._is_read or not making.due & NEEDS_BATCH:
            return
        self._is_read = True
        self.tape.stop()
        reading = None
        if not self.attempts.is_given_up("loss"):
            is_kept = bool(making.due & {"look", "progress"})  # the loss may write to what it reads
            batch = kept(self._batch) if is_kept else self._batch
            read = partial(self._reader.read, batch, is_before_step=is_before_step)
            with thawed(self._params):
                reading = self.attempts.make("loss", read)
        making.take(self._batch, reading, self.tape.precision)
        self.tape.forget()
        self._batch = None

    def _keep_open(self) -> None:
        """No step in this body: gradients are being accumulated, the step was skipped, or nothing happened."""
        making = self._making
        if making is None or not (making.due or self.schedule.affords("skips")):
            return
        if self.attempts.make("skips", partial(_has_nonfinite_gradient, self._params)):
            self.tell("skipped_step", {"after": self.step, "reason": "a gradient is not finite"})
            self._making = None
        elif making.due & NEEDS_BATCH and fingerprint(self._params) not in ((), self._gradients):
            self._read(making, is_before_step=True)
        self.tape.stop()
        self.tape.forget()

    def _close_step(self) -> None:
        """Write the cheap series of the step, and keep what the measurements need."""
        making, self._making = self._making, None
        if making is None or not making.due:
            return
        self._read(making, is_before_step=False)
        values: dict[str, float | Tensor] = {}
        loss = making.loss
        if loss is not None:
            values["loss"] = loss[0]
        if making.due & {"loss", "norms"}:
            values["learning_rate"] = making.rate
        due, first = making.due, self.step - self._events + 1
        if self._events > 1:
            due -= {"norms", "look", "progress"}
            self._tell_several_steps()
        if making.before is not None and due & NEEDS_BEFORE:
            after = self._params.point()
            if "norms" in due:
                norms = self.attempts.make("norms", partial(self._norms, making.before, after, making.grad_norm))
                values |= norms or {}
            own = tuple(making.own) if making.is_known else ()
            norm = float(making.grad_norm) if making.grad_norm is not None and "curvature" in due else math.nan
            taken = Taken(self.step, making.before, after, own, None, norm)
            self._pending = (taken, due, self.tape.precision)
        elif "validation" in due:
            nowhere = self._params.point()
            self._pending = (Taken(self.step, nowhere, nowhere, (), None, math.nan), due, self.tape.precision)
        if values:
            values |= {"seconds_training": self.schedule.training, "seconds_measuring": self.schedule.measuring}
        self.recorder.add(first, values, doubt=loss[1] if loss is not None else None)

    def _tell_several_steps(self) -> None:
        if not self._has_told_steps:
            self._has_told_steps = True
            text = "several optimizer steps in one body of the loop: the loss of the first is recorded, no update"
            self.tell("note", {"text": text, "steps": self._events})

    def _norms(self, before: Tensor, after: Tensor, grad_norm: Tensor | None) -> dict[str, float | Tensor]:
        """Norms of gradient, update and parameters; cosine to the last update if that was the step before."""
        update, last = after - before, self._last_update
        follows = last is not None and last[0] == self.step - 1
        values: dict[str, float | Tensor] = {**update_norms(before, update, last[1] if last and follows else None)}
        if grad_norm is not None:
            values["grad_norm"] = grad_norm
        self._last_update = (self.step, update, follows)
        return values

    # ------------------------------------------------------------------ measurements

    def _measure_last(self, fresh: Batch | None) -> None:
        """Make the measurements that were due for the last step."""
        if self._pending is None:
            return
        (taken, due, precision), self._pending = self._pending, None
        with thawed(self._params):
            if "look" in due:
                seen = taken if fresh is None else replace(taken, fresh=self.held.copy(fresh))
                self._record("look", taken.step, partial(measure_look, self.bench, seen, precision))
            if "validation" in due:
                self._record("validation", taken.step, self._validate)
            reference = self._reference_sample(precision) if due & NEEDS_REFERENCE else None
            if reference is None:
                return
            if "progress" in due:
                self._record("progress", taken.step, partial(measure_progress, self.bench, taken, reference))
            if "curvature" in due:
                self._record("curvature", taken.step, partial(measure_curvature, taken, reference, self._generator))
            if "layers" in due:
                self._record("layers", taken.step, partial(self._layers, taken, reference))

    def _reference_sample(self, precision: Precision) -> Objective | None:
        """The reference sample, formed as soon as it is complete."""
        if self._reference is None and self.held.reference:
            batches = self.bench.grouped(self.held.reference, precision, groups=4)
            self._reference = self.bench.objective(batches, precision)
        return self._reference

    def _layers(self, taken: Taken, reference: Objective) -> Mapping[str, float]:
        values, arrays, layers = measure_layers(self.bench, taken, reference)
        self.recorder.arrays(taken.step, arrays, {"unit_layers": list(layers)})
        return values

    def _validate(self) -> Mapping[str, float]:
        assert self._check is not None
        loss = weighted_mean(*self._check.batch_values())
        return {"validation_loss": loss.value, "validation_error": loss.error}

    def _record(self, name: str, step: int, measure: Callable[[], Mapping[str, float]]) -> None:
        """Make one measurement and write it."""
        values = self.attempts.make(name, measure)
        if values:
            self.recorder.add(step, values)

    def _snapshot(self) -> None:
        """Store the parameters of one step, if any are due."""
        if self.keeping.is_due(self.step):
            self.attempts.make("snapshot", partial(self.keeping.write, self.step))

    def _bill(self, started: float, paid: float) -> float:
        """Charge the book-keeping since ``started``, less what measurements have paid since; the time it is now."""
        now = time.perf_counter()
        self.schedule.charge(max(0.0, now - started - (self.schedule.measuring - paid)))
        return now


def _has_nonfinite_gradient(params: Params) -> bool:
    """Whether a gradient is not finite; one transfer from an accelerator."""
    norm = gradient_norm(params)
    return norm is not None and not bool(torch.isfinite(norm))
