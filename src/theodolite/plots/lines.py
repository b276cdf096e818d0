"""What does the loss look like along the straight line from the start of a training to its end?"""

import numpy as np

from theodolite.plots.marks import Absent, Axis, Chart, Label, Layer, Marks, Role, ScaleName, Span, Way
from theodolite.plots.reading import edge_marks, error_band, notes_of, thinned_curve
from theodolite.plots.scales import fit, number, percent
from theodolite.records.lines import Along, Line
from theodolite.records.planes import Track
from theodolite.records.run import Run

_ROUNDING = 1e-6
"""Changes of the loss below this share of its greatest value between the ends are rounding, as for the record."""

_ROLES = (Role.MAIN, Role.SECOND, Role.THIRD, Role.MUTED)


def marks_line(line: Line, *, track: Track | None = None, scale: ScaleName | None = None) -> Chart:
    """Loss along a straight line, with its ends, its barrier and what lies beyond the ends.

    Args:
        line: The measurement; further losses of it are drawn beside the first one.
        track: Points that were projected onto the line from start to end, with J at each.
        scale: Scale of the loss; by default linear, unless it spans more than three decades.

    Returns:
        The chart.
    """
    alpha, loss = np.asarray(line.positions), np.asarray(line.losses)
    drawn = (Along("loss", loss, np.asarray(line.errors)), *(one for one in line.others if _is_loss(one)))
    edges = tuple(mark for one in drawn for mark in _edges(one, alpha))
    known = [one.values for one in drawn] + ([track.losses] if track is not None else [])
    chosen = scale or _scale(np.concatenate(known))
    curves = [layer for one, role in zip(drawn, _ROLES, strict=False) for layer in _curve(one, alpha, role)]
    return Chart(
        "line",
        f"Loss along the straight line from {line.start} to {line.end}",
        _takeaway(line),
        "If this falls all the way, nothing stands between the start and the end: whatever slowed the training is not "
        "a wall on the straight way.",
        _position(line),
        fit("loss J(θ)", "", known, scale=chosen),
        (*_beyond(line), *curves, *_came(track), *_ends(line), *edges),
        (*_notes(line), *_off(track), *notes_of(edges), *line.notes),
    )


def charts_line(line: Line, *, scale: ScaleName | None = None) -> tuple[Chart, ...]:
    """The losses along a line in one chart, and each further quantity that is no loss in one of its own below.

    Args:
        line: The measurement.
        scale: Scale of the loss.

    Returns:
        The charts, with the same axis of positions.
    """
    return (marks_line(line, scale=scale), *(_along(line, one) for one in line.others if not _is_loss(one)))


def _along(line: Line, one: Along) -> Chart:
    alpha = np.asarray(line.positions)
    edges = _edges(one, alpha)
    first, last = (float(np.interp(end, alpha, one.values)) if alpha.size else np.nan for end in (0.0, 1.0))
    return Chart(
        f"line_{one.name}",
        f"{one.name[:1].upper()}{one.name[1:]} along the straight line from {line.start} to {line.end}",
        f"From {number(first, 3)} at {line.start} to {number(last, 3)} at {line.end}.",
        "The same points as those of the loss.",
        _position(line),
        fit(one.name, "", [one.values], scale="linear"),
        (*_beyond(line), *_curve(one, alpha, Role.SECOND), *edges),
        notes_of(edges),
    )


def _is_loss(one: Along) -> bool:
    return "loss" in one.name.lower()


def _position(line: Line) -> Axis:
    alpha = np.asarray(line.positions)
    low, high = (float(alpha[0]), float(alpha[-1])) if alpha.size else (0.0, 1.0)
    label = f"position α between {line.start} (0) and {line.end} (1)"
    return fit(label, "", [np.asarray([low, high])], scale="linear", pad=0.0)


def _beyond(line: Line) -> list[Layer]:
    alpha = np.asarray(line.positions)
    spans: list[Layer] = []
    if alpha.size and alpha[0] < 0:
        spans.append(Span("extrapolated", float(alpha[0]), 0.0))
    if alpha.size and alpha[-1] > 1:
        spans.append(Span("extrapolated", 1.0, float(alpha[-1])))
    return spans


def _curve(one: Along, alpha: np.ndarray, role: Role) -> tuple[Layer, ...]:
    values, errors = np.asarray(one.values), np.asarray(one.errors)
    return (*error_band(one.name, alpha, values, errors, role=role), thinned_curve(one.name, alpha, values, role))


def _edges(one: Along, alpha: np.ndarray) -> tuple[Marks, ...]:
    bad = ~np.isfinite(one.values)
    words = f"points with a {one.name} that is not finite: {int(bad.sum())}"
    return (edge_marks(one.name, alpha[bad], words, "top"),) if bad.any() else ()


