"""What is measured at the end of a run: the survey, remedies on branches, the line from start to end."""

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from torch import Tensor

from theodolite.landscape import line
from theodolite.monitor.observer import Observer
from theodolite.monitor.remedies import try_remedies
from theodolite.monitor.survey import COST, Clock, Ground, Surveyed, split_sample, survey
from theodolite.monitor.tape import Repeat
from theodolite.records import Line, Survey, Trials

_SURVEY_SHARE, _REMEDY_SHARE = 0.5, 0.35

_FEWEST_POINTS, _MOST_POINTS = 9, 33
_FEWEST_BATCHES = 8
"""Four batches propose and four judge: fewer would leave no error to speak of."""


def deep_look(observer: Observer, seconds: float) -> Iterator[Any]:
    """Survey the point that a run has reached, try remedies there, and draw the line from its start.

    Args:
        observer: The watched run, between two batches.
        seconds: About how long all may take. The sample, and the number of products and steps, are cut to fit.

    Yields:
        ``Trials``, a ``Line`` and a ``Survey``; a part that fails is left out and told in the survey's notes.
    """
    deadline = time.perf_counter() + seconds
    clock = Clock(deadline - (1 - _SURVEY_SHARE) * seconds)
    if not observer.held.sample:
        yield Survey(observer.step, notes=("no batch has passed yet: nothing could be measured",))
        return
    found, trials, path = Surveyed(Survey(observer.step)), Trials(), None
    with clock.part("the survey"):
        ground = _ground(observer, clock, _SURVEY_SHARE * seconds)
        found = survey(ground)
        with clock.part("remedies"):
            trials = try_remedies(ground, found, _REMEDY_SHARE * seconds)
        if observer.start_point is not None and observer.step > 0:
            with clock.part("the line from start to end"):
                path = _path(ground, observer.start_point, deadline)
    yield trials
    if path is not None:
        yield path
    yield replace(found.record, notes=tuple(clock.notes))


def _path(ground: Ground, start: Tensor, deadline: float) -> Line:
    """The line from the start of the run, with as many points as the time allows."""
    started = time.perf_counter()
    ground.split.whole.value()
    left = (deadline - started) / max(time.perf_counter() - started, 1e-9)
    return line(ground.split.whole, start, ground.theta, points=int(min(_MOST_POINTS, max(_FEWEST_POINTS, left))))


def _ground(observer: Observer, clock: Clock, seconds: float) -> Ground:
    """Where the run stands, with as many of the held examples as the time allows."""
    sample, whole = observer.held.sample, observer.held.is_whole
    precision, bench = observer.tape.precision, observer.bench
    split = split_sample(bench, sample, precision, is_whole=whole)
    split.first.gradient()  # the first one is slower
    started = time.perf_counter()
    split.first.gradient()
    share = seconds / (COST * (time.perf_counter() - started))
    kept = max(_FEWEST_BATCHES, math.ceil(share * len(sample)))
    if kept < len(sample):
        clock.notes.append(f"{kept} of {len(sample)} held batches were used: more would have taken too long")
        split = split_sample(bench, sample[:kept], precision, is_whole=False)
        share *= len(sample) / kept
    return Ground(
        bench=bench,
        optimizer=observer.optimizer,
        theta=bench.params.point(),
        step=observer.step,
        split=split,
        batches=tuple(Repeat(batch, None, precision) for batch in sample),
        precision=precision,
        clock=clock,
        effort=min(1.0, share),
    )
