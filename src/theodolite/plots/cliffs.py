"""Where are the walls: gradients that spike, and the loss along the step that was thrown?"""

import math

import numpy as np

from theodolite.plots.marks import Absent, Chart, Label, Layer, Level, Points, Role
from theodolite.plots.planes import share
from theodolite.plots.reading import edge_marks, error_band, lacking, notes_of, thinned_curve, unplaced
from theodolite.plots.scales import fit, number
from theodolite.plots.sections import NO_LINES, loss_at, sections_of
from theodolite.records.diagnosis import Trials
from theodolite.records.run import Run

_SPIKE = 10.0


def marks_spikes(run: Run) -> Chart | Absent:
    """Gradient norms step by step, with the spikes.

    Args:
        run: The run.

    Returns:
        The chart, or what is missing.
    """
    title = "Gradient norms, step by step"
    absent = lacking(run, "spikes", title, ("grad_norm",))
    trials: Trials | None = run.result("Trials")
    on = trials.plain.grad_norms[0] if trials is not None and trials.plain.seeds else np.zeros(0)
    if absent and not on.size:
        return absent
    series = run.series("grad_norm")
    steps, norm = np.asarray(series.steps, np.float64), np.asarray(series.values, np.float64)
    later = run.num_steps + 1.0 + np.arange(on.size)
    x, y = np.concatenate([steps, later]), np.concatenate([norm, on])
    edges = unplaced("gradient norm", x, y, is_log=True)
    good = np.isfinite(y) & (y > 0)
    middle = float(np.median(y[good])) if good.any() else math.nan
    spikes = good & (y > _SPIKE * middle)
    layers: list[Layer] = (
        [thinned_curve("recorded", steps, np.where(norm > 0, norm, np.nan), Role.MAIN)] if steps.size else []
    )
    layers += [thinned_curve("on a branch", later, np.where(on > 0, on, np.nan), Role.THIRD)] if on.size else []
    layers += (
        [Points("spikes", x[spikes], y[spikes], np.full(int(spikes.sum()), np.nan), Role.SECOND, is_joined=False)]
        if spikes.any()
        else []
    )
    top = f"the greatest is {number(float(y[good].max()) / middle, 3)} times that" if good.any() else ""
    return Chart(
        "spikes",
        title,
        f"The gradient norm is typically {number(middle, 2)}; {top}, and {int(spikes.sum())} of {y.size} are more than "
        "ten times it.",
        "A wall shows as single gradients that are many times as long as those before and after.",
        fit("step", "", [np.concatenate([x, np.zeros(1)])], scale="linear", pad=0.01),
        fit("‖g‖", "loss per unit of θ", [y[good]], scale="log"),
        (*([Level("typical", middle)] if math.isfinite(middle) else []), *layers, *edges),
        (f"{steps.size} of {run.num_steps} steps were measured: a spike between them is not seen.", *notes_of(edges)),
    )  # fmt: skip


def marks_wall(run: Run) -> Chart | Absent:
    """Loss along the longest step that was seen, with the points before it and after it.

    Args:
        run: The run.

    Returns:
        The chart, or what is missing.
    """
    title = "The wall, along the step that was thrown"
    found = sections_of(run, "cliff")
    if found is None or not found.lines:
        return Absent("wall", title, NO_LINES)
    line = found.lines[0]
    track = line.tracks[0] if line.tracks else None
    bad = line.lengths[~np.isfinite(line.losses)]
    edges = (edge_marks("loss", bad, f"points with a loss that is not finite: {bad.size}", "top"),) if bad.size else ()
    layers: list[Layer] = [
        *error_band("on the line", line.lengths, line.losses, line.errors, role=Role.MAIN),
        thinned_curve("on the line", line.lengths, line.losses, Role.MAIN),
    ]
    notes: list[str] = []
    drawn = [line.losses]
    if track is not None and track.x.size:
        inside = (track.x >= line.lengths[0]) & (track.x <= line.lengths[-1]) & np.isfinite(track.losses)
        layers.append(
            Points(
                "plain steps", track.x[inside], track.losses[inside], np.full(int(inside.sum()), np.nan), Role.SECOND
            )
        )
        drawn.append(track.losses[inside])
        notes.append(f"Plain steps: {share(track.outside_share)} of their distance from the start of the step lies off "
                     f"the line; {int((~inside).sum())} of {inside.size} points lie beyond it.")  # fmt: skip
    before, after = loss_at(line, 0.0), loss_at(line, line.target)
    layers += [Label("before", 0.0, before)] + ([Label("after", line.target, after)] if math.isfinite(after) else [])
    verb = "raises" if after > before else "lowers"
    return Chart(
        "wall",
        title,
        f"The longest step that was seen, {number(line.target, 2)}, {verb} the loss from {number(before, 3)} to "
        f"{number(after, 3)}.",
        "The loss on the straight line of one step. Where it is steep the gradient is huge, and the step that follows "
        "is thrown far across flat land.",
        fit("distance along the step", "θ", [line.lengths], scale="linear", pad=0.02),
        fit("loss J", "loss", drawn),
        (*layers, *edges),
        ("One line: what lies beside it is not seen. Steps were followed on a branch from the end of the run.", *notes,
         *notes_of(edges)),
    )  # fmt: skip
