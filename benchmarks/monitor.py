"""How much longer does a training take when it is watched? Theodolite and Cockpit's presets, each beside nothing.

    OMP_NUM_THREADS=1 python benchmarks/monitor.py [--rounds 5] [--steps 400] [--limit 60] [--only "M1,tiny"] [--quick]

Needs the environment of benchmarks/peers.txt for Cockpit; without, the page says that it is not installed. About
twenty-five minutes on a quiet machine; writes benchmarks/results/monitor.md.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from models import CASES, Case, classify
from peers.candidates import optional
from torch import nn
from torch.nn import functional

from theodolite import Monitor, Run
from theodolite.monitor.held import REFERENCE_BATCHES

RESULT = Path(__file__).parent / "results" / "monitor.md"

SETTLED = 200
"""Steps after which the budget is to hold; what came before is told apart."""

TURN_SECONDS = 0.15
"""About how long one training goes on before it is the other's turn: machines change their mind within a second."""

PRESETS = ("economy", "business", "full")

NOTES = """Each training runs in turn with a plain one of the same model and data, both alive, a fraction of a second
each; the order changes from turn to turn. *Overhead*: seconds of all turns of the watched one over those of the plain
one, less one, after 200 steps; the median over rounds, and least … greatest. *Wall* is the clock on the wall, *CPU* the
time of the process, *told* what the monitor's own books say of the same steps, *whole run* the wall from the first step
on. Dear measurements are rare: a short run sees one or does not. *Times nothing*: median seconds of a step over those
of a plain step, everything measured at every step, as Cockpit does unless its schedule is changed; every tenth step:
divide what is above one by ten. Failures are told in the peer's own words."""


def tiny() -> Case:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10))
    return Case("tiny MLP", model, (torch.randn(32, 784), torch.randint(10, (32,))), "random")


MODELS: Mapping[str, Callable[[], Case]] = {**CASES, "tiny": tiny}


@dataclass(frozen=True)
class Turn:
    """What one turn took, and what the monitor's books said after it: seconds of training and of measuring."""

    wall: float
    cpu: float
    books: tuple[float, float] = (0.0, 0.0)


Training = Generator[Turn, int, None]
"""Sent a number of steps, makes them and tells what they took."""


def plain(case: Case) -> Training:
    yield from loop(case, None)


def watched(case: Case, folder: Path, budget: float | None) -> Training:
    yield from loop(case, partial(Monitor, run=folder, budget=budget))


def loop(case: Case, watch: Callable[..., Monitor] | None) -> Training:
    """The training that everybody writes."""
    model = case.model
    optimizer = torch.optim.SGD(model.parameters(), 0.01, 0.9)
    monitor = watch(model, optimizer, classify) if watch is not None else None
    told = Turn(0.0, 0.0)
    try:
        while True:
            batches = fresh(case, (yield told))
            wall, cpu = time.perf_counter(), time.process_time()
            for batch in batches if monitor is None else monitor(batches):
                optimizer.zero_grad()
                classify(model, batch).backward()
                optimizer.step()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            told = Turn(wall, cpu, books(monitor))
    finally:
        if monitor is not None:
            monitor.close()


