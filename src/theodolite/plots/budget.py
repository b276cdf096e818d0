"""What became of the progress that the gradient promised? The split of the promise, as shares."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from theodolite.plots.marks import Absent, Axis, Bars, Chart, Level, Marks, Role, Whiskers
from theodolite.plots.reading import (
    Windows,
    aligned,
    edge_marks,
    errors_at,
    lacking,
    late,
    notes_of,
    step_axis,
    when,
    window_means,
    windows,
)
from theodolite.plots.scales import number, percent
from theodolite.records.run import Run
from theodolite.records.words import several

PARTS = (
    ("delivered", "delivered", Role.MAIN),
    ("noise", "noise", Role.SECOND),
    ("curvature", "curvature", Role.THIRD),
    ("higher_order", "higher order", Role.FOURTH),
)
"""Series, words and role of each part of the promise."""
_TITLE = "Where the promised progress went"
_NEEDS = ("promise", *(series for series, _, _ in PARTS))
_WIDEST = (-2.0, 3.0)  # shares beyond this are marked at the edge, so that one bad window does not flatten the rest


@dataclass(frozen=True, eq=False)
class _Split:
    """The measured terms over windows; ``splits`` says in which windows the promise is positive beyond its error."""

    steps: Float[np.ndarray, "points"]
    terms: dict[str, np.ndarray]
    errors: dict[str, np.ndarray]
    cut: Windows
    promise: Float[np.ndarray, "windows"]
    splits: Bool[np.ndarray, "windows"]


def marks_budget(run: Run) -> Chart | Absent:
    """How each window's promise splits into what arrived and what was lost, as shares of the promise.

    Shares, not loss per step: the promise falls by orders of magnitude during a training, and a stack of bars cannot
    be drawn on a logarithmic axis. The chart ``progress`` shows the absolute amounts.

    Args:
        run: The run.

    Returns:
        The chart, or what is missing.
    """
    absent = lacking(run, "budget", _TITLE, _NEEDS)
    if absent:
        return absent
    steps, values = aligned(run, _NEEDS)
    finite = np.all([np.isfinite(values[name]) for name in _NEEDS], axis=0)
    split = _split(run, steps[finite], {name: values[name][finite] for name in _NEEDS})
    bars = _stack(split)
    reach = np.stack([_end(bars, np.minimum), _end(bars, np.maximum)])
    edges = _edges(split, reach)
    if not finite.all():
        why = f"measured steps with a term that is not finite: {int((~finite).sum())}"
        edges += (edge_marks("step", steps[~finite], why, "top"),)
    return Chart(
        "budget",
        _TITLE,
        _takeaway(split, when(run, split.steps)),
        "Each bar is a stretch of steps; 1 is all that its mini-batch gradients promised. What hangs below 0 was lost "
        "or gained beyond the promise. Whiskers: one standard error of the delivered share.",
        step_axis(run),
        Axis("share of the promise", "", "linear", _limits(reach)),
        (*bars, _whiskers(bars[0]), Level("the promise", 1.0), Level("", 0.0), *edges),
        (f"{several(steps.size, 'measured step')} in {several(len(split.cut.members), 'window')}.", *notes_of(edges)),
    )


def _split(run: Run, steps: np.ndarray, terms: dict[str, np.ndarray]) -> _Split:
    cut = windows(steps, run.num_steps)
    errors = {name: errors_at(run, f"{name}_error", steps) for name in ("promise", "delivered")}
    promise, error = window_means(terms["promise"], cut, errors["promise"])
    return _Split(steps, terms, errors, cut, promise, promise > 2 * np.where(np.isfinite(error), error, 0.0))


def _stack(split: _Split) -> tuple[Bars, ...]:
    """Bars for each part: positive ones stacked up from zero, negative ones down."""
    kept = split.splits
    up = down = np.zeros(int(kept.sum()))
    bars = []
    for series, words, role in PARTS:
        mean, _ = window_means(split.terms[series], split.cut)
        height = mean[kept] / split.promise[kept]
        base = np.where(height >= 0, up, down)
        up, down = up + np.maximum(height, 0), down + np.minimum(height, 0)
        error = _share_error(split)[kept] if series == "delivered" else np.full(base.size, np.nan)
        bars.append(Bars(words, split.cut.centers[kept], split.cut.widths[kept], base, height, error, role))
    return tuple(bars)


def _whiskers(delivered: Bars) -> Whiskers:
    known = np.isfinite(delivered.error)
    ends = delivered.base + delivered.height
    return Whiskers("delivered", delivered.x[known], ends[known], delivered.error[known])


def _share_error(split: _Split) -> np.ndarray:
    """Standard error of the ratio delivered/promise: that of the mean of delivered − share·promise, over promise."""
    errors = np.full(len(split.cut.members), np.nan)
    for index, members in enumerate(split.cut.members):
        delivered, promised = split.terms["delivered"][members], split.terms["promise"][members]
        if members.size > 1 and promised.mean() != 0:
            rest = delivered - delivered.mean() / promised.mean() * promised
            errors[index] = rest.std(ddof=1) / np.sqrt(members.size)
        elif members.size == 1:
            errors[index] = split.errors["delivered"][members[0]]
    return errors / np.abs(np.where(split.promise == 0, np.nan, split.promise))


def _end(bars: tuple[Bars, ...], extreme: np.ufunc) -> np.ndarray:
    """How far each stack reaches up or down."""
    ends = [extreme(0.0, one.base + one.height) for one in bars]
    return np.asarray(extreme.reduce(ends))


def _limits(reach: np.ndarray) -> tuple[float, float]:
    if reach.size == 0:
        return (-0.5, 1.5)
    low = max(float(reach[0].min()), 1.5 * float(np.quantile(reach[0], 0.1)) - 0.1, _WIDEST[0])
    high = min(float(reach[1].max()), 1.5 * float(np.quantile(reach[1], 0.9)), _WIDEST[1])
    return (min(low * 1.08, -0.1), max(high * 1.08, 1.15))


def _windows(mask: np.ndarray) -> str:
    return "1 window" if mask.sum() == 1 else f"{int(mask.sum())} windows"


def _edges(split: _Split, reach: np.ndarray) -> tuple[Marks, ...]:
    shown, hidden = split.cut.centers[split.splits], split.cut.centers[~split.splits]
    found = []
    low, high = _limits(reach)
    for mask, edge in ((reach[1] > high, "top"), (reach[0] < low, "bottom")):
        if mask.any():
            found.append(edge_marks("window", shown[mask], f"{_windows(mask)} beyond the axis", edge))
    if hidden.size:
        why = f"{_windows(~split.splits)} without a positive promise that could be split"
        found.append(edge_marks("window", hidden, why, "bottom"))
    return tuple(found)


def _takeaway(split: _Split, moment: str) -> str:
    if split.steps.size == 0:
        return "No measured step has finite values."
    recent = late(split.steps)
    promise = float(split.terms["promise"][recent].mean())
    if promise <= 0:
        return f"{moment} the gradients promised no progress at all."
    shares = {words: float(split.terms[series][recent].mean()) / promise for series, words, _ in PARTS}
    arrived = shares.pop("delivered")
    thief = max(shares, key=lambda words: shares[words])
    got = f"{percent(arrived)} of what the gradients promised arrived" if arrived >= 0 else "the loss rose"
    amount = percent(shares[thief]) if shares[thief] < 1.5 else f"{number(shares[thief], 2)} times the promise"
    lost = f"; {amount} was lost to {thief}" if shares[thief] >= 0.05 else ""
    return f"{moment} {got}{lost}."
