"""Asking everywhere: on a grid, or at random."""

from itertools import product

import numpy as np

from theodolite.errors import SettingError
from theodolite.search.ledger import Ledger
from theodolite.search.space import Space


def grid_size(budget: int, dimension: int) -> int:
    """Points an axis, k = ⌊budget^(1/n)⌋, that a grid in n dimensions may have.

    Args:
        budget: Evaluations.
        dimension: n.

    Returns:
        k, at least 1.

    Example:
        >>> grid_size(1000, 3), grid_size(1000, 9), grid_size(1000, 10)
        (10, 2, 1)
    """
    k = max(1, int(budget ** (1 / dimension)) - 1)
    while (k + 1) ** dimension <= budget:
        k += 1
    return k


def search_grid(ledger: Ledger, space: Space, *, seed: int, points: int = 0) -> str:
    """Ask at every point of a grid that touches the bounds."""
    n, k = space.box("grid").dimension, points or grid_size(ledger.budget, space.dimension)
    if k < 2:
        raise SettingError(
            f"a grid must have two points an axis at least, 2^{n} = 10^{n * np.log10(2):.1f} in all; the budget is "
            f"{ledger.budget}. No grid is possible in so many dimensions: choose another method."
        )
    axis = np.linspace(0.0, 1.0, k)
    for shares in product(axis, repeat=n):
        ledger.value(space.within(np.array(shares)))
    return f"all {k}^{n} points of the grid were asked"


def search_random(ledger: Ledger, space: Space, *, seed: int) -> str:
    """Ask at points drawn uniformly from the box, until the budget ends it."""
    box, generator = space.box("random"), np.random.default_rng(seed)
    while True:
        ledger.value(box.within(generator.random(box.dimension)))
