"""How is J evaluated at many points that lie on one line, plane or flat?"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from time import perf_counter
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from theodolite.errors import ShapeError
from theodolite.landscape.flats import Flat, Surface
from theodolite.landscape.tuning import FEW, Choice, chosen, untried
from theodolite.landscape.ways import Way, batch_losses
from theodolite.landscape.workers import spread
from theodolite.linalg.progress import progress as drawn
from theodolite.objective import Objective
from theodolite.records.lines import Evaluations


def evaluate(
    objective: Objective,
    origin: object,
    directions: Sequence[object],
    coefficients: Float[np.ndarray, "points directions"],
    *,
    preview: bool = False,
    executor: Executor | None = None,
    progress: bool = False,
) -> Evaluations:
    """J at the points θ = origin + Σₖ cₖ·directionₖ, the fastest way that gives the same J.

    Parameters are put in place and brought back to the bit. From 8 points on, other ways are tried at two of them, and
    the fastest that agrees is taken, and kept for further calls: batches in pieces that fit a cache; a first layer
    whose input is fixed as an affine function of c. ``method`` tells which.

    Args:
        objective: J(θ).
        origin: Where all coefficients are 0, shape (n,).
        directions: Vectors of shape (n,).
        coefficients: c, a row a point, a column a direction.
        preview: Whether a forward pass in bfloat16 will do: two or three digits, for pictures, not for differences.
            Weights are combined in full precision. Left out where it is not faster, or off by more than 1 %.
        executor: Processes that evaluate the points, by the same way, with the same numbers; None is this one only.
            A lost worker costs its points once more.
        progress: Whether to draw a progress bar on a terminal.

    Returns:
        One loss a point with its standard error over the batches.

    Raises:
        ShapeError: If a vector has another shape than θ, or there is not one column of coefficients a direction.
        SettingError: If the executor runs threads.
        ObjectiveError: If model, loss or data cannot be sent to the executor's processes.

    Cost: one forward pass over the data a point, and less where a faster way is found; trying takes the time of three
        points and about a quarter of all, once. Memory for θ twice, and once a direction.
    Limits: a preview in float32 only. With an executor, model and data are held by every process.
    """
    here = objective.params.vector(origin, "origin")
    flat = Flat(here, tuple(objective.params.vector(way, "direction") for way in directions))
    rows = np.asarray(coefficients, np.float64)
    if rows.ndim != 2 or rows.shape[1] != len(flat.directions):
        raise ShapeError(
            f"coefficients must have shape (points, {len(flat.directions)}), got {rows.shape}. "
            "Give one column a direction."
        )
    start = perf_counter()
    if not len(rows):
        return Evaluations(np.empty(0), np.empty(0), str(Way()), perf_counter() - start)
    surface = Surface(objective.source, objective.seed, flat)
    with drawn(len(rows), "points") if progress else nullcontext() as bar:
        choice = _choice(objective, surface, rows, preview=preview)
        advance = _advance(bar, len(rows) * (choice.passes if executor is None else 1))
        if executor is None:
            found = batch_losses(surface, rows, way=choice.way, note=lambda losses: advance(1))
        else:
            found = spread(executor, surface, rows, way=choice.way, note=advance)
    values = [mean_and_error(found.counts, losses) for losses in found.losses]
    losses, errors = np.array(values, np.float64).T
    return Evaluations(losses, errors, str(Choice(found.way, choice.remark)), perf_counter() - start)


def _advance(bar: Any, total: int) -> Callable[[int], object]:
    """What moves a bar, if there is one: never beyond its end, also where points are gone through once more."""
    if bar is None:
        return lambda count: None
    bar.total = total
    return lambda count: bar.update(min(count, total - bar.n))


def _choice(
    objective: Objective, surface: Surface, rows: Float[np.ndarray, "points directions"], *, preview: bool
) -> Choice:
    """The way to take; one found before in the same circumstances, with as much time to try, is taken again."""
    modes = tuple(module.training for root in objective.source.modules for module in root.modules())
    key = preview, len(surface.flat.directions), modes, torch.get_num_threads()
    known = objective.ways.get(key)
    if isinstance(known, Choice) and known.points >= len(rows):
        return known
    if len(rows) < FEW:
        return untried(objective.source, preview=preview)
    choice = objective.ways[key] = chosen(surface, rows, preview=preview)
    return choice


def mean_and_error(counts: Float[np.ndarray, "batches"], losses: Float[np.ndarray, "batches"]) -> tuple[float, float]:
    """Mean over examples, and its standard error from the scatter over batches.

    Args:
        counts: Examples of each batch.
        losses: Mean loss of each batch.

    Returns:
        Σwl/Σw and the square root of B/(B−1) Σw²(l − mean)² / (Σw)²; the error is NaN for one batch.

    Source: Cochran 1977, section 2.11 (ratio estimate).
    """
    mean = float(np.dot(counts, losses) / counts.sum())
    size = len(counts)
    if size < 2 or not np.isfinite(mean):
        return mean, float("nan")
    scatter = float(np.sum(counts**2 * (losses - mean) ** 2))
    return mean, float(np.sqrt(size / (size - 1) * scatter) / counts.sum())
