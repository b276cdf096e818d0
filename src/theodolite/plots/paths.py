"""Which way did the training come: its trend, its norm, its distance from the straight line, its turn?"""

import math

import numpy as np

from theodolite.plots.marks import Absent, Chart, Curve, Label, Layer, Level, Points, Role, Span
from theodolite.plots.reading import error_band, lacking, measured, notes_of, thinned_curve, unplaced, with_errors
from theodolite.plots.scales import fit, number, percent
from theodolite.records.diagnosis import Diagnosis
from theodolite.records.run import Run
from theodolite.records.terrain import Ray, Trail

_NO_VALIDATION = "Not measured in this run: a validation loss. Monitor(validation=...) takes the data."
NO_TRAIL = "Not measured in this run: points that it came through. monitor.diagnose() looks at those that were kept."


def marks_trend(run: Run, diagnosis: Diagnosis) -> Chart | Absent:
    """The loss above its floor against the age of the run, both logarithmic, with the trend that was judged.

    Args:
        run: The run.
        diagnosis: Its finding on "none" holds the share that falls while the age of the run doubles.

    Returns:
        The chart, or what is missing.
    """
    title = "The loss against the age of the run"
    absent = lacking(run, "trend", title, ("loss",))
    if absent:
        return absent
    steps, loss, _ = with_errors(run, "loss")
    floor = float(run.metadata.get("floor") or 0.0)
    excess = loss - floor
    positive = np.isfinite(excess) & (excess > 0)
    edges = unplaced("loss", steps, excess, is_log=True)
    layers: list[Layer] = [
        thinned_curve("every batch", steps, np.where(positive, excess, np.nan), Role.MUTED, is_thin=True)
    ]
    fallen = diagnosis.findings["none"].statistic if "none" in diagnosis.findings else None
    told = "The record does not tell a trend from scatter."
    if fallen is not None and fallen.is_finite and fallen.value < 1 and positive.any():
        line = _trend(steps[positive], excess[positive], fallen.value)
        layers.append(line)
        sure = f" ± {percent(fallen.error)}" if math.isfinite(fallen.error) else ""
        verb = "falls by" if fallen.value >= 0 else "rises by"
        told = f"While the age of the run doubles, the loss above its floor {verb} {percent(abs(fallen.value))}{sure}."
    what = f"loss above the floor {number(floor, 3)}" if floor else "loss"
    return Chart(
        "trend",
        title,
        told,
        "A run that is not held up falls by a fair share whenever its age doubles: a straight line downhill on these "
        "axes. The line is the trend that was judged.",
        fit("step", "", [steps[steps > 0]], scale="log", pad=0.02),
        fit(what, "loss", [excess[positive]], scale="log"),
        (*layers, *edges),
        ("Losses of single mini-batches: they scatter, and their mean is not the loss on all data.", *notes_of(edges)),
    )  # fmt: skip


def _trend(steps: np.ndarray, excess: np.ndarray, fallen: float) -> Curve:
    """The line of the judged slope through the middle of the last three quarters of the run."""
    old = steps > steps[-1] / 4 if (steps > steps[-1] / 4).any() else np.ones_like(steps, dtype=bool)
    slope = math.log2(1 - fallen)
    middle = float(np.log(steps[old]).mean()), float(np.log(excess[old].mean()))
    ends = np.array([steps[old][0], steps[-1]])
    return Curve("trend", ends, np.exp(middle[1] + slope * (np.log(ends) - middle[0])), Role.SECOND, int(old.sum()))


