"""What does the loss look like on a plane, and where on it did the training go?"""

from dataclasses import replace
from typing import Literal

import numpy as np

from theodolite.plots.marks import Axis, Chart, Dots, Field, Label, Role, ScaleName, Way
from theodolite.plots.scales import choose_scale, fit, number, percent
from theodolite.records.planes import Plane, Track

_HIGHEST = 0.9
"""Shades end at this quantile of the loss: the walls in the corners of a plane would leave no shade for the rest."""

Unit = Literal["direction", "theta"]

_NOTHING = 5e-4
_OBLIQUE = 0.01
"""Cosine from which directions do not look orthogonal: 0.6°."""
_WALLS = 2.0
"""They end there only if the walls are this many times as high."""

_PREPOSITIONS = ("along", "beside", "downhill", "from", "to", "towards", "where")
_TURNS = (Role.MAIN, Role.SECOND, Role.THIRD, Role.FOURTH)
_ARROWS = ("way down", "random kick", "to the better point")
_ROLES = {
    "the run": Role.MAIN,
    "plain steps": Role.THIRD,
    "corrected steps": Role.SECOND,
    "way down": Role.SECOND,
    "random kick": Role.FOURTH,
    "to the better point": Role.SECOND,
}


def marks_plane(
    plane: Plane,
    *,
    title: str = "",
    takeaway: str = "",
    reading: str = "",
    floor: float = -np.inf,
    scale: ScaleName | None = None,
    unit: Unit = "direction",
) -> Chart:
    """Loss on a plane with the ways that were projected onto it, and what lies outside.

    Args:
        plane: The measurement.
        title: What it shows; by default the plane's own words.
        takeaway: What it says of this run.
        reading: How to read it.
        floor: The least value that the loss can have; shades are then of what is above it.
        scale: Scale of the shades; the default is logarithmic where the loss spans more than a factor of 30.
        unit: What the axes count: multiples of the two directions, or the distance in θ.

    Returns:
        The chart.
    """
    shown = in_unit(plane, unit)
    loss = np.asarray(shown.losses)
    above = floor if np.isfinite(floor) and loss[np.isfinite(loss)].min(initial=np.inf) > floor else 0.0
    field, clipped = _field(shown, loss - above, "J − floor" if above else "loss J", scale)
    tracks = [_way(shown, track) for track in shown.tracks if track.x.size > 1]
    return Chart(
        f"plane_{plane.name}",
        title or f"The loss on a plane through {plane.origin}{', a preview' if is_preview(plane) else ''}",
        takeaway or extremes(shown),
        reading or f"Each place is one θ. Across: {plane.x_name}. Up: {plane.y_name}. The bar explains the shades.",
        axis_of(shown, 0),
        axis_of(shown, 1),
        (field, *_dots(shown), *tracks, *([Label(plane.origin, 0.0, 0.0)] if holds_origin(plane) else [])),
        (*outside_notes(shown), _scales(shown), *clipped, *notes_of_plane(shown), *plane.notes),
    )


def in_unit(plane: Plane, unit: Unit) -> Plane:
    """A plane whose coordinates are multiples of its directions, as stored, or distances in θ.

    Args:
        plane: The plane.
        unit: Which of them.

    Returns:
        The plane.
    """
    if unit == "direction":
        return plane
    first, second = plane.lengths
    tracks = tuple(replace(track, x=track.x * first, y=track.y * second) for track in plane.tracks)
    return replace(plane, x=plane.x * first, y=plane.y * second, lengths=(1.0, 1.0), tracks=tracks)


def axis_of(plane: Plane, which: int) -> Axis:
    """The axis of a direction: a distance where the direction has length 1, else multiples of it.

    Args:
        plane: The plane.
        which: 0 for x, 1 for y.

    Returns:
        The axis.
    """
    name, values = ((plane.x_name, plane.x), (plane.y_name, plane.y))[which]
    length = plane.lengths[which]
    low, high = float(values[0]), float(values[-1])
    limits = (low, high) if high > low else (low - 0.5, low + 0.5)
    if abs(length - 1) < 1e-3:
        says_where = name.partition(" ")[0].rstrip(",") in _PREPOSITIONS
        return Axis(f"distance {name}" if says_where else f"distance along {name}", "θ", "linear", limits)
    return Axis(name, f"unit: its length {number(length, 3)}", "linear", limits)


def is_preview(plane: Plane) -> bool:
    """Whether the values are those of a forward pass of low precision."""
    return any(word in plane.method for word in ("preview", "bfloat16"))


def extremes(plane: Plane) -> str:
    """What the loss is at the origin, and where it is least and greatest, of the points where it was measured."""
    loss = np.asarray(plane.losses)
    known = np.isfinite(loss) & (plane.measured if plane.measured.size else True)
    if not known.any():
        return "The loss is finite nowhere on this plane."
    low, high = float(np.min(loss[known])), float(np.max(loss[known]))
    row, column = np.unravel_index(int(np.argmin(np.where(known, loss, np.inf))), loss.shape)
    least = f"least at ({number(float(plane.x[column]), 2)}, {number(float(plane.y[row]), 2)})"
    span = f"It runs from {number(low, 3)} to {number(high, 3)}."
    if not holds_origin(plane):
        return f"The loss is {least}. {span}"
    here = float(loss[int(np.argmin(np.abs(plane.y))), int(np.argmin(np.abs(plane.x)))])
    told = f"The loss is {number(here, 3)} at {plane.origin}" if np.isfinite(here) else "The loss is not finite there"
    return f"{told}; {'nothing on this plane is lower' if here <= low else f'it is {least}'}. {span}"


