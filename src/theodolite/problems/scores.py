"""How good are verdicts? Cases with known truth in, tables out; nothing is trained or judged here."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from theodolite.errors import SettingError
from theodolite.records import MISSING, OBSTACLES, UNDETERMINED, Estimate

VERDICTS: tuple[str, ...] = (*OBSTACLES, UNDETERMINED)
"""What a verdict may be, in the order of columns."""

CURABLE: tuple[str, ...] = (
    "step_too_small",
    "step_too_large",
    "ill_conditioning",
    "gradient_noise",
    "saddle_point",
    "plateau",
    "cliff",
    "dead_units",
)
"""Obstacles that another way of going on from where the run stands can lift. At a minimum, on a loss that has none,
before a barrier, or when overfitting, "no remedy helped" is a right answer."""

BINS = 10
"""Bins of equal width. Probabilities take few values, so bins of equal mass would part cases that are told the same."""

_Z = 1.959963984540054
"""Two-sided 95 % point of the normal distribution."""


@dataclass(frozen=True)
class Case:
    """One training with known truth, and what was said of it.

    Attributes:
        name: Name of the problem.
        family: The idea of its cause; shared by plant and twin.
        obstacle: The truth, one of ``OBSTACLES``.
        is_twin: Whether it is a clean twin of a planted problem.
        seed: Seed of weights and batches.
        verdict: One of ``VERDICTS``.
        secondary: Other obstacles that were listed as present.
        probabilities: A probability for each obstacle; empty if none were given.
        pattern: In which pattern of findings the verdict was reached, as ``diagnosis.calibration`` names it.
        seconds: What training and diagnosis took; NaN if unknown.
        tried: How many remedies were tried.
        remedy: The remedy that is recommended first; "" if none helped.
        gain: Its gain over the plain continuation, in loss.
    """

    name: str
    family: str
    obstacle: str
    is_twin: bool
    seed: int
    verdict: str
    secondary: tuple[str, ...] = ()
    probabilities: Mapping[str, float] = field(default_factory=dict)
    pattern: str = ""
    seconds: float = math.nan
    tried: int = 0
    remedy: str = ""
    gain: Estimate = MISSING

    def __post_init__(self) -> None:
        """Refuse a truth or a verdict that is not in the contract."""
        if self.obstacle not in OBSTACLES:
            raise SettingError(f"obstacle must be one of {OBSTACLES}, got {self.obstacle!r}. Correct the spelling.")
        if self.verdict not in VERDICTS:
            raise SettingError(f"verdict must be one of {VERDICTS}, got {self.verdict!r}. Correct the spelling.")

    @property
    def is_right(self) -> bool:
        """Whether the first verdict is the truth."""
        return self.verdict == self.obstacle

    @property
    def is_alarm(self) -> bool:
        """Whether an obstacle is named in a healthy training; *undetermined* is wrong, but no alarm."""
        return self.obstacle == "none" and self.verdict not in ("none", UNDETERMINED)

    @property
    def is_helped(self) -> bool:
        """Whether the first remedy beats the plain continuation by more than two errors, or alone does not diverge."""
        return bool(self.remedy) and (self.gain.value == math.inf or self.gain.is_above(0.0))

    @property
    def guess(self) -> str:
        """The obstacle of the greatest probability; of equal ones the first; "" without probabilities."""
        return max(self.probabilities, key=lambda name: self.probabilities[name], default="")


@dataclass(frozen=True)
class Share:
    """How many of how many, with the 95 % interval of the underlying probability.

    Attributes:
        right: How many.
        total: Of how many.

    Source: Wilson 1927; covers well for few cases and near 0 and 1, where the normal interval does not.
    """

    right: int
    total: int

    @property
    def value(self) -> float:
        """The share; NaN of nothing."""
        return self.right / self.total if self.total else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end; 0 and 1 of nothing."""
        if not self.total:
            return 0.0, 1.0
        share, squared = self.right / self.total, _Z**2 / self.total
        middle = (share + squared / 2) / (1 + squared)
        half = math.sqrt(squared * (share * (1 - share) + squared / 4)) / (1 + squared)
        return max(0.0, middle - half), min(1.0, middle + half)

    def __str__(self) -> str:
        """For tables: "23 of 25 (92 %, 75 to 98)"."""
        if not self.total:
            return "–"
        low, high = self.interval
        return f"{self.right} of {self.total} ({100 * self.value:.0f} %, {100 * low:.0f} to {100 * high:.0f})"


def counted(cases: Iterable[Case], is_so: Callable[[Case], bool]) -> Share:
    """How many cases are so.

    Args:
        cases: The cases.
        is_so: What is asked of each.

    Returns:
        The share.
    """
    answers = [is_so(case) for case in cases]
    return Share(sum(answers), len(answers))


@dataclass(frozen=True)
class Overview:
    """The few numbers that matter most.

    Attributes:
        right: First verdict is the truth, all cases.
        planted: The same of planted obstacles.
        healthy: The same of healthy runs and twins.
        alarms: An obstacle is named, of healthy runs and twins.
        abstained: *Undetermined*, all cases.
        cured: The first remedy beats the plain continuation, of planted cases of ``CURABLE`` obstacles for which
            remedies were tried.
    """

    right: Share
    planted: Share
    healthy: Share
    alarms: Share
    abstained: Share
    cured: Share


