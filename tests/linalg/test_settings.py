"""Are settings that cannot be asked for told, and others let through?"""

import math

import pytest

from theodolite.errors import SettingError
from theodolite.linalg.settings import check_count, check_tolerance


@pytest.mark.parametrize("value", [1, 7, 2**80])
def test_counts_that_will_do(value):
    check_count("products", value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "products must be at least 1, got 0. Raise it."),
        (-3, "at least 1, got -3"),
        (2.0, "products must be a whole number, got 2.0. Round it."),
        (math.nan, "whole number, got nan"),
    ],
)
def test_counts_that_will_not(value, message):
    with pytest.raises(SettingError, match=message):
        check_count("products", value)


@pytest.mark.parametrize("value", [0, 0.0, 1e-300, 1e-3, 2])
def test_tolerances_that_will_do(value):
    check_tolerance("rtol", value)


@pytest.mark.parametrize("value", [-1e-300, -1, math.nan, math.inf, -math.inf])
def test_tolerances_that_will_not(value):
    with pytest.raises(SettingError, match=f"rtol must be finite and not negative, got {value}. Give a number"):
        check_tolerance("rtol", value)
