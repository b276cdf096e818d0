"""PyHessian, asked."""

from functools import partial
from typing import Any

import numpy as np
import torch
from models import Case
from peers.candidates import TRACE_PRODUCTS, Candidate, Kernel, Package, Products, optional
from torch import Tensor, nn

library = optional("pyhessian.hessian")


def held(case: Case) -> Any:
    case.model.zero_grad()
    return library.hessian(case.model, nn.CrossEntropyLoss(), data=case.batch, cuda=False)


def products(case: Case) -> Products:
    own = held(case)
    return lambda v: library.hessian_vector_product(own.gradsH, own.params, v)


def power(rtol: float, case: Case, seed: int) -> Any:
    # Its default of 100 steps a value would stop the finest tolerance early.
    return held(case).eigenvalues(maxIter=200, tol=rtol, top_n=5)[0]


def density(steps: int, probes: int, kernel: Kernel, case: Case, seed: int) -> Any:
    return kernel.smooth(*held(case).density(iter=steps, n_v=probes)), None


def mended_density(steps: int, probes: int, kernel: Kernel, case: Case, seed: int) -> Any:
    torch.eig, raising = removed_eig, torch.eig
    try:
        return density(steps, probes, kernel, case, seed)
    finally:
        torch.eig = raising


def removed_eig(matrix: Tensor, eigenvectors: bool) -> tuple[Tensor, Tensor]:
    """What torch.eig gave for symmetric matrices before it was removed; PyHessian 0.1 calls it."""
    values, vectors = torch.linalg.eigh(matrix)
    return values[:, None], vectors


def trace(settings: dict[str, Any], case: Case, seed: int) -> Any:
    return float(np.mean(held(case).trace(**settings))), float("nan")


PACKAGE = library and Package(
    "PyHessian",
    "PyHessian",
    hessian=Candidate("PyHessian", products, takes_lists=True),
    eigenvalues={f"PyHessian, tol {rtol:g}": partial(power, rtol) for rtol in (1e-2, 1e-3, 1e-5)},
    densities={
        "PyHessian, as it comes (100 x 1)": partial(density, 100, 1),
        "PyHessian, 100 x 1, torch.eig given back": partial(mended_density, 100, 1),
        "PyHessian, 20 x 4, torch.eig given back": partial(mended_density, 20, 4),
    },
    traces={
        "PyHessian, as it comes": partial(trace, {}),
        # A tolerance of zero is never met: it spends them all.
        f"PyHessian, {TRACE_PRODUCTS} products": partial(trace, {"maxIter": TRACE_PRODUCTS, "tol": 0.0}),
    },
    counters=((library, "hessian_vector_product", lambda *_: 1),),
)
