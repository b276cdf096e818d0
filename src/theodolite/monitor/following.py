"""What came of a plain step? Steps that a branch takes as the run would, each with its progress budget."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from theodolite.monitor.branch import Branch
from theodolite.monitor.ground import Ground
from theodolite.monitor.tape import Repeat
from theodolite.monitor.trail import Buffers
from theodolite.objective import Objective
from theodolite.probes.progress import progress
from theodolite.probes.whatifs import pooled, rescaled
from theodolite.records import Estimate, Passage, Passages, Progress, Run, Series
from theodolite.records.timeline import window_edges

_WARM, _MEASURED, _RESCALED = 8, 4, 3
"""Steps in which an optimizer that begins afresh finds its stride; steps that are measured, and also rescaled."""


@dataclass(frozen=True, eq=False)
class Followed:
    """One plain step on a branch.

    Attributes:
        theta: Where it was taken from.
        delta: Δθ.
        budget: Its progress budget, on examples that it was not made from.
        own_gain: What it gained on its own batch.
        judge: J of the examples that judge it.
        grad_norm: Norm of the gradient that it was made from.
    """

    theta: Tensor
    delta: Tensor
    budget: Progress
    own_gain: float
    judge: Objective
    grad_norm: float

    @property
    def made(self) -> tuple[Objective, Tensor, Tensor]:
        """Who judges it, from where it was taken, and the step."""
        return self.judge, self.theta, self.delta


def follow(ground: Ground, branch: Branch, item: Repeat, seed: int) -> Followed:
    """Take one plain step on a branch, and measure what came of it.

    Args:
        ground: Where the deep look stands: its examples judge the step.
        branch: The branch; it goes on by one step.
        item: The batch that the step is made from.
        seed: Pins the randomness of the step.

    Returns:
        The step.

    Cost: the step, and about five gradients of the judging examples.
    """
    judge = ground.judge_of(item)
    before = branch.params.point()
    state = branch.step([item], seed)
    after = branch.params.point()
    own: Objective = ground.bench.repeat((Repeat(item.batch, state, item.precision),))
    budget = progress(own, judge, before, after)
    norm = branch.stride.read()[1] if branch.stride is not None else math.nan
    return Followed(before, after - before, budget, own.value(before) - own.value(after), judge, norm)


def passages(ground: Ground, run: Run) -> Passages:
    """Take a few steps again in each window of the run but the last, from the kept point nearest to its middle.

    Args:
        ground: Where the run stands now.
        run: Its record: the learning rates that it had, and its snapshots.

    Returns:
        What came of them. Windows without a kept point, or for which no time is left, are missing.

    Raises:
        RunError: If a snapshot cannot be read.

    Cost: for each window eight plain steps, and the budgets of four and the rescaling of three.

    Limits: the optimizer begins afresh at each point, with eight steps to find its stride; the order of the batches is
    another one, and buffers are those of the nearest point whose buffers were kept.
    """
    rates, edges, found = run.series("learning_rate"), window_edges(ground.step), []
    places: dict[int, Callable[[], Tensor]] = {step: partial(_stored, ground, run, step) for step in run.snapshot_steps}
    points = ground.points if ground.points is not None and ground.points.steps else None
    if points is not None:
        places |= {
            step: partial(theta.to, ground.theta) for step, theta in zip(points.steps, points.thetas, strict=True)
        }
    for first, last in reversed(list(pairwise(edges[:-1]))):  # the latest first, should the time not suffice
        inside = [step for step in places if first <= step < last]
        if not inside or ground.clock.is_over:
            continue
        step = min(inside, key=lambda at: abs(at - (first + last) / 2))
        there = replace(ground, theta=places[step](), step=step, is_past=True)
        near = None if points is None else min(range(len(points.steps)), key=lambda k: abs(points.steps[k] - step))
        buffers = points.buffers[near] if points is not None and near is not None else {}
        found.append(_passed(there, buffers, _rate_at(rates, step)))
    return Passages(tuple(reversed(found)))


def _stored(ground: Ground, run: Run, step: int) -> Tensor:
    """θ of a snapshot."""
    kept = run.snapshot(step)
    return torch.cat([torch.from_numpy(kept[name]).flatten() for name in ground.bench.params.names]).to(ground.theta)


def _passed(there: Ground, buffers: dict[str, Tensor], rate: float) -> Passage:
    """A few plain steps from one point of the past."""
    branch, order = there.branch(), there.order(1)
    Buffers(branch.model).place(buffers)
    _set_rate(branch, rate)
    for index in range(_WARM):
        branch.step([next(order)], index)
    followed = [follow(there, branch, next(order), _WARM + index) for index in range(_MEASURED)]
    parts = {
        name: pooled([getattr(one.budget, name) for one in followed])
        for name in ("promise", "noise", "curvature", "higher_order")
    }
    slope = pooled([Estimate(one.budget.promise.value - one.budget.noise.value) for one in followed])
    uphill = float(np.mean([one.own_gain < 0 for one in followed]))
    longer = rescaled([one.made for one in followed[:_RESCALED]], slope)
    return Passage(there.step, **parts, own_uphill=uphill, rescaled=longer)


def _rate_at(rates: Series, step: int) -> float:
    """The learning rate recorded nearest to a step; NaN without any."""
    return float(rates.values[np.abs(rates.steps - step).argmin()]) if len(rates) else math.nan


def _set_rate(branch: Branch, rate: float) -> None:
    """Give a branch the learning rate of another time; groups keep their proportions."""
    now = float(branch.optimizer.param_groups[0].get("lr", math.nan))
    if math.isfinite(rate) and now > 0:
        branch.scale_step(rate / now)
    elif math.isfinite(rate):
        branch.set_rate(rate)
