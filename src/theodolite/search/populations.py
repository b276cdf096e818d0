"""Asking as evolution does: a population, and which of it are the fittest."""

import warnings

import numpy as np
from scipy.optimize import differential_evolution

from theodolite._checks import require
from theodolite.errors import SettingError
from theodolite.search.ledger import Ledger
from theodolite.search.space import Space, Vector
from theodolite.search.trials import ask_and_tell

_QUIET = -9
_FULL_COVARIANCE = 200
"""Up to so many directions CMA-ES learns all of their covariance: n² numbers, whose decomposition costs n³."""

_SIGMA, _SHARE = 0.3, 0.3
"""First standard deviation: of the sides of the box; without one, of a typical entry of the start, or 1."""


def search_cma(
    ledger: Ledger, space: Space, *, seed: int, sigma: float = 0.0, population: int = 0, restarts: int = 0
) -> str:
    """CMA-ES, by pycma; each restart from the same start doubles the population."""
    cma = require("cma", extra="search")
    generator, n = np.random.default_rng(seed), space.dimension
    options: dict[str, object] = {
        "seed": np.nan,
        "randn": lambda *shape: generator.standard_normal(shape),
        "verbose": _QUIET,
        "verb_log": 0,
    }
    options |= {"CMA_diagonal": n > _FULL_COVARIANCE} | ({"bounds": [0.0, 1.0]} if space.is_bounded else {})
    start = space.shares(space.start) if space.is_bounded else space.start
    first = sigma or (_SIGMA if space.is_bounded else _SHARE * _typical(start))
    size, why = population or 4 + int(3 * np.log(n)), ""
    for _ in range(1 + restarts):
        strategy = cma.CMAEvolutionStrategy(start, first, options | {"popsize": size})
        while not strategy.stop():
            asked = strategy.ask()
            points = [space.within(np.asarray(one)) if space.is_bounded else np.asarray(one) for one in asked]
            strategy.tell(asked, [_or_infinite(ledger.value(point)) for point in points])
        why, size = ", ".join(sorted(strategy.stop())), 2 * size
    return f"CMA-ES stopped by itself: {why}"


def _typical(start: Vector) -> float:
    """Root mean square of the entries, or 1 where all are zero."""
    return float(np.sqrt(np.mean(start**2))) or 1.0 / _SHARE


def _or_infinite(value: float) -> float:
    """What a ranking can hold: the worst in place of what is no number."""
    return value if np.isfinite(value) else np.inf


def search_genetic(ledger: Ledger, space: Space, *, seed: int, population: int = 50) -> str:
    """A genetic algorithm by Optuna: crossover, mutation, and the fittest of parents and children live on."""
    if population < 2:
        raise SettingError(f"population must be 2 at least, to have parents; got {population}.")
    optuna = require("optuna", extra="search")
    sampler = optuna.samplers.NSGAIISampler(population_size=population, seed=seed)
    return ask_and_tell(ledger, space.box("genetic"), sampler)


def search_differential(ledger: Ledger, space: Space, *, seed: int, population: int = 0) -> str:
    """Differential evolution by SciPy, Storn & Price 1997; 15 n members, or as many as are asked for, at least 5."""
    box = space.box("differential-evolution")
    n = box.dimension
    members = np.random.default_rng(seed).random((max(5, population or 15 * n), n))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # members whose J is infinite
        found = differential_evolution(
            lambda shares: _or_infinite(ledger.value(box.within(shares))),
            [(0.0, 1.0)] * n,
            init=members,
            rng=np.random.default_rng(seed + 1),
            maxiter=ledger.budget,
            polish=False,
        )
    return str(found.message)
