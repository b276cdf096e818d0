"""What is measured at the end of a run: the survey, remedies on branches, the line from start to end."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from theodolite.landscape import line
from theodolite.monitor.observer import Observer
from theodolite.monitor.remedies import try_remedies
from theodolite.monitor.survey import Clock, Ground, Surveyed, split_sample, survey
from theodolite.monitor.tape import Repeat
from theodolite.records import Survey

_SURVEY_SHARE, _REMEDY_SHARE = 0.5, 0.35


def deep_look(observer: Observer, seconds: float) -> Iterator[Any]:
    """Survey the point that a run has reached, try remedies there, and draw the line from its start.

    Args:
        observer: The watched run, between two batches.
        seconds: About how long all may take.

    Yields:
        A ``Survey``, ``Trials`` and a ``Line``; a part that fails is left out and told in the survey's notes.
    """
    started = time.perf_counter()
    clock = Clock(started + _SURVEY_SHARE * seconds)
    sample = observer.held.sample
    if not sample:
        yield Survey(observer.step, notes=("no batch has passed yet: nothing could be measured",))
        return
    precision, bench = observer.tape.precision, observer.bench
    split = split_sample(bench, sample, precision, is_whole=observer.held.is_whole)
    proposing = sample[0::2] if not split.is_exact else sample
    ground = Ground(
        bench=bench,
        optimizer=observer.optimizer,
        theta=bench.params.point(),
        step=observer.step,
        split=split,
        batches=tuple(Repeat(batch, None, precision) for batch in proposing),
        precision=precision,
        clock=clock,
    )
    found = Surveyed(Survey(observer.step))
    with clock.part("the survey"):
        found = survey(ground)
    with clock.part("remedies"):
        yield try_remedies(ground, found, _REMEDY_SHARE * seconds)
    start = observer.start_point
    if start is not None and observer.step > 0:
        with clock.part("the line from start to end"):
            yield line(split.second, start, ground.theta, points=33)
    yield replace(found.record, notes=tuple(clock.notes))
