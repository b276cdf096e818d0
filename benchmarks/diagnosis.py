"""How often is the verdict right? Every problem of the zoo, and the peers that promise a diagnosis on a part of it.

    OMP_NUM_THREADS=1 python benchmarks/diagnosis.py [--seeds 1] [--jobs 2] [--only TEXT] [--limit N] [--who ours|peers]

What has been trained or asked once is kept under runs/zoo and not done again, so that it can be stopped and goes on
where it was. The peers need the environment of benchmarks/peers.txt; without it their stored answers are told. Writes
benchmarks/results/diagnosis.md; with --only or --limit it is printed alone.
"""

import argparse
import platform
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch
from peers.doctors import DOCTORS
from peers.rounds import Answer, answers, consult, installed, subset, tally

from theodolite.cli.scored import (
    Rows,
    confusion_rows,
    overview_rows,
    reliability_rows,
    standing_rows,
    told,
)
from theodolite.cli.scoring import Failure, Judged, judge_stored, left_out, score, tasks
from theodolite.problems import PROBLEMS, Problem
from theodolite.problems.scores import Case, Share, counted, misses, overview, reliability, standings

RESULT = Path(__file__).parent / "results" / "diagnosis.md"
RUNS = Path("runs/zoo/score")
PEERS = Path("runs/zoo/peers")

NOTES = """The problems and the rules come from the same authors: this is the least that must hold, not an error rate
on foreign trainings. *Right*: the first verdict is what was planted; *undetermined* is wrong, but no false alarm.
*Listed*: wrong, but what was planted is among the other obstacles. *Remedy helped*: of planted cases for which remedies
were tried, those in which the first beats going on plainly by two errors; the line at the top leaves out obstacles that
no way of going on can lift. Probabilities are calibrated on all families but the case's own, and binned by the greatest
one in bins of equal width. Intervals: 95 % (Wilson); runs of one family are alike, so true intervals are wider."""

PEER_NOTES = """On one plant of each family, the shortest, with its clean twin, and on the healthy families: the same
runs for all, same seeds, each peer at its defaults in a plain loop as its README shows it. A peer's word is right if it
may be read as what was planted, by the generous reading below; *first* is the word that it puts first, *among* any of
them. *Alarm*: it says anything at all of a healthy run, informational notes aside. None of them claims classes such as
saddles or conditioning. Where one failed it said nothing: that is no alarm, and its words tell why."""


def markdown(rows: Rows) -> list[str]:
    """A table, its head first."""
    lines = [f"| {' | '.join(cell.strip() for cell in row)} |" for row in rows]
    return ["", lines[0], "|" + "---|" * len(rows[0]), *lines[1:], ""]


def environment(cases: Sequence[Case], load: float) -> str:
    seeds = len({case.seed for case in cases})
    names = len({case.name for case in cases})
    families = len({case.family for case in cases})
    return (
        f"`benchmarks/diagnosis.py`, {datetime.now(UTC):%Y-%m-%d}: {names} problems of {families} families, {seeds} "
        f"seed{'s' * (seeds > 1)}, monitor at its defaults, one thread each. Python {platform.python_version()}, torch "
        f"{torch.__version__}, {platform.machine()}, {platform.system()}; load {load:.1f} when it was written."
    )


def ours(judged: Sequence[Judged], failures: Sequence[Failure], left: Sequence[Problem]) -> list[str]:
    """The chapter on Theodolite's verdicts."""
    cases = left_out(judged)
    found = reliability(cases)
    lost = [f"* {one}" for one in failures] + [f"* {one.name}: its data, {one.needs}, were not there" for one in left]
    return [
        *markdown([("of all cases", ""), *overview_rows(overview(cases))]),
        "## Confusion",
        *markdown(confusion_rows(cases)),
        "## By obstacle",
        *markdown(standing_rows("obstacle", standings(cases, lambda case: case.obstacle))),
        "## By family",
        *markdown(standing_rows("family", standings(cases, lambda case: case.family))),
        "## Calibration",
        "",
        f"Expected calibration error, each family left out: {found.error:.3f}.",
        *markdown(reliability_rows(found)),
        "## Every miss",
        "",
        *([f"* {line}" for line in misses(cases)] or ["* none"]),
        *(["", "Not judged:", "", *lost] if lost else []),
    ]


