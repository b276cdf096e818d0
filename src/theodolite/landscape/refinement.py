"""Where is one more point worth most, on a line and on a grid, and how wrong is what is interpolated between points?

A grid is refined as a hierarchy: each level halves the distances of the one before and is predicted from it by cubic
interpolation. Where a point is measured, its distance from the prediction (its surplus) is the error that was made
there; it tells what to expect beside it and below it. Source: Harten 1995, multiresolution.
"""

import heapq
from dataclasses import dataclass
from functools import reduce
from typing import Self

import numpy as np
from jaxtyping import Bool, Float, Int

_FINEST = 2.0**-20
"""Intervals below this share of a line are not halved again: in float32 their ends would soon be one point."""

_FEWEST = 9
"""Nodes a side of the coarsest level that is measured as a whole; of 51 they lie 6 or 7 apart."""

_KINK, _SMOOTH = 0.5, 0.42
"""Greatest and least share of a surplus that is expected at half the distance. A kink leaves a half, a smooth function
a sixteenth; on 64 pictures of small nets 0.42 was the least that kept the true error below the one expected in 63."""


def most_bent(
    positions: Float[np.ndarray, "points"], values: Float[np.ndarray, "points"], count: int
) -> Float[np.ndarray, "more"]:
    """Middles of the intervals in which straight lines between the points are most wrong.

    The error of an interval of length h is h²/8 times the greater second derivative at its ends, and a quarter of that
    in each half. Next to a value that is not finite it is the range of the finite ones, at the widest such interval.

    Args:
        positions: Ascending.
        values: The values there.
        count: How many middles.

    Returns:
        Ascending positions, fewer if nothing is left to halve.
    """
    lengths = np.diff(positions)
    heap = [(-error, *ends) for error, ends in zip(_chord_errors(positions, values), _pairs(positions), strict=True)]
    heapq.heapify(heap)
    found: list[float] = []
    least = _FINEST * float(lengths.sum())
    while heap and len(found) < count:
        error, low, high = heapq.heappop(heap)
        if error < 0 and high - low > least:
            middle = (low + high) / 2
            found.append(middle)
            heapq.heappush(heap, (error / 4, low, middle))
            heapq.heappush(heap, (error / 4, middle, high))
    return np.sort(np.array(found))


def _pairs(positions: Float[np.ndarray, "points"]) -> list[tuple[float, float]]:
    return list(zip(positions[:-1].tolist(), positions[1:].tolist(), strict=True))


def _chord_errors(
    positions: Float[np.ndarray, "points"], values: Float[np.ndarray, "points"]
) -> Float[np.ndarray, "intervals"]:
    """Estimated error of the straight line in each interval."""
    lengths, finite = np.diff(positions), np.isfinite(values)
    slopes = np.diff(np.where(finite, values, 0)) / lengths
    curvatures = np.zeros(len(values))
    curvatures[1:-1] = 2 * np.abs(np.diff(slopes)) / (lengths[1:] + lengths[:-1])
    curvatures[1:-1] *= finite[2:] & finite[1:-1] & finite[:-2]
    errors: np.ndarray = lengths**2 / 8 * np.maximum(curvatures[1:], curvatures[:-1])
    is_border = finite[1:] != finite[:-1]
    spread = np.ptp(values[finite]) if finite.any() else 0.0
    errors[is_border] = spread * (lengths[is_border] / lengths[is_border].max(initial=0.0)) ** 2
    return np.where(finite[1:] | finite[:-1], errors, 0.0)


