"""How are series brought into a picture: aligned, averaged over windows, thinned without losing extremes?"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from theodolite.plots.marks import Absent, Axis, Band, Curve, Layer, Marks, Points, Role
from theodolite.records.run import Run

MAX_WINDOWS = 60
"""Bars of 10 pixels on a page 600 pixels wide: more cannot be told apart."""
MAX_POINTS = 1200
"""Two points per pixel of a page 600 pixels wide."""


@dataclass(frozen=True, eq=False)
class Windows:
    """Stretches of steps of equal width; empty ones are left out.

    Attributes:
        centers: Middle of each window, in steps.
        widths: Width of each, in steps.
        members: Positions of the measurements in each.
    """

    centers: Float[np.ndarray, "windows"]
    widths: Float[np.ndarray, "windows"]
    members: tuple[Int[np.ndarray, "_"], ...]

    @property
    def steps_each(self) -> int:
        """Width in whole steps."""
        return max(1, round(float(self.widths[0]))) if self.widths.size else 0


def step_axis(run: Run) -> Axis:
    """The axis of steps, the same for every picture of a run."""
    last = float(max(run.num_steps, 1))
    return Axis("step", "", "linear", (0.0, last * 1.01 + 0.5))


def lacking(run: Run, name: str, title: str, needs: tuple[str, ...]) -> Absent | None:
    """The chart that says what is missing, or None if every series needed has a value.

    Args:
        run: The run.
        name: Name of the chart.
        title: What it would show.
        needs: The series without which there is no picture.

    Returns:
        The absent chart, or None.
    """
    missing = [one for one in needs if len(run.series(one)) == 0]
    if not missing:
        return None
    advice = "Monitor records them on its schedule; budget=None measures at every step."
    return Absent(name, title, f"Not measured in this run: {', '.join(missing)}. {advice}")


def late(steps: np.ndarray) -> np.ndarray:
    """Which measurements lie in the last quarter of the measured stretch; the last one always does."""
    return steps >= steps[-1] - 0.25 * (steps[-1] - steps[0]) if steps.size else np.zeros(0, dtype=bool)


def when(run: Run, steps: np.ndarray) -> str:
    """When the last quarter of some measurements was: "Late in the run" only if it was.

    Args:
        run: The run.
        steps: The steps measured at, ascending.

    Returns:
        The beginning of a sentence.
    """
    recent = steps[late(steps)]
    if recent.size == 0 or recent[0] >= 0.6 * run.num_steps:
        return "Late in the run"
    first, last = int(recent[0]), int(recent[-1])
    return f"At step {first}" if first == last else f"At steps {first} to {last}"


def aligned(run: Run, names: tuple[str, ...]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The steps at which every one of some series was measured, and the values there.

    Args:
        run: The run.
        names: Names of the series.

    Returns:
        Steps, and values by name; all empty if a series is missing.
    """
    series = [run.series(name) for name in names]
    steps = np.asarray(series[0].steps)
    for one in series[1:]:
        steps = np.intersect1d(steps, one.steps)
    picked = {one.name: np.asarray(one.values)[np.searchsorted(one.steps, steps)] for one in series}
    return steps.astype(np.float64), picked


def errors_at(run: Run, name: str, steps: np.ndarray) -> np.ndarray:
    """The recorded errors at some steps; NaN where none was recorded.

    Args:
        run: The run.
        name: The series of errors.
        steps: The steps, ascending.

    Returns:
        An error for each step.
    """
    series = run.series(name)
    _, here, there = np.intersect1d(steps, series.steps, return_indices=True)
    errors = np.full(steps.size, np.nan)
    errors[here] = np.asarray(series.values)[there]
    return errors


