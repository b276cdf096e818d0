"""Does every value have its place on the axis, and every tick a true text?"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theodolite.plots.marks import Axis
from theodolite.plots.scales import (
    backward,
    choose_scale,
    fit,
    forward,
    fraction,
    number,
    percent,
    power,
    ticks,
)
from theodolite.records.words import several

FINITE = st.lists(st.floats(-1e8, 1e8, allow_nan=False, allow_subnormal=False), min_size=1, max_size=50)


@pytest.mark.parametrize("scale", ["linear", "symlog", "log"])
def test_backward_undoes_forward(scale):
    axis = Axis("y", "", scale, (1e-3, 1e3), 0.01)
    y = np.geomspace(1e-4, 1e4, 40)
    y = y if scale == "log" else np.concatenate([-y, [0.0], y])
    np.testing.assert_allclose(backward(axis, forward(axis, y)), y, rtol=1e-12)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(FINITE)
def test_an_axis_holds_all_finite_values(numbers):
    y = np.asarray([*numbers, np.nan, np.inf])
    axis = fit("y", "", [y])
    places = fraction(axis, np.asarray(numbers))
    assert np.all((places >= -1e-6) & (places <= 1 + 1e-6))
    assert axis.limits[0] < axis.limits[1]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(FINITE)
def test_ticks_ascend_inside_the_axis(numbers):
    axis = fit("y", "", [np.asarray(numbers)])
    values, texts = ticks(axis)
    assert len(values) == len(texts) <= 16
    assert np.all(np.diff(values) > 0)
    assert np.all((fraction(axis, np.asarray(values)) > -0.01) & (fraction(axis, np.asarray(values)) < 1.01))


@pytest.mark.parametrize(
    ("values", "scale"),
    [([1, 2, 3], "linear"), ([1e-3, 1e-2, 1], "log"), ([-1, 1, 2], "linear"), ([-1e-3, 1e-3, 2e-3, 5], "symlog"),
     ([], "linear")],
)  # fmt: skip
def test_choice_of_scale(values, scale):
    assert choose_scale(np.asarray(values, dtype=float)) == scale


def test_an_empty_axis_is_still_an_axis():
    assert fit("y", "", []).limits == (-1.0, 1.0)
    assert fit("y", "", [np.full(3, np.nan)], scale="log").limits == (0.1, 10.0)


def test_symlog_ticks_have_both_signs_and_zero():
    values, texts = ticks(Axis("y", "", "symlog", (-100.0, 100.0), 1.0))
    assert 0.0 in values
    assert {"−100", "100", "0"} <= set(texts)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.25, "0.25"), (-3.0, "−3"), (1e-7, "10⁻⁷"), (2.5e9, "2.5·10⁹"), (251.3, "251.3"), (float("nan"), "–"),
     (float("inf"), "∞"), (-float("inf"), "−∞")],
)  # fmt: skip
def test_numbers_as_people_write_them(value, text):
    assert number(value) == text


def test_large_counts_need_no_exponent():
    assert number(254.4, 2) == "250"
    assert power(0.001) == "10⁻³"
    assert power(2e5) == "2·10⁵"
    assert percent(0.256) == "26\u00a0%"
    assert percent(0.034) == "3.4\u00a0%"


def test_counts_agree_with_their_nouns():
    assert [several(n, "step") for n in (0, 1, 2)] == ["0 steps", "1 step", "2 steps"]


def test_units_and_scales_stand_in_the_title():
    assert Axis("λ", "loss per θ²", "symlog").title == "λ (loss per θ², symlog scale)"
    assert Axis("step").title == "step"
