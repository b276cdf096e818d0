"""How did the loss and the gradient go?"""

import numpy as np

from theodolite.plots.marks import Absent, Chart, Curve, Layer, Role
from theodolite.plots.reading import (
    MAX_POINTS,
    lacking,
    late,
    notes_of,
    step_axis,
    thinned_curve,
    track,
    unplaced,
    window_means,
    windows,
    with_errors,
)
from theodolite.plots.scales import choose_scale, fit, number
from theodolite.records.run import Run

_SMOOTH_FROM = 120  # with fewer values the eye averages better than we do


def marks_loss(run: Run) -> Chart | Absent:
    """The mini-batch loss of every step, its mean over windows, and the reference and validation losses.

    Args:
        run: The run.

    Returns:
        The chart, or what is missing.
    """
    title = "Loss"
    absent = lacking(run, "loss", title, ("loss",))
    if absent:
        return absent
    steps, loss, _ = with_errors(run, "loss")
    others = [
        ("reference sample", Role.THIRD, with_errors(run, "reference_loss")),
        ("validation", Role.SECOND, with_errors(run, "validation_loss", "validation_error")),
    ]
    scale = choose_scale(np.concatenate([y[np.isfinite(y)] for y in (loss, *(one[2][1] for one in others))]))
    edges = unplaced("mini-batch loss", steps, loss, is_log=scale == "log")
    layers: list[Layer] = [thinned_curve("mini-batch", steps, loss, Role.MUTED, is_thin=True), *_mean(steps, loss)]
    for name, role, (x, y, error) in others:
        if y.size:
            layers += track(name, x, y, error, role=role)
            edges += unplaced(name, x, y, is_log=scale == "log")
    return Chart(
        "loss",
        title,
        _loss_takeaway(steps, loss),
        "The thin line is the loss of every mini-batch; the thick one is its mean over windows.",
        step_axis(run),
        fit("loss", "", [loss, *(one[2][1] for one in others)], scale=scale),
        (*layers, *edges),
        (*_thinned(loss.size, layers[0]), *notes_of(edges)),
    )


def _mean(steps: np.ndarray, loss: np.ndarray) -> tuple[Curve, ...]:
    if steps.size < _SMOOTH_FROM:
        return ()
    cut = windows(steps)
    mean, _ = window_means(loss, cut)
    return (Curve(f"mean of {cut.steps_each} steps", cut.centers, mean, Role.MAIN, int(loss.size)),)


def _thinned(size: int, layer: Layer) -> tuple[str, ...]:
    drawn = layer.x.size if isinstance(layer, Curve) else size
    if size <= MAX_POINTS:
        return ()
    return (f"{drawn} of {size} values drawn: of each stretch the first, last, least and greatest.",)


def _loss_takeaway(steps: np.ndarray, loss: np.ndarray) -> str:
    finite = np.flatnonzero(np.isfinite(loss))
    if finite.size == 0:
        return "The loss was never finite."
    bad = loss.size - finite.size
    tail = f"; {bad} values are not finite, the first at step {int(steps[~np.isfinite(loss)][0])}" if bad else ""
    if finite.size == 1:
        return f"One loss was recorded: {number(float(loss[finite[0]]), 3)}{tail}."
    few = max(1, min(finite.size // 20, 50))
    first, last = float(np.median(loss[finite[:few]])), float(np.median(loss[finite[-few:]]))
    if abs(last - first) < 0.01 * abs(first):
        return f"The loss has hardly moved from {number(first, 4)} in {int(steps[-1])} steps{tail}."
    verb = "fell" if last < first else "rose"
    return f"The loss {verb} from {number(first, 3)} to {number(last, 3)} in {int(steps[-1])} steps{tail}."


def marks_gradient(run: Run) -> Chart | Absent:
    """The norm of the gradient that each step was made from.

    Args:
        run: The run.

    Returns:
        The chart, or what is missing.
    """
    title = "Gradient norm"
    absent = lacking(run, "gradient", title, ("grad_norm",))
    if absent:
        return absent
    steps, norm, _ = with_errors(run, "grad_norm")
    positive = norm[np.isfinite(norm) & (norm > 0)]
    scale = choose_scale(positive)
    edges = unplaced("gradient norm", steps, norm, is_log=scale == "log")
    curve = thinned_curve("gradient norm", steps, norm, Role.MUTED, is_thin=True)
    mean = _mean(steps, norm)
    return Chart(
        "gradient",
        title,
        _gradient_takeaway(steps, norm),
        "The length of the gradient handed to the optimizer. A single spike is a wall; a slow fall to zero is a "
        "critical point or a plateau.",
        step_axis(run),
        fit("‖g‖", "loss per unit of θ", [positive], scale=scale),
        (curve if mean else Curve(curve.name, curve.x, curve.y, Role.MAIN, curve.total), *mean, *edges),
        (*_thinned(norm.size, curve), *notes_of(edges)),
    )


def _gradient_takeaway(steps: np.ndarray, norm: np.ndarray) -> str:
    finite = norm[np.isfinite(norm)]
    if finite.size == 0:
        return "The gradient norm was never finite."
    middle, top = float(np.median(finite)), float(finite.max())
    recent = norm[late(steps) & np.isfinite(norm)]
    now = f", late {number(float(np.median(recent)), 3)}" if recent.size else ""
    spike = f"; the greatest is {number(top / middle, 2)} times that" if middle > 0 and top > 10 * middle else ""
    return f"The gradient norm is typically {number(middle, 3)}{now}{spike}."
