"""What does a cure gain over going on plainly: branches on the same batches, and the error of their difference."""

import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float

from theodolite.monitor.cures import PLAIN, Cure, LeftOut, reached
from theodolite.monitor.ground import Ground
from theodolite.probes.samples import rounding_of
from theodolite.records import Continuation, Estimate, Remedy

_LOG = logging.getLogger(__name__)

SEEDS = 3
"""Orders of the batches that each cure is tried on: the least that gives an error worth the name."""

_TIMED_STEPS = 4


@dataclass(frozen=True, eq=False)
class Pace:
    """What branches cost, in seconds: a step, and everything else of a branch; and how many orders are worth trying."""

    step: float
    branch: float
    seeds: int

    def cost(self, steps: float, branches: int) -> float:
        """Seconds of some steps on some branches."""
        return steps * self.step + branches * self.branch


@dataclass(frozen=True, eq=False)
class Went:
    """How a branch went on: J where it stands, and loss, gradient norm and update norm of each step."""

    value: float
    strides: Float[np.ndarray, "steps 3"]

    @property
    def average(self) -> float:
        """Mean loss of the own batches over the last half; not finite if the branch diverged."""
        losses = self.strides[len(self.strides) // 2 :, 0]
        return float(losses.mean()) if losses.size else math.nan


@dataclass(frozen=True, eq=False)
class Control:
    """What all cures are compared with.

    Attributes:
        ground: Where the run stands.
        pace: What branches cost.
        steps: How many steps a branch takes.
        deadline: When the trials must end.
        went: The plain continuations, by order of the batches.
        fallen: J here minus J there.
        rounding: Rounding error of a difference of J.
    """

    ground: Ground
    pace: Pace
    steps: int
    deadline: float
    went: tuple[Went, ...]
    fallen: Estimate
    rounding: float

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.deadline - time.perf_counter()

    @property
    def values(self) -> tuple[float, ...]:
        """J after each plain branch."""
        return tuple(one.value for one in self.went)

    def compared(self, cure: Cure, went: Sequence[Went], steps: int) -> Remedy:
        """A cure with its gain, at the end and on average."""
        found = self.remedy(cure, [one.value for one in went], steps)
        average = paired_gain([one.average for one in self.went], [one.average for one in went], self.rounding)
        return replace(found, average=average)

    def remedy(self, cure: Cure, values: Sequence[float], steps: int) -> Remedy:
        """A cure with its gain at the end."""
        gain = paired_gain(self.values, values, self.rounding)
        note = "; ".join(part for part in (cure.note, _divergence(self.values, values)) if part)
        return Remedy(cure.name, gain, self.fallen, steps, self.pace.seeds, note, ends=tuple(values))


def paired_gain(plain: Sequence[float], cured: Sequence[float], rounding: float) -> Estimate:
    """Mean difference between plain and cured branches on the same batches, with its standard error.

    Args:
        plain: J after each plain branch.
        cured: J after each branch under the cure, in the same order.
        rounding: Rounding error of a difference; the only error where there is one pair.

    Returns:
        The gain; −inf without an error if a cured branch is not finite where the plain one is, inf if only plain ones
        are not, NaN if none is finite.
    """
    differences = [
        p - c if math.isfinite(p) and math.isfinite(c) else -math.inf if math.isfinite(p) else math.inf
        for p, c in zip(plain, cured, strict=True)
        if math.isfinite(p) or math.isfinite(c)
    ]
    if not differences:
        return Estimate(math.nan, math.nan, 0)
    if not all(map(math.isfinite, differences)):
        return Estimate(-math.inf if -math.inf in differences else math.inf, math.nan, len(differences))
    mean = Estimate.mean_of(differences)
    return Estimate(mean.value, math.hypot(mean.error if mean.count > 1 else 0.0, rounding), mean.count)


def _divergence(plain: Sequence[float], cured: Sequence[float]) -> str:
    """Which branches diverged, in words."""
    lost, controls = (sum(not math.isfinite(value) for value in values) for values in (cured, plain))
    of = f" in {lost} of {len(cured)} orders" if len(cured) > 1 else ""
    parts = [f"diverged{of}"] if lost else []
    return "; ".join(parts + ([f"the plain continuation diverged in {controls} of {len(plain)}"] if controls else []))


def pace_of(ground: Ground) -> Pace:
    """Time some steps, and see whether two orders of the batches would differ at all.

    Args:
        ground: Where the run stands.

    Returns:
        What branches cost, and how many orders are worth trying.

    Cost: three branches and six steps.
    """
    branch = ground.branch()
    order = ground.order(0)
    branch.step(list(islice(order, 1)), 0)  # the first one is slower
    seeds = SEEDS
    if len(ground.batches) == 1:
        other = ground.branch()
        other.step(ground.batches, 1)
        seeds = 1 if torch.equal(branch.params.point(), other.params.point()) else SEEDS
    started = time.perf_counter()
    reached(ground, PLAIN, ground.branch())
    marks = [time.perf_counter()]
    for index in range(_TIMED_STEPS):
        branch.step(list(islice(order, 1)), index)
        marks.append(time.perf_counter())
    return Pace(float(np.median(np.diff(marks))), marks[0] - started, seeds)


def controlled(ground: Ground, pace: Pace, steps: int, deadline: float) -> tuple[Control, Continuation]:
    """The plain continuation, which also tells how long branches really take.

    Args:
        ground: Where the run stands.
        pace: What branches are expected to cost.
        steps: How many steps a branch takes.
        deadline: When the trials must end.

    Returns:
        What cures are compared with, and how the plain steps went.
    """
    base = ground.split.whole.value(ground.theta)
    started = time.perf_counter()
    went = [continued(ground, PLAIN, steps, seed) for seed in range(pace.seeds)]
    spent = time.perf_counter() - started - pace.seeds * pace.branch
    strides = np.stack([one.strides for one in went])
    made = int((~np.isnan(strides[..., 2])).sum())
    pace = replace(pace, step=max(0.0, spent) / made) if made else pace
    values = tuple(one.value for one in went)
    rounding = rounding_of(base, ground.theta.dtype)
    fallen = paired_gain([base] * len(values), values, rounding)
    control = Control(ground, pace, steps, deadline, tuple(went), fallen, rounding)
    return control, Continuation(strides[..., 0], strides[..., 1], strides[..., 2])


def continued(ground: Ground, cure: Cure, steps: int, seed: int) -> Went:
    """Go on for some steps, unless the loss ceases to be finite.

    Args:
        ground: Where the run stands.
        cure: What is changed.
        steps: How many steps.
        seed: Which order of the batches, and which randomness.

    Returns:
        J where the branch ends, and its steps.
    """
    branch = ground.branch()
    cure.prepare(branch, seed)
    change = cure.change
    changed = {} if change is None else {id(item): change(item) for item in ground.batches}
    order = ground.order(seed)
    strides = np.full((steps, 3), np.nan)
    for index in range(steps):
        items = [changed.get(id(item), item) for item in islice(order, cure.batches)]
        branch.step(items, seed * 1_000_003 + index)
        assert branch.stride is not None
        strides[index] = branch.stride.read()
        if not math.isfinite(strides[index, 0]):
            return Went(math.nan, strides)
    return Went(reached(ground, cure, branch), strides)


def tried(control: Control, candidates: Sequence[Cure], notes: list[str], steps: int | None = None) -> Iterator[Remedy]:
    """Each cure for which there is time.

    Args:
        control: What it is compared with.
        candidates: The cures.
        notes: What is left out is added here.
        steps: Steps of a branch; None takes as many as the control.

    Yields:
        The cures with their gains.
    """
    steps = control.steps if steps is None else steps
    seeds = control.pace.seeds
    for cure in candidates:
        if control.pace.cost(seeds * steps * cure.batches, seeds) > control.left:
            notes.append(str(LeftOut(cure.name, "the time was used up")))
            continue
        with failing_softly(cure.name, notes):
            yield control.compared(cure, [continued(control.ground, cure, steps, seed) for seed in range(seeds)], steps)


@contextmanager
def failing_softly(name: str, notes: list[str]) -> Iterator[None]:
    """If a cure fails, the others are tried all the same, and a note says so.

    Args:
        name: What is tried.
        notes: The note is added here.

    Yields:
        Nothing.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever a user's model raises on a branch
        _LOG.warning("%s could not be tried: %s", name, error)
        notes.append(f"{name}: could not be tried: {type(error).__name__}: {str(error)[:200]}")
