"""A chart as a plotly figure: plain data.

Colours are names such as ``@main`` or ``@main/20`` (20 % opaque); whoever shows it puts in those of the theme.
"""

import math
from collections.abc import Iterable
from typing import Any, assert_never

import numpy as np

from theodolite.plots.labels import EndLabel, end_labels, field_of, fold, stacked, ways
from theodolite.plots.marks import (
    Axis,
    Band,
    Bars,
    Chart,
    Curve,
    Dots,
    Field,
    Label,
    Level,
    Marks,
    Points,
    Span,
    Way,
    Whiskers,
)
from theodolite.plots.palette import SHADES_LIGHT, STYLES, Style
from theodolite.plots.scales import forward, levels, number, texts_apart, ticks

_SYMBOLS = {"circle": "circle", "square": "square", "diamond": "diamond", "triangle": "triangle-up"}
_PATTERNS = {"": "", "/": "/", "\\": "\\", ".": "."}
_HOVER = "%{customdata}"
MODEBAR = {"bgcolor": "rgba(0,0,0,0)", "color": "@ink/60", "activecolor": "@ink"}
"""Without it, the bar of tools is grey: plotly takes the ground of a figure, which is transparent, for black."""


def plotly_chart(chart: Chart) -> dict[str, Any]:
    """A chart as a plotly figure.

    Args:
        chart: The chart.

    Returns:
        ``data`` and ``layout`` of strict JSON values.
    """
    traces: list[dict[str, Any]] = []
    shapes: list[dict[str, Any]] = []
    has_legend = bool(stacked(chart) or ways(chart))
    notes: list[dict[str, Any]] = [] if has_legend else [_end_note(label) for label in end_labels(chart)]
    for layer in chart.layers:
        match layer:
            case Level():
                shapes.append(_level(chart, layer))
            case Span():
                shapes.append(_span(layer))
            case Label():
                notes.append(_note(chart, layer))
            case _:
                traces += _traces(chart, layer)
    return {"data": traces, "layout": _layout(chart, shapes, notes)}


def values(numbers: Iterable[float]) -> list[float | None]:
    """Numbers of six digits as strict JSON; what is not finite becomes null."""
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in map(float, numbers)]


_Drawn = Curve | Points | Band | Bars | Whiskers | Marks | Field | Way | Dots


def _traces(chart: Chart, layer: _Drawn) -> list[dict[str, Any]]:
    match layer:
        case Curve():
            found = [_curve(chart, layer)]
        case Points():
            found = [_points(chart, layer)]
        case Band():
            found = _band(chart, layer)
        case Bars():
            found = [_bars(layer)]
        case Whiskers():
            found = _whiskers(layer)
        case Marks():
            found = [_marks(layer)]
        case Field():
            found = _field(layer)
        case Way():
            found = [way_trace(layer)]
        case Dots():
            found = [_dots(layer)]
        case _:
            assert_never(layer)
    return found


def _places(chart: Chart, y: np.ndarray) -> list[float | None]:
    """Values of y, or on a symlog axis, which plotly lacks, their places in even coordinates."""
    return values(forward(chart.y, y) if chart.y.scale == "symlog" else y)


def _dash(look: Style) -> str:
    return ",".join(f"{part}px" for part in look.dash) or "solid"


def _curve(chart: Chart, layer: Curve) -> dict[str, Any]:
    look = STYLES[layer.role]
    colour = f"@{layer.role}/50" if layer.is_thin else f"@{layer.role}"
    return {
        "type": "scatter",
        "mode": "lines" if layer.x.size > 2 else "lines+markers",
        "name": layer.name,
        "x": values(layer.x),
        "y": _places(chart, layer.y),
        "customdata": [number(value) for value in layer.y.tolist()],
        "hovertemplate": _HOVER,
        "line": {
            "color": colour,
            "width": 1 if layer.is_thin else 2.2,
            "dash": "solid" if layer.is_thin else _dash(look),
        },
        "marker": {"color": colour, "symbol": _SYMBOLS[look.marker]},
    }


