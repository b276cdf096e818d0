"""Does the schedule keep its promise, whatever measurements cost? With a clock that nobody has to wait for."""

import numpy as np
import pytest

from theodolite.monitor.measurements import SHARES
from theodolite.monitor.schedule import Schedule, is_landmark


def lived(schedule, costs, *, steps, step_seconds=1e-3, books=5e-6, seed=0):
    """Run a training of so many steps under a fake clock; counts of measurements by name."""
    source = np.random.default_rng(seed)
    made = dict.fromkeys(costs, 0)
    for _ in range(steps):
        schedule.earn(step_seconds * source.uniform(0.8, 1.2))
        schedule.charge(books)
        for name in schedule.affordable():
            made[name] += 1
            schedule.pay(name, costs[name] * source.uniform(0.7, 1.5))
    return made


def costs_of(step_seconds, dearness):
    return {name: dearness * steps * step_seconds for name, (_, steps) in SHARES.items()}


@pytest.mark.parametrize("budget", [0.01, 0.05, 0.3, 1.0])
@pytest.mark.parametrize("dearness", [0.2, 1.0, 5.0])
def test_measuring_takes_its_share_and_no_more(budget, dearness):
    schedule = Schedule(budget, SHARES)
    costs = costs_of(1e-3, dearness)
    lived(schedule, costs, steps=8_000)
    # One payment for each may be owed: it is made before its price is known.
    most = budget * schedule.training + sum(1.5 * costs[name] for name in costs)
    assert schedule.measuring <= most
    if dearness == 1 and budget < 1:  # cheap measurements are made at every step, and there is nothing left to buy
        assert schedule.measuring > 0.7 * budget * schedule.training - sum(costs.values())


def test_everything_is_always_due_without_a_budget():
    schedule = Schedule(None, SHARES)
    assert schedule.affordable() == list(SHARES)
    schedule.earn(1e-3)
    schedule.pay("curvature", 1e6)
    assert schedule.affords("curvature")


def test_nothing_is_due_before_training_time_is_earned():
    schedule = Schedule(0.05, SHARES)
    assert schedule.affordable() == []
    assert not schedule.affords("loss")


def test_each_measurement_keeps_to_its_own_purse():
    schedule = Schedule(0.1, {"cheap": (0.5, 0.1), "dear": (0.5, 0.1)})
    made = lived(schedule, {"cheap": 1e-5, "dear": 1e-1}, steps=10_000, books=0.0)
    assert made["cheap"] > 9_000
    assert 4 <= made["dear"] <= 7  # 10 s × 0.1 × 0.5 = 0.5 s: five of them, and one before its price was known


def test_book_keeping_beyond_the_budget_leaves_the_loss_alone():
    schedule = Schedule(0.05, SHARES)
    made = lived(schedule, costs_of(1e-4, 1.0), steps=5_000, step_seconds=1e-4, books=2e-5)
    assert made.pop("loss") > 100
    assert set(made.values()) == {0}


def test_a_price_that_rises_is_learned():
    schedule = Schedule(0.1, {"probe": (1.0, 1.0)})
    before = lived(schedule, {"probe": 1e-3}, steps=2_000, books=0.0)["probe"]
    after = lived(schedule, {"probe": 1e-1}, steps=2_000, books=0.0)["probe"]
    assert before > 100
    assert after <= 4
    assert schedule.prices["probe"] > 1e-2


@pytest.mark.parametrize("spike", [10.0, 1000.0])
def test_a_slow_step_is_income_and_no_debt(spike):
    schedule = Schedule(0.05, SHARES)
    lived(schedule, costs_of(1e-3, 1.0), steps=100)
    schedule.earn(spike)
    lived(schedule, costs_of(1e-3, 1.0), steps=1_000)
    assert schedule.measuring <= 0.05 * schedule.training + sum(costs_of(1e-3, 1.5).values())


def test_who_was_made_to_spend_has_no_credit():
    schedule = Schedule(0.1, {"probe": (0.5, 1.0)})
    schedule.earn(10.0)
    assert schedule.is_in_credit("probe")
    schedule.pay("probe", 0.6)
    assert not schedule.is_in_credit("probe")
    schedule.earn(10.0)
    assert schedule.is_in_credit("probe")


def test_the_promise_is_checked_by_a_spendthrift_twin():
    class Spendthrift(Schedule):
        def affordable(self):
            return list(SHARES)

    schedule = Spendthrift(0.05, SHARES)
    lived(schedule, costs_of(1e-3, 1.0), steps=2_000)
    assert schedule.measuring > 0.05 * schedule.training + sum(costs_of(1e-3, 1.5).values())


def test_landmarks_thin_out_evenly_in_the_logarithm():
    steps = [step for step in range(1, 100_001) if is_landmark(step)]
    assert steps[:30] == list(range(1, 31))
    for low in (64, 1024, 32_768):
        assert 22 <= sum(low <= step < 2 * low for step in steps) <= 26
