"""How is H(θ)v formed, what does it cost, and what if an operation has no second derivative?"""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from theodolite.objective.isolation import isolated
from theodolite.objective.kernels import lacks_second_derivative, twice_differentiable
from theodolite.objective.params import Params
from theodolite.objective.sources import Source, gradients

_LOG = logging.getLogger(__name__)

DOUBLE_BACKWARD = "double backward"
CENTRAL_DIFFERENCES = "central differences"

_GRAPH_TO_FORWARD = 4
"""A retained graph of the gradient holds about so many times what a forward pass saves (measured: 3 to 4)."""


class _Ledger:
    """What a forward pass saves for its backward pass: bytes, each storage once, and the coarsest precision."""

    def __init__(self) -> None:
        self._storages: dict[int, int] = {}
        self.relative_error = 0.0

    def note(self, tensor: Tensor) -> Tensor:
        """Count one saved tensor."""
        if tensor.layout == torch.strided:
            storage = tensor.untyped_storage()
            self._storages[storage.data_ptr()] = storage.nbytes()
        if tensor.is_floating_point():
            self.relative_error = max(self.relative_error, torch.finfo(tensor.dtype).eps)
        return tensor

    @property
    def size(self) -> int:
        """Bytes saved."""
        return sum(self._storages.values())


@dataclass(frozen=True, eq=False)
class _Kept:
    """The gradient of one batch with its graph."""

    count: int
    graph: list[Tensor | None]
    size: int