def _points(chart: Chart, layer: Points) -> dict[str, Any]:
    look = STYLES[layer.role]
    low, high = layer.y - layer.error, layer.y + layer.error
    if chart.y.scale == "log":
        low = np.where(low <= 0, np.minimum(layer.y, chart.y.limits[0]), low)  # an unknown error stays NaN: no bar
    at, below, above = (forward(chart.y, y) if chart.y.scale == "symlog" else y for y in (layer.y, low, high))
    texts = [
        f"{number(y)} ± {number(e, 2)}" if math.isfinite(e) else number(y)
        for y, e in zip(layer.y.tolist(), layer.error.tolist(), strict=True)
    ]
    return {
        "type": "scatter",
        "mode": "lines+markers" if layer.is_joined else "markers",
        "name": layer.name,
        "x": values(layer.x),
        "y": values(at),
        "customdata": texts,
        "hovertemplate": _HOVER,
        "line": {"color": f"@{layer.role}", "width": 1.6, "dash": _dash(look)},
        "marker": {"color": f"@{layer.role}", "size": 6, "symbol": _SYMBOLS[look.marker]},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": values(above - at),
            "arrayminus": values(at - below),
            "color": f"@{layer.role}",
            "thickness": 1.2,
            "width": 0,
        },
    }


def _band(chart: Chart, layer: Band) -> list[dict[str, Any]]:
    floor = chart.y.limits[0] if chart.y.scale == "log" else -math.inf
    common = {
        "type": "scatter", "mode": "lines", "x": values(layer.x), "line": {"width": 0}, "hoverinfo": "skip",
        "showlegend": False, "name": f"{layer.name} ± standard error",
    }  # fmt: skip
    lower = common | {"y": _places(chart, np.maximum(layer.low, floor))}
    upper = common | {"y": _places(chart, layer.high), "fill": "tonexty", "fillcolor": f"@{layer.role}/18"}
    return [lower, upper]


def _bars(layer: Bars) -> dict[str, Any]:
    look = STYLES[layer.role]
    unit, sign = (100, " %") if layer.is_share else (1, "")
    texts = [
        f"{number(unit * h, 3)}{sign}" + (f" ± {number(unit * e, 2)}{sign}" if math.isfinite(e) else "")
        for h, e in zip(layer.height.tolist(), layer.error.tolist(), strict=True)
    ]
    pattern = {"shape": _PATTERNS[look.hatch], "fgcolor": "@paper", "fgopacity": 0.8, "size": 7, "solidity": 0.2}
    pattern |= {"fillmode": "overlay"}
    return {
        "type": "bar",
        "name": layer.name,
        "x": values(layer.x),
        "width": values(layer.width * 0.94),
        "base": values(layer.base),
        "y": values(layer.height),
        "customdata": texts,
        "hovertemplate": _HOVER,
        "marker": {"color": f"@{layer.role}", "line": {"width": 0}, "pattern": pattern},
    }


def _whiskers(layer: Whiskers) -> list[dict[str, Any]]:
    """Bars in ink on a halo of the ground, so that they are seen on any colour."""
    common = {
        "type": "scatter", "mode": "markers", "x": values(layer.x), "y": values(layer.y), "hoverinfo": "skip",
        "showlegend": False, "name": f"{layer.name} ± standard error", "marker": {"size": 0.1, "color": "@ink"},
    }  # fmt: skip
    bars = {"type": "data", "array": values(layer.error), "width": 0}
    return [
        common | {"error_y": bars | {"color": colour, "thickness": thickness}}
        for colour, thickness in (("@paper", 3.2), ("@ink", 1.3))
    ]


