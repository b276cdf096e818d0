"""Was the step as long as it should have been?"""

import numpy as np

from theodolite.plots.marks import Absent, Chart, Layer, Level, Role
from theodolite.plots.reading import (
    aligned,
    lacking,
    late,
    notes_of,
    scattered,
    step_axis,
    unplaced,
    when,
    with_errors,
)
from theodolite.plots.scales import fit, number
from theodolite.records.run import Run

_SIZES = (("best_step", "best step", Role.SECOND), ("step_scale", "real step", Role.MAIN))


def marks_best_scale(run: Run) -> Chart | Absent:
    """The factor by which the real step should have been longer, by the quadratic model along it.

    Args:
        run: The run.

    Returns:
        The chart, or what is missing.
    """
    title = "The step against its best size"
    absent = lacking(run, "best_scale", title, ("best_scale",))
    if absent:
        return absent
    steps, factor, _ = with_errors(run, "best_scale")
    edges = unplaced("best scale", steps, factor, is_log=True)
    inside = factor[np.isfinite(factor) & (factor > 0)]
    placed = np.where(np.isfinite(factor) & (factor > 0), factor, np.nan)
    layers = scattered("best size", steps, placed, role=Role.MAIN)
    return Chart(
        "best_scale",
        title,
        _scale_takeaway(when(run, steps), factor[late(steps)]),
        "1 means the step was right. Above 1 the same step could have been that many times longer; below 1 it was too "
        "long; below ½ it went past the far wall, and the loss rose.",
        step_axis(run),
        fit("best size ÷ real size", "", [inside, np.asarray([0.4, 2.5])], scale="log"),
        (Level("right", 1.0), Level("uphill below ½", 0.5), *layers, *edges),
        (
            "Best by the quadratic model along the step, on the reference sample; infinite where there is no positive "
            "curvature along the step.",
            *notes_of(edges),
        ),
    )


def _scale_takeaway(moment: str, factor: np.ndarray) -> str:
    bent = factor[np.isfinite(factor)]
    if bent.size == 0:
        return f"{moment} there was no positive curvature along the step: nothing limits its size."
    middle = float(np.median(bent))
    if middle <= 0:
        return f"{moment} the step typically pointed uphill on the reference sample."
    if middle > 1.5:
        return f"{moment} the step could typically have been {number(middle, 2)} times as long."
    if middle < 0.67:
        return f"{moment} the step was typically {number(1 / middle, 2)} times too long."
    return f"{moment} the step was about right: its best size is {number(middle, 2)} times the real one."


def marks_step_size(run: Run) -> Chart | Absent:
    """The size of the real step beside the best size of a step along the gradient.

    Args:
        run: The run.

    Returns:
        The chart, or what is missing.
    """
    title = "Step size and the best step along the gradient"
    absent = lacking(run, "step_size", title, ("step_scale", "best_step"))
    if absent:
        return absent
    layers: list[Layer] = []
    edges = []
    drawn = []
    for series, words, role in _SIZES:
        x, y, _ = with_errors(run, series)
        edges += [*unplaced(words, x, y, is_log=True)]
        placed = np.where(np.isfinite(y) & (y > 0), y, np.nan)
        layers += scattered(words, x, placed, role=role)
        drawn.append(placed)
    return Chart(
        "step_size",
        title,
        _size_takeaway(run),
        "The best step along the gradient of the reference sample by the quadratic model, gᵀg ÷ gᵀHg, and the real "
        "step in the same unit, ‖Δθ‖ ÷ ‖g‖: the learning rate of plain SGD.",
        step_axis(run),
        fit("step ÷ gradient", "", drawn, scale="log"),
        (*layers, *edges),
        (
            "The real step need not follow the gradient (momentum, Adam): the chart of the best size judges it along "
            "its own direction.",
            *notes_of(tuple(edges)),
        ),
    )


def _size_takeaway(run: Run) -> str:
    steps, values = aligned(run, ("best_step", "step_scale"))
    best, real = values["best_step"][late(steps)], values["step_scale"][late(steps)]
    moment = when(run, steps)
    kept = np.isfinite(best) & np.isfinite(real) & (real > 0) & (best > 0)
    if not kept.any():
        return f"{moment} no best step along the gradient could be stated."
    ratio = float(np.median(best[kept] / real[kept]))
    return f"{moment} the best step along the gradient is {number(ratio, 2)} times the size of the real one."


def marks_update(run: Run) -> Chart | Absent:
    """The cosine between an update and the one before.

    Args:
        run: The run.

    Returns:
        The chart, or what is missing.
    """
    title = "Direction of successive updates"
    absent = lacking(run, "update", title, ("update_cosine",))
    if absent:
        return absent
    steps, cosine, _ = with_errors(run, "update_cosine")
    edges = unplaced("cosine", steps, cosine)
    recent = cosine[late(steps) & np.isfinite(cosine)]
    middle = float(np.median(recent)) if recent.size else float("nan")
    kind = "turn back on each other" if middle < -0.2 else "go the same way" if middle > 0.2 else "are nearly unrelated"
    takeaway = f"{when(run, steps)} successive updates {kind}: their typical cosine is {number(middle, 2)}."
    axis = fit("cosine with the update before", "", [np.asarray([-1.0, 1.0])], scale="linear")
    layers = scattered("cosine", steps, cosine, role=Role.MAIN)
    return Chart(
        "update",
        title,
        takeaway if recent.size else "No finite cosine was recorded late in the run.",
        "Near −1 the training jumps from wall to wall; near 1 it walks along a valley; near 0 noise decides.",
        step_axis(run),
        axis,
        (Level("", 0.0), *layers, *edges),
        notes_of(edges),
    )