class HessianProducts:
    """Products of the Hessian at one fixed point with many vectors.

    The graph of the gradient of each batch is kept for the next vector as long as all graphs together fit the memory
    limit, which makes a further product 1.5 to 2.6 gradients instead of 2.8 to 3.7; the rest is rebuilt for each block
    of vectors. If an operation has no second derivative, central differences of gradients take over, and ``method``,
    ``reason`` and ``relative_error`` say so.
    """

    def __init__(self, source: Source, theta: Float[Tensor, "params"], *, seed: int, memory_limit: int) -> None:
        """Fix the point; nothing is computed yet."""
        self._source, self._theta, self._seed, self._memory_limit = source, theta, seed, memory_limit
        self._kept: dict[int, _Kept] = {}
        self._is_complete = False
        self._versions: tuple[int, ...] = ()
        self.method = DOUBLE_BACKWARD
        self.reason = ""
        self.relative_error = torch.finfo(theta.dtype).eps
        self.products = 0

    @property
    def dimension(self) -> int:
        """Length n of θ."""
        return self._theta.numel()

    @property
    def dtype(self) -> torch.dtype:
        """Type of θ, and of the products."""
        return self._theta.dtype

    @property
    def device(self) -> torch.device:
        """Device of θ, and of the products."""
        return self._theta.device

    @property
    def _params(self) -> Params:
        return self._source.params

    def release(self) -> None:
        """Give the memory of the kept graphs back."""
        self._kept.clear()
        self._is_complete = False

    @torch.inference_mode(False)
    def apply(self, vectors: Float[Tensor, "params count"]) -> Float[Tensor, "params count"]:
        """H(θ)V for the columns of V.

        Args:
            vectors: Columns v, in the type and on the device of θ.

        Returns:
            The products, column by column.

        Raises:
            RuntimeError: What the model raises, unless it says that a second derivative is missing.
        """
        self.products += vectors.shape[1]
        if self.method == DOUBLE_BACKWARD:
            try:
                return self._by_double_backward(vectors)
            except (RuntimeError, NotImplementedError) as error:
                self.release()
                if not lacks_second_derivative(error):
                    raise
                self.method, self.reason = CENTRAL_DIFFERENCES, str(error).splitlines()[0]
                _LOG.info("Hessian products by central differences of gradients: %s", self.reason)
        columns = [self._by_differences(column) for column in vectors.unbind(1)]
        return torch.stack(columns, 1) if columns else vectors.clone()

    @contextmanager
    def _measuring(self, index: int) -> Iterator[None]:
        """Run one batch, with kernels that have second derivatives, leaving no trace."""
        modules, tensors = self._source.modules, self._params.tensors
        with (
            isolated(modules, tensors, seed=self._seed + index),
            twice_differentiable(modules),
            torch.enable_grad(),
        ):
            yield

    def _by_double_backward(self, vectors: Tensor) -> Tensor:
        directions = [self._params.unflatten(column) for column in vectors.unbind(1)]
        versions = tuple(tensor._version for tensor in self._params.tensors)
        if versions != self._versions:
            self.release()
            self._versions = versions
        totals = [torch.zeros_like(self._theta) for _ in directions]
        examples = 0
        with self._params.placed(self._theta):
            for index, (count, evaluate) in enumerate(self._terms()):
                with self._measuring(index):
                    graph = self._graph(index, count, evaluate)
                    for total, direction in zip(totals, directions, strict=True):
                        total.add_(self._params.flatten(self._pull_back(graph, direction)), alpha=count)
                examples += count
        self._is_complete = len(self._kept) == index + 1
        return torch.stack(totals, 1).div_(examples) if totals else vectors.clone()

    def _terms(self) -> Iterator[tuple[int, Callable[[], Tensor] | None]]:
        """The batches; once all graphs are kept, the data is not read again."""
        if self._is_complete:
            return iter([(kept.count, None) for kept in self._kept.values()])
        return self._source.terms()

    def _graph(self, index: int, count: int, evaluate: Callable[[], Tensor] | None) -> list[Tensor | None]:
        """The gradient of one batch with its graph, kept if memory permits."""
        if index in self._kept:
            return self._kept[index].graph
        assert evaluate is not None
        ledger = _Ledger()
        with torch.autograd.graph.saved_tensors_hooks(ledger.note, lambda tensor: tensor):
            loss = evaluate()
        self.relative_error = max(self.relative_error, ledger.relative_error)
        kept = _Kept(count, gradients(loss, self._params, create_graph=True), _GRAPH_TO_FORWARD * ledger.size)
        if sum(other.size for other in self._kept.values()) + kept.size <= self._memory_limit:
            self._kept[index] = kept
        return kept.graph

    def _pull_back(self, graph: list[Tensor | None], direction: tuple[Tensor, ...]) -> list[Tensor | None]:
        """Hv of one batch: gradient of g·v; zero where the gradient does not depend on the parameters."""
        pairs = [(g, v) for g, v in zip(graph, direction, strict=True) if g is not None and g.requires_grad]
        if not pairs:
            return [None] * len(graph)
        outputs, weights = zip(*pairs, strict=True)
        return list(torch.autograd.grad(outputs, self._params.tensors, weights, retain_graph=True, allow_unused=True))

    def _by_differences(self, vector: Tensor) -> Tensor:
        """Richardson's combination of central differences of the gradient at h and h/2; notes the greatest error.

        The step h‖v‖ = ε^(1/4)·max(1, ‖θ‖) balances the h⁴ truncation against the rounding of the gradients.

        Args:
            vector: v.

        Returns:
            The product.
        """
        norm = float(vector.norm())
        if norm == 0 or not math.isfinite(norm):
            return vector * 0
        epsilon = torch.finfo(self._theta.dtype).eps
        step = epsilon**0.25 * max(1.0, float(self._theta.norm())) / norm
        coarse, fine = self._difference(vector, step), self._difference(vector, step / 2)
        best = (4 * fine - coarse) / 3
        change, scale = float((fine - coarse).norm()), float(best.norm())
        if change > 0:
            self.relative_error = max(self.relative_error, change / scale if scale > 0 else math.inf)
        return best

    def _difference(self, vector: Tensor, step: float) -> Tensor:
        ahead = mean_gradient(self._source, self._theta + step * vector, seed=self._seed)
        behind = mean_gradient(self._source, self._theta - step * vector, seed=self._seed)
        return (ahead - behind) / (2 * step)


def mean_gradient(source: Source, theta: Tensor | None, *, seed: int) -> Float[Tensor, "params"]:
    """Gradient of J at θ: the mean over examples, batch by batch."""
    params = source.params
    total = torch.zeros(params.dimension, dtype=params.dtype, device=params.device)
    examples = 0
    for count, gradient in batch_gradients(source, theta, seed=seed):
        total.add_(gradient, alpha=count)
        examples += count
    return total.div_(examples)


def batch_gradients(source: Source, theta: Tensor | None, *, seed: int) -> Iterator[tuple[int, Tensor]]:
    """Number of examples and gradient of each batch, one at a time.

    The model is free between two batches: whoever takes them may run it.

    Args:
        source: The batches.
        theta: The point; None is the present one.
        seed: Seed of the pinned randomness.

    Yields:
        Pairs of count and gradient.
    """
    for index, (count, evaluate) in enumerate(source.terms()):
        with (
            source.params.placed(theta),
            isolated(source.modules, source.params.tensors, seed=seed + index),
            torch.enable_grad(),
        ):
            gradient = source.params.flatten(gradients(evaluate(), source.params))
        yield count, gradient
