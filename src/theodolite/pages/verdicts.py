"""How is a diagnosis laid out: its headline, its findings, the gains of its remedies?"""

import math
from dataclasses import dataclass

from theodolite.plots.scales import number
from theodolite.records.diagnosis import Diagnosis, Finding, Remedy
from theodolite.records.estimates import Estimate
from theodolite.records.obstacles import Verdict
from theodolite.records.page import SYMBOLS, confidence, headline, plain
from theodolite.records.timeline import Window


@dataclass(frozen=True)
class FindingRow:
    """One obstacle in the table of findings, all as texts."""

    obstacle: str
    verdict: str
    symbol: str
    statistic: str
    threshold: str
    meaning: str
    effect: str
    evidence: tuple[str, ...]
    missing: str
    picture: str
    source: str


@dataclass(frozen=True)
class RemedyRow:
    """One remedy: its words, and its bar in percent of the width of the column."""

    name: str
    gain: str
    outcome: str
    steps: str
    note: str
    zero: float
    left: float
    width: float
    error_left: float
    error_width: float
    is_measured: bool


@dataclass(frozen=True)
class Opening:
    """The verdict, as it opens the page."""

    headline: str
    obstacle: str
    summary: str
    confidence: str
    likely: tuple[tuple[str, str, float], ...]
    evidence: tuple[str, ...]
    tried: str
    also: str
    notes: tuple[str, ...]
    picture: str
    windows: tuple[str, ...] = ()


def opening(diagnosis: Diagnosis) -> Opening:
    """The verdict in words first.

    Args:
        diagnosis: The diagnosis.

    Returns:
        What the page opens with.
    """
    main = next((finding for finding in diagnosis.findings if finding.obstacle == diagnosis.obstacle), None)
    finite = [(name, value) for name, value in diagnosis.probabilities.items() if math.isfinite(value)]
    ranked = sorted(finite, key=lambda pair: -pair[1])[:4]
    also = ", ".join(map(plain, diagnosis.secondary))
    return Opening(
        headline(diagnosis.obstacle),
        plain(diagnosis.obstacle),
        diagnosis.summary,
        confidence(diagnosis),
        tuple((plain(name), f"{100 * value:.0f} %", 100 * value) for name, value in ranked if value >= 0.005),
        tuple(map(sentence, main.evidence)) if main else (),
        _tried(diagnosis),
        f"Also present: {also}." if also else "",
        tuple(map(sentence, diagnosis.notes)),
        main.picture if main else "",
        tuple(_window(window) for window in diagnosis.timeline),
    )


def _window(window: Window) -> str:
    """What limited progress in a stretch of the run, in words."""
    told = f"Steps {window.first} to {window.last}: {plain(window.obstacle)}"
    return sentence(f"{told}; {window.why}" if window.why else told)


def sentence(text: str) -> str:
    """A text that begins with a capital, unless it begins with a symbol, and ends with a full stop."""
    if not text:
        return ""
    first = text[0].upper() if text[0].isascii() and (text[1:2].islower() or text[1:2] == " ") else text[0]
    return first + text[1:] + ("" if text[-1] in ".?!)" else ".")


def _tried(diagnosis: Diagnosis) -> str:
    if not diagnosis.remedies:
        return "No remedy was tried: a record alone cannot be continued. monitor.diagnose() tries them on branches."
    helped = [remedy for remedy in diagnosis.remedies if remedy.helped]
    count = len(diagnosis.remedies)
    tried = f"{count} remedies were tried on branches of this run" if count > 1 else "One remedy was tried on a branch"
    if not helped:
        return f"{tried}; none helped beyond its error."
    best = max(helped, key=lambda remedy: remedy.gain.value)
    return f"{tried}. Most was gained by “{best.name}”: {_signed(best.gain)} of loss in {best.steps} steps, beyond "\
        "what the plain continuation gave."  # fmt: skip


def _signed(gain: Estimate) -> str:
    sign = "+" if gain.value > 0 else ""
    return f"{sign}{number(gain.value, 3)} ± {number(gain.error, 2)}"


def finding_rows(diagnosis: Diagnosis) -> tuple[FindingRow, ...]:
    """The findings: what is present first, then undetermined, then absent; within each in the order given.

    Args:
        diagnosis: The diagnosis.

    Returns:
        A row for each.
    """
    order = {Verdict.PRESENT: 0, Verdict.UNDETERMINED: 1, Verdict.ABSENT: 2}
    first = diagnosis.obstacle
    ranked = sorted(diagnosis.findings, key=lambda one: (one.obstacle != first, order[one.verdict]))
    return tuple(_finding_row(finding) for finding in ranked)


def _finding_row(finding: Finding) -> FindingRow:
    threshold = f"{finding.needs} {number(finding.threshold, 3)}" if math.isfinite(finding.threshold) else ""
    effect = f"{number(finding.effect.value, 3)} ± {number(finding.effect.error, 2)}"
    return FindingRow(
        plain(finding.obstacle),
        str(finding.verdict),
        SYMBOLS[finding.verdict],
        _estimate(finding.statistic),
        threshold,
        sentence(finding.meaning),
        effect if finding.effect.is_finite else "",
        tuple(map(sentence, finding.evidence)),
        sentence(finding.missing),
        finding.picture,
        finding.source,
    )


def _estimate(estimate: Estimate) -> str:
    if not estimate.is_finite:
        return ""
    error = f" ± {number(estimate.error, 2)}" if math.isfinite(estimate.error) and estimate.error > 0 else ""
    return f"{number(estimate.value, 3)}{error}"


_WORST = 1.5
"""Losses are drawn to one and a half times the greatest gain."""


def remedy_rows(diagnosis: Diagnosis) -> tuple[RemedyRow, ...]:
    """The remedies with bars on a common scale, which the helpful ones set.

    A cure that made things far worse is cut off, and its row says so: else it would be all that one sees.

    Args:
        diagnosis: The diagnosis.

    Returns:
        A row for each.
    """
    known = [remedy.gain for remedy in diagnosis.remedies if remedy.gain.is_finite]
    ends = [0.0] + [gain.value + sign * _error(gain) for gain in known for sign in (-1, 1)]
    high = max(ends)
    low = max(min(ends), -_WORST * high) if high > 0 else min(ends)
    return tuple(_remedy_row(remedy, low, (high - low) or 1.0) for remedy in diagnosis.remedies)


def _error(gain: Estimate) -> float:
    return gain.error if math.isfinite(gain.error) else 0.0


def _remedy_row(remedy: Remedy, low: float, span: float) -> RemedyRow:
    gain, error = remedy.gain, _error(remedy.gain)
    value = gain.value if gain.is_finite else 0.0

    def place(at: float) -> float:
        return round(100 * (max(at, low) - low) / span, 2)

    zero = place(0.0)
    outcome = "helped" if remedy.helped else "made it worse" if gain.is_below(0.0) else "no clear change"
    return RemedyRow(
        remedy.name,
        _signed(gain) if gain.is_finite else "not measured",
        outcome if gain.is_finite else "not measured",
        f"{remedy.steps} steps, {remedy.seeds} orders of the batches" + ("; bar cut off" if value < low else ""),
        remedy.note,
        zero,
        min(zero, place(value)),
        abs(place(value) - zero),
        place(value - error),
        round(place(value + error) - place(value - error), 2),
        gain.is_finite,
    )
