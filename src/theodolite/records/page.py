"""How is a diagnosis read without a browser: a page for the terminal, and a script-free one for notebooks.

Both take anything shaped like a diagnosis, so that the diagnosis itself can use them.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from textwrap import fill
from types import MappingProxyType
from typing import Protocol

from theodolite.records.estimates import Estimate
from theodolite.records.obstacles import UNDETERMINED, Verdict
from theodolite.records.timeline import Window
from theodolite.records.words import several

HEADLINES = MappingProxyType(
    {
        "none": "Nothing is in the way",
        "step_too_small": "The step is too small",
        "step_too_large": "The step is too large",
        "ill_conditioning": "No single step size fits",
        "gradient_noise": "The gradient is mostly noise",
        "saddle_point": "It is held at a saddle point",
        "local_minimum": "It sits in a local minimum",
        "plateau": "It stands on a plateau",
        "cliff": "It runs into cliffs",
        "no_minimum": "There is no minimum to reach",
        "nonlocal_structure": "Local information misleads",
        "overfitting": "It is overfitting",
        "dead_units": "Units have died",
        UNDETERMINED: "The obstacle is undetermined",
    }
)
"""The verdict in plain words, by obstacle."""

SYMBOLS = MappingProxyType({Verdict.PRESENT: "●", Verdict.ABSENT: "○", Verdict.UNDETERMINED: "?"})
"""A sign for each verdict, beside its word."""

_WIDTH = 88


class Found(Protocol):
    """What is read of a finding."""

    @property
    def obstacle(self) -> str:
        """Name of the obstacle."""

    @property
    def verdict(self) -> Verdict:
        """What the evidence says."""

    @property
    def statistic(self) -> Estimate:
        """The deciding number."""

    @property
    def threshold(self) -> float:
        """What it is compared with."""

    @property
    def meaning(self) -> str:
        """What the number is."""

    @property
    def evidence(self) -> tuple[str, ...]:
        """Sentences that support the verdict."""

    @property
    def missing(self) -> str:
        """What would settle it."""

    @property
    def needs(self) -> str:
        """On which side of the threshold the number must lie."""


class Tried(Protocol):
    """What is read of a remedy."""

    @property
    def name(self) -> str:
        """What was changed."""

    @property
    def gain(self) -> Estimate:
        """What it gained over the plain continuation."""

    @property
    def reached(self) -> float:
        """J where its branches end."""

    @property
    def steps(self) -> int:
        """How long each branch was."""

    @property
    def note(self) -> str:
        """What the trial leaves out."""


class Judged(Protocol):
    """What is read of a diagnosis."""

    @property
    def obstacle(self) -> str:
        """The verdict."""

    @property
    def probabilities(self) -> dict[str, float]:
        """A probability for each obstacle."""

    @property
    def findings(self) -> Iterable[Found]:
        """A finding on each obstacle."""

    @property
    def remedies(self) -> Iterable[Tried]:
        """The cures that were tried."""

    @property
    def summary(self) -> str:
        """The verdict in words."""

    @property
    def secondary(self) -> tuple[str, ...]:
        """Other obstacles that are present."""

    @property
    def calibrated(self) -> bool:
        """Whether the probabilities were calibrated."""

    @property
    def timeline(self) -> tuple[Window, ...]:
        """What limited progress when."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the judgement leaves out."""


def plain(obstacle: str) -> str:
    """The name of an obstacle with spaces: ``step too small``."""
    return obstacle.replace("_", " ")


def headline(obstacle: str) -> str:
    """The verdict in plain words."""
    return HEADLINES.get(obstacle, plain(obstacle).capitalize())


_LEAD = 1.5
"""Of an undetermined verdict the likeliest obstacle is told only if it leads the next by half."""


