"""Does the schedule keep its promise, whatever measurements cost? With a clock that nobody has to wait for."""

import numpy as np
import pytest

from theodolite.monitor.measurements import SHARES
from theodolite.monitor.schedule import Schedule, is_landmark


def lived(schedule, costs, *, steps, step_seconds=1e-3, books=5e-6, seed=0, watch=None, scatter=(0.7, 1.5)):
    """Run a training of so many steps under a fake clock; counts of measurements by name.

    What is due at one step is paid in the order of the names: the order of a set would change from process to process,
    and with it which measurement meets which draw of its cost.
    """
    source = np.random.default_rng(seed)
    made = dict.fromkeys(costs, 0)
    for step in range(1, steps + 1):
        schedule.earn(step_seconds * source.uniform(0.8, 1.2))
        schedule.charge(books)
        due = set() if schedule.is_idle(step) else {*schedule.affordable(), *schedule.landmarks(step)}
        for name in sorted(due & set(costs)):
            made[name] += 1
            schedule.pay(name, costs[name] * source.uniform(*scatter))
        if watch is not None:
            watch(step)
    return made


def costs_of(step_seconds, dearness):
    return {name: dearness * steps * step_seconds for name, (_, steps) in SHARES.items()}


@pytest.mark.parametrize("budget", [0.01, 0.05, 0.3, 1.0])
@pytest.mark.parametrize("dearness", [0.2, 1.0, 5.0])
def test_measuring_takes_its_share_and_no_more(budget, dearness):
    schedule = Schedule(budget, SHARES)
    costs = costs_of(1e-3, dearness)
    lived(schedule, costs, steps=4_000)
    # One payment for each may be owed: it is made before its price is known.
    most = 1.1 * budget * schedule.training + sum(1.5 * costs[name] for name in costs)
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


PRICES = {
    "perceptron": (16e-3, {"loss": 0.03, "norms": 0.03, "look": 1.66, "progress": 17, "layers": 13, "curvature": 256}),
    "residual": (20e-3, {"loss": 0.02, "norms": 0.02, "look": 1.1, "progress": 18, "layers": 17, "curvature": 307}),
    "tiny": (4e-4, {"loss": 0.8, "norms": 0.5, "look": 4.0, "progress": 14, "layers": 17, "curvature": 127}),
}
"""Seconds of a step, and prices in steps, as they were measured."""


class Greedy(Schedule):
    """Spends what purses hold, and neither lends nor stops: the twin that leaves the band."""

    def affordable(self):
        return [name for name in self._purses if self._held(self._purses[name]) > 0]


@pytest.mark.parametrize("kind", [Schedule, Greedy])
@pytest.mark.parametrize("case", PRICES)
@pytest.mark.parametrize("seed", range(6))
def test_what_is_spent_after_200_steps_stays_within_a_fifth_of_the_budget(case, seed, kind):
    step_seconds, in_steps = PRICES[case]
    guesses = {name: (SHARES[name][0], float(price)) for name, price in in_steps.items()}
    schedule, seen = kind(0.05, guesses), []
    costs = {name: price * step_seconds for name, price in in_steps.items()}
    watch = lambda step: seen.append((schedule.training, schedule.measuring)) if step >= 200 else None  # noqa: E731
    lived(schedule, costs, steps=5_000, step_seconds=step_seconds, seed=seed, watch=watch, scatter=(0.8, 1.25))
    training, measuring = np.array(seen).T
    # Sixty steps' worth earned since: one dear measurement may well cost a quarter more than the last.
    later = training > training[0] + 60 * step_seconds / 0.05
    shares = (measuring - measuring[0])[later] / (training - training[0])[later]
    if kind is Schedule:
        assert shares.min() >= 0.04
        assert shares.max() <= 0.06
    else:
        assert shares.min() < 0.04 or shares.max() > 0.06