def beside(cases: Sequence[Case], found: Sequence[Answer]) -> list[str]:
    """The chapter on the peers, with Theodolite on the same runs."""
    heads = ("", "first is right", "among is right", "alarms on healthy runs", "failed", "seconds a run")
    same = {(answer.problem, answer.seed) for answer in found}
    mine = [case for case in cases if (case.name, case.seed) in same]
    rows: Rows = [heads, _row_of_ours(mine), *(_row(doctor.name, found) for doctor in DOCTORS)]
    return [
        "## Beside the peers",
        "",
        PEER_NOTES,
        *markdown(rows),
        *markdown(_by_obstacle(mine, found)),
        "How each was asked, and what its words are taken to mean:",
        "",
        *(
            f"* **{doctor.name}** {_version(doctor.name, found)}: {doctor.asked}. "
            + "; ".join(f"“{word}” {', '.join(names)}" for word, names in doctor.means.items())
            for doctor in DOCTORS
        ),
        *_failures(found),
    ]


def _version(name: str, found: Iterable[Answer]) -> str:
    return next((one.version for one in found if one.doctor == name), "not installed")


def _row_of_ours(cases: Sequence[Case]) -> tuple[str, ...]:
    ill = [case for case in cases if case.obstacle != "none"]
    well = [case for case in cases if case.obstacle == "none"]
    return (
        "Theodolite",
        str(counted(ill, lambda case: case.is_right)),
        str(counted(ill, lambda case: case.obstacle in (case.verdict, *case.secondary))),
        str(counted(well, lambda case: case.is_alarm)),
        "0",
        f"{sum(case.seconds for case in cases) / len(cases):.1f}" if cases else "–",
    )


def _row(name: str, found: Sequence[Answer]) -> tuple[str, ...]:
    doctor = next(one for one in DOCTORS if one.name == name)
    own = [answer for answer in found if answer.doctor == name]
    if not own:
        return (name, *("–" for _ in range(4)), f"not installed: pip install {doctor.distribution}")
    count = tally(doctor, own)
    shares = (str(share) for share in (count.first, count.among, count.alarms))
    return (name, *shares, str(count.failed), f"{count.seconds / len(own):.1f}")


def _by_obstacle(cases: Sequence[Case], found: Sequence[Answer]) -> Rows:
    """First words that are right, by what was planted."""
    truths = {one.name: one.obstacle for one in PROBLEMS}
    planted = [name for name in dict.fromkeys(truths.values()) if name != "none"]
    rows: Rows = [("first is right, of", "Theodolite", *(doctor.name for doctor in DOCTORS))]
    for obstacle in planted:
        own = counted((case for case in cases if case.obstacle == obstacle), lambda case: case.is_right)
        answered = [answer for answer in found if truths[answer.problem] == obstacle]
        theirs = [tally(one, [a for a in answered if a.doctor == one.name]).first for one in DOCTORS]
        if own.total or answered:
            rows.append((obstacle, *map(_brief, (own, *theirs))))
    return rows


def _brief(share: Share) -> str:
    return f"{share.right}/{share.total}" if share.total else "–"


def _failures(found: Iterable[Answer]) -> list[str]:
    failed = [answer for answer in found if answer.failure]
    lines = [f"* {one.doctor} on {one.problem}, seed {one.seed}: {one.failure}" for one in failed]
    return ["", "Where they failed:", "", *lines] if lines else []


def main() -> None:
    """Score the zoo, ask the peers, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", default="", help="only problems whose name contains this")
    parser.add_argument("--limit", type=int, help="at most so many problems, of many kinds")
    parser.add_argument("--seconds", type=float, default=20.0, help="of one diagnosis")
    parser.add_argument("--who", choices=("all", "ours", "peers"), default="all", help="who is trained for now")
    options = parser.parse_args()
    named = [one for one in PROBLEMS if options.only in one.name]
    few = subset(named)[: options.limit]
    chosen = named if options.limit is None else few
    work, left = tasks(chosen, options.seeds, RUNS)
    if options.who == "peers":
        judged, failures = [one for one in map(judge_stored, work) if one is not None], []
    else:
        judged, failures = score(work, seconds=options.seconds, jobs=options.jobs, tell=lambda one: say(told(one)))
    few = [one for one in few if one not in left]
    if options.who != "ours" and any(map(installed, DOCTORS)):
        for line in consult(few, options.seeds, options.jobs, PEERS):
            say(line)
    found = answers(PEERS, few, options.seeds)
    cases = [one.case for one in judged]
    load = float(Path("/proc/loadavg").read_text().split()[0]) if Path("/proc/loadavg").exists() else float("nan")
    head = ["# How often is the verdict right?", "", environment(cases, load), "", NOTES]
    page = "\n".join([*head, *ours(judged, failures, left), "", *beside(cases, found)]) + "\n"
    while "\n\n\n" in page:
        page = page.replace("\n\n\n", "\n\n")
    print(page)
    if not options.only and options.limit is None:
        RESULT.write_text(page, encoding="utf-8")


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
