"""What is there to be found where the training stands now? The deep probe at the end of a run."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theodolite.linalg import extreme_eigenvalues, hessian, krylov_space, saddle_free_step
from theodolite.monitor.branch import Branch
from theodolite.monitor.measurements import Bench
from theodolite.monitor.tape import Precision, Repeat
from theodolite.objective import Objective, Params, count_examples
from theodolite.objective.data import Batch
from theodolite.probes.noise import noise_scale
from theodolite.probes.progress import progress
from theodolite.probes.samples import regrouped, weighted_mean
from theodolite.probes.units import dead_units, layer_norms
from theodolite.probes.whatifs import Split, best_along, gain, pooled, ratio, rescaled, unit
from theodolite.records import Estimate, Progress, Status, Survey, WhatIf

_LOG = logging.getLogger(__name__)

_PLAIN_STEPS, _FEWEST_STEPS = 16, 3
"""Plain steps that are followed on a branch."""

_RESCALED_STEPS = 4
_EIGEN_PRODUCTS, _FEWEST_EIGEN = 80, 12
_KRYLOV_PRODUCTS, _FEWEST_KRYLOV = 20, 6

_SEVERED = 0.95
"""A layer with so many dead units hands on next to nothing."""

COST = 700.0
"""A whole survey takes about so many gradients of one half of the sample: 100 products, 32 budgets, 180 evaluations."""

_FAR = 3.0
"""Flat means flat over three times the reach: within a tenth of the weights even a wide bowl looks flat."""

_REACH = 0.1
"""Moves are scaled by a tenth of the weights, or of what weights usually are where they are nearly zero."""

_GRADIENT_BYTES = 512 * 2**20


@dataclass
class Clock:
    """How much time is left, and what was left out for lack of it or because it failed."""

    deadline: float
    notes: list[str] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        """Whether the time is used up."""
        return time.perf_counter() > self.deadline

    @contextmanager
    def part(self, what: str) -> Iterator[None]:
        """A part of the survey: if it fails, the survey goes on, and says so."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever a user's model raises in a probe
            _LOG.warning("%s could not be measured: %s", what, error)
            self.notes.append(f"{what} could not be measured: {type(error).__name__}: {str(error)[:200]}")


@dataclass(frozen=True, eq=False)
class Ground:
    """Where the survey stands, and on what.

    Attributes:
        bench: The model with its loss.
        optimizer: The optimizer of the run.
        theta: The point, shape (n,).
        step: The optimizer step.
        split: The held examples in two halves.
        batches: The held batches as the run sees them.
        precision: Autocast state of the run.
        clock: Time that is left.
        effort: Share of the whole survey that the time is expected to allow, in (0, 1].
    """

    bench: Bench
    optimizer: torch.optim.Optimizer
    theta: Float[Tensor, "params"]
    step: int
    split: Split
    batches: tuple[Repeat, ...]
    precision: Precision
    clock: Clock
    effort: float = 1.0

    def spend(self, whole: int, fewest: int) -> int:
        """How many of something the time allows."""
        return max(fewest, round(self.effort * whole))

    def generator(self) -> torch.Generator:
        """A fresh source of randomness, the same at each call."""
        return torch.Generator(self.theta.device).manual_seed(self.bench.seed)

    def branch(self) -> Branch:
        """A copy of the training as it stands."""
        return Branch(self.bench.model, self.optimizer, self.bench.loss, self.bench.params.names)

    def judge_of(self, item: Repeat) -> Objective:
        """The half of the sample that does not hold a batch; all of it where the run has one batch only."""
        if self.split.is_exact:
            return self.split.whole
        place = next(index for index, other in enumerate(self.batches) if other is item)
        return self.split.second if place % 2 == 0 else self.split.first

    def order(self, seed: int) -> Iterator[Repeat]:
        """The run's batches without end, in a random order."""
        source = np.random.default_rng((self.bench.seed, seed))
        while True:
            for index in source.permutation(len(self.batches)):
                yield self.batches[index]


def split_sample(bench: Bench, sample: Sequence[Batch], precision: Precision, *, is_whole: bool) -> Split:
    """Held batches as a proposing and a judging half.

    Args:
        bench: The model with its loss.
        sample: Batches as the run saw them.
        precision: Autocast state of the run.
        is_whole: Whether the sample is all that the run has seen.

    Returns:
        The halves; both are the same where the run has a single batch.
    """
    if len(sample) == 1 and is_whole:
        whole = bench.objective(list(sample), precision)
        return Split(whole, whole, whole, True)
    batches = list(sample) if len(sample) > 1 else regrouped(sample, bench.model, groups=2)
    halves = (batches[0::2], batches[1::2] or batches)
    groups = [regrouped(half, bench.model) for half in halves]
    first, second, whole = (bench.objective(part, precision) for part in (*groups, [*groups[0], *groups[1]]))
    return Split(first, second, whole, False)


