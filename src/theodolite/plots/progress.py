"""How much did a step promise and deliver, in loss, and does its gain carry over to data it has not seen?"""

from dataclasses import dataclass

import numpy as np

from theodolite.plots.marks import Absent, Chart, Layer, Level, Role
from theodolite.plots.reading import (
    aligned,
    error_band,
    errors_at,
    lacking,
    late,
    measured,
    notes_of,
    step_axis,
    unplaced,
    when,
    window_means,
    windows,
)
from theodolite.plots.scales import fit, number, percent
from theodolite.records.run import Run
from theodolite.records.words import several


def marks_progress(run: Run) -> Chart | Absent:
    """What a step promised and what it delivered, in loss per step.

    Args:
        run: The run.

    Returns:
        The chart, or what is missing.
    """
    title = "Promised and delivered progress per step"
    absent = lacking(run, "progress", title, ("promise", "delivered"))
    if absent:
        return absent
    steps, values = aligned(run, ("promise", "delivered"))
    own = [errors_at(run, f"{name}_error", steps) for name in values]
    takeaway = _progress_takeaway(when(run, steps), *(_late_mean(steps, y) for y in values.values()))
    reading = "By how much one step should lower the loss, judged by its own gradient, and by how much it did."
    drawn = {"promised": values["promise"], "delivered": values["delivered"]}
    return _compared(run, Words("progress", title, takeaway, reading, "progress of a step"), steps, (drawn, own))


def marks_fresh(run: Run) -> Chart | Absent:
    """By how much a step improves its own batch and a batch it has not seen.

    Args:
        run: The run.

    Returns:
        The chart, or what is missing.
    """
    title = "Improvement on the step's own batch and on a fresh one"
    needs = ("own_loss_before", "own_loss_after", "fresh_loss_before", "fresh_loss_after")
    absent = lacking(run, "fresh", title, needs)
    if absent:
        return absent
    steps, values = aligned(run, needs)
    with np.errstate(invalid="ignore"):
        drawn = {
            f"{kind} batch": values[f"{kind}_loss_before"] - values[f"{kind}_loss_after"] for kind in ("own", "fresh")
        }
    takeaway = _fresh_takeaway(when(run, steps), *(_late_mean(steps, y) for y in drawn.values()))
    reading = (
        "How far one step lowers the loss of the batch it was made from, and of the next batch, not yet trained on. "
        "What helps only its own batch is noise."
    )
    unknown = [np.full(steps.size, np.nan)] * 2
    return _compared(run, Words("fresh", title, takeaway, reading, "improvement of a step"), steps, (drawn, unknown))


@dataclass(frozen=True)
class Words:
    """The words of a chart of two quantities: its name, title, sentences and the label of y."""

    name: str
    title: str
    takeaway: str
    reading: str
    label: str


def _compared(
    run: Run, words: Words, steps: np.ndarray, drawn: tuple[dict[str, np.ndarray], list[np.ndarray]]
) -> Chart:
    """Window means of two quantities with their errors; the first is what was hoped for, the second what came."""
    cut = windows(steps, run.num_steps)
    layers: list[Layer] = []
    means = [np.zeros(1)]
    edges = tuple(mark for name, y in drawn[0].items() for mark in unplaced(name, steps, y))
    for (name, y), own, role in zip(drawn[0].items(), drawn[1], (Role.SECOND, Role.MAIN), strict=True):
        mean, error = window_means(y, cut, own)
        layers += [*error_band(name, cut.centers, mean, error, role=role)]
        layers += [measured(name, cut.centers, mean, error, role=role)]
        reach = np.where(np.isfinite(error), error, 0.0)
        means += [mean - reach, mean + reach]
    return Chart(
        words.name,
        words.title,
        words.takeaway,
        words.reading,
        step_axis(run),
        fit(words.label, "loss", means),
        (Level("", 0.0), *layers, *edges),
        (
            f"Means of {several(steps.size, 'measured step')} in {several(len(cut.members), 'window')}; "
            "bands are one standard error.",
            *notes_of(edges),
        ),
    )


def _late_mean(steps: np.ndarray, y: np.ndarray) -> float:
    recent = y[late(steps) & np.isfinite(y)]
    return float(recent.mean()) if recent.size else float("nan")


def _progress_takeaway(moment: str, promised: float, delivered: float) -> str:
    if not np.isfinite(promised + delivered):
        return "The last measured steps have no finite progress."
    outcome = (
        f"delivers {number(delivered, 2)}" if delivered >= 0 else f"makes the loss worse by {number(-delivered, 2)}"
    )
    return f"{moment} a step promises {number(promised, 2)} of loss and {outcome}."


def _fresh_takeaway(moment: str, own: float, fresh: float) -> str:
    if not np.isfinite(own + fresh):
        return "The last measured steps have no finite improvement."
    if own <= 0:
        return f"{moment} a step makes even its own batch worse: it overshoots."
    carried = f"{percent(fresh / own)} of that carries over" if fresh > 0 else "nothing of that carries over"
    return f"{moment} a step improves its own batch by {number(own, 2)}, and {carried} to a fresh batch."