def with_errors(run: Run, name: str, error: str = "") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps, values and errors of a series; the error is NaN where it was not recorded.

    Args:
        run: The run.
        name: The series.
        error: The series of its errors; empty if it has none.

    Returns:
        Steps, values, errors.
    """
    series = run.series(name)
    steps = np.asarray(series.steps, dtype=np.float64)
    errors = errors_at(run, error, steps) if error else np.full(steps.size, np.nan)
    return steps, np.asarray(series.values, dtype=np.float64), errors


def windows(steps: np.ndarray, last: int = 0, *, most: int = MAX_WINDOWS) -> Windows:
    """Cut a run into windows of equal width and keep those with a measurement.

    Args:
        steps: The steps measured at, ascending.
        last: Last step of the run, so that windows of all series are the same; the last one measured if that is later.
        most: How many windows at most; a window is never shorter than a step.

    Returns:
        The windows.
    """
    if steps.size == 0:
        return Windows(np.zeros(0), np.zeros(0), ())
    end = max(last, int(steps[-1]), 1)
    count = min(most, end)
    edges = np.linspace(0.5, end + 0.5, count + 1)
    place = np.clip(np.searchsorted(edges, steps, side="right") - 1, 0, count - 1)
    used = np.unique(place)
    centers = (edges[:-1] + edges[1:]) / 2
    members = tuple(np.flatnonzero(place == index) for index in used)
    return Windows(centers[used], np.diff(edges)[used], members)


def window_means(values: np.ndarray, cut: Windows, errors: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error of each window, over its finite values.

    The error of a window with one value is that value's own; without one it is NaN.

    Args:
        values: The measurements.
        cut: The windows.
        errors: The measurements' own errors.

    Returns:
        Means and errors; NaN where a window has no finite value.
    """
    means, spread = np.full(len(cut.members), np.nan), np.full(len(cut.members), np.nan)
    for index, members in enumerate(cut.members):
        finite = members[np.isfinite(values[members])]
        if finite.size:
            means[index] = values[finite].mean()
        if finite.size > 1:
            spread[index] = values[finite].std(ddof=1) / np.sqrt(finite.size)
        elif finite.size == 1 and errors is not None:
            spread[index] = errors[finite[0]]
    return means, spread