@dataclass(frozen=True, eq=False)
class Ladder:
    """The levels of one axis, each holding the one before.

    Attributes:
        nodes: Places of each level on the axis, ascending; the last level holds all.
        cubics: From the values of a level to those of the next by cubics through the four nearest nodes.
        chords: The same by straight lines.
    """

    nodes: tuple[Int[np.ndarray, "_"], ...]
    cubics: tuple[Float[np.ndarray, "_ _"], ...]
    chords: tuple[Float[np.ndarray, "_ _"], ...]

    @classmethod
    def of(cls, axis: Float[np.ndarray, "grid"], levels: int = 0) -> Self:
        """Halve an axis until all its places are there.

        Args:
            axis: Ascending positions.
            levels: At least so many levels; the last is repeated.

        Returns:
            Levels from one with at least nine places, if there are so many, to that of all.
        """
        nodes = [np.array([0, len(axis) - 1])]
        while len(nodes[-1]) < len(axis):
            nodes.append(np.union1d(nodes[-1], (nodes[-1][1:] + nodes[-1][:-1]) // 2))
        base = next((k for k, level in enumerate(nodes) if len(level) >= _FEWEST), len(nodes) - 1)
        nodes = nodes[max(base - 2, 0) :]  # two coarser: their surpluses start the estimate
        nodes += [nodes[-1]] * (levels - len(nodes))
        rises = list(zip([axis[level] for level in nodes[:-1]], [axis[level] for level in nodes[1:]], strict=True))
        cubics, chords = (tuple(_lagrange(low, high, width) for low, high in rises) for width in (4, 2))
        return cls(tuple(nodes), cubics, chords)

    @property
    def levels(self) -> Int[np.ndarray, "grid"]:
        """The first level that holds each place."""
        found = np.full(len(self.nodes[-1]), len(self.nodes))
        for level, nodes in reversed(list(enumerate(self.nodes))):
            found[nodes] = level
        return found


def _lagrange(
    coarse: Float[np.ndarray, "coarse"], fine: Float[np.ndarray, "fine"], width: int
) -> Float[np.ndarray, "fine coarse"]:
    """Interpolation by polynomials through the nearest nodes; nodes themselves are kept to the bit."""
    width = min(width, len(coarse))
    rows = np.zeros((len(fine), len(coarse)))
    for row, at in zip(rows, fine.tolist(), strict=True):
        first = int(np.clip(np.searchsorted(coarse, at, side="right") - width // 2, 0, len(coarse) - width))
        near = coarse[first : first + width]
        for place, node in enumerate(near.tolist()):
            rest = np.delete(near, place)
            row[first + place] = np.prod((at - rest) / (node - rest))
    return rows


@dataclass(frozen=True, eq=False)
class Filled:
    """A grid, measured in part.

    Attributes:
        values: Measured or interpolated; NaN where nothing finite is near.
        errors: Expected error of each; 0 where it was measured, infinite beside values that are not finite.
    """

    values: Float[np.ndarray, "rows columns"]
    errors: Float[np.ndarray, "rows columns"]


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """Levels of a grid.

    Attributes:
        rows: Those of its rows.
        columns: Those of its columns; as many levels.
    """

    rows: Ladder
    columns: Ladder

    @classmethod
    def of(cls, y: Float[np.ndarray, "rows"], x: Float[np.ndarray, "columns"]) -> Self:
        """The levels of a grid.

        Args:
            y: Positions of the rows.
            x: Positions of the columns.

        Returns:
            Ladders of equal height.
        """
        height = max(len(Ladder.of(axis).nodes) for axis in (y, x))
        return cls(Ladder.of(y, height), Ladder.of(x, height))

    @property
    def levels(self) -> Int[np.ndarray, "rows columns"]:
        """The first level that holds each point."""
        found: np.ndarray = np.maximum.outer(self.rows.levels, self.columns.levels)
        return found

    @property
    def first(self) -> Bool[np.ndarray, "rows columns"]:
        """Where to measure before anything is known: the base level, and one point more in each row and column.

        The latter lie on a lattice, so that what spans the picture along an axis is met however narrow it is.
        """
        chosen = self.levels <= 2
        height, width = chosen.shape
        count = max(height, width)
        step = next(g for g in range(round(0.618 * count), 2 * count) if np.gcd(g, count) == 1)
        places = np.arange(count)
        chosen[places * height // count, places * step % count * width // count] = True
        return chosen

    def fill(self, measured: Bool[np.ndarray, "rows columns"], values: Float[np.ndarray, "rows columns"]) -> Filled:
        """Interpolate what was not measured, level by level.

        Args:
            measured: Where values stand; the whole base level is among them.
            values: The values there, anything elsewhere.

        Returns:
            The grid with its expected errors.
        """
        places = list(zip(self.rows.nodes, self.columns.nodes, strict=True))
        grid = values[np.ix_(*places[0])]
        errors, surplus, before = (np.full(grid.shape, value) for value in (0.0, 0.0, np.nan))
        for level, (rows, columns) in enumerate(places[1:]):
            rise = _Rise.of(self, level)
            guess, border = rise.predicted(grid)
            inside = np.ix_(rows, columns)
            known, truth = measured[inside], values[inside]
            missed = np.where(known, _distance(guess, truth), 0.0)
            near = rise.cell_maximum(np.maximum(surplus, 0.5 * _beside(surplus)))
            inherited = np.where(rise.is_new, near * _decay(near, rise.blended(before)), 0.0)
            expected = np.maximum(inherited, _beside(missed))
            expected = np.where(border, np.inf, rise.blended(errors) + expected)
            grid, errors = np.where(known, truth, guess), np.where(known, 0.0, expected)
            surplus, before = np.where(known, missed, inherited), near
        return Filled(grid, errors)


@dataclass(frozen=True, eq=False)
class _Rise:
    """From one level of a grid to the next."""

    cubics: tuple[Float[np.ndarray, "_ _"], Float[np.ndarray, "_ _"]]
    chords: tuple[Float[np.ndarray, "_ _"], Float[np.ndarray, "_ _"]]

    @classmethod
    def of(cls, grid: Hierarchy, level: int) -> Self:
        """The rise from a level."""
        axes = (grid.rows, grid.columns)
        return cls((axes[0].cubics[level], axes[1].cubics[level]), (axes[0].chords[level], axes[1].chords[level]))

    @property
    def is_new(self) -> Bool[np.ndarray, "rows columns"]:
        """Which points the coarser level does not hold."""
        old = [(chord == 1).any(1) for chord in self.chords]
        found: np.ndarray = ~np.logical_and.outer(*old)
        return found

    def predicted(
        self, grid: Float[np.ndarray, "coarse_rows coarse_columns"]
    ) -> tuple[Float[np.ndarray, "rows columns"], Bool[np.ndarray, "rows columns"]]:
        """Cubics, straight lines beside what is not finite, NaN within it; and where finite and not finite meet."""
        bad = ~np.isfinite(grid)
        whole = np.where(bad, 0.0, grid)
        guess = _sandwich(self.cubics, whole)
        if not bad.any():
            return guess, np.zeros(guess.shape, bool)
        reach = _sandwich((np.abs(self.cubics[0]), np.abs(self.cubics[1])), bad)
        share = self.blended(bad.astype(float))
        guess = np.where(reach > 0, self.blended(whole), guess)
        return np.where(share > 0, np.nan, guess), (share > 0) & (share < 1 - 1e-9)

    def blended(self, grid: Float[np.ndarray, "coarse_rows coarse_columns"]) -> Float[np.ndarray, "rows columns"]:
        """Bilinear interpolation; infinite values stay so."""
        infinite = np.isinf(grid)
        found = _sandwich(self.chords, np.where(infinite, 0.0, grid))
        return np.where(_sandwich(self.chords, infinite) > 0, np.inf, found) if infinite.any() else found

    def cell_maximum(self, grid: Float[np.ndarray, "coarse_rows coarse_columns"]) -> Float[np.ndarray, "rows columns"]:
        """Greatest value at the corners of the cell in which a point lies."""
        rows, columns = (chord > 0 for chord in self.chords)
        across = np.stack([np.where(row, grid.T, 0.0).max(1) for row in rows])
        found: np.ndarray = np.stack([np.where(column, across, 0.0).max(1) for column in columns], 1)
        return found


def _sandwich(
    sides: tuple[Float[np.ndarray, "fine_rows coarse_rows"], Float[np.ndarray, "fine_columns coarse_columns"]],
    grid: np.ndarray,
) -> Float[np.ndarray, "fine_rows fine_columns"]:
    product: np.ndarray = sides[0] @ grid @ sides[1].T
    return product


def _distance(guess: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Difference; 0 where neither is finite, infinite where one is not."""
    both, one = np.isfinite(guess) & np.isfinite(truth), np.isfinite(guess) | np.isfinite(truth)
    return np.where(both, np.abs(np.where(both, guess, 0) - np.where(both, truth, 0)), np.where(one, np.inf, 0.0))


def _decay(now: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Share of a surplus to be expected at half the distance, from that at twice the distance."""
    with np.errstate(invalid="ignore", divide="ignore"):
        shares: np.ndarray = np.clip(np.nan_to_num(now / before, nan=_KINK), _SMOOTH, _KINK)
    return shares


def _beside(grid: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "rows columns"]:
    """Greatest value among a point and its eight neighbours."""
    padded = np.pad(grid, 1)
    height, width = grid.shape
    shifts = (padded[i : i + height, j : j + width] for i in range(3) for j in range(3))
    found: np.ndarray = reduce(np.maximum, shifts)
    return found


def worst(
    filled: Filled, levels: Int[np.ndarray, "rows columns"], *, tolerance: float, count: int
) -> Int[np.ndarray, "cells 2"]:
    """Where to measure next: of the points within half of the greatest error those of the coarsest level.

    Args:
        filled: The grid so far.
        levels: The first level that holds each point.
        tolerance: Errors up to this one are let be.
        count: How many points at most.

    Returns:
        Rows and columns, the greatest error first.
    """
    top = float(filled.errors.max())
    if top <= tolerance or count < 1:
        return np.zeros((0, 2), int)
    is_bad = np.isinf(filled.errors) if np.isinf(top) else filled.errors > max(tolerance, top / 2)
    is_bad &= levels == levels[is_bad].min()
    places = np.argwhere(is_bad)
    order = np.argsort(-filled.errors[is_bad], kind="stable")[:count]
    return places[order]


def lower(
    filled: Filled, measured: Bool[np.ndarray, "rows columns"], *, tolerance: float, count: int
) -> Int[np.ndarray, "cells 2"]:
    """The least of the values, where it is interpolated: nothing is to be lowest that was not seen.

    Args:
        filled: The grid so far.
        measured: Which points were.
        tolerance: By so much it may be below all that was measured.
        count: How many points at most.

    Returns:
        Row and column of one point; none if a measured one is as low.
    """
    values = np.where(np.isfinite(filled.values), filled.values, np.inf)
    place = np.unravel_index(int(values.argmin()), values.shape)
    is_seen = values[place] >= np.min(values, where=measured, initial=np.inf) - tolerance
    return np.array([place]) if count > 0 and not is_seen else np.zeros((0, 2), int)


def widest_gap(measured: Bool[np.ndarray, "rows columns"]) -> int:
    """Side of the largest square of points none of which was measured.

    Args:
        measured: Which were.

    Returns:
        How many points a side; 0 if all were measured.
    """
    below = np.zeros(measured.shape[1] + 1, int)
    best = 0
    for row in measured:
        here = np.zeros_like(below)
        for column in np.flatnonzero(~row).tolist():
            here[column + 1] = 1 + min(here[column], below[column], below[column + 1])
        best, below = max(best, int(here.max())), here
    return best
