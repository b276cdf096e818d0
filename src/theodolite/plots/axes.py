"""A chart as matplotlib axes.

Nothing here shows, saves or changes global style. ``plot_chart(chart).figure.savefig("chart.pdf")`` saves one.
"""

from collections.abc import Callable
from typing import assert_never

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from theodolite.plots.gallery import charts
from theodolite.plots.labels import end_labels, field_of, fold, stacked, ways
from theodolite.plots.marks import (
    Absent,
    Axis,
    Band,
    Bars,
    Chart,
    Curve,
    Dots,
    Field,
    Label,
    Layer,
    Level,
    Marks,
    Points,
    Span,
    Way,
    Whiskers,
)
from theodolite.plots.palette import SHADES_LIGHT, STYLES, Style
from theodolite.plots.scales import backward, forward, fraction, levels, texts_apart, ticks
from theodolite.records.run import Run

INK = "#3B4048"
_FAINT = "#D5D9DF"
_LONG_NAMES = 60
_LETTERS = 13.4  # to an inch, at 8.5 points
MARKERS = {"circle": "o", "square": "s", "diamond": "D", "triangle": "^"}


def plot_chart(chart: Chart | Absent, *, ax: Axes | None = None) -> Axes:
    """Draw a chart.

    Args:
        chart: The chart.
        ax: Where to draw; a new figure if None.

    Returns:
        The axes.
    """
    ax = ax if ax is not None else Figure(figsize=(7.2, 3.8), layout="constrained").add_subplot()
    if isinstance(chart, Absent):
        return _plot_absent(chart, ax)
    _scale(ax, chart.x, "x")
    _scale(ax, chart.y, "y")
    for layer in chart.layers:
        _draw(ax, layer)
    _name(ax, chart)
    head(ax, chart.title, chart.takeaway)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    if field_of(chart) is None:
        ax.grid(axis="y", color=_FAINT, linewidth=0.6)
        ax.set_axisbelow(True)
    return ax


def figure_run(run: Run) -> Figure:
    """Every chart of a run on one page.

    Args:
        run: The run.

    Returns:
        A figure with two columns.
    """
    all_charts = charts(run)
    rows = (len(all_charts) + 1) // 2
    figure = Figure(figsize=(15, 4 * rows), layout="constrained")
    grid = figure.subplots(rows, 2, squeeze=False).ravel()
    for ax, chart in zip(grid, all_charts, strict=False):
        plot_chart(chart, ax=ax)
    for ax in grid[len(all_charts) :]:
        ax.set_axis_off()
    return figure


def head(ax: Axes, title: str, takeaway: str) -> None:
    """Title and finding above axes.

    Args:
        ax: The axes.
        title: What is shown.
        takeaway: What it says.
    """
    words = _wrapped(takeaway, letters(ax))
    pad = 8 + 11 * (words.count("\n") + 1)
    ax.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK, pad=pad)
    Axes.text(ax, 0, 1.02, words, transform=ax.transAxes, fontsize=8.5, color=INK, va="bottom")


def letters(ax: Axes) -> int:
    """How many letters of a takeaway fit above axes.

    Args:
        ax: The axes.

    Returns:
        Their number.
    """
    spec, figure = ax.get_subplotspec(), ax.figure
    columns = spec.get_gridspec().ncols if spec is not None else 1
    return max(24, int(_LETTERS * figure.bbox.width / figure.dpi / columns))


def _wrapped(text: str, width: int) -> str:
    words, lines = text.split(), [""]
    for word in words:
        if len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def _plot_absent(chart: Absent, ax: Axes) -> Axes:
    ax.set_axis_off()
    ax.set_title(chart.title, loc="left", fontsize=11, fontweight="bold", color=INK)
    ax.text(0, 0.9, _wrapped(chart.reason, 80), transform=ax.transAxes, fontsize=9, color=INK, va="top")
    return ax


