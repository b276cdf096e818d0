"""What is the loss along a straight line between two points?"""

from collections.abc import Callable, Mapping
from concurrent.futures import Executor

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theodolite.errors import SettingError
from theodolite.landscape.batch_norm import Choice, evaluated, notes_of_statistics, statistics_between
from theodolite.landscape.evaluation import evaluate
from theodolite.landscape.points import point_of
from theodolite.landscape.refinement import most_bent
from theodolite.linalg.settings import check_count
from theodolite.objective import Objective
from theodolite.records.lines import Along, Evaluations, Line

Measure = Callable[[Objective, Float[np.ndarray, "points"]], Evaluations]
"""An objective at some positions of the line."""

_ROUNDS = 4
"""Points that refine are placed in so many rounds: each sees where the last has bent."""


def line(  # noqa: PLR0913  # two points, where to look, what at, and how
    objective: Objective,
    start: object,
    end: object,
    *,
    points: int = 51,
    extend: float = 0.25,
    refine: int = 0,
    others: Mapping[str, Objective] | None = None,
    labels: tuple[str, str] = ("start", "end"),
    batch_norm: Choice | None = None,
    preview: bool = False,
    executor: Executor | None = None,
    progress: bool = False,
) -> Line:
    """Loss along θ(α) = (1−α)·start + α·end, from α = −extend to 1 + extend.

    Args:
        objective: J(θ).
        start: Point at α = 0: a vector of shape (n,), or tensors by name (a state of the model, a snapshot of a run).
        end: Point at α = 1, likewise.
        points: How many even points, 0 and 1 exactly among them.
        extend: How far to go beyond both ends, in lengths of the line.
        refine: Points more, where the curve bends most.
        others: Further quantities by name, as objectives of the same θ: on validation data; with a metric as loss.
        labels: What stands at the ends.
        batch_norm: Statistics of batch normalisation in eval mode, "interpolated" between the states of both ends or
            "recomputed" at each point; None keeps the mode and the statistics that the model has.
        preview: Whether a forward pass in bfloat16 will do.
        executor: Where points are evaluated beside this process.
        progress: Whether to draw a progress bar on a terminal.

    Returns:
        Positions, losses and their standard errors over the batches; values that are not finite are kept.

    Raises:
        SettingError: If there are too few points, extend is negative or not finite, a state lacks a parameter, another
            quantity is one of other parameters, or batch_norm asks for what the model or the ends do not have.
        ShapeError: If an end has another shape.

    Cost: ``points + refine`` forward passes over the data, and as many for each of ``others``; twice that for the first
    with recomputed statistics.
    Limits: with ``batch_norm`` points are evaluated one by one in this process, whatever the executor; what is narrower
    than the distance of two points may be missed, also by ``refine``.
    Source: Goodfellow, Vinyals & Saxe 2015, section 2.

    Example:
        >>> import torch
        >>> bowl = Objective.from_function(lambda theta: theta @ theta, torch.ones(1))
        >>> line(bowl, torch.ones(1), torch.zeros(1), points=3, extend=0).losses
        array([1.  , 0.25, 0.  ])
    """
    here, there = point_of(objective, start, "start"), point_of(objective, end, "end")
    alphas = positions(points, extend)
    check_count("refine", refine, 0)
    further = dict(others or {})
    for name, other in further.items():
        _check_other(objective, other, name, is_same_model=batch_norm is not None)

    def plain(what: Objective, where: Float[np.ndarray, "points"]) -> Evaluations:
        # From zero, so that both ends are met to the bit.
        ends = torch.zeros_like(here), (here, there), np.stack([1 - where, where], 1)
        return evaluate(what, *ends, preview=preview, executor=executor, progress=progress)

    measure: Measure = plain
    if batch_norm is not None:
        measure = _normalised(objective, start, end, choice=batch_norm, preview=preview)
    alphas, found = _refined(objective, measure, alphas, refine)
    beside = [(name, measure(other, alphas)) for name, other in further.items()]
    return Line(
        alphas,
        found.losses,
        found.errors,
        *labels,
        length=float((there.double() - here.double()).norm()),
        others=tuple(Along(name, along.losses, along.errors) for name, along in beside),
        method=found.method,
        notes=notes_of_statistics(objective, choice=batch_norm),
    )