def confidence(diagnosis: Judged) -> str:
    """How sure the verdict is, in words; empty where there is no probability for it."""
    likely = diagnosis.probabilities.get(diagnosis.obstacle, math.nan)
    if diagnosis.obstacle == UNDETERMINED:
        ranked = _ranked(diagnosis.probabilities)
        leads = len(ranked) > 1 and ranked[0][1] > _LEAD * ranked[1][1] and ranked[0][0] in diagnosis.secondary
        return f"Most likely {plain(ranked[0][0])}, {_percent(ranked[0][1])}" if leads else ""
    if not math.isfinite(likely):
        return ""
    counted = "as such verdicts were right on the zoo"
    return f"{_percent(likely)} sure, {counted if diagnosis.calibrated else 'not yet calibrated on known problems'}"


def _ranked(probabilities: Mapping[str, float]) -> list[tuple[str, float]]:
    finite = [(name, value) for name, value in probabilities.items() if math.isfinite(value)]
    return sorted(finite, key=lambda pair: -pair[1])


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def text_page(diagnosis: Judged) -> str:
    """A page for the terminal: verdict, summary, evidence, all findings, remedies.

    Args:
        diagnosis: The diagnosis.

    Returns:
        Lines of at most 88 characters, as far as single words allow.
    """
    parts = [f"{headline(diagnosis.obstacle).upper()}  ({diagnosis.obstacle})", confidence(diagnosis)]
    parts += ["", _wrap(diagnosis.summary)] if diagnosis.summary else []
    findings = list(diagnosis.findings)
    main = [finding for finding in findings if finding.obstacle == diagnosis.obstacle]
    lines = [_wrap(f"- {sentence}", "  ") for finding in main for sentence in finding.evidence]
    parts += ["", "Evidence", *lines] if lines else []
    if diagnosis.secondary:
        parts += ["", _wrap("Also present: " + ", ".join(map(plain, diagnosis.secondary)) + ".")]
    parts += ["", "Findings", *_finding_lines(findings)] if findings else []
    parts += ["", "What limited progress when", *_timeline_lines(diagnosis.timeline)] if diagnosis.timeline else []
    tried = [_remedy_line(remedy) for remedy in diagnosis.remedies]
    parts += ["", "Tried on branches of this run (gain in loss over the plain continuation)", *tried] if tried else []
    parts += ["", *(_wrap(f"Note: {note}", "  ") for note in diagnosis.notes)] if diagnosis.notes else []
    return "\n".join(part for index, part in enumerate(parts) if part or index > 1)


def _wrap(text: str, indent: str = "") -> str:
    return fill(" ".join(text.split()), _WIDTH, subsequent_indent=indent)


def compared(finding: Found) -> str:
    """The statistic beside its threshold; empty if nothing was measured."""
    if not finding.statistic.is_finite:
        return ""
    against = f"  (needs {finding.needs} {finding.threshold:.3g})" if math.isfinite(finding.threshold) else ""
    return f"{finding.statistic}{against}"


def _is_passed(finding: Found) -> bool:
    """Whether the statistic is beyond its threshold: a verdict that says otherwise has to explain itself."""
    value = finding.statistic.value
    return value > finding.threshold if finding.needs == ">" else value < finding.threshold


def _finding_lines(findings: list[Found]) -> list[str]:
    """A line for each finding; those that miss the same thing share one, at the end."""
    groups: dict[str, list[Found]] = {}
    for finding in findings:
        groups.setdefault(finding.missing or finding.obstacle, []).append(finding)
    alone = [_finding_line(group[0]) for group in groups.values() if len(group) == 1]
    shared = [_shared_line(group) for group in groups.values() if len(group) > 1]
    return [*alone, *shared]


def _shared_line(findings: list[Found]) -> str:
    names = ", ".join(plain(finding.obstacle) for finding in findings)
    line = f"{SYMBOLS[findings[0].verdict]} {findings[0].verdict}: {names}; missing: {findings[0].missing}"
    return fill(line, _WIDTH, initial_indent="  ", subsequent_indent="    ")


