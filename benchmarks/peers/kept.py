"""What keeping a graph costs: memory of ours beside PyHessian's, which keeps one too, at equal speed."""

import statistics
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace

from models import Case
from peers import by_hand, ours, pyhessian
from peers.candidates import Candidate
from peers.measuring import megabytes
from peers.products import Entrant, probe_vectors, raced

HEAD = (
    "| | peak MB, first ever | peak MB, fresh | held MB | peak / PyHessian's | held / PyHessian's "
    "| a further product's time / PyHessian's |"
)


def kept_graphs(cases: Mapping[str, Callable[[], Case]], rounds: int) -> list[str]:
    """Every model's graph, kept by each who keeps one; PyHessian with kernels switched where it needs that."""
    return [HEAD, "|---" * 7 + "|", *(line for build in cases.values() for line in rows(build(), rounds)), ""]


def candidates(case: Case) -> list[Candidate]:
    found = [ours.PACKAGE.hessian, by_hand.PACKAGE.hessian]
    if pyhessian.PACKAGE:
        own = pyhessian.PACKAGE.hessian
        is_free = case.kernels is nullcontext
        found.append(own if is_free else replace(own, name=f"{own.name}, kernels switched by hand", is_helped=True))
    return found


def rows(case: Case, rounds: int) -> list[str]:
    vectors = probe_vectors(case)
    entrants = [Entrant(candidate, case, vectors) for candidate in candidates(case)]
    raced(entrants, case, rounds, ["further", "further"])
    return [line(case, entrant, entrants[-1]) for entrant in entrants]


def line(case: Case, entrant: Entrant, peer: Entrant) -> str:
    name = f"{case.name}: {entrant.candidate.name}"
    if entrant.failure:
        return f"| {name} | {entrant.failure} |" + " |" * 5
    sizes = f"{megabytes(entrant.first_ever.peak)} | {megabytes(entrant.fresh.peak)} | {megabytes(entrant.fresh.held)}"
    if peer.failure or peer.candidate.name == entrant.candidate.name:
        return f"| {name} | {sizes} | | | |"
    times = zip(entrant.times["further"], peer.times["further"], strict=True)
    ratios = (
        entrant.fresh.peak / peer.fresh.peak,
        entrant.fresh.held / peer.fresh.held,
        statistics.median([own / other for own, other in times]),
    )
    return f"| {name} | {sizes} | " + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |"
