"""What would help? Cures tried on branches of the run, beside the plain continuation, on the same batches."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from theodolite.monitor.branch import Branch
from theodolite.monitor.survey import Ground, Surveyed
from theodolite.records import Estimate, Remedy, Status, Trials

SEEDS = 3
"""Orders of the batches that each cure is tried on: the least that gives an error worth the name."""

_LARGER_BATCH = 8
_FEWEST_STEPS, _MOST_STEPS = 10, 200
_TIMED_STEPS = 4


@dataclass(frozen=True, eq=False)
class _Cure:
    """A change to a branch: what to do first, and how many batches a step takes."""

    name: str
    prepare: Callable[[Branch], None]
    batches: int = 1


def try_remedies(ground: Ground, surveyed: Surveyed, seconds: float) -> Trials:
    """Continue the run on branches under each cure, and plainly.

    Args:
        ground: Where the run stands.
        surveyed: The survey there.
        seconds: About how long the trials may take together; it sets their length.

    Returns:
        The cures by their gain, best first; empty if the loss is not finite here.

    Cost: (cures + 1) × seeds × steps training steps, and one look at the held examples for each branch.
    """
    if surveyed.record.status is Status.NONFINITE:
        return Trials()
    cures = _cures(ground, surveyed)
    steps = _affordable(ground, cures, seconds)
    base = ground.split.whole.value(ground.theta)
    plain = [_continued(ground, _Cure("plain", _nothing), steps, seed) for seed in range(SEEDS)]
    fallen = Estimate.mean_of([base - loss for loss in plain])
    remedies = []
    for cure in cures:
        losses = [_continued(ground, cure, steps, seed) for seed in range(SEEDS)]
        gain = Estimate.mean_of([control - loss for control, loss in zip(plain, losses, strict=True)])
        note = "" if gain.is_finite else "the loss is not finite on this branch or on the plain one"
        remedies.append(Remedy(cure.name, gain, fallen, steps, SEEDS, note))
    return Trials(tuple(sorted(remedies, key=lambda r: -r.gain.value if r.gain.is_finite else math.inf)))


def _cures(ground: Ground, surveyed: Surveyed) -> Sequence[_Cure]:
    """What is tried: steps of other lengths, a larger batch, and the way down that the survey has found."""
    cures = [_Cure(f"step × {factor:g}", _scaling(factor)) for factor in (0.1, 0.3, 3.0, 10.0, 100.0)]
    if len(ground.batches) > 1:
        cures.append(_Cure(f"batch × {_LARGER_BATCH}", _nothing, _LARGER_BATCH))
    if surveyed.escape is not None:
        cures.append(_Cure("move along negative curvature", _moving(surveyed.escape)))
    return cures


def _nothing(branch: Branch) -> None:
    """The plain continuation."""


def _scaling(factor: float) -> Callable[[Branch], None]:
    return lambda branch: branch.scale_step(factor)


def _moving(delta: Tensor) -> Callable[[Branch], None]:
    return lambda branch: branch.move(delta)


def _affordable(ground: Ground, cures: Sequence[_Cure], seconds: float) -> int:
    """How many steps each branch may take."""
    branch, order = ground.branch(), ground.order(0)
    branch.step(list(islice(order, 1)), 0)
    started = time.perf_counter()
    for index in range(_TIMED_STEPS):
        branch.step(list(islice(order, 1)), index)
    each = (time.perf_counter() - started) / _TIMED_STEPS
    work = SEEDS * (1 + sum(cure.batches for cure in cures)) * each
    wanted = min(_MOST_STEPS, max(_FEWEST_STEPS, ground.step // 5))
    return max(_FEWEST_STEPS, min(wanted, int(seconds / work) if work > 0 else wanted))


def _continued(ground: Ground, cure: _Cure, steps: int, seed: int) -> float:
    """J of the held examples after going on for some steps."""
    branch = ground.branch()
    cure.prepare(branch)
    order = ground.order(seed)
    for index in range(steps):
        branch.step(list(islice(order, cure.batches)), seed * 1_000_003 + index)
    theta = branch.params.point()
    return ground.split.whole.value(theta) if bool(torch.isfinite(theta).all()) else math.nan
