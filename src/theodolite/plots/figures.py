"""The picture of a diagnosis as one figure."""

from collections.abc import Sequence
from textwrap import fill

from matplotlib.figure import Figure

from theodolite.plots.axes import plot_chart
from theodolite.plots.marks import Absent, Chart
from theodolite.plots.obstacles import charts_obstacle
from theodolite.records.diagnosis import Diagnosis
from theodolite.records.run import Run

_SOFT = "#59616B"
_HEIGHT = 5.2


def figure_diagnosis(diagnosis: Diagnosis, *, run: Run | None = None) -> Figure:
    """The picture that shows the obstacle of a diagnosis, with what it leaves out below.

    Args:
        diagnosis: What was concluded.
        run: Its run; None opens the folder that the diagnosis names.

    Returns:
        A figure with the main chart to the left and those that complete it to the right.

    Raises:
        RunError: If the folder of the run cannot be opened.
    """
    panels = charts_obstacle(run if run is not None else Run(diagnosis.run), diagnosis)
    drawn: list[Chart | Absent] = [panel for panel in panels if isinstance(panel, Chart)]
    drawn = drawn or [*panels[:1]]
    beside = len(drawn) - 1
    notes = _folded(drawn[0].notes if isinstance(drawn[0], Chart) else (), 200 if beside else 110)
    low = 0.25 + 0.135 * (notes.count("\n") + 1)
    figure = Figure(figsize=(14.5 if beside else 8.2, _HEIGHT + low), layout="constrained")
    rows = figure.add_gridspec(2, 1, height_ratios=(_HEIGHT, low))
    top, foot = figure.add_subfigure(rows[0]), figure.add_subfigure(rows[1])
    grid = top.add_gridspec(max(1, beside), 2 if beside else 1, width_ratios=(1.35, 1) if beside else None)
    plot_chart(drawn[0], ax=top.add_subplot(grid[:, 0]))
    for row, panel in enumerate(drawn[1:]):
        plot_chart(panel, ax=top.add_subplot(grid[row, 1]))
    foot.text(0.012, 0.9, notes, fontsize=7.5, color=_SOFT, va="top")
    return figure


def _folded(notes: Sequence[str], width: int) -> str:
    """What is left out, one sentence a line."""
    return "\n".join(fill(note, width, subsequent_indent="  ") for note in notes)
