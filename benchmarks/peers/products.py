"""Products: each candidate once a round, in turn."""

import copy
import gc
import statistics
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from models import Case
from peers.candidates import Candidate, flat, parts, size_of
from peers.measuring import Footprint, footprint, gradient, megabytes, seconds, told
from peers.truth import error_of
from torch import Tensor

BLOCK = 8
WRONG = 1e-3
"""A relative error that rounding of float32 is far from."""


TIMES = ("first", "fresh", "further", "block")
"""First ever, first at a point, each further, each of a block."""


class Entrant:
    """A candidate at work on a case of its own, or how it failed."""

    def __init__(self, candidate: Candidate, case: Case, vectors: Tensor) -> None:
        self.candidate, self.case = candidate, replace(case, model=copy.deepcopy(case.model))
        split = candidate.takes_lists
        self.first: Any = parts(case, vectors[:, 0]) if split else vectors[:, :1]
        self.block: Any = [parts(case, column) for column in vectors.unbind(1)] if split else vectors
        self.failure, self.block_failure = "", ""
        self.first_ever, self.fresh = Footprint(0, 0), Footprint(0, 0)
        self.times: dict[str, list[float]] = {key: [] for key in TIMES}
        try:
            with candidate.within(case):
                self._open()
        except Exception as error:
            self.failure = told(error)
            return
        try:
            with candidate.within(case):
                self.many()
        except Exception as error:
            self.block_failure = told(error)

    def _open(self) -> None:
        self.begun(self.candidate.start(self.case))  # torch sets itself up
        self.case.model.zero_grad()
        self.first_ever = footprint(lambda: self.begun(self.candidate.start(self.case)))
        self.prepared = self.candidate.start(self.case)
        self.begun(self.prepared)
        self.case.model.zero_grad()
        self.fresh = footprint(lambda: self.begun(self.prepared))
        self.case.model.zero_grad()
        self.products = self.begun(self.prepared)

    def begun(self, prepared: Any) -> Any:
        """Opened, with a first product made."""
        products = self.candidate.open(prepared)
        products(self.first)
        return products

    def columns(self, product: Any) -> Tensor:
        if not self.candidate.takes_lists:
            return product
        several = product if isinstance(product, list) else [product]
        return torch.stack([flat(one) for one in several], 1)

    def many(self) -> Any:
        return [self.products(one) for one in self.block] if self.candidate.takes_lists else self.products(self.block)

    def error(self, truth: Tensor) -> float:
        """The greater of the errors of one product and of the block."""
        with self.candidate.within(self.case):
            one = error_of(self.columns(self.products(self.first)), truth[:, :1])
            return one if self.block_failure else max(one, error_of(self.columns(self.many()), truth))

    def race(self, keys: Sequence[str]) -> None:
        """One time of each kind that is asked for."""
        works: dict[str, Callable[[], object]] = {
            "first": lambda: self.begun(self.candidate.start(self.case)),
            "fresh": lambda: self.begun(self.prepared),
            "further": lambda: self.products(self.first),
            "block": self.many,
        }
        is_idle = {"first": self.candidate.prepare is None, "block": bool(self.block_failure)}
        with self.candidate.within(self.case):
            for key in keys:
                if not is_idle.get(key, False):
                    self.times[key].append(seconds(works[key]) / (BLOCK if key == "block" else 1))

    def ratio(self, key: str, unit: Sequence[float]) -> float:
        """Median over the rounds of a time over the unit of its round; NaN if it was not measured."""
        pairs = list(zip(self.times[key], unit, strict=True)) if self.times[key] else []
        return statistics.median([one / other for one, other in pairs]) if pairs else float("nan")


def probe_vectors(case: Case) -> Tensor:
    vectors = torch.randn(size_of(case), BLOCK, generator=torch.Generator().manual_seed(1))
    return vectors / vectors.norm(dim=0)


def raced(
    entrants: Sequence[Entrant], case: Case, rounds: int, keys: Sequence[str] = TIMES
) -> tuple[list[float], float]:
    """Rounds, forwards and backwards in turn: a gradient's seconds in each; what switched kernels make of it."""
    running, unit, switched = [entrant for entrant in entrants if not entrant.failure], [], []
    for index in range(rounds):
        gc.collect()
        unit.append(statistics.median(seconds(lambda: gradient(case)) for _ in range(5)))
        with case.kernels():
            switched.append(statistics.median(seconds(lambda: gradient(case)) for _ in range(3)))
        for entrant in running if index % 2 else reversed(running):
            entrant.race(keys)
    return unit, statistics.median(one / two for one, two in zip(switched, unit, strict=True))


def row(entrant: Entrant, unit: Sequence[float], truth: Tensor) -> str:
    if entrant.failure:
        return f"| {entrant.candidate.name} | {entrant.failure} |" + " |" * 6
    first = "the same" if entrant.candidate.prepare is None else f"{entrant.ratio('first', unit):.2f}"
    block = entrant.block_failure or f"{entrant.ratio('block', unit):.2f}"
    error = entrant.error(truth)
    wrong = f"**{error:.1e}, wrong**" if error > WRONG else f"{error:.1e}"
    times = f"{first} | {entrant.ratio('fresh', unit):.2f} | {entrant.ratio('further', unit):.2f} | {block}"
    memory = f"{megabytes(entrant.fresh.peak)} | {megabytes(entrant.fresh.held)}"
    return f"| {entrant.candidate.name} | {times} | {wrong} | {memory} |"


def product_table(
    case: Case, candidates: Sequence[Candidate], truth: Callable[[Case, Tensor], Tensor], rounds: int
) -> list[str]:
    """One model, all candidates."""
    vectors = probe_vectors(case)
    exact = truth(case, vectors)
    entrants = [Entrant(candidate, case, vectors) for candidate in candidates]
    unit, other = raced(entrants, case, rounds)
    head = f"one gradient {1e3 * statistics.median(unit):.1f} ms"
    head += "" if case.kernels is nullcontext else f" ({other:.2f} times that with kernels switched by hand)"
    peak = footprint(lambda: gradient(case)).peak
    return [
        f"{case.name}, {size_of(case):,} parameters, {case.data}; {head}, {megabytes(peak)} MB at its peak.",
        "",
        f"| in gradients | first ever | fresh | each further | block of {BLOCK}, each | error | peak MB | held MB |",
        "|---" * 8 + "|",
        *(row(entrant, unit, exact) for entrant in entrants),
        "",
    ]
