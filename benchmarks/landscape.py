"""How many points of a surface a second? Theodolite, loss-landscapes and loops by hand, on four families of models.

    OMP_NUM_THREADS=1 python benchmarks/landscape.py [--rounds 5] [--only M1,M4]

Needs the environment of benchmarks/peers.txt for loss-landscapes; without, the page says that it is not installed.
About four minutes; writes benchmarks/results/landscape.md.
"""

import argparse
import copy
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from models import CASES, Case, characters, classify, pictures, trained
from peers.candidates import optional
from torch import Tensor
from torch.nn import functional

from theodolite import Objective, plane
from theodolite.landscape.evaluation import evaluate
from theodolite.records.planes import Plane

RESULT = Path(__file__).parent / "results" / "landscape.md"

PEER = optional("loss_landscapes")

NOTES = """A part of a plane: rows of 25 points, as many rows as the heading says. Origin and two Gaussian directions,
each tensor at the norm of the parameter; b goes from −½ to ½ along a row, a from ½ to 0 over the rows. CPU seconds of
one thread of one process, candidates in turn within each round, one round forwards and the next backwards; medians over
rounds, and ratios are medians of ratios within a round. The *floor* is plain forward passes over the same data without
any change of weights, batches whole: what needs less work than that may be faster. *Error*: greatest relative error of
J at five of the points, against float64 along the same directions.

*theodolite* is `evaluate`, the engine of `line` and `plane`, with its protection of the run. *First call* tries the
ways of going about it, at most a quarter of its points; further calls with the same objective know them.
*loss-landscapes*: `planar_interpolation`, a square grid of about as many points, as it comes, of copies of the model
that it makes itself. *Loop*: `p.data = start + a x + b y` for each tensor, `no_grad`, `.item()`; *loop of 128*: the
same with the data in batches of 128, where there are more.

*A picture*: 25 × 25 points between −½ and ½ of both directions, after 20 steps of gradient descent; ways are tried anew
in each. With a tolerance, `plane` measures where it must and interpolates between; the error beside it is the greatest
of all 625 points, against the same plane measured everywhere."""

Work = Callable[[], object]


def pictured() -> Case:
    """The residual network with as many pictures as a surface is drawn of."""
    case = CASES["M2s"]()
    return Case(case.name, case.model, *pictures(256))


def read() -> Case:
    """The transformer with more text."""
    case = CASES["M4"]()
    return Case(case.name, case.model, *characters(16, 128))


BUILDS: dict[str, tuple[Callable[[], Case], int]] = {
    "M1": (CASES["M1"], 10), "M2s": (pictured, 1), "M3": (CASES["M3"], 5), "M4": (read, 1),
}  # fmt: skip
"""Models, and how many rows of points: what takes long is asked for fewer."""


PICTURED = ("M1", "M3")


