"""Where does a run come to with other steps, from here and from its start? For runs that long steps have spoilt."""

import re
from collections.abc import Sequence

import numpy as np

from theodolite.plots.marks import Absent, Chart, Level, Points, Role
from theodolite.plots.reading import notes_of, unplaced
from theodolite.plots.scales import fit, number
from theodolite.records.diagnosis import Remedy, Trials
from theodolite.records.run import Run
from theodolite.records.survey import Survey
from theodolite.records.words import several

_FROM_HERE, _FROM_START = "from here", "from its start"
_FACTOR = re.compile(r"(?:(from its start), )?step × ([0-9.e+]+)$")
_AGAIN, _CLIPPED = "from its start again", "clipping"


_Ends = tuple[str, np.ndarray, np.ndarray]
"""Where from, the factors, and J at the end."""


def marks_ends(run: Run) -> Chart | Absent:
    """J where branches end on which the step was scaled, from the surveyed point and from the start of the run.

    Args:
        run: The run.

    Returns:
        The chart, or what is missing.
    """
    title = "Where the loss comes to with other steps"
    trials, survey = run.result("Trials"), run.result("Survey")
    remedies: tuple[Remedy, ...] = trials.remedies if isinstance(trials, Trials) else ()
    ended = [remedy for remedy in remedies if remedy.ends]
    if not isinstance(survey, Survey) or not ended:
        return Absent("ends", title, "Not measured in this run: branches. monitor.diagnose() tries them.")
    seen = _seen(ended, plain=survey.loss.value - ended[0].baseline.value)
    edges = tuple(edge for name, x, y in seen for edge in unplaced(name, x, y, is_log=True))
    clipped = next((remedy.reached for remedy in ended if remedy.name == _CLIPPED), np.nan)
    levels = [Level("before", survey.loss.value), *([Level("clipped", clipped)] if clipped > 0 else [])]
    steps = next((remedy.steps for remedy in ended if _FACTOR.match(remedy.name)), ended[0].steps)
    heights = [np.array([level.value for level in levels]), *(y for _, _, y in seen)]
    return Chart(
        "ends",
        title,
        _takeaway(seen, survey.loss.value),
        "J at the end of branches that repeat the run with scaled steps. Where only shorter ones end low, steps were "
        "too long; where clipping alone does as well, single gradients were.",
        fit("step scaled by", "", [x for _, x, _ in seen], scale="log"),
        fit("J at the end", "loss", heights, scale="log"),
        (*levels, *map(_points, seen), *edges),
        (f"Branches of {several(steps, 'step')}, mean over orders of the batches.", *notes_of(edges)),
    )


def _seen(ended: Sequence[Remedy], plain: float) -> list[_Ends]:
    """The branches from here, and those from the start if there are any."""
    places = ((_FROM_HERE, *_places(ended, _FROM_HERE, plain)), (_FROM_START, *_places(ended, _FROM_START)))
    return [one for one in places if one[1].size]


def _points(ends: _Ends) -> Points:
    """Those that are finite, and positive."""
    name, x, y = ends
    kept = np.isfinite(y) & (y > 0)
    role = Role.MAIN if name == _FROM_HERE else Role.SECOND
    return Points(name, x[kept], y[kept], np.full(int(kept.sum()), np.nan), role)


def _places(ended: Sequence[Remedy], which: str, plain: float = np.nan) -> tuple[np.ndarray, np.ndarray]:
    """Factors in order, and J where their branches end; infinite where they diverged."""
    found = {1.0: plain} if which == _FROM_HERE else {}
    for remedy in ended:
        match = _FACTOR.match(remedy.name)
        if remedy.name == _AGAIN and which == _FROM_START:
            found[1.0] = remedy.reached
        elif match and (match[1] or _FROM_HERE) == which:
            found[float(match[2])] = remedy.reached
    factors = np.array(sorted(found))
    ends = np.array([found[factor] for factor in factors.tolist()])
    return factors, np.where(np.isfinite(ends), ends, np.inf)


def _takeaway(seen: Sequence[_Ends], before: float) -> str:
    """Which steps end lowest, and what the run's own come to."""
    tried = [(y[i], x[i], name) for name, x, y in seen for i in range(x.size) if np.isfinite(y[i])]
    if not tried:
        return "No length of the step leads to a finite loss."
    end, factor, name = min(tried)
    own = next((y[i] for _, x, y in seen[:1] for i in range(x.size) if x[i] == 1.0), np.nan)
    goes = f"goes on to {number(float(own), 2)}" if np.isfinite(own) else "diverges"
    return (
        f"As it is, the run {goes}; with steps × {number(float(factor), 3)}, {name}, it comes to "
        f"{number(float(end), 2)}, from {number(before, 2)} at the surveyed point."
    )
