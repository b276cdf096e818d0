"""Which batches does the monitor keep: a fixed reference, and a sample of all that passed."""

import random
import weakref
from typing import Any

import torch
from torch import Tensor

from theodolite.objective import count_examples
from theodolite.objective.data import Batch
from theodolite.probes.samples import kept, leaves_of, mapped, size_of

REFERENCE_BATCHES = 4
"""A reference sample of four batches: larger than a batch, and its pass costs about as much as four steps."""

_SAMPLE_EXAMPLES = 2048
_SAMPLE_BATCHES = 1024
_SAMPLE_BYTES = 256 * 2**20
_OPAQUE_BATCHES = 16
"""Batches without a tensor, such as a step counter, say nothing of the data: a few suffice."""

_PATIENCE = 3 * REFERENCE_BATCHES


class Held:
    """Copies of batches of the run, on the device of the parameters.

    The first few different batches make the *reference*, fixed for the run, so that its loss is comparable over time.
    The *sample* is a uniform random choice of all batches that passed (reservoir sampling), for the survey at the end.
    A batch of the same tensors as one before, as in full-batch training, is kept once.
    """

    def __init__(self, device: torch.device, seed: int) -> None:
        """Keep nothing yet."""
        self._device = device
        self._random = random.Random(seed)
        self._seen = _Seen(_SAMPLE_BATCHES)
        self._arrived = 0
        self._distinct = 0
        self._bytes = 0
        self._held_examples = 0
        self._is_full = False
        self.reference: list[Batch] = []
        self.sample: list[Batch] = []

    @property
    def is_complete(self) -> bool:
        """Whether the reference will not change any more."""
        return len(self.reference) >= REFERENCE_BATCHES or self._arrived >= _PATIENCE

    @property
    def is_whole(self) -> bool:
        """Whether every batch that passed is in the sample: J of the sample is then the training loss itself."""
        return self._distinct == len(self.sample)

    def arrive(self, batch: Batch) -> None:
        """Take note of a batch, and keep a copy of it if it is chosen."""
        self._arrived += 1
        leaves = leaves_of(batch)
        if not self._seen.is_new(leaves):
            return
        self._distinct += 1
        place = self._place(batch, is_opaque=not leaves)
        is_complete = self.is_complete
        if place is None and is_complete:
            return
        copy = self.copy(batch)
        if not is_complete:
            self.reference.append(copy)
        if place is not None and place == len(self.sample):
            self.sample.append(copy)
            self._bytes += size_of(copy)
            self._held_examples += count_examples(copy)
        elif place is not None:
            self._bytes += size_of(copy) - size_of(self.sample[place])
            self.sample[place] = copy

    def copy(self, batch: Batch) -> Batch:
        """A copy that later changes in place cannot reach, on the device of the parameters."""
        return mapped(kept(batch), lambda leaf: leaf.to(self._device) if isinstance(leaf, Tensor) else leaf)

    def _place(self, batch: Batch, *, is_opaque: bool) -> int | None:
        """Where a batch goes in the sample; None if it is not chosen."""
        size = len(self.sample)
        if not self._is_full:
            has_room = (
                self._held_examples < _SAMPLE_EXAMPLES
                and size < (_OPAQUE_BATCHES if is_opaque else _SAMPLE_BATCHES)
                and self._bytes + size_of(batch) <= _SAMPLE_BYTES
            )
            if has_room or not size:
                return size
            self._is_full = True
        place = int(self._random.random() * self._distinct)
        return place if place < size else None


def _versions(leaves: list[Any]) -> tuple[int, ...]:
    """How often each tensor was changed in place."""
    return tuple(-1 if not isinstance(leaf, Tensor) or leaf.is_inference() else leaf._version for leaf in leaves)


class _Seen:
    """Which batches passed before, told by their living tensors: an address alone is soon used again."""

    def __init__(self, capacity: int) -> None:
        """Remember so many."""
        self._capacity = capacity
        self._known: dict[tuple[int, ...], tuple[list[weakref.ref[Any]], tuple[int, ...]]] = {}

    def is_new(self, leaves: list[Any]) -> bool:
        """Whether these tensors have not passed together before; remembers them."""
        if not leaves:
            return True
        key = tuple(map(id, leaves))
        known = self._known.get(key)
        if known is not None and all(ref() is leaf for ref, leaf in zip(known[0], leaves, strict=True)):
            versions = _versions(leaves)
            if known[1] == versions:
                return False
            self._known[key] = known[0], versions
        elif known is not None or len(self._known) < self._capacity:
            self._known[key] = [weakref.ref(leaf) for leaf in leaves], _versions(leaves)
        return True
