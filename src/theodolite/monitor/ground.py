"""Where does a deep look stand, on what examples, and how much time is left?"""

import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theodolite.monitor.branch import Branch
from theodolite.monitor.measurements import Bench
from theodolite.monitor.tape import Precision, Repeat
from theodolite.monitor.trail import Points
from theodolite.objective import Objective, Params
from theodolite.objective.data import Batch
from theodolite.probes.whatifs import Split

_LOG = logging.getLogger(__name__)

REACH = 0.1
"""Moves are scaled by a tenth of the weights, or of what weights usually are where they are nearly zero."""


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
        seconds: How long the survey may take.
        effort: Share of the whole survey that the time is expected to allow, in (0, 1].
        floor: The least value that the loss can have, as far as known.
        start: θ before the first step; None if it is not known.
        points: Points that the run came through; None if none were kept.
        groups: Batches into which the held examples are grouped; None is the default of ``regrouped``.
        clip: Norm at which the loop clips gradients; None if it does not.
        rate: Learning rate for branches, where a schedule ended at next to nothing: its median over the last quarter.
        greatest_rate: The greatest learning rate that the run has had; NaN if none was recorded.
        is_past: Whether this is a point of the past, the last finite one: branches then begin with a fresh optimizer.
    """

    bench: Bench
    optimizer: torch.optim.Optimizer
    theta: Float[Tensor, "params"]
    step: int
    split: Split
    batches: tuple[Repeat, ...]
    precision: Precision
    clock: Clock
    seconds: float
    effort: float = 1.0
    floor: float = 0.0
    start: Float[Tensor, "params"] | None = None
    points: Points | None = None
    groups: int | None = None
    clip: float | None = None
    rate: float | None = None
    greatest_rate: float = math.nan
    is_past: bool = False

    def spend(self, whole: int, fewest: int) -> int:
        """How many of something the time allows."""
        return max(fewest, round(self.effort * whole))

    @property
    def reach(self) -> float:
        """A length to scale moves by."""
        return REACH * max(float(self.theta.double().norm()), usual_norm(self.bench.params))

    def affordable(self, share: float, fewest: int) -> int:
        """How many evaluations of J on the whole sample a share of the survey's time allows, and at least so many."""
        started = time.perf_counter()
        self.split.whole.value(self.theta)
        return max(fewest, int(share * self.seconds / max(time.perf_counter() - started, 1e-9)))

    def generator(self) -> torch.Generator:
        """A fresh source of randomness, the same at each call."""
        return torch.Generator(self.theta.device).manual_seed(self.bench.seed)

    def branch(self) -> Branch:
        """A copy of the training as it stands at the point."""
        branch = Branch(
            self.bench.model,
            self.optimizer,
            self.bench.loss,
            self.bench.params.names,
            **({} if self.clip is None else {"clip": self.clip}),
        )
        if self.rate is not None:
            branch.set_rate(self.rate)
        if self.is_past:
            branch.optimizer.state.clear()
            with torch.no_grad():
                for tensor, part in zip(branch.params.tensors, branch.params.unflatten(self.theta), strict=True):
                    tensor.copy_(part)
        return branch

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


def split_sample(
    bench: Bench, sample: Sequence[Batch], precision: Precision, *, is_whole: bool, groups: int | None = None
) -> Split:
    """Held batches as a proposing and a judging half.

    Args:
        bench: The model with its loss.
        sample: Batches as the run saw them.
        precision: Autocast state of the run.
        is_whole: Whether the sample is all that the run has seen.
        groups: Batches in each half; None is the default of ``regrouped``.

    Returns:
        The halves; both are the same where the run has a single batch.
    """
    if len(sample) == 1 and is_whole:
        whole = bench.objective(list(sample), precision)
        return Split(whole, whole, whole, True)
    batches = list(sample) if len(sample) > 1 else bench.grouped(sample, precision, groups=2)
    halves = (batches[0::2], batches[1::2] or batches)
    parts = [bench.grouped(half, precision, groups=groups) for half in halves]
    first, second, whole = (bench.objective(part, precision) for part in (*parts, [*parts[0], *parts[1]]))
    return Split(first, second, whole, False)


def usual_norm(params: Params) -> float:
    """Norm of weights of the usual size: √2 for each output of a matrix (He et al. 2015), 1 for any other entry."""
    return math.sqrt(sum(2 * t.shape[0] if t.ndim >= 2 else t.numel() for t in params.tensors))