def positions(points: int, extend: float) -> Float[np.ndarray, "points"]:
    """Ascending positions from −extend to 1 + extend, even between the ends and even beyond, 0 and 1 among them.

    Args:
        points: How many.
        extend: How far beyond both ends.

    Returns:
        The positions.

    Raises:
        SettingError: If there are too few points, or extend is negative or not finite.
    """
    fewest = 4 if extend > 0 else 2
    if not 0 <= extend < float("inf"):
        raise SettingError(f"extend must be a finite number, not negative, got {extend}. 0 stays between the ends.")
    if points < fewest:
        raise SettingError(
            f"points must be at least {fewest} with extend={extend}, got {points}. Both ends are among them, and what "
            "lies beyond: take more, or extend=0."
        )
    outside = min(max(round((points - 1) * extend / (1 + 2 * extend)), 1), (points - 2) // 2) if extend > 0 else 0
    before = np.linspace(-extend, 0, outside + 1)[:-1]
    after = np.linspace(1, 1 + extend, outside + 1)[1:]
    return np.concatenate([before, np.linspace(0, 1, points - 2 * outside), after])


def _refined(
    objective: Objective, measure: Measure, alphas: Float[np.ndarray, "points"], refine: int
) -> tuple[Float[np.ndarray, "all"], Evaluations]:
    """J at the positions, and at as many more as are asked for, where it bends."""
    found = measure(objective, alphas)
    aim = len(alphas) + refine
    while len(alphas) < aim:
        wanted = min(aim - len(alphas), -(-refine // _ROUNDS))
        more = most_bent(alphas, found.losses, wanted)
        if not len(more):
            break
        alphas, found = _joined(alphas, found, more, measure(objective, more))
    return alphas, found


def _joined(
    alphas: Float[np.ndarray, "points"], found: Evaluations, more: Float[np.ndarray, "more"], new: Evaluations
) -> tuple[Float[np.ndarray, "both"], Evaluations]:
    """Two sets of points in ascending order."""
    both = np.concatenate([alphas, more])
    order = np.argsort(both)
    losses = np.concatenate([found.losses, new.losses])[order]
    errors = np.concatenate([found.errors, new.errors])[order]
    return both[order], Evaluations(losses, errors, found.method, found.seconds + new.seconds)


def _normalised(objective: Objective, start: object, end: object, *, choice: str, preview: bool) -> Measure:
    """Evaluation point by point, each with statistics of its own."""
    here, there = point_of(objective, start, "start"), point_of(objective, end, "end")

    def at(alpha: float) -> Tensor:
        return (1 - alpha) * here + alpha * there

    statistics = statistics_between(objective, start, end, choice, at=at)

    def measure(what: Objective, where: Float[np.ndarray, "points"]) -> Evaluations:
        return evaluated(what, ((at(alpha), statistics(alpha)) for alpha in where.tolist()), preview=preview)

    return measure


def _check_other(objective: Objective, other: object, name: str, *, is_same_model: bool) -> None:
    """Complain of a quantity that is none of this θ."""
    if not isinstance(other, Objective) or (other.names, other.params.sizes) != (
        objective.names,
        objective.params.sizes,
    ):
        raise SettingError(
            f"others[{name!r}] must be an Objective of the same parameters, got {other!r}. Form it with the same model."
        )
    if is_same_model and other.source.model is not objective.source.model:
        raise SettingError(
            f"others[{name!r}] must have the very model of the objective where the statistics of batch normalisation "
            "are chosen, got another. Form it with the same model."
        )
