"""What is H(θ)v by differences of gradients, and how sure is it?"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from theodolite.objective.gradients import mean_gradient, mean_value
from theodolite.objective.sources import Source


@dataclass(frozen=True, eq=False)
class Difference:
    """A product by central differences of the gradient, at steps h, h/2 and h/4.

    Attributes:
        product: Richardson's combination of the two finer ones.
        change: Norm of what the last halving changed: bounds the error where the function is smooth.
        is_smooth: Whether halving the step made the changes smaller: on a net with kinks it does not.
    """

    product: Float[Tensor, "params"]
    change: float
    is_smooth: bool

    @property
    def relative_error(self) -> float:
        """The change over the size of the product."""
        scale = float(self.product.norm())
        return self.change / scale if scale > 0 else (math.inf if self.change > 0 else 0.0)


def central_difference(
    source: Source, theta: Float[Tensor, "params"], vector: Float[Tensor, "params"], *, seed: int
) -> Difference:
    """H(θ)v from central differences of the gradient, with its error.

    The step h‖v‖ = ε^(1/4)·max(1, ‖θ‖) balances the h⁴ truncation against the rounding of the gradients.

    Args:
        source: J(θ).
        theta: θ.
        vector: v.
        seed: Seed of the pinned randomness.

    Returns:
        The product with its error.

    Cost: six gradients.
    """
    norm = float(vector.norm())
    if norm == 0 or not math.isfinite(norm):
        return Difference(vector * 0, 0.0, is_smooth=True)
    coarse, middle, fine = (
        one_difference(source, theta, vector, seed=seed, shrink=shrink) for shrink in (1.0, 0.5, 0.25)
    )
    product = (4 * fine - middle) / 3
    first, last = float((middle - coarse).norm()), float((fine - middle).norm())
    rounding = torch.finfo(theta.dtype).eps ** 0.5 * float(product.norm())
    return Difference(product, last, is_smooth=last <= max(0.5 * first, rounding))


def one_difference(
    source: Source,
    theta: Float[Tensor, "params"],
    vector: Float[Tensor, "params"],
    *,
    seed: int,
    shrink: float = 0.5,
) -> Float[Tensor, "params"]:
    """H(θ)v from one central difference of the gradient, of unknown error.

    Args:
        source: J(θ).
        theta: θ.
        vector: v, finite and not zero.
        seed: Seed of the pinned randomness.
        shrink: The step, over ε^(1/4)·max(1, ‖θ‖)/‖v‖.

    Returns:
        The product.

    Cost: two gradients.
    """
    h = shrink * torch.finfo(theta.dtype).eps ** 0.25 * max(1.0, float(theta.norm())) / float(vector.norm())
    ahead = mean_gradient(source, theta + h * vector, seed=seed)
    behind = mean_gradient(source, theta - h * vector, seed=seed)
    return ahead.sub_(behind).div_(2 * h)


def is_gradient_of_value(source: Source, theta: Float[Tensor, "params"], *, seed: int) -> bool:
    """Whether the gradient that autograd gives is that of the value, along itself: not so where something is detached.

    Args:
        source: J(θ).
        theta: θ.
        seed: Seed of the pinned randomness.

    Returns:
        False if the slope differs from that of central differences of J by ten times their error.

    Cost: one gradient, four values.
    """
    gradient = mean_gradient(source, theta, seed=seed)
    norm = float(gradient.norm())
    if norm == 0 or not math.isfinite(norm):
        return True
    epsilon = torch.finfo(theta.dtype).eps
    step = epsilon**0.25 * max(1.0, float(theta.norm()))
    direction = gradient / norm

    def slope(h: float) -> float:
        ahead = mean_value(source, theta + h * direction, seed=seed)
        return (ahead - mean_value(source, theta - h * direction, seed=seed)) / (2 * h)

    coarse, fine = slope(step), slope(step / 2)
    rounding = 4 * epsilon * abs(mean_value(source, theta, seed=seed)) / step
    return bool(abs(fine - norm) <= 10 * (abs(fine - coarse) + rounding))
