"""How is a linear map that is a mean over batches applied to many vectors, within a limit of memory?

Second derivatives are linear maps on directions, one a batch, and what they need of a batch is an autograd graph. It is
built once and kept for the next vector, as long as all of them fit. A batch that does not fit by itself is cut into
pieces, if the losses of the pieces add up to the loss of the whole.
"""

import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from theodolite.objective.isolation import isolated
from theodolite.objective.kernels import twice_differentiable
from theodolite.objective.knowledge import Knowledge, adds_up
from theodolite.objective.sources import Source, Term

_LOG = logging.getLogger(__name__)

Parts = Sequence[Tensor | None]
"""Tensors shaped like the parameters; None stands for zeros."""

_BLOCK = 64
"""Columns differentiated at once; more gain nothing (measured: 0.68 gradients a column with 64, 0.74 with 256)."""

_BLOCK_PARAMETERS = 20_000
"""Differentiating columns at once pays on nets up to about this size (measured: a third less at 2,230 parameters,
nothing at 670,000)."""

_BLOCK_BYTES = 2**27
"""What the graph of one batch, times the columns at once, may take: 128 MiB."""

_FEWEST_IN_BLOCK = 4
"""Fewer columns are differentiated one by one."""

_BESIDE = 0.3
"""How far beside θ pieces must add up too, over the usual size of its entries."""

_APART = 1_000_003
"""Seeds of two pieces are so far apart: a prime, so that they do not meet those of batches."""

_AGREEMENT = 100
"""A block agrees with its columns to so many roundings; the errors to be found are of the size of the product."""


class Graph(Protocol):
    """What is kept of one batch: a linear map between tensors shaped like the parameters."""

    def product(self, direction: Parts, *, is_block: bool) -> Parts:
        """The map applied to a direction; or to a block of them, stacked in front of each tensor, at once."""
        ...


class Linearization(Protocol):
    """How the graph of one batch is built."""

    @property
    def held(self) -> float:
        """Bytes that the graph holds for each byte that the forward pass saves."""
        ...

    @property
    def working(self) -> float:
        """Bytes that a product takes beside, while it is formed, for each such byte."""
        ...

    def build(self, count: int, loss: Term) -> Graph:
        """The graph of a batch of so many examples."""
        ...


@dataclass(frozen=True, eq=False)
class _Piece:
    """A batch, or a part of one: its place, its examples, its loss, bytes of its graph, and of a product with it."""

    batch: int
    number: int
    count: int
    loss: Term
    size: int
    room: int


@dataclass(frozen=True, eq=False)
class _Built:
    """The graph of a piece."""

    batch: int
    count: int
    size: int
    graph: Graph


