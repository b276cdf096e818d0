"""Theodolite, asked."""

from functools import partial
from typing import Any

import torch
from models import Case, classify
from peers.candidates import TRACE_PRODUCTS, Candidate, Kernel, Package, Products, start_vector
from scipy.sparse.linalg import eigsh

from theodolite import Objective, ggn, hessian, largest_eigenvalues, spectral_density, trace
from theodolite.linalg.operators import Operator


def objective(case: Case) -> Objective:
    return Objective(case.model, classify, case.batch)


def operator(case: Case) -> Operator:
    return hessian(objective(case))


def hessian_of(formed: Objective) -> Products:
    return hessian(formed).apply


def ggn_of(formed: Objective) -> Products:
    return ggn(formed).apply


def largest(rtol: float, case: Case, seed: int) -> Any:
    return largest_eigenvalues(operator(case), 5, rtol=rtol, generator=torch.Generator().manual_seed(seed)).values


def arpack(case: Case, seed: int) -> Any:
    held = operator(case).to_scipy()
    return eigsh(held, 5, which="LA", tol=1e-3, v0=start_vector(held.shape[0], seed), return_eigenvectors=False)[::-1]


def density(settings: dict[str, int], kernel: Kernel, case: Case, seed: int) -> Any:
    found = spectral_density(operator(case), generator=torch.Generator().manual_seed(seed), **settings)
    return found.density(kernel.grid, kernel.width)


def trace_of(settings: dict[str, Any], case: Case, seed: int) -> Any:
    found = trace(operator(case), generator=torch.Generator().manual_seed(seed), **settings)
    return found.value, found.error


def sized(products: int, probes: int) -> Any:
    return partial(density, {"products": products, "probes": probes})


NAME = "**theodolite**"

PACKAGE = Package(
    NAME,
    "theodolite",
    hessian=Candidate(NAME, hessian_of, objective),
    ggn=Candidate(NAME, ggn_of, objective),
    eigenvalues={
        f"{NAME}, rtol 0.01": partial(largest, 1e-2),
        f"{NAME}, rtol 0.001": partial(largest, 1e-3),
        "SciPy eigsh over theodolite, tol 0.001": arpack,
    },
    densities={
        **{
            f"{NAME}, {products} x {probes}": sized(products, probes)
            for products, probes in ((20, 1), (20, 4), (40, 4))
        },
        f"{NAME}, as it comes (20 x 10)": partial(density, {}),
    },
    traces={
        f"{NAME}, as it comes": partial(trace_of, {}),
        f"{NAME}, {TRACE_PRODUCTS} products": partial(trace_of, {"products": TRACE_PRODUCTS}),
    },
    dense=lambda size: {f"{NAME} to_dense": lambda case: operator(case).to_dense()},
    counters=((Operator, "apply", lambda op, vectors: vectors.shape[1]),),
)