def thin(values: np.ndarray, most: int = MAX_POINTS) -> Int[np.ndarray, "kept"]:
    """Positions to keep of a long series: in each of most/4 stretches the first, the last, the least and the greatest.

    Where values stop being finite, the first position of each such stretch is kept, so that a line drawn through the
    rest is interrupted there.

    Args:
        values: The series.
        most: How many positions to keep at most, gaps aside.

    Returns:
        Positions, ascending.
    """
    finite = np.isfinite(values)
    gaps = np.flatnonzero(~finite & np.concatenate([[True], finite[:-1]]))
    if values.size <= most:
        return np.union1d(np.flatnonzero(finite), gaps).astype(np.int64)
    kept = [gaps]
    for part in np.array_split(np.flatnonzero(finite), max(1, most // 4)):
        if part.size:
            y = values[part]
            kept.append(part[[0, -1, int(y.argmin()), int(y.argmax())]])
    return np.unique(np.concatenate(kept)).astype(np.int64)


def thinned_curve(name: str, x: np.ndarray, y: np.ndarray, role: Role, *, is_thin: bool = False) -> Curve:
    """A curve of at most 1200 points that keeps every extreme and breaks where a value is not finite.

    Args:
        name: What it is.
        x: Steps.
        y: Values.
        role: Its part in the picture.
        is_thin: Whether it stays in the background.

    Returns:
        The curve.
    """
    kept = thin(y)
    drawn = np.where(np.isfinite(y[kept]), y[kept], np.nan)
    return Curve(name, x[kept], drawn, role, int(y.size), is_thin)


def unplaced(name: str, x: np.ndarray, y: np.ndarray, *, is_log: bool = False) -> tuple[Marks, ...]:
    """Marks at the edges for the values that cannot be drawn: NaN, infinities, and on a log axis values ≤ 0.

    Args:
        name: Whose values they are.
        x: Steps.
        y: Values.
        is_log: Whether the axis is logarithmic.

    Returns:
        One layer for each kind that occurs.
    """
    kinds = [
        (np.isnan(y), "value that is not a number", "top"),
        (np.isposinf(y), "infinite value", "top"),
        (np.isneginf(y), "value of minus infinity", "bottom"),
    ]
    if is_log:
        kinds.append((np.isfinite(y) & (y <= 0), "value ≤ 0, which has no place on a log scale", "bottom"))
    return tuple(
        edge_marks(name, x[mask], f"{name}: {counted(int(mask.sum()), what)}", edge)
        for mask, what, edge in kinds
        if mask.any()
    )


def counted(count: int, what: str) -> str:
    """A count with its noun, which is the first word: 1 value, 2 values."""
    if count == 1:
        return f"1 {what}"
    head, _, tail = what.partition("value")
    return f"{count} {head}values{tail.replace('that is', 'that are').replace('which has', 'which have')}"


def edge_marks(name: str, x: np.ndarray, reason: str, edge: str) -> Marks:
    """A layer of marks at an edge, at most 600 drawn, all counted.

    Args:
        name: Whose values they are.
        x: Where they lie.
        reason: What they are, with their count.
        edge: ``top`` or ``bottom``.

    Returns:
        The layer.
    """
    count = int(x.size)
    kept = x if count <= MAX_POINTS // 2 else x[np.unique(np.linspace(0, count - 1, MAX_POINTS // 2).astype(int))]
    return Marks(name, kept, reason, "bottom" if edge == "bottom" else "top", count)


def notes_of(marks: tuple[Marks, ...]) -> tuple[str, ...]:
    """A note for each layer of marks: what is at the edge, and how often."""
    return tuple(f"{one.reason[:1].upper()}{one.reason[1:]}; marked at the {one.edge} edge." for one in marks)


def error_band(name: str, x: np.ndarray, y: np.ndarray, error: np.ndarray, *, role: Role) -> tuple[Band, ...]:
    """The band y ± error where the error is known; nothing if it never is.

    Args:
        name: Whose band it is.
        x: Steps.
        y: Values.
        error: Standard errors.
        role: Its part in the picture.

    Returns:
        No layer or one.
    """
    known = np.isfinite(y) & np.isfinite(error)
    if known.sum() < 2:
        return ()
    return (Band(name, x[known], (y - error)[known], (y + error)[known], role),)


def track(name: str, x: np.ndarray, y: np.ndarray, error: np.ndarray, *, role: Role) -> tuple[Layer, ...]:
    """A measured quantity: few points with error bars, or from 60 on a line with a band.

    Args:
        name: What it is.
        x: Steps.
        y: Values.
        error: Standard errors; NaN if unknown.
        role: Its part in the picture.

    Returns:
        The layers.
    """
    if np.isfinite(y).sum() <= MAX_WINDOWS:
        return (measured(name, x, y, error, role=role),)
    return (*error_band(name, x, y, error, role=role), thinned_curve(name, x, y, role))


def scattered(name: str, x: np.ndarray, y: np.ndarray, *, role: Role) -> tuple[Layer, ...]:
    """A quantity that scatters: few points, or from 60 on every value thin and the median of each window thick.

    Args:
        name: What it is.
        x: Steps.
        y: Values.
        role: Its part in the picture.

    Returns:
        The layers.
    """
    if np.isfinite(y).sum() <= MAX_WINDOWS:
        return (measured(name, x, y, np.full(y.size, np.nan), role=role),)
    cut = windows(x)
    middle = [np.median(part) if part.size else np.nan for part in (y[m][np.isfinite(y[m])] for m in cut.members)]
    raw = thinned_curve(f"{name}: every value", x, y, role, is_thin=True)
    return (raw, Curve(f"{name}, median", cut.centers, np.asarray(middle), role, int(y.size)))


def measured(name: str, x: np.ndarray, y: np.ndarray, error: np.ndarray, *, role: Role) -> Points:
    """Measured points with error bars, only those that are finite.

    Args:
        name: What they are.
        x: Steps.
        y: Values.
        error: Standard errors; NaN if unknown.
        role: Their part in the picture.

    Returns:
        The layer.
    """
    finite = np.isfinite(y)
    return Points(name, x[finite], y[finite], error[finite], role)
