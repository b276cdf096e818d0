"""How is H(θ)v formed, what does it cost, and what if an operation has no second derivative?"""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

from theodolite.objective.isolation import isolated, pin_randomness
from theodolite.objective.kernels import lacks_second_derivative, twice_differentiable
from theodolite.objective.params import Params
from theodolite.objective.sources import Source, gradients

_LOG = logging.getLogger(__name__)

DOUBLE_BACKWARD = "double backward"
CENTRAL_DIFFERENCES = "central differences"

_GRAPH_TO_FORWARD = 4
"""A retained graph of the gradient holds about so many times what a forward pass saves (measured: 3 to 4)."""


def saved_bytes(evaluate: Callable[[], Tensor]) -> int:
    """Bytes that a forward pass keeps for its backward pass; each storage counted once."""
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage() if tensor.layout == torch.strided else None
        if storage is not None:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        evaluate()
    return sum(seen.values())


class HessianProducts:
    """Products of the Hessian at one fixed point with many vectors.

    The graph of the gradient of each batch is kept for the next vector as long as all graphs together fit the memory
    limit, which makes a further product 1.5 to 2.6 gradients instead of 2.8 to 3.7; the rest is rebuilt for each block of
    vectors. If an operation has no second derivative, central differences of gradients take over, and ``method``,
    ``reason`` and ``relative_error`` say so.
    """

    def __init__(self, source: Source, theta: Float[Tensor, "params"], *, seed: int, memory_limit: int) -> None:
        """Fix the point; nothing is computed yet."""
        self._source, self._theta, self._seed, self._memory_limit = source, theta, seed, memory_limit
        self._graphs: dict[int, list[Tensor | None]] = {}
        self._sizes: dict[int, int] = {}
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
        self._graphs.clear()

    def apply(self, vectors: Float[Tensor, "params count"]) -> Float[Tensor, "params count"]:
        """H(θ)V for the columns of V.

        Args:
            vectors: Columns v, in the type and on the device of θ.

        Returns:
            The products, column by column.
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
    def _at(self, theta: Tensor) -> Iterator[None]:
        """Hold the tensors at a point, with kernels that have second derivatives, leaving no trace."""
        modules, tensors = self._source.modules, self._params.tensors
        with isolated(modules, tensors), self._params.placed(theta), twice_differentiable(modules), torch.enable_grad():
            yield

    def _by_double_backward(self, vectors: Tensor) -> Tensor:
        directions = [self._params.unflatten(column) for column in vectors.unbind(1)]
        versions = tuple(tensor._version for tensor in self._params.tensors)
        if versions != self._versions:
            self.release()
            self._versions = versions
        totals = [torch.zeros_like(self._theta) for _ in directions]
        examples = 0
        with self._at(self._theta):
            for index, (count, evaluate) in enumerate(self._source.terms()):
                graph = self._graph(index, evaluate)
                for total, direction in zip(totals, directions, strict=True):
                    total.add_(self._params.flatten(self._pull_back(graph, direction)), alpha=count)
                examples += count
        return torch.stack(totals, 1).div_(examples) if totals else vectors.clone()

    def _graph(self, index: int, evaluate: Callable[[], Tensor]) -> list[Tensor | None]:
        """The gradient of one batch with its graph, kept if memory permits."""
        if index in self._graphs:
            return self._graphs[index]
        if index not in self._sizes:
            pin_randomness(self._seed + index)
            self._sizes[index] = _GRAPH_TO_FORWARD * saved_bytes(evaluate)
        pin_randomness(self._seed + index)
        graph = gradients(evaluate(), self._params, create_graph=True)
        held = sum(self._sizes[kept] for kept in self._graphs)
        if held + self._sizes[index] <= self._memory_limit:
            self._graphs[index] = graph
        return graph

    def _pull_back(self, graph: list[Tensor | None], direction: tuple[Tensor, ...]) -> list[Tensor | None]:
        """Hv of one batch: gradient of g·v; zero where the gradient does not depend on the parameters."""
        pairs = [(g, v) for g, v in zip(graph, direction, strict=True) if g is not None and g.requires_grad]
        if not pairs:
            return [None] * len(graph)
        outputs, weights = zip(*pairs, strict=True)
        return list(torch.autograd.grad(outputs, self._params.tensors, weights, retain_graph=True, allow_unused=True))

    def _by_differences(self, vector: Tensor) -> Tensor:
        """Richardson's combination of central differences of the gradient at h and h/2, with its error.

        The step h‖v‖ = ε^(1/4)·max(1, ‖θ‖) balances the h⁴ truncation against the rounding of the gradients.
        """
        norm = float(vector.norm())
        if norm == 0 or not math.isfinite(norm):
            return vector * 0
        epsilon = torch.finfo(self._theta.dtype).eps
        step = epsilon**0.25 * max(1.0, float(self._theta.norm())) / norm
        coarse, fine = self._difference(vector, step), self._difference(vector, step / 2)
        best = (4 * fine - coarse) / 3
        scale = float(best.norm())
        self.relative_error = float((fine - coarse).norm()) / scale if scale > 0 else math.nan
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
    """
    for index, (count, evaluate) in enumerate(source.terms()):
        with isolated(source.modules, source.params.tensors), source.params.placed(theta), torch.enable_grad():
            pin_randomness(seed + index)
            gradient = source.params.flatten(gradients(evaluate(), source.params))
        yield count, gradient
