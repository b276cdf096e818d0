"""What is one batch, what is a re-iterable of batches, and how many examples does a batch hold?"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from theodolite.errors import DataError
from theodolite.objective.attributes import generators_of
from theodolite.objective.isolation import RandomState, pin_randomness, randomness_kept

Batch: TypeAlias = Any
"""Whatever the caller's loss understands: a tensor, a tuple, a dict, any object."""

_PARTS = ("dataset", "datasets", "sampler", "batch_sampler", "transform", "transforms", "target_transform")
"""Attributes of loaders and data sets where something that draws at random may sit."""


def is_one_batch(data: object) -> bool:
    """Whether data is a single batch rather than a collection of batches.

    A tensor, an array, a mapping, a tuple and anything that cannot be iterated are one batch. A list is a list of
    batches, except for one case: data loaders return a batch of several tensors as a list, so a list of tensors that
    hold the same number of examples, but differ in type or in the shape of an example, is one batch.

    Args:
        data: What the caller gave.

    Returns:
        Whether it is one batch.
    """
    if isinstance(data, (Tensor, np.ndarray, Mapping, tuple, str, bytes)) or not isinstance(data, Iterable):
        return True
    if not isinstance(data, list) or len(data) < 2 or not all(isinstance(item, (Tensor, np.ndarray)) for item in data):
        return False
    counts = {item.shape[0] if item.ndim else None for item in data}
    kinds = {(str(item.dtype), tuple(item.shape[1:])) for item in data}
    return len(counts) == 1 and len(kinds) > 1


def batches_of(data: object) -> Callable[[], Iterator[Batch]]:
    """A function that starts a new pass over the batches of data.

    Args:
        data: One batch, or a re-iterable of batches.

    Returns:
        A function without arguments; each call iterates over the same batches.

    Raises:
        DataError: If data is an iterator, which can be read only once, an empty list, or a data set of examples.
    """
    if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        raise DataError(
            f"data must be one batch or a re-iterable of batches, got a {type(data).__name__}, which holds single "
            "examples. Pass a DataLoader over it."
        )
    if is_one_batch(data):
        return lambda: iter((data,))
    assert isinstance(data, Iterable)
    iterable: Iterable[Batch] = data
    if isinstance(data, Iterator):
        raise DataError(
            f"data must be one batch or a re-iterable of batches, got a {type(data).__name__}, which can be read only "
            "once. Pass list(data), a DataLoader, or one batch."
        )
    if isinstance(data, Sequence) and len(data) == 0:
        raise DataError(f"data must hold at least one batch, got an empty {type(data).__name__}.")
    return lambda: _quiet_pass(iterable)


def _quiet_pass(data: Iterable[Batch]) -> Iterator[Batch]:
    """One pass over a loader, the same each time, that moves no random generator.

    Loaders draw from the global generators, and from their own, when they shuffle and augment. Each batch is drawn
    under a stream of randomness that starts at a fixed seed; in between, the generators are the caller's.

    Args:
        data: The loader.

    Yields:
        Its batches.
    """
    own = generators_of(_parts_of(data))
    stream: RandomState | None = None
    batches: Iterator[Batch] | None = None
    while True:
        with torch.inference_mode(False), randomness_kept(own):
            if stream is None:
                pin_randomness(0, own)
            else:
                stream.restore()
            try:
                if batches is None:
                    batches = iter(data)
                batch = next(batches)
            except StopIteration:
                return
            stream = RandomState.capture(own)
        yield batch


def _parts_of(loader: object) -> Iterator[object]:
    """A loader and what it draws from: samplers, data sets within data sets, their transforms."""
    todo, seen = [loader], set[int]()
    while todo:
        part = todo.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        held = getattr(part, "__dict__", {})
        todo.extend(held[name] for name in _PARTS if held.get(name) is not None)


def split_batch(batch: Batch, count: int, size: int) -> list[Batch]:
    """A batch in pieces of so many examples, views where they can be.

    Args:
        batch: A tensor or array, or a dict, tuple or list that holds some, beside plain values. The first dimension of
            each has ``count`` entries, or a multiple of it: labels of sequences laid end to end.
        count: Number of examples.
        size: Most examples of a piece.

    Returns:
        The pieces in order; empty if the batch holds anything else.
    """
    parts = list(_tensors_of(batch))
    if size < 1 or not parts or any(not _is_in_rows(part, count) for part in parts):
        return []
    return [_cut(batch, count, start, start + size) for start in range(0, count, size)]


def _is_in_rows(part: Tensor | np.ndarray | None, count: int) -> bool:
    """Whether something has so many rows, or a multiple."""
    return part is not None and part.ndim > 0 and part.shape[0] > 0 and part.shape[0] % count == 0


def _tensors_of(value: Any) -> Iterator[Tensor | np.ndarray | None]:
    """What a batch holds; None for what is neither a tensor nor a plain value."""
    if isinstance(value, (Tensor, np.ndarray)):
        yield value
    elif type(value) in (dict, tuple, list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors_of(item)
    elif not isinstance(value, (bool, int, float, str, bytes, type(None))):
        yield None


def _cut(value: Any, count: int, start: int, end: int) -> Any:
    """The rows of some examples, of every tensor that a batch holds."""
    if isinstance(value, (Tensor, np.ndarray)):
        rows = value.shape[0] // count
        return value[start * rows : end * rows]
    if isinstance(value, dict):
        return {key: _cut(item, count, start, end) for key, item in value.items()}
    return type(value)(_cut(item, count, start, end) for item in value) if isinstance(value, (tuple, list)) else value


def count_examples(batch: Batch) -> int:
    """Number of examples of a batch.

    Args:
        batch: A tensor or array, or a mapping, sequence or object that holds some.

    Returns:
        Length of the first tensor or array in it that has a dimension; 1 if there is none.
    """
    length = _length(batch)
    return 1 if length is None else length


def _length(batch: Batch, depth: int = 4) -> int | None:
    """Length of the first tensor with a dimension, in the order in which a batch holds its parts."""
    if isinstance(batch, (Tensor, np.ndarray)):
        return int(batch.shape[0]) if batch.ndim else None
    if not depth or isinstance(batch, (bool, int, float, str, bytes, type, type(None))) or callable(batch):
        return None
    lengths = (_length(part, depth - 1) for part in _held_by(batch))
    return next((length for length in lengths if length is not None), None)


def _held_by(batch: Batch) -> Iterable[Any]:
    """What a container or an object holds."""
    if isinstance(batch, (tuple, list)):
        return batch
    if isinstance(batch, Mapping):
        return batch.values()
    slots = [name for kind in type(batch).__mro__[::-1] for name in getattr(kind, "__slots__", ())]
    return [*getattr(batch, "__dict__", {}).values(), *(getattr(batch, name, None) for name in slots)]
