"""What does the loss look like along straight lines: walls around a minimum, flat land, a barrier?"""

import math

import numpy as np

from theodolite.plots.marks import Absent, Chart, Curve, Label, Layer, Level, Role
from theodolite.plots.reading import edge_marks, error_band, notes_of, thinned_curve, unplaced
from theodolite.plots.scales import fit, number
from theodolite.records.planes import Section, Sections
from theodolite.records.run import Run
from theodolite.records.survey import Survey
from theodolite.records.terrain import Ray

_ROLES = (Role.MAIN, Role.SECOND, Role.THIRD, Role.FOURTH)
_NO_SURVEY = "Not measured in this run: a survey. monitor.diagnose() makes it at the end of a training."
NO_LINES = "Not measured in this run: lines around its last point. monitor.diagnose() measures them for this verdict."
_NO_BETTER = "Not measured in this run: a line to a better point. None is known, or nobody looked."
_HIGHEST = 4.0
"""Walls are drawn to so many times the loss above the floor; beyond, they only flatten the rest."""


def sections_of(run: Run, name: str) -> Sections | None:
    """The lines that were measured for an obstacle; None if there are none."""
    found: tuple[Sections, ...] = run.results("Sections")
    return next((one for one in reversed(found) if one.name == name), None)


def marks_walls(run: Run) -> Chart | Absent:
    """Loss along lines in many directions through the last point, and to a better point if one is known.

    Args:
        run: The run.

    Returns:
        The chart, or what is missing.
    """
    title = "The loss along straight lines in every direction that matters"
    found = sections_of(run, "local_minimum")
    if found is None:
        return Absent("walls", title, NO_LINES)
    named = [line for line in found.lines if not line.name.startswith("random")]
    thin = [line for line in found.lines if line.name.startswith("random")]
    layers: list[Layer] = [_thin(line) for line in thin]
    for line, role in zip(named, _ROLES, strict=False):
        layers += [*error_band(line.name, line.lengths, line.losses, line.errors, role=role)]
        layers += [thinned_curve(line.name, line.lengths, line.losses, role)]
    here = loss_at(found.lines[0], 0.0)
    limit = _ceiling(run, found, here)
    shown = [np.minimum(line.losses[np.isfinite(line.losses)], limit) for line in found.lines]
    targets = [line for line in named if math.isfinite(line.target)]
    for line in targets:
        layers.append(Label("better point", line.target, loss_at(line, line.target)))
    bad = np.concatenate([line.lengths[~np.isfinite(line.losses)] for line in found.lines])
    edges = (edge_marks("loss", bad, f"points with a loss that is not finite: {bad.size}", "top"),) if bad.size else ()
    is_cut = any((line.losses > limit * (1 + 1e-9)).any() for line in found.lines)
    cut = (f"Walls higher than {number(limit, 3)} are cut off.",) if is_cut else ()
    count = f" Thin: {len(thin)} random directions." if thin else ""
    return Chart(
        "walls",
        title,
        _walls_takeaway(found, here),
        "If the loss rises whichever way one goes, this is a minimum; a line that dips below the level of here leads "
        "out." + count,
        fit("signed distance from here", "θ", [line.lengths for line in found.lines], scale="linear", pad=0.02),
        fit("loss J", "loss", [*shown, np.array([here])], scale="linear"),
        (Level("here", here), *layers, *edges),
        (
            f"{len(found.lines)} lines of all that pass through the point: between them the loss may fall.",
            *cut,
            *found.notes,
            *notes_of(edges),
        ),
    )  # fmt: skip


def _thin(line: Section) -> Curve:
    return Curve(line.name, line.lengths, line.losses, Role.MUTED, int(line.lengths.size), is_thin=True)


def loss_at(line: Section, length: float) -> float:
    """Loss at a length, straight between the points measured."""
    return float(np.interp(length, line.lengths, line.losses))


def _ceiling(run: Run, found: Sections, here: float) -> float:
    excess = here - float(run.metadata.get("floor") or 0.0)
    tops = [float(line.losses[np.isfinite(line.losses)].max(initial=here)) for line in found.lines]
    targets = [_barrier(line, here) for line in found.lines if math.isfinite(line.target)]
    wanted = here + max([_HIGHEST * abs(excess), *(1.5 * rise for rise in targets)])
    return min(max(tops), wanted) if excess else max(tops)


def _barrier(line: Section, here: float) -> float:
    """How far the loss rises above here on the way to the target."""
    between = (line.lengths >= 0) & (line.lengths <= line.target)
    return float(line.losses[between].max(initial=here) - here)


def _walls_takeaway(found: Sections, here: float) -> str:
    sides = [(line, *_side(line, here, way)) for line in found.lines for way in (-1, 1)]
    falling = [one for one in sides if one[1] <= 0 < one[2]]
    if falling:
        line, _, gain = max(falling, key=lambda one: one[2])
        told = f"Along {len(falling)} of {len(sides)} ways the loss falls at once"
        return f"{told}, most along “{line.name}”, by {number(gain, 2)}."
    told = f"Whichever of {len(sides)} ways one goes from here, the loss first rises"
    behind = [one for one in sides if one[2] > 0]
    if not behind:
        return f"{told}, and nowhere on them is it lower than here."
    line, wall, gain = max(behind, key=lambda one: one[2])
    return f"{told}; behind a wall of {number(wall, 2)} along “{line.name}” it is lower by {number(gain, 2)}."