class Rows:
    """Rows of a plane through a model, and everyone who evaluates them."""

    def __init__(self, case: Case, count: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.case, self.objective = case, Objective(case.model, classify, case.batch)
        self.start = [parameter.detach().clone() for parameter in case.model.parameters()]
        self.ways = [[self._direction(part, generator) for part in self.start] for _ in range(2)]
        self.flat = [self.objective.params.flatten(way) for way in self.ways]
        self.origin = self.objective.point()
        a, b = np.meshgrid(np.linspace(0.5, 0, count), np.linspace(-0.5, 0.5, 25), indexing="ij")
        self.rows = np.stack([a.ravel(), b.ravel()], 1)
        self.square = round(len(self.rows) ** 0.5)
        self.methods: dict[str, str] = {}

    @staticmethod
    def _direction(part: Tensor, generator: torch.Generator) -> Tensor:
        """A Gaussian direction with the norm of a parameter."""
        drawn = torch.randn(part.shape, generator=generator)
        return drawn * part.norm() / drawn.norm()

    def candidates(self) -> Iterator[tuple[str, Work]]:
        """Who evaluates the row, by name."""
        yield "floor", self.floor
        for name, preview in (("theodolite, float32", False), ("theodolite, preview", True)):
            yield f"{name}, first call", lambda preview=preview: self.first(preview)
            yield f"{name}, further calls", lambda preview=preview: self.ours(preview)
        if PEER is not None:
            yield "loss-landscapes", self.peer(self.square)
        yield "loop", lambda: self.loop([self.case.batch])
        x, y = self.case.batch
        if len(x) > 128:
            parts = [(x[start : start + 128], y[start : start + 128]) for start in range(0, len(x), 128)]
            yield "loop of 128", lambda: self.loop(parts)

    def ours(self, preview: bool) -> np.ndarray:
        found = evaluate(self.objective, self.origin, self.flat, self.rows, preview=preview)
        self.methods["preview" if preview else "float32"] = found.method
        return found.losses

    def first(self, preview: bool) -> np.ndarray:
        self.objective.ways.clear()
        return self.ours(preview)

    def floor(self) -> None:
        """Forward passes alone."""
        with torch.no_grad():
            for _ in range(len(self.rows)):
                classify(self.case.model, self.case.batch)

    def loop(self, batches: list[tuple[Tensor, Tensor]]) -> np.ndarray:
        """By hand."""
        losses = []
        parameters = list(self.case.model.parameters())
        whole = sum(len(x) for x, _ in batches)
        with torch.no_grad():
            for a, b in self.rows.tolist():
                for parameter, start, x, y in zip(parameters, self.start, *self.ways, strict=True):
                    parameter.data = start + a * x + b * y
                losses.append(sum(classify(self.case.model, part).item() * len(part[0]) / whole for part in batches))
            for parameter, start in zip(parameters, self.start, strict=True):
                parameter.data.copy_(start)
        return np.array(losses)

    def peer(self, steps: int) -> Work:
        """loss-landscapes' own grid."""
        ends = []
        for way in self.ways:
            ends.append(copy.deepcopy(self.case.model))
            for parameter, part in zip(ends[-1].parameters(), way, strict=True):
                parameter.data += part
        metric = PEER.metrics.Loss(functional.cross_entropy, *self.case.batch)

        def work() -> object:
            with torch.no_grad():
                return PEER.planar_interpolation(self.case.model, *ends, metric, steps=steps, deepcopy_model=True)

        return work

    @cached_property
    def truth(self) -> tuple[np.ndarray, np.ndarray]:
        """Places of five of the points, and J there in float64."""
        wide = self.objective.double()
        x, y = (way.double() for way in self.flat)
        places = np.linspace(0, len(self.rows) - 1, 5).astype(int)
        points = (self.origin.double() + a * x + b * y for a, b in self.rows[places].tolist())
        return places, np.array([wide.value(point) for point in points])

    def error(self, losses: np.ndarray) -> float:
        """Greatest relative error of five of the points."""
        places, truth = self.truth
        return float(np.max(np.abs(losses[places] - truth) / np.abs(truth)))


def seconds(work: Work) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def turns(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Who is measured in one go: a first call forgets what is known, so that its further calls must come after it."""
    further = {name: name.replace("first call", "further calls") for name in names}
    return [(name,) if further[name] == name else (name, further[name]) for name in further if "further" not in name]


def table(case: Case, count: int, rounds: int) -> list[str]:
    """Points a second of every candidate, and what they are beside the peer and the floor."""
    rows = Rows(case, count)
    candidates = dict(rows.candidates())
    results = {name: work() for name, work in candidates.items()}  # warm, once each
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for index in range(rounds):
        for group in turns(candidates)[:: -1 if index % 2 else 1]:
            for name in group:
                points = rows.square**2 if name == "loss-landscapes" else len(rows.rows)
                times[name].append(seconds(candidates[name]) / points)
    lines = ["| who | points/s | times loss-landscapes | times the floor | error |", "|---|---|---|---|---|"]
    for name, taken in times.items():
        ratios = [beside(times, other, taken) for other in ("loss-landscapes", "floor")]
        has_error = name not in {"floor", "loss-landscapes"}
        error = f"{rows.error(results[name]):.1e}" if has_error else ""
        lines.append(f"| {name} | {1 / statistics.median(taken):.1f} | {ratios[0]} | {ratios[1]} | {error} |")
    told = [f"*{kind}*: {method}." for kind, method in rows.methods.items()]
    return [*lines, "", f"Data: {case.data}, {len(case.batch[0])} examples. " + " ".join(told), ""]


def pictures_of(case: Case, rounds: int) -> list[str]:
    """Seconds to a grid of 25 × 25 points whose interpolation error is 1 %, and the error that was truly made."""
    rows = Rows(case, 1)

    def ours(tolerance: float | None, preview: bool = False) -> Plane:
        rows.objective.ways.clear()
        settings = {"points": (25, 25), "extent": 0.5, "preview": preview}
        return plane(rows.objective, rows.origin, *rows.flat, tolerance=tolerance, **settings)

    works: dict[str, Work] = {
        "theodolite, everywhere": lambda: ours(None),
        "theodolite, tolerance 0.01": lambda: ours(0.01),
        "theodolite, tolerance 0.01, preview": lambda: ours(0.01, preview=True),
    }
    if PEER is not None:
        works["loss-landscapes"] = rows.peer(steps=25)
    times: dict[str, list[float]] = {name: [] for name in works}
    drawn: dict[str, object] = {}
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(seconds(lambda name=name, work=work: drawn.update({name: work()})))
    truth = drawn["theodolite, everywhere"].losses
    lines = ["| who | seconds | times loss-landscapes | points measured | greatest error, % of the range |"]
    lines.append("|---|---|---|---|---|")
    for name, taken in times.items():
        is_ours = isinstance(found := drawn[name], Plane)
        count = int(found.measured.sum()) if is_ours and found.measured.size else truth.size
        error = f"{100 * np.abs(found.losses - truth).max() / np.ptp(truth):.2g}" if is_ours else ""
        speed = beside(times, "loss-landscapes", taken)
        lines.append(f"| {name} | {statistics.median(taken):.2f} | {speed} | {count} | {error} |")
    return [*lines, ""]


def beside(times: dict[str, list[float]], other: str, taken: list[float]) -> str:
    """How many times the speed of another, the median over rounds."""
    if other not in times:
        return ""
    return f"{statistics.median(theirs / ours for theirs, ours in zip(times[other], taken, strict=True)):.2f}"


def environment(rounds: int, loads: list[float]) -> str:
    """Machine, versions, date, and how busy the machine was."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    peer = f"loss-landscapes {version('loss-landscapes')}" if PEER is not None else "loss-landscapes is not installed"
    return (
        f"{datetime.now(UTC):%Y-%m-%d}; {cpu}, {os.cpu_count()} cores, one thread, load average {min(loads):.1f} to "
        f"{max(loads):.1f}, of which this program is 1; Python {platform.python_version()}, torch {torch.__version__}, "
        f"NumPy {np.__version__}; {peer}; {rounds} rounds."
    )


def main() -> None:
    """Measure, print, and write the page if everything was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="models, with commas between; writes nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    wanted = options.only.split(",") if options.only else list(BUILDS)
    body, loads = [], [os.getloadavg()[0]]
    for key in wanted:
        build, count = BUILDS[key]
        case = build()
        lines = [f"## {case.name}, {count} × 25 points", "", *table(case, count, options.rounds)]
        loads.append(os.getloadavg()[0])
        print(*lines, sep="\n", flush=True)
        body += lines
    for key in (key for key in PICTURED if key in wanted):
        case = trained(BUILDS[key][0](), 20, 0.1)
        lines = [f"## A picture of {case.name}", "", *pictures_of(case, 2)]
        print(*lines, sep="\n", flush=True)
        body += lines
    page = ["# Surfaces: points a second", "", environment(options.rounds, loads), "", NOTES, "", *body]
    if not options.only:
        RESULT.write_text("\n".join(page).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
