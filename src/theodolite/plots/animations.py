"""How does a way unfold: a picture in which the ways of a training grow point by point?"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.animation import PillowWriter
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from theodolite.errors import SettingError
from theodolite.plots.axes import INK, draw_way, plot_chart
from theodolite.plots.marks import Chart, Flight, Layer, Scene, Way
from theodolite.plots.plotly_charts import plotly_chart
from theodolite.plots.plotly_scenes import plotly_scene
from theodolite.plots.space import draw_flight, plot_scene

MOST_FRAMES = 60
"""Six seconds at ten frames a second: longer, nobody looks; and a GIF of it stays within a few megabytes."""
_REST = 5
"""Frames for which the last one stands still."""


@dataclass(frozen=True)
class Moment:
    """One frame of an animation.

    Attributes:
        count: How many points of each way are there.
        text: When it is.
    """

    count: int
    text: str


def moments(picture: Chart | Scene, *, most: int = MOST_FRAMES) -> tuple[Moment, ...]:
    """The frames of a picture: each shows a few points more of its longest way, the last one all.

    Args:
        picture: A picture with ways.
        most: How many frames at most.

    Returns:
        The frames.

    Raises:
        SettingError: If the picture has no way of two points.
    """
    longest = max(_ways(picture), key=lambda way: way.x.size, default=None)
    if longest is None or longest.x.size < 2:
        raise SettingError(
            f"an animation needs a way of two points at least; {picture.name!r} has none. Project a trajectory onto it."
        )
    counts = np.unique(np.linspace(1, longest.x.size, min(most, longest.x.size)).round().astype(int))
    return tuple(Moment(int(count), longest.texts[count - 1].partition(",")[0]) for count in counts)


def has_way(picture: Chart | Scene) -> bool:
    """Whether a picture has a way that can grow."""
    return any(way.x.size > 1 for way in _ways(picture))


def until(picture: Chart | Scene, count: int) -> Chart | Scene:
    """A picture in which each way has its first points only; a single move, drawn as an arrow, stays.

    Args:
        picture: The picture.
        count: How many points.

    Returns:
        The picture.
    """
    if isinstance(picture, Scene):
        return replace(picture, flights=tuple(_flight_until(one, count) for one in picture.flights))
    layers = tuple(
        _way_until(one, count) if isinstance(one, Way) and not one.is_arrow else one for one in picture.layers
    )
    return replace(picture, layers=layers)


def _ways(picture: Chart | Scene) -> tuple[Way | Flight, ...]:
    if isinstance(picture, Scene):
        return picture.flights
    return tuple(one for one in picture.layers if isinstance(one, Way) and not one.is_arrow)


def _way_until(way: Layer, count: int) -> Layer:
    if not isinstance(way, Way):
        return way
    return replace(
        way, x=way.x[:count], y=way.y[:count], nearness=way.nearness[:count], texts=way.texts[:count]
    )  # fmt: skip


def _flight_until(flight: Flight, count: int) -> Flight:
    x, y, z, foot, near = (
        one[:count] for one in (flight.x, flight.y, flight.z, flight.foot, flight.nearness)
    )  # fmt: skip
    return replace(flight, x=x, y=y, z=z, foot=foot, nearness=near, texts=flight.texts[:count])


def plotly_animation(picture: Chart | Scene, *, most: int = MOST_FRAMES) -> dict[str, Any]:
    """A picture as a plotly figure with frames, a button to play them and a slider.

    Args:
        picture: A picture with ways.
        most: How many frames at most.

    Returns:
        ``data``, ``layout`` and ``frames`` of strict JSON values.

    Raises:
        SettingError: If the picture has no way of two points.
    """
    shown, whole, bare = moments(picture, most=most), _figure(picture), _only_ways(picture)
    names = {way.name for way in _ways(picture)}
    places = [place for place, trace in enumerate(whole["data"]) if trace["name"] in names]
    frames = [
        {"name": str(place), "data": _figure(until(bare, moment.count))["data"], "traces": places}
        for place, moment in enumerate(shown)
    ]
    margin = whole["layout"]["margin"] | {"b": 118}
    layout = whole["layout"] | _controls(shown, is_flat=isinstance(picture, Chart)) | {"margin": margin}
    return {"data": whole["data"], "layout": layout, "frames": frames}


def _figure(picture: Chart | Scene) -> dict[str, Any]:
    return plotly_chart(picture) if isinstance(picture, Chart) else plotly_scene(picture)


def _only_ways(picture: Chart | Scene) -> Chart | Scene:
    if isinstance(picture, Scene):
        return replace(picture, surfaces=())
    return replace(picture, layers=tuple(one for one in picture.layers if isinstance(one, Way) and not one.is_arrow))


def _controls(shown: tuple[Moment, ...], *, is_flat: bool) -> dict[str, Any]:
    """A button that plays, one that halts, and a slider below the picture."""
    at_once = {"mode": "immediate", "frame": {"duration": 0, "redraw": not is_flat}, "transition": {"duration": 0}}
    running = at_once | {"frame": {"duration": 100, "redraw": not is_flat}, "fromcurrent": True}
    steps = [
        {"label": moment.text, "method": "animate", "args": [[str(place)], at_once]}
        for place, moment in enumerate(shown)
    ]
    buttons = [
        {"label": "Play", "method": "animate", "args": [None, running]},
        {"label": "Halt", "method": "animate", "args": [[None], at_once]},
    ]
    colours = {"bgcolor": "@paper", "bordercolor": "@axis", "font": {"color": "@ink"}}
    below = {"y": 0, "yanchor": "top", "xanchor": "left"}
    return {
        "updatemenus": [
            below | colours | {"type": "buttons", "direction": "right", "x": 0, "pad": {"t": 62}, "showactive": False,
                               "buttons": buttons}
        ],
        "sliders": [
            below | colours | {
                "x": 0.2, "len": 0.8, "pad": {"t": 52}, "active": len(shown) - 1, "steps": steps, "ticklen": 0,
                "minorticklen": 0, "activebgcolor": "@main", "font": {"color": "rgba(0,0,0,0)", "size": 1},
                "currentvalue": {"prefix": "", "xanchor": "right", "font": {"size": 12, "color": "@ink"}},
            }
        ],
    }  # fmt: skip


def write_gif(picture: Chart | Scene, path: str | Path, *, most: int = MOST_FRAMES, fps: int = 10) -> Path:
    """A picture as an animated GIF in which its ways grow.

    Args:
        picture: A picture with ways.
        path: The file.
        most: How many frames at most.
        fps: Frames a second.

    Returns:
        The file.

    Raises:
        SettingError: If the picture has no way of two points.
    """
    shown = moments(picture, most=most)
    figure = Figure(figsize=(7.2, 4.2) if isinstance(picture, Chart) else (7.2, 5.2), layout="constrained")
    ax = _plot(until(picture, 0), figure)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the ground stands still while the ways grow
    writer = PillowWriter(fps=fps)
    with writer.saving(figure, str(path), dpi=100):
        for moment in (*shown, *[shown[-1]] * _REST):
            before = set(ax.get_children())
            _draw_ways(ax, until(picture, moment.count))
            where: dict[str, Any] = {"transform": ax.transAxes, "ha": "right", "va": "top", "zorder": 9}
            ground = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 2}
            Axes.text(ax, 0.99, 0.98, moment.text, fontsize=9, color=INK, bbox=ground, **where)
            writer.grab_frame()
            for artist in set(ax.get_children()) - before:
                artist.remove()
    return Path(path)


def _plot(picture: Chart | Scene, figure: Figure) -> Axes:
    if isinstance(picture, Scene):
        return plot_scene(picture, ax=figure.add_subplot(projection="3d"))
    return plot_chart(picture, ax=figure.add_subplot())


def _draw_ways(ax: Axes, picture: Chart | Scene) -> None:
    for way in _ways(picture):
        if isinstance(way, Way):
            draw_way(ax, way)
        elif isinstance(picture, Scene):
            draw_flight(ax, picture.z, way)