def _came(track: Track | None) -> tuple[Way, ...]:
    if track is None or not track.losses.size:
        return ()
    far = np.divide(track.outside, track.distances, out=np.zeros_like(track.outside), where=track.distances > 0)
    when = [f"step {step}, " for step in track.steps.tolist()] or [""] * track.x.size
    texts = tuple(
        f"{step}J {number(loss)}, {number(off, 3)} off the line"
        for step, loss, off in zip(when, track.losses.tolist(), track.outside.tolist(), strict=True)
    )
    return (Way(track.name, track.x, track.losses, np.clip(1 - far, 0, 1), texts, Role.FOURTH),)


def _off(track: Track | None) -> tuple[str, ...]:
    if track is None or not np.isfinite(track.outside_share):
        return ()
    who = f"{track.name[:1].upper()}{track.name[1:]}"
    return (
        f"{who}: {percent(track.outside_share)} of its distance from the start lies off the line; its points are drawn "
        "at their own loss, smaller the farther off they lie.",
    )


def _notes(line: Line) -> tuple[str, ...]:
    known = np.isfinite(line.errors).sum() > 1
    band = "The band is one standard error over batches." if known else "One batch only: the error is unknown."
    length = f" The ends lie {number(line.length, 3)} apart in θ." if np.isfinite(line.length) else ""
    beside = "One line through many dimensions: what lies beside it is not seen."
    told = [f"{line.positions.size} points. {band} {beside}{length}"]
    if np.isfinite(line.barrier):
        told.append(
            f"Barrier: {number(line.barrier, 2)} above the higher end (Goodfellow et al. 2015), "
            f"{number(line.barrier_above_chord, 2)} above the chord of the ends (Frankle et al. 2020)."
        )
    preview = "A preview, not exact. " if any(word in line.method for word in ("preview", "bfloat16")) else ""
    return (*told, *([f"{preview}How J was evaluated: {line.method}."] if line.method else []))


def _scale(loss: np.ndarray) -> ScaleName | None:
    """Linear, as such lines are drawn since Goodfellow 2015, unless the loss spans more than three decades."""
    finite = loss[np.isfinite(loss)]
    is_wide = finite.size > 0 and finite.min() > 0 and finite.max() > 1000 * finite.min()
    return None if is_wide else "linear"


def _ends(line: Line) -> tuple[Label, ...]:
    found = []
    alpha, loss = np.asarray(line.positions), np.asarray(line.losses)
    between = np.flatnonzero((alpha >= -1e-9) & (alpha <= 1 + 1e-9))
    for at, name in zip(between[[0, -1]] if between.size > 1 else (), (line.start, line.end), strict=False):
        if np.isfinite(loss[at]):
            found.append(Label(f"{name} {number(float(loss[at]), 3)}", float(alpha[at]), float(loss[at])))
    if not line.is_monotone and _has_barrier(line):
        inside = (alpha >= 0) & (alpha <= 1)
        top = int(np.flatnonzero(inside)[np.argmax(loss[inside])])
        found.append(Label(f"barrier {number(line.barrier, 2)}", float(alpha[top]), float(loss[top])))
    return tuple(found)


def _takeaway(line: Line) -> str:
    ends = f"between {_the(line.start)} and {_the(line.end)}"
    if line.positions.size < 2:
        return "Too few points were measured to say anything of the line."
    inside = _inside(line)
    if not np.isfinite(inside).all():
        return f"The loss is not finite everywhere on the straight line {ends}."
    if line.is_monotone or not _has_barrier(line):
        return _without_barrier(line, inside)
    return f"A barrier of {number(line.barrier, 2)} in loss stands on the straight line {ends}."


def _without_barrier(line: Line, inside: np.ndarray) -> str:
    """How a loss goes that never rises above its higher end."""
    ends, slack = f"{_the(line.start)} and {_the(line.end)}", _ROUNDING * float(np.abs(inside).max())
    if np.ptp(inside) <= slack:
        return f"The loss is the same all along the straight line between {ends}."
    if line.is_monotone:
        bent = ", and is convex there" if line.is_convex else ""
        return f"The loss falls all the way along the straight line{bent}: no wall stands between {ends}."
    if np.all(np.diff(inside) >= -slack):
        return f"The loss rises all the way along the straight line from {_the(line.start)} to {_the(line.end)}."
    return "The loss does not fall evenly along the straight line, but never rises above its higher end."


def _inside(line: Line) -> np.ndarray:
    """The losses from start to end."""
    return np.asarray(line.losses)[(line.positions >= 0) & (line.positions <= 1)]


def _has_barrier(line: Line) -> bool:
    """Whether the loss rises above its higher end by more than rounding."""
    inside = _inside(line)
    return bool(np.isfinite(inside).all() and line.barrier > _ROUNDING * np.abs(inside).max(initial=0.0))


def _the(name: str) -> str:
    return f"the {name}" if name in {"start", "end"} else name


def marks_straight(run: Run) -> Chart | Absent:
    """The line that is stored in a run.

    Args:
        run: The run.

    Returns:
        The chart, or what is missing.
    """
    line = run.result("Line")
    if isinstance(line, Line) and len(line.positions):
        return marks_line(line)
    return Absent(
        "line",
        "Loss along the straight line from start to end",
        "Not measured in this run: a line. monitor.diagnose() measures it at the end of a training.",
    )
