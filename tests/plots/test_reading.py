"""Is anything lost on the way from a series to a picture?"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theodolite.plots import reading
from theodolite.plots.marks import Role

VALUES = st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=1, max_size=400)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(VALUES, st.sampled_from([8, 40, 200]))
def test_thinning_keeps_ends_extremes_and_gaps(numbers, most):
    y = np.asarray(numbers, dtype=np.float64)
    kept = reading.thin(y, most)
    finite = np.flatnonzero(np.isfinite(y))
    assert np.all(np.diff(kept) > 0)
    if finite.size:
        shown = y[kept][np.isfinite(y[kept])]
        assert shown.min() == y[finite].min()
        assert shown.max() == y[finite].max()
        assert {finite[0], finite[-1]} <= set(kept)
    gaps = [i for i in range(y.size) if not np.isfinite(y[i]) and (i == 0 or np.isfinite(y[i - 1]))]
    assert set(gaps) <= set(kept), "a line drawn through the kept points must be interrupted at every gap"
    assert kept.size <= most + len(gaps) + 4


@settings(max_examples=200, deadline=None, derandomize=True)
@given(VALUES)
def test_every_value_is_drawn_or_counted(numbers):
    y = np.asarray(numbers, dtype=np.float64)
    x = np.arange(y.size, dtype=np.float64)
    marks = reading.unplaced("loss", x, y, is_log=True)
    assert sum(mark.count for mark in marks) == int(np.sum(~(np.isfinite(y) & (y > 0))))
    assert sum(mark.count for mark in reading.unplaced("loss", x, y)) == int(np.sum(~np.isfinite(y)))


def test_many_marks_are_thinned_but_counted():
    marks = reading.unplaced("loss", np.arange(5000.0), np.full(5000, np.nan))
    assert marks[0].count == 5000
    assert marks[0].x.size <= 600
    assert {marks[0].x[0], marks[0].x[-1]} == {0.0, 4999.0}
    assert marks[0].reason == "loss: 5000 values that are not a number"


def test_one_mark_is_one_value():
    marks = reading.unplaced("loss", np.ones(1), np.asarray([np.inf]))
    assert marks[0].reason == "loss: 1 infinite value"
    assert marks[0].edge == "top"


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 5000), min_size=1, max_size=200, unique=True), st.integers(1, 60))
def test_windows_part_the_measurements(steps, most):
    x = np.sort(np.asarray(steps, dtype=np.float64))
    cut = reading.windows(x, most=most)
    assert sorted(np.concatenate(cut.members).tolist()) == list(range(x.size))
    assert len(cut.members) <= most
    for center, width, members in zip(cut.centers, cut.widths, cut.members, strict=True):
        assert np.all(np.abs(x[members] - center) <= width / 2 + 1e-6)


def test_window_means_have_standard_errors():
    cut = reading.windows(np.arange(1.0, 9.0), most=2)
    means, errors = reading.window_means(np.asarray([1.0, 2, 3, 4, 10, 10, np.nan, 10]), cut)
    np.testing.assert_allclose(means, [2.5, 10.0])
    np.testing.assert_allclose(errors, [np.std([1, 2, 3, 4], ddof=1) / 2, 0.0])


def test_a_single_value_brings_its_own_error():
    cut = reading.windows(np.asarray([5.0]))
    assert reading.window_means(np.asarray([2.0]), cut, np.asarray([0.3]))[1].tolist() == [0.3]
    assert np.isnan(reading.window_means(np.asarray([2.0]), cut)[1][0])


def test_no_windows_of_nothing():
    assert reading.windows(np.zeros(0)).members == ()


@pytest.mark.parametrize(("count", "kinds"), [(30, ["Points"]), (300, ["Band", "Curve"])])
def test_many_points_become_a_line_with_a_band(count, kinds):
    x = np.arange(float(count))
    layers = reading.track("λ", x, np.sin(x), np.full(count, 0.1), role=Role.MAIN)
    assert [type(layer).__name__ for layer in layers] == kinds
