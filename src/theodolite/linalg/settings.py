"""Is a setting one that can be asked for?"""

import math
from numbers import Integral

from theodolite.errors import SettingError


def check_count(name: str, value: float, least: int = 1) -> None:
    """Complain of a count that is no whole number, or too small.

    Args:
        name: What it counts.
        value: The count.
        least: The least that will do.

    Raises:
        SettingError: If it is not whole, or less.
    """
    if not isinstance(value, Integral):
        raise SettingError(f"{name} must be a whole number, got {value!r}. Round it.")
    if value < least:
        raise SettingError(f"{name} must be at least {least}, got {value}. Raise it.")


def check_tolerance(name: str, value: float) -> None:
    """Complain of a tolerance that no residual can be held against.

    Args:
        name: What it is.
        value: The tolerance.

    Raises:
        SettingError: If it is negative or not finite.
    """
    if not 0 <= value < math.inf:
        raise SettingError(f"{name} must be finite and not negative, got {value}. Give a number such as 1e-3, or 0.")