def _scale(ax: Axes, axis: Axis, which: str) -> None:
    if axis.scale == "symlog":
        functions: tuple[Callable[..., np.ndarray], Callable[..., np.ndarray]] = (
            lambda values: forward(axis, values),
            lambda places: backward(axis, places),
        )
        (ax.set_xscale if which == "x" else ax.set_yscale)("function", functions=functions)
    else:
        (ax.set_xscale if which == "x" else ax.set_yscale)(axis.scale)
    (ax.set_xlim if which == "x" else ax.set_ylim)(*axis.limits)
    values, texts = ticks(axis)
    line = ax.xaxis if which == "x" else ax.yaxis
    line.set_major_locator(FixedLocator(values))
    line.set_major_formatter(FixedFormatter(texts))
    line.set_minor_locator(NullLocator())
    line.set_label_text(fold(axis.title, 80 if which == "x" else 44), color=INK)
    ax.tick_params(colors=INK)
    if which == "x" and len(" ".join(axis.names)) > _LONG_NAMES:
        ax.tick_params(axis="x", labelrotation=25, labelsize=8)


def _draw(ax: Axes, layer: Layer) -> None:
    match layer:
        case Curve():
            look = STYLES[layer.role]
            width = 0.8 if layer.is_thin else 1.8
            ax.plot(
                layer.x,
                layer.y,
                color=look.light,
                linewidth=width,
                linestyle="-" if layer.is_thin else _dash(look),
                alpha=0.45 if layer.is_thin else 1.0,
                label=layer.name,
                marker=MARKERS[look.marker] if layer.x.size < 2 else None,
            )
        case Band():
            ax.fill_between(layer.x, layer.low, layer.high, color=STYLES[layer.role].light, alpha=0.18, linewidth=0)
        case Points():
            _draw_points(ax, layer)
        case Bars():
            _draw_bars(ax, layer)
        case Whiskers():
            ax.errorbar(layer.x, layer.y, layer.error, fmt="none", ecolor="white", elinewidth=2.6)
            ax.errorbar(layer.x, layer.y, layer.error, fmt="none", ecolor=INK, elinewidth=1.1)
        case Level() | Span():
            _draw_reference(ax, layer)
        case Label():
            _draw_label(ax, layer)
        case Marks():
            height = 0.985 if layer.edge == "top" else 0.015
            ax.plot(
                layer.x,
                np.full(layer.x.size, height),
                linestyle="none",
                clip_on=False,
                color=INK,
                markersize=5,
                marker="v" if layer.edge == "bottom" else "^",
                transform=ax.get_xaxis_transform(),
            )
        case Field():
            _draw_field(ax, layer)
        case Way():
            draw_way(ax, layer)
        case Dots():
            ax.plot(layer.x, layer.y, ".", color=INK, markersize=1.6, alpha=0.55, zorder=0.4)
        case _:
            assert_never(layer)


def _draw_label(ax: Axes, layer: Label) -> None:
    """A point with its words beside it, on the side where there is room."""
    low, high = ax.get_xlim()
    side, shift = ("right", -5) if layer.x > low + 0.8 * (high - low) else ("left", 5)
    ground = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8}
    ax.plot([layer.x], [layer.y], "o", color=INK, markersize=4)
    ax.annotate(
        layer.text, (layer.x, layer.y), xytext=(shift, 7), textcoords="offset points", fontsize=8, ha=side, bbox=ground,
        zorder=6,
    )  # fmt: skip


def _draw_reference(ax: Axes, layer: Level | Span) -> None:
    if isinstance(layer, Level):
        ax.axhline(layer.value, color=INK, linewidth=0.8, alpha=0.7)
    else:
        ax.axvspan(layer.low, layer.high, color=_FAINT, alpha=0.5, linewidth=0)


