"""The optimizer step that is being made: from one batch or, where gradients are accumulated, from several."""

import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from theodolite.monitor.replay import Reading
from theodolite.monitor.tape import Precision, Repeat
from theodolite.objective import Params
from theodolite.objective.data import Batch

_MOST_BATCHES = 256
"""More micro-batches than this between two steps are not kept."""


@dataclass(eq=False)
class Making:
    """A step that is being made, with what is due for it.

    Attributes:
        due: Names of the measurements to be made of it.
        before: θ before it, if one of them needs that.
        own: The batches that it is made from so far.
        is_known: Whether ``own`` holds all of them.
        readings: Losses of their forward passes.
        grad_norm: ‖gradient that the optimizer was given‖, if due.
        rate: Learning rate of the first parameter group.
    """

    due: frozenset[str]
    before: Float[Tensor, "params"] | None = None
    own: list[Repeat] = field(default_factory=list)
    is_known: bool = True
    readings: list[Reading] = field(default_factory=list)
    grad_norm: Tensor | None = None
    rate: float = math.nan

    def take(self, batch: Batch, reading: Reading | None, precision: Precision) -> None:
        """Note that a batch has gone into the step; without a reading nobody knows under which randomness."""
        if reading is None:
            self.is_known = False
            return
        self.readings.append(reading)
        if self.due & {"look", "progress"} and self.is_known:
            self.own.append(Repeat(batch, reading.state, precision))
            self.is_known = len(self.own) <= _MOST_BATCHES

    @property
    def loss(self) -> tuple[Tensor, Tensor | None] | None:
        """Mean loss over the batches, and whether to doubt it; None if no loss was read, or not all were."""
        if not self.readings or not self.is_known:
            return None
        doubts = [reading.doubt for reading in self.readings if reading.doubt is not None]
        doubt = torch.stack(doubts).any() if doubts else None
        if len(self.readings) == 1:
            return self.readings[0].value, doubt
        return torch.stack([reading.value for reading in self.readings]).mean(), doubt


NOTHING_DUE = Making(frozenset())
"""A step of which nothing is measured; shared, never written to."""


def fingerprint(params: Params) -> tuple[tuple[int, int], ...]:
    """Which gradients there are, and how often each was written to: it changes when a backward pass has run."""
    return tuple((id(t.grad), t.grad._version) for t in params.tensors if t.grad is not None)
