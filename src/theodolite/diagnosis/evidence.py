"""What does the record of a run say: how its loss fell, and what the survey found."""

import math
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from theodolite.diagnosis.names import FRESH_START
from theodolite.diagnosis.spikes import spike, thrown_back
from theodolite.records import MISSING, Estimate, Line, Remedy, Run, Series, Status, Survey, Trail, Trials

_BLOCKS, _FEWEST_BLOCKS = 12, 6
"""The trend comes from so many blocks: successive losses of one run are not independent, blocks nearly are."""

AT_FLOOR, NEAR_FLOOR = 0.01, 0.03
"""A loss is at its floor when a hundredth of its first excess is left, and may be there when three are."""

_MOMENT, _THIRD = 0.1, 0.3
"""The first moment is a tenth of the run: of 32 kept points at least the second lies in it."""

_HALF, _FIFTH, _TENTH, _SLOW = 0.5, 0.2, 0.1, 0.02

FEWEST_LOSSES = 3 * _BLOCKS
"""With fewer recorded losses the blocks are too short to tell a trend from scatter."""


@dataclass(frozen=True)
class History:
    """How the training loss went.

    Attributes:
        steps: Optimizer steps of the run.
        start: J at the first point of the run, where the line from start to end was measured; else the mean training
            loss over the first hundredth.
        earlier: Mean training loss over the second quarter.
        later: Mean training loss over the last quarter.
        fallen: Share of the excess over the floor that falls while the age of the run doubles, from a straight line
            through the logarithms of excess and step over the last three quarters.
        nonfinite: How many recorded losses are not finite.
        first_nonfinite: The first such step; 0 if none.
        rise: Least of the last three losses before that step, over the median before: how far it had grown.
        spike: As ``spike`` of the gradient norms recorded over the second half.
        thrown: J at the end minus the least J that the run had come down to before a gradient stood out; missing if
            none did, or J came down again.
        least: Least recorded loss.
        least_at: The step of that.
    """

    steps: int
    start: Estimate = MISSING
    earlier: Estimate = MISSING
    later: Estimate = MISSING
    fallen: Estimate = MISSING
    nonfinite: int = 0
    first_nonfinite: int = 0
    rise: float = math.nan
    spike: float = math.nan
    thrown: Estimate = MISSING
    least: float = math.nan
    least_at: int = 0


