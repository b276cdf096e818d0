"""What do moves from here gain: real steps made longer and shorter, branches; and what is a step lost to?"""

import re
from collections.abc import Sequence

import numpy as np

from theodolite.plots.marks import Absent, Bars, Chart, Curve, Layer, Level, Points, Role, Whiskers
from theodolite.plots.reading import error_band, notes_of, unplaced
from theodolite.plots.scales import fit, number, percent, things
from theodolite.records.diagnosis import Trials
from theodolite.records.estimates import Estimate
from theodolite.records.run import Run
from theodolite.records.survey import Survey

_NO_BRANCHES = "Not measured in this run: branches with other steps. monitor.diagnose() tries them."
NO_SURVEY = "Not measured in this run: a survey. monitor.diagnose() makes it at the end of a training."
_FACTOR = re.compile(r"step × ([0-9.e+]+)$")
_OTHER_MOVES = (
    ("curvature-corrected", "corrected step", Role.SECOND),
    ("noise-free gradient", "gradient step", Role.THIRD),
)
_FAR_DOWN = 3.0
"""Losses are drawn to three times the greatest gain."""


def marks_scalings(run: Run, *, is_corrected: bool = False) -> Chart | Absent:
    """Gain of the real steps against the factor by which they were scaled.

    Args:
        run: The run.
        is_corrected: Whether to draw the gain of the curvature-corrected step and of the best one down the gradient.

    Returns:
        The chart, or what is missing.
    """
    title = "Gain of the real steps, made longer and shorter"
    survey: Survey | None = run.result("Survey")
    if survey is None or not survey.rescaled.factors:
        return Absent("scalings", title, NO_SURVEY)
    factors = np.asarray(survey.rescaled.factors, dtype=np.float64)
    gain, error = _columns(survey.rescaled.gains)
    others = [(words, survey.what_if(name).gain, role) for name, words, role in _OTHER_MOVES] if is_corrected else []
    others = [one for one in others if one[1].is_finite]
    finite = np.isfinite(gain)
    highest = max([*gain[finite].tolist(), *(one.value for _, one, _ in others), 0.0])
    low = max(float(gain[finite].min(initial=0.0)), -_FAR_DOWN * highest) if highest > 0 else None
    shown = np.where(finite & (gain >= (low if low is not None else -np.inf)), gain, np.nan)
    axis = fit(
        "gain of one step", "loss", [shown, np.asarray([0.0, highest]), _columns([one for _, one, _ in others])[0]]
    )
    far = np.flatnonzero(np.isfinite(shown)).max(initial=0)
    x = fit("step scaled by", "", [factors[: far + 2]], scale="log")
    real = np.flatnonzero(factors == 1.0)
    layers: list[Layer] = [
        Level("", 0.0),
        *error_band("scaled step", factors, shown, error, role=Role.MAIN),
        Curve("scaled step", factors, shown, Role.MAIN, int(gain.size)),
        Points("real step", factors[real], shown[real], error[real], Role.FOURTH),
        *(Curve(words, np.asarray(x.limits), np.full(2, one.value), role, 1) for words, one, role in others),
    ]
    cut = np.isfinite(gain) & ~np.isfinite(shown)
    edges = unplaced("scaled step", factors, gain)
    notes = [f"{number(factors[cut].min(), 3)} times and more: the loss rises beyond the axis."] if cut.any() else []
    return Chart(
        "scalings",
        title,
        _scalings_takeaway(factors, gain, others, real),
        "The same steps that the run takes here, scaled, each evaluated on examples that it was not made from. A peak "
        "at 1 is the right length; a peak elsewhere is the length that was missed.",
        x,
        axis,
        (*layers, *edges),
        (
            f"Mean of some of {survey.steps} plain steps on a branch; the band is one standard error. "
            "One step only: what many steps of another length would gain, only branches tell.",
            *notes,
            *notes_of(edges),
        ),
    )


def _columns(estimates: Sequence[Estimate]) -> tuple[np.ndarray, np.ndarray]:
    """Values and errors."""
    return np.array([one.value for one in estimates]), np.array([one.error for one in estimates])


def _scalings_takeaway(
    factors: np.ndarray, gain: np.ndarray, others: list[tuple[str, Estimate, Role]], real: np.ndarray
) -> str:
    finite = np.isfinite(gain)
    if not finite.any():
        return "No scaling of the step leads to a finite loss."
    best = int(np.flatnonzero(finite)[np.argmax(gain[finite])])
    now = float(gain[real[0]]) if real.size else float("nan")
    if gain[best] <= 0:
        return "No scaling of the step gains anything."
    told = f"The real step {_gains(now)}; {number(factors[best], 3)} times it gains {number(float(gain[best]), 2)}"
    if best in real:
        told = f"The real step gains {number(now, 2)}, more than any other scaling that was tried"
    for words, one, _ in others[:1]:
        told += f"; a {words} {_gains(one.value)}"
    return f"{told}."


def _gains(gain: float) -> str:
    return f"gains {number(gain, 2)}" if gain >= 0 else f"loses {number(-gain, 2)}"