def _marks(layer: Marks) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": layer.reason,
        "x": values(layer.x),
        "y": [0.985 if layer.edge == "top" else 0.015] * int(layer.x.size),
        "yaxis": "y2",
        "hovertemplate": "%{fullData.name}<extra></extra>",
        "showlegend": False,
        "cliponaxis": False,
        "marker": {"color": "@ink", "size": 8, "symbol": "triangle-up" if layer.edge == "top" else "triangle-down"},
    }


def _field(layer: Field) -> list[dict[str, Any]]:
    """Shades between lines; where there is no value, crosses."""
    count = len(SHADES_LIGHT)
    low, high = (float(end) for end in forward(layer.scale, np.asarray(layer.scale.limits)))
    known = np.isfinite(layer.z)
    place = np.clip(np.where(known, forward(layer.scale, layer.z), np.nan), low, high)
    size = (high - low) / count
    steps = [[(at + end) / count, f"@shade{at}"] for at in range(count) for end in (0, 1)]
    marks = levels(layer.scale, count)[::3]
    shaded = {
        "type": "contour",
        "name": layer.name,
        "x": values(layer.x),
        "y": values(layer.y),
        "z": [values(row) for row in place],
        "customdata": [[number(value) for value in row] for row in layer.z.tolist()],
        "hovertemplate": f"{layer.name} {_HOVER}<extra></extra>",
        "autocontour": False,
        "contours": {"start": low + size, "end": high - size / 2, "size": size},
        "line": {"width": 0.5, "color": "@ink/40"},
        "zmin": low,
        "zmax": high,
        "colorscale": steps,
        "connectgaps": False,
        "colorbar": {
            "title": {"text": layer.scale.title, "side": "right"}, "thickness": 12, "x": 1.01, "outlinewidth": 0,
            "tickvals": values(forward(layer.scale, marks)), "ticktext": texts_apart(marks),
        },
    }  # fmt: skip
    rows, columns = np.nonzero(~known)
    if not rows.size:
        return [shaded]
    crosses = {
        "type": "scatter", "mode": "markers", "name": f"{layer.name} not finite", "x": values(layer.x[columns]),
        "y": values(layer.y[rows]), "showlegend": False, "hovertemplate": "not finite<extra></extra>",
        "marker": {"symbol": "x-thin", "size": 5, "line": {"width": 1, "color": "@ink/40"}},
    }  # fmt: skip
    return [shaded, crosses]


def _dots(layer: Dots) -> dict[str, Any]:
    return {
        "type": "scatter", "mode": "markers", "name": layer.name, "x": values(layer.x), "y": values(layer.y),
        "hoverinfo": "skip", "showlegend": False, "marker": {"size": 2, "color": "@ink/60"},
    }  # fmt: skip


def way_trace(layer: Way) -> dict[str, Any]:
    """A way as a trace.

    Args:
        layer: The way.

    Returns:
        The trace.
    """
    look = STYLES[layer.role]
    dash = "solid" if layer.is_arrow else _dash(look)
    sizes = 4 + 6 * np.nan_to_num(layer.nearness)
    symbols = [_SYMBOLS[look.marker]] * layer.x.size
    if layer.is_arrow:
        symbols = ["circle"] * (layer.x.size - 1) + ["arrow"]
        sizes = np.array([0.1] * (layer.x.size - 1) + [13])
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": layer.name,
        "x": values(layer.x),
        "y": values(layer.y),
        "customdata": list(layer.texts),
        "hovertemplate": _HOVER,
        "line": {"color": f"@{layer.role}", "width": 2 - 0.5 * (not layer.is_arrow), "dash": dash},
        "marker": {
            "color": f"@{layer.role}", "size": values(sizes), "symbol": symbols, "opacity": 1,
            "angleref": "previous" if layer.is_arrow else "up", "line": {"width": 0},
        },
    }  # fmt: skip


def _level(chart: Chart, layer: Level) -> dict[str, Any]:
    y = _places(chart, np.asarray([layer.value]))[0]
    line = {"color": "@ink/60", "width": 1}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y, "line": line}


