"""How is the least J found by asking? One call for every way, with one record of what was asked and what it cost."""

import hashlib
import inspect
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from theodolite.errors import SettingError, ShapeError
from theodolite.linalg.progress import progress as drawn
from theodolite.objective import Objective
from theodolite.objective.isolation import isolated
from theodolite.records import Search, Status
from theodolite.search.closed_forms import search_closed_form
from theodolite.search.exhaustive import search_grid, search_random
from theodolite.search.ledger import Finished, Ledger
from theodolite.search.local import BLIND, CURVED, SLOPED, search_locally
from theodolite.search.oracle import FromFunction, FromObjective, Oracle
from theodolite.search.populations import search_cma, search_differential, search_genetic
from theodolite.search.space import Space, space_of
from theodolite.search.store import Store
from theodolite.search.trials import search_bayesian, search_tpe

METHODS: Mapping[str, tuple[Callable[..., str], str]] = MappingProxyType(
    {
        "grid": (search_grid, "numpy"),
        "random": (search_random, "numpy"),
        "cma-es": (search_cma, "cma"),
        "genetic": (search_genetic, "optuna"),
        "differential-evolution": (search_differential, "scipy"),
        "bayesian": (search_bayesian, "optuna"),
        "tpe": (search_tpe, "optuna"),
        "analytical": (search_closed_form, "numpy"),
        **{name: (partial(search_locally, method=name), "scipy") for name in (*SLOPED, *CURVED, *BLIND)},
    }
)
"""Name -> what asks, and the library that decides what to ask."""

_REAL = ("sigma", "tolerance")
_OURS = ("ledger", "space", "seed", "method", "objective")


@dataclass(frozen=True, eq=False)
class _Plan:
    """What is to be done."""

    method: str
    settings: dict[str, float]
    seed: int
    target: float
    budget: int
    library: str
    space: Space


def minimize(  # noqa: PLR0913  # an objective, a method, where to ask, and when to stop
    objective: Objective | Callable[[np.ndarray], float],
    method: str = "cma-es",
    budget: int = 1000,
    *,
    bounds: tuple[ArrayLike, ArrayLike] | None = None,
    start: ArrayLike | Tensor | None = None,
    seed: int = 0,
    target: float = -np.inf,
    path: str | Path | None = None,
    progress: bool = False,
    **settings: float,
) -> Search:
    """The least J that a way of asking finds within a budget, and all that was asked.

    ``grid`` and ``random`` ask everywhere; ``cma-es``, ``genetic`` and ``differential-evolution`` keep a population;
    ``bayesian`` and ``tpe`` model J; ``l-bfgs``, ``cg`` and ``bfgs`` follow its slope, ``newton-cg`` and ``trust-ncg``
    its curvature too, ``nelder-mead`` and ``powell`` neither; ``analytical`` knows the answer, where J has one.

    Args:
        objective: J; or a function of one float64 array of shape (n,) that returns a number.
        method: One of those.
        budget: Forward passes: J costs one, J with its gradient four, a product with the Hessian six.
        bounds: Lower and upper bounds, each a number or of shape (n,). Those that ask everywhere, model J or breed need
            them; methods that know no bounds refuse them.
        start: θ to begin at, shape (n,), for ``cma-es`` and SciPy's local methods; by default that of the objective, or
            the middle of the bounds.
        seed: Of all randomness; the same call gives the same search.
        target: J at which to stop.
        path: A file for the answers, each written before it is used. The same call with a file that is there goes on
            where it ended, and ends as if it had never been interrupted; with a larger budget, farther.
        progress: Whether to draw a progress bar.
        **settings: Of the method: ``points`` an axis (grid); ``sigma``, ``population``, ``restarts`` (cma-es);
            ``population`` (genetic, differential-evolution); ``first`` asked at random (bayesian, tpe); ``tolerance``
            (SciPy's).

    Returns:
        The search. Values that are not finite are on its record, and the search goes on.

    Raises:
        SettingError: If the method or a setting is unknown, or the method lacks what it needs: bounds, gradients, a
            form that it knows.
        ShapeError: If shapes do not fit.
        MissingPackageError: If the method's library is not installed: ``pip install 'theodolite[search]'``.
        RunError: If the file is of another search.

    Cost: the budget, and what the library spends on what to ask, which is much for ``bayesian`` (the cube of what was
    asked before) and for ``cma-es`` (n² numbers up to 200 dimensions; n beyond, where it learns variances alone).
    Limits: a file answers for J; that J is the same as before is only seen by what is asked. Points are kept up to
    64 MiB. θ is float64; an objective rounds it to its own type. ``analytical`` sees negative curvature beyond 300
    dimensions only along the directions that it asks for.

    Example:
        >>> found = minimize(lambda x: float(((x - 1) ** 2).sum()), "nelder-mead", start=[0.0, 0.0])
        >>> found.value < 1e-6, found.point.round(3)
        (True, array([1., 1.]))
    """
    ask, library = _method_of(method, settings)
    oracle, space = _place(objective, start, bounds)
    if isinstance(budget, bool) or not isinstance(budget, int | np.integer) or budget < 1:
        raise SettingError(f"budget must be a whole number of forward passes, 1 at least; got {budget!r}.")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise SettingError(f"seed must be a whole number from 0 to 2³² − 1; got {seed!r}.")
    if method == "analytical":
        if not isinstance(objective, Objective):
            raise SettingError("method 'analytical' must know the form of J; got a function. Make an Objective of it.")
        ask = partial(ask, objective=objective)
    made = {name: float(value) for name, value in settings.items()}
    plan = _Plan(method, made, int(seed), float(target), int(budget), f"{library} {version(library)}", space)
    with ExitStack() as stack:
        stack.enter_context(isolated())  # libraries draw from the global generators of NumPy and torch
        store = stack.enter_context(Store(path, _about(plan))) if path is not None else None
        tick = stack.enter_context(drawn(plan.budget, "passes")).update if progress else None
        ledger = Ledger(oracle, plan.budget, target=plan.target, store=store, tick=tick)
        status, why = _run(partial(ask, ledger, space, seed=plan.seed, **settings))
    return _record(plan, ledger, status, why)


