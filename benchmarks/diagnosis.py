"""How often is the verdict right? Every planted problem and every clean twin, over several seeds.

Usage: diagnosis.py [--seeds N] [--only TEXT] [--jobs N]

Writes ``benchmarks/results/diagnosis.md``: for each obstacle how often it was named, missed or left undetermined, the
false alarms on clean runs, and every wrong verdict by name. The problems are ours and so are the rules: read it as the
least that must hold, not as an error rate on foreign trainings. About eight minutes a seed on two quiet cores.
"""

import argparse
import math
import platform
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from theodolite import Monitor
from theodolite.problems import PROBLEMS, problem

RESULTS = Path(__file__).parent / "results" / "diagnosis.md"


@dataclass(frozen=True)
class Case:
    """One problem with one seed, and what was said of it."""

    name: str
    seed: int
    truth: str
    verdict: str
    secondary: tuple[str, ...]


def judged(name: str, seed: int) -> Case:
    """Train one problem under a monitor at its defaults, and diagnose it."""
    torch.set_num_threads(1)
    chosen = problem(name)
    training = chosen.build(seed)
    model, optimizer, loss = training.model, training.optimizer, training.loss
    with (
        tempfile.TemporaryDirectory() as folder,
        Monitor(model, optimizer, loss, run=Path(folder) / "run", floor=training.floor, seed=seed) as monitor,
    ):
        for batch in monitor(training.batches):
            optimizer.zero_grad()
            loss(model, batch).backward()
            optimizer.step()
        found = monitor.diagnose()
    return Case(name, seed, chosen.obstacle, found.obstacle, found.secondary)


def interval(right: int, total: int) -> str:
    """A share with its 95 % interval (Wilson)."""
    share, z = right / total, 1.96
    middle = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z * math.sqrt(share * (1 - share) / total + z**2 / (4 * total**2)) / (1 + z**2 / total)
    return f"{right} of {total} ({100 * share:.0f} %, {100 * (middle - half):.0f} to {100 * (middle + half):.0f})"


def table(cases: list[Case]) -> str:
    """The page of results."""
    lines = [
        "# How often is the verdict right?",
        "",
        f"`benchmarks/diagnosis.py`: {len({c.name for c in cases})} problems, {len({c.seed for c in cases})} seeds, "
        f"one thread each, monitor at its defaults. Python {platform.python_version()}, torch {torch.__version__}, "
        f"{platform.machine()}, {platform.system()}. Intervals: 95 %.",
        "",
        "The problems and the rules come from the same authors: this is the least that must hold.",
        "",
        "| planted | named | also listed | undetermined | wrong |",
        "|---|---|---|---|---|",
    ]
    for truth in dict.fromkeys(case.truth for case in cases):
        rows = [case for case in cases if case.truth == truth]
        right = sum(case.verdict == truth for case in rows)
        listed = sum(case.verdict != truth and truth in case.secondary for case in rows)
        unsure = sum(case.verdict == "undetermined" for case in rows)
        wrong = Counter(case.verdict for case in rows if case.verdict not in (truth, "undetermined"))
        told = ", ".join(f"{name} {count}" for name, count in wrong.items()) or "–"
        lines.append(f"| `{truth}` | {interval(right, len(rows))} | {listed} | {unsure} | {told} |")
    ill = [case for case in cases if case.truth != "none"]
    well = [case for case in cases if case.truth == "none"]
    alarms = sum(case.verdict not in ("none", "undetermined") for case in well)
    lines += ["", f"All planted: {interval(sum(c.verdict == c.truth for c in ill), len(ill))} named." if ill else ""]
    lines += [f"False alarms on clean runs: {interval(alarms, len(well))}." if well else "", "", "Every miss:", ""]
    missed = [case for case in cases if case.verdict != case.truth]
    lines += [f"* {c.name}, seed {c.seed}: `{c.verdict}` instead of `{c.truth}`" for c in missed] or ["* none"]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Judge every problem, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", default="")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    names = [one.name for one in PROBLEMS if options.only in one.name]
    work = [(name, seed) for seed in range(options.seeds) for name in names]
    with ProcessPoolExecutor(options.jobs) as pool:
        cases = list(pool.map(judged, *zip(*work, strict=True)))
    page = table(cases)
    print(page)
    if not options.only:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(page)


if __name__ == "__main__":
    main()