@dataclass(frozen=True)
class Evidence:
    """Everything that a verdict may rest on.

    Attributes:
        history: How the training loss went.
        survey: What was found at the end; None if nobody looked.
        trials: The cures that were tried.
        floor: The least value that the loss can have, as far as known.
        trail: Points that the run came through; None if none were kept.
        is_validated: Whether the run has validation data.
        notes: What was noted while the run went on.
        keeps_gradients: Whether the loop does not zero its gradients.
    """

    history: History
    survey: Survey | None = None
    trials: Trials = field(default_factory=Trials)
    floor: float = 0.0
    trail: Trail | None = None
    is_validated: bool = False
    notes: tuple[str, ...] = ()
    keeps_gradients: bool = False

    @property
    def remedies(self) -> tuple[Remedy, ...]:
        """The cures that were tried, best first."""
        return self.trials.remedies

    @property
    def corrected(self) -> float:
        """Share of the excess that the curvature-corrected steps took together; NaN if none was tried."""
        heights = self.trials.corrected[np.isfinite(self.trials.corrected)]
        if not heights.size or self.survey is None or not self.excess > 0:
            return math.nan
        return (self.survey.loss.value - float(heights[-1])) / self.excess

    @property
    def excess(self) -> float:
        """How far the loss is above its floor: at the survey if there is one, else over the last window."""
        loss = self.survey.loss if self.survey is not None and self.survey.loss.is_finite else self.history.later
        return loss.value - self.floor

    @property
    def is_at_floor(self) -> bool:
        """Whether at most a hundredth is left of the first excess, or of that of a model that knows nothing.

        Where three hundredths are left it may be that hundredth: then the survey's loss, or the mean of the last
        quarter, decides within two of its errors.
        """
        first = self._usual_excess
        least = max(0.0, AT_FLOOR * first)
        if self.is_thrown or self.is_standing_above:
            return False
        if self.excess <= least or not self.excess <= NEAR_FLOOR * first:
            return self.excess <= least
        losses = [self.history.later] + ([self.survey.loss] if self.survey is not None else [])
        return any(loss.value - 2 * loss.error - self.floor <= least for loss in losses)

    @property
    def is_standing_above(self) -> bool:
        """Whether nearly all of the way down was the first moment, and a third of what is left since could be taken.

        A few enormous first losses, of one feature in other units, say nothing of what a model can learn.
        """
        came = self.trail
        if came is None or not self.excess > 0 or len(came.losses) < _FEWEST_BLOCKS:
            return False
        early = came.losses[came.steps <= _MOMENT * came.steps[-1]]
        has_stood = early.size > 1 and self.excess > float(early[-1] - self.floor) / 2
        cured = [self.share(remedy.gain) for remedy in self.remedies if remedy.gain.is_finite]
        return has_stood and any(gain.value - 2 * gain.error > _THIRD for gain in cured)

    @property
    def is_thrown(self) -> bool:
        """Whether the loss of plain steps from here is on average far above that of here: it was low by accident."""
        losses = self.trials.plain.losses
        later = losses[:, losses.shape[1] // 2 :]
        if not later.size:
            return False
        return bool(later.mean() - self.floor > max(2 * self.excess, NEAR_FLOOR * self.initial_excess))

    @property
    def is_above_start(self) -> bool:
        """Whether the loss stands above where it started, beyond two errors of both."""
        loss = self.survey.loss if self.survey is not None and self.survey.loss.is_finite else self.history.later
        error = math.hypot(loss.error, self.history.start.error)
        return math.isfinite(error) and self.excess - self.initial_excess > 2 * error

    @property
    def is_overtaken(self) -> bool:
        """Whether new parameters, in no more steps than the run has had, got a tenth of the excess farther than it."""
        fresh = self.remedy(FRESH_START)
        if fresh is None or not fresh.steps <= self.history.steps or not fresh.gain.is_above(0.0):
            return False
        return self.share(fresh.gain).is_above(_TENTH, 1.0)

    @property
    def is_steady(self) -> bool:
        """Whether half of the first excess is gone and it falls on, or a fifth, a tenth of it while the age doubled.

        That is a useful fall where the floor is not known: of the cross-entropy of a text most may never go. So is one
        that has not slowed down by half since the age doubled before.
        """
        gone, fallen = self.initial_excess - self.excess, self.history.fallen
        if not gone > _FIFTH * self.initial_excess or not fallen.is_above(_SLOW):
            return False
        if fallen.value * self.excess > _TENTH * gone or gone > _HALF * self.initial_excess:
            return True
        return self.is_going_on

    @property
    def is_going_on(self) -> bool:
        """Whether J fell while the age doubled last by at least half of what it fell by the time before."""
        came = self.trail
        if came is None or len(came.losses) < _FEWEST_BLOCKS:
            return False
        quarter, half, now = np.interp(came.steps[-1] / np.array([4, 2, 1]), came.steps, came.losses)
        return bool(quarter > half > now and half - now > _HALF * (quarter - half))

    @property
    def is_confirmed(self) -> bool:
        """Whether the survey's loss bears out that the recorded losses fell; True where nobody looked."""
        if self.survey is None or not (self.survey.loss.is_finite and self.history.earlier.is_finite):
            return True
        return self.excess - self.survey.loss.error <= self.history.earlier.value - self.floor

    @property
    def projected(self) -> Estimate:
        """Share of the excess that plain steps on a branch would gain while the age of the run doubles."""
        steps = self.trials.plain.steps
        if not self.remedies or not self.remedies[0].baseline.is_finite or not steps:
            return MISSING
        share = self.share(self.remedies[0].baseline)
        factor = self.history.steps / steps
        return Estimate(share.value * factor, math.hypot(share.error, self.unrest) * factor, share.count)

    @property
    def unrest(self) -> float:
        """How far J moves to and fro between points of the last half of the trail, as a share of the excess.

        Where a branch begins and ends is a matter of chance by as much, also where there is none in the batches.
        """
        came = self.trail
        if came is None or len(came.losses) < _FEWEST_BLOCKS or not self.excess > 0:
            return 0.0
        bends = np.diff(came.losses[len(came.losses) // 2 :], 2)  # a straight trend is no unrest
        return float(np.sqrt(np.mean(bends**2) / 6)) / self.excess if np.isfinite(bends).all() else 0.0

    @property
    def initial_excess(self) -> float:
        """How far the loss was above its floor at the start."""
        return self.history.start.value - self.floor

    @property
    def _usual_excess(self) -> float:
        """The first excess, or that of a model that knows nothing where it is less: a start may be far worse."""
        blank = self.survey.blank - self.floor if self.survey is not None else math.nan
        return min(self.initial_excess, blank) if blank > self.excess else self.initial_excess

    def share(self, gain: Estimate) -> Estimate:
        """A gain as a share of the excess loss; missing where there is no excess."""
        scale = self.excess
        return Estimate(gain.value / scale, gain.error / scale, gain.count) if scale > 0 else MISSING

    def cured(self, remedy: Remedy) -> Estimate:
        """What a cure gains, as a share of the excess: at the end of its branch or on average, whichever is surer."""
        return max((self.share(gain) for gain in (remedy.gain, remedy.average)), key=sure_gain)

    def remedy(self, name: str) -> Remedy | None:
        """One of the tried cures."""
        return next((remedy for remedy in self.remedies if remedy.name == name), None)


def sure_gain(gain: Estimate) -> float:
    """A gain less two of its errors, to choose by; least where either is unknown."""
    sure = gain.value - 2 * gain.error
    return sure if math.isfinite(sure) else -math.inf


def gather(run: Run) -> Evidence:
    """Read the evidence from the record of a run.

    Args:
        run: The run.

    Returns:
        The evidence.

    Raises:
        RunError: If the run cannot be read.
    """
    floor = float(run.metadata.get("floor") or 0.0)
    trials: Trials = run.result("Trials") or Trials()
    past = history(run.series("loss"), run.num_steps, floor)
    came: Trail | None = run.result("Trail")
    start = _start(run.result("Line"), came)
    past = replace(past, start=start) if start.is_finite else past
    if came is not None:
        past = _seen_on_trail(past, came, floor)
    norms = run.series("grad_norm")
    past = replace(past, spike=spike(norms.values[norms.steps > run.num_steps // 2]))
    past = replace(past, thrown=thrown_back(norms, came)) if came is not None else past
    is_validated = bool(run.metadata.get("validated"))
    noted = [event.detail for event in run.events("note")]
    return Evidence(
        past,
        run.result("Survey"),
        trials,
        floor,
        came,
        is_validated,
        notes=tuple(str(detail["text"]) for detail in noted if "text" in detail),
        keeps_gradients=any(detail.get("gradients_kept") is True for detail in noted),
    )


def _start(path: Line | None, came: Trail | None) -> Estimate:
    """J at the first point of the run: from the line that begins there, else from the trail; missing without both."""
    if path is not None and (path.positions == 0).any():
        at = int(np.flatnonzero(path.positions == 0)[0])
        error = float(path.errors[at])
        return Estimate(float(path.losses[at]), error if math.isfinite(error) else 0.0)
    if came is not None and came.steps.size and came.steps[0] == 0:
        return Estimate(float(came.losses[0]), 0.0)
    return MISSING


def _seen_on_trail(past: History, came: Trail, floor: float) -> History:
    """The trend of J of the held examples in place of that of mini-batch losses: it has no scatter of batches."""
    fallen = _fallen(came.steps.astype(np.float64), came.losses - floor)
    return replace(past, fallen=fallen) if fallen.is_finite else past


def history(losses: Series, steps: int, floor: float) -> History:
    """How the training loss went.

    Args:
        losses: The recorded mini-batch losses.
        steps: Optimizer steps of the run.
        floor: The least value that the loss can have.

    Returns:
        The history; windows are missing with fewer than 40 finite losses.
    """
    finite = np.isfinite(losses.values)
    bad = np.flatnonzero(~finite)
    first = int(losses.steps[bad[0]]) if bad.size else 0
    rise = _rise(losses.values[: bad[0]]) if bad.size else math.nan
    seen = History(steps, nonfinite=int(bad.size), first_nonfinite=first, rise=rise)
    at, values = losses.steps[finite], losses.values[finite]
    if values.size == 0:
        return seen
    start = Estimate.mean_of(values[: max(1, values.size // 100)])
    lowest = int(values.argmin())
    seen = replace(seen, least=float(values[lowest]), least_at=int(at[lowest]))
    if values.size < FEWEST_LOSSES:
        return replace(seen, start=start)
    earlier = Estimate.mean_of(values[(at > 0.25 * at[-1]) & (at <= 0.5 * at[-1])])
    later = Estimate.mean_of(values[at > 0.75 * at[-1]])
    fallen = _fallen(at.astype(np.float64), values - floor)
    return replace(seen, start=start, earlier=earlier, later=later, fallen=fallen)


def _fallen(steps: Float[np.ndarray, "points"], excess: Float[np.ndarray, "points"]) -> Estimate:
    """Share of the excess that falls while the age doubles: 1 − 2^b, b being the slope of log excess over log step.

    Blocks hold equally many losses, from a quarter of the run to its end, so that they scatter and weigh alike.

    Returns:
        The share; missing if there are too few losses for the blocks, or their mean is not above the floor.
    """
    old = steps > steps[-1] / 4
    count = min(_BLOCKS, int(old.sum()))
    if count < _FEWEST_BLOCKS:
        return MISSING
    blocks = zip(np.array_split(steps[old], count), np.array_split(excess[old], count), strict=True)
    means = [(float(np.log(at).mean()), float(heights.mean())) for at, heights in blocks]
    x, y = np.array(means).T
    x = x - x.mean()
    if (y <= 0).any():
        return _fallen_straight(x, y)
    slope, error = _line(x, np.log(y))
    left = 2.0**slope
    return Estimate(1 - left, math.log(2) * left * error, len(y))


def _fallen_straight(x: Float[np.ndarray, "blocks"], y: Float[np.ndarray, "blocks"]) -> Estimate:
    """The same from a line through the excess itself, which scatter may take below the floor."""
    if not y.mean() > 0:
        return MISSING
    slope, error = _line(x, y)
    scale = math.log(2) / float(y.mean())
    return Estimate(-slope * scale, error * scale, len(y))


def _line(x: Float[np.ndarray, "blocks"], y: Float[np.ndarray, "blocks"]) -> tuple[float, float]:
    """Slope of the straight line through points with centred x, and its standard error."""
    slope = float(x @ y / (x @ x))
    residual = y - y.mean() - slope * x
    return slope, math.sqrt(float(residual @ residual) / (len(y) - 2) / float(x @ x))


def greatest_spike(evidence: Evidence) -> float:
    """The greatest spike among the recorded gradients and those of the plain branches; NaN if none can be told."""
    rows = [evidence.history.spike, *(spike(row) for row in evidence.trials.plain.grad_norms)]
    return max((value for value in rows if math.isfinite(value)), default=math.nan)


def _rise(before: Float[np.ndarray, "points"]) -> float:
    """How far the loss had grown in the last steps before it was not finite, over its median."""
    if before.size < 3:
        return math.nan
    median = float(np.median(before))
    return float(before[-3:].min() / median) if median > 0 else math.nan


def is_diverged(survey: Survey | None, record: History) -> bool:
    """Whether the run has ended in losses or parameters that are not finite."""
    return (survey is not None and survey.status is Status.NONFINITE) or record.nonfinite > 0