def marks_branches(run: Run) -> Chart | Absent:
    """Gain of branches of the run on which only the step was scaled.

    Args:
        run: The run.

    Returns:
        The chart, or what is missing.
    """
    title = "The run continued with other steps"
    trials: Trials | None = run.result("Trials")
    tried = [(1.0, Estimate(0.0, 0.0))]
    steps = 0
    for remedy in trials.remedies if trials is not None else ():
        found = _FACTOR.match(remedy.name)
        if found:
            tried.append((float(found[1]), remedy.gain))
            steps = remedy.steps
    if len(tried) < 2:
        return Absent("branches", title, _NO_BRANCHES)
    tried.sort(key=lambda pair: pair[0])
    factors = np.array([factor for factor, _ in tried])
    gain, error = _columns([gain for _, gain in tried])
    finite = np.isfinite(gain)
    low = -_FAR_DOWN * float(gain[finite].max()) if gain[finite].max() > 0 else -np.inf
    shown = np.where(finite & (gain >= low), gain, np.nan)
    cut = finite & (gain < low)
    edges = unplaced("branch", factors, gain)
    below = zip(factors[cut], gain[cut], strict=True)
    notes = [f"Step × {number(factor, 3)} loses {number(-lost, 3)}: below the axis." for factor, lost in below]
    best = int(np.flatnonzero(finite)[np.argmax(gain[finite])])
    gained = number(float(gain[best]), 2)
    more = f"{number(factors[best], 3)} times the step gains {gained} more in {steps} steps than going on as before."
    kept = np.isfinite(shown)
    return Chart(
        "branches",
        title,
        "No other length of the step gains more than going on as before." if factors[best] == 1.0 else more,
        f"J after {steps} plain steps minus J after {steps} scaled ones, from the same point on the same batches.",
        fit("step scaled by", "", [factors], scale="log"),
        fit("gain over going on", "loss", [shown, shown - error, shown + error, np.zeros(1)]),
        (Level("as before", 0.0), Points("branches", factors[kept], shown[kept], error[kept], Role.MAIN), *edges),
        ("Error bars: one standard error over orders of the batches.", *notes, *notes_of(edges)),
    )  # fmt: skip


def marks_terms(run: Run) -> Chart | Absent:
    """What a plain step promised at the end of the run, what it lost and to what, and what arrived.

    Args:
        run: The run.

    Returns:
        The chart, or what is missing.
    """
    title = "What became of the promise of one step"
    survey: Survey | None = run.result("Survey")
    if survey is None or not (survey.promise.is_finite and survey.delivered.is_finite):
        return Absent("terms", title, NO_SURVEY)
    losses = [("noise", survey.noise), ("curvature", survey.curvature), ("higher order", survey.higher_order)]
    names = ("promise", *(f"− {name}" for name, _ in losses), "delivered")
    roles = (Role.MUTED, Role.SECOND, Role.THIRD, Role.FOURTH, Role.MAIN)
    left, bars = survey.promise.value, [(0.0, survey.promise)]
    for _, lost in losses:
        bars.append((left, Estimate(-lost.value, lost.error)))
        left -= lost.value
    bars.append((0.0, survey.delivered))
    base = np.array([start for start, _ in bars])
    height, error = _columns([part for _, part in bars])
    layers: list[Layer] = [
        Bars(name, np.array([float(at)]), np.ones(1), base[at : at + 1], height[at : at + 1],
             error[at : at + 1], role, is_share=False)
        for at, (name, role) in enumerate(zip(names, roles, strict=True))
    ]  # fmt: skip
    known = np.isfinite(error)
    ends = base + height
    layers.append(Whiskers("one standard error", np.flatnonzero(known).astype(float), ends[known], error[known]))
    reach = np.where(known, error, 0.0)
    return Chart(
        "terms",
        title,
        _terms_takeaway(survey),
        "From the left: what the batch gradient promised, −g·Δθ; what was lost because a batch is not the data, to the "
        "bending of the surface, and beyond second order; and what arrived.",
        things("", names),
        fit("loss per step", "loss", [base, ends - reach, ends + reach, np.zeros(1)], scale="linear"),
        (Level("", 0.0), *layers),
        (
            f"Means of {survey.steps} plain steps from the end of the run, judged on held examples; whiskers are one "
            "standard error. Earlier steps may have differed.",
        ),
    )


def _terms_takeaway(survey: Survey) -> str:
    promise, noise, arrived = survey.promise.value, survey.noise.value, survey.delivered.value
    if not promise > 0:
        return "The gradients promise no progress here."
    lost = f"{percent(noise / promise)} of what a step promises is lost to noise"
    came = (
        f"{percent(arrived / promise)} arrives" if arrived >= 0 else f"the loss rises by {number(-arrived, 2)} a step"
    )
    batch = f", in batches of {number(survey.batch, 3)}" if np.isfinite(survey.batch) else ""
    scale = survey.noise_scale
    told = f"; signal and noise would be equal in one of {number(scale.value, 2)}" if scale.value > 0 else ""
    return f"{lost}, {came}{batch}{told}."
