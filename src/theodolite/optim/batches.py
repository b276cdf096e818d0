"""What is J on the batch of a closure, as a function of θ?

A closure of ``torch.optim`` clears gradients, computes the loss, calls ``loss.backward()`` and returns something. Steps
that know curvature need J at other points, and its graph. So the closure is run again, with ``backward`` noted instead
of executed: J is the sum of the losses on which it was called, which is what ``.grad`` would have been the slope of.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from theodolite.errors import ObjectiveError
from theodolite.linalg import Operator
from theodolite.objective import MEMORY_LIMIT, Params
from theodolite.objective.capture import modules_within
from theodolite.objective.gauss_newton import GaussNewton, GaussNewtonProducts
from theodolite.objective.gradients import mean_gradient, mean_value
from theodolite.objective.knowledge import Knowledge
from theodolite.objective.outer import LossHessian
from theodolite.objective.products import HessianProducts
from theodolite.objective.sources import Term, scalar

Closure = Callable[[], Any]
"""Computes the loss of one batch, the same at each call; calls ``backward`` on it, or returns it with its graph."""


_OF_BACKWARD = ("self", "gradient", "retain_graph", "create_graph", "inputs")
"""Arguments of ``Tensor.backward``, in order."""


class BackwardNoted(TorchFunctionMode):
    """Inside, ``loss.backward()`` does nothing but note the loss, whose graph stays whole.

    Closures may look at ``.grad`` afterwards, to log its norm or to clip it: they find zeros.
    """

    def __init__(self, tensors: Sequence[Tensor] = ()) -> None:
        """Nothing is noted yet.

        Args:
            tensors: Parameters whose ``.grad`` is zero after ``backward``, unless there is one.
        """
        super().__init__()
        self.losses: list[Tensor] = []
        self._tensors = tensors

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Pass on every call but that of ``backward``."""
        if func is not Tensor.backward:
            return func(*args, **(kwargs or {}))
        given = dict(zip(_OF_BACKWARD, args, strict=False)) | (kwargs or {})
        if given.get("inputs") is not None:
            raise ObjectiveError(
                "the closure must call backward for all parameters, but it names inputs. Leave them out; freeze the "
                "others, or give them to another optimizer."
            )
        loss, weight = given["self"], given.get("gradient")
        self.losses.append(loss if weight is None else (loss * weight).sum())
        for tensor in self._tensors:
            if tensor.grad is None:
                tensor.grad = torch.zeros_like(tensor)
        return None


@dataclass(frozen=True)
class MixedPrecision:
    """Autocast as it runs around ``optimizer.step``: meant for the closure, not for the algebra of the step.

    Attributes:
        dtypes: The type on each kind of device where it runs.
    """

    dtypes: tuple[tuple[str, torch.dtype], ...] = ()

    @classmethod
    def around(cls, kinds: Iterable[str]) -> Self:
        """What runs now on some kinds of device."""
        return cls(tuple((kind, torch.get_autocast_dtype(kind)) for kind in kinds if torch.is_autocast_enabled(kind)))

    def switched(self, *, on: bool) -> ExitStack:
        """A context in which it runs, or does not; cast weights are not kept, since weights change between calls."""
        stack = ExitStack()
        for kind, dtype in self.dtypes:
            stack.enter_context(torch.autocast(kind, dtype, enabled=on, cache_enabled=False))
        return stack


@dataclass(frozen=True, eq=False)
class ClosureLoss:
    """The loss that a closure computes from some parameters."""

    closure: Closure
    tensors: Sequence[Tensor] = ()
    precision: MixedPrecision = MixedPrecision()

    def __call__(self) -> Tensor:
        """The sum of the losses that are differentiated, or else what the closure returns.

        Returns:
            A scalar tensor with its graph.

        Raises:
            ObjectiveError: If the closure gives no scalar tensor, or one that depends on no parameter.
        """
        with self.precision.switched(on=True), BackwardNoted(self.tensors) as noted:
            returned = self.closure()
        losses = [scalar(loss, "closure()") for loss in noted.losses or [returned]]
        loss = losses[0] if len(losses) == 1 else torch.stack(losses).sum()
        if not loss.requires_grad:
            raise ObjectiveError(
                "the closure must call loss.backward(), or return the loss with its graph, but gave a loss that depends"
                " on no parameter. Compute it in the closure, without no_grad() and detach()."
            )
        return loss

    def split(self, count: int, size: int) -> list[tuple[int, Term]]:
        """Nothing: which examples a closure uses is not known."""
        return []


@dataclass(frozen=True, eq=False)
class ClosureSource:
    """J(θ) as a closure computes it."""

    params: Params
    closure: Closure
    model: nn.Module | None = None
    precision: MixedPrecision = MixedPrecision()

    @cached_property
    def modules(self) -> tuple[nn.Module, ...]:
        """The model, and the modules that the closure reaches."""
        found = modules_within(self.closure)
        return found if self.model is None else (self.model, *found)

    def terms(self) -> Iterator[tuple[int, Term]]:
        """The one batch of the closure."""
        yield 1, ClosureLoss(self.closure, self.params.tensors, self.precision)


@dataclass(frozen=True, eq=False)
class BatchObjective:
    """J(θ) on the batch of a closure, measured without a trace.

    Attributes:
        source: The closure, with the parameters that make up θ.
        seed: Seed of the pinned randomness: masks are the same at each θ.
        knowledge: What is known of J from earlier batches: whether double backward is right for this model.
    """

    source: ClosureSource
    seed: int
    knowledge: Knowledge

    def value(self, theta: Float[Tensor, "params"]) -> float:
        """J(θ)."""
        return mean_value(self.source, theta, seed=self.seed)

    def gradient(self, theta: Float[Tensor, "params"]) -> Float[Tensor, "params"]:
        """∇J(θ).

        Returns:
            The gradient, shape (n,).

        Raises:
            ObjectiveError: If the graph of the loss was freed.
            RuntimeError: What else the closure raises.
        """
        try:
            return mean_gradient(self.source, theta, seed=self.seed)
        except RuntimeError as error:
            if "second time" not in str(error):
                raise
            raise ObjectiveError(
                "the closure must compute the loss anew at each call and differentiate it by loss.backward(), but the "
                "graph of the loss was freed: by torch.autograd.backward or grad, or since a part of it is computed "
                "outside. Call loss.backward(), or return the loss alone."
            ) from error

    def hessian(self, theta: Float[Tensor, "params"]) -> Operator:
        """H(θ); release it, or use ``with``."""
        products = HessianProducts(
            self.source, theta, seed=self.seed, memory_limit=MEMORY_LIMIT, knowledge=self.knowledge
        )
        return Operator(products, name="Hessian")

    def ggn(self, theta: Float[Tensor, "params"]) -> Operator:
        """The generalised Gauss-Newton matrix at θ, of a source with a model; release it, or use ``with``."""
        model = self.source.model
        assert model is not None
        products = GaussNewtonProducts(
            self.source,
            theta,
            GaussNewton(self.source.params, model, LossHessian.of),
            method="Gauss-Newton",
            seed=self.seed,
            memory_limit=MEMORY_LIMIT,
            knowledge=self.knowledge,
        )
        return Operator(products, name="Gauss-Newton")
