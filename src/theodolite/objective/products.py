"""How is H(θ)v formed, and what if an operation has no second derivative, or a wrong one?"""

import logging
from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor

from theodolite._checks import warn
from theodolite.objective.agreement import Sample, check_products
from theodolite.objective.batchwise import BatchMean, Graph, Parts, pull_back
from theodolite.objective.differences import central_difference
from theodolite.objective.kernels import lacks_second_derivative
from theodolite.objective.knowledge import Knowledge
from theodolite.objective.params import Params
from theodolite.objective.sources import Source, Term, gradients
from theodolite.records.results import ProductCheck

_LOG = logging.getLogger(__name__)

DOUBLE_BACKWARD = "double backward"
CENTRAL_DIFFERENCES = "central differences"


_USELESS = 0.1
"""Differences of gradients with a greater error are warned of: on nets with kinks in float32 it may exceed 1."""


@dataclass(frozen=True, eq=False)
class GradientGraph:
    """The gradient of one batch with its graph: its derivative along v is Hv."""

    params: Params
    gradient: Parts

    def product(self, direction: Parts, *, is_block: bool) -> Parts:
        """Hv: the gradient of g·v."""
        return pull_back(self.gradient, self.params.tensors, direction, is_block=is_block)


@dataclass(frozen=True, eq=False)
class DoubleBackward:
    """Builds the gradient of a batch with its graph (Pearlmutter 1994)."""

    params: Params
    held: float = 2.5
    """Measured on an MLP, a ResNet, an LSTM and a GPT: 1.2 to 2.5."""
    working: float = 4.5
    """Measured on the same: 1.1 to 4.5, the most on the LSTM."""

    def build(self, count: int, loss: Term) -> Graph:
        """The graph of the gradient."""
        return GradientGraph(self.params, gradients(loss(), self.params, create_graph=True))


class HessianProducts:
    """Products of the Hessian at one fixed point with many vectors.

    The graph of the gradient of each batch is kept for the next vector as long as all graphs together fit the memory
    limit, which makes a further product 1.7 to 2.7 gradients instead of 2.8 to 4.1; the rest is rebuilt for each block
    of vectors. Before the first product, double backward must agree with central differences of gradients on a few
    examples. If it does not, or if an operation has no second derivative, those differences take over, and ``method``,
    ``reason`` and ``relative_error`` say so.
    """

    def __init__(
        self,
        source: Source,
        theta: Float[Tensor, "params"],
        *,
        seed: int,
        memory_limit: int,
        knowledge: Knowledge | None = None,
        is_keeping: bool = True,
    ) -> None:
        """Fix the point; nothing is computed yet.

        Args:
            source: J(θ).
            theta: θ.
            seed: Seed of the pinned randomness.
            memory_limit: Bytes that graphs, and a product in the making, may take.
            knowledge: What is known of J; a check of products that is not in it yet is made before the first one.
            is_keeping: Whether graphs are kept for further vectors.
        """
        self._source, self._theta, self._seed = source, theta, seed
        self._knowledge = knowledge or Knowledge()
        self._mean = BatchMean(
            source,
            theta,
            DoubleBackward(source.params),
            seed=seed,
            knowledge=self._knowledge,
            memory_limit=memory_limit,
            is_keeping=is_keeping,
        )
        self._difference_error = 0.0
        self.dimension, self.dtype, self.device, self.is_symmetric = theta.numel(), theta.dtype, theta.device, True

    @property
    def relative_error(self) -> float:
        """Error of a product over its size: the precision that ran, or that of the differences seen so far."""
        return max(self._mean.relative_error, self._difference_error)

    @property
    def method(self) -> str:
        """How products are formed; may change with the first one."""
        return CENTRAL_DIFFERENCES if self.reason else DOUBLE_BACKWARD

    @property
    def reason(self) -> str:
        """Why products are not formed by double backward; empty if they are."""
        return self._knowledge.refusal

    @property
    def check(self) -> ProductCheck | None:
        """Whether double backward agreed with differences of gradients; None before the first product."""
        return self._knowledge.check

    def transpose(self) -> Self:
        """The same."""
        return self

    def release(self) -> None:
        """Give the memory of the kept graphs back."""
        self._mean.release()

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
        if self.method == DOUBLE_BACKWARD:
            try:
                self._check_once()
                if self.method == DOUBLE_BACKWARD:
                    return self._mean.apply(vectors)
            except (RuntimeError, NotImplementedError) as error:
                self.release()
                if not lacks_second_derivative(error):
                    raise
                self._give_up_double_backward(f"{str(error).splitlines()[0]}.")
        columns = [self._by_differences(column) for column in vectors.unbind(1)]
        return torch.stack(columns, 1) if columns else vectors.clone()

    def _check_once(self) -> None:
        """Let double backward agree with differences of gradients on a few examples, or give it up."""
        if self._knowledge.check is None:
            sample = Sample(self._source)
            mean = BatchMean(
                sample,
                self._theta,
                DoubleBackward(self._source.params),
                seed=self._seed,
                knowledge=Knowledge(),
                memory_limit=None,
            )
            check = check_products(sample, self._theta, mean.apply, method=DOUBLE_BACKWARD, seed=self._seed)
            self._knowledge.check = check
            if check.agrees is False and not check.is_gradient:
                _LOG.warning("Hessian products: %s", check)
        check = self._knowledge.check
        if check.agrees is False and check.is_gradient:
            self._give_up_double_backward(str(check))

    def _give_up_double_backward(self, reason: str) -> None:
        """Go over to differences, for this objective and for good; told once."""
        self._knowledge.refusal = reason
        warn(
            f"Hessian products need right second derivatives, but: {reason} Central differences of gradients are used, "
            "six gradients a product; see the method and relative_error of the operator."
        )

    def _by_differences(self, vector: Tensor) -> Tensor:
        """One product by differences; notes the greatest error."""
        difference = central_difference(self._source, self._theta, vector, seed=self._seed)
        if difference.relative_error > _USELESS >= self._difference_error:
            warn(
                f"Differences of gradients should settle as their step shrinks, but change by "
                f"{difference.relative_error:.0%}: these Hessian products say nothing. Form the objective in float64, "
                "or of a model without kinks."
            )
        self._difference_error = max(self._difference_error, difference.relative_error)
        return difference.product
