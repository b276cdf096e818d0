"""How much is a verdict to be trusted? As often as verdicts of its kind were right on problems with known truth."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Protocol

from theodolite.errors import SettingError
from theodolite.records import OBSTACLES, UNDETERMINED, Findings, Verdict

PATTERNS: tuple[str, ...] = (
    "none alone",
    "none beside others",
    "one alone",
    "one of several",
    "without a trend",
    "undetermined",
)
"""The kinds of verdicts. *None alone*: healthy, and no obstacle is present; *none beside others*: healthy, though some
are. *One alone*, *one of several*: an obstacle is named, and it is the only one that is present, or is not. *Without a
trend*: an obstacle is named although it is undetermined whether the loss still falls."""

CONFIDENCE: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "none alone": (83, 83),
        "none beside others": (33, 33),
        "one alone": (81, 81),
        "one of several": (11, 11),
        "without a trend": (7, 7),
    }
)
"""Pattern -> in how many of how many cases of the zoo such a verdict was right, as ``theodolite zoo score --calibrate``
prints it: 217 problems, one seed."""

_WEIGHTS = {Verdict.PRESENT: 1.0, Verdict.UNDETERMINED: 0.1, Verdict.ABSENT: 0.01}
"""How the rest is shared among the obstacles that are not named: an order of magnitude from verdict to verdict. Not
calibrated; it matters for which obstacle to look at next, not for how sure the first one is."""


class Judged(Protocol):
    """A case with known truth, and what was said of it."""

    @property
    def family(self) -> str:
        """The idea of its cause."""
        ...

    @property
    def obstacle(self) -> str:
        """The truth."""
        ...

    @property
    def verdict(self) -> str:
        """The obstacle that was named, or "undetermined"."""
        ...

    @property
    def secondary(self) -> tuple[str, ...]:
        """The other obstacles that are present."""
        ...

    @property
    def pattern(self) -> str:
        """The kind of the verdict, as ``pattern`` tells it."""
        ...


def pattern(findings: Findings, obstacle: str) -> str:
    """Of which kind a verdict is.

    Args:
        findings: What was found on every obstacle.
        obstacle: The obstacle that was named, or "undetermined".

    Returns:
        One of ``PATTERNS``.

    Raises:
        SettingError: If it is no obstacle.
    """
    _check(obstacle)
    if obstacle == UNDETERMINED:
        return "undetermined"
    others = [name for name in _present(findings) if name != obstacle]
    if obstacle == "none":
        return "none beside others" if others else "none alone"
    if _verdict(findings, "none") is Verdict.UNDETERMINED:
        return "without a trend"
    return "one of several" if others else "one alone"


def confidences(cases: Iterable[Judged], *, without: str = "") -> dict[str, tuple[int, int]]:
    """How often verdicts of each pattern were right.

    A named obstacle is right if it is the truth. Where none was named, right means that the truth is among those that
    are present; cases in which none is present say nothing, and are not counted.

    Args:
        cases: Cases with known truth.
        without: A family that is left out: plant and twin share a cause, and are left out together.

    Returns:
        Pattern -> (right, total), in the order of ``PATTERNS``; patterns that did not occur are missing.

    Raises:
        SettingError: If a case has none of ``PATTERNS``.
    """
    counts = dict.fromkeys(PATTERNS, (0, 0))
    for case in cases:
        if case.pattern not in counts:
            raise SettingError(f"pattern must be one of {PATTERNS}, got {case.pattern!r}. Take what pattern() returns.")
        if case.family == without:
            continue
        candidates = case.secondary if case.verdict == UNDETERMINED else (case.verdict,)
        if candidates:
            right, total = counts[case.pattern]
            counts[case.pattern] = right + (case.obstacle in candidates), total + 1
    return {name: (right, total) for name, (right, total) in counts.items() if total}


def probabilities(
    findings: Findings, obstacle: str, confidence: Mapping[str, tuple[int, int]] = CONFIDENCE
) -> dict[str, float]:
    """A probability for each obstacle.

    The named obstacle has (right + 1) / (total + 2), with right of total the counts of the verdict's pattern; the
    others share the rest by what was found on each. Where no obstacle is named, those that are present share that
    probability equally. Where none is present either, all share by what was found.

    The first number means: of verdicts of this kind on families of the zoo, so large a share was right. It knows
    nothing else of this run, and holds for a training of yours as far as the zoo is like it.

    Args:
        findings: What was found on every obstacle; one on which there is no finding is undetermined.
        obstacle: The obstacle that was named, or "undetermined".
        confidence: Pattern -> (right, total); a pattern that is missing has (0, 0), hence 1/2.

    Returns:
        Obstacle -> probability, in the order of ``OBSTACLES``; they sum to 1.

    Raises:
        SettingError: If it is no obstacle, or counts are not 0 <= right <= total.

    Source: Laplace's rule of succession, the mean of the posterior of a share under a uniform prior.
    """
    right, total = confidence.get(pattern(findings, obstacle), (0, 0))
    if not 0 <= right <= total:
        raise SettingError(f"counts must be 0 <= right <= total, got {right} of {total}. Take those of confidences().")
    named = _present(findings) if obstacle == UNDETERMINED else (obstacle,)
    sure = (right + 1) / (total + 2) if named else 0.0
    weights = {name: _WEIGHTS[_verdict(findings, name)] for name in OBSTACLES if name not in named}
    scale = sum(weights.values())
    return {name: sure / len(named) if name in named else (1 - sure) * weights[name] / scale for name in OBSTACLES}


def _check(obstacle: str) -> None:
    """Refuse what is no verdict."""
    if obstacle not in (*OBSTACLES, UNDETERMINED):
        raise SettingError(
            f"obstacle must be one of {OBSTACLES} or {UNDETERMINED!r}, got {obstacle!r}. Correct the spelling."
        )


def _verdict(findings: Findings, obstacle: str) -> Verdict:
    """What was found on an obstacle; missing evidence is never "absent"."""
    return findings[obstacle].verdict if obstacle in findings else Verdict.UNDETERMINED


def _present(findings: Findings) -> tuple[str, ...]:
    """The obstacles that are present, ``none`` aside."""
    return tuple(name for name in OBSTACLES if name != "none" and _verdict(findings, name) is Verdict.PRESENT)
