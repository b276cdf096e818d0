"""Was it the length of the steps that spoilt a run? From its start again, as it was and with shorter steps."""

import math
from functools import partial

import torch

from theodolite.diagnosis.names import AGAIN, AGAIN_SHORTER
from theodolite.monitor.branch import Branch
from theodolite.monitor.cures import Cure
from theodolite.monitor.ground import Ground
from theodolite.monitor.survey import Surveyed

_GONE = 0.5
"""Where half of a layer is dead, or half of the parameters have no gradient, a run may have been spoilt."""

_LEFT = 0.9
"""A run that has nine tenths of its first excess left, or more than that, has got nowhere."""


def spoilt(ground: Ground, surveyed: Surveyed) -> tuple[Cure, ...]:
    """The run from its start, at its greatest rate and at a tenth and a hundredth of it; none if it got somewhere.

    A rate that kills units or saturates them in a few steps leaves a point at which no shorter step helps: what it did
    shows only where it did it.

    Args:
        ground: Where the run stands.
        surveyed: The survey there.

    Returns:
        The cures.

    Cost: one forward pass over the held examples.
    """
    found, start = surveyed.record, ground.start
    if start is None or ground.step < 1:
        return ()
    first = ground.split.whole.value(start) - ground.floor
    is_gone = found.dead_worst >= _GONE or found.blocked >= _GONE
    if not (is_gone or found.loss.value - ground.floor > _LEFT * first):
        return ()
    return tuple(
        Cure(name, partial(_begin, ground, factor))
        for name, factor in zip((AGAIN, *AGAIN_SHORTER), (1.0, 0.1, 0.01), strict=True)
    )


def _begin(ground: Ground, factor: float, branch: Branch, _: int) -> None:
    """Put a branch at the start of the run, with an empty optimizer, and scale its steps."""
    assert ground.start is not None
    branch.optimizer.state.clear()
    with torch.no_grad():
        for tensor, part in zip(branch.params.tensors, branch.params.unflatten(ground.start), strict=True):
            tensor.copy_(part)
        if ground.points is not None and ground.points.steps[:1] == [0]:
            for name, buffer in branch.model.named_buffers():
                if name in ground.points.buffers[0]:
                    buffer.copy_(ground.points.buffers[0][name])
    if math.isfinite(ground.greatest_rate) and ground.greatest_rate > 0:
        branch.set_rate(ground.greatest_rate)
    branch.scale_step(factor)
