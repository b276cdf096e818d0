"""A scene as matplotlib axes in space."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d import Axes3D  # type: ignore[import-untyped]

from theodolite.errors import SettingError
from theodolite.plots.axes import INK, MARKERS, head, letters, plot_chart
from theodolite.plots.labels import fold
from theodolite.plots.marks import Absent, Axis, Flight, Scene, Surface
from theodolite.plots.palette import SLOPES_LIGHT, STYLES
from theodolite.plots.scales import forward, fraction, ticks

_LINES = 24
"""Lines of the mesh that are drawn each way: enough to see its shape, not so many that they cover it."""
_LIGHT = np.array([-0.42, 0.36, 0.83])
_WIDE = 80
"""Letters above axes from which they have room for long names along them."""
_VIEW = {"elev": 32.0, "azim": -58.0}


def plot_scene(scene: Scene | Absent, *, ax: Axes | None = None) -> Axes:
    """Draw a scene; ways are drawn over the surface, even where it would hide them.

    Args:
        scene: The scene.
        ax: Axes of projection "3d"; a new figure if None.

    Returns:
        The axes.

    Raises:
        SettingError: If the axes are flat.
    """
    if isinstance(scene, Absent):
        return plot_chart(scene, ax=ax)
    here: Axes = ax if ax is not None else Figure(figsize=(7.2, 5.2), layout="constrained").add_subplot(projection="3d")
    if not isinstance(here, Axes3D):
        raise SettingError(
            f"a scene needs axes in space, got {type(here).__name__}. Make them with projection='3d', or pass none."
        )
    here.computed_zorder = False
    here.view_init(**_VIEW)
    for surface in scene.surfaces:
        _draw_surface(here, scene, surface)
    for flight in scene.flights:
        draw_flight(here, scene.z, flight)
    _scale(here, scene)
    head(here, scene.title, scene.takeaway)
    if scene.flights:
        here.legend(loc="upper left", frameon=False, fontsize=8)
    return here  # type: ignore[no-any-return]


def _draw_surface(ax: Axes3D, scene: Scene, surface: Surface) -> None:
    """Faces in the shade of their height, darker where they are steep; none where a corner has no value."""
    places = [fraction(axis, part) for axis, part in zip((scene.x, scene.y, scene.z), _parts(surface), strict=True)]
    x, y, _ = _parts(surface)
    height = forward(scene.z, surface.z)
    colours = _shade(places[2]) * _relief(*places)[..., None]
    ax.plot_surface(
        x, y, height, facecolors=colours, shade=False, linewidth=0, antialiased=False, zorder=1,
        rcount=x.shape[0], ccount=x.shape[1],
    )  # fmt: skip
    ax.plot_wireframe(x, y, height, rcount=_LINES, ccount=_LINES, color=INK, linewidth=0.35, alpha=0.35, zorder=2)


def _shade(place: np.ndarray) -> np.ndarray:
    """Colour of each place between the lower and the upper end of the scale."""
    ends = np.linspace(0, 1, len(SLOPES_LIGHT))
    known = np.nan_to_num(place)
    return np.stack([np.interp(known, ends, part) for part in np.array([to_rgb(one) for one in SLOPES_LIGHT]).T], -1)


def _parts(surface: Surface) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return surface.x, surface.y, surface.z


def _relief(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """How bright each point of a mesh is in light from the upper left, whichever way its rows run; 1 where unknown."""
    if min(z.shape) < 2:
        return np.ones(z.shape)
    rows, columns = (np.stack([np.gradient(part, axis=axis) for part in (x, y, z)], -1) for axis in (0, 1))
    normal = np.cross(columns, rows)
    normal *= np.sign(normal[..., 2:])
    with np.errstate(invalid="ignore", divide="ignore"):
        facing = normal @ _LIGHT / np.linalg.norm(normal, axis=-1)
    return np.asarray(np.nan_to_num(0.78 + 0.22 * np.clip(facing, 0, 1), nan=1.0))


def draw_flight(ax: Axes3D, height: Axis, flight: Flight) -> None:
    """Draw a way in space with its stems.

    Args:
        ax: Axes in space.
        height: The axis upwards.
        flight: The way.
    """
    look = STYLES[flight.role]
    top, foot = forward(height, flight.z), forward(height, flight.foot)
    for x, y, low, high in zip(flight.x, flight.y, foot, top, strict=True):
        if np.isfinite(low) and np.isfinite(high):
            ax.plot([x, x], [y, y], [low, high], color=INK, linewidth=0.7, alpha=0.7, zorder=3)
    ax.plot(flight.x, flight.y, top, color="white", linewidth=3.2, alpha=0.8, zorder=4)
    ax.plot(flight.x, flight.y, top, color=look.light, linewidth=1.6, label=flight.name, zorder=5)
    known = np.isfinite(top)
    size = 4 + 26 * np.nan_to_num(flight.nearness[known])
    ax.scatter(
        flight.x[known], flight.y[known], top[known], s=size, color=look.light, marker=MARKERS[look.marker],
        edgecolor="white", linewidth=0.4, depthshade=False, zorder=6,
    )  # fmt: skip


def _scale(ax: Axes3D, scene: Scene) -> None:
    for axis, line, limit in (
        (scene.x, ax.xaxis, ax.set_xlim), (scene.y, ax.yaxis, ax.set_ylim), (scene.z, ax.zaxis, ax.set_zlim)
    ):  # fmt: skip
        low, high = forward(axis, np.asarray(axis.limits)).tolist()
        limit(low, high)
        values, texts = ticks(axis, 5)
        line.set_ticks(forward(axis, np.asarray(values)).tolist(), texts, fontsize=7.5, color=INK)
        title = fold(axis.title, 40 if letters(ax) > _WIDE else 28)
        line.set_label_text(title, fontsize=8.5, color=INK)
        line.labelpad = 3 + 7 * title.count("\n")
        line.set_pane_color((1.0, 1.0, 1.0, 0.0))
    ax.set_box_aspect((1.25, 1.25, 0.85), zoom=1.0 if letters(ax) > _WIDE else 0.88)