def test_what_one_measurement_saves_is_lent_to_others():
    schedule = Schedule(0.1, {"cheap": (0.5, 0.1), "dear": (0.5, 0.1), "unaffordable": (0.5, 1e9)})
    made = lived(schedule, {"cheap": 1e-5, "dear": 1e-2, "unaffordable": 1e9}, steps=10_000, books=0.0)
    assert made["cheap"] == pytest.approx(10_000, abs=500)
    assert made["dear"] > 50  # its own purse holds 0.33 s
    assert made["unaffordable"] == 0


def test_book_keeping_beyond_the_budget_leaves_landmarks_alone():
    schedule = Schedule(0.05, SHARES)
    early = lived(schedule, costs_of(1e-4, 1.0), steps=200, step_seconds=1e-4, books=2e-5)
    counts = []
    late = dict.fromkeys(early, 0)
    for step in range(201, 6401):
        schedule.earn(1e-4)
        schedule.charge(2e-5)
        due = {*schedule.affordable(), *schedule.landmarks(step)}
        for name in due:
            late[name] += 1
            schedule.pay(name, 5e-6)
        counts.append(late["loss"])
    assert late.pop("loss") == pytest.approx(12 * 5, abs=1)  # twelve while the age doubles, five times
    assert set(late.values()) == {0}
    assert counts[-1] - counts[-3200] == pytest.approx(12, abs=1)


def test_a_debt_of_the_start_is_paid_back_by_and_by():
    schedule = Schedule(0.05, {"look": (1.0, 0.1)})
    schedule.charge(0.03)  # opening cost as much as thirty steps
    shares = []
    lived(schedule, {"look": 1e-4}, steps=9_000, books=0.0, watch=lambda _: shares.append(schedule.measuring))
    rate = shares[1999] - shares[999]  # of a second's training; a tenth of the income pays back
    assert rate == pytest.approx(0.043, abs=0.003)
    assert schedule.measuring / schedule.training == pytest.approx(0.05, abs=0.0026)  # 95 % is lent


def test_the_quick_answer_never_hides_what_is_due():
    quick, slow = Schedule(0.05, SHARES), Schedule(0.05, SHARES)
    slow.is_idle = lambda step: False
    costs = costs_of(1e-3, 1.0)
    assert lived(quick, costs, steps=3_000) == lived(slow, costs, steps=3_000)


def test_what_is_left_out_gives_its_share_to_the_others():
    schedule = Schedule(0.1, {"probe": (0.5, 1.0), "other": (0.25, 1.0), "third": (0.25, 1.0)})
    schedule.leave_out("other")
    schedule.leave_out("other")
    schedule.earn(1.0)
    rows = schedule.account()["measurements"]
    assert rows["probe"]["purse"] == pytest.approx(2 * rows["third"]["purse"])
    assert "other" not in schedule.affordable()
    assert not schedule.affords("other")
    assert schedule.account()["left_out"] == ["other"]


def test_the_account_tells_what_was_never_made_and_why():
    schedule = Schedule(0.1, {"cheap": (0.5, 0.1), "dear": (0.5, 50.0)})
    schedule.earn(1.0)
    schedule.pay("cheap", 0.02)
    account = schedule.account()
    assert account["measurements"]["cheap"] == pytest.approx(
        {"times": 1, "share": 0.02, "price": 0.02, "purse": 0.03}, rel=1e-3
    )
    assert account["never"] == {"dear": "its price was 50 s, its purse held 0.05 s"}
    assert Schedule(None, {"dear": (1.0, 1.0)}).account()["never"] == {}
    assert Schedule(0.1, {"dear": (1.0, 1.0)}).account()["share"] == 0.0


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
    assert schedule.measuring <= 1.2 * 0.05 * schedule.training + sum(costs_of(1e-3, 1.5).values())


def test_who_was_made_to_spend_has_no_credit():
    schedule = Schedule(0.1, {"probe": (0.5, 1.0)})
    schedule.earn(10.0)
    assert schedule.is_in_credit("probe")
    schedule.pay("probe", 1.1)
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
