"""How is a diagnosis laid out: its headline, its findings, the gains of its remedies?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from theodolite.pages.typesetting import measured, sentence, typeset
from theodolite.plots.scales import number
from theodolite.records.diagnosis import Diagnosis, Finding, Remedy
from theodolite.records.estimates import Estimate
from theodolite.records.obstacles import UNDETERMINED, Verdict
from theodolite.records.page import SYMBOLS, confidence, headline, outcome, plain
from theodolite.records.timeline import Window
from theodolite.records.words import several


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
class WindowRow:
    """One stretch of the timeline: what limited progress there, of which kind that is, and how one knows."""

    steps: str
    limit: str
    kind: str
    why: str
    again: str


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


_SHOWN = 0.005
_EVEN = 1.5
"""Obstacles of which the likeliest has less than one and a half times an equal share are about as likely."""


def opening(diagnosis: Diagnosis) -> Opening:
    """The verdict in words first.

    Args:
        diagnosis: The diagnosis.

    Returns:
        What the page opens with.
    """
    main = next((finding for finding in diagnosis.findings if finding.obstacle == diagnosis.obstacle), None)
    also = ", ".join(map(plain, diagnosis.secondary))
    return Opening(
        headline(diagnosis.obstacle),
        plain(diagnosis.obstacle),
        typeset(diagnosis.summary),
        _confidence(diagnosis),
        tuple((plain(name), f"{100 * value:.0f}\u00a0%", 100 * value) for name, value in _likely(diagnosis)),
        tuple(map(sentence, main.evidence)) if main else (),
        _tried(diagnosis),
        f"Also present: {also}." if also else "",
        tuple(map(sentence, diagnosis.notes)),
        main.picture if main else "",
    )


def _likely(diagnosis: Diagnosis) -> list[tuple[str, float]]:
    """The likeliest obstacles; none where all are about as likely, for then the first are no better than the rest."""
    ranked = sorted(
        ((name, value) for name, value in diagnosis.probabilities.items() if math.isfinite(value)),
        key=lambda pair: -pair[1],
    )
    if not ranked or ranked[0][1] <= _EVEN / len(ranked):
        return []
    return [(name, value) for name, value in ranked[:4] if value >= _SHOWN]


def _confidence(diagnosis: Diagnosis) -> str:
    """How sure the verdict is, in words."""
    has_ranks = any(map(math.isfinite, diagnosis.probabilities.values()))
    is_even = has_ranks and not _likely(diagnosis)
    return confidence(diagnosis) or ("All obstacles are about as likely" if is_even else "")


_AGAIN = ", in steps taken again from step "
"""How the timeline names numbers that were measured after the run, from a point that it came through."""


def window_rows(windows: Sequence[Window]) -> tuple[WindowRow, ...]:
    """What limited progress when; neighbours of which the same is said share a row.

    Args:
        windows: The stretches of a run.

    Returns:
        Rows, in the order of the steps.
    """
    rows: list[WindowRow] = []
    for _, group in groupby(windows, key=lambda window: (window.obstacle, window.why)):
        same = list(group)
        why, _, again = same[0].why.partition(_AGAIN)
        kind = "healthy" if same[0].obstacle == "none" else "open" if same[0].obstacle == UNDETERMINED else "limited"
        rows.append(
            WindowRow(
                f"{same[0].first}–{same[-1].last}",
                "nothing" if kind == "healthy" else plain(same[0].obstacle),
                kind,
                sentence(why),
                f"Measured in steps taken again from step {again}." if again else "",
            )
        )
    return tuple(rows)


def _tried(diagnosis: Diagnosis) -> str:
    if not diagnosis.remedies:
        return "No remedy was tried: a record alone cannot be continued. monitor.diagnose() tries them on branches."
    helped = [remedy for remedy in diagnosis.remedies if remedy.helped]
    count = len(diagnosis.remedies)
    tried = f"{count} remedies were tried on branches of this run" if count > 1 else "One remedy was tried on a branch"
    if not helped:
        return f"{tried}; none helped beyond its error."
    best = max(helped, key=lambda remedy: remedy.gain.value)
    if not best.gain.is_finite:
        return f"{tried}. Most was gained by “{best.name}”: {outcome(best)}."
    return (
        f"{tried}. Most was gained by “{best.name}”: {measured(best.gain, is_signed=True)} of loss in "
        f"{several(best.steps, 'step')}, beyond what the plain continuation gave."
    )


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
    return FindingRow(
        plain(finding.obstacle),
        str(finding.verdict),
        SYMBOLS[finding.verdict],
        measured(finding.statistic),
        threshold,
        sentence(finding.meaning),
        measured(finding.effect),
        tuple(map(sentence, finding.evidence)),
        sentence(finding.missing),
        finding.picture,
        finding.source,
    )


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


def _change(remedy: Remedy) -> str:
    """What a remedy did, in words; a branch that diverged needs no error to tell."""
    if math.isnan(remedy.gain.value):
        return "not measured"
    if remedy.helped:
        return "helped"
    return "made it worse" if remedy.gain.is_below(0.0) or remedy.gain.value == -math.inf else "no clear change"


def _remedy_row(remedy: Remedy, low: float, span: float) -> RemedyRow:
    gain, error = remedy.gain, _error(remedy.gain)
    value = gain.value if gain.is_finite else 0.0

    def place(at: float) -> float:
        return round(100 * (max(at, low) - low) / span, 2)

    zero = place(0.0)
    known = measured(gain, is_signed=True) or outcome(remedy)
    tried = f"{several(remedy.steps, 'step')}, {several(remedy.seeds, 'order')} of the batches"
    return RemedyRow(
        remedy.name,
        known,
        _change(remedy),
        tried + ("; bar cut off" if value < low else ""),
        "" if remedy.note == known else typeset(remedy.note),
        zero,
        min(zero, place(value)),
        abs(place(value) - zero),
        place(value - error),
        round(place(value + error) - place(value - error), 2),
        gain.is_finite,
    )
