"""What is seen while training, without touching it: the monitor's lifetime, from the first batch to the diagnosis."""

import math
import sys
import time
import weakref
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn

from theodolite.diagnosis import diagnose
from theodolite.errors import RunError, SettingError
from theodolite.monitor.deep import deep_look, pictured
from theodolite.monitor.facts import describe
from theodolite.monitor.keeping import SNAPSHOT_BYTES, Keeping, check_keeping
from theodolite.monitor.loop import Watched
from theodolite.monitor.observer import Observer
from theodolite.monitor.recorder import Recorder
from theodolite.monitor.tape import measuring
from theodolite.monitor.zeroing import KEPT, Zeroing
from theodolite.objective import Params, trainable
from theodolite.objective.data import Batch, batches_of
from theodolite.objective.sources import LossFunction, unwrapped
from theodolite.records import Diagnosis, Run, RunWriter, Survey

_LOOK_SHARE = 0.85
"""Of the time for a diagnosis, what finding out takes; the rest is for the picture."""


class Monitor:
    """Watches a training and keeps its record, leaving parameters, optimizer and random states as they are, to the bit.

    Example:
        >>> monitor = Monitor(model, optimizer, loss, run="runs/first")  # doctest: +SKIP
        >>> for batch in monitor(batches):  # doctest: +SKIP
        ...     optimizer.zero_grad()
        ...     loss(model, batch).backward()
        ...     optimizer.step()
        >>> print(monitor.diagnose())  # doctest: +SKIP
    """

    def __init__(  # noqa: PLR0913 - the public contract
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: LossFunction,
        *,
        run: str | Path | None = None,
        validation: object = None,
        floor: float = 0.0,
        budget: float | None = 0.05,
        seed: int = 0,
        snapshots: float = SNAPSHOT_BYTES,
        snapshot_dtype: str | None = None,
    ) -> None:
        """Open the run.

        Args:
            model: Any module.
            optimizer: The optimizer that steps it.
            loss: ``loss(model, batch)`` gives the mean loss of a batch of the loop, as a scalar tensor.
            run: Folder of the record; a run that is there already is moved aside. None: ``runs/<date>_<time>``.
            validation: One batch or a re-iterable of batches whose loss is recorded now and then.
            floor: The least value that the loss can have, as far as known.
            budget: Share of training time that measuring may take; None: everything is measured at every step.
            seed: Seed of what the monitor chooses at random; never touches the global generators.
            snapshots: Bytes that parameters kept on the way may take on the disk, 0 for none. They are kept at the
                start, at the end, and about eight times while the number of steps doubles; where that is too much, as
                evenly in the logarithm of the step.
            snapshot_dtype: "bfloat16" rounds what is kept and halves it; None keeps it to the bit.

        Raises:
            SettingError: If the optimizer is not one torch optimizer that steps parameters of the model, or a setting
                is out of range.
            DataError: If ``validation`` can be read only once, or is empty.
            RunError: If the folder cannot hold a run.
        """
        _check(model, optimizer, loss, budget=budget, floor=floor)
        check_keeping(snapshots, snapshot_dtype)
        inner = unwrapped(model)
        stepped = {id(tensor) for group in optimizer.param_groups for tensor in group["params"]}
        names = [name for name, tensor in inner.named_parameters() if tensor.requires_grad and id(tensor) in stepped]
        if not names:
            raise SettingError(
                f"the optimizer must step trainable parameters of the model, but {type(optimizer).__name__} holds none "
                f"of those of {type(model).__name__}. Build it from model.parameters(), after moving the model."
            )
        params = trainable(inner, names)
        facts = describe(inner, optimizer, params)
        facts |= {"floor": float(floor), "budget": budget, "seed": seed, "validated": validation is not None}
        facts |= {"snapshot_bytes": snapshots, "snapshot_dtype": snapshot_dtype}
        if validation is not None:
            batches_of(validation)  # what cannot be validated on is told before a folder is made
        folder = Path(run) if run is not None else Path("runs") / time.strftime("%Y-%m-%d_%H%M%S")
        self._writer = RunWriter(folder, metadata=facts)
        self._recorder = Recorder(self._writer)
        keeping = Keeping(self._writer, params, limit=snapshots, dtype=snapshot_dtype)
        self._observer = Observer(
            model,
            optimizer,
            loss,
            recorder=self._recorder,
            keeping=keeping,
            params=params,
            budget=budget,
            seed=seed,
            validation=validation,
            floor=floor,
        )
        told = {"text": KEPT, "gradients_kept": True}
        kept = partial(self._observer.tell, "note", told)
        self._zeroing = Zeroing(optimizer, params, kept=kept, charge=self._observer.schedule.charge)
        self._recorder.event("start", 0, {})
        self._tell_left_out(inner, params)
        self._ending = weakref.finalize(self._observer, _end, self._recorder, keeping)
        self._is_open = True

    def _tell_left_out(self, model: nn.Module, params: Params) -> None:
        """Note trainable parameters that the optimizer does not step: they are no part of θ."""
        every, stepped = (sum(t.numel() for t in ts if t.requires_grad) for ts in (model.parameters(), params.tensors))
        if stepped < every:
            text = f"the optimizer steps {stepped:,} of {every:,} trainable parameters: the others stay as they are"
            self._observer.tell("note", {"text": text})

    @property
    def run(self) -> Path:
        """Folder of the record."""
        return self._writer.path

    @property
    def overhead(self) -> float:
        """Share of the training time that measuring has taken so far; NaN before the first step."""
        schedule = self._observer.schedule
        return schedule.measuring / schedule.training if schedule.training > 0 else math.nan

    def __repr__(self) -> str:
        """Run folder and steps so far."""
        return f"Monitor(run={str(self.run)!r}, steps={self._observer.step})"

    def __call__(self, batches: Iterable[Batch]) -> Watched:
        """Watch a loop over batches; call again for each epoch, the steps go on counting.

        Args:
            batches: Any iterable of batches; it is asked for the next one exactly when the loop asks.

        Returns:
            An iterable of the same batches, with their length if they have one.

        Raises:
            RunError: If the monitor was closed.
        """
        if not self._is_open:
            raise RunError(
                f"a monitor must be open to watch a loop, but the one of {self.run} was closed. Make a new Monitor."
            )
        return Watched(self._observer, batches)

    def diagnose(self, *, seconds: float = 60.0) -> Diagnosis:
        """Survey the point that the training has reached, try remedies on branches, and judge.

        The training itself is untouched and may go on afterwards.

        Args:
            seconds: About how long surveying and trying may take; what was left out for lack of time is noted.

        Returns:
            The diagnosis; it is also stored in the run.

        Raises:
            RunError: If the monitor was closed.
        """
        if not self._is_open:
            raise RunError(
                f"a monitor must be open for a deep diagnosis, but the one of {self.run} was closed. Judge its record "
                f"with diagnose(Run({str(self.run)!r}))."
            )
        self._observer.keep()
        self._recorder.account(self._observer.step, self._observer.schedule.account, is_last=True)
        self._writer.commit()
        with measuring():
            looked = deep_look(self._observer, Run(self.run), _LOOK_SHARE * seconds)
        for record in looked.records:
            self._writer.result(record, self._observer.step)
            if isinstance(record, Survey) and self._observer.step > 0:
                self._writer.scalars(self._observer.step, record.scalars())
        self._writer.commit()
        diagnosis = diagnose(Run(self.run))
        self._writer.result(diagnosis, self._observer.step)
        with measuring():
            for view in pictured(looked, diagnosis.obstacle, (1 - _LOOK_SHARE) * seconds):
                self._writer.result(view, self._observer.step)
        self._writer.commit()
        return diagnosis

    def close(self) -> None:
        """End the record: take all hooks off, store the last parameters. Closing twice does nothing."""
        if not self._is_open:
            return
        self._is_open = False
        self._zeroing.stop()
        self._observer.finish()
        self._recorder.event("stop", self._observer.step, {})
        self._ending()

    def __enter__(self) -> Self:
        """The monitor itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; an exception that ended the training becomes an event and goes on."""
        if error is not None and self._is_open:
            self._observer.tell("exception", {"type": type(error).__name__, "message": str(error)[:500]})
        self.close()


