"""How the loss fell: the trend against series whose rate is known."""

import math

import numpy as np
import pytest

from theodolite.diagnosis.evidence import FEWEST_LOSSES, history
from theodolite.records import Series


def losses(values: np.ndarray) -> Series:
    """A loss at every step from 1."""
    return Series("loss", np.arange(1, len(values) + 1), np.asarray(values, np.float64))


@pytest.mark.parametrize("power", [0.15, 0.5, 1.0])
def test_power_law_has_its_rate(power: float) -> None:
    """(t + 10)^-p loses about 1 − 2^-p of its excess while the age doubles."""
    t = np.arange(1, 4001)
    fallen = history(losses(2.0 * t**-power + 0.7), 4000, floor=0.7).fallen
    assert fallen.value == pytest.approx(1 - 2**-power, abs=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_error_covers_the_truth(seed: int) -> None:
    """With scatter, the truth lies within four errors, and the error shrinks with the scatter."""
    noise = np.random.default_rng(seed).normal(size=2000)
    t = np.arange(1, 2001)
    wide, narrow = (history(losses(t**-0.5 * (1 + s * noise)), 2000, 0.0).fallen for s in (0.5, 0.05))
    assert abs(wide.value - (1 - 2**-0.5)) < 4 * wide.error
    assert narrow.error < wide.error / 3


def test_stalled_loss_does_not_fall() -> None:
    """Noise around a constant: no trend beyond two errors and a half."""
    values = 2.3 + 0.1 * np.random.default_rng(0).normal(size=1000)
    fallen = history(losses(values), 1000, 0.0).fallen
    assert abs(fallen.value) < 2.5 * fallen.error
    assert fallen.error < 0.02


def test_a_biased_twin_would_be_caught() -> None:
    """Leaving the floor out of the excess halves the rate here: the test above can fail."""
    t = np.arange(1, 4001)
    biased = history(losses(2.0 * t**-0.5 + 0.7), 4000, floor=0.0).fallen
    assert abs(biased.value - (1 - 2**-0.5)) > 0.1


def test_too_few_losses_have_no_trend() -> None:
    """Short runs are not judged by their trend."""
    assert not history(losses(np.ones(FEWEST_LOSSES - 1)), 35, 0.0).fallen.is_finite
    assert not history(losses(np.ones(0)), 0, 0.0).start.is_finite


def test_nonfinite_losses_are_counted_and_left_out() -> None:
    """NaN and infinities end nothing; growth before the first one is told."""
    values = np.concatenate([np.full(100, 2.0), [4.0, 8.0, 16.0, math.inf, math.nan], np.full(20, 3.0)])
    past = history(losses(values), len(values), 0.0)
    assert (past.nonfinite, past.first_nonfinite) == (2, 104)
    assert past.rise == pytest.approx(2.0)
    assert math.isfinite(past.fallen.value)


def test_scatter_below_the_floor_still_has_a_trend() -> None:
    """Blocks below the floor have no logarithm; a straight line through the excess takes over, with an honest error."""
    noise = np.random.default_rng(1).normal(size=400)
    fallen = history(losses(1.0 + 0.05 + 0.5 * noise), 400, floor=1.0).fallen
    assert fallen.is_finite
    assert abs(fallen.value) < 3 * fallen.error
