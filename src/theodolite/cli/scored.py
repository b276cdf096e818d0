"""How is a score read: tables for a terminal, a page or a program."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from theodolite.cli.output import columns
from theodolite.cli.scoring import Failure, Judged, left_out

if TYPE_CHECKING:
    from theodolite.problems.scores import Case, Overview, Reliability, Standing

Rows = list[tuple[str, ...]]
"""A table as texts, its head first."""


def confidence_text(table: Mapping[str, tuple[int, int]]) -> str:
    """Counts by pattern as they stand in ``diagnosis.calibration``.

    Args:
        table: Pattern -> (right, total).

    Returns:
        Lines of Python.
    """
    lines = (f'        "{name}": ({right}, {total}),' for name, (right, total) in table.items())
    return "\n".join(["CONFIDENCE: Mapping[str, tuple[int, int]] = MappingProxyType(", "    {", *lines, "    }", ")"])


def told(result: Judged | Failure) -> str:
    """One result in a line.

    Args:
        result: The result.

    Returns:
        The line.
    """
    if isinstance(result, Failure):
        return f"{result.task}: failed: {result.reason}"
    case = result.case
    verdict = case.verdict if case.is_right else f"{case.verdict} instead of {case.obstacle}"
    return f"{case.name}, seed {case.seed}: {verdict}, {'stored' if result.is_stored else f'{case.seconds:.0f} s'}"


def numbers(judged: Sequence[Judged], failures: Sequence[Failure]) -> dict[str, Any]:
    """All that is known, for programs.

    Args:
        judged: What was said of each case.
        failures: What could not be judged.

    Returns:
        Cases and tables by name; probabilities are those with the case's family left out.
    """
    from theodolite.problems.scores import VERDICTS, confusion, overview, reliability, standings
    from theodolite.records import OBSTACLES

    cases = left_out(judged)
    return {
        "cases": cases,
        "failures": [{"name": one.task.problem.name, "seed": one.task.seed, "reason": one.reason} for one in failures],
        "overview": overview(cases),
        "confusion": {"rows": OBSTACLES, "columns": VERDICTS, "counts": confusion(cases)},
        "obstacles": standings(cases, lambda case: case.obstacle),
        "families": standings(cases, lambda case: case.family),
        "calibration": reliability(cases),
    }


def pages(judged: Sequence[Judged]) -> str:
    """All tables for a terminal.

    Args:
        judged: What was said of each case.

    Returns:
        Lines.
    """
    from theodolite.problems.scores import misses, overview, reliability, standings

    cases = [one.case for one in judged]
    calibrated = reliability(left_out(judged))
    numbers = range(2, 16)
    chapters = [
        ("", columns(overview_rows(overview(cases)))),
        ("Confusion: truths down, verdicts across", columns(confusion_rows(cases), right=(0, *numbers))),
        ("By obstacle", columns(standing_rows("obstacle", standings(cases, lambda case: case.obstacle)))),
        ("By family", columns(standing_rows("family", standings(cases, lambda case: case.family)))),
        (f"Calibration, each family left out: error {calibrated.error:.3f}", columns(reliability_rows(calibrated))),
        ("Every miss", "\n".join(misses(cases)) or "none"),
    ]
    return "\n\n".join(f"{title}\n{text}" if title else text for title, text in chapters)


def confusion_rows(cases: Iterable["Case"]) -> Rows:
    """The confusion matrix as texts: truths down, verdicts across by the numbers of the rows, "?" is undetermined.

    Args:
        cases: The cases.

    Returns:
        The head, and a row for each obstacle.
    """
    from theodolite.problems.scores import confusion
    from theodolite.records import OBSTACLES

    numbers = [str(place) for place in range(1, len(OBSTACLES) + 1)]
    body = [
        (number, name, *("·" if not count else str(count) for count in row))
        for number, name, row in zip(numbers, OBSTACLES, confusion(cases).tolist(), strict=True)
    ]
    return [("", "truth \\ verdict", *numbers, "?"), *body]


def standing_rows(head: str, groups: Iterable["Standing"]) -> Rows:
    """Groups as texts.

    Args:
        head: What the groups are.
        groups: The groups.

    Returns:
        The head, and a row for each group.
    """
    body = [
        (
            one.name,
            str(one.right),
            str(one.listed),
            str(one.undetermined),
            ", ".join(f"{name} {count}" for name, count in one.wrong) or "–",
            str(one.cured),
        )
        for one in groups
    ]
    return [(head, "right", "listed", "undetermined", "wrong", "remedy helped"), *body]


def reliability_rows(found: "Reliability") -> Rows:
    """The reliability table as texts, without empty bins.

    Args:
        found: The reliability.

    Returns:
        The head, and a row for each bin that holds cases.
    """
    rows = zip(found.edges[:-1], found.edges[1:], found.confidence, found.right, strict=True)
    body = [(f"{low:.2g} to {high:.2g}", f"{mean:.3f}", str(right)) for low, high, mean, right in rows if right.total]
    return [("probability", "mean", "true"), *body]


def overview_rows(found: "Overview") -> Rows:
    """The few numbers that matter most, as texts.

    Args:
        found: The numbers.

    Returns:
        A row for each; no head.
    """
    return [
        ("right as first verdict", str(found.right)),
        ("  of planted obstacles", str(found.planted)),
        ("  of healthy runs and twins", str(found.healthy)),
        ("false alarms on healthy runs and twins", str(found.alarms)),
        ("undetermined", str(found.abstained)),
        ("first remedy beats going on plainly", str(found.cured)),
    ]
