"""What was concluded: findings, tried remedies, the diagnosis."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from theodolite._checks import require
from theodolite.records.estimates import MISSING, Estimate
from theodolite.records.obstacles import Verdict
from theodolite.records.page import html_page, text_page
from theodolite.records.timeline import Window


@dataclass(frozen=True)
class Finding:
    """What the evidence says of one obstacle.

    Attributes:
        obstacle: One of ``OBSTACLES``.
        verdict: Present, absent or undetermined; missing evidence is never "absent".
        statistic: The deciding number with its error.
        threshold: What the statistic is compared with.
        needs: On which side of the threshold the statistic must lie for the obstacle to be there, ">" or "<"; a rule
            may ask for more, which its evidence tells.
        meaning: What the statistic is, and why the threshold stands where it does.
        effect: How much of the excess loss its removal would gain, as measured by a what-if; NaN if not measured.
        evidence: The sentences that support the verdict, with their numbers.
        missing: What evidence would settle an undetermined verdict; empty otherwise.
        picture: Name of the chart that shows it.
        source: Where the criterion comes from.
    """

    obstacle: str
    verdict: Verdict
    statistic: Estimate = MISSING
    threshold: float = float("nan")
    meaning: str = ""
    effect: Estimate = MISSING
    evidence: tuple[str, ...] = ()
    missing: str = ""
    picture: str = ""
    source: str = ""
    needs: str = ">"

    @property
    def error(self) -> float:
        """Error of the statistic, in its unit."""
        return self.statistic.error


class Findings:
    """The findings of a diagnosis: a sequence of them, also found by the obstacle's name."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        """Keep the findings in the order given."""
        self._findings = {finding.obstacle: finding for finding in findings}

    def __iter__(self) -> Iterator[Finding]:
        """Each finding in order."""
        return iter(self._findings.values())

    def __len__(self) -> int:
        """How many there are."""
        return len(self._findings)

    def __getitem__(self, obstacle: str) -> Finding:
        """The finding on one obstacle; KeyError if the name is unknown."""
        return self._findings[obstacle]

    def __contains__(self, obstacle: object) -> bool:
        """Whether there is a finding on an obstacle."""
        return obstacle in self._findings

    def __eq__(self, other: object) -> bool:
        """Whether both hold the same findings."""
        return isinstance(other, Findings) and self._findings == other._findings

    __hash__ = None  # type: ignore[assignment]

    def keys(self) -> tuple[str, ...]:
        """The obstacles, in order."""
        return tuple(self._findings)

    def values(self) -> tuple[Finding, ...]:
        """The findings, in order."""
        return tuple(self._findings.values())

    def items(self) -> tuple[tuple[str, Finding], ...]:
        """Pairs of obstacle and finding, in order."""
        return tuple(self._findings.items())


@dataclass(frozen=True)
class Remedy:
    """A cure that was tried on a branch of the run.

    Attributes:
        name: What was changed.
        gain: J after the plain continuation minus J after this one, in loss, on the same batches; positive helps. Mean
            and standard error of the differences by order of the batches; −inf if this branch diverged, inf if only
            the plain one did, both without an error.
        baseline: J at the snapshot minus J after the plain continuation.
        steps: How many steps each branch went on.
        seeds: How many orders of the batches were tried; 1 where there is no chance in the run, and errors are then
            rounding.
        average: Loss of the steps' own batches over the last half of the plain branch minus that of this one: what a
            run that is thrown to and fro gains on average, wherever a branch happens to end.
        ends: J where each branch ends, by order of the batches, NaN where it diverged: they compare cures where the
            plain continuation diverges, and gains are infinite.
        note: What the trial leaves out, or why it could not be made.
    """

    name: str
    gain: Estimate
    baseline: Estimate
    steps: int
    seeds: int
    note: str = ""
    average: Estimate = MISSING
    ends: tuple[float, ...] = ()

    @property
    def reached(self) -> float:
        """Mean of J where the branches end; NaN if one of them diverged."""
        return float(np.mean(self.ends)) if self.ends else math.nan

    @property
    def helped(self) -> bool:
        """Whether the gain is positive beyond two of its errors, or the run would diverge without the cure."""
        return self.gain.value == math.inf or self.gain.is_above(0.0)