@dataclass(frozen=True, eq=False)
class Surveyed:
    """A survey, and the move along the most negative curvature that it found, if any."""

    record: Survey
    escape: Float[Tensor, "params"] | None = None


def survey(ground: Ground) -> Surveyed:
    """Measure everything local at one point.

    Args:
        ground: Where, and on what.

    Returns:
        The survey; what could not be measured is missing in it and told in its notes.
    """
    split, theta = ground.split, ground.theta
    loss = weighted_mean(*split.whole.batch_values(theta))
    gradient = split.first.gradient(theta)
    examples = sum(count_examples(item.batch) for item in ground.batches)
    found = Survey(
        step=ground.step,
        examples=examples,
        loss=loss,
        param_norm=float(theta.double().norm()),
        grad_norm=float(gradient.double().norm()),
        batch=examples / len(ground.batches),
    )
    if not (loss.is_finite and math.isfinite(found.grad_norm)):
        return Surveyed(replace(found, status=Status.NONFINITE))
    clock = ground.clock
    parts = _attempt(clock, "plain steps on a branch", lambda: _plain_steps(ground))
    parts |= _attempt(clock, "curvature and moves", lambda: _moves(ground, gradient))
    lowest, length = parts.pop("lowest", None), parts.pop("escape_length", 0.0)
    parts |= _attempt(clock, "gradient noise", lambda: _noise(ground, gradient))
    parts |= _attempt(clock, "hidden units and layers", lambda: _units(ground, gradient, lowest))
    escape = length * lowest if lowest is not None and length > 0 else None
    return Surveyed(replace(found, **parts, notes=tuple(ground.clock.notes)), escape)


