"""Eigenvalues, densities and traces: what each method gives for its products, held against what is true."""

import statistics
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
from models import Case
from peers.candidates import Kernel, Method, size_of
from peers.measuring import loss_of
from peers.roll import PACKAGES
from peers.trials import table, tried
from peers.truth import true_largest, true_matrix

ARPACK = ("SciPy eigsh over theodolite, tol 0.001", "SciPy eigsh over curvlinops, tol 0.001")


def methods_of(kind: str) -> dict[str, Method]:
    return {name: method for package in PACKAGES for name, method in getattr(package, kind).items()}


def eigenvalues(case: Case, rounds: int) -> list[str]:
    """Five greatest eigenvalues: products, time, and the greatest relative error that was really made."""
    truth = true_largest(case, 5)

    def read(values: list[Any]) -> str:
        worst = max(float(np.max(np.abs(np.asarray(one, np.float64) / truth - 1))) for one in values)
        return f"{worst:.1e} | " + " | ".join("yes" if worst <= rtol else "**no**" for rtol in (1e-2, 1e-3))

    head = (
        "| | products | time in gradients | time / eigsh over theodolite | time / eigsh over curvlinops "
        "| greatest error | within 1 % | within 0.1 % |"
    )
    with case.kernels():
        found = tried(case, methods_of("eigenvalues"), rounds)
    listed = ", ".join(f"{value:.3g}" for value in truth)
    switched = "" if case.kernels is nullcontext else " Kernels switched by hand for all."
    return [
        f"{case.name}, {case.data}, loss {loss_of(case):.2g}; true eigenvalues {listed} "
        f"(ARPACK in float64, to 1e-9); start vectors: {rounds}.{switched}",
        "",
        *table(head, found, read, ARPACK),
    ]


def densities(case: Case, rounds: int) -> list[str]:
    """Spectral density under a kernel of 1 % of the range: L1 distance (0 to 2) to that of the true eigenvalues."""
    truth = np.linalg.eigvalsh(true_matrix(case))
    reach = truth[-1] - truth[0]
    kernel = Kernel(np.linspace(truth[0] - 0.05 * reach, truth[-1] + 0.05 * reach, 2048), 0.01 * reach)
    exact = kernel.smooth(truth, np.full(len(truth), 1 / len(truth)))

    def read(values: list[Any]) -> str:
        errors = [float(np.abs(curve - exact).sum() * (kernel.grid[1] - kernel.grid[0])) for curve, _ in values]
        bands = [exact[np.abs(curve - exact) <= 1.96 * band].sum() for curve, band in values if band is not None]
        held = f"{100 * statistics.mean(bands) / exact.sum():.0f} %" if bands else "no band"
        return f"{statistics.median(errors):.4f} | {max(errors):.4f} | {held}"

    head = (
        "| products a probe x probes | products, all | time in gradients | L1 error, median | greatest "
        "| of the mass within 1.96 errors |"
    )
    methods = {name: partial(method, kernel) for name, method in methods_of("densities").items()}
    return [
        f"{case.name}, {case.data}, {size_of(case):,} parameters, loss {loss_of(case):.2g}; truth: all eigenvalues of "
        f"the dense Hessian in float64, under the same kernel, a Gaussian with σ of 1 % of the range; {rounds} seeds.",
        "",
        *table(head, tried(case, methods, rounds), read),
    ]


def traces(case: Case, rounds: int) -> list[str]:
    """The trace: error that was made, and how often the truth lay within 1.96 stated errors."""
    truth = float(np.trace(true_matrix(case)))

    def read(values: list[Any]) -> str:
        misses = np.array([value - truth for value, _ in values])
        stated = np.array([error for _, error in values])
        kept = "none stated" if np.isnan(stated).any() else f"{100 * np.mean(np.abs(misses) <= 1.96 * stated):.0f} %"
        return f"{100 * np.sqrt(np.mean(misses**2)) / abs(truth):.2f} | {kept}"

    head = "| | products | time in gradients | error, % (rms) | truth within 1.96 errors |"
    return [
        f"{case.name}, {case.data}, true trace {truth:.4g} (dense Hessian in float64); {rounds} seeds.",
        "",
        *table(head, tried(case, methods_of("traces"), rounds), read),
    ]
