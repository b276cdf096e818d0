"""What does the loss look like along the straight line from the start of a training to its end?"""

import numpy as np

from theodolite.plots.marks import Absent, Chart, Label, Layer, Role, ScaleName, Span
from theodolite.plots.reading import edge_marks, error_band, notes_of, thinned_curve
from theodolite.plots.scales import fit, number
from theodolite.records.lines import Line
from theodolite.records.run import Run


def marks_line(line: Line) -> Chart:
    """Loss along a straight line, with its ends, its barrier and what lies beyond the ends.

    Args:
        line: The measurement.

    Returns:
        The chart.
    """
    alpha, loss = np.asarray(line.positions), np.asarray(line.losses)
    bad = ~np.isfinite(loss)
    edges = (
        (edge_marks("loss", alpha[bad], f"points with a loss that is not finite: {int(bad.sum())}", "top"),)
        if bad.any()
        else ()
    )
    axis = fit("loss J(θ)", "", [loss], scale=_scale(loss))
    curve = thinned_curve("loss", alpha, loss, Role.MAIN)
    spans: list[Layer] = []
    if alpha.size and alpha[0] < 0:
        spans.append(Span("extrapolated", float(alpha[0]), 0.0))
    if alpha.size and alpha[-1] > 1:
        spans.append(Span("extrapolated", 1.0, float(alpha[-1])))
    low, high = (float(alpha[0]), float(alpha[-1])) if alpha.size else (0.0, 1.0)
    x = fit("position α between start (0) and end (1)", "", [np.asarray([low, high])], scale="linear", pad=0.0)
    band = error_band("loss", alpha, loss, np.asarray(line.errors), role=Role.MAIN)
    known = "The band is one standard error over batches." if band else "One batch only: the error is unknown."
    return Chart(
        "line",
        "Loss along the straight line from start to end",
        _takeaway(line),
        "If this falls all the way, nothing stands between the start and the end: whatever slowed the training is not "
        "a wall on the straight way.",
        x,
        axis,
        (*spans, *band, curve, *_ends(line), *edges),
        (
            f"{alpha.size} points. {known} One line through many dimensions: what lies beside it is not seen.",
            *notes_of(edges),
        ),
    )


def _scale(loss: np.ndarray) -> ScaleName | None:
    """Linear, as such lines are drawn since Goodfellow 2015, unless the loss spans more than three decades."""
    finite = loss[np.isfinite(loss)]
    is_wide = finite.size > 0 and finite.min() > 0 and finite.max() > 1000 * finite.min()
    return None if is_wide else "linear"


def _ends(line: Line) -> tuple[Label, ...]:
    found = []
    alpha, loss = np.asarray(line.positions), np.asarray(line.losses)
    between = np.flatnonzero((alpha >= -1e-9) & (alpha <= 1 + 1e-9))
    for at, name in zip(between[[0, -1]] if between.size > 1 else (), (line.start, line.end), strict=False):
        if np.isfinite(loss[at]):
            found.append(Label(f"{name} {number(float(loss[at]), 3)}", float(alpha[at]), float(loss[at])))
    if np.isfinite(line.barrier) and not line.is_monotone and line.barrier > 0:
        inside = (alpha >= 0) & (alpha <= 1)
        top = int(np.flatnonzero(inside)[np.argmax(loss[inside])])
        found.append(Label(f"barrier {number(line.barrier, 2)}", float(alpha[top]), float(loss[top])))
    return tuple(found)


def _takeaway(line: Line) -> str:
    if line.is_monotone:
        return "The loss falls all the way along the straight line: no wall stands between the start and the end."
    barrier = line.barrier
    if not np.isfinite(barrier):
        return "The loss is not finite everywhere on the straight line between the start and the end."
    if barrier > 0:
        return f"A barrier of {number(barrier, 2)} in loss stands on the straight line between the start and the end."
    return "The loss does not fall evenly along the straight line, but never rises above its higher end."


def marks_straight(run: Run) -> Chart | Absent:
    """The line that is stored in a run.

    Args:
        run: The run.

    Returns:
        The chart, or what is missing.
    """
    line = run.result("Line")
    if isinstance(line, Line) and len(line.positions):
        return marks_line(line)
    return Absent(
        "line",
        "Loss along the straight line from start to end",
        "Not measured in this run: a line. monitor.diagnose() measures it at the end of a training.",
    )
