"""A scene in space as a plotly figure: plain data, in the names of colours that ``plotly_charts`` uses."""

from typing import Any

import numpy as np

from theodolite.plots.marks import Axis, Flight, Scene, Surface
from theodolite.plots.palette import SLOPES_LIGHT, STYLES
from theodolite.plots.plotly_charts import MODEBAR, folded, values
from theodolite.plots.scales import forward, number, ticks

_SYMBOLS = {"circle": "circle", "square": "square", "diamond": "diamond", "triangle": "cross"}  # of those in space
_CAMERA = {"eye": {"x": 1.1, "y": -1.55, "z": 1.3}, "center": {"x": 0, "y": 0, "z": -0.16}}
_THICKNESS = 0.008
"""Half the thickness of a way, as a share of the height: it lies on the surface instead of being half sunk into it."""
_LINES = 9
"""Lines of equal height on a surface."""


def plotly_scene(scene: Scene) -> dict[str, Any]:
    """A scene as a plotly figure.

    Args:
        scene: The scene.

    Returns:
        ``data`` and ``layout`` of strict JSON values.
    """
    traces = [_surface(scene.z, surface) for surface in scene.surfaces]
    for flight in scene.flights:
        traces += flight_traces(scene.z, flight)
    return {"data": traces, "layout": _layout(scene)}


def _table(numbers: np.ndarray) -> list[list[float | None]]:
    return [values(row) for row in numbers.tolist()]


def _surface(height: Axis, surface: Surface) -> dict[str, Any]:
    low, high = forward(height, np.asarray(height.limits)).tolist()
    last = len(SLOPES_LIGHT) - 1
    return {
        "type": "surface",
        "name": surface.name,
        "x": _table(surface.x),
        "y": _table(surface.y),
        "z": _table(forward(height, surface.z)),
        "customdata": [[number(value) for value in row] for row in surface.z.tolist()],
        "hovertemplate": f"{surface.name} %{{customdata}}<extra></extra>",
        "cmin": low,
        "cmax": high,
        "colorscale": [[place / last, f"@slope{place}"] for place in range(last + 1)],
        "showscale": False,
        "connectgaps": False,
        "contours": {
            "z": {"show": True, "start": low, "end": high, "size": (high - low) / _LINES, "color": "@ink", "width": 1,
                  "usecolormap": False, "highlight": False},
            "x": {"highlight": False}, "y": {"highlight": False},
        },
        "lighting": {"ambient": 0.72, "diffuse": 0.45, "specular": 0.04, "roughness": 0.9, "fresnel": 0.0},
        "lightposition": {"x": -8e3, "y": 6e3, "z": 2e4},
    }  # fmt: skip


def flight_traces(height: Axis, flight: Flight) -> list[dict[str, Any]]:
    """A way in space and its stems as traces.

    Args:
        height: The axis upwards.
        flight: The way.

    Returns:
        Two traces, stems first.
    """
    look = STYLES[flight.role]
    top, foot = forward(height, flight.z), forward(height, flight.foot)
    lift = _THICKNESS * float(np.ptp(forward(height, np.asarray(height.limits))))
    known = np.isfinite(top) & np.isfinite(foot)
    stems = {
        "type": "scatter3d", "mode": "lines", "name": flight.name, "showlegend": False, "hoverinfo": "skip",
        "x": _stem(flight.x, flight.x, known), "y": _stem(flight.y, flight.y, known), "z": _stem(foot, top, known),
        "line": {"color": "@ink/70", "width": 2},
    }  # fmt: skip
    way = {
        "type": "scatter3d", "mode": "lines+markers", "name": flight.name,
        "x": values(flight.x), "y": values(flight.y), "z": values(top + lift),
        "customdata": list(flight.texts), "hovertemplate": "%{customdata}",
        "line": {"color": f"@{flight.role}", "width": 5},
        "marker": {
            "color": f"@{flight.role}", "size": values(2.5 + 3 * np.nan_to_num(flight.nearness)),
            "symbol": _SYMBOLS[look.marker], "opacity": 1, "line": {"width": 0},
        },
    }  # fmt: skip
    return [stems, way]


def _stem(low: np.ndarray, high: np.ndarray, known: np.ndarray) -> list[float | None]:
    """From foot to top, and a gap, for each point that has both."""
    ends = np.stack([low, high, np.full(low.size, np.nan)], 1)[known]
    return values(ends.ravel())


def _axis(axis: Axis) -> dict[str, Any]:
    places, texts = ticks(axis, 5)
    return {
        "title": {"text": folded(axis.title, 40), "font": {"size": 12}},
        "range": values(forward(axis, np.asarray(axis.limits))),
        "tickvals": values(forward(axis, np.asarray(places))),
        "ticktext": texts,
        "tickfont": {"size": 11},
        "gridcolor": "@grid",
        "linecolor": "@axis",
        "zeroline": False,
        "showbackground": False,
        "showspikes": False,
    }


def _layout(scene: Scene) -> dict[str, Any]:
    return {
        "scene": {
            "xaxis": _axis(scene.x),
            "yaxis": _axis(scene.y),
            "zaxis": _axis(scene.z),
            "camera": _CAMERA,
            "aspectmode": "manual",
            "aspectratio": {"x": 1.2, "y": 1.2, "z": 0.8},
            "dragmode": "turntable",
        },
        "hoverlabel": {"bgcolor": "@paper", "bordercolor": "@axis", "font": {"color": "@ink"}},
        "modebar": MODEBAR,
        "showlegend": bool(scene.flights),
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "top"},
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 12, "color": "@ink"},
    }
