"""What is measured at the end of a run: the survey, remedies on branches, the way the run came and what lies around."""

import copy
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from theodolite.landscape import line
from theodolite.monitor.following import passages
from theodolite.monitor.further import far_off
from theodolite.monitor.ground import Clock, Ground, split_sample
from theodolite.monitor.habits import Habits
from theodolite.monitor.measurements import Bench
from theodolite.monitor.observer import Observer
from theodolite.monitor.remedies import try_remedies
from theodolite.monitor.survey import COST, Surveyed, survey
from theodolite.monitor.tape import Precision, Repeat
from theodolite.monitor.trail import Buffers, trail
from theodolite.monitor.views import views
from theodolite.objective import Objective
from theodolite.objective.data import Batch, batches_of
from theodolite.records import Run, Status, Survey, Trail

_SURVEY_SHARE, _REMEDY_SHARE = 0.4, 0.45

_FEWEST_POINTS, _MOST_POINTS = 9, 33
_WAY_SHARE, _FEWEST_PLACES = 0.2, 5
"""Of the time of the survey, what the points of the way may take, and how many there are at least."""

_AGAIN_SHARE = 0.3
"""Of the time of the survey, what steps taken again at points of the past may take."""

_FEWEST_BATCHES = 8
"""Four batches propose and four judge: fewer would leave no error to speak of."""

_ON_ITS_WAY, _BLOWN_UP = 0.5, 1e3
"""A loss that stands half its size above that of the start is on its way to infinity, where a run ended there; and one
that stands a thousand times as high is as good as there."""

_SLOW, _FEW_GROUPS = 2, 2
"""Where the time allows a whole survey of not even two batches, passes are saved: two groups in each half."""

_VALIDATION_GROUPS = 16
"""The error of a validation loss comes from so many groups of its examples."""


@dataclass
class Looked:
    """What was found.

    Attributes:
        survey: The survey.
        records: All that is to be kept, in order; the survey comes last.
        ground: Where the look was made; None if nothing could be measured.
        escape: The move along the most negative curvature, if there is any.
    """

    survey: Survey
    records: list[Any] = field(default_factory=list)
    ground: Ground | None = None
    escape: Float[Tensor, "params"] | None = None


def deep_look(observer: Observer, run: Run, seconds: float) -> Looked:
    """Survey the point that a run has reached, try remedies there, and draw the line from its start.

    Where the loss has blown up, the point is the last one that was kept before.

    Args:
        observer: The watched run, between two batches.
        run: Its record so far.
        seconds: About how long all may take. The sample, and the number of products and steps, are cut to fit.

    Returns:
        A ``Trail``, ``Trials``, a ``Line``, ``Passages`` and a ``Survey``; a part that fails is left out and told in
        the survey's notes.
    """
    deadline = time.perf_counter() + seconds
    clock = Clock(deadline - (1 - _SURVEY_SHARE) * seconds)
    if not observer.held.sample:
        nothing = Survey(observer.step, notes=("no batch has passed yet: nothing could be measured",))
        return Looked(nothing, [nothing])
    looked = Looked(Survey(observer.step))
    with clock.part("the survey"):
        looked.ground = _ground(observer, clock, _SURVEY_SHARE * seconds, Habits.of(run))
        norms = run.series("grad_norm")
        _look(observer, looked.ground, looked, norms.values[norms.steps <= looked.ground.step], deadline=deadline)
        _look_back(looked, run, deadline)
    looked.survey = replace(looked.survey, notes=tuple(clock.notes))
    looked.records.append(looked.survey)
    return looked


def pictured(looked: Looked, obstacle: str, seconds: float) -> Iterator[Any]:
    """What the picture of an obstacle needs beside what was found.

    Args:
        looked: What was found.
        obstacle: The obstacle that it was taken for.
        seconds: About how long measuring may take.

    Yields:
        Planes, lines and layers; none where nothing could be measured.
    """
    if looked.ground is not None:
        yield from views(looked.ground, Surveyed(looked.survey, looked.escape), obstacle, seconds)


def _look(observer: Observer, ground: Ground, looked: Looked, norms: np.ndarray, *, deadline: float) -> None:
    """All parts of the look, in the order in which one needs the other."""
    clock, came = ground.clock, None
    found = survey(ground)
    looked.escape = found.escape
    with clock.part("the way that the run came"):
        came = _came(observer, ground)
        looked.records += [came] if came is not None else []
    looked.survey = replace(found.record, status=Status.NONFINITE) if ground.is_past else found.record
    with clock.part("what lies further off"):
        looked.survey = replace(looked.survey, **far_off(ground, came))
    with clock.part("remedies"):
        seconds = max(_REMEDY_SHARE * ground.seconds / _SURVEY_SHARE, 0.9 * (deadline - time.perf_counter()))
        looked.records.append(try_remedies(ground, found, seconds, grad_norms=norms))
    if ground.start is not None and ground.step > 0 and time.perf_counter() < deadline:
        with clock.part("the line from start to end"):
            looked.records.append(_path(ground, ground.start, deadline))


def _look_back(looked: Looked, run: Run, deadline: float) -> None:
    """Take steps again at points that the run came through, with a part of the survey's time, if it is left."""
    ground = looked.ground
    assert ground is not None
    most = min(deadline, time.perf_counter() + _AGAIN_SHARE * ground.seconds)
    clock = Clock(most, ground.clock.notes)
    with ground.clock.part("steps taken again"):
        again = passages(replace(ground, clock=clock), run)
        looked.records += [again] if again.points else []