def _no_steps() -> Float[np.ndarray, "seeds steps"]:
    return np.zeros((0, 0))


@dataclass(frozen=True, eq=False)
class Continuation:
    """How a run went on plainly from one point, in several orders of its batches; NaN after a step that diverged.

    Attributes:
        losses: Loss of each step's own batch before the step.
        grad_norms: ‖gradient‖ there, before clipping.
        update_norms: ‖Δθ‖ of each step.
    """

    losses: Float[np.ndarray, "seeds steps"] = field(default_factory=_no_steps)
    grad_norms: Float[np.ndarray, "seeds steps"] = field(default_factory=_no_steps)
    update_norms: Float[np.ndarray, "seeds steps"] = field(default_factory=_no_steps)

    @property
    def seeds(self) -> int:
        """How many orders of the batches were followed."""
        return len(self.losses)

    @property
    def steps(self) -> int:
        """How many steps in each."""
        return int(self.losses.shape[1])


@dataclass(frozen=True, eq=False)
class Trials:
    """The cures that were tried at one point of a run.

    Attributes:
        remedies: Best first.
        plain: The plain continuation that they are compared with.
        corrected: J of the held examples after each curvature-corrected step; empty if none was made.
        notes: Cures that were left out, and why.
    """

    remedies: tuple[Remedy, ...] = ()
    plain: Continuation = field(default_factory=Continuation)
    corrected: Float[np.ndarray, "steps"] = field(default_factory=lambda: np.zeros(0))
    notes: tuple[str, ...] = ()

    @property
    def best(self) -> Remedy | None:
        """The remedy that gained most of those that helped; None if no remedy tried helped."""
        return next((remedy for remedy in self.remedies if remedy.helped), None)


@dataclass(frozen=True)
class Diagnosis:
    """Which obstacle slows this training, with its evidence.

    Attributes:
        obstacle: One of ``OBSTACLES``, or "undetermined".
        probabilities: A probability for each obstacle; they sum to 1.
        findings: A finding on every obstacle.
        remedies: The cures that were tried, best first; empty when none could be tried.
        summary: The verdict in words.
        secondary: Other obstacles that are present, by effect.
        calibrated: Whether the probabilities were calibrated on problems with known truth.
        run: The folder of the run.
        notes: What could not be measured, and why.
        timeline: What limited progress when, window by window.
    """

    obstacle: str
    probabilities: dict[str, float]
    findings: Findings
    remedies: tuple[Remedy, ...] = ()
    summary: str = ""
    secondary: tuple[str, ...] = ()
    calibrated: bool = False
    run: str = ""
    notes: tuple[str, ...] = field(default=())
    timeline: tuple[Window, ...] = ()

    def of(self, verdict: Verdict) -> tuple[Finding, ...]:
        """The findings with one verdict."""
        return tuple(finding for finding in self.findings if finding.verdict is verdict)

    def figure(self) -> Any:
        """The one picture that shows the obstacle, drawn from the record of the run.

        Returns:
            A matplotlib figure.

        Raises:
            RunError: If the run's folder is not there any more.
            MissingPackageError: If matplotlib is not installed.
        """
        # Pictures stand above records: fetched by name when somebody asks for one.
        return require("theodolite.plots", extra="dev").figure_diagnosis(self)

    def show(self, save: str | Path | None = None) -> Any:
        """The picture of the obstacle, written to a file if one is given.

        Args:
            save: Where to write it; the ending tells the format.

        Returns:
            The matplotlib figure, which notebooks display.

        Raises:
            RunError: If the run's folder is not there any more.
            MissingPackageError: If matplotlib is not installed.
        """
        figure = self.figure()
        if save is not None:
            figure.savefig(save, dpi=150)
        return figure

    def __str__(self) -> str:
        """A page for the terminal: verdict, evidence, all findings, remedies."""
        return text_page(self)

    def _repr_html_(self) -> str:
        """The same for notebooks, without scripts."""
        return html_page(self)