def _end(recorder: Recorder, keeping: Keeping) -> None:
    """Close a record that nobody closed: as complete, unless an exception has ended the program."""
    recorder.flush()
    with suppress(RunError, OSError):  # what was written before stays readable
        keeping.write_all()
    if not recorder.has_stopped and getattr(sys, "last_value", None) is None:
        recorder.event("stop", recorder.step, {})
    recorder.close()


def _check(model: Any, optimizer: Any, loss: Any, *, budget: float | None, floor: float) -> None:
    """Refuse what cannot be watched."""
    if not isinstance(model, nn.Module):
        raise SettingError(f"model must be a torch.nn.Module, got a {type(model).__name__}. Pass the model itself.")
    if not isinstance(optimizer, torch.optim.Optimizer):
        what = f"a {type(optimizer).__name__}" + (
            f" of {len(optimizer)}" if isinstance(optimizer, (list, tuple)) else ""
        )
        raise SettingError(
            f"optimizer must be one torch.optim.Optimizer, got {what}. With several optimizers, watch each model with "
            "its own Monitor and run folder."
        )
    if not callable(loss):
        raise SettingError(f"loss must be callable as loss(model, batch), got a {type(loss).__name__}.")
    if budget is not None and not (isinstance(budget, (int, float)) and 0.0 < budget <= 1.0):
        raise SettingError(
            f"budget must be a share of the training time in (0, 1], or None to measure everything, got {budget!r}."
        )
    if not math.isfinite(floor):
        raise SettingError(f"floor must be a finite loss, got {floor}. Leave it out if the least loss is unknown.")