def overview(cases: Sequence[Case]) -> Overview:
    """The numbers over all cases.

    Args:
        cases: The cases.

    Returns:
        Six shares.
    """
    ill = [case for case in cases if case.obstacle != "none"]
    well = [case for case in cases if case.obstacle == "none"]
    return Overview(
        right=counted(cases, lambda case: case.is_right),
        planted=counted(ill, lambda case: case.is_right),
        healthy=counted(well, lambda case: case.is_right),
        alarms=counted(well, lambda case: case.is_alarm),
        abstained=counted(cases, lambda case: case.verdict == UNDETERMINED),
        cured=remedied(case for case in ill if case.obstacle in CURABLE),
    )


def remedied(cases: Iterable[Case]) -> Share:
    """In how many cases the remedy that is recommended first beats the plain continuation beyond its error.

    Args:
        cases: The cases; those for which nothing was tried are left out, as are healthy ones.

    Returns:
        The share; a case in which no remedy helped counts against it.

    Limits: the gain was measured on the branches by which the remedy was chosen, and the best of several is a little
    better by chance.
    """
    return counted((c for c in cases if c.obstacle != "none" and c.tried), lambda case: case.is_helped)


def confusion(cases: Iterable[Case]) -> Int[np.ndarray, "obstacles verdicts"]:
    """How often each truth got each verdict.

    Args:
        cases: The cases.

    Returns:
        Counts: a row for each of ``OBSTACLES``, a column for each of ``VERDICTS``.
    """
    counts = np.zeros((len(OBSTACLES), len(VERDICTS)), np.int64)
    for case in cases:
        counts[OBSTACLES.index(case.obstacle), VERDICTS.index(case.verdict)] += 1
    return counts


@dataclass(frozen=True)
class Standing:
    """How the cases of one group fared.

    Attributes:
        name: The group: an obstacle or a family.
        right: First verdict is the truth.
        listed: Wrong, but the truth is among the other obstacles that were listed.
        undetermined: How many got no verdict.
        wrong: Wrong verdicts and how often each was given, the most frequent first.
        cured: As ``remedied``.
    """

    name: str
    right: Share
    listed: int
    undetermined: int
    wrong: tuple[tuple[str, int], ...]
    cured: Share


def standings(cases: Iterable[Case], key: Callable[[Case], str]) -> tuple[Standing, ...]:
    """How each group of cases fared.

    Args:
        cases: The cases.
        key: Tells a case's group: its obstacle or its family.

    Returns:
        Groups in order of first appearance.
    """
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(key(case), []).append(case)
    return tuple(_standing(name, group) for name, group in groups.items())


def _standing(name: str, cases: Sequence[Case]) -> Standing:
    wrong = Counter(case.verdict for case in cases if not case.is_right and case.verdict != UNDETERMINED)
    return Standing(
        name,
        right=counted(cases, lambda case: case.is_right),
        listed=sum(not case.is_right and case.obstacle in case.secondary for case in cases),
        undetermined=sum(case.verdict == UNDETERMINED for case in cases),
        wrong=tuple(wrong.most_common()),
        cured=remedied(cases),
    )


@dataclass(frozen=True, eq=False)
class Reliability:
    """Whether obstacles that are given a probability p are the truth in a share p of cases.

    Attributes:
        edges: Edges of the bins of the greatest probability; a bin holds its upper edge.
        confidence: Mean greatest probability in each bin; NaN in an empty one.
        right: How often the obstacle of the greatest probability was the truth, for each bin.
        error: Expected calibration error Σ (n_b / n) |confidence_b − right_b|; NaN without cases.

    Limits: positive by chance alone, about Σ √(n_b p_b (1 − p_b)) / n with probabilities that are exact.
    Source: Guo, Pleiss, Sun & Weinberger 2017, equation 5.
    """

    edges: Float[np.ndarray, "edges"]
    confidence: Float[np.ndarray, "bins"]
    right: tuple[Share, ...]
    error: float


def reliability(cases: Iterable[Case], bins: int = BINS) -> Reliability:
    """Calibration of the greatest probability, in bins of equal width.

    A case without a verdict counts too: its greatest probability is a statement like any other.

    Args:
        cases: The cases; those without probabilities are left out.
        bins: How many bins.

    Returns:
        The bins and the expected calibration error.

    Raises:
        SettingError: If there is no bin.
    """
    if bins < 1:
        raise SettingError(f"bins must be at least 1, got {bins}. Leave it out for {BINS}.")
    told = [case for case in cases if case.probabilities]
    tops = np.array([case.probabilities[case.guess] for case in told])
    truths = np.array([case.guess == case.obstacle for case in told], np.int64)
    edges = np.arange(bins + 1) / bins
    places = np.clip(np.searchsorted(edges, tops) - 1, 0, bins - 1)
    counts, sums, hits = (np.bincount(places, each, bins) for each in (np.ones(len(told)), tops, truths))
    with np.errstate(invalid="ignore"):
        means = sums / counts
    error = float(np.abs(sums - hits).sum() / len(told)) if told else math.nan
    return Reliability(edges, means, tuple(Share(int(h), int(c)) for h, c in zip(hits, counts, strict=True)), error)


def misses(cases: Iterable[Case]) -> list[str]:
    """Every wrong verdict by name.

    Args:
        cases: The cases.

    Returns:
        A line for each.
    """
    return [
        f"{case.name}, seed {case.seed}: {case.verdict} instead of {case.obstacle}"
        + (", which is listed" if case.obstacle in case.secondary else "")
        for case in cases
        if not case.is_right
    ]