def holds_origin(plane: Plane) -> bool:
    """Whether the point that a plane is laid through is among those that it shows."""
    return bool(plane.x[0] <= 0 <= plane.x[-1] and plane.y[0] <= 0 <= plane.y[-1])


def notes_of_plane(plane: Plane) -> tuple[str, ...]:
    """How the values were got, which of them are interpolated or not finite, and how the directions stand."""
    told = []
    bad = int((~np.isfinite(plane.losses)).sum())
    if bad:
        points = f"{bad} of {plane.losses.size} points of the plane"
        told.append(f"{points} have a loss that is not finite: hatched; in space, holes.")
    if plane.measured.size and not plane.measured.all():
        count = int(plane.measured.sum())
        error = number(plane.interpolation_error, 2)
        told.append(
            f"J was evaluated at {count} of {plane.measured.size} points (dots); between them it is interpolated, "
            f"wrong by {error} at most, as far as can be estimated{_too_coarse(plane)}."
        )
    if abs(plane.cosine) > _OBLIQUE:
        told.append(
            f"The two directions are not orthogonal (cosine {number(plane.cosine, 2)}): angles in the picture are not "
            "those of θ."
        )
    if is_preview(plane):
        told.append(f"A preview, not exact. How J was evaluated: {plane.method}.")
    elif plane.method:
        told.append(f"How J was evaluated: {plane.method}.")
    return tuple(told)


def _too_coarse(plane: Plane) -> str:
    """That low values are known less well than they are drawn on a logarithmic scale."""
    seen = plane.losses[plane.measured & np.isfinite(plane.losses)]
    is_hidden = seen.size > 0 and 0 < seen.min() < plane.interpolation_error
    return f": where J is near its least, {number(float(seen.min()), 2)}, shades say little" if is_hidden else ""


def _dots(plane: Plane) -> tuple[Dots, ...]:
    """Where J was evaluated, if it was not everywhere."""
    if not plane.measured.size or plane.measured.all():
        return ()
    rows, columns = np.nonzero(plane.measured)
    return (Dots("evaluated", plane.x[columns], plane.y[rows]),)


def _scales(plane: Plane) -> str:
    """How much the axes differ, and how fine the grid is."""
    wide, high = (float(np.ptp(side)) * length for side, length in zip((plane.x, plane.y), plane.lengths, strict=True))
    size = f"{plane.x.size} × {plane.y.size} points."
    if not 0 < 3 * min(wide, high) < max(wide, high):
        return f"{size} One plane through many dimensions: what lies beside it is not seen."
    stretched = "upright" if wide > high else "level"
    factor = number(max(wide, high) / min(wide, high), 2)
    return f"{size} The axes differ: a unit is {factor} times as long on the {stretched} axis."


def _field(plane: Plane, loss: np.ndarray, label: str, wanted: ScaleName | None) -> tuple[Field, tuple[str, ...]]:
    finite = loss[np.isfinite(loss)]
    scale = wanted or (choose_scale(finite) if finite.size else "linear")
    top = float(np.quantile(finite, _HIGHEST)) if finite.size and scale != "log" else np.inf
    if finite.size and finite.max() - finite.min() <= _WALLS * (top - finite.min()):
        top = np.inf
    shown = finite[finite <= top] if finite.size else np.zeros(1)
    axis = fit(label, "", [shown], scale="log" if scale == "log" else "linear", pad=0.0)
    beyond = int((finite > axis.limits[1] * (1 + 1e-9)).sum())  # the limit itself is rounded
    share = percent(beyond / loss.size)
    note = f"The last shade stands for every value above {number(axis.limits[1], 3)}: {share} of the plane."
    return Field(label, plane.x, plane.y, np.where(np.isfinite(loss), loss, np.nan), axis), (note,) if beyond else ()


def _way(plane: Plane, track: Track) -> Way:
    role, is_arrow = role_of(plane, track), track.name in _ARROWS
    return Way(track.name, track.x, track.y, nearness(track), texts_of(plane, track), role, is_arrow)


def role_of(plane: Plane, track: Track) -> Role:
    """The part that a track plays in a picture; tracks of no known name take turns."""
    others = [one.name for one in plane.tracks if one.name not in _ROLES]
    return _ROLES[track.name] if track.name in _ROLES else _TURNS[others.index(track.name) % len(_TURNS)]


def nearness(track: Track) -> np.ndarray:
    """How near to the plane each point lies, from 1 on it to 0 where all of its distance from the origin is off it."""
    far = np.divide(track.outside, track.distances, out=np.zeros_like(track.outside), where=track.distances > 0)
    return np.asarray(np.clip(1 - far, 0, 1))


def texts_of(plane: Plane, track: Track) -> tuple[str, ...]:
    """What is told of each point of a track: its step, how far off it lies, J there and on the surface below."""
    texts, beneath = [], below(plane, track)
    for place, off in enumerate(track.outside.tolist()):
        when = f"step {int(track.steps[place])}, " if track.steps.size else ""
        loss = f", J {number(float(track.losses[place]))}" if track.losses.size else ""
        if loss and np.isfinite(beneath[place]):
            loss += f", on the surface {number(float(beneath[place]))}"
        texts.append(f"{when}{number(off, 3)} outside the plane{loss}")
    return tuple(texts)


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
    if min(loss.shape) < 2:
        return found
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
