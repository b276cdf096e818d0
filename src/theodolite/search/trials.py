"""Optuna's way of asking: a trial at a time, proposed by a sampler that has seen all before it."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from theodolite._checks import require
from theodolite.search.ledger import Ledger
from theodolite.search.space import Space


def ask_and_tell(ledger: Ledger, space: Space, sampler: Any) -> str:
    """Ask what the sampler proposes until the budget ends it; a value that is not finite is told as a failed trial."""
    optuna = require("optuna", extra="search")
    sides = {f"x{i}": optuna.distributions.FloatDistribution(0.0, 1.0) for i in range(space.dimension)}
    with _silent():
        study = optuna.create_study(sampler=sampler)
        while True:
            trial = study.ask(sides)
            value = ledger.value(space.within(np.array([trial.params[name] for name in sides])))
            if np.isfinite(value):
                study.tell(trial, value)
            else:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)


def search_bayesian(ledger: Ledger, space: Space, *, seed: int, first: int = 10) -> str:
    """Bayesian optimization by Optuna: a Gaussian process of J, asked where it promises most; first at random."""
    optuna = require("optuna", extra="search")
    with _silent():
        sampler = optuna.samplers.GPSampler(seed=seed, n_startup_trials=first, deterministic_objective=True)
    return ask_and_tell(ledger, space.box("bayesian"), sampler)


def search_tpe(ledger: Ledger, space: Space, *, seed: int, first: int = 10) -> str:
    """Tree-structured Parzen estimator by Optuna: cheaper than a Gaussian process; each direction by itself."""
    optuna = require("optuna", extra="search")
    return ask_and_tell(ledger, space.box("tpe"), optuna.samplers.TPESampler(seed=seed, n_startup_trials=first))


@contextmanager
def _silent() -> Iterator[None]:
    """Optuna tells each trial, and warns of what is experimental: not here, and only here not."""
    logger = logging.getLogger("optuna")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
