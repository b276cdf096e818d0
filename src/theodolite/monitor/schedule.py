"""When is a measurement affordable? Training time earns, measuring time spends, each measurement by its share."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_MEMORY = 0.7
"""Weight of the past in the running price of a measurement."""

_LANDMARKS = 24
"""Losses that are recorded while the age of a run doubles, where the budget is not overspent: they show a trend."""

_RARE_LANDMARKS = 12
"""The same where it is overspent: of a run without any loss nothing could be said."""

_SETTLED = 200
"""Steps after which the budget binds landmarks too."""

_FULL = -0.05
"""What some measurements save up is lent while less is spent than the allowance and this part of the income."""

_MOST = 0.1
"""No measurement is begun that would lift what is spent above the allowance and this part of the income."""

_REPAYMENT = 0.1
"""Part of the income that pays back what the first steps have cost beyond the budget."""

_OCCASIONAL = frozenset(("skips", "snapshot"))
"""Measurements that are asked for when there is an occasion."""

_UNSEEN = 6e-6
"""Seconds of a step that no clock of ours sees: hooks, handing on the batch, cold caches (5 to 8 µs measured)."""


def is_landmark(step: int, per_doubling: int = _LANDMARKS) -> bool:
    """Whether the loss of a step is recorded even where no measurement is due.

    Landmarks are even in the logarithm of the step, so that their share of the time goes to zero as a run grows; every
    one of the first 35 steps is one.

    Args:
        step: Number of the step, from 1.
        per_doubling: Landmarks while the number doubles.

    Returns:
        Whether it is a landmark.
    """
    return int(per_doubling * math.log2(step)) != int(per_doubling * math.log2(step + 1))


def _landmark_from(step: int) -> int:
    """The first landmark that is not before a step: the integer below a power of 2^(1/24)."""
    power = int(_LANDMARKS * math.log2(step)) + 1
    return max(step, math.ceil(math.exp2(power / _LANDMARKS)) - 1)


@dataclass(slots=True)
class _Purse:
    """What one measurement may spend: a share of what all have earned, less what it has drawn.

    What it has paid is more than it has drawn where the start was written off.
    """

    share: float
    price_in_steps: float
    bears_costs: bool
    paid: float = 0.0
    drawn: float = 0.0
    price: float | None = None
    times: int = 0


class Schedule:
    """Decides what may be measured so that all together takes a share of the training time.

    The *allowance* is ``budget`` × training time. Each measurement has a share of it as its purse, and is made when
    that holds its price: the running mean of what it has cost, and before the first time a guess in units of one
    training step. What purses hold for something dear would lie idle meanwhile: it is lent to what could be made at
    once, to those first that have had the least for their share, as long as less than 95 % of it is spent.

    Laws: with a finite budget nothing is due before training time has been earned; once 200 steps have passed, all that
    is spent stays within 20 % of the allowance, if there is something to spend it on and the costs of one measurement
    scatter by less than a quarter (where they double by chance, one may take it to 22 %). What the first steps cost
    beyond it (landmarks, first calls) is paid back with a tenth of the income.
    """

    def __init__(self, budget: float | None, shares: Mapping[str, tuple[float, float]]) -> None:
        """Open a purse for each measurement.

        Args:
            budget: Share of training time that all together may take; None: everything, always.
            shares: For each measurement its share of the budget and its first price, in steps.
        """
        self._budget = budget
        self._purses = {name: _Purse(share, price, name != "loss") for name, (share, price) in shares.items()}
        self._regular = [name for name in self._purses if name not in _OCCASIONAL]
        self._left_out: dict[str, _Purse] = {}
        self._step_seconds = 0.0
        self._kept_books = 0.0
        self._earliest = 0.0
        self._steps = 0
        self._next_landmark = 1
        self._debt = self._debt_since = 0.0
        self.training = 0.0
        self.measuring = 0.0

    def earn(self, seconds: float) -> None:
        """A training step took so many seconds."""
        self._steps += 1
        self.training += seconds
        self.measuring += _UNSEEN
        self._kept_books += _UNSEEN
        first = self._step_seconds == 0.0
        self._step_seconds = seconds if first else _MEMORY * self._step_seconds + (1 - _MEMORY) * seconds
        if self._steps == _SETTLED and self._budget is not None:
            self._settle(self._budget * self.training)

    def _settle(self, earned: float) -> None:
        """Make one debt of all that the start has cost beyond the budget, lest the loss alone had to save it up."""
        self._debt_since, self._debt = earned, max(0.0, self.measuring - earned)
        for purse in self._purses.values():
            purse.drawn = min(purse.drawn, purse.share * earned)

    def is_idle(self, step: int) -> bool:
        """Whether neither a measurement nor a landmark can be due at a step; answered in a microsecond."""
        return self.training < self._earliest and step < self._next_landmark

    def affordable(self) -> list[str]:
        """Names of the measurements that may be made now, all together; those that await an occasion are left out."""
        if self._budget is None:
            return list(self._purses)
        if self.training < self._earliest or self._step_seconds <= 0.0:
            return []
        due_at = {name: self._due_at(self._purses[name]) for name in self._regular}
        self._earliest = min(due_at.values(), default=math.inf)
        chosen, spent, most = [], self.measuring, self._allowance(_MOST)
        for name in sorted(due_at, key=lambda name: self._purses[name].drawn / self._purses[name].share):
            price = self._price(self._purses[name])
            if due_at[name] <= self.training and spent + price <= most:
                chosen.append(name)
                spent += price
        return chosen

    def affords(self, name: str) -> bool:
        """Whether a measurement may be made now, by itself."""
        if self._budget is None or name not in self._purses:
            return name in self._purses
        return self._step_seconds > 0.0 and self._due_at(self._purses[name]) <= self.training

    def is_in_credit(self, name: str) -> bool:
        """Whether a measurement may be made beside those that are due: less is spent than is allowed."""
        return self._budget is None or (name in self._purses and self.measuring <= self._allowance())

    def landmarks(self, step: int) -> tuple[str, ...]:
        """What is measured at a step because it is a landmark; where the budget is overspent, landmarks are rarer.

        Args:
            step: Number of the step, from 1.

        Returns:
            Names of measurements, most often none.
        """
        if step < self._next_landmark:
            return ()
        self._next_landmark = _landmark_from(step)
        if step < self._next_landmark:
            return ()
        self._next_landmark = _landmark_from(step + 1)
        if self._budget is None or self._steps < _SETTLED:
            return "loss", "norms"
        is_told = self.measuring <= self._allowance(_MOST) or is_landmark(step, _RARE_LANDMARKS)
        return ("loss", "norms")[: is_told + self.is_in_credit("norms")]

    def pay(self, name: str, seconds: float) -> None:
        """A measurement took so many seconds."""
        purse = self._purses.get(name) or self._left_out[name]
        purse.paid += seconds
        purse.drawn += seconds
        purse.times += 1
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

    def leave_out(self, name: str) -> None:
        """A measurement will not be made any more: the others share what it would have had."""
        purse = self._purses.pop(name, None)
        if purse is None:
            return
        self._left_out[name] = purse
        self._regular = [other for other in self._regular if other != name]
        rest = sum(other.share for other in self._purses.values())
        for other in self._purses.values():
            other.share *= (rest + purse.share) / rest
        self._earliest = 0.0

    @property
    def prices(self) -> dict[str, float]:
        """Seconds that one measurement of each kind takes, as measured; those not made yet are left out."""
        return {name: purse.price for name, purse in self._purses.items() if purse.price is not None}

    def account(self) -> dict[str, Any]:
        """What was spent on what, and what was never made for lack of means, in plain values for the record.

        Returns:
            ``budget``, seconds of ``training`` and ``measuring``, the ``share`` of the two and that of the ``books``
            alone; for each of the ``measurements`` how many ``times`` it was made, its ``share`` of the training time,
            its ``price`` and what its ``purse`` holds, in seconds; in words what was ``never`` made, and why; what was
            ``left_out``, because it cannot be made of this training or has failed.
        """
        per_second = 1.0 / self.training if self.training > 0.0 else 0.0
        rows: dict[str, dict[str, float]] = {}
        never: dict[str, str] = {}
        for name, purse in self._purses.items():
            price, held = self._price(purse), self._held(purse)
            rows[name] = {"times": purse.times, "share": purse.paid * per_second, "price": price, "purse": held}
            if not purse.times and self._budget is not None and name not in _OCCASIONAL:
                never[name] = f"its price was {price:.3g} s, its purse held {held:.3g} s"
        return {
            "budget": self._budget,
            "training": self.training,
            "measuring": self.measuring,
            "share": self.measuring * per_second,
            "books": self._kept_books * per_second,
            "measurements": rows,
            "never": never,
            "left_out": list(self._left_out),
        }

    # ------------------------------------------------------------------ arithmetic of the allowance

    def _allowance(self, part: float = 0.0) -> float:
        """Seconds that may have been spent by now, and a part of the income more."""
        assert self._budget is not None
        earned = self._budget * self.training
        return (1.0 + part) * earned + max(0.0, self._debt - _REPAYMENT * (earned - self._debt_since))

    def _when(self, spent: float, part: float) -> float:
        """Seconds of training at which the allowance and a part of the income reach a value."""
        assert self._budget is not None
        owing = (spent - self._debt - _REPAYMENT * self._debt_since) / (1.0 + part - _REPAYMENT)
        repaid = self._debt_since + self._debt / _REPAYMENT
        return (owing if owing < repaid else spent / (1.0 + part)) / self._budget

    def _price(self, purse: _Purse) -> float:
        return purse.price_in_steps * self._step_seconds if purse.price is None else purse.price

    def _held(self, purse: _Purse) -> float:
        """Seconds in a purse; those that were lent are gone from it."""
        if self._budget is None:
            return math.inf
        costs = self._kept_books if purse.bears_costs else 0.0
        return purse.share * (self._allowance() - self._debt - costs) - purse.drawn

    def _due_at(self, purse: _Purse) -> float:
        """Seconds of training at which a measurement may be made, if no more is spent."""
        assert self._budget is not None
        price = self._price(purse)
        costs = self._kept_books if purse.bears_costs else 0.0
        own = self._when((purse.drawn + price) / purse.share + costs + self._debt, 0.0)
        return max(min(own, self._when(self.measuring, _FULL)), self._when(self.measuring + price, _MOST))