def fresh(case: Case, steps: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """New tensors for each step, as a loader gives them."""
    return [(case.batch[0].clone(), case.batch[1].clone()) for _ in range(steps)]


def books(monitor: Monitor | None) -> tuple[float, float]:
    schedule = monitor._observer.schedule if monitor is not None else None
    return (0.0, 0.0) if schedule is None else (schedule.training, schedule.measuring)


def cockpit(case: Case, preset: str) -> Training:
    """The same training under Cockpit, as its documents write it; without momentum, which it does not accept."""
    library, configured = optional("cockpit"), optional("cockpit.utils.configuration")
    extend = optional("backpack").extend
    model, head = extend(case.model), extend(nn.CrossEntropyLoss())
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    pit = library.Cockpit(model.parameters(), configured.configuration(preset))
    told, step = Turn(0.0, 0.0), 0
    while True:
        batches = fresh(case, (yield told))
        wall, cpu = time.perf_counter(), time.process_time()
        for x, y in batches:
            optimizer.zero_grad()
            output = model(x)
            loss, losses = head(output, y), functional.cross_entropy(output, y, reduction="none")
            info = {"batch_size": len(y), "individual_losses": losses, "loss": loss, "optimizer": optimizer}
            with pit(step, info=info):
                loss.backward(create_graph=pit.create_graph(step))
            optimizer.step()
            step += 1
        told = Turn(time.perf_counter() - wall, time.process_time() - cpu)


def turns(first: Training, second: Training, sizes: Iterator[int]) -> Iterator[tuple[int, Turn, Turn]]:
    """Both trainings in turn, for as many steps as told; the order changes."""
    next(first)
    next(second)
    for index, size in enumerate(sizes):
        if index % 2:
            one = first.send(size)
            yield size, one, second.send(size)
        else:
            two = second.send(size)
            yield size, first.send(size), two


def step_seconds(build: Callable[[], Case], steps: int = 6) -> float:
    """Seconds of a plain step, after one to warm up."""
    with closing(plain(build())) as training:
        next(training)
        training.send(1)
        return training.send(steps).wall / steps


def one_round(build: Callable[[], Case], folder: Path, steps: int, size: int) -> tuple[list[float], float]:
    """Overheads of a round, as shares: wall, CPU, told, and whole run; and the seconds of a plain step."""
    done, rows, settled = 0, [], 0
    with closing(plain(build())) as alone, closing(watched(build(), folder, 0.05)) as seen:
        sizes = iter([size] * ((SETTLED + steps) // size))
        for made, without, beside in turns(alone, seen, sizes):
            done += made
            rows.append((without, beside))
            settled = len(rows) if done <= SETTLED else settled
    late = rows[settled:]
    since = rows[settled - 1][1].books
    last = rows[-1][1].books
    shares = [
        sum(b.wall for _, b in late) / sum(a.wall for a, _ in late) - 1,
        sum(b.cpu for _, b in late) / sum(a.cpu for a, _ in late) - 1,
        (last[1] - since[1]) / (last[0] - since[0]),
        sum(b.wall for _, b in rows) / sum(a.wall for a, _ in rows) - 1,
    ]
    return shares, statistics.median(a.wall for a, _ in late) / size


def default_row(build: Callable[[], Case], rounds: int, steps: int) -> str:
    """Ours at its default budget."""
    size = max(2, min(SETTLED // 2, int(TURN_SECONDS / step_seconds(build))))
    size = next(s for s in range(size, 0, -1) if SETTLED % s == 0)  # a turn ends at step 200
    found, plain_seconds = [], []
    with tempfile.TemporaryDirectory() as folder:
        for index in range(rounds):
            shares, seconds = one_round(build, Path(folder) / str(index), steps, size)
            found.append(shares)
            plain_seconds.append(seconds)
        what = counts(Run(Path(folder) / "0"))
    columns = [[100 * value for value in column] for column in zip(*found, strict=True)]
    wall, cpu, told, whole = (statistics.median(column) for column in columns)
    spread = f"{min(columns[0]):.1f} … {max(columns[0]):.1f}"
    step = f"{1e3 * statistics.median(plain_seconds):.2f} | {SETTLED + steps}"
    return f"{step} | **{wall:.1f}** | {spread} | {cpu:.1f} | {told:.1f} | {whole:.1f} | {what} |"


def counts(record: Run) -> str:
    """How often what was measured."""
    account = [event for event in record.events() if event.kind == "budget"][-1].detail
    return ", ".join(f"{row['times']} {name}" for name, row in account["measurements"].items() if row["times"])


def ratio(build: Callable[[], Case], make: Callable[[Case], Training], limit: float, warm: int = 1) -> str:
    """Seconds of a step over those of a plain one, in turns of one step until time is up; the first do not count."""
    started, pairs = time.monotonic(), []
    try:
        with closing(plain(build())) as alone, closing(make(build())) as seen:
            for _, without, beside in turns(alone, seen, iter([1] * 40)):
                pairs.append((without.wall, beside.wall))
                if time.monotonic() - started > limit:
                    break
    except Exception as error:  # whatever a peer raises is its result
        return f"raises {type(error).__name__}: {' '.join(str(error).split()).replace('|', '/')[:120]}"
    pairs = pairs[warm:] or pairs[-1:]
    alone_seconds, seen_seconds = (statistics.median(column) for column in zip(*pairs, strict=True))
    return f"{seen_seconds / alone_seconds:.3g} ({len(pairs)})"


def ratio_row(build: Callable[[], Case], limit: float) -> str:
    """Everything at every step, ours and Cockpit's."""
    with tempfile.TemporaryDirectory() as folder:
        cells = [ratio(build, partial(watched, folder=Path(folder) / "run", budget=None), limit, REFERENCE_BATCHES + 2)]
    if optional("cockpit") is not None:
        cells += [ratio(build, partial(cockpit, preset=preset), limit) for preset in PRESETS]
    else:
        cells += ["not installed"] * len(PRESETS)
    return " | ".join(cells) + " |"


def environment(rounds: int, loads: list[float]) -> str:
    """Machine, versions, date, and how busy the machine was."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    peer = f"Cockpit {version('cockpit-for-pytorch')}" if optional("cockpit") is not None else "Cockpit not installed"
    return (
        f"{datetime.now(UTC):%Y-%m-%d}; {cpu}, {os.cpu_count()} cores, one thread, load average {min(loads):.1f} to "
        f"{max(loads):.1f}, of which this program is 1; Python {platform.python_version()}, torch {torch.__version__}; "
        f"{peer}; {rounds} rounds."
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=400, help="after the first 200; ten times as many of the tiny one")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for each cell of the second table")
    parser.add_argument("--only", default="", help="models, with commas between; writes nothing")
    parser.add_argument("--quick", action="store_true", help="one round, few seconds a cell; writes nothing")
    return parser.parse_args()


def main() -> None:
    """Measure, print, and write the page if everything was measured."""
    options = arguments()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # Cockpit's hooks are deprecated ones, and torch warns of them at every step
    rounds, limit = (1, 3.0) if options.quick else (options.rounds, options.limit)
    chosen = {key: build for key, build in MODELS.items() if not options.only or key in options.only.split(",")}
    loads = [os.getloadavg()[0]]
    head = "| training | plain step, ms | steps | wall, % | least … greatest | CPU, % | told, % | whole run, % | made |"
    kept = ["## At the default budget of 5 %", "", head, "|---" * 9 + "|"]
    head = "| training | theodolite, `budget=None` | " + " | ".join(f"Cockpit {preset}" for preset in PRESETS) + " |"
    every = ["## Everything at every step: times nothing (steps timed)", "", head, "|---" * 5 + "|"]
    for key, build in chosen.items():
        name = f"| {key}: {build().name.removeprefix(key).strip()} | "
        kept.append(name + default_row(build, rounds, options.steps * (10 if key == "tiny" else 1)))
        every.append(name + ratio_row(build, limit))
        loads.append(os.getloadavg()[0])
        print(kept[-1], every[-1], sep="\n", flush=True)
    page = ["# Monitoring: what it costs a training", "", environment(rounds, loads), "", NOTES, "", *kept, "", *every]
    if not options.only and not options.quick:
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text("\n".join(page) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
