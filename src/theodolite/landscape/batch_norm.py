"""With which statistics does batch normalisation run between two points?

In eval mode it uses running statistics. They are no part of θ: at a new point they must be chosen.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from theodolite.errors import SettingError
from theodolite.landscape.evaluation import evaluate
from theodolite.landscape.points import bare
from theodolite.objective import Objective
from theodolite.objective.isolation import isolated
from theodolite.records.lines import Evaluations

Choice = Literal["interpolated", "recomputed"]
_CHOICES = ("interpolated", "recomputed")
Statistics = dict[str, Tensor]
"""Running means and variances by the name of the buffer."""

_KINDS = ("running_mean", "running_var")


def batch_norms(model: nn.Module | None) -> dict[str, _BatchNorm]:
    """The batch normalisations of a model that keep running statistics.

    Args:
        model: Any module, or none.

    Returns:
        The modules by name.
    """
    found = {} if model is None else dict(model.named_modules())
    return {
        name: module
        for name, module in found.items()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }


def notes_of_statistics(objective: Objective, *, choice: str | None = None) -> tuple[str, ...]:
    """What to know of the statistics at the points of a picture.

    Args:
        objective: J(θ).
        choice: Which were chosen; None is those of the model.

    Returns:
        A sentence; none where no batch normalisation uses running statistics.
    """
    if choice is not None:
        return (f"Statistics of batch normalisation are {choice}.",)
    if all(norm.training for norm in batch_norms(objective.source.model).values()):
        return ()
    return ("Batch normalisation has the same running statistics at all points, those that the model has.",)


def have_statistics(objective: Objective, *states: object) -> bool:
    """Whether states hold running statistics that the model would use.

    Args:
        objective: J(θ).
        states: Points; those that are no tensors by name hold none.

    Returns:
        False too where the model has no batch normalisation in eval mode.
    """
    norms = batch_norms(objective.source.model)
    wanted = _running({name: norm for name, norm in norms.items() if not norm.training}).keys()
    held = [set(bare(state, objective.names)) if isinstance(state, Mapping) else set() for state in states]
    return bool(wanted) and all(wanted <= names for names in held)


def check_choice(objective: Objective, choice: object, *, choices: tuple[str, ...] = _CHOICES) -> None:
    """Refuse statistics that are none.

    Args:
        objective: J(θ).
        choice: Which were asked for.
        choices: Those that there are.

    Raises:
        SettingError: If the choice is none of these, or the model has no batch normalisation with running statistics.
    """
    if choice not in choices:
        raise SettingError(
            f"batch_norm must be None or {' or '.join(map(repr, choices))}, got {choice!r}. None keeps the statistics "
            "that the model has."
        )
    if not batch_norms(objective.source.model):
        raise SettingError(
            f"batch_norm={choice!r} needs a model with batch normalisation that keeps running statistics, and this one "
            "has none. Leave batch_norm at None."
        )


def statistics_between(
    objective: Objective, start: object, end: object, choice: str, *, at: Callable[[float], Tensor]
) -> Callable[[float], Statistics]:
    """The running statistics to use between two points.

    "interpolated" are (1−α)·those of start + α·those of end, variances not below 0. "recomputed" are those of the point
    itself: the mean over the batches of the objective, each counted by its examples.

    Args:
        objective: J(θ); gives the model and the data.
        start: Point at α = 0; a state with buffers where they are to be interpolated.
        end: Point at α = 1, likewise.
        choice: Which.
        at: θ(α), a vector of shape (n,).

    Returns:
        The statistics as a function of α; those of a position are found once.

    Raises:
        SettingError: If the choice is none of these, the model has no batch normalisation with running statistics, or
            a point comes without its buffers.

    Cost: one forward pass over the data a point if recomputed.
    Limits: recomputed variances are means of those within batches, as training itself keeps them.
    """
    check_choice(objective, choice)
    if choice == "recomputed":
        return cache(lambda alpha: recomputed(objective, at(alpha)))
    low, high = _buffers(objective, start, "start"), _buffers(objective, end, "end")

    def between(alpha: float) -> Statistics:
        mixed = {name: (1 - alpha) * low[name] + alpha * high[name] for name in low}
        return {name: value.clamp_min(0) if name.endswith("var") else value for name, value in mixed.items()}

    return between


def recomputed(objective: Objective, theta: Float[Tensor, "params"]) -> Statistics:
    """Running statistics estimated anew at a point, from the data of an objective.

    Args:
        objective: J(θ); gives the model and the data.
        theta: The point.

    Returns:
        Means over the batches, each counted by its examples: for even ones what ``momentum=None`` gives.

    Cost: one forward pass over the data, with its graph.
    Source: Izmailov et al. 2018, section 3.2.
    """
    source = objective.source
    norms = batch_norms(source.model)
    guard = isolated(source.modules, source.params.tensors, seed=objective.seed)
    with source.params.placed(theta), _as_found(norms), guard, torch.enable_grad():
        for norm in norms.values():
            norm.reset_running_stats()
            norm.training = True
        seen = 0
        for count, term in source.terms():
            seen += count
            for norm in norms.values():
                norm.momentum = count / seen
            term()
        return {name: buffer.clone() for name, buffer in _running(norms).items()}


def evaluated(
    objective: Objective, points: Iterable[tuple[Tensor, Statistics]], *, preview: bool = False
) -> Evaluations:
    """J at points with statistics of their own, in eval mode of batch normalisation.

    Args:
        objective: J(θ).
        points: Each θ, shape (n,), with its statistics.
        preview: Whether a forward pass in bfloat16 will do.

    Returns:
        One loss a point.

    Cost: a forward pass over the data a point.
    """
    found = []
    for theta, statistics in points:
        with evaluating(objective.source.model, statistics):
            found.append(evaluate(objective, theta, (), np.zeros((1, 0)), preview=preview))
    losses, errors = (np.concatenate([getattr(one, part) for one in found]) for part in ("losses", "errors"))
    return Evaluations(losses, errors, found[0].method, sum(one.seconds for one in found))


@contextmanager
def batchwise(model: nn.Module | None) -> Iterator[None]:
    """Let batch normalisation use the statistics of each batch, as training does; afterwards all is as it was.

    Args:
        model: The model.

    Yields:
        Nothing.
    """
    norms = batch_norms(model)
    with _as_found(norms):
        for norm in norms.values():
            norm.training = True
        yield


@contextmanager
def evaluating(model: nn.Module | None, statistics: Mapping[str, Tensor]) -> Iterator[None]:
    """Let batch normalisation run in eval mode with given statistics; afterwards all is as it was, to the bit.

    Args:
        model: The model.
        statistics: Running means and variances by the name of the buffer.

    Yields:
        Nothing.
    """
    norms = batch_norms(model)
    with _as_found(norms):
        for norm in norms.values():
            norm.training = False
        for name, buffer in _running(norms).items():
            buffer.copy_(statistics[name])
        yield


@contextmanager
def _as_found(norms: Mapping[str, _BatchNorm]) -> Iterator[None]:
    """Afterwards statistics, modes and momenta are what they were."""
    settings = [(norm, norm.training, norm.momentum) for norm in norms.values()]
    kept = [(buffer, buffer.clone()) for buffer in _running(norms).values()]
    try:
        yield
    finally:
        for norm, training, momentum in settings:
            norm.training, norm.momentum = training, momentum
        for buffer, value in kept:
            buffer.copy_(value)


def _running(norms: Mapping[str, _BatchNorm]) -> dict[str, Tensor]:
    """The buffers that hold the statistics, in their own storage; writing moves no version counter."""
    named = ((name, kind, getattr(norm, kind)) for name, norm in norms.items() for kind in _KINDS)
    return {f"{name}.{kind}".lstrip("."): buffer.data for name, kind, buffer in named}


def _buffers(objective: Objective, state: object, name: str) -> Statistics:
    """The statistics that a state holds."""
    found = _running(batch_norms(objective.source.model))
    entries = bare(state, objective.names) if isinstance(state, Mapping) else {}
    missing = [key for key in found if key not in entries]
    if missing:
        what = f"a state without {missing[0]!r}" if isinstance(state, Mapping) else f"a {type(state).__name__}"
        raise SettingError(
            f"batch_norm='interpolated' needs the running statistics of both ends, but {name} is {what}. Pass "
            "model.state_dict(), or let them be 'recomputed'."
        )
    return {key: torch.as_tensor(entries[key]).detach().to(buffer) for key, buffer in found.items()}