def _run(ask: Callable[[], str]) -> tuple[Status, str]:
    """Ask until the method has no more to ask, or the ledger ends it."""
    try:
        return Status.CONVERGED, ask()
    except Finished as end:
        return end.status, end.why


def _method_of(method: str, settings: Mapping[str, Any]) -> tuple[Callable[..., str], str]:
    """What asks, with settings that it knows."""
    if method not in METHODS:
        raise SettingError(f"method must be one of {', '.join(METHODS)}; got {method!r}.")
    ask, library = METHODS[method]
    known = [name for name in inspect.signature(ask).parameters if name not in _OURS]
    for name, value in settings.items():
        if name not in known:
            raise SettingError(f"{method} has the settings {', '.join(known) or 'none'}; got {name}=.")
        is_number = isinstance(value, int | float | np.number) and np.isfinite(value) and value >= 0
        if not is_number or (name not in _REAL and value != int(value)):
            kind = "finite number" if name in _REAL else "whole number"
            raise SettingError(f"{name} must be a {kind}, not negative; got {value!r}.")
    return ask, library


def _place(
    objective: Objective | Callable[[np.ndarray], float],
    start: ArrayLike | Tensor | None,
    bounds: tuple[ArrayLike, ArrayLike] | None,
) -> tuple[Oracle, Space]:
    """Whom to ask, and where."""
    first = None if start is None else _array(start)
    if not isinstance(objective, Objective):
        if not callable(objective):
            raise SettingError(f"objective must be an Objective or a function, got {type(objective).__name__}.")
        return FromFunction(objective), space_of(first, bounds)
    if first is None:
        first = _within(_array(objective.point()), bounds)
    if first.shape != (objective.dimension,):
        raise ShapeError(f"start must have shape ({objective.dimension},), as θ has; got {first.shape}.")
    return FromObjective(objective), space_of(first, bounds)


def _array(values: ArrayLike | Tensor) -> np.ndarray:
    """Numbers as float64."""
    return np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=np.float64)


def _within(theta: np.ndarray, bounds: tuple[ArrayLike, ArrayLike] | None) -> np.ndarray:
    """A point moved into the bounds; what is wrong with these is told where they are read."""
    try:
        return theta if bounds is None else np.clip(theta, *(_array(side) for side in bounds))
    except (TypeError, ValueError):
        return theta


def _about(plan: _Plan) -> dict[str, Any]:
    """What makes a search what it is, as JSON can hold it; of a grid the points lie where the budget puts them."""
    sides = b"".join(side.tobytes() for side in (plan.space.start, plan.space.low, plan.space.high))
    return {
        "method": plan.method,
        "settings": plan.settings,
        "seed": plan.seed,
        "dimension": plan.space.dimension,
        "start and bounds": hashlib.blake2b(sides, digest_size=16).hexdigest(),
        "library": plan.library,
        **({"budget": plan.budget} if plan.method == "grid" else {}),
    }


def _record(plan: _Plan, ledger: Ledger, status: Status, why: str) -> Search:
    """What the ledger holds, as a value."""
    missing = int(np.count_nonzero(~np.isfinite(ledger.values)))
    notes = [f"{why[:1].upper()}{why[1:].rstrip('.')}."]
    notes += [f"{missing} of {len(ledger.values)} values were not finite."] if missing else []
    notes += [] if ledger.is_whole else ["Points are not kept: they would not have fitted into memory."]
    return Search(
        method=plan.method,
        value=float(ledger.best_value),
        point=plan.space.start.copy() if ledger.best_point is None else ledger.best_point,
        values=np.array(ledger.values),
        costs=np.array(ledger.costs),
        seconds=np.array(ledger.seconds),
        status=status,
        spent=float(ledger.spent),
        points=np.array(ledger.points).reshape(len(ledger.points), plan.space.dimension),
        start=plan.space.start,
        target=plan.target,
        budget=plan.budget,
        seed=plan.seed,
        settings=plan.settings,
        library=plan.library,
        notes=tuple(notes),
    )
