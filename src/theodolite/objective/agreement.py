"""Do two ways of forming Hessian products agree on this model?

Forward over reverse differentiation is silently wrong by a fifth through layer normalisation (torch 2.13), and so may
be the backward pass of anybody's own operation. So nothing is believed before it has agreed with another way once.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from theodolite.objective.differences import central_difference, is_gradient_of_value, one_difference
from theodolite.objective.gradients import mean_gradient
from theodolite.objective.isolation import isolated
from theodolite.objective.knowledge import value_of
from theodolite.objective.params import Params
from theodolite.objective.sources import Source, Term
from theodolite.records.results import ProductCheck

_EXAMPLES = 8
"""Examples that the check is made on."""

_CLOSE = 0.4
"""Products agree that differ by ε^0.4, that is by 2e-3 in float32 and 5e-7 in float64; the defects known are ≥ 3e-3."""

_SURE = 10
"""Products disagree that differ by so many times the error of the difference quotient."""


_DEFECT = 1e-3
"""A smaller gap accuses nobody: it may be cancellation in the gradient, where units saturate."""

_TELLING = 0.05
"""Differences whose own error is greater tell nothing."""


@dataclass(frozen=True, eq=False)
class Sample:
    """A few examples of the first batch of a source."""

    whole: Source

    @property
    def params(self) -> Params:
        """The tensors that make up θ."""
        return self.whole.params

    @property
    def model(self) -> nn.Module | None:
        """The model, if there is one."""
        return self.whole.model

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """Modules that are run."""
        return self.whole.modules

    @cached_property
    def _term(self) -> tuple[int, Term]:
        count, loss = next(iter(self.whole.terms()))
        parts = loss.split(count, _EXAMPLES) if count > _EXAMPLES else []
        with isolated(self.modules, self.params.tensors, seed=0):
            return parts[0] if parts and math.isfinite(value_of(parts[0][1])) else (count, loss)

    def terms(self) -> Iterator[tuple[int, Term]]:
        """One term."""
        yield self._term


def check_products(
    source: Source, theta: Tensor, products: Callable[[Tensor], Tensor], *, method: str, seed: int
) -> ProductCheck:
    """Compare products with central differences of the gradient, and with themselves for symmetry.

    Args:
        source: J(θ), best a ``Sample``.
        theta: θ.
        products: HV for columns V.
        method: How these are formed.
        seed: Seed of the pinned randomness.

    Returns:
        Both gaps, and what they say.

    Cost: two products and two gradients of the source; six more gradients where one difference cannot tell, nine beyond
    those where they disagree.
    """
    draw = torch.Generator().manual_seed(0)
    V = torch.randn(theta.numel(), 2, generator=draw).to(theta)
    u, v = V.unbind(1)
    Hu, Hv = products(V).unbind(1)
    close = torch.finfo(theta.dtype).eps ** _CLOSE
    symmetry = _asymmetry(u, v, Hu, Hv)
    gap = _gap(Hv, one_difference(source, theta, v, seed=seed))
    if gap <= close and symmetry <= close:
        return ProductCheck(method, agrees=True, symmetry=symmetry, difference=gap, difference_error=math.nan)
    mask = mean_gradient(source, theta, seed=seed) != 0
    if not bool(mask.all()):  # parameters that get no gradient on purpose, as the row of a padding index
        u, v = u * mask, v * mask
        Hu, Hv = (column * mask for column in products(torch.stack([u, v], 1)).unbind(1))
    difference = central_difference(source, theta, v, seed=seed)
    gap, error = _gap(Hv, difference.product * mask), difference.relative_error
    agrees: bool | None = None
    if gap <= max(close, 3 * error) and error <= _TELLING:
        agrees = symmetry <= close
    elif difference.is_smooth and gap > max(close, _SURE * error, _DEFECT):
        agrees = False
    is_gradient = agrees is not False or (
        is_gradient_of_value(source, theta, seed=seed)
        and _asymmetry(u, v, central_difference(source, theta, u, seed=seed).product, difference.product) <= close
    )
    return ProductCheck(method, agrees, symmetry, gap, error, is_gradient)


def _gap(product: Tensor, other: Tensor) -> float:
    """‖product − other‖ over the greater of both; NaN if something is not finite."""
    gap, scale = float((product - other).norm()), max(float(product.norm()), float(other.norm()))
    return gap / scale if scale > 0 else gap


def _asymmetry(u: Tensor, v: Tensor, Hu: Tensor, Hv: Tensor) -> float:
    """|u·Hv − v·Hu| over the size of either, at its largest."""
    scale = max(float(u.norm() * Hv.norm()), float(v.norm() * Hu.norm()))
    return float((u.double() @ Hv.double() - v.double() @ Hu.double()).abs()) / scale if scale > 0 else 0.0
