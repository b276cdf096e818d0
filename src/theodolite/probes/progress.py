"""Where did the promise of a step go?"""

import math

import numpy as np
from jaxtyping import Float
from torch import Tensor

from theodolite.objective import Objective
from theodolite.probes.samples import rounding_of, weighted_mean
from theodolite.records import Estimate, Progress


def progress(
    own: Objective, reference: Objective, before: Float[Tensor, "params"], after: Float[Tensor, "params"]
) -> Progress:
    """The progress budget of one step: delivered = promise − noise − curvature − higher order.

    Args:
        own: Objective of the batches that the step was made from, with the randomness of that step.
        reference: Objective of the reference sample.
        before: θ before the step, shape (n,).
        after: θ after it, shape (n,).

    Returns:
        The budget; it adds up exactly.

    Cost: one gradient of ``own``; about 3.4 gradients of ``reference``.
    """
    delta = after - before
    promise = -float(own.gradient(before).double() @ delta.double())
    parts = list(reference.batch_directional(delta, before))
    counts, losses = reference.batch_values(after)
    value = np.array([part.value for part in parts])
    slope = np.array([part.slope for part in parts])
    bend = np.array([part.curvature for part in parts])
    with np.errstate(invalid="ignore"):  # a step into infinity leaves no remainder that could be told
        arrived = value - losses
        remainder = -slope - bend / 2 - arrived
    mean_loss = weighted_mean(counts, value)
    rounding = rounding_of(mean_loss.value, reference.dtype)
    return Progress(
        promise=Estimate(promise, 0.0),
        noise=weighted_mean(counts, slope + promise),
        curvature=weighted_mean(counts, bend / 2),
        higher_order=weighted_mean(counts, remainder, rounding=rounding),
        delivered=weighted_mean(counts, arrived, rounding=rounding),
        reference_loss=mean_loss,
        best_scale=_ratio(weighted_mean(counts, -slope), weighted_mean(counts, bend)),
    )


def _ratio(fall: Estimate, bend: Estimate) -> Estimate:
    """Fall over bend with its propagated error; infinite where nothing bends back."""
    if not bend.value > 0:
        return Estimate(math.inf if bend.value <= 0 else math.nan, math.nan, fall.count)
    ratio = fall.value / bend.value
    error = math.hypot(fall.error, ratio * bend.error) / bend.value
    return Estimate(ratio, error, fall.count)
