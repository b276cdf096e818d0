"""When is a measurement affordable? A purse for each, filled by training time, emptied by measuring time."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

_MEMORY = 0.7
"""Weight of the past in the running price of a measurement."""

_LANDMARKS = 24
"""Losses that are recorded while the age of a run doubles, whatever they cost: the least that shows a trend."""


def is_landmark(step: int) -> bool:
    """Whether the loss of a step is recorded even where the budget does not allow it.

    Landmarks are even in the logarithm of the step, so that their share of the time goes to zero as a run grows; every
    one of the first 35 steps is one.

    Args:
        step: Number of the step, from 1.

    Returns:
        Whether it is a landmark.
    """
    return int(_LANDMARKS * math.log2(step)) != int(_LANDMARKS * math.log2(step + 1))


@dataclass(slots=True)
class _Purse:
    """What one measurement may spend: a share of what all have earned, less what it has paid."""

    share: float
    price_in_steps: float
    bears_costs: bool
    paid: float = 0.0
    price: float | None = None


class Schedule:
    """Decides what may be measured so that all together takes a share of the training time.

    Each measurement earns its share of ``budget`` × training time, and is made when its purse holds its price: the
    running mean of what it has cost, and before the first time a guess in units of one training step. Whatever is
    spent beyond the purse is paid back before the next.

    Laws: with a finite budget no measurement is due before training time has been earned; what one measurement has paid
    never exceeds its share of the budget by more than the last payment.
    """

    def __init__(self, budget: float | None, shares: Mapping[str, tuple[float, float]]) -> None:
        """Open a purse for each measurement.

        Args:
            budget: Share of training time that all together may take; None: everything, always.
            shares: For each measurement its share of the budget and its first price, in steps.
        """
        self._budget = budget
        self._purses = {name: _Purse(share, price, name != "loss") for name, (share, price) in shares.items()}
        self._step_seconds = 0.0
        self._kept_books = 0.0
        self._earliest = 0.0
        self.training = 0.0
        self.measuring = 0.0

    def earn(self, seconds: float) -> None:
        """A training step took so many seconds."""
        self.training += seconds
        first = self._step_seconds == 0.0
        self._step_seconds = seconds if first else _MEMORY * self._step_seconds + (1 - _MEMORY) * seconds

    def affords(self, name: str) -> bool:
        """Whether a measurement may be made now."""
        return name in self.affordable()

    def affordable(self) -> list[str]:
        """Names of the measurements that may be made now, each by itself."""
        if self._budget is None:
            return list(self._purses)
        if self.training < self._earliest or self._step_seconds <= 0.0:
            return []
        due = {name: self._due_at(purse) for name, purse in self._purses.items()}
        self._earliest = min(due.values())
        return [name for name, at in due.items() if at <= self.training]

    def is_in_credit(self, name: str) -> bool:
        """Whether a measurement has not spent more than its share so far, as one of a landmark may."""
        purse = self._purses[name]
        return self._budget is None or purse.paid <= purse.share * self._budget * self.training

    def _due_at(self, purse: _Purse) -> float:
        """Seconds of training at which a purse holds its price, if no more is spent."""
        assert self._budget is not None
        price = purse.price_in_steps * self._step_seconds if purse.price is None else purse.price
        costs = self._kept_books if purse.bears_costs else 0.0
        return ((purse.paid + price) / purse.share + costs) / self._budget

    def pay(self, name: str, seconds: float) -> None:
        """A measurement took so many seconds."""
        purse = self._purses[name]
        purse.paid += seconds
        self._earliest = 0.0
        purse.price = seconds if purse.price is None else _MEMORY * purse.price + (1 - _MEMORY) * seconds
        self.measuring += seconds

    def charge(self, seconds: float) -> None:
        """Book-keeping took so many seconds: all purses but that of the loss bear it by their shares.

        Where steps take less than a millisecond book-keeping can eat the whole budget; the loss is then still recorded
        now and then, since nothing can be said of a run without it.
        """
        self.measuring += seconds
        self._kept_books += seconds

    @property
    def prices(self) -> dict[str, float]:
        """Seconds that one measurement of each kind takes, as measured; those not made yet are left out."""
        return {name: purse.price for name, purse in self._purses.items() if purse.price is not None}
