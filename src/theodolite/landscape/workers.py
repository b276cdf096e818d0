"""How are points evaluated in other processes, with the same numbers, and what if one of them is lost?"""

import os
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from threading import Lock
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils._pytree import tree_map

from theodolite.errors import ObjectiveError, SettingError
from theodolite.landscape.flats import Flat, Surface, walking_order
from theodolite.landscape.ways import BatchLosses, Way, batch_losses
from theodolite.objective.data import Batch
from theodolite.objective.sources import ModelSource

_SHARES = 4
"""Tasks a processor: a slow one then holds up the others by a quarter of its work at most."""

_TURN = Lock()
"""Tasks of one process take turns: they share its model, its random generators and its switches."""


@dataclass(frozen=True, eq=False)
class _Held:
    """Batches that are held, in place of a loader that stays where it is."""

    batches: tuple[Batch, ...]

    def __call__(self) -> Iterator[Batch]:
        """A pass over them."""
        return iter(self.batches)


@dataclass(frozen=True, eq=False)
class _Task:
    """All that points share."""

    surface: Surface
    threads: int


def spread(
    executor: Executor,
    surface: Surface,
    rows: Float[np.ndarray, "points directions"],
    *,
    way: Way,
    note: Callable[[int], object],
) -> BatchLosses:
    """Mean loss of each batch at the points of a flat, evaluated by the workers of an executor.

    Workers run as many threads as this process: the numbers are then those that would be found here. The points of a
    worker that is lost are evaluated here.

    Args:
        executor: Any but of threads, which share what a measurement must keep apart.
        surface: J, and the flat.
        rows: c, a row a point.
        way: How to go about it.
        note: Hears how many points are done.

    Returns:
        The losses, and the way that was gone.

    Raises:
        SettingError: If the executor runs threads.
        ObjectiveError: If model, loss or data cannot be sent to another process.

    Limits: model and data are held by every worker, and travel with each task: 4 tasks a processor.
    """
    if isinstance(executor, ThreadPoolExecutor):
        raise SettingError(
            f"executor must run processes, got a {type(executor).__name__}: threads share the model's parameters and "
            "the random generators. Use ProcessPoolExecutor(mp_context=multiprocessing.get_context('spawn'))."
        )
    payload = _packed(_Task(_portable(surface), torch.get_num_threads()))
    order = walking_order(rows)
    shares = [share for share in np.array_split(order, _SHARES * (os.cpu_count() or 1)) if len(share)]
    found: dict[int, BatchLosses] = {}
    for index, result in _answers(executor, payload, [rows[share] for share in shares], way):
        found[index] = result or batch_losses(surface, rows[shares[index]], way=way)
        note(len(shares[index]))
    losses = np.empty((len(rows), len(found[0].counts)))
    for index, share in enumerate(shares):
        losses[share] = found[index].losses
    return BatchLosses(found[0].counts, losses, found[0].way)


def _answers(
    executor: Executor, payload: bytes, shares: list[np.ndarray], way: Way
) -> Iterator[tuple[int, BatchLosses | None]]:
    """Place and result of each share as it is done; None where its worker was lost."""
    futures: dict[Future[BatchLosses], int] = {}
    try:
        for index, share in enumerate(shares):
            try:
                futures[executor.submit(_evaluated, payload, share, way)] = index
            except BrokenExecutor:
                yield index, None
        for future in as_completed(futures):
            try:
                result = future.result()
            except BrokenExecutor:
                result = None
            yield futures[future], result
    finally:
        for future in futures:
            future.cancel()


def _evaluated(payload: bytes, rows: np.ndarray, way: Way) -> BatchLosses:
    """What a worker does."""
    with _TURN:
        task = _opened(payload)
        with _threads(task.threads):
            return batch_losses(task.surface, rows, way=way)


@lru_cache(maxsize=1)
def _opened(payload: bytes) -> _Task:
    """What was packed; a worker opens it once."""
    try:
        task: _Task = pickle.loads(payload)
    except (AttributeError, ImportError) as error:
        raise ObjectiveError(
            f"model and loss must be importable by other processes, got {error}. Define them in a module, not in the "
            "main script or a notebook."
        ) from error
    return task


def _packed(task: _Task) -> bytes:
    """All that points share, as bytes."""
    try:
        return pickle.dumps(task, pickle.HIGHEST_PROTOCOL)
    except (pickle.PicklingError, AttributeError, TypeError, RuntimeError) as error:
        raise ObjectiveError(
            f"model, loss and data must be picklable to be sent to other processes, got {error}. Define model and loss "
            "at the top of a module instead of inside a function or as a lambda, or leave executor out."
        ) from error


def _portable(surface: Surface) -> Surface:
    """The same with batches held, and no more than is needed."""
    source, flat = surface.source, surface.flat
    if isinstance(source, ModelSource):
        source = replace(source, batches=_Held(tuple(tree_map(_compact, batch) for batch in source.batches())))
    return Surface(source, surface.seed, Flat(_compact(flat.origin), tuple(map(_compact, flat.directions))))


def _compact(value: Any) -> Any:
    """A tensor without what its storage holds beside it, which would travel along."""
    if isinstance(value, Tensor) and value.layout == torch.strided and value.untyped_storage().nbytes() > value.nbytes:
        return value.detach().clone()
    return value


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Run so many threads for a while."""
    former = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(former)
