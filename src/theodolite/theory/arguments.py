"""May a formula be asked this? Checks at the door of every formula of this room."""

import operator
from typing import SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

from theodolite.errors import SettingError, ShapeError


def reals(value: ArrayLike, name: str, *, least: float = -np.inf, most: float = np.inf) -> np.ndarray:
    """Finite numbers in a closed interval, as float64.

    Args:
        value: What came.
        name: What it is called by the caller.
        least: Lower end of the interval.
        most: Upper end of the interval.

    Returns:
        The array, of any shape.

    Raises:
        SettingError: If an entry is not finite or lies outside.
    """
    array = np.asarray(value, dtype=np.float64)
    wrong = ~(np.isfinite(array) & (array >= least) & (array <= most))
    if wrong.any():
        where = "" if least == -np.inf and most == np.inf else f" and in [{least:g}, {most:g}]"
        raise SettingError(f"{name} must be finite{where}, got {array[wrong][0]}. See where it comes from.")
    return array


def positive(value: float, name: str) -> float:
    """One finite number above 0.

    Args:
        value: What came.
        name: What it is called by the caller.

    Returns:
        The number.

    Raises:
        SettingError: If it is not finite or not positive.
    """
    if not (np.isfinite(value) and value > 0):
        raise SettingError(f"{name} must be finite and positive, got {value}. Choose it above 0.")
    return float(value)


def whole(value: SupportsIndex, name: str, *, least: int = 1) -> int:
    """One whole number, at least so large.

    Args:
        value: What came.
        name: What it is called by the caller.
        least: The least that makes sense.

    Returns:
        The number.

    Raises:
        SettingError: If it is less.
    """
    number = operator.index(value)
    if number < least:
        raise SettingError(f"{name} must be a whole number, {least} or more, got {number}.")
    return number


def row(value: ArrayLike, name: str) -> np.ndarray:
    """Finite numbers in one dimension, at least one of them.

    Args:
        value: What came.
        name: What it is called by the caller.

    Returns:
        The array, shape (n,).

    Raises:
        ShapeError: If it has another number of dimensions, or is empty.
        SettingError: If an entry is not finite.
    """
    array = reals(value, name)
    if array.ndim != 1 or array.size == 0:
        raise ShapeError(f"{name} must have shape (n,) with n > 0, got {array.shape}. For one of them pass [x].")
    return array


def matrix(value: ArrayLike, name: str) -> np.ndarray:
    """Finite numbers in two dimensions.

    Args:
        value: What came.
        name: What it is called by the caller.

    Returns:
        The matrix.

    Raises:
        ShapeError: If it has another number of dimensions, or is empty.
        SettingError: If an entry is not finite.
    """
    array = reals(value, name)
    if array.ndim != 2 or array.size == 0:
        raise ShapeError(f"{name} must be a matrix with at least one entry, got shape {array.shape}.")
    return array
