"""Which obstacle is it? All rules are heard; the one whose removal would gain most is named."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from theodolite.diagnosis.calibration import CONFIDENCE, probabilities
from theodolite.diagnosis.evidence import Evidence, gather, is_diverged
from theodolite.diagnosis.rules import RULES
from theodolite.diagnosis.rules.parts import NO_SURVEY, best_move, usable
from theodolite.diagnosis.rules.thresholds import FAR_GAIN, TENTH
from theodolite.diagnosis.timeline import timeline
from theodolite.diagnosis.words import summary
from theodolite.records import OBSTACLES, UNDETERMINED, Diagnosis, Finding, Findings, Remedy, Run, Verdict

_BEFORE_NONE = ("overfitting", "no_minimum")
"""Obstacles of runs whose loss falls, the graver first: not the loss is at fault, but what it is taken for."""

_TIES = ("dead_units", "step_too_large", "saddle_point", "gradient_noise", "step_too_small", "plateau", "local_minimum")
"""Where effects are equal or unknown, the more specific obstacle goes first."""

_WITHOUT_GAIN = ("plateau", "local_minimum")
"""Obstacles that no local move lifts: that nothing was gained says nothing against them."""

_NO_STEP = "a step: the optimizer that was given to the monitor has made none; does the loop call optimizer.step()?"
_NOT_BLOWN_UP = "a run whose loss has not blown up: where it has, nothing else can be told"
_NO_SURVEY = "no survey was made: judged from the series alone"


def diagnose(run: Run | str | Path) -> Diagnosis:
    """Which obstacle slows a recorded training, from its record alone.

    Args:
        run: The run, or its folder. Its series are the evidence, and its survey where ``Monitor.diagnose`` made one.

    Returns:
        The diagnosis; "undetermined" where evidence is missing or weak.

    Raises:
        RunError: If the run cannot be read.

    Cost: reads the series once; no model is run.
    """
    opened = run if isinstance(run, Run) else Run(run)
    judged = judge(gather(opened), run=str(opened.path))
    return replace(judged, timeline=timeline(opened, judged.obstacle))


def judge(evidence: Evidence, *, run: str = "") -> Diagnosis:
    """Hear every rule and name the obstacle.

    Args:
        evidence: The evidence.
        run: Folder of the run, to be kept in the diagnosis.

    Returns:
        The diagnosis.
    """
    findings = _heard(evidence)
    present = [finding for finding in findings if finding.verdict is Verdict.PRESENT and finding.obstacle != "none"]
    ranked = sorted(present, key=_rank)
    obstacle = _named(findings, ranked)
    secondary = [finding for finding in ranked if finding.obstacle != obstacle]
    named = None if obstacle == UNDETERMINED else findings[obstacle]
    others = tuple(finding.obstacle for finding in secondary)
    survey = evidence.survey
    return Diagnosis(
        obstacle=obstacle,
        probabilities=probabilities(findings, obstacle),
        findings=findings,
        remedies=evidence.remedies,
        summary=summary(obstacle, named, others, _helpful(evidence) if obstacle == "none" else None),
        secondary=others,
        calibrated=bool(CONFIDENCE),
        run=run,
        notes=(*evidence.notes, *(survey.notes if survey is not None else (_NO_SURVEY,))),
    )


def _heard(evidence: Evidence) -> Findings:
    """What every rule says; of a run without a single step of the optimizer none can say anything."""
    if evidence.history.steps < 1:
        return Findings(tuple(Finding(name, Verdict.UNDETERMINED, missing=_NO_STEP) for name in OBSTACLES))
    heard = tuple(RULES[name](evidence) for name in OBSTACLES)
    if is_diverged(evidence.survey, evidence.history):
        heard = tuple(replace(one, missing=_NOT_BLOWN_UP) if one.missing == NO_SURVEY else one for one in heard)
    return _by_exclusion(evidence, Findings(heard))


def _by_exclusion(evidence: Evidence, findings: Findings) -> Findings:
    """A steady fall, slow as a share of all that is left, is ``none`` where nothing is found or likely in its way."""
    trend = findings["none"]
    others = [finding for finding in findings if finding.obstacle != "none"]
    is_clear = not any(_is_in_the_way(finding) for finding in others)
    is_well = is_clear and evidence.is_steady and evidence.is_confirmed and not evidence.is_overtaken
    is_broken = is_diverged(evidence.survey, evidence.history)
    if trend.verdict is Verdict.PRESENT or is_broken or not is_well or _has_shortcut(evidence):
        return findings
    why = "a steady fall for all that has gone so far, and nothing is found in its way"
    steady = replace(trend, verdict=Verdict.PRESENT, missing="", evidence=(*trend.evidence, why))
    return Findings((steady, *others))


def _has_shortcut(evidence: Evidence) -> bool:
    """Whether a single move that follows gradient or curvature takes a third of the excess: it could go far faster."""
    survey = usable(evidence)
    return survey is not None and best_move(evidence, survey).value > FAR_GAIN


def _is_in_the_way(finding: Finding) -> bool:
    """Whether an obstacle is there or may be, and its removal gains a tenth of the excess or nobody knows how much."""
    if finding.verdict is Verdict.PRESENT:
        return not finding.effect.value < TENTH or finding.obstacle in _WITHOUT_GAIN
    return finding.verdict is Verdict.UNDETERMINED and finding.effect.value > TENTH


def _named(findings: Findings, ranked: Sequence[Finding]) -> str:
    """The verdict, from what is present, the greatest effect first."""
    before = next((name for name in _BEFORE_NONE if findings[name].verdict is Verdict.PRESENT), "")
    trend = findings["none"].verdict
    if before or trend is Verdict.PRESENT:
        return before or "none"
    is_told = bool(ranked) and (trend is Verdict.ABSENT or _is_told_by_survey(ranked[0]))
    return ranked[0].obstacle if is_told else UNDETERMINED


def _rank(finding: Finding) -> tuple[float, int]:
    """Greatest effect first, then the more specific."""
    effect = finding.effect.value if finding.effect.is_finite else 0.0
    return -round(effect, 3), _TIES.index(finding.obstacle) if finding.obstacle in _TIES else len(_TIES)


def _helpful(evidence: Evidence) -> Remedy | None:
    """The cure that helped most and as much again as the plain continuation, if there is one."""
    helped = [remedy for remedy in evidence.remedies if remedy.helped and remedy.gain.value > remedy.baseline.value]
    return max(helped, key=lambda remedy: remedy.gain.value, default=None)


def _is_told_by_survey(finding: Finding) -> bool:
    """Whether a finding stands without a trend of the loss: its effect was measured, and is large."""
    return finding.effect.is_above(0.1, 1.0) and finding.effect.is_above(0.0)
