"""What does the loop do beside plain steps? Clipping and a schedule, told from the record."""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from theodolite.records import Run, Series

_SAME, _OFTEN = 1e-4, 3
"""Three of the recorded gradients with exactly the greatest norm: that norm is where they are clipped."""

_FEWEST = 5
_DECAYED = 0.1
"""A learning rate below a tenth of its median over the last quarter is the end of a schedule."""


@dataclass(frozen=True)
class Habits:
    """What branches repeat.

    Attributes:
        clip: Norm at which gradients are clipped; None if they are not.
        rate: Median learning rate of the last quarter, if the last one is next to nothing beside it; else None.
        greatest_rate: The greatest learning rate recorded; NaN without any.
    """

    clip: float | None = None
    rate: float | None = None
    greatest_rate: float = math.nan

    @classmethod
    def of(cls, run: Run) -> Self:
        """Read them off the series of a run."""
        rates = run.series("learning_rate")
        greatest = float(np.nanmax(rates.values)) if np.isfinite(rates.values).any() else math.nan
        return cls(clip_of(run.series("grad_norm").values), rate_of(rates), greatest)


def clip_of(norms: np.ndarray) -> float | None:
    """Norm at which gradients are clipped, from recorded norms that vary and often are equal to the greatest.

    Args:
        norms: Norms of gradients that the optimizer was given.

    Returns:
        The norm; None if there is no clipping.
    """
    seen = norms[np.isfinite(norms)]
    if seen.size < _FEWEST or not seen.max() > 0:
        return None
    at_most = seen >= seen.max() * (1 - _SAME)
    # A slope that is the same everywhere has one norm too, but hardly a round one.
    greatest = float(seen.max())
    is_round = math.isclose(greatest, float(f"{greatest:.1e}"), rel_tol=1e-6)
    is_clipped = at_most.sum() >= _OFTEN and (is_round or not at_most.all())
    return greatest if is_clipped else None


def rate_of(rates: Series) -> float | None:
    """Median learning rate of the last quarter, if the last one is next to nothing beside it.

    Args:
        rates: Recorded learning rates.

    Returns:
        The rate; None if the last one stands for the run.
    """
    if not rates.values.size:
        return None
    late = rates.values[rates.steps > 0.75 * rates.steps[-1]]
    median = float(np.median(late)) if late.size else 0.0
    return median if 0.0 <= rates.values[-1] < _DECAYED * median else None
