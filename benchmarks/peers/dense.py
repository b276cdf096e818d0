"""The dense Hessian: seconds, gradients a row, memory, and the error of its products with four vectors."""

import statistics
from functools import partial

import torch
from models import Case
from peers.candidates import size_of
from peers.measuring import footprint, gradient, megabytes, seconds
from peers.roll import PACKAGES
from peers.truth import error_of, true_hessian


def dense_hessians(case: Case, rounds: int) -> list[str]:
    size = size_of(case)
    vectors = torch.randn(size, 4, generator=torch.Generator().manual_seed(1))
    truth = true_hessian(case, vectors)
    rows = {name: partial(build, case) for package in PACKAGES for name, build in package.dense(size).items()}
    unit = statistics.median(seconds(lambda: gradient(case)) for _ in range(21))
    times: dict[str, list[float]] = {name: [] for name in rows}
    for index in range(rounds):
        for name in rows if index % 2 else reversed(list(rows)):
            times[name].append(seconds(rows[name]))
    lines = [
        f"{case.name}, {size:,} parameters, one gradient {1e3 * unit:.2f} ms; the matrix {megabytes(4 * size**2)} MB.",
        "",
        "| | seconds | gradients a row | peak MB beyond the matrix | error |",
        "|---" * 5 + "|",
    ]
    for name, build in rows.items():
        errors: list[float] = []
        peak = footprint(lambda build=build, errors=errors: errors.append(error_of(build() @ vectors, truth))).peak
        taken = statistics.median(times[name])
        beyond = megabytes(peak - 4 * size**2)
        lines.append(f"| {name} | {taken:.2f} | {taken / unit / size:.2f} | {beyond} | {errors[0]:.1e} |")
    return [*lines, ""]