def _span(layer: Span) -> dict[str, Any]:
    return {
        "type": "rect", "yref": "paper", "y0": 0, "y1": 1, "x0": layer.low, "x1": layer.high, "layer": "below",
        "fillcolor": "@ink/7", "line": {"width": 0},
    }  # fmt: skip


def _note(chart: Chart, layer: Label) -> dict[str, Any]:
    """An annotation; on a log axis plotly wants its place as an exponent."""
    y = float(forward(chart.y, layer.y))
    low, high = chart.x.limits
    is_right = layer.x > low + 0.75 * (high - low)
    return {
        "x": layer.x, "y": y, "text": _plain(layer.text), "showarrow": True, "arrowhead": 6, "arrowsize": 0.8,
        "arrowwidth": 1, "arrowcolor": "@ink", "ax": -14 if is_right else 14, "ay": -24,
        "xanchor": "right" if is_right else "left", "font": {"size": 12, "color": "@ink"}, "bgcolor": "@paper/80",
    }  # fmt: skip


def folded(title: str, width: int) -> str:
    """The title of an axis in lines that fit beside it, as plotly reads them."""
    return _plain(fold(title, width)).replace("\n", "<br>")


def _plain(text: str) -> str:
    """Text of which plotly, which reads a little HTML, makes no tags."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _end_note(label: EndLabel) -> dict[str, Any]:
    return {
        "name": "end" if label.role else "level", "text": _plain(label.text), "xref": "paper", "yref": "paper",
        "x": 1.008, "y": label.place, "xanchor": "left", "yanchor": "middle", "align": "left", "showarrow": False,
        "font": {"size": 12, "color": f"@{label.role}" if label.role else "@ink"},
    }  # fmt: skip


def _axis(axis: Axis, width: int = 80) -> dict[str, Any]:
    common: dict[str, Any] = {
        "title": {"text": folded(axis.title, width), "standoff": 8}, "gridcolor": "@grid", "zeroline": False,
        "linecolor": "@axis", "tickcolor": "@axis", "range": values(axis.limits), "fixedrange": False,
    }  # fmt: skip
    places, texts = ticks(axis)
    own = {"tickvals": values(places), "ticktext": texts}  # the page drops them when the reader zooms in
    if axis.scale == "linear":
        return common | own | {"exponentformat": "power"}
    ends = values(forward(axis, np.asarray(axis.limits)))
    if axis.scale == "log":
        return common | own | {"type": "log", "range": ends, "exponentformat": "power"}
    return common | {"range": ends, "tickvals": values(forward(axis, np.asarray(places))), "ticktext": texts}


def _layout(chart: Chart, shapes: list[dict[str, Any]], notes: list[dict[str, Any]]) -> dict[str, Any]:
    plane = field_of(chart) is not None or bool(ways(chart))
    legend: dict[str, Any] = {"x": 1.008, "xanchor": "left", "y": 1, "yanchor": "top", "traceorder": "reversed"}
    if plane:
        legend = {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.01, "yanchor": "bottom"}
    return {
        "xaxis": _axis(chart.x) | {"showgrid": False, "showline": True, "ticks": "outside", "ticklen": 4},
        "yaxis": _axis(chart.y, 44) | {"automargin": True},
        "yaxis2": {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True},
        "shapes": shapes,
        "annotations": notes,
        "barmode": "overlay",
        "meta": chart.y.scale,
        "bargap": 0,
        "hovermode": "closest" if chart.name == "line" or plane else "x unified",
        "hoverlabel": {"bgcolor": "@paper", "bordercolor": "@axis", "font": {"color": "@ink"}},
        "modebar": MODEBAR,
        "showlegend": bool(stacked(chart)) or plane,
        "legend": legend,
        "margin": {"l": 64, "r": 96 if plane else 136, "t": 40 if plane else 10, "b": 44},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 12, "color": "@ink"},
        "dragmode": "zoom",
    }