def _attempt(clock: Clock, what: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Some parts of a survey; none if the time is used up, or if measuring fails."""
    if clock.is_over:
        clock.notes.append(f"{what}: left out, the time was used up")
        return {}
    with clock.part(what):
        return measure()
    return {}


def _moves(ground: Ground, gradient: Tensor) -> dict[str, Any]:
    """Ends of the spectrum, and the moves that gradient and curvature propose."""
    split, theta = ground.split, ground.theta
    products = min(ground.spend(_KRYLOV_PRODUCTS, _FEWEST_KRYLOV), gradient.numel())
    reach = _REACH * max(float(theta.double().norm()), _usual_norm(ground.bench.params))
    with hessian(split.first, theta) as op:
        ends = extreme_eigenvalues(
            op, rtol=1e-2, max_products=ground.spend(_EIGEN_PRODUCTS, _FEWEST_EIGEN), generator=ground.generator()
        )
        downhill = unit(-gradient)
        space = None if downhill is None else krylov_space(op, gradient, products)
        corrected = None if space is None else unit(saddle_free_step(space))
        bent = {name: op @ move for name, move in (("g", downhill), ("c", corrected)) if move is not None}
    top, bottom = float(ends.largest.values[0]), float(ends.smallest.values[0])
    far = _FAR * reach
    parts: dict[str, Any] = {
        "largest": Estimate(top, float(ends.largest.residuals[0])),
        "smallest": Estimate(bottom, float(ends.smallest.residuals[0])),
        "flatness": float(gradient.double().norm()) * far + max(abs(top), abs(bottom)) * far**2 / 2,
    }
    moves: list[WhatIf] = []
    for name, key, move in (("noise-free gradient", "g", downhill), ("curvature-corrected", "c", corrected)):
        if move is not None:
            model = (float(gradient.double() @ move.double()), float(move.double() @ bent[key].double()))
            moves.append(best_along(split, theta, move, name=name, model=model, reach=reach))
            if key == "g":
                parts["gradient_curvature"] = model[1]
    if bottom < 0:
        lowest = torch.as_tensor(ends.smallest.vectors[:, 0]).to(theta)
        lowest = -lowest if float(gradient.double() @ lowest.double()) > 0 else lowest
        moves += _escapes(ground, gradient, lowest, bottom=bottom, reach=reach)
        length = moves[-2].length
        parts["escape"] = float(gradient.double().norm()) / (-bottom * length) if length > 0 else math.inf
        parts |= {"lowest": lowest, "escape_length": length}
    return parts | {"what_ifs": tuple(moves)}


def _usual_norm(params: Params) -> float:
    """Norm of weights of the usual size: √2 for each output of a matrix (He et al. 2015), 1 for any other entry."""
    return math.sqrt(sum(2 * t.shape[0] if t.ndim >= 2 else t.numel() for t in params.tensors))


def _escapes(ground: Ground, gradient: Tensor, lowest: Tensor, *, bottom: float, reach: float) -> list[WhatIf]:
    """The move along the most negative curvature, and a random kick of the same length as control."""
    slope = float(gradient.double() @ lowest.double())
    escape = best_along(
        ground.split, ground.theta, lowest, name="negative curvature", model=(slope, bottom), reach=reach
    )
    noise = torch.randn(lowest.shape, generator=ground.generator(), device=lowest.device, dtype=torch.float32)
    kick = unit(noise.to(lowest))
    assert kick is not None
    here = ground.split.second.batch_values(ground.theta)
    kicked = gain(ground.split.second, here, ground.theta + escape.length * kick)
    return [escape, WhatIf("random kick", kicked, escape.length)]


def _noise(ground: Ground, gradient: Tensor) -> dict[str, Any]:
    """Gradient noise scale over groups of the held examples."""
    most = max(3, _GRADIENT_BYTES // (gradient.nbytes or 1))
    groups = ground.bench.objective(_groups(ground)[:most], ground.precision)
    return {"noise_scale": noise_scale(groups, ground.theta)}


def _groups(ground: Ground) -> list[Batch]:
    """The held examples in groups, also where the run has them in one batch."""
    return regrouped([item.batch for item in ground.batches], ground.bench.model)


def _units(ground: Ground, gradient: Tensor, lowest: Tensor | None) -> dict[str, Any]:
    """Dead units, parameters without any gradient, and how gradients scale over depth."""
    params = ground.bench.params
    groups = ground.bench.objective(_groups(ground), ground.precision)
    dead = dead_units(groups, ground.bench.model, ground.theta)
    squares = np.zeros(len(params.sizes))
    counted = 0
    silent = torch.ones_like(gradient, dtype=torch.bool)
    for count, batch_gradient in groups.batch_gradients(ground.theta):
        squares += count * layer_norms(params.unflatten(batch_gradient)) ** 2
        counted += count
        silent &= batch_gradient == 0
    weights = np.array([tensor.ndim >= 2 for tensor in params.tensors])
    scales = np.sqrt(squares / max(1, counted)) * layer_norms(params.unflatten(ground.theta))
    is_blocked_by_dead = dead.worst >= _SEVERED  # a dead layer stops gradients too, and is told apart
    live = scales[weights & (squares > 0)] if is_blocked_by_dead else scales[weights]
    return {
        "dead_fraction": dead.overall,
        "dead_worst": dead.worst,
        "dead_layer": dead.layers[int(np.argmax(dead.fractions))] if dead.layers else "",
        "blocked": float(silent.double().mean()),
        "revived": float((lowest.double() ** 2)[silent].sum()) if lowest is not None else math.nan,
        "depth_ratio": float(live.min() / live.max()) if live.size > 1 and live.max() > 0 else math.nan,
    }


@dataclass(frozen=True, eq=False)
class _Followed:
    """One plain step on the branch."""

    theta: Tensor
    delta: Tensor
    budget: Progress
    own_gain: float
    judge: Objective


def _plain_steps(ground: Ground) -> dict[str, Any]:
    """Follow plain steps on a branch, with the full progress budget of each."""
    branch, order = ground.branch(), ground.order(0)
    followed: list[_Followed] = []
    wanted = ground.spend(_PLAIN_STEPS, _FEWEST_STEPS)
    for index in range(wanted):
        if ground.clock.is_over and len(followed) >= _FEWEST_STEPS:
            ground.clock.notes.append(f"plain steps: {index} of {wanted}, the time was used up")
            break
        followed.append(_follow(ground, branch, next(order), index))
    budgets = [one.budget for one in followed]
    names = ("promise", "noise", "curvature", "higher_order", "delivered")
    parts: dict[str, Any] = {name: pooled([getattr(b, name) for b in budgets]) for name in names}
    slope = pooled([Estimate(b.promise.value - b.noise.value, b.noise.error) for b in budgets])
    some = ground.spend(_RESCALED_STEPS, 1)
    chosen = followed[:: max(1, len(followed) // some)][:some]
    uphill = [float(one.own_gain < 0) for one in followed]
    cosines = [_cosine(a.delta, b.delta) for a, b in pairwise(followed)]
    return parts | {
        "steps": len(followed),
        "noise_share": ratio([b.noise.value for b in budgets], [b.promise.value for b in budgets]),
        "own_uphill": Estimate.mean_of(uphill),
        "own_gain": Estimate.mean_of([one.own_gain for one in followed]),
        "cosine": Estimate.mean_of(cosines),
        "rescaled": rescaled([(one.judge, one.theta, one.delta) for one in chosen], slope),
    }


def _follow(ground: Ground, branch: Branch, item: Repeat, seed: int) -> _Followed:
    judge = ground.judge_of(item)
    before = branch.params.point()
    state = branch.step([item], seed)
    after = branch.params.point()
    own: Objective = ground.bench.repeat((Repeat(item.batch, state, item.precision),))
    budget = progress(own, judge, before, after)
    return _Followed(before, after - before, budget, own.value(before) - own.value(after), judge)


def _cosine(one: Tensor, other: Tensor) -> float:
    lengths = float(one.double().norm()) * float(other.double().norm())
    return float(one.double() @ other.double()) / lengths if lengths > 0 else math.nan