def _finding_line(finding: Found) -> str:
    numbers = compared(finding) or (f"missing: {finding.missing}" if finding.missing else "")
    is_against = finding.verdict is (Verdict.ABSENT if _is_passed(finding) else Verdict.PRESENT)
    if is_against and compared(finding) and finding.evidence:
        numbers = f"{numbers}; but {finding.evidence[-1]}"
    line = f"  {SYMBOLS[finding.verdict]} {plain(finding.obstacle):<19} {finding.verdict:<13} {numbers}".rstrip()
    return fill(line, _WIDTH, subsequent_indent=" " * 38, drop_whitespace=True)


def _timeline_lines(windows: Sequence[Window]) -> list[str]:
    """A line for each window, steps in a column."""
    spans = [f"steps {window.first}–{window.last}" for window in windows]
    width = max(map(len, spans))
    return [
        _wrap(f"- {span:<{width}}  {plain(window.obstacle)}" + (f": {window.why}" if window.why else ""), "    ")
        for span, window in zip(spans, windows, strict=True)
    ]


def outcome(remedy: Tried) -> str:
    """The gain of a remedy in words: a number with its error, or how the branches diverged."""
    if remedy.gain.value == math.inf:
        reached = f"; with it J comes to {remedy.reached:.3g}" if math.isfinite(remedy.reached) else ""
        return f"the run diverges without it{reached}"
    if remedy.gain.value == -math.inf:
        return "diverged"
    return f"{remedy.gain.value:+.3g} ± {remedy.gain.error:.2g}" if remedy.gain.is_finite else "not measured"


def _remedy_line(remedy: Tried) -> str:
    note = f" ({remedy.note})" if remedy.note else ""
    return _wrap(f"- {remedy.name}: {outcome(remedy)} in {several(remedy.steps, 'step')}{note}", "  ")


_STYLE = (
    "font:14px/1.5 system-ui,sans-serif;max-width:46rem;border-left:3px solid currentColor;padding:.2rem 0 .2rem 1rem"
)


def html_page(diagnosis: Judged) -> str:
    """A fragment for notebooks: no script, nothing loaded, every text escaped.

    Args:
        diagnosis: The diagnosis.

    Returns:
        One ``<div>``.
    """
    rows = "".join(_finding_row(finding) for finding in diagnosis.findings)
    tried = "".join(_remedy_row(remedy) for remedy in diagnosis.remedies)
    parts = [
        f'<div style="{_STYLE}">',
        f'<div style="font-size:1.5em;font-weight:650">{escape(headline(diagnosis.obstacle))}</div>',
        f'<div style="opacity:.7">{escape(diagnosis.obstacle)} · {escape(confidence(diagnosis))}</div>',
        f"<p>{escape(diagnosis.summary)}</p>" if diagnosis.summary else "",
        _details("Tried on branches of this run", ("remedy", "gain in loss", "steps"), tried, is_open=True),
        _details("Every obstacle", ("", "obstacle", "verdict", "statistic", "why"), rows, is_open=False),
        "".join(f'<p style="opacity:.7">{escape(note)}</p>' for note in diagnosis.notes),
        "</div>",
    ]
    return "".join(parts)


def _details(title: str, columns: tuple[str, ...], rows: str, *, is_open: bool) -> str:
    if not rows:
        return ""
    head = "".join(f'<th scope="col" style="text-align:left;padding:.2em 1em .2em 0">{name}</th>' for name in columns)
    return (
        f"<details{' open' if is_open else ''}><summary>{escape(title)}</summary>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></details>"
    )


def _cells(*texts: str) -> str:
    style = "text-align:left;vertical-align:top;padding:.2em 1em .2em 0"
    return "<tr>" + "".join(f'<td style="{style}">{escape(text)}</td>' for text in texts) + "</tr>"


def _finding_row(finding: Found) -> str:
    why = " ".join(finding.evidence) or finding.missing
    sign = SYMBOLS[finding.verdict]
    return _cells(sign, plain(finding.obstacle), str(finding.verdict), compared(finding), why)


def _remedy_row(remedy: Tried) -> str:
    return _cells(remedy.name, outcome(remedy), str(remedy.steps))
