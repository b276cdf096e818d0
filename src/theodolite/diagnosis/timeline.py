"""What limited progress when? Windows that double with the age of a run, each judged by what was recorded in it."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from theodolite.diagnosis.rules.thresholds import FIFTH, LONGER, MANY_TIMES, NOISY, OVERSHOOT, TURNED, USEFUL_FALL
from theodolite.diagnosis.spikes import SPIKE, spike
from theodolite.diagnosis.words import percent
from theodolite.records import MISSING, UNDETERMINED, Estimate, Passage, Passages, Run, Series, Trail, Window
from theodolite.records.timeline import window_edges

_TOO_LITTLE = "too little was measured: give diagnose() more seconds, or raise the budget of the monitor"

_OFTEN_UPHILL = 0.5
"""Of four steps two that raise the loss of their own batch are no accident."""

_FEWEST = 3
"""Budgets in a window, for a mean to say something."""


@dataclass(frozen=True)
class _Record:
    """The series that windows are judged by."""

    losses: Series
    norms: Series
    budget: dict[str, Series]
    trail: Trail | None
    again: Passages
    floor: float


def timeline(run: Run, last: str) -> tuple[Window, ...]:
    """A verdict for each window of a run; each window is as long as all before it together.

    A window in which the excess loss fell at a useful rate is ``none``, or ``overfitting`` where the validation loss
    turned up while the training loss did not rise. Otherwise the budgets in it, of steps that were taken again in it or
    of recorded ones, tell whether noise or curvature took what steps promised, and gradient norms whether single ones
    exploded. Saddles, minima, plateaus and conditioning take a survey, which is made at the end only: before, they are
    ``undetermined``.

    Args:
        run: The run.
        last: The verdict on where the run has arrived, which is that of the last window.

    Returns:
        The windows in order; none for a run of fewer than 16 steps.

    Raises:
        RunError: If the run cannot be read.
    """
    edges = window_edges(run.num_steps)
    if not edges:
        return ()
    budget = {name: run.series(name) for name in ("promise", "noise", "curvature", "higher_order")}
    floor = float(run.metadata.get("floor") or 0.0)
    again = run.result("Passages") or Passages()
    record = _Record(run.series("loss"), run.series("grad_norm"), budget, run.result("Trail"), again, floor)
    windows = [_judged(record, first, end) for first, end in pairwise(edges)]
    final = windows[-1]
    why = final.why if final.obstacle == last else "by the survey of where it arrived"
    return (*windows[:-1], Window(final.first, final.last, last, final.fallen, why))


def _judged(record: _Record, first: int, last: int) -> Window:
    """What limited progress in one window."""
    losses = _within(record.losses, first, last)
    if losses.size and not np.isfinite(losses).all():
        return Window(first, last, UNDETERMINED, why="the loss ceased to be finite")
    fallen = _fallen(record, first, last)
    rise = _rise_of_validation(record.trail, first, last)
    if rise > TURNED and not fallen.value < 0:
        return Window(first, last, "overfitting", fallen, f"the validation loss rose by {percent(rise)} of its fall")
    if fallen.value > USEFUL_FALL and not fallen.is_below(USEFUL_FALL) and fallen.value > 2 * fallen.error:
        return Window(first, last, "none", fallen, f"{percent(fallen.value)} of the excess loss went")
    highest = spike(_within(record.norms, first, last))
    if highest > SPIKE:
        return Window(first, last, "cliff", fallen, f"a gradient was {highest:.3g} times those around it")
    obstacle, why = _lost_to(record, first, last, fallen)
    return Window(first, last, obstacle, fallen, why)


def _lost_to(record: _Record, first: int, last: int, fallen: Estimate) -> tuple[str, str]:
    """What took the promise of the steps of a window, if it is known: from steps taken again in it, else recorded ones.

    Returns:
        The obstacle, and the numbers that decided.
    """
    excess, passage = _excess(record, first, last), record.again.within(first, last)
    if passage is not None and passage.promise.value > 0:
        obstacle, why = _lost_in(passage, excess / (last - first))
        why = f"{why}, in steps taken again from step {passage.step}"
    else:
        parts = {name: _within(series, first, last) for name, series in record.budget.items()}
        promise = float(parts["promise"].sum())
        if min(part.size for part in parts.values()) < _FEWEST or not promise > 0:
            obstacle, why = (
                UNDETERMINED,
                _TOO_LITTLE,
            )
        else:
            noise, bent = parts["noise"].sum(), parts["curvature"].sum() + parts["higher_order"].sum()
            each = promise / parts["promise"].size * (last - first) / excess
            obstacle, why = _taken(float(noise) / promise, float(bent) / promise, each)
    return obstacle, "; ".join(filter(None, (_gone(fallen), why)))


def _gone(fallen: Estimate) -> str:
    """How much of the excess went, in words."""
    if not fallen.is_finite:
        return ""
    how = "went" if fallen.value >= 0 else "came back"
    return f"{percent(abs(fallen.value))} of the excess loss {how}"


def _taken(noise: float, bent: float, promised: float) -> tuple[str, str]:
    """Noise or curvature, by the shares of the promise that they took.

    Args:
        noise: The share that noise took.
        bent: The share that curvature and higher orders took.
        promised: What all steps of the window promised, as a share of the excess; NaN if it is not known.

    Returns:
        The obstacle, and the number that decided. Where the slope that noise left would have taken little of the excess
        even if nothing else had been lost, it is the slope that is small: neither is named.
    """
    slope = (1 - noise) * promised
    if slope < USEFUL_FALL / 2:
        return UNDETERMINED, f"the slope is small: without any loss it would have taken {percent(max(slope, 0.0))}"
    if noise > max(NOISY, bent):
        return "gradient_noise", f"noise took {percent(noise)} of what steps promised"
    if bent > OVERSHOOT:
        return "step_too_large", f"curvature took {percent(bent)} of what steps promised"
    return UNDETERMINED, "neither noise nor curvature took most of what steps promised"


def _lost_in(passage: Passage, excess: float) -> tuple[str, str]:
    """What kept steps that were taken again from gaining more, beside the excess loss for each step of the window."""
    pairs = zip(passage.rescaled.factors, passage.rescaled.gains, strict=True)
    slope, plain = max(0.0, passage.rescaled.slope.value), passage.rescaled.at(1.0).value
    longer = [
        (factor, gain.value)
        for factor, gain in pairs
        if factor >= LONGER and gain.is_above(0.0) and gain.value <= 2 * factor * slope + gain.error
    ]
    factor, best = max(longer, key=lambda pair: pair[1], default=(1.0, 0.0))
    if best > MANY_TIMES * max(plain, 0.0) and best > FIFTH * excess:
        return "step_too_small", f"steps × {factor:g} gain {best:.3g} each, as they are {plain:.3g}"
    if passage.own_uphill >= _OFTEN_UPHILL:
        return "step_too_large", f"{percent(passage.own_uphill)} of the steps raised the loss of their own batch"
    promise = passage.promise.value
    bent = (passage.curvature.value + passage.higher_order.value) / promise
    return _taken(passage.noise.value / promise, bent, promise / excess)


def _excess(record: _Record, first: int, last: int) -> float:
    """The excess loss at the beginning of a window; NaN if nothing was recorded there, or there is none."""
    ends = _ends(record, first, last)
    excess = ends[0].value - record.floor if ends is not None else math.nan
    return excess if excess > 0 else math.nan


def _fallen(record: _Record, first: int, last: int) -> Estimate:
    """Share of the excess that went in a window, by J at the points of the trail, else by recorded losses."""
    ends = _ends(record, first, last)
    if ends is None:
        return MISSING
    before, after = ends
    excess = before.value - record.floor
    if not excess > 0:
        return MISSING
    return Estimate((before.value - after.value) / excess, math.hypot(before.error, after.error) / excess)


def _ends(record: _Record, first: int, last: int) -> tuple[Estimate, Estimate] | None:
    """J at both ends of a window; None if too little was recorded."""
    ends = _on_trail(record.trail, first, last) if record.trail is not None else None
    if ends is not None:
        return ends
    parts = np.array_split(_within(record.losses, first, last), 4)
    if min(part.size for part in parts) < _FEWEST:
        return None
    return Estimate.mean_of(parts[0]), Estimate.mean_of(parts[-1])


def _on_trail(came: Trail, first: int, last: int) -> tuple[Estimate, Estimate] | None:
    """J at both ends of a window, where points of the trail lie near enough: within a quarter of the window."""
    found = []
    for step in (first, last):
        place = int(np.abs(came.steps - step).argmin())
        if abs(int(came.steps[place]) - step) > (last - first) / 4:
            return None
        found.append(Estimate(float(came.losses[place]), float(came.errors[place])))
    return found[0], found[1]


def _rise_of_validation(came: Trail | None, first: int, last: int) -> float:
    """How far the validation loss rose in a window, as a share of its fall from the start; NaN if not measured."""
    if came is None or not came.validation.size:
        return math.nan
    at = [float(np.interp(step, came.steps, came.validation)) for step in (first, last)]
    learnt = float(came.validation[0] - came.validation.min())
    return (at[1] - at[0]) / learnt if learnt > 0 else math.nan


def _within(series: Series, first: int, last: int) -> Float[np.ndarray, "points"]:
    """The values of a series in a window."""
    return series.values[(series.steps > first) & (series.steps <= last)]
