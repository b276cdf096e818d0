"""What is one batch, what is a re-iterable of batches, and how many examples does a batch hold?"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

from theodolite.errors import DataError
from theodolite.objective.isolation import RandomState, own_generator, pin_randomness, randomness_kept

Batch: TypeAlias = Any
"""Whatever the caller's loss understands: a tensor, a tuple, a dict, any object."""


def is_one_batch(data: object) -> bool:
    """Whether data is a single batch rather than a collection of batches.

    A tensor, an array, a mapping, a tuple and anything that cannot be iterated are one batch. A list is one batch
    when it holds only tensors or arrays, as data loaders return them; any other list is a list of batches.
    """
    if isinstance(data, (Tensor, np.ndarray, Mapping, tuple, str, bytes)) or not isinstance(data, Iterable):
        return True
    return isinstance(data, list) and bool(data) and all(isinstance(item, (Tensor, np.ndarray)) for item in data)


def batches_of(data: object) -> Callable[[], Iterator[Batch]]:
    """A function that starts a new pass over the batches of data.

    Args:
        data: One batch, or a re-iterable of batches.

    Returns:
        A function without arguments; each call iterates over the same batches.

    Raises:
        DataError: If data is an iterator, which can be read only once, or an empty list.
    """
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
    """
    samplers = (data, getattr(data, "sampler", None), getattr(getattr(data, "batch_sampler", None), "sampler", None))
    held = [own_generator(value) for owner in samplers for value in getattr(owner, "__dict__", {}).values()]
    stream: RandomState | None = None
    batches: Iterator[Batch] | None = None
    try:
        while True:
            with randomness_kept():
                if stream is None:
                    pin_randomness(0)
                else:
                    stream.restore()
                try:
                    if batches is None:
                        batches = iter(data)
                    batch = next(batches)
                except StopIteration:
                    return
                stream = RandomState.capture()
            yield batch
    finally:
        for pair in held:
            if pair is not None:
                set_state, state = pair
                set_state(state)


def count_examples(batch: Batch) -> int:
    """Number of examples of a batch: the length of the first tensor or array in it; 1 if there is none."""
    if isinstance(batch, (Tensor, np.ndarray)):
        return int(batch.shape[0]) if batch.ndim else 1
    parts: Iterable[Any] = ()
    if isinstance(batch, Mapping):
        parts = batch.values()
    elif isinstance(batch, (tuple, list)):
        parts = batch
    for part in parts:
        if isinstance(part, (Tensor, np.ndarray, Mapping, tuple, list)):
            return count_examples(part)
    return 1