def marks_norm(run: Run) -> Chart | Absent:
    """Loss against ‖θ‖ along the way that the run came, and on beyond its end.

    Args:
        run: The run.

    Returns:
        The chart, or what is missing.
    """
    title = "Loss against the size of the weights"
    trail: Trail | None = run.result("Trail")
    if trail is None or len(trail.steps) < 2:
        return Absent("norm", title, NO_TRAIL)
    floor = float(run.metadata.get("floor") or 0.0)
    survey = run.result("Survey")
    rays = [ray for ray in (survey.ray("outward"), survey.ray("growing weights")) if ray is not None] if survey else []
    beyond = [(ray, norms) for ray in rays if (norms := _norms(ray, trail)) is not None]
    came = np.asarray(trail.losses) - floor
    drawn = [came, *(ray.losses - floor for ray, _ in beyond)]
    known = [y[np.isfinite(y) & (y > 0)] for y in drawn]
    edges = unplaced("the run", trail.norms, came, is_log=True)
    layers: list[Layer] = [_joined("the run", trail.norms, came, Role.MAIN)]
    for (ray, norms), role, words in zip(
        beyond, (Role.SECOND, Role.THIRD), ("on, outward", "all weights grown"), strict=False
    ):
        layers.append(_joined(words, norms, ray.losses - floor, role))
        edges += unplaced(words, norms, ray.losses - floor, is_log=True)
    end = float(trail.norms[-1])
    here = (Label(f"here, step {int(trail.steps[-1])}", end, float(came[-1])),) if came[-1] > 0 else ()
    return Chart(
        "norm",
        title,
        _norm_takeaway(trail, beyond, floor),
        "A loss that falls for ever while the weights grow has no minimum: the points run down to the right without "
        "end. A curve that turns up has one.",
        fit("‖θ‖", "", [trail.norms[trail.norms > 0], *(norms for _, norms in beyond)], scale="log"),
        fit("loss above the floor" if floor else "loss J", "loss", known, scale="log"),
        (*layers, *here, *edges),
        (
            "Every point is projected onto its length alone: where it points is not seen. The lines beyond the end are "
            "straight; the run itself may bend.",
            *notes_of(edges),
        ),
    )  # fmt: skip


def _joined(name: str, x: np.ndarray, y: np.ndarray, role: Role) -> Points:
    shown = np.isfinite(y) & (y > 0) & (x > 0)
    return Points(name, x[shown], y[shown], np.full(int(shown.sum()), np.nan), role)


def _norms(ray: Ray, trail: Trail) -> np.ndarray | None:
    """‖θ‖ along a ray, exact from the trail: ‖θ + s·d‖² = ‖θ‖² + 2s θ·d + s²."""
    end = float(trail.norms[-1])
    if ray.name == "growing weights":
        return end + np.asarray(ray.lengths)
    half = _half_way(trail)
    far = float(trail.distances[half, -1])
    if ray.name != "outward" or not far > 0:
        return None
    along = (end**2 + far**2 - float(trail.norms[half]) ** 2) / (2 * far)
    squares = end**2 + 2 * ray.lengths * along + np.square(ray.lengths)
    return np.asarray(np.sqrt(np.maximum(squares, 0.0)))


def _half_way(trail: Trail) -> int:
    """The point nearest to half of the steps of those kept before the last one."""
    kept = np.asarray(trail.steps[:-1])
    return int(np.argmin(np.abs(kept - 0.5 * kept[-1])))


def _norm_takeaway(trail: Trail, beyond: list[tuple[Ray, np.ndarray]], floor: float) -> str:
    grown = float(trail.norms[-1] / trail.norms[0]) if trail.norms[0] > 0 else math.inf
    start, now = (float(trail.losses[at] - floor) for at in (0, -1))
    told = f"While the weights grew {number(grown, 3)} times, the loss went from {number(start, 3)} to {number(now, 2)}"
    falling = [(ray, norms) for ray, norms in beyond if ray.is_falling]
    if not falling:
        return f"{told}; beyond, it does not keep falling."
    ray, norms = max(falling, key=lambda pair: pair[0].gain.value)
    end, size = number(float(ray.losses[-1] - floor), 2), number(float(norms[-1] / trail.norms[-1]), 2)
    return f"{told}; on the straight line beyond it goes on falling, to {end} at {size} times their size."


