"""What do curvature's numbers cost, and how wrong are they? Theodolite beside its peers, on four families of models.

    make bench-peers
    OMP_NUM_THREADS=1 python benchmarks/curvature.py [--rounds 5] [--only "products M1",density,...] [--quick] [--large]

Needs the environment of benchmarks/peers.txt; a peer that is not there is left out, and the page says so. The folder
peers holds who is asked and how, and each measurement. About ten minutes; writes benchmarks/results/curvature.md.
"""

import argparse
import os
import platform
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from models import CASES, digits_after, perceptron, small, trained, transformer
from peers.dense import dense_hessians
from peers.estimates import densities, eigenvalues, traces
from peers.kept import kept_graphs
from peers.products import product_table
from peers.roll import MISSING, PACKAGES, product_candidates
from peers.truth import true_ggn, true_hessian

RESULT = Path(__file__).parent / "results" / "curvature.md"

NOTES = """Times are CPU seconds of one thread of one process, methods in turn within each round, one round forwards
and the next backwards. A ratio is the median over rounds of the ratio within a round. *In gradients*: over one plain
gradient of the same model with torch's default kernels. Errors are relative, in norm, against float64 double backward,
which agrees with central differences to 1e-5 where the model is smooth. Memory is bytes in new tensors
(torch.profiler): *peak* the most at once while a fresh product is formed, *held* what stays afterwards so that further
products are cheap. Failures are told in the peer's own words.

A *fresh* product is the first at a point; a *further* one at the same point may use whatever the tool keeps. *First
ever* includes what is done once for a model: theodolite checks its products against differences, and the peers do no
such thing (curvlinops' check that the model is deterministic is off). A further Hessian product costs about 2
gradients at least: each matrix product has two tangents (1.5 on M1, whose first layer has one). *By hand*:
`torch.autograd.grad` on the kept graph, tensors instead of vectors, the run not protected. *Kernels switched by hand*:
SDPA's math backend for M4, oneDNN off for M3, as users of the peers must; theodolite does so itself.

*As it comes*: the defaults of that package. Times of eigenvalues, densities, traces and dense matrices include opening
the operator, and theodolite's check. eigsh runs as it comes but for the tolerance, and is spared the vectors, which
the others compute. A tolerance means another thing to each: theodolite's bounds a residual, PyHessian's a change
between two steps; hence the columns of what was really met, the worst of all start vectors. PyHessian looks for the
greatest in modulus, and may take 200 steps a value instead of its 100. `torch.eig given back`: PyHessian 0.1 calls a
function that torch has removed; these rows put it back. curvlinops' kernel follows from its number of Lanczos vectors;
its `kappa` is set to make it the common one, at 38 vectors that is its default. Its products include those that find
the ends. Theodolite's density may widen the kernel at a node by a part of its residual, which counts as its error like
all else.

Problem A and B are those of theodolite's own targets, rebuilt from their description, which leaves the scale of the
pixels open: here they lie between 0 and 1."""

Measurement = Callable[[], list[str]]


def sections(rounds: int, *, is_quick: bool, is_large: bool) -> dict[str, Measurement]:
    """What can be measured, by title."""
    models = {key: build for key, build in CASES.items() if not is_quick or key == "M1"}
    few, many = (1, 2) if is_quick else (3, 20)
    found: dict[str, Measurement] = {}
    for name, kind, truth in (("Hessian", "hessian", true_hessian), ("Gauss-Newton", "ggn", true_ggn)):
        for key, build in models.items():
            found[f"{name} products {key}"] = lambda build=build, kind=kind, truth=truth: product_table(
                case := build(), product_candidates(kind, case), truth, rounds
            )
    found["Memory of kept graphs"] = partial(kept_graphs, models, rounds)
    found["Five greatest eigenvalues M1"] = lambda: eigenvalues(trained(perceptron(), 12, 0.1), few)
    for label, steps in (("A", 60), ("B", 12)):
        found[f"Five greatest eigenvalues {label}"] = lambda steps=steps: eigenvalues(digits_after(steps), few)
    if not is_quick:
        found["Five greatest eigenvalues M4"] = lambda: eigenvalues(trained(transformer(), 20, 0.1), 1)
    found["Spectral density"] = lambda: densities(trained(small(), 100, 0.1), max(few, 5))
    found["Trace"] = lambda: traces(trained(small(), 100, 0.1), many)
    found["Dense Hessian"] = lambda: dense_hessians(small(), few)
    if is_large:
        found["Dense Hessian, large"] = lambda: dense_hessians(small(90), 1)
    return found


def environment(rounds: int, loads: list[float]) -> str:
    """Machine, versions, date, and how busy the machine was."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    tools = ", ".join(
        f"{package.name.strip('*')} {version(package.distribution)}" for package in PACKAGES if package.distribution
    )
    absent = f"; not installed, and left out: {', '.join(MISSING)}" if MISSING else ""
    return (
        f"{datetime.now(UTC):%Y-%m-%d}; {cpu}, {os.cpu_count()} cores, one thread, load average {min(loads):.1f} to "
        f"{max(loads):.1f}, of which this program is 1; Python {platform.python_version()}, torch {torch.__version__}, "
        f"NumPy {np.__version__}, SciPy {version('scipy')}; {tools}{absent}; {rounds} rounds of products."
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="titles, or parts of them, with commas between; writes nothing")
    parser.add_argument("--quick", action="store_true", help="one round of the perceptron, few seeds; writes nothing")
    parser.add_argument("--large", action="store_true", help="the dense Hessian of 10,000 parameters too")
    return parser.parse_args()


def main() -> None:
    """Measure, print, and write the page if everything was measured."""
    options = arguments()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # peers leave reference cycles, and torch warns of them
    rounds = 1 if options.quick else options.rounds
    wanted = options.only.split(",")
    body, loads = [], [os.getloadavg()[0]]
    for title, measure in sections(rounds, is_quick=options.quick, is_large=options.large).items():
        if any(part.strip() in title for part in wanted):
            started = time.monotonic()
            table = measure()
            loads.append(os.getloadavg()[0])
            print(f"## {title} ({time.monotonic() - started:.0f} s)", *table, sep="\n", flush=True)
            body += [f"## {title}", "", *table]
    page = ["# Curvature: what it costs, and how wrong it is", "", environment(rounds, loads), "", NOTES, "", *body]
    if not options.only and not options.quick:
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text("\n".join(page).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
