"""Where may a search ask: a start, and a box around what is sensible."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from theodolite.errors import SettingError, ShapeError

Vector = Float[np.ndarray, "params"]


@dataclass(frozen=True, eq=False)
class Space:
    """Where a search begins, and between which bounds it stays.

    Attributes:
        start: θ, float64, within the bounds.
        low: Lower bounds; −inf where there are none.
        high: Upper bounds.
    """

    start: Vector
    low: Vector
    high: Vector

    @property
    def dimension(self) -> int:
        """Number of entries of θ."""
        return int(self.start.size)

    @property
    def is_bounded(self) -> bool:
        """Whether there is a box."""
        return bool(np.isfinite(self.low).all() and np.isfinite(self.high).all())

    def within(self, shares: Vector) -> Vector:
        """The point of the box at these shares of its sides; 0 is the lower bound to the bit, 1 the upper."""
        point = self.low * (1 - shares) + self.high * shares
        return np.asarray(np.clip(point, self.low, self.high))

    def shares(self, point: Vector) -> Vector:
        """Where a point lies in the box, in shares of its sides."""
        return np.asarray((point - self.low) / (self.high - self.low))

    def box(self, method: str) -> "Space":
        """The space itself, if it has a box.

        Args:
            method: Who asks.

        Returns:
            The space.

        Raises:
            SettingError: If it has none.
        """
        if not self.is_bounded:
            raise SettingError(f"method {method!r} must know where to look; got no bounds. Give bounds=(low, high).")
        return self


def space_of(start: Vector | None, bounds: tuple[ArrayLike, ArrayLike] | None) -> Space:
    """A space from what a caller gave.

    Args:
        start: θ, shape (n,); None is the middle of the box.
        bounds: Lower and upper bounds, each a number or of shape (n,); None for none.

    Returns:
        The space.

    Raises:
        SettingError: If neither tells the dimension, a bound is not finite or not below the other, or the start lies
            outside.
        ShapeError: If shapes differ.
    """
    low, high = _sides(bounds)
    if start is None and low.ndim == 0 and high.ndim == 0:
        raise SettingError("start= or bounds= must tell the dimension; got neither. Give start=np.zeros(n), or bounds.")
    try:
        shape = np.broadcast_shapes(low.shape, high.shape, () if start is None else start.shape)
        low, high = (np.broadcast_to(side, shape).copy() for side in (low, high))
    except ValueError as error:
        shapes = f"{low.shape}, {high.shape} and {None if start is None else start.shape}"
        raise ShapeError(
            f"bounds and start must have one shape (n,), got {shapes}. Give numbers, or n of them."
        ) from error
    if len(shape) != 1 or shape[0] == 0:
        raise ShapeError(f"start and bounds must be vectors with at least one entry, got shape {shape}.")
    begin = 0.5 * (low + high) if start is None else np.array(start, dtype=np.float64)
    _check(begin, low, high, is_free=bounds is None)
    return Space(begin, low, high)


def _sides(bounds: tuple[ArrayLike, ArrayLike] | None) -> tuple[np.ndarray, np.ndarray]:
    if bounds is None:
        return np.array(-np.inf), np.array(np.inf)
    try:
        low, high = bounds
        return np.array(low, dtype=np.float64), np.array(high, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise SettingError(f"bounds must be a pair (low, high) of numbers or vectors, got {bounds!r}.") from error


def _check(start: Vector, low: Vector, high: Vector, *, is_free: bool) -> None:
    if start.shape != low.shape:
        raise ShapeError(f"start must have shape {low.shape} as the bounds have, got {start.shape}.")
    if not is_free and not (np.isfinite(low) & np.isfinite(high) & (low < high)).all():
        raise SettingError("bounds must be finite, and low below high, in every direction; they are not. Mend them.")
    if not np.isfinite(start).all():
        raise SettingError("start must be finite, and is not. Give another one.")
    if not ((low <= start) & (start <= high)).all():
        raise SettingError("start must lie within the bounds, and does not. Widen them, or give another start.")
