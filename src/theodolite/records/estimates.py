"""What does a measured number look like: a value with its error and its sample size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured number with its error.

    Attributes:
        value: The number; NaN if the measurement gave no finite one.
        error: Standard error of a mean, or a bound where the source says so; NaN if unknown, 0 if exact.
        count: How many independent measurements stand behind it.
    """

    value: float
    error: float = math.nan
    count: int = 1

    @property
    def is_finite(self) -> bool:
        """Whether the value is a finite number."""
        return math.isfinite(self.value)

    def is_above(self, threshold: float, errors: float = 2.0) -> bool:
        """Whether the value exceeds a threshold by more than so many of its errors; False if the error is unknown."""
        return math.isfinite(self.error) and self.value - errors * self.error > threshold

    def is_below(self, threshold: float, errors: float = 2.0) -> bool:
        """Whether the value falls short of a threshold by more than so many errors; False if the error is unknown."""
        return math.isfinite(self.error) and self.value + errors * self.error < threshold

    @classmethod
    def mean_of(cls, values: Sequence[float] | np.ndarray) -> Self:
        """Mean of independent values and its standard error s/√n.

        Args:
            values: The values; those that are not finite make the mean so.

        Returns:
            The mean. The error of a single value is NaN: one measurement does not tell its own scatter. No value
            gives NaN.
        """
        sample = np.asarray(values, dtype=np.float64)
        if sample.size == 0:
            return cls(math.nan, math.nan, 0)
        with np.errstate(invalid="ignore", over="ignore"):
            error = float(sample.std(ddof=1) / math.sqrt(sample.size)) if sample.size > 1 else math.nan
            return cls(float(sample.mean()), error, int(sample.size))

    def __str__(self) -> str:
        """Value ± error, in four and two significant digits; an exact or unknown error is not written."""
        is_shown = math.isfinite(self.error) and self.error > 0
        return f"{self.value:.4g} ± {self.error:.2g}" if is_shown else f"{self.value:.4g}"


MISSING = Estimate(math.nan, math.nan, 0)
"""The estimate of a quantity that was not measured."""
