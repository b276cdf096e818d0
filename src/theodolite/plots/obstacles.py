"""Which picture shows the obstacle that was named? One main chart, and beside it at most two that complete it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from theodolite.plots.budget import marks_budget
from theodolite.plots.cliffs import marks_spikes, marks_wall
from theodolite.plots.curvature import marks_dead_units, marks_eigenvalues
from theodolite.plots.ends import marks_ends
from theodolite.plots.layers import marks_dead_layers, marks_depth
from theodolite.plots.lines import marks_straight
from theodolite.plots.losses import marks_loss
from theodolite.plots.marks import Absent, Chart
from theodolite.plots.moves import marks_branches, marks_scalings, marks_terms
from theodolite.plots.paths import marks_generalization, marks_norm, marks_off_line, marks_trend
from theodolite.plots.planes import marks_plane
from theodolite.plots.scales import number
from theodolite.plots.sections import marks_barrier, marks_rays, marks_walls
from theodolite.records.diagnosis import Diagnosis, Trials
from theodolite.records.obstacles import Status
from theodolite.records.planes import Plane
from theodolite.records.run import Run
from theodolite.records.survey import Survey

Panel = Chart | Absent
_Maker = Callable[[Run, Diagnosis], Panel]
_FEWEST_SPECTRA = 4
_VANISHING = 1e-3
"""Where the weakest layer's gradient is less than so much of the strongest's, depth is the picture of a plateau."""


def charts_obstacle(run: Run, diagnosis: Diagnosis) -> tuple[Panel, ...]:
    """The picture of the obstacle that a diagnosis names.

    Args:
        run: The run.
        diagnosis: What was concluded.

    Returns:
        The main chart first, then those beside it. Where the main one lacks its measurement, the nearest one that can
        be drawn stands first and says what it stands for, and the absent one last.
    """
    makers = _PICTURES.get(diagnosis.obstacle, _UNDETERMINED)
    main, *beside = [make(run, diagnosis) for make in makers]
    drawn = [panel for panel in beside if isinstance(panel, Chart)]
    absent = [panel for panel in beside if isinstance(panel, Absent)]
    if isinstance(main, Chart):
        return (main, *drawn[:2], *absent)
    if not drawn:
        drawn = [panel for panel in (make(run, diagnosis) for make in _NEAREST) if isinstance(panel, Chart)][:1]
    if not drawn:
        return (main, *absent)
    instead = f"In place of “{main.title}”, which could not be drawn. {main.reason}"
    first = replace(drawn[0], notes=(instead, *drawn[0].notes))
    return (first, *drawn[1:2], main, *absent)


def _plain(make: Callable[[Run], Panel]) -> _Maker:
    return lambda run, _: make(run)


def _plane_of(run: Run, name: str) -> Plane | None:
    planes: tuple[Plane, ...] = run.results("Plane")
    return next((plane for plane in reversed(planes) if plane.name == name), None)


def _floor(run: Run) -> float:
    return float(run.metadata.get("floor") or 0.0)


_NO_PLANE = "Not measured in this run: that plane. monitor.diagnose() measures it for this verdict."


def _conditioning(run: Run, _: Diagnosis) -> Panel:
    """Path and curvature along the steepest and the slow direction."""
    title = "The valley: its steep and its slow direction"
    plane, survey = _plane_of(run, "ill_conditioning"), run.result("Survey")
    if plane is None:
        return Absent("plane_ill_conditioning", title, _NO_PLANE)
    plain, corrected = plane.track("plain steps"), plane.track("corrected steps")
    told = "The steps cross the valley and hardly advance along it"
    if plain is not None and corrected is not None:
        gone, whole = float(plain.y[-1]), float(corrected.y.max())
        told = (
            f"{plain.x.size - 1} plain steps advance {number(gone, 2)} along the way that {corrected.x.size - 1} "
            f"corrected steps go for {number(whole, 2)}"
        )
    condition = survey.condition_number if isinstance(survey, Survey) else None
    told += (
        f"; the condition number is {number(condition.value, 2)}"
        if condition is not None and condition.is_finite
        else ""
    )
    reading = (
        "Across: the direction in which the loss bends most. Up: the rest of the step that is corrected for curvature. "
        "The narrower the valley, the shorter the steps must be, and the longer the way along it takes."
    )
    return marks_plane(plane, title=title, takeaway=f"{told}.", reading=reading, floor=_floor(run))


def _saddle(run: Run, _: Diagnosis) -> Panel:
    """The plane of the most negative curvature and the gradient."""
    title = "The saddle: its way down"
    plane, survey = _plane_of(run, "saddle_point"), run.result("Survey")
    if plane is None:
        return Absent("plane_saddle_point", title, _NO_PLANE)
    told = "The loss falls to both sides along the most negative curvature"
    if isinstance(survey, Survey):
        move, kick = survey.what_if("negative curvature"), survey.what_if("random kick")
        if move.gain.is_finite:
            gained = number(move.gain.value, 2)
            told = (
                f"Following the most negative curvature by {number(move.length, 2)} gains {gained}; "
                f"a random kick of that length gains {number(kick.gain.value, 2)}"
            )
    reading = (
        f"Across: {plane.x_name}. Up: {plane.y_name}. To both sides the loss falls; the gradient, which has all but "
        "vanished here, sees next to nothing of it."
    )
    return marks_plane(plane, title=title, takeaway=f"{told}.", reading=reading)


def _nonlocal(run: Run, _: Diagnosis) -> Panel:
    """The way of the run off the straight line."""
    title = "The way of the run, and where it should have gone"
    plane = _plane_of(run, "nonlocal_structure")
    if plane is None:
        return Absent("plane_nonlocal_structure", title, _NO_PLANE)
    better, came = plane.track("to the better point"), plane.track("the run")
    told = "No better point is known; the plane holds the way that the run came"
    if better is not None and better.losses.size > 1:
        gain, far = better.losses[0] - better.losses[-1], float(np.max(better.distances))
        told = f"A point lower by {number(float(gain), 2)} lies {number(far, 2)} away"
        if came is not None and came.distances.max() > 0:
            told += f", {number(far / float(came.distances.max()), 2)} times as far as the run has come"
    reading = (
        "Across: from the start of the run to its end. Up: what a step to the better point needs besides. Where a "
        "ridge lies between, or the way bends, local information points elsewhere."
    )
    return marks_plane(plane, title=title, takeaway=f"{told}.", reading=reading, floor=_floor(run))


def _corrected_scalings(run: Run, _: Diagnosis) -> Panel:
    return marks_scalings(run, is_corrected=True)


def _spectrum(run: Run, _: Diagnosis) -> Panel:
    """The ends of the spectrum over the run, where there are enough measurements for a picture."""
    found = marks_eigenvalues(run)
    if len(run.series("smallest_eigenvalue")) >= _FEWEST_SPECTRA:
        return found
    return Absent("eigenvalues", found.title, "Too few measurements for a picture; the numbers stand in the findings.")


def _plateau(run: Run, diagnosis: Diagnosis) -> Panel:
    """Rays over decades; the gradient over depth where that has vanished."""
    return _depth_or_rays(run, is_first=True)


def _plateau_beside(run: Run, diagnosis: Diagnosis) -> Panel:
    return _depth_or_rays(run, is_first=False)


def _depth_or_rays(run: Run, *, is_first: bool) -> Panel:
    survey = run.result("Survey")
    depth = marks_depth(run)
    is_deep = isinstance(survey, Survey) and survey.depth_ratio < _VANISHING and isinstance(depth, Chart)
    return depth if is_deep is is_first else marks_rays(run)


def _is_spoilt(run: Run) -> bool:
    """Whether the loss blew up, or the run was begun again: then scalings from where it stands tell nothing."""
    survey, trials = run.result("Survey"), run.result("Trials")
    has_blown_up = isinstance(survey, Survey) and survey.status is Status.NONFINITE
    is_again = isinstance(trials, Trials) and any(
        remedy.name.startswith("from its start") for remedy in trials.remedies
    )
    return has_blown_up or is_again


def _too_large(run: Run, _: Diagnosis) -> Panel:
    """Scalings of the step; where the run is spoilt, where branches end."""
    ends = marks_ends(run) if _is_spoilt(run) else None
    return ends if isinstance(ends, Chart) else marks_scalings(run)


def _too_large_beside(run: Run, _: Diagnosis) -> Panel:
    """Branches beside scalings; beside their ends, how the loss went."""
    return marks_loss(run) if _is_spoilt(run) else marks_branches(run)


_NEAREST: tuple[_Maker, ...] = (marks_trend, _plain(marks_loss))
_UNDETERMINED: tuple[_Maker, ...] = (marks_trend,)
_PICTURES: Mapping[str, tuple[_Maker, ...]] = MappingProxyType(
    {
        "none": (marks_trend,),
        "step_too_small": (_plain(marks_scalings), _plain(marks_branches)),
        "step_too_large": (_too_large, _too_large_beside),
        "ill_conditioning": (_conditioning, _corrected_scalings),
        "gradient_noise": (_plain(marks_terms), _plain(marks_budget)),
        "saddle_point": (_saddle, _spectrum),
        "local_minimum": (_plain(marks_walls), _spectrum),
        "plateau": (_plateau, _plateau_beside),
        "cliff": (_plain(marks_spikes), _plain(marks_wall)),
        "no_minimum": (_plain(marks_norm), marks_trend),
        "nonlocal_structure": (_nonlocal, _plain(marks_barrier), _plain(marks_off_line), _plain(marks_straight)),
        "overfitting": (_plain(marks_generalization),),
        "dead_units": (_plain(marks_dead_layers), _plain(marks_dead_units)),
    }
)
"""For each obstacle the makers of its picture, the main one first."""