def _draw_field(ax: Axes, layer: Field) -> None:
    """Shades with lines between them, on a hatched ground that shows where there is no value."""
    across, up = (layer.x[0], layer.x[-1]), (layer.y[0], layer.y[-1])
    ax.add_patch(
        Rectangle(
            (across[0], up[0]), across[1] - across[0], up[1] - up[0],
            hatch="xxx", facecolor="white", edgecolor=_FAINT, linewidth=0, zorder=0.1,
        )
    )  # fmt: skip
    low, high = fraction(layer.scale, np.asarray(layer.scale.limits))
    place = np.ma.masked_invalid(np.where(np.isfinite(layer.z), fraction(layer.scale, layer.z), np.nan))
    count = len(SHADES_LIGHT)
    bounds = np.linspace(low, high, count + 1)
    clipped = np.ma.clip(place, low, high)
    if min(layer.z.shape) > 1 and place.count():
        drawn = ax.contourf(layer.x, layer.y, clipped, bounds, colors=SHADES_LIGHT, zorder=0.2)
        ax.contour(layer.x, layer.y, clipped, bounds[1:-1], colors=INK, linewidths=0.4, alpha=0.45, zorder=0.3)
        bar = ax.figure.colorbar(drawn, ax=ax, pad=0.015, aspect=35, ticks=bounds[::2])
        bar.ax.set_yticklabels(texts_apart(levels(layer.scale, count)[::2]))
        bar.ax.tick_params(labelsize=7.5, colors=INK, length=0)
        bar.set_label(layer.scale.title, fontsize=8.5, color=INK)
        bar.outline.set(edgecolor=_FAINT, linewidth=0.6)


def draw_way(ax: Axes, layer: Way) -> None:
    """Draw a way: an arrow, or a line with points as large as they are near.

    Args:
        ax: The axes.
        layer: The way.
    """
    look = STYLES[layer.role]
    if layer.is_arrow and layer.x.size > 1:
        ax.plot([], [], color=look.light, linewidth=2, label=layer.name)
        ends = (layer.x[-1], layer.y[-1]), (layer.x[0], layer.y[0])
        ax.annotate(
            "", *ends, arrowprops={"arrowstyle": "-|>", "color": look.light, "lw": 2, "shrinkA": 0, "shrinkB": 0}
        )
        return
    ax.plot(layer.x, layer.y, color="white", linewidth=2.6, alpha=0.8)
    ax.plot(layer.x, layer.y, color=look.light, linewidth=1.3, linestyle=_dash(look), label=layer.name)
    size = 4 + 32 * np.nan_to_num(layer.nearness)
    marker = MARKERS[look.marker]
    ax.scatter(layer.x, layer.y, size, color=look.light, marker=marker, edgecolor="white", linewidth=0.5, zorder=3)


def _draw_points(ax: Axes, layer: Points) -> None:
    look = STYLES[layer.role]
    known = np.isfinite(layer.error)
    ax.plot(
        layer.x,
        layer.y,
        color=look.light,
        linewidth=1.2,
        markersize=3.5,
        marker=MARKERS[look.marker],
        linestyle=_dash(look) if layer.is_joined else "none",
        label=layer.name,
    )
    if known.any():
        ax.errorbar(layer.x[known], layer.y[known], layer.error[known], fmt="none", ecolor=look.light, elinewidth=0.8)


def _draw_bars(ax: Axes, layer: Bars) -> None:
    look = STYLES[layer.role]
    ax.bar(
        layer.x,
        layer.height,
        layer.width * 0.92,
        layer.base,
        color=look.light,
        edgecolor="white",
        linewidth=0.3,
        hatch=look.hatch or None,
        label=layer.name,
    )


def _dash(look: Style) -> str | tuple[int, tuple[int, ...]]:
    return (0, tuple(max(1, part // 2) for part in look.dash)) if look.dash else "-"


def _name(ax: Axes, chart: Chart) -> None:
    if stacked(chart):
        ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8)
        return
    if ways(chart):
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4, frameon=False, fontsize=8)
        return
    for label in end_labels(chart):
        colour = STYLES[label.role].light if label.role else INK
        ax.annotate(label.text, (1.01, label.place), xycoords="axes fraction", fontsize=8, color=colour, va="center")