def marks_off_line(run: Run) -> Chart | Absent:
    """How far from the straight line from start to end the run went, against its progress along it.

    Args:
        run: The run.

    Returns:
        The chart, or what is missing.
    """
    title = "Distance from the straight line between start and end"
    trail: Trail | None = run.result("Trail")
    if trail is None or len(trail.steps) < 3 or not trail.displacement > 0:
        return Absent("off_line", title, NO_TRAIL)
    total = trail.displacement
    along = (np.square(trail.distances[0]) - np.square(trail.distances[:, -1]) + total**2) / (2 * total**2)
    off = np.sqrt(np.maximum(np.square(trail.distances[0]) - np.square(along * total), 0.0)) / total
    farthest = int(np.argmax(off))
    step = int(trail.steps[farthest])
    return Chart(
        "off_line",
        title,
        f"At its farthest, at step {step}, the run was {number(float(off[farthest]), 2)} lengths of the line away from "
        f"it; its way is {number(trail.length / total, 3)} times as long.",
        "Progress along the line from start (0) to end (1), and the distance from it, both in lengths of the line. A "
        "straight way lies on 0.",
        fit("progress along the line", "", [along, np.array([0.0, 1.0])], scale="linear"),
        fit("distance from the line", "", [off, np.zeros(1)], scale="linear"),
        (Level("the line", 0.0), Points("the run", along, off, np.full(along.size, np.nan), Role.MAIN),
         Label(f"step {step}", float(along[farthest]), float(off[farthest]))),
        (
            f"{len(trail.steps)} points of the run; in which direction it went off the line is not seen, and what lies "
            "between the points may lie farther off.",
        ),
    )  # fmt: skip


def marks_generalization(run: Run) -> Chart | Absent:
    """Training and validation loss over the steps, with their errors and the point where validation turned.

    Args:
        run: The run.

    Returns:
        The chart, or what is missing.
    """
    title = "Training and validation loss"
    trail: Trail | None = run.result("Trail")
    seen, checked, error = with_errors(run, "validation_loss", "validation_error")
    if (trail is None or not trail.validation.size) and not seen.size:
        return Absent(
            "generalization",
            title,
            _NO_VALIDATION,
        )
    layers: list[Layer] = []
    drawn: list[np.ndarray] = []
    if trail is not None and trail.validation.size:
        steps = np.asarray(trail.steps, dtype=np.float64)
        layers += [*error_band("training", steps, trail.losses, trail.errors, role=Role.MAIN)]
        layers += [measured("training", steps, trail.losses, np.full(steps.size, np.nan), role=Role.MAIN)]
        layers += [measured("validation", steps, trail.validation, np.full(steps.size, np.nan), role=Role.SECOND)]
        drawn += [np.asarray(trail.losses), np.asarray(trail.validation)]
    else:
        at, loss, _ = with_errors(run, "loss")
        layers += [thinned_curve("training, every batch", at, loss, Role.MUTED, is_thin=True)]
        layers += [measured("validation", seen, checked, error, role=Role.SECOND)]
        drawn += [loss, checked]
    axis = fit("loss", "", drawn)
    return Chart(
        "generalization",
        title,
        _turn_takeaway(trail),
        "The training loss may fall for ever; once the validation loss rises beyond its error, what is learnt no "
        "longer carries over.",
        fit("step", "", [np.array([0.0, float(max(run.num_steps, 1))])], scale="linear", pad=0.01),
        axis,
        (*_turn(trail, run), *layers),
        _turn_notes(trail),
    )  # fmt: skip


def _turn(trail: Trail | None, run: Run) -> tuple[Layer, ...]:
    if trail is None or not trail.turn.is_finite or not trail.validation.size:
        return ()
    at = int(np.flatnonzero(trail.steps == trail.turned_at)[0])
    label = Label(f"turned at step {trail.turned_at}", float(trail.turned_at), float(trail.validation[at]))
    return (Span("after the turn", float(trail.turned_at), float(run.num_steps)), label)


def _turn_takeaway(trail: Trail | None) -> str:
    if trail is None or not trail.turn.is_finite:
        return "Whether the validation loss has turned was not measured."
    rise = f"{number(trail.turn.value, 2)} ± {number(trail.turn.error, 1)}"
    if trail.turn.is_above(0.0):
        return f"The validation loss was least at step {trail.turned_at} and has risen by {rise} since."
    return f"The validation loss has not surely risen above its least: {rise}."


def _turn_notes(trail: Trail | None) -> tuple[str, ...]:
    if trail is None or not trail.validation.size:
        return ("Single measurements during the run; the training loss is that of single batches.",)
    return (
        f"{len(trail.steps)} points of the run. The band is the standard error of the training loss against its last "
        "value; the error of the rise is over batches of the validation data, and that of its height is not drawn.",
    )
