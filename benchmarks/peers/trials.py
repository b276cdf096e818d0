"""Estimates: each method once a round, each round with a seed of its own."""

import copy
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from models import Case
from peers.candidates import Method
from peers.measuring import counted, gradient, seconds, told
from peers.roll import PACKAGES


@dataclass
class Trials:
    """One method: what it gave, its products and its seconds, round by round; or how it failed."""

    method: Method
    values: list[Any] = field(default_factory=list)
    products: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    failure: str = ""

    def run(self, case: Case, seed: int) -> None:
        own = replace(case, model=copy.deepcopy(case.model))
        torch.manual_seed(seed)  # some peers draw from the global generator
        with counted(PACKAGES) as total:
            started = time.process_time()
            try:
                self.values.append(self.method(own, seed))
            except Exception as error:
                self.failure = told(error)
                return
            self.seconds.append(time.process_time() - started)
        self.products.append(total[0])

    def over(self, others: Sequence[float]) -> float:
        """Median over the rounds of its time over another of the same round."""
        return statistics.median([own / other for own, other in zip(self.seconds, others, strict=True)])


@dataclass(frozen=True)
class Rounds:
    """All methods of a table, by name, and the seconds of a gradient in each round."""

    methods: Mapping[str, Trials]
    unit: Sequence[float]


def tried(case: Case, methods: Mapping[str, Method], rounds: int) -> Rounds:
    """Rounds, forwards and backwards in turn."""
    trials, unit = {name: Trials(method) for name, method in methods.items()}, []
    for seed in range(rounds):
        unit.append(statistics.median(seconds(lambda: gradient(case)) for _ in range(11)))
        ordered = list(trials.values())
        for one in ordered if seed % 2 else reversed(ordered):
            if not one.failure:
                one.run(case, seed)
    return Rounds(trials, unit)


def table(head: str, found: Rounds, read: Callable[[list[Any]], str], beside: Sequence[str] = ()) -> list[str]:
    """A row a method: products, time, its time over that of others, and what ``read`` says of the values."""
    columns = head.count("|") - 1
    lines = [head, "|---" * columns + "|"]
    for name, one in found.methods.items():
        if one.failure:
            lines.append(f"| {name} | {one.failure} |" + " |" * (columns - 2))
            continue
        ratios = "".join(f" | {ratio_of(one, found.methods.get(other))}" for other in beside)
        numbers = f"{statistics.median(one.products):.0f} | {one.over(found.unit):.0f}{ratios}"
        lines.append(f"| {name} | {numbers} | {read(one.values)} |")
    return [*lines, ""]


def ratio_of(one: Trials, other: Trials | None) -> str:
    """Its time over another's; nothing where the other is not there."""
    return "" if other is None or other.failure else f"{one.over(other.seconds):.2f}"
