"""hessian-eigenthings, asked."""

from functools import partial
from typing import Any

import torch
from models import Case
from peers.candidates import TRACE_PRODUCTS, Candidate, Kernel, Package, Products, optional
from torch import nn

library = optional("hessian_eigenthings")


def held(case: Case) -> Any:
    return library.HessianOperator(case.model, [case.batch], library.supervised_loss(nn.CrossEntropyLoss()))


def held_ggn(case: Case) -> Any:
    outer = library.supervised_loss_of_output(nn.CrossEntropyLoss())
    return library.GGNOperator(case.model, [case.batch], library.supervised_forward, outer)


def products(make: Any, case: Case) -> Products:
    own = make(case)
    return lambda v: torch.stack([own.matvec(column) for column in v.unbind(1)], 1)


def largest(steps: int | None, case: Case, seed: int) -> Any:
    return library.lanczos(held(case), k=5, which="LA", max_iter=steps, seed=seed).eigenvalues


def density(settings: dict[str, int], kernel: Kernel, case: Case, seed: int) -> Any:
    found = library.spectral_density(held(case), seed=seed, **settings)
    return kernel.smooth(found.raw_eigenvalues, found.raw_weights), None


def trace(case: Case, seed: int) -> Any:
    found = library.trace(held(case), num_matvecs=TRACE_PRODUCTS, seed=seed)
    return found.estimate, found.stderr


PACKAGE = library and Package(
    "hessian-eigenthings",
    "hessian-eigenthings",
    hessian=Candidate("hessian-eigenthings", partial(products, held)),
    ggn=Candidate("hessian-eigenthings", partial(products, held_ggn)),
    eigenvalues={
        f"hessian-eigenthings, max_iter {steps or 'as it comes'}": partial(largest, steps) for steps in (None, 20, 40)
    },
    densities={
        "hessian-eigenthings, 20 x 4": partial(density, {"lanczos_steps": 20, "num_runs": 4}),
        "hessian-eigenthings, as it comes (80 x 10)": partial(density, {}),
    },
    traces={f"hessian-eigenthings, hutch++, {TRACE_PRODUCTS} products": trace},
    counters=((library.HessianOperator, "matvec", lambda *_: 1),),
)