def _side(line: Section, here: float, way: int) -> tuple[float, float]:
    """Going one way: how high the loss rises before it falls below here, and how far below it comes in the end.

    Returns:
        The wall, ∞ if it never falls below here; and the fall. A rise or fall within its error is none.
    """
    there = np.flatnonzero(line.lengths * way > 0)[::way]
    change = line.losses[there] - here
    slack = np.where(np.isfinite(line.errors[there]), 2 * line.errors[there], 1e-6 * abs(here))
    lower = np.flatnonzero(change < -slack)
    if not lower.size:
        return math.inf, 0.0
    rises = (change - slack)[: lower[0]]
    wall = float(change[int(np.argmax(rises))]) if rises.size and not rises.max() <= 0 else 0.0
    return wall, -float(change[np.isfinite(change)].min())


def marks_rays(run: Run) -> Chart | Absent:
    """Loss along rays over decades of distance.

    Args:
        run: The run.

    Returns:
        The chart, or what is missing.
    """
    title = "The loss over decades of distance"
    survey: Survey | None = run.result("Survey")
    rays = [ray for ray in survey.rays if len(ray.lengths) > 1] if survey is not None else []
    if survey is None or not rays:
        return Absent("rays", title, _NO_SURVEY)
    layers: list[Layer] = []
    edges = []
    for ray, role in zip(rays, _ROLES, strict=False):
        x, y = np.asarray(ray.lengths[1:]), np.asarray(ray.losses[1:])
        layers += [*error_band(ray.name, x, y, ray.errors[1:], role=role), thinned_curve(ray.name, x, y, role)]
        edges += [*unplaced(ray.name, x, y)]
    here, floor = float(rays[0].losses[0]), float(run.metadata.get("floor") or 0.0)
    tall = [np.clip(ray.losses, None, here + _HIGHEST * abs(here - floor)) for ray in rays]
    norm = f"‖θ‖ here is {number(survey.param_norm, 3)}; " if survey.param_norm > 0 else ""
    return Chart(
        "rays",
        title,
        _flat_takeaway(rays, here, floor),
        "Each line leaves the last point in another direction. On a plateau the loss stays where it is however far one "
        "goes, until something else begins.",
        fit("distance from here", "θ", [ray.lengths[1:] for ray in rays], scale="log", pad=0.02),
        fit("loss J", "loss", [*tall, np.array([floor])], scale="linear"),
        (Level("here", here), Level("floor", floor), *layers, *edges),
        (f"{norm}{len(rays)} straight lines of all that there are; between the doublings nothing was measured.",
         *notes_of(tuple(edges))),
    )  # fmt: skip


def _flat_takeaway(rays: list[Ray], here: float, floor: float) -> str:
    excess = here - floor
    limit = 0.05 * abs(excess)
    flat = []
    for ray in rays:
        moved = np.flatnonzero(~(np.abs(ray.losses - here) <= limit))
        flat.append(float(ray.lengths[moved[0] - 1]) if moved.size else float(ray.lengths[-1]))
    first = min(float(ray.lengths[1]) for ray in rays)
    least = min(flat)
    if least < first:
        return f"Along a line the loss changes by a twentieth of its height above the floor within {number(first, 2)}."
    return (
        "Along every line the loss stays within a twentieth of its height above the floor up to a distance of "
        f"{number(least, 2)}."
    )


def marks_barrier(run: Run) -> Chart | Absent:
    """Loss on the straight line from here to the better point that is known.

    Args:
        run: The run.

    Returns:
        The chart, or what is missing.
    """
    title = "The straight line to a better point"
    found = sections_of(run, "nonlocal_structure")
    if found is None or not found.lines:
        return Absent("barrier", title, _NO_BETTER)
    line = found.lines[0]
    here, there = loss_at(line, 0.0), loss_at(line, line.target)
    edges = unplaced("loss", line.lengths, line.losses)
    barrier = _barrier(line, here)
    told = f"behind a barrier of {number(barrier, 2)}" if barrier > 1e-6 * abs(here) else "with no barrier between"
    return Chart(
        "barrier",
        title,
        f"A point lower by {number(here - there, 2)} lies {number(line.target, 3)} away, {told}.",
        "What a local method would have to climb if it went straight there.",
        fit("distance from here", "θ", [line.lengths], scale="linear", pad=0.02),
        fit("loss J", "loss", [line.losses]),
        (Level("here", here), *error_band("loss", line.lengths, line.losses, line.errors, role=Role.MAIN),
         thinned_curve("loss", line.lengths, line.losses, Role.MAIN),
         Label("better point", line.target, there), *edges),
        ("One straight line: a bent way may avoid the barrier.", *notes_of(edges)),
    )  # fmt: skip