class BatchMean:
    """Σ count·M / Σ count over batches, where M is the linear map of a batch, at one fixed point."""

    def __init__(
        self,
        source: Source,
        theta: Float[Tensor, "params"],
        linearization: Linearization,
        *,
        seed: int,
        knowledge: Knowledge,
        memory_limit: int | None,
        is_keeping: bool = True,
    ) -> None:
        """Fix the point; nothing is computed yet.

        Args:
            source: The batches.
            theta: The point θ.
            linearization: How the graph of a batch is built.
            seed: Seed of the pinned randomness.
            knowledge: What is known of the batches.
            memory_limit: Bytes that graphs, and a product in the making, may take; None sets no limit.
            is_keeping: Whether graphs are kept for the next call.
        """
        self._source, self._theta, self._linearization, self._seed = source, theta, linearization, seed
        self._knowledge, self._memory_limit, self._is_keeping = knowledge, memory_limit, is_keeping
        self._kept: dict[tuple[int, int], _Built] = {}
        self._room = 0
        self._is_complete = False
        self._versions: tuple[int, ...] = ()
        self._are_blocks_right: bool | None = None

    @property
    def relative_error(self) -> float:
        """The coarsest precision that ran."""
        return max(torch.finfo(self._theta.dtype).eps, self._knowledge.relative_error)

    def release(self) -> None:
        """Give the memory of the kept graphs back."""
        self._kept.clear()
        self._is_complete = False

    def apply(self, vectors: Float[Tensor, "params count"]) -> Float[Tensor, "params count"]:
        """The mean map on each column.

        Args:
            vectors: Columns, in the type and on the device of θ.

        Returns:
            The products, column by column.
        """
        if not vectors.shape[1]:
            return vectors.clone()
        mean: list[Tensor] = []
        examples = 0
        self._forget_if_moved()
        with self._source.params.placed(self._theta):
            for built in self._graphs():
                with self._measuring(built.batch):
                    found = self._rows(built, vectors)
                examples += built.count
                mean = _updated(mean, found, built.count / examples)
                del built, found  # the next one may need their room
        return (torch.cat(mean) if len(mean) > 1 else mean[0]).T

    def _forget_if_moved(self) -> None:
        """Graphs hold the parameters themselves: a change of these, told by their versions, makes graphs void."""
        versions = tuple(tensor._version for tensor in self._source.params.tensors)
        if versions != self._versions:
            self.release()
            self._versions = versions

    @contextmanager
    def _measuring(self, batch: int, number: int = 0) -> Iterator[None]:
        """Run one batch, or a piece of it, with kernels that have second derivatives, leaving no trace."""
        modules, tensors = self._source.modules, self._source.params.tensors
        # Batches whose loss is random are not cut. What is drawn beside the loss must not be the same for each piece.
        with (
            isolated(modules, tensors, seed=self._seed + batch + _APART * number),
            twice_differentiable(modules),
            torch.enable_grad(),
        ):
            yield

    def _graphs(self) -> Iterator[_Built]:
        """The graphs one by one; once all are kept, the data is not read again."""
        if self._is_complete:
            yield from self._kept.values()
            return
        keys = []
        for batch, (count, loss) in enumerate(self._source.terms()):
            for piece in self._pieces(batch, count, loss):
                keys.append((piece.batch, piece.number))
                yield self._kept[keys[-1]] if keys[-1] in self._kept else self._build(piece)
        self._is_complete = all(key in self._kept for key in keys)

    def _pieces(self, batch: int, count: int, loss: Term) -> list[_Piece]:
        """A batch whole, or in pieces whose graphs fit the limit."""
        if self._memory_limit is None:
            return [_Piece(batch, 0, count, loss, 0, 0)]

        def run() -> Tensor:
            with self._measuring(batch):
                return loss()

        saved = self._knowledge.size(batch, run)
        size, room = int(self._linearization.held * saved), int(self._linearization.working * saved)
        whole = [_Piece(batch, 0, count, loss, size, room)]
        if size + room <= self._memory_limit:
            return whole
        examples = max(1, count * self._memory_limit // (size + room))
        parts = loss.split(count, examples) if examples < count else []
        if not parts or not self._knowledge.is_additive(batch, lambda: self._adds_up(batch, count, loss, parts)):
            return whole
        return [
            _Piece(batch, i, some, part, size * some // count, room * some // count)
            for i, (some, part) in enumerate(parts)
        ]

    def _adds_up(self, batch: int, count: int, loss: Term, parts: list[tuple[int, Term]]) -> bool:
        """Whether pieces add up here, and beside: where a head is still zero, everything does."""
        draw = torch.randn(self._theta.numel(), generator=torch.Generator().manual_seed(0)).to(self._theta)
        scale = float(self._theta.norm()) / self._theta.numel() ** 0.5 or 1.0
        for point in (self._theta, self._theta + _BESIDE * scale * draw):
            with self._source.params.placed(point), self._measuring(batch):
                if not adds_up(count, loss, parts):
                    return False
        return True

    def _build(self, piece: _Piece) -> _Built:
        """The graph of a piece, kept if memory permits; others make room for it if need be."""
        held = sum(built.size for built in self._kept.values())
        self._room = max(self._room, piece.room)
        limit = (math.inf if self._memory_limit is None else self._memory_limit) - self._room
        while self._kept and held + piece.size > limit:
            held -= self._kept.popitem()[1].size
        with self._measuring(piece.batch, piece.number):
            built = _Built(piece.batch, piece.count, piece.size, self._linearization.build(piece.count, piece.loss))
        if self._is_keeping and held + piece.size <= limit:
            self._kept[piece.batch, piece.number] = built
        return built

    def _rows(self, built: _Built, vectors: Tensor) -> list[Tensor]:
        """Products of one batch, as rows, in blocks where that is faster and known to be right."""
        columns = min(_BLOCK, _BLOCK_BYTES // max(1, built.size))
        is_worthwhile = self._theta.numel() <= _BLOCK_PARAMETERS and min(columns, vectors.shape[1]) >= _FEWEST_IN_BLOCK
        if is_worthwhile and self._are_blocks_right is None:
            self._are_blocks_right = self._try_block(built.graph, vectors[:, :_FEWEST_IN_BLOCK])
        if is_worthwhile and self._are_blocks_right:
            return [self._block(built.graph, block) for block in vectors.split(columns, 1)]
        return [self._single(built.graph, column) for column in vectors.unbind(1)]

    def _single(self, graph: Graph, column: Tensor) -> Float[Tensor, "1 params"]:
        """One product, as a row."""
        params = self._source.params
        return params.flatten(graph.product(params.unflatten(column), is_block=False)).unsqueeze(0)

    def _block(self, graph: Graph, columns: Tensor) -> Float[Tensor, "count params"]:
        """Products with several columns at once, as rows."""
        params = self._source.params
        return params.flatten_rows(graph.product(params.unflatten_rows(columns.T), is_block=True), columns.shape[1])

    def _try_block(self, graph: Graph, vectors: Tensor) -> bool:
        """Whether several columns can be differentiated at once, and give what they give one by one."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # torch warns where it would go one by one all the same
                block = self._block(graph, vectors)
        except (RuntimeError, NotImplementedError, UserWarning) as reason:
            _LOG.info("Products one by one: a block cannot be differentiated at once, %s", str(reason).splitlines()[0])
            return False
        singles = torch.cat([self._single(graph, column) for column in vectors.unbind(1)])
        gaps, scales = (block - singles).norm(dim=1), singles.norm(dim=1)
        return bool((gaps <= _AGREEMENT * self.relative_error * scales).all())


def _updated(mean: list[Tensor], found: list[Tensor], share: float) -> list[Tensor]:
    """Running means, with new values that have a share in them; the first ones, of share 1, as they are."""
    return [m.lerp_(new, share) for m, new in zip(mean, found, strict=True)] if mean else found


def pull_back(
    outputs: Sequence[Tensor | None], inputs: Sequence[Tensor], weights: Parts, *, is_block: bool
) -> list[Tensor | None]:
    """Derivatives of Σ outputs·weights with respect to inputs; the graph is kept.

    Args:
        outputs: Tensors y(x); None and what has no graph are left out.
        inputs: Tensors x.
        weights: Tensors shaped like the outputs, None for zeros; for a block, several stacked in front of each.
        is_block: Whether it is a block.

    Returns:
        Tensors shaped like the inputs, stacked as the weights are; None where no output depends on an input.
    """
    pairs = [
        (y, w) for y, w in zip(outputs, weights, strict=True) if y is not None and y.requires_grad and w is not None
    ]
    if not pairs:
        return [None] * len(inputs)
    ys, ws = zip(*pairs, strict=True)
    options: Any = {"retain_graph": True, "allow_unused": True, "is_grads_batched": is_block}
    return list(torch.autograd.grad(ys, inputs, ws, **options))
