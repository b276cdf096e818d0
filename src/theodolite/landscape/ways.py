"""How is J evaluated at the points of a flat: what is done once, and what at each point?"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils._pytree import tree_leaves

from theodolite.landscape.first_layer import AffineOutputs, Unread, WeightsReadError, input_of
from theodolite.landscape.flats import Placing, Surface, walking_order
from theodolite.landscape.stillness import Stillness
from theodolite.objective.isolation import isolated
from theodolite.objective.sources import BatchLoss, Source, Term

_MEMORY = 2**28
"""Bytes of data that are held at once: 256 MiB. All points are evaluated on them before more are read."""

Note = Callable[[Tensor], object]
"""Hears the losses of each point, on their device, when it is done."""


@dataclass(frozen=True)
class Way:
    """How J is evaluated at many points.

    Attributes:
        size: Most examples that are run at once; 0 leaves batches whole.
        layer: Name of the layer whose output is formed as an affine function of the coefficients; "" is none.
        is_preview: Whether the forward pass runs in bfloat16.
        is_guarded: Whether each batch is run in a guard of its own, since the model draws at random or keeps state.
        needs_graph: Whether the loss itself differentiates.
    """

    size: int = 0
    layer: str = ""
    is_preview: bool = False
    is_guarded: bool = False
    needs_graph: bool = False

    def __str__(self) -> str:
        """The way in words."""
        if self.needs_graph:
            words = ["one by one, since the loss differentiates"]
        elif self.is_guarded:
            words = ["one by one, since the model draws at random or keeps state"]
        else:
            words = ["in place"]
        if self.size:
            words.append(f"{self.size} examples at a time")
        if self.layer:
            words.append(f"first layer '{self.layer}' as an affine function")
        if self.is_preview:
            words.append("bfloat16 preview with weights combined in full precision")
        return ", ".join(words)


@dataclass(frozen=True, eq=False)
class BatchLosses:
    """Mean loss of each batch at each point.

    Attributes:
        counts: Examples of each batch.
        losses: One row a point.
        way: How they were found.
    """

    counts: Float[np.ndarray, "batches"]
    losses: Float[np.ndarray, "points batches"]
    way: Way


@dataclass(frozen=True, eq=False)
class _Piece:
    """A piece of a batch: place of the batch, examples of the piece, its loss."""

    batch: int
    count: int
    term: Term


def batch_losses(
    surface: Surface, rows: Float[np.ndarray, "points directions"], *, way: Way, note: Note | None = None
) -> BatchLosses:
    """Mean loss of each batch at the points of a flat; nothing is left changed, also by an interruption.

    Args:
        surface: J, and the flat.
        rows: c, a row a point.
        way: How to go about it. Where a model turns out to draw at random or to keep state, or a loss to differentiate,
            it is done one by one instead.
        note: Hears the losses of each point.

    Returns:
        The losses, and the way that was gone.

    Raises:
        RuntimeError: What the model raises.
    """
    try:
        found = _walk(surface, rows, way=way, note=note)
    except RuntimeError as error:
        if way.needs_graph or "does not require grad" not in str(error):
            raise
        way = Way(is_preview=way.is_preview, is_guarded=True, needs_graph=True)
        found = _walk(surface, rows, way=way, note=note)
    if found is None:
        way = Way(is_preview=way.is_preview, is_guarded=True)
        return batch_losses(surface, rows, way=way, note=note)
    return found


def _walk(
    surface: Surface, rows: Float[np.ndarray, "points directions"], *, way: Way, note: Note | None
) -> BatchLosses | None:
    """The losses; None if the model did not keep still where it had to."""
    source, order = surface.source, walking_order(rows)
    path = [tuple(row) for row in rows[order].tolist()]
    counts: list[int] = []
    blocks = []
    with ExitStack() as stack:
        stack.enter_context(isolated(source.modules, source.params.tensors, seed=surface.seed))
        stack.enter_context(torch.set_grad_enabled(way.needs_graph))
        storages = stack.enter_context(source.params.kept())
        for first, batches in _held(source):
            pieces = list(_pieces(first, batches, way.size))
            block = _Block(surface, pieces, way)
            losses = block.losses(path, storages, note)
            if losses is None:
                return None
            way = block.way
            counts += [count for count, _ in batches]
            blocks.append(_joined(losses, pieces, [count for count, _ in batches]))
    joined = np.empty((len(rows), len(counts)))
    joined[order] = np.concatenate(blocks, 1)
    return BatchLosses(np.array(counts, np.float64), joined, way)


def _held(source: Source) -> Iterator[tuple[int, list[tuple[int, Term]]]]:
    """Place of the first batch and the batches themselves, as many at a time as memory may hold."""
    held: list[tuple[int, Term]] = []
    first = size = 0
    for count, term in source.terms():
        held.append((count, term))
        leaves = tree_leaves(term.batch) if isinstance(term, BatchLoss) else []
        size += sum(leaf.nbytes for leaf in leaves if isinstance(leaf, (Tensor, np.ndarray)))
        if size > _MEMORY:
            yield first, held
            first, size, held = first + len(held), 0, []
    if held:
        yield first, held


def _pieces(first: int, batches: Sequence[tuple[int, Term]], size: int) -> Iterator[_Piece]:
    """Batches, cut where they are too long and can be cut."""
    for index, (count, term) in enumerate(batches, first):
        parts = term.split(count, size) if 0 < size < count else []
        for some, part in parts or [(count, term)]:
            yield _Piece(index, some, part)


def _joined(
    losses: Float[np.ndarray, "points pieces"], pieces: Sequence[_Piece], counts: Sequence[int]
) -> Float[np.ndarray, "points batches"]:
    """Mean losses of batches from those of their pieces."""
    if len(pieces) == len(counts):
        return losses
    starts = np.unique([piece.batch for piece in pieces], return_index=True)[1]
    sizes = np.array([piece.count for piece in pieces], np.float64)
    joined: np.ndarray = np.add.reduceat(losses * sizes, starts, axis=1) / np.array(counts, np.float64)
    return joined


class _Block:
    """Some batches, and what is done once for all points on them."""

    def __init__(self, surface: Surface, pieces: Sequence[_Piece], way: Way) -> None:
        """Take the batches and the way; its layer is dropped where it turns out not to be affine in c."""
        self._source, self._seed, self._flat = surface.source, surface.seed, surface.flat
        self._pieces, self.way = pieces, way
        self._unread: Unread | None = None

    def losses(
        self, path: Sequence[tuple[float, ...]], storages: Sequence[Tensor], note: Note | None
    ) -> Float[np.ndarray, "points pieces"] | None:
        """The loss of each piece at each point; None if the model did not keep still where it had to."""
        weights = Placing(self._flat, self._source.params, storages)
        outputs = self._outputs(path, weights)
        if outputs is None:
            self.way = replace(self.way, layer="")
            return self._along(path, weights, None, note)
        with outputs.installed():
            # A layer that nobody else asks needs no weights: those of the perceptron are 60 % of θ.
            self._unread = Unread(outputs.parameters)
            fewer = Placing(self._flat, self._source.params, storages, left_out=outputs.parameters)
            try:
                found = self._along(path, fewer, outputs, note)
                if self._unread.is_held:
                    return found
            except WeightsReadError:
                pass
            self._unread = None
            return self._along(path, weights, outputs, note)

    def _along(
        self, path: Sequence[tuple[float, ...]], weights: Placing, outputs: AffineOutputs | None, note: Note | None
    ) -> Float[np.ndarray, "points pieces"] | None:
        """Point by point."""
        found: list[Tensor] = []
        still = None if self.way.is_guarded else Stillness(self._source.modules)
        for row in path:
            weights.write(row)
            losses = self._point(row, outputs, None if found else still)
            if losses is None:
                return None
            found.append(losses)
            if note is not None:
                note(losses)
        if still is not None and not still.holds():
            return None
        empty = np.empty((0, len(self._pieces)))
        return torch.stack(found).cpu().double().numpy() if found else empty

    def _point(
        self, row: tuple[float, ...], outputs: AffineOutputs | None, still: Stillness | None
    ) -> Float[Tensor, "pieces"] | None:
        """The loss of each piece at the present point; None once the model did not keep still where that is asked."""
        losses = []
        with self._precision():
            for index in range(len(self._pieces)):
                losses.append(self._loss(index, row, outputs))
                if still is not None and not still.holds():
                    return None
        return torch.stack(losses)

    def _precision(self) -> AbstractContextManager[object]:
        """Where the forward pass runs in bfloat16, without a cache of cast weights: it would not see them move."""
        if not self.way.is_preview:
            return nullcontext()
        return torch.autocast(self._source.params.device.type, torch.bfloat16, cache_enabled=False)

    def _loss(self, index: int, row: tuple[float, ...], outputs: AffineOutputs | None) -> Tensor:
        """The loss of one piece at the present point."""
        piece = self._pieces[index]
        if outputs is not None:
            outputs.put(index, row)
        if not self.way.is_guarded:
            with self._unread or nullcontext():
                return piece.term().detach()
        with isolated(self._source.modules, self._source.params.tensors, seed=self._seed + piece.batch):
            return piece.term().detach()

    def _outputs(self, path: Sequence[tuple[float, ...]], weights: Placing) -> AffineOutputs | None:
        """The affine outputs of the first layer; None if they are not wanted, or its input differs between points."""
        model, params = self._source.model, self._source.params
        if not self.way.layer or not path or model is None:
            return None
        module: Any = model.get_submodule(self.way.layer)
        heard = []
        for row in (path[0], path[len(path) // 2], path[-1]):
            weights.write(row)
            heard.append([value for piece in self._pieces if (value := input_of(module, piece.term)) is not None])
        first, *others = heard
        if any(len(values) < len(self._pieces) for values in heard):
            return None
        if not all(torch.equal(here, there) for values in others for here, there in zip(first, values, strict=True)):
            return None
        dtype = torch.bfloat16 if self.way.is_preview else module.weight.dtype
        return AffineOutputs.of(module, first, self._flat, params, dtype=dtype)
