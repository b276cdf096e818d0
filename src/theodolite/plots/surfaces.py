"""What does the loss look like as a surface in space, with the way of a training at its own height over it?"""

import numpy as np

from theodolite.plots.marks import Absent, Flight, ScaleName, Scene, Surface
from theodolite.plots.planes import (
    Unit,
    axis_of,
    below,
    extremes,
    in_unit,
    is_preview,
    nearness,
    notes_of_plane,
    outside_notes,
    role_of,
    texts_of,
)
from theodolite.plots.scales import fit, number
from theodolite.plots.trajectories import beside_line
from theodolite.records.planes import Plane, Track
from theodolite.records.trajectories import Projection


def scene_plane(plane: Plane, *, scale: ScaleName | None = None, unit: Unit = "direction") -> Scene:
    """Loss on a plane as a surface, with each way at the loss of its own points and a stem to the surface.

    Args:
        plane: The measurement.
        scale: Scale of the loss; the default is logarithmic where it spans more than a factor of 30.
        unit: What the axes count: multiples of the two directions, or the distance in θ.

    Returns:
        The picture.
    """
    shown = in_unit(plane, unit)
    z = np.where(np.isfinite(shown.losses), shown.losses, np.nan)
    x, y = np.meshgrid(shown.x, shown.y)
    flights = tuple(_flight(shown, track) for track in shown.tracks if track.x.size)
    height = fit("loss J", "", [z, *(one.z for one in flights)], scale=scale, pad=0.02)
    return Scene(
        f"surface_{plane.name}",
        f"The loss over a plane through {plane.origin}{', a preview' if is_preview(plane) else ''}",
        extremes(shown),
        "Height is the loss. A way flies at the loss of its own points; the stems are its gap to the surface, which "
        "holds only what lies on the plane.",
        axis_of(shown, 0),
        axis_of(shown, 1),
        height,
        (Surface("loss J", x, y, z),),
        flights,
        (*outside_notes(shown), *_unmeasured(shown), *notes_of_plane(shown),
         *plane.notes),
    )  # fmt: skip


def scene_projection(projection: Projection, *, scale: ScaleName | None = None) -> Scene | Absent:
    """A training by its progress along a line, its distance from it, and its loss, over the lines across.

    The surface is no plane: each row is a straight line of its own through the way and the foot of its point.

    Args:
        projection: The measurement.
        scale: Scale of the loss; the default is logarithmic where it spans more than a factor of 30.

    Returns:
        The picture, or what is missing.

    Source: Goodfellow, Vinyals & Saxe 2015, section 6, the figures in space.
    """
    title = f"The way beside the line from {projection.start} to {projection.end}, and the loss across"
    if projection.surface.shape[0] < 2 or not projection.losses.size:
        return Absent(
            "surface_projection", title, "Not measured: the loss at its points, and on lines across. Measure both."
        )
    rows, offsets = np.asarray(projection.across), np.asarray(projection.offsets)
    z = np.where(np.isfinite(projection.surface), projection.surface, np.nan)
    x = np.repeat(projection.progress[rows][:, None], offsets.size, 1)
    y = np.repeat(offsets[None], rows.size, 0)
    flight = _beside(projection, z)
    holes = int(np.isnan(z).sum())
    return Scene(
        "surface_projection",
        title,
        beside_line(projection),
        "Along: progress α. Across: distance β from the line. Height: the loss. Each line across passes through the "
        "straight line and through the point of the way there.",
        fit("progress α", "θ", [projection.progress], scale="linear", pad=0.02),
        fit("distance across", "θ", [offsets, projection.residuals], scale="linear", pad=0.02),
        fit("loss J", "", [z, projection.losses], scale=scale, pad=0.02),
        (Surface("loss J", x, y, z),),
        (flight,),
        (
            f"No plane: {rows.size} straight lines of {offsets.size} points each, every one in a direction of its own, "
            "drawn side by side. Two neighbours may belong to different directions.",
            *((f"{holes} points have a loss that is not finite: holes.",) if holes else ()),
            *((f"How J was evaluated: {projection.method}.",) if projection.method else ()),
            *projection.notes,
        ),
    )


def _beside(projection: Projection, z: np.ndarray) -> Flight:
    """The way, with a stem where a line across passes under it."""
    foot = np.full(projection.steps.size, np.nan)
    for row, place in enumerate(projection.across.tolist()):
        foot[place] = np.interp(projection.residuals[place], projection.offsets, z[row], np.nan, np.nan)
    texts = tuple(
        f"step {step}, J {number(loss)}, β {number(beside, 3)}"
        for step, loss, beside in zip(
            projection.steps.tolist(), projection.losses.tolist(), projection.residuals.tolist(), strict=True
        )
    )
    near = np.ones(projection.steps.size)
    return Flight("trajectory", projection.progress, projection.residuals, projection.losses, foot, near, texts)


def _flight(plane: Plane, track: Track) -> Flight:
    """A track at the loss of its own points; on the surface where that is unknown."""
    foot = below(plane, track)
    height = np.where(np.isfinite(track.losses), track.losses, np.nan) if track.losses.size else foot
    return Flight(
        track.name, track.x, track.y, height, foot, nearness(track), texts_of(plane, track), role_of(plane, track)
    )


def _unmeasured(plane: Plane) -> tuple[str, ...]:
    names = [track.name for track in plane.tracks if track.x.size and not track.losses.size]
    told = f"The loss at the points of {', '.join(names)} was not measured: drawn on the surface below them."
    return (told,) if names else ()
