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

from theodolite.objective.differences import central_difference, is_gradient_of_value
from theodolite.objective.params import Params
from theodolite.objective.sources import Source, Term
from theodolite.records.results import ProductCheck

_EXAMPLES = 16
"""Examples that the check is made on."""

_CLOSE = 0.4
"""Products agree that differ by ε^0.4, that is by 2e-3 in float32 and 5e-7 in float64; the defects known are ≥ 3e-3."""

_SURE = 10
"""Products disagree that differ by so many times the error of the difference quotient."""


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
        return parts[0] if parts else (count, loss)

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

    Cost: two products and six gradients of the source; about nine more where they disagree.
    """
    draw = torch.Generator().manual_seed(0)
    V = torch.randn(theta.numel(), 2, generator=draw).to(theta)
    u, v = V.unbind(1)
    Hu, Hv = products(V).unbind(1)
    difference = central_difference(source, theta, v, seed=seed)
    gap = float((Hv - difference.product).norm())
    scale = max(float(Hv.norm()), float(difference.product.norm()))
    symmetry = _asymmetry(u, v, Hu, Hv)
    close = torch.finfo(theta.dtype).eps ** _CLOSE
    agrees: bool | None = None
    if not math.isfinite(gap):
        agrees = None
    elif scale == 0 or (gap <= max(close * scale, 3 * difference.change) and difference.change <= 0.05 * scale):
        agrees = symmetry <= close
    elif difference.is_smooth and gap > _SURE * difference.change and gap > close * scale:
        agrees = False
    is_gradient = agrees is not False or (
        is_gradient_of_value(source, theta, seed=seed)
        and _asymmetry(u, v, central_difference(source, theta, u, seed=seed).product, difference.product) <= close
    )
    relative = gap / scale if scale != 0 else 0.0
    return ProductCheck(method, agrees, symmetry, relative, difference.relative_error, is_gradient)


def _asymmetry(u: Tensor, v: Tensor, Hu: Tensor, Hv: Tensor) -> float:
    """|u·Hv − v·Hu| over the size of either, at its largest."""
    scale = max(float(u.norm() * Hv.norm()), float(v.norm() * Hu.norm()))
    return float((u.double() @ Hv.double() - v.double() @ Hu.double()).abs()) / scale if scale > 0 else 0.0
