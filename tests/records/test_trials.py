"""Trials and the plain continuation beside them: stored and read back, empty or not."""

import math

import numpy as np
import pytest

from theodolite.records import Continuation, Estimate, Remedy, Trials
from theodolite.records.encoding import dumps, loads


def remedy(name: str, value: float, error: float = 0.1) -> Remedy:
    return Remedy(name, Estimate(value, error, 3), Estimate(0.2, 0.1, 3), 20, 3, average=Estimate(value, 0.1, 3))


def test_trials_come_back_as_they_were() -> None:
    losses = np.array([[1.0, 0.5], [math.inf, math.nan], [1.0, 0.25]])
    went = Trials(
        (remedy("step × 10", 0.5), remedy("step × 1000", -math.inf, math.nan)),
        Continuation(losses, 2 * losses, 3 * losses),
        np.array([0.5, 0.125]),
        ("fresh start: left out, the time was used up",),
    )
    back = loads(dumps(went))
    assert isinstance(back, Trials)
    assert back.remedies[0] == went.remedies[0]
    assert back.remedies[1].gain.value == -math.inf
    assert back.notes == went.notes
    assert back.corrected.tolist() == [0.5, 0.125]
    for name in ("losses", "grad_norms", "update_norms"):
        np.testing.assert_array_equal(getattr(back.plain, name), getattr(went.plain, name))
    assert (back.plain.seeds, back.plain.steps) == (3, 2)


def test_trials_of_the_first_format_are_read() -> None:
    """A run written before there was a plain continuation in it."""
    back = loads('{"$record": "Trials", "version": [1, 0], "fields": {"remedies": {"$tuple": []}}}')
    assert isinstance(back, Trials)
    assert (back.plain.seeds, back.plain.steps, back.corrected.size, back.notes) == (0, 0, 0, ())


def test_that_no_remedy_helped_can_be_told() -> None:
    assert Trials().best is None
    assert Trials((remedy("step × 3", 0.1), remedy("step × 0.1", -1.0))).best is None
    best = Trials((remedy("step × 3", 0.1, 0.2), remedy("step × 10", 0.05, 0.01))).best
    assert best is not None
    assert best.name == "step × 10"  # more was gained by the first, but not beyond its error


@pytest.mark.parametrize(
    ("value", "error", "helped"),
    [
        (0.3, 0.1, True),
        (0.1, 0.1, False),
        (math.inf, math.nan, True),
        (-math.inf, math.nan, False),
        (0.3, math.nan, False),
    ],
)
def test_what_helped(value: float, error: float, helped: bool) -> None:
    """Beyond two errors; or the run would diverge without it; a gain of unknown error does not count."""
    assert remedy("any", value, error).helped is helped
