"""Which ways of asking still work in how many dimensions, and what does our face cost over the library's own?

    OMP_NUM_THREADS=1 python benchmarks/search.py [--seconds 20]

Each method has the same budget of forward passes on each function, and so many seconds; one that does not end within
them is stopped. Writes benchmarks/results/search.md; about ten minutes.
"""

import argparse
import os
import platform
import time
import warnings
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import cma
import numpy as np
import torch
from scipy import optimize

from theodolite import minimize
from theodolite.errors import TheodoliteError
from theodolite.problems.test_functions import STANDARD
from theodolite.search.ledger import Ledger

RESULT = Path(__file__).parent / "results" / "search.md"
SIZES = (2, 10, 100, 10_000, 1_000_000)
BUDGET = 5000
BOXED = ("grid", "random", "genetic", "differential-evolution", "bayesian", "tpe")
METHODS = (*BOXED, "cma-es", "nelder-mead", "powell", "l-bfgs", "cg", "newton-cg", "analytical")
FUNCTIONS = ("sphere", "rosenbrock", "rastrigin")


class TooLongError(Exception):
    """The seconds are over."""


def start_of(name: str, n: int) -> torch.Tensor:
    """A point off the middle of the box, the same for all."""
    low, high = STANDARD[name].bounds
    return torch.from_numpy(np.random.default_rng(n).uniform(low, high, n))


def reached(name: str, n: int, method: str, seconds: float) -> str:
    """Best J over J at the start, or why there is none."""
    objective, one = STANDARD[name].objective(start_of(name, n)), STANDARD[name]
    began, ask, best = time.perf_counter(), Ledger._ask, [objective.value()]
    first, note = best[0], Ledger._note

    def hurried(self, *arguments):
        if time.perf_counter() - began > seconds:
            raise TooLongError
        return ask(self, *arguments)

    def noted(self, point, answer):
        best[0] = min(best[0], answer.value) if np.isfinite(answer.value) else best[0]
        note(self, point, answer)

    Ledger._ask, Ledger._note = hurried, noted
    try:
        minimize(objective, method, BUDGET, bounds=one.bounds if method in (*BOXED, "cma-es") else None)
        mark = ""
    except TooLongError:
        mark = " *"
    except TheodoliteError as error:
        return "refused" if method in {"grid", "analytical"} else f"error: {error}"[:40]
    except MemoryError:
        return "memory"
    finally:
        Ledger._ask, Ledger._note = ask, note
    return f"{best[0] / first:.0e}{mark}"


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
        f"Hessian six) or {seconds:g} s, whichever came first; * marks the seconds. One seed. *Refused*: a grid has "
        "too many points, or J has no closed form. The start is drawn from the box.",
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
