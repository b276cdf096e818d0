"""What does the loss look like on a plane, and where on it did the training go?"""

import numpy as np

from theodolite.plots.marks import Axis, Chart, Field, Label, Role, Way
from theodolite.plots.scales import choose_scale, fit, number, percent
from theodolite.records.planes import Plane, Track

_HIGHEST = 0.9
"""Shades end at this quantile of the loss: the walls in the corners of a plane would leave no shade for the rest."""

_NOTHING = 5e-4
_WALLS = 2.0
"""They end there only if the walls are this many times as high."""

_ARROWS = ("way down", "random kick", "to the better point")
_ROLES = {
    "the run": Role.MAIN,
    "plain steps": Role.THIRD,
    "corrected steps": Role.SECOND,
    "way down": Role.SECOND,
    "random kick": Role.FOURTH,
    "to the better point": Role.SECOND,
}


def marks_plane(plane: Plane, *, title: str, takeaway: str, reading: str, floor: float = -np.inf) -> Chart:
    """Loss on a plane with the ways that were projected onto it, and what lies outside.

    Args:
        plane: The measurement.
        title: What it shows.
        takeaway: What it says of this run.
        reading: How to read it.
        floor: The least value that the loss can have; shades are then of what is above it.

    Returns:
        The chart.
    """
    loss = np.asarray(plane.losses)
    above = floor if np.isfinite(floor) and loss[np.isfinite(loss)].min(initial=np.inf) > floor else 0.0
    field, clipped = _field(plane, loss - above, "J − floor" if above else "loss J")
    tracks = [_way(track) for track in plane.tracks if track.x.size > 1]
    bad = int((~np.isfinite(loss)).sum())
    hatched = (f"{bad} of {loss.size} points of the plane have a loss that is not finite: hatched.",) if bad else ()
    return Chart(
        f"plane_{plane.name}",
        title,
        takeaway,
        reading,
        _axis(plane.x_name, plane.x),
        _axis(plane.y_name, plane.y),
        (field, *tracks, Label(plane.origin, 0.0, 0.0)),
        (*outside_notes(plane), _scales(plane), *clipped, *hatched, *plane.notes),
    )


def _axis(name: str, values: np.ndarray) -> Axis:
    return Axis(f"distance {name}", "θ", "linear", (float(values[0]), float(values[-1])))


def _scales(plane: Plane) -> str:
    """How much the axes differ, and how fine the grid is."""
    wide, high = (float(np.ptp(side)) for side in (plane.x, plane.y))
    size = f"{plane.x.size} × {plane.y.size} points."
    if max(wide, high) <= 3 * min(wide, high):
        return f"{size} One plane through many dimensions: what lies beside it is not seen."
    stretched = "upright" if wide > high else "level"
    factor = number(max(wide, high) / min(wide, high), 2)
    return f"{size} The axes differ: a unit is {factor} times as long on the {stretched} axis."


def _field(plane: Plane, loss: np.ndarray, label: str) -> tuple[Field, tuple[str, ...]]:
    finite = loss[np.isfinite(loss)]
    scale = choose_scale(finite) if finite.size else "linear"
    top = float(np.quantile(finite, _HIGHEST)) if finite.size and scale != "log" else np.inf
    if finite.size and finite.max() - finite.min() <= _WALLS * (top - finite.min()):
        top = np.inf
    shown = finite[finite <= top] if finite.size else np.zeros(1)
    axis = fit(label, "", [shown], scale="log" if scale == "log" else "linear", pad=0.0)
    beyond = int((finite > axis.limits[1]).sum())
    share = percent(beyond / loss.size)
    note = f"The darkest shade stands for every value above {number(axis.limits[1], 3)}: {share} of the plane."
    return Field(label, plane.x, plane.y, np.where(np.isfinite(loss), loss, np.nan), axis), (note,) if beyond else ()


def _way(track: Track) -> Way:
    far = np.divide(track.outside, track.distances, out=np.zeros_like(track.outside), where=track.distances > 0)
    texts = []
    for place, off in enumerate(track.outside.tolist()):
        when = f"step {int(track.steps[place])}, " if track.steps.size else ""
        loss = f", J {number(float(track.losses[place]))}" if track.losses.size else ""
        texts.append(f"{when}{number(off, 3)} outside the plane{loss}")
    role, is_arrow = _ROLES.get(track.name, Role.MUTED), track.name in _ARROWS
    return Way(track.name, track.x, track.y, 1 - far, tuple(texts), role, is_arrow)


def outside_notes(plane: Plane) -> tuple[str, ...]:
    """What share of the distance of each way lies outside the plane, and how far J there is from the surface shown.

    Args:
        plane: The measurement.

    Returns:
        A sentence for each way, and what the size of the points means.
    """
    told = [
        f"{track.name[:1].upper()}{track.name[1:]}: {share(track.outside_share)} of its distance from {plane.origin} "
        f"lies outside the plane{_gap(plane, track)}."
        for track in plane.tracks
        if np.isfinite(track.outside_share)
    ]
    sized = ["Points are drawn smaller the farther they lie outside."] if told else []
    return (*told, *sized)


def share(outside: float) -> str:
    """A share of a distance in words; what rounding leaves is nothing."""
    return "nothing" if outside < _NOTHING else percent(outside)


def _gap(plane: Plane, track: Track) -> str:
    """The greatest difference between J at the points and on the plane below them, where the plane was measured."""
    if not track.losses.size:
        return ""
    beneath = below(plane, track)
    gaps = np.abs(track.losses - beneath)
    inside = np.isfinite(gaps)
    if not inside.any():
        return "; no point of it lies over the part shown"
    return f"; J at its points differs from the surface below them by up to {number(float(gaps[inside].max()), 2)}"


def below(plane: Plane, track: Track) -> np.ndarray:
    """The loss on the plane below points, between its grid points bilinearly; NaN beyond the part that was measured.

    Args:
        plane: The measurement.
        track: The points.

    Returns:
        One loss a point.
    """
    loss = np.asarray(plane.losses, dtype=np.float64)
    found = np.full(track.x.size, np.nan)
    with np.errstate(invalid="ignore"):
        inside = (track.x >= plane.x[0]) & (track.x <= plane.x[-1]) & (track.y >= plane.y[0]) & (track.y <= plane.y[-1])
        x, y = track.x[inside], track.y[inside]
        i = np.clip(np.searchsorted(plane.x, x) - 1, 0, plane.x.size - 2)
        j = np.clip(np.searchsorted(plane.y, y) - 1, 0, plane.y.size - 2)
        u = (x - plane.x[i]) / (plane.x[i + 1] - plane.x[i])
        v = (y - plane.y[j]) / (plane.y[j + 1] - plane.y[j])
        low = (1 - u) * loss[j, i] + u * loss[j, i + 1]
        high = (1 - u) * loss[j + 1, i] + u * loss[j + 1, i + 1]
        found[inside] = (1 - v) * low + v * high
    return found
