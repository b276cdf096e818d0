"""How does the loss surface bend, how noisy is its gradient, and how much of the net is alive?"""

import numpy as np

from theodolite.plots.marks import Absent, Chart, Curve, Layer, Level, Role, ScaleName
from theodolite.plots.reading import (
    MAX_WINDOWS,
    lacking,
    late,
    measured,
    notes_of,
    scattered,
    step_axis,
    track,
    unplaced,
    when,
    with_errors,
)
from theodolite.plots.scales import fit, number, percent
from theodolite.records.run import Run

_ENDS = (("largest", "largest λ", Role.SECOND), ("smallest", "smallest λ", Role.MAIN))


def marks_eigenvalues(run: Run) -> Chart | Absent:
    """Both ends of the Hessian's spectrum, with their residuals as error bars.

    Args:
        run: The run.

    Returns:
        The chart, or what is missing.
    """
    title = "Largest and smallest curvature"
    absent = lacking(run, "eigenvalues", title, ("largest_eigenvalue", "smallest_eigenvalue"))
    if absent:
        return absent
    layers: list[Layer] = []
    edges = []
    drawn = []
    for end, words, role in _ENDS:
        x, y, error = with_errors(run, f"{end}_eigenvalue", f"{end}_residual")
        layers += track(words, x, y, error, role=role)
        edges += [*unplaced(words, x, y)]
        drawn.append(y)
    stability = _stability(run)
    far = _far(stability, drawn)
    stability = () if far else stability
    drawn += [one.y for one in stability]
    scale, threshold = _scale(run)
    axis = fit("eigenvalue λ", "loss per θ²", [*drawn, np.zeros(1)], scale=scale, threshold=threshold)
    return Chart(
        "eigenvalues",
        title,
        _eigenvalue_takeaway(run),
        "The steepest bend upwards and the most negative bend. A smallest eigenvalue below 0 by more than its bar is a "
        "way down; plain gradient descent is stable only below 2 ÷ step.",
        step_axis(run),
        axis,
        (Level("", 0.0), *stability, *layers, *edges),
        (
            "By Lanczos on the reference sample. A bar is the residual ‖Hv − λv‖: an eigenvalue lies within it; the "
            "error of taking a sample for all data is not in it.",
            *far,
            *notes_of(tuple(edges)),
        ),
    )


def _far(stability: tuple[Curve, ...], drawn: list[np.ndarray]) -> tuple[str, ...]:
    """A note instead of the curve 2 ÷ step where it would flatten everything else."""
    top = max((float(np.max(y[np.isfinite(y)], initial=0.0)) for y in drawn), default=0.0)
    if not stability or stability[0].y.min() <= 20 * top:
        return ()
    ratio = number(float(stability[0].y.min()) / top, 2) if top > 0 else "∞"
    return (f"2 ÷ step lies beyond the axis: it is at least {ratio} times the largest eigenvalue.",)


def _scale(run: Run) -> tuple[ScaleName, float | None]:
    """Symlog where the largest eigenvalue would flatten the smallest; linear within the smallest one's residual."""
    _, low, residual = with_errors(run, "smallest_eigenvalue", "smallest_residual")
    _, high, _ = with_errors(run, "largest_eigenvalue")
    small, large, error = (np.abs(y[np.isfinite(y)]) for y in (low, high, residual))
    if not (small.size and large.size) or np.median(large) <= 30 * np.median(small):
        return "linear", None
    least = max(float(np.median(error)) if error.size else 0.0, float(np.median(small)) / 10, float(large.max()) / 1e4)
    return "symlog", float(10.0 ** np.ceil(np.log10(least))) if least > 0 else None


def is_plain_sgd(run: Run) -> bool:
    """Whether the metadata say that the optimizer is SGD without momentum."""
    optimizer = run.metadata.get("optimizer")
    settings = run.metadata.get("optimizer_settings", run.metadata.get("hyperparameters", {}))
    if isinstance(optimizer, dict):
        optimizer, settings = optimizer.get("name"), optimizer
    groups = settings if isinstance(settings, list) else [settings]
    return optimizer == "SGD" and all(isinstance(one, dict) and one.get("momentum") == 0 for one in groups)


