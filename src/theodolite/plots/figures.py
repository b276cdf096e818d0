"""How do charts become one figure, with their words and with what they leave out?"""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from textwrap import fill
from typing import Any

from matplotlib.figure import Figure, SubFigure

from theodolite.plots.axes import plot_chart
from theodolite.plots.marks import Absent, Chart, Scene
from theodolite.plots.obstacles import charts_obstacle
from theodolite.plots.space import plot_scene
from theodolite.records.diagnosis import Diagnosis
from theodolite.records.run import Run

_SOFT = "#59616B"
_HEIGHT = 5.2
_LINE = 0.135  # inches of a line of notes
_PANEL = {Chart: (7.6, 4.1), Absent: (7.6, 1.2), Scene: (7.6, 5.4)}
_NARROW = {Chart: (4.9, 3.6), Absent: (4.9, 1.2), Scene: (5.2, 4.4)}
_SHOWN_DPI = 90


class Picture(Figure):
    """A matplotlib figure that says in words what it shows, and shows itself at the end of a notebook's cell.

    ``alt`` holds the words.
    """

    def __init__(self, *, alt: str = "", **settings: Any) -> None:
        """An empty figure.

        Args:
            alt: What it shows, in words.
            settings: Those of ``matplotlib.figure.Figure``.
        """
        super().__init__(layout="constrained", **settings)
        self.alt = alt

    def _repr_html_(self) -> str:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=_SHOWN_DPI)
        data = base64.b64encode(file.getvalue()).decode("ascii")
        return f'<img src="data:image/png;base64,{data}" alt="{escape(self.alt)}">'


def figure_of(pictures: Sequence[Chart | Scene | Absent]) -> Picture:
    """Pictures on one page, two beside each other, with what they leave out below.

    Args:
        pictures: The pictures.

    Returns:
        The figure.
    """
    columns = min(2, len(pictures)) or 1
    rows = [pictures[at : at + columns] for at in range(0, len(pictures), columns)]
    heights = [max(_PANEL[type(one)][1] for one in row) for row in rows]
    width = columns * _PANEL[Chart][0]
    notes = _folded(_different(pictures), round(15.5 * width))
    foot = 0.15 + _LINE * (notes.count("\n") + 1)
    figure = Picture(alt=words(pictures), figsize=(width, sum(heights) + foot))
    parts = figure.add_gridspec(2, 1, height_ratios=(sum(heights) or 1, foot))
    grid = figure.add_subfigure(parts[0]).add_gridspec(len(rows) or 1, columns, height_ratios=heights or None)
    for place, picture in enumerate(pictures):
        _panel(figure.subfigs[0], grid[place // columns, place % columns], picture)
    figure.add_subfigure(parts[1]).text(0.012, 0.97, notes, fontsize=7.5, color=_SOFT, va="top")
    return figure


def figure_multiples(pictures: Mapping[str, Chart | Scene | Absent], *, columns: int = 3) -> Picture:
    """The same picture of several runs side by side, each under its run's name.

    Args:
        pictures: Name of the run to picture; ``theodolite.plots.alike`` gives them common axes.
        columns: How many beside each other at most.

    Returns:
        The figure.
    """
    across = max(1, min(columns, len(pictures)))
    down = -(-len(pictures) // across) or 1
    wide, high = (max((_NARROW[type(one)][side] for one in pictures.values()), default=1.0) for side in (0, 1))
    figure = Picture(
        alt=" ".join(f"{name}: {words([picture])}" for name, picture in pictures.items()),
        figsize=(wide * across, high * down),
    )
    grid = figure.add_gridspec(down, across)
    for place, (name, picture) in enumerate(pictures.items()):
        _panel(figure, grid[place // across, place % across], replace(picture, title=name))
    return figure


def figure_diagnosis(diagnosis: Diagnosis, *, run: Run | None = None) -> Picture:
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
    low = 0.25 + _LINE * (notes.count("\n") + 1)
    figure = Picture(alt=words(drawn), figsize=(14.5 if beside else 8.2, _HEIGHT + low))
    rows = figure.add_gridspec(2, 1, height_ratios=(_HEIGHT, low))
    top, foot = figure.add_subfigure(rows[0]), figure.add_subfigure(rows[1])
    grid = top.add_gridspec(max(1, beside), 2 if beside else 1, width_ratios=(1.35, 1) if beside else None)
    plot_chart(drawn[0], ax=top.add_subplot(grid[:, 0]))
    for row, panel in enumerate(drawn[1:]):
        plot_chart(panel, ax=top.add_subplot(grid[row, 1]))
    foot.text(0.012, 0.9, notes, fontsize=7.5, color=_SOFT, va="top")
    return figure


def words(pictures: Sequence[Chart | Scene | Absent]) -> str:
    """What some pictures show, for those who do not see them.

    Args:
        pictures: The pictures.

    Returns:
        Title and finding of each.
    """
    return " ".join(f"{one.title}. {one.reason if isinstance(one, Absent) else one.takeaway}" for one in pictures)


def _panel(figure: Figure | SubFigure, place: Any, picture: Chart | Scene | Absent) -> None:
    kind = "3d" if isinstance(picture, Scene) else None
    ax = figure.add_subplot(place, projection=kind)
    if isinstance(picture, Scene):
        plot_scene(picture, ax=ax)
    else:
        plot_chart(picture, ax=ax)


def _different(pictures: Sequence[Chart | Scene | Absent]) -> tuple[str, ...]:
    """The notes of all pictures, each once."""
    return tuple(dict.fromkeys(note for one in pictures if not isinstance(one, Absent) for note in one.notes))


def _folded(notes: Sequence[str], width: int) -> str:
    """What is left out, one sentence a line."""
    return "\n".join(fill(note, width, subsequent_indent="  ") for note in notes)
