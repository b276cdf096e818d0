"""With which statistics does batch normalisation run between two points?

In eval mode it uses running statistics. They are no part of θ: at a new point they must be chosen.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from theodolite.errors import SettingError
from theodolite.landscape.points import bare
from theodolite.objective import Objective
from theodolite.objective.isolation import isolated

Choice = Literal["interpolated", "recomputed"]
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
    if choice not in ("interpolated", "recomputed"):
        raise SettingError(
            f"batch_norm must be None, 'interpolated' or 'recomputed', got {choice!r}. None keeps the statistics that "
            "the model has."
        )
    if not batch_norms(objective.source.model):
        raise SettingError(
            f"batch_norm={choice!r} needs a model with batch normalisation that keeps running statistics, and this one "
            "has none. Leave batch_norm at None."
        )
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
    entries = bare(state) if isinstance(state, Mapping) else {}
    missing = [key for key in found if key not in entries]
    if missing:
        what = f"a state without {missing[0]!r}" if isinstance(state, Mapping) else f"a {type(state).__name__}"
        raise SettingError(
            f"batch_norm='interpolated' needs the running statistics of both ends, but {name} is {what}. Pass "
            "model.state_dict(), or let them be 'recomputed'."
        )
    return {key: torch.as_tensor(entries[key]).detach().to(buffer) for key, buffer in found.items()}
