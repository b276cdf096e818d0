"""What is J(θ): its value, gradient and Hessian products as functions of one flat vector."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Self

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from theodolite.errors import ObjectiveError
from theodolite.objective.data import Batch, batches_of, count_examples
from theodolite.objective.directional import Directional, batch_directional
from theodolite.objective.gradients import batch_gradients, mean_gradient
from theodolite.objective.isolation import isolated
from theodolite.objective.knowledge import Knowledge
from theodolite.objective.params import Params, trainable
from theodolite.objective.products import HessianProducts
from theodolite.objective.sources import FunctionSource, LossFunction, ModelSource, Source, check_parts, unwrapped
from theodolite.objective.widening import widened
from theodolite.records.results import ProductCheck

MEMORY_LIMIT = 2**30
"""Bytes that graphs of products, and a product in the making, may take by default: 1 GiB."""


class Objective:
    """A scalar function J(θ) of one flat vector θ ∈ ℝⁿ, measured without leaving a trace.

    J is the mean over *examples*: a batch counts by its size. J is deterministic: the randomness of each batch (dropout
    masks, augmentation) is pinned to a seed, the same at every θ, and each batch meets the model in the state in which
    it is found, modes included: in train mode BatchNorm normalises with batch statistics, in eval mode with running
    ones; neither moves them. After any call, parameters, ``.grad``, buffers, modes, hooks and every random generator
    are what they were, to the bit.

    Attributes:
        names: Names of the tensors that make up θ, in order.
        hvp_method: How ``hvp`` formed its last product: "double backward", or "central differences" where that is
            missing or wrong; "" before the first.
        hvp_error: Relative error of that product, as far as the method knows it; NaN before the first.
        source: Where J comes from, batch by batch.
        seed: Seed of the pinned randomness; batch i starts at seed + i.
        knowledge: What was learnt of J so far, to be used by further measurements.
        ways: How J was found to be evaluated fastest at many points, by circumstance.

    Limits: what the loss writes to objects outside the modules is not undone. A data loader with
    ``persistent_workers`` must not be in use by a training loop at the same time.

    Example:
        >>> import torch
        >>> bowl = Objective.from_function(lambda theta: 0.5 * (theta**2).sum(), torch.tensor([3.0, 4.0]))
        >>> bowl.value()
        12.5
        >>> bowl.gradient()
        tensor([3., 4.])
        >>> bowl.hvp(torch.tensor([1.0, 0.0]))
        tensor([1., 0.])
    """

    def __init__(
        self,
        model: nn.Module,
        loss: LossFunction,
        data: object,
        *,
        parameters: Sequence[str] | None = None,
        count: Callable[[Batch], int] = count_examples,
        seed: int = 0,
    ) -> None:
        """Form J(θ) from a model, a loss and data.

        Args:
            model: Any module; θ is its trainable parameters, tied ones once. ``torch.compile`` and data-parallel
                wrappers are looked through.
            loss: ``loss(model, batch)`` gives the mean loss of a batch as a scalar tensor.
            data: One batch (a tensor, a tuple, a dict, any object), or a re-iterable of batches (a list of them, a
                ``DataLoader``). A list ``[x, y]`` of tensors with equally many examples that differ in type or in the
                shape of an example is one batch, as data loaders return it; any other list is a list of batches.
            parameters: Names of the parameters that make up θ; None takes all that require a gradient.
            count: Number of examples of a batch; by default the length of the first tensor in it.
            seed: Seed of the pinned randomness.

        Raises:
            ObjectiveError: If model or loss is no such thing, the model has no trainable parameter, an uninitialised or
                a complex one, or a name is unknown.
            DataError: If data can be read only once, or is empty.
        """
        check_parts(model, loss, data)
        inner = unwrapped(model)
        self._begin(ModelSource(trainable(inner, parameters), inner, loss, batches_of(data), count), seed)

    def _begin(self, source: Source, seed: int) -> None:
        """Nothing is known yet of what this source gives."""
        self.source, self.seed, self.knowledge = source, seed, Knowledge()
        self.ways: dict[object, object] = {}
        self._needs_graph = False
        self.hvp_method = ""
        self.hvp_error = math.nan

    @classmethod
    def from_function(cls, function: Callable[[Tensor], Tensor], start: Tensor, *, seed: int = 0) -> Self:
        """Form J(θ) from a function of one vector.

        Args:
            function: ``f(theta)`` gives a scalar tensor for theta of shape (n,).
            start: The point θ, shape (n,); copied.
            seed: Seed of the pinned randomness.

        Returns:
            The objective at ``start``.

        Raises:
            ObjectiveError: If start is not a real floating-point vector with at least one entry.
        """
        if not isinstance(start, Tensor) or start.ndim != 1 or not start.is_floating_point() or start.numel() == 0:
            what = f"shape {tuple(start.shape)} of {start.dtype}" if isinstance(start, Tensor) else type(start).__name__
            raise ObjectiveError(
                f"start must be a floating-point tensor of shape (n,) with n > 0, got {what}. "
                "For example torch.zeros(2)."
            )
        objective = cls.__new__(cls)
        leaf = start.detach().clone().requires_grad_()
        objective._begin(FunctionSource(Params(("theta",), (leaf,)), function), seed)
        return objective

    def double(self) -> "Objective":
        """The same J in float64, for numbers that float32 cannot hold: of a copy of the model, with batches widened.

        Returns:
            J at the same point. The original is not touched, and later training of it does not show in the copy.

        Raises:
            ObjectiveError: If J is a function of a vector, or its loss holds modules that cannot be copied along.

        Cost: a copy of the model; on a CPU, everything then takes about twice as long.
        """
        objective = Objective.__new__(Objective)
        objective._begin(widened(self.source), self.seed)
        return objective

    def __repr__(self) -> str:
        """Dimension, type and device."""
        return f"Objective(dimension={self.dimension}, dtype={self.dtype}, device={self.device})"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tensors that make up θ, in order."""
        return self.source.params.names

    @property
    def params(self) -> Params:
        """Names and tensors of θ, to go between vector and tensors."""
        return self.source.params

    @property
    def dimension(self) -> int:
        """Length n of θ."""
        return self.source.params.dimension

    @property
    def dtype(self) -> torch.dtype:
        """Type of θ."""
        return self.source.params.dtype

    @property
    def device(self) -> torch.device:
        """Device of θ."""
        return self.source.params.device

    def point(self) -> Float[Tensor, "params"]:
        """A copy of θ as it is now, shape (n,)."""
        return self.source.params.point()

    def at(self, at: object = None) -> Float[Tensor, "params"]:
        """A point as a vector of its own.

        Args:
            at: Point θ, shape (n,); None is the present one.

        Returns:
            A copy, in the type and on the device of θ.

        Raises:
            ShapeError: If ``at`` has another shape.
        """
        return self.point() if at is None else self.source.params.vector(at, "at").clone()

    def _moved(self, at: object) -> Tensor | None:
        """Where to go to measure; None to stay."""
        return None if at is None else self.source.params.vector(at, "at")

    def value(self, at: object = None) -> float:
        """J(θ), summed over batches in float64.

        Args:
            at: Point θ, shape (n,); None is the present one.

        Returns:
            The loss; NaN or infinite if the model gives that.

        Raises:
            ShapeError: If ``at`` has another shape.
            ObjectiveError: If the loss is not a scalar, or the data holds no example.

        Cost: one forward pass over the data.
        """
        counts, losses = self.batch_values(at)
        return float(np.dot(counts, losses) / counts.sum())

    def values(self, points: Iterable[object]) -> Float[Tensor, "points"]:
        """J at many points.

        Args:
            points: Vectors of shape (n,), or a matrix with one point a row.

        Returns:
            One value a point, float64, on the CPU.

        Raises:
            ShapeError: If a point has another shape.
            ObjectiveError: If the loss is not a scalar, or the data holds no example.

        Cost: one forward pass over the data a point.
        """
        return torch.tensor([self.value(point) for point in points], dtype=torch.float64)

    def batch_values(self, at: object = None) -> tuple[Float[np.ndarray, "batches"], Float[np.ndarray, "batches"]]:
        """Number of examples and mean loss of each batch, float64.

        Args:
            at: Point θ, shape (n,); None is the present one.

        Returns:
            Counts and losses.

        Raises:
            ShapeError: If ``at`` has another shape.
            ObjectiveError: If the loss is not a scalar, or the data holds no example.

        Cost: one forward pass over the data.
        """
        theta = self._moved(at)
        counts, losses = [], []
        with self.source.params.placed(theta):
            for index, (count, evaluate) in enumerate(self.source.terms()):
                counts.append(count)
                losses.append(self._forward(evaluate, self.seed + index))
        return np.array(counts, np.float64), torch.stack(losses).double().cpu().numpy()

    def _forward(self, evaluate: Callable[[], Tensor], seed: int) -> Tensor:
        """One loss without its graph, unless the loss itself differentiates (gradient penalties, physics)."""
        source = self.source
        if not self._needs_graph:
            try:
                with isolated(source.modules, source.params.tensors, seed=seed), torch.no_grad():
                    return evaluate().detach()
            except RuntimeError as error:
                if "does not require grad" not in str(error):
                    raise
        with isolated(source.modules, source.params.tensors, seed=seed), torch.enable_grad():
            loss = evaluate().detach()
        self._needs_graph = True
        return loss

    def gradient(self, at: object = None) -> Float[Tensor, "params"]:
        """∇J(θ), zero for parameters on which J does not depend.

        Args:
            at: Point θ, shape (n,); None is the present one.

        Returns:
            The gradient, shape (n,), in the type and on the device of θ.

        Raises:
            ShapeError: If ``at`` has another shape.
            ObjectiveError: If the loss is not a scalar.

        Cost: one forward and backward pass over the data.
        """
        theta = self._moved(at)
        return mean_gradient(self.source, theta, seed=self.seed)

    def batch_gradients(self, at: object = None) -> Iterator[tuple[int, Float[Tensor, "params"]]]:
        """Number of examples and gradient of each batch, one at a time.

        Args:
            at: Point θ, shape (n,); None is the present one.

        Yields:
            Pairs of count and gradient.

        Cost: one forward and backward pass over the data; holds one gradient at a time.
        """
        theta = self._moved(at)
        yield from batch_gradients(self.source, theta, seed=self.seed)

    def batch_directional(self, direction: object, at: object = None) -> Iterator[Directional]:
        """Value, slope and curvature of each batch along a direction.

        Args:
            direction: d, shape (n,); not normalised.
            at: Point θ, shape (n,); None is the present one.

        Yields:
            One record a batch.

        Cost: about 3 gradients over the data; holds the graph of one batch at a time.
        """
        vector = self.source.params.vector(direction, "direction")
        theta = self._moved(at)
        yield from batch_directional(self.source, theta, vector, seed=self.seed)

    def hvp(self, vector: object, at: object = None) -> Float[Tensor, "params"]:
        """Hessian-vector product H(θ)v by double backward.

        Attention and recurrent layers are switched, for the measurement only, to kernels with a second derivative. If
        an operation has none at all, the product is formed by central differences of gradients, with a warning;
        ``hvp_method`` then says so and ``hvp_error`` estimates the relative error.

        Args:
            vector: v, shape (n,).
            at: Point θ, shape (n,); None is the present one.

        Returns:
            The product, shape (n,), in the type and on the device of θ.

        Raises:
            ShapeError: If ``vector`` or ``at`` has another shape.
            ObjectiveError: If the loss is not a scalar.

        The first product of an objective is preceded by a check on a few examples, see ``product_check``.

        Cost: 2.8 to 4.1 gradients; for many vectors at one point use ``theodolite.hessian``, 1.7 to 2.7 each.
        Source: Pearlmutter 1994.
        """
        column = self.source.params.vector(vector, "vector").unsqueeze(1)
        products = self.open_products(at, is_keeping=False)
        product = products.apply(column).squeeze(1)
        self.hvp_method, self.hvp_error = products.method, products.relative_error
        return product

    @property
    def product_check(self) -> ProductCheck | None:
        """Whether two ways of forming Hessian products agreed on this model; None before the first product."""
        return self.knowledge.check

    @contextmanager
    def products(self, at: object = None, *, memory_limit: int = MEMORY_LIMIT) -> Iterator[HessianProducts]:
        """Hessian products with many vectors at one point; the graphs are freed at the end.

        Args:
            at: Point θ, shape (n,); None is the present one, held fixed from now on.
            memory_limit: Bytes that graphs, and a product in the making, may take; what does not fit is rebuilt for
                each block of vectors, and a batch that does not fit by itself is cut into pieces where that leaves the
                loss the same.

        Yields:
            The products; ``apply`` takes columns.
        """
        products = self.open_products(at, memory_limit=memory_limit)
        try:
            yield products
        finally:
            products.release()

    def open_products(
        self, at: object = None, *, memory_limit: int = MEMORY_LIMIT, is_keeping: bool = True
    ) -> HessianProducts:
        """Like ``products``, for an owner that releases the graphs itself.

        Args:
            at: Point θ, shape (n,); None is the present one, held fixed from now on.
            memory_limit: Bytes that graphs, and a product in the making, may take.
            is_keeping: Whether graphs are kept for further vectors.

        Returns:
            The products.

        Raises:
            ShapeError: If ``at`` has another shape.
        """
        theta = self.at(at)
        return HessianProducts(
            self.source,
            theta,
            seed=self.seed,
            memory_limit=memory_limit,
            knowledge=self.knowledge,
            is_keeping=is_keeping,
        )
