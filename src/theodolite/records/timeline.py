"""What limited progress when: a verdict for each window of a run."""

import math
from dataclasses import dataclass

from theodolite.records.estimates import MISSING, Estimate
from theodolite.records.survey import Rescaled

_MOST = 6
"""Windows, the last of which is the second half of the run; what came before the first is left out."""


def window_edges(steps: int) -> list[int]:
    """Where the windows of a run begin and end: each is as long as all before it together.

    Args:
        steps: How many steps the run has.

    Returns:
        One edge more than there are windows, ascending, the last of them ``steps``; none for fewer than 16 steps.
    """
    if steps < 2**4:
        return []
    count = min(_MOST, int(math.log2(steps)) - 2)
    return [round(steps / 2**k) for k in range(count, -1, -1)]


@dataclass(frozen=True)
class Passage:
    """A few plain steps, taken again from a point that the run came through, with the mean of their progress budgets.

    Attributes:
        step: The step after which the run stood there.
        promise: −g·Δθ, g being the gradient that the step was made from.
        noise: What of it noise took: (G − g)·Δθ.
        curvature: What curvature took: ½ Δθᵀ H Δθ.
        higher_order: What is left, so that the four add up to the gain.
        own_uphill: Share of the steps that raised the loss of their own batch.
        rescaled: What the same steps gain when they are made longer or shorter.
    """

    step: int
    promise: Estimate
    noise: Estimate
    curvature: Estimate
    higher_order: Estimate
    own_uphill: float
    rescaled: Rescaled


@dataclass(frozen=True)
class Passages:
    """Points that the run came through, looked at again once it had ended; one for each stretch of its timeline.

    Attributes:
        points: In the order of their steps.
    """

    points: tuple[Passage, ...] = ()

    def within(self, first: int, last: int) -> Passage | None:
        """The passage from a step in [first, last), if there is one."""
        return next((one for one in self.points if first <= one.step < last), None)


@dataclass(frozen=True)
class Window:
    """A stretch of a run, from one step to another.

    Attributes:
        first: The step it begins after.
        last: The step it ends with.
        obstacle: What limited progress in it: one of ``OBSTACLES``, or "undetermined".
        fallen: Share of the excess loss that went while the age of the run doubled, in this window.
        why: The number that decided, in words.
    """

    first: int
    last: int
    obstacle: str
    fallen: Estimate = MISSING
    why: str = ""

    def __str__(self) -> str:
        """Steps, obstacle, reason."""
        return f"{self.first}–{self.last}: {self.obstacle}" + (f" ({self.why})" if self.why else "")