def _stability(run: Run) -> tuple[Curve, ...]:
    x, scale, _ = with_errors(run, "step_scale")
    usable = np.isfinite(scale) & (scale > 0)
    if not is_plain_sgd(run) or not usable.any():
        return ()
    return (Curve("2 ÷ step", x[usable], 2 / scale[usable], Role.FOURTH, int(usable.sum())),)


def _eigenvalue_takeaway(run: Run) -> str:
    x, low, residual = with_errors(run, "smallest_eigenvalue", "smallest_residual")
    _, high, _ = with_errors(run, "largest_eigenvalue", "largest_residual")
    finite, top = np.isfinite(low), high[np.isfinite(high)]
    if not finite.any() or top.size == 0:
        return "No eigenvalue is finite."
    recent = late(x) & finite
    below = low + np.where(np.isfinite(residual), residual, np.inf) < 0
    last = float(np.median(low[recent])) if recent.any() else float(low[finite][-1])
    share = f"{int(below[recent].sum())} of {int(recent.sum())}"
    sign = (
        f"below zero by more than its residual at {share} measurements"
        if below[recent].any()
        else "not clearly below zero"
    )
    ends = f"the largest curvature is {number(float(top[-1]), 2)}; the smallest is {number(last, 2)}"
    return f"{when(run, x)} {ends}, {sign}."


def marks_noise_scale(run: Run) -> Chart | Absent:
    """The batch size at which noise and signal of the gradient are equally strong.

    Args:
        run: The run.

    Returns:
        The chart, or what is missing.
    """
    title = "Gradient noise scale"
    absent = lacking(run, "noise_scale", title, ("noise_scale",))
    if absent:
        return absent
    x, y, error = with_errors(run, "noise_scale", "noise_scale_error")
    edges = unplaced("noise scale", x, y, is_log=True)
    placed = np.where(np.isfinite(y) & (y > 0), y, np.nan)
    recent = placed[late(x) & np.isfinite(placed)]
    typical = number(float(np.median(recent)), 2) if recent.size else ""
    batch = run.metadata.get("batch_size")
    levels = (Level("batch size", float(batch)),) if isinstance(batch, int | float) and batch > 0 else ()
    drawn = [
        placed,
        placed + np.where(np.isfinite(error), error, 0.0),
        *(np.asarray([level.value]) for level in levels),
    ]
    layers = (
        (measured("noise scale", x, placed, error, role=Role.MAIN),)
        if np.isfinite(placed).sum() <= MAX_WINDOWS
        else scattered("noise scale", x, placed, role=Role.MAIN)
    )
    return Chart(
        "noise_scale",
        title,
        f"{when(run, x)} a batch of about {typical} examples would hold as much noise as signal."
        if typical
        else f"{when(run, x)} the noise scale could not be stated.",
        "A batch much smaller than this is mostly noise; one much larger wastes work.",
        step_axis(run),
        fit("tr C ÷ ‖G‖²", "examples", drawn, scale="log"),
        (*levels, *layers, *edges),
        ("Single values scatter widely: the gradient's own square is estimated with noise.", *notes_of(edges)),
    )


def _silent(step: int, share: float) -> str:
    return f"At step {step}, {percent(share)} of the hidden units are silent on every example."


def marks_dead_units(run: Run) -> Chart | Absent:
    """The share of hidden units that are zero on every example of the reference sample.

    Args:
        run: The run.

    Returns:
        The chart, or what is missing.
    """
    title = "Dead units"
    absent = lacking(run, "dead_units", title, ("dead_fraction",))
    if absent:
        return absent
    x, y, _ = with_errors(run, "dead_fraction")
    edges = unplaced("dead units", x, y)
    finite = y[np.isfinite(y)]
    return Chart(
        "dead_units",
        title,
        _silent(int(x[np.isfinite(y)][-1]), float(finite[-1]))
        if finite.size
        else "The share of dead units is nowhere finite.",
        "A unit that is zero on every example has no gradient, and cannot come back by itself.",
        step_axis(run),
        fit(
            "share of hidden units",
            "",
            [np.asarray([0.0, max(0.1, float(finite.max()) if finite.size else 0.1)])],
            scale="linear",
        ),
        (*track("dead units", x, y, np.full(y.size, np.nan), role=Role.MAIN), *edges),
        ("Counted on the reference sample: a unit may still wake on other data.", *notes_of(edges)),
    )
