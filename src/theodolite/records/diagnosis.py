"""What was concluded: findings, tried remedies, the diagnosis."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from theodolite.records.estimates import MISSING, Estimate
from theodolite.records.obstacles import Verdict
from theodolite.records.page import html_page, text_page


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
        gain: J after the plain continuation minus J after this one, in loss, on the same batches; positive helps.
        baseline: J at the snapshot minus J after the plain continuation.
        steps: How many steps each branch went on.
        seeds: How many orders of the batches were tried.
        note: What the trial leaves out, or why it could not be made.
    """

    name: str
    gain: Estimate
    baseline: Estimate
    steps: int
    seeds: int
    note: str = ""

    @property
    def helped(self) -> bool:
        """Whether the gain is positive beyond two of its errors."""
        return self.gain.is_above(0.0)


@dataclass(frozen=True)
class Trials:
    """The cures that were tried at one point of a run.

    Attributes:
        remedies: Best first.
    """

    remedies: tuple[Remedy, ...] = ()


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

    def of(self, verdict: Verdict) -> tuple[Finding, ...]:
        """The findings with one verdict."""
        return tuple(finding for finding in self.findings if finding.verdict is verdict)

    def __str__(self) -> str:
        """A page for the terminal: verdict, evidence, all findings, remedies."""
        return text_page(self)

    def _repr_html_(self) -> str:
        """The same for notebooks, without scripts."""
        return html_page(self)
