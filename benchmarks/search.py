"""Which ways of asking still work in how many dimensions, and what does our face cost over the library's own?

    OMP_NUM_THREADS=1 python benchmarks/search.py [--seconds 20]

Each method has the same budget of forward passes on each function, and so many seconds; one that does not end within
them is stopped. Writes benchmarks/results/search.md; about ten minutes.
"""

import argparse
import multiprocessing
import os
import platform
import resource
import time
import warnings
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cma
import numpy as np
import torch
from scipy import optimize

from theodolite import Objective, minimize
from theodolite.errors import SettingError
from theodolite.problems.test_functions import STANDARD

RESULT = Path(__file__).parent / "results" / "search.md"
SIZES = (2, 10, 100, 10_000, 1_000_000)
BUDGET = 5000
MEMORY = 8 * 2**30
REFUSED, NO_MEMORY = 3, 4
BOXED = ("grid", "random", "genetic", "differential-evolution", "bayesian", "tpe")
METHODS = (*BOXED, "cma-es", "nelder-mead", "powell", "l-bfgs", "cg", "newton-cg", "analytical")
FUNCTIONS = ("sphere", "rosenbrock", "rastrigin")


def start_of(name: str, n: int) -> torch.Tensor:
    """A point off the middle of the box, the same for all."""
    low, high = STANDARD[name].bounds
    return torch.from_numpy(np.random.default_rng(n).uniform(low, high, n))


def watched(name: str, n: int, method: str, best: Any) -> None:
    """One search in a process of its own; the least J that it met is where others can read it."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    one = STANDARD[name]

    def function(theta: torch.Tensor) -> torch.Tensor:
        value = one.function(theta)
        best.value = min(best.value, float(value.detach()))
        return value

    bounds = one.bounds if method in {*BOXED, "cma-es"} else None
    try:
        minimize(Objective.from_function(function, start_of(name, n)), method, BUDGET, bounds=bounds)
    except SettingError:
        os._exit(REFUSED)
    except (MemoryError, RuntimeError):
        os._exit(NO_MEMORY)
    os._exit(0)


def reached(name: str, n: int, method: str, seconds: float) -> str:
    """Best J over J at the start, or why there is none."""
    first = STANDARD[name].objective(start_of(name, n)).value()
    context = multiprocessing.get_context("fork")
    best = context.Value("d", np.inf, lock=False)
    process = context.Process(target=watched, args=(name, n, method, best))
    process.start()
    process.join(seconds)
    is_late = process.is_alive()
    if is_late:
        process.kill()
        process.join()
    if process.exitcode == REFUSED:
        return "refused"
    if process.exitcode == NO_MEMORY or (process.exitcode != 0 and not is_late):
        return "memory"
    if not np.isfinite(best.value):
        return "nothing *"
    return f"{best.value / first:.0e}{' *' if is_late else ''}"


def overhead() -> list[str]:
    """Seconds of the library alone, and of the same search through our face, on a function that costs nothing."""
    x0, rows = np.full(10, -1.0), []
    own, ours = [], []
    for _ in range(5):
        began = time.perf_counter()
        cma.fmin2(optimize.rosen, x0, 0.3, {"maxfevals": 3000, "verbose": -9, "seed": 1})
        own.append(time.perf_counter() - began)
        began = time.perf_counter()
        minimize(optimize.rosen, "cma-es", 3000, start=x0, sigma=0.3)
        ours.append(time.perf_counter() - began)
    rows.append(f"| cma-es, 3,000 evaluations | {min(own):.3f} | {min(ours):.3f} |")
    own, ours = [], []
    for _ in range(5):
        began = time.perf_counter()
        optimize.minimize(optimize.rosen, x0, method="Powell", options={"maxfev": 3000})
        own.append(time.perf_counter() - began)
        began = time.perf_counter()
        minimize(optimize.rosen, "powell", 3000, start=x0)
        ours.append(time.perf_counter() - began)
    rows.append(f"| powell, up to 3,000 evaluations | {min(own):.3f} | {min(ours):.3f} |")
    return rows


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20.0)
    seconds = parser.parse_args().seconds
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "cma", "optuna"))
    lines = [
        "# Search: what still works in how many dimensions",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}; {platform.machine()}, {os.cpu_count()} cores, one thread, load average "
        f"{os.getloadavg()[0]:.1f}; Python {platform.python_version()}, torch {torch.__version__}, {packages}.",
        "",
        f"Best J over J at the start, after {BUDGET} forward passes (J one, with its gradient four, a product with the "
        f"Hessian six) or {seconds:g} s, whichever came first; * marks the seconds, *nothing* that "
        "no J was asked within them, *memory* that 8 GiB were not enough. One seed. *Refused*: a grid would have too "
        "many points, or J has no closed form. The start is drawn from the box.",
    ]
    for name in FUNCTIONS:
        lines += ["", f"## {name}", "", "| method | " + " | ".join(f"n = {n:,}" for n in SIZES) + " |"]
        lines += ["|---" * (1 + len(SIZES)) + "|"]
        for method in METHODS:
            cells = [reached(name, n, method, seconds) for n in SIZES]
            lines.append(f"| {method} | " + " | ".join(cells) + " |")
            print(lines[-1], flush=True)
            RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    lines += ["", "## What the face costs", "", "Least of five turns each, seconds.", ""]
    lines += ["| search | library alone | through minimize |", "|---|---|---|", *overhead()]
    RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
