"""curvlinops, asked."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from models import Case
from peers.candidates import (
    TRACE_PRODUCTS,
    Candidate,
    Kernel,
    Package,
    Products,
    optional,
    parameters,
    size_of,
    start_vector,
)
from scipy.sparse.linalg import eigsh
from torch import Tensor, nn

library, papyan = optional("curvlinops"), optional("curvlinops.papyan2020traces.spectrum")


def held(case: Case, kind: str = "Hessian") -> Any:
    make, loss = getattr(library, f"{kind}LinearOperator"), nn.CrossEntropyLoss()
    return make(case.model, loss, parameters(case), [case.batch], check_deterministic=False)


def products(kind: str, case: Case) -> Products:
    own = held(case, kind)
    return lambda v: own @ v


def arpack(case: Case, seed: int) -> Any:
    own = held(case).to_scipy()
    return eigsh(own, 5, which="LA", tol=1e-3, v0=start_vector(own.shape[0], seed), return_eigenvectors=False)[::-1]


def density(steps: int, probes: int, kernel: Kernel, case: Case, seed: int) -> Any:
    # Its kernel narrows with the number of Lanczos vectors; kappa sets it to 1 % of the range again, which its margin
    # makes 1.1 times as long. At 38 vectors that is its default, 3.
    kappa = math.exp((1.1 / 0.01 / (steps - 1)) ** 2 / 8)
    at, curve = papyan.lanczos_approximate_spectrum(held(case), steps, num_repeats=probes, kappa=kappa)
    return np.interp(kernel.grid, at.double().numpy(), curve.double().numpy(), left=0, right=0), None


def trace(name: str, case: Case, seed: int) -> Any:
    return float(getattr(library, name)(held(case), TRACE_PRODUCTS)), float("nan")


def in_blocks(width: int, case: Case) -> Tensor:
    own, size = held(case), size_of(case)
    matrix = torch.empty(size, size)
    for first in range(0, size, width):
        columns = torch.zeros(size, min(width, size - first))
        columns[first:].fill_diagonal_(1)
        matrix[:, first : first + width] = own @ columns
    return matrix


def dense(size: int) -> Mapping[str, Callable[[Case], Tensor]]:
    at_once = {"curvlinops @ eye": partial(in_blocks, size)} if size < 5000 else {}
    return {"curvlinops, 64 columns at once": partial(in_blocks, 64), **at_once}


PACKAGE = library and Package(
    "curvlinops",
    "curvlinops-for-pytorch",
    hessian=Candidate("curvlinops", partial(products, "Hessian")),
    ggn=Candidate("curvlinops", partial(products, "GGN")),
    eigenvalues={"SciPy eigsh over curvlinops, tol 0.001": arpack},
    densities={
        f"curvlinops, {steps} x {probes}": partial(density, steps, probes)
        for steps, probes in ((20, 4), (38, 1), (38, 4))
    },
    traces={f"curvlinops {name}": partial(trace, name) for name in ("hutchinson_trace", "hutchpp_trace", "xtrace")},
    dense=dense,
    counters=((library.HessianLinearOperator, "_matmat_batch", lambda op, x, y, columns: columns[0].shape[-1]),),
)
