"""What work costs: seconds of the process, bytes of tensors, products; and how it fails."""

import gc
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from models import Case, classify
from peers.candidates import Package, parameters
from torch.profiler import ProfilerActivity, profile


def seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def gradient(case: Case) -> None:
    """The unit of all times, with torch's default kernels."""
    torch.autograd.grad(classify(case.model, case.batch), parameters(case))


def loss_of(case: Case) -> float:
    return float(classify(case.model, case.batch).detach())


@dataclass(frozen=True)
class Footprint:
    """Bytes in tensors above what lived before: most at once, and what is left while the work's result is kept."""

    peak: int
    held: int


def footprint(work: Callable[[], object]) -> Footprint:
    """What a piece of work takes; what lived before and is given back meanwhile is not counted, to nobody's credit."""
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        kept = work()
        gc.collect()  # rubbish in reference cycles is not held
    del kept
    living: dict[int, int] = {}
    total = most = 0
    for place, size in allocations(recorded):
        if size > 0:
            living[place] = size
        total += size if size > 0 else -living.pop(place, 0)
        most = max(most, total)
    return Footprint(most, total)


def allocations(recorded: profile) -> list[tuple[int, int]]:
    """Address and size of every block in order of time; the size of one that is given back is negative.

    Addresses, because the profiler takes blocks from before it ran for others that stood in their place.
    """
    found, waiting = [], list(recorded.profiler.kineto_results.experimental_event_tree())
    while waiting:
        event = waiting.pop()
        waiting += event.children
        if type(event.extra_fields).__name__ == "_ExtraFields_Allocation":
            found.append((event.start_time_ns, event.extra_fields.ptr, event.extra_fields.alloc_size))
    return [(place, size) for _, place, size in sorted(found, key=lambda one: one[0])]


@contextmanager
def counted(packages: Iterable[Package]) -> Iterator[list[int]]:
    """Counts the products that any package forms meanwhile, in a list of one number."""
    total = [0]

    def counting(function: Callable[..., Any], width: Callable[..., int]) -> Callable[..., Any]:
        def inner(*arguments: Any) -> Any:
            total[0] += width(*arguments)
            return function(*arguments)

        return inner

    places = [place for package in packages for place in package.counters]
    former = [getattr(owner, name) for owner, name, _ in places]
    try:
        for (owner, name, width), function in zip(places, former, strict=True):
            setattr(owner, name, counting(function, width))
        yield total
    finally:
        for (owner, name, _), function in zip(places, former, strict=True):
            setattr(owner, name, function)


def told(error: BaseException) -> str:
    """How something failed: its name and its message, whole, on one line."""
    return f"raises {type(error).__name__}: {' '.join(str(error).split()).replace('|', '/')}"


def megabytes(size: int) -> str:
    return f"{size / 1e6:.0f}"
