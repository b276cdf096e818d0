"""Who is measured, in the order of the tables."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

from models import Case
from peers import by_hand, curvlinops, eigenthings, ours, pyhessian
from peers.candidates import Candidate

PEERS = [found.PACKAGE for found in (pyhessian, curvlinops, eigenthings) if found.PACKAGE]
PACKAGES = [ours.PACKAGE, by_hand.PACKAGE, *PEERS]
MISSING = [
    name
    for name, found in (("PyHessian", pyhessian), ("curvlinops", curvlinops), ("hessian-eigenthings", eigenthings))
    if not found.PACKAGE
]


def helped(rows: Sequence[Candidate]) -> list[Candidate]:
    """Each row as it comes, then with kernels switched by hand."""
    return [*rows, *(replace(row, name=f"{row.name}, kernels switched by hand", is_helped=True) for row in rows)]


def product_candidates(kind: str, case: Case) -> list[Candidate]:
    """Who forms products of this kind, "hessian" or "ggn"; peers also helped, where the case has kernels to switch."""
    own = [getattr(package, kind) for package in (ours.PACKAGE, by_hand.PACKAGE) if getattr(package, kind)]
    rows = [getattr(package, kind) for package in PEERS if getattr(package, kind)]
    return [*own, *(rows if case.kernels is nullcontext else helped(rows))]