def _path(ground: Ground, start: Tensor, deadline: float) -> Any:
    """The line from the start of the run, with as many points as the time allows."""
    started = time.perf_counter()
    ground.split.whole.value(ground.theta)
    left = (deadline - started) / max(time.perf_counter() - started, 1e-9)
    return line(ground.split.whole, start, ground.theta, points=int(min(_MOST_POINTS, max(_FEWEST_POINTS, left))))


def _came(observer: Observer, ground: Ground) -> Trail | None:
    """What stands at the points that the run came through."""
    most = ground.affordable(_WAY_SHARE, _FEWEST_PLACES)
    if observer.validation is None:
        return trail(observer.points, ground.split.whole, ground.theta, ground.step, most=most)
    model = copy.deepcopy(ground.bench.model)  # its buffers are set to what they were at each point
    bench = replace(ground.bench, model=model.eval())
    batches = bench.grouped(list(batches_of(observer.validation)()), ground.precision, groups=_VALIDATION_GROUPS)
    check = bench.checked(batches, lambda: ground.precision)
    return trail(
        observer.points,
        ground.split.whole,
        ground.theta,
        ground.step,
        validation=check,
        buffers=Buffers(model),
        most=most,
    )


def _ground(observer: Observer, clock: Clock, seconds: float, habits: Habits) -> Ground:
    """Where the run stands, with as many of the held examples as the time allows."""
    precision, bench = observer.tape.precision, observer.bench
    held, whole = observer.held.sample, observer.held.is_whole
    each = _seconds_of_a_gradient(bench.objective(held[:1], precision))
    affordable = int(2 * seconds / (COST * each))
    fewest = _FEWEST_BATCHES if affordable >= _SLOW else _FEWEST_BATCHES // 2
    kept, each = _sampled(bench, held, precision, most=2 * seconds / COST, kept=min(len(held), max(affordable, fewest)))
    sample = held[:kept]
    if kept < len(held):
        whole = False
        clock.notes.append(f"{kept} of {len(held)} held batches were used: more would have taken too long")
    elif kept > 1 and _are_alike(bench, sample, precision, observer.start_point):
        sample, whole = sample[:1], True
    groups = None if affordable >= _SLOW else _FEW_GROUPS
    split = split_sample(bench, sample, precision, is_whole=whole, groups=groups)
    share = 2 * seconds / (COST * each)
    ground = Ground(
        bench=bench,
        optimizer=observer.optimizer,
        theta=bench.params.point(),
        step=observer.step,
        split=split,
        batches=tuple(Repeat(batch, None, precision) for batch in sample),
        precision=precision,
        clock=clock,
        seconds=seconds,
        effort=min(1.0, share),
        floor=observer.floor,
        start=None if observer.start_point is None else observer.start_point.to(bench.params.device),
        points=observer.points,
        groups=groups,
        clip=habits.clip,
        rate=habits.rate,
        greatest_rate=habits.greatest_rate,
    )
    return _before_blow_up(ground)


def _sampled(bench: Bench, held: Sequence[Batch], precision: Precision, *, most: float, kept: int) -> tuple[int, float]:
    """How many of the held batches are used: small ones cost next to nothing together, where they may be merged.

    Args:
        bench: The model with its loss.
        held: All that there are.
        precision: Autocast state of the run.
        most: Seconds that a gradient of J over all that are used may take.
        kept: At least so many.

    Returns:
        Their number, and the seconds that a gradient of J over them takes.

    Cost: a few gradients over what is used.
    """
    while True:
        each = _seconds_of_a_gradient(bench.objective(bench.grouped(held[:kept], precision), precision))
        if kept == len(held) or 2 * each > most:
            return kept, each
        kept = min(len(held), 2 * kept)


def _seconds_of_a_gradient(objective: Objective) -> float:
    """How long a gradient of J takes: the first is slower, and the less of two others is free of hiccups."""
    objective.gradient()
    marks = [time.perf_counter()]
    for _ in range(2):
        objective.gradient()
        marks.append(time.perf_counter())
    return max(float(np.diff(marks).min()), 1e-9)


def _are_alike(bench: Bench, sample: Sequence[Batch], precision: Precision, start: Tensor | None) -> bool:
    """Whether all batches have exactly the same loss, here and at the start of the run: one then stands for all.

    A function of the parameters alone is trained on batches that do not matter. Two are looked at before all are.

    Args:
        bench: The model with its loss.
        sample: The batches.
        precision: Autocast state of the run.
        start: θ at the start.

    Returns:
        The answer; False where the start is not known.
    """
    if start is None:
        return False
    for some in (sample[:2], sample):
        objective = bench.objective(list(some), precision)
        for at in (None, start.to(objective.device)):
            _, values = objective.batch_values(at)
            if not bool((values == values[0]).all()):
                return False
    return True


def _before_blow_up(ground: Ground) -> Ground:
    """The last point that was kept before J blew up, with a loss not far above the first; else the present one."""
    kept, now = ground.points, ground.split.whole.value(ground.theta)
    places = list(zip(kept.steps, kept.thetas, strict=True)) if kept is not None else []
    first = ground.split.whole.value(places[0][1].to(ground.theta)) if places else math.nan
    if math.isfinite(now) and not now - first > _BLOWN_UP * max(abs(first), abs(first - ground.floor)):
        return ground
    for step, theta in reversed(places):
        place = theta.to(ground.theta)
        loss = ground.split.whole.value(place)
        if loss <= first + _ON_ITS_WAY * abs(first):
            how = "in numbers that are not finite" if not math.isfinite(now) else f"at a loss of {now:.3g}"
            ground.clock.notes.append(f"the run has ended {how}: surveyed at step {step}")
            return replace(ground, theta=place, step=step, is_past=True)
    return ground
