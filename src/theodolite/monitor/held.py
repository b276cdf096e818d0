"""Which batches does the monitor keep: a fixed reference, and a sample of all that passed."""

import math
import random
import weakref
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from theodolite.objective import count_examples
from theodolite.objective.data import Batch
from theodolite.probes.samples import kept, leaves_of, mapped, size_of, versions_of

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
    No batch is in it twice: one of the same tensors as another, as in full-batch training, is passed over.
    """

    def __init__(self, device: torch.device, seed: int) -> None:
        """Keep nothing yet."""
        self._device = device
        self._random = random.Random(seed)
        self._seen = _Seen(_SAMPLE_BATCHES)
        self._identities: list[_Identity] = []
        self._places: dict[tuple[int, ...], int] = {}
        self._arrived = self._next = self._bytes = self._held_examples = 0
        self._weight = 1.0
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
        return not self._is_full

    def arrive(self, batch: Batch) -> None:
        """Take note of a batch, and keep a copy of it if it is chosen."""
        self._arrived += 1
        if self._is_full and self._arrived < self._next and self.is_complete:
            return
        leaves = leaves_of(batch)
        if not self._seen.is_new(leaves) and not (self._is_full and self._arrived >= self._next):
            return
        if not self.is_complete:
            self.reference.append(self.copy(batch))
        if not self._is_full:
            self._fill(batch, leaves)
        if self._is_full and self._arrived >= self._next:
            self._replace(batch, leaves)

    def _fill(self, batch: Batch, leaves: list[Any]) -> None:
        """Add a batch to the sample, if there is room."""
        size, weight = len(self.sample), size_of(batch)
        has_room = (
            self._held_examples < _SAMPLE_EXAMPLES
            and size < (_SAMPLE_BATCHES if leaves else _OPAQUE_BATCHES)
            and self._bytes + weight <= _SAMPLE_BYTES
        )
        if size and not has_room:
            self._is_full, self._next = True, self._arrived - 1
            self._skip()
            return
        self.sample.append(self.copy(batch))
        self._places[_key(leaves)] = size
        self._identities.append(_Identity.of(leaves))
        self._bytes += weight
        self._held_examples += count_examples(batch)

    def _replace(self, batch: Batch, leaves: list[Any]) -> None:
        """Let a batch take a random place in the sample, unless it is there already."""
        while self._next <= self._arrived:
            self._skip()
        known = self._places.get(_key(leaves))
        if known is not None and self._identities[known].is_of(leaves):
            return
        place = self._random.randrange(len(self.sample))
        self.sample[place], self._identities[place] = self.copy(batch), _Identity.of(leaves)
        self._places[_key(leaves)] = place  # what stood there keeps its key: whoever looks there finds another

    def _skip(self) -> None:
        """Draw which arrival is the next to be chosen (Li 1994, algorithm L): no coin is tossed for those between."""
        self._weight *= math.exp(math.log(1.0 - self._random.random()) / len(self.sample))
        gap = math.log(1.0 - self._random.random()) / math.log1p(-min(self._weight, 1.0 - 1e-12))
        self._next += 1 + int(gap)

    def copy(self, batch: Batch) -> Batch:
        """A copy that later changes in place cannot reach, on the device of the parameters."""
        return mapped(kept(batch), lambda leaf: leaf.to(self._device) if isinstance(leaf, Tensor) else leaf)


def _key(leaves: list[Any]) -> tuple[int, ...]:
    """Where the tensors of a batch are: a place to look for the same batch, not a proof."""
    return tuple(map(id, leaves))


@dataclass(frozen=True)
class _Identity:
    """Which tensors a batch was made of, and in which version: an address alone is soon used again."""

    refs: tuple[weakref.ref[Any], ...]
    versions: tuple[int, ...]

    @classmethod
    def of(cls, leaves: list[Any]) -> Self:
        """The identity of a batch with these tensors."""
        return cls(tuple(map(weakref.ref, leaves)), versions_of(leaves))

    def is_of(self, leaves: list[Any]) -> bool:
        """Whether a batch is made of the same tensors, unchanged; one without tensors is like no other."""
        return (
            bool(leaves)
            and len(self.refs) == len(leaves)
            and all(ref() is leaf for ref, leaf in zip(self.refs, leaves, strict=True))
            and self.versions == versions_of(leaves)
        )


class _Seen:
    """Which batches passed before."""

    def __init__(self, capacity: int) -> None:
        """Remember so many."""
        self._capacity = capacity
        self._known: dict[tuple[int, ...], _Identity] = {}

    def is_new(self, leaves: list[Any]) -> bool:
        """Whether these tensors have not passed together before, unchanged; remembers them."""
        if not leaves:
            return True
        key = _key(leaves)
        known = self._known.get(key)
        if known is not None and known.is_of(leaves):
            return False
        if known is not None or len(self._known) < self._capacity:
            self._known[key] = _Identity.of(leaves)
        return True
