"""Which step do gradient and curvature ask for? Pure functions of an operator, a gradient and a damping."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theodolite.errors import SettingError
from theodolite.linalg import KrylovSpace, LinearOperator, solve
from theodolite.linalg.lanczos import working_dtype
from theodolite.linalg.settings import check_count, check_tolerance, flat_vector, number
from theodolite.records.obstacles import Status


def damped_newton_step(space: KrylovSpace, damping: float = 0.0) -> Float[Tensor, "params"]:
    """−(A + δ)⁻¹ g on a space that holds the gradient g: Newton's step, which goes to the critical point nearby.

    Args:
        space: Axes of the Hessian A, with the components of g.
        damping: δ ≥ 0, in the unit of the curvature.

    Returns:
        The step, shape (n,); uphill along axes whose curvature is below −δ. Axes where A + δ is zero to rounding are
        left out. NaN of a space that is NONFINITE.

    Raises:
        SettingError: If damping is negative or not finite.

    Cost: one pass over the basis.
    Source: Dauphin et al. 2014, section 4 and appendix F.1.
    """
    check_tolerance("damping", damping)
    if space.status is Status.NONFINITE:
        return space.vectors.new_full(space.vectors.shape[:1], torch.nan)
    stiffness = space.values + damping
    scale = float(np.abs(space.values).max()) + damping if stiffness.size else 0.0
    is_known = np.abs(stiffness) > float(torch.finfo(space.vectors.dtype).eps) * scale
    weights = np.divide(-space.components, stiffness, out=np.zeros_like(stiffness), where=is_known)
    return space.combine(weights)


def way_down(space: KrylovSpace) -> Float[Tensor, "params"] | None:
    """The unit axis of the most negative curvature, pointing downhill.

    Args:
        space: Axes of the Hessian, with the components of the gradient.

    Returns:
        The axis; None if no curvature is negative beyond its error, or the space is not finite.
    """
    if space.status is Status.NONFINITE or not space.values.size or not space.values[0] < -space.residuals[0]:
        return None
    axis = space.vectors[:, 0]
    return -axis if space.components[0] > 0 else axis


@dataclass(frozen=True, eq=False)
class BoundedStep:
    """The minimum of a quadratic model inside a ball, as far as conjugate gradients find it.

    Attributes:
        vector: The step, shape (n,).
        gain: −(g·s + ½ s·As), what the model predicts.
        is_bound: Whether the step ends on the sphere.
        status: CONVERGED if inside the ball the residual is small, or the sphere was reached; BUDGET if products ran
            out before; NONFINITE if a product was not finite.
        products: How many products it took.
    """

    vector: Float[Tensor, "params"]
    gain: float
    is_bound: bool
    status: Status
    products: int


def bounded_newton_step(
    op: LinearOperator, gradient: Tensor, radius: float, *, rtol: float = 1e-2, max_products: int = 50
) -> BoundedStep:
    """Minimum of g·s + ½ s·As with ‖s‖ ≤ radius, by conjugate gradients that stop at the sphere (Steihaug).

    Args:
        op: Symmetric operator A.
        gradient: g, shape (n,).
        radius: Greatest length of the step, positive.
        rtol: Stop when the residual ‖g + As‖ is at most rtol·‖g‖.
        max_products: Budget of products.

    Returns:
        The step. Along a direction of curvature that is not positive it goes on to the sphere.

    Raises:
        SettingError: If radius is not positive or not finite, or another setting is out of range.
        ShapeError: If gradient has another shape.

    Cost: at most ``max_products`` products, 5 vectors of size n.
    Limits: of a zero gradient the step is zero, also at a saddle.
    Source: Steihaug 1983; Nocedal & Wright 2006, algorithm 7.2.
    """
    if not 0 < number("radius", radius) < math.inf:
        raise SettingError(f"radius must be positive and finite, got {radius}. Give a length such as 1.0.")
    check_tolerance("rtol", rtol)
    check_count("max_products", max_products)
    g = flat_vector(op, gradient, "gradient").to(dtype=working_dtype(op), device=op.device)
    step, image_of_step, residual = torch.zeros_like(g), torch.zeros_like(g), -g
    direction, squared = residual, _dot(residual, residual)
    if squared == 0:
        return BoundedStep(step, 0.0, is_bound=False, status=Status.CONVERGED, products=0)
    target, status, is_bound, used = rtol * squared**0.5, Status.BUDGET, False, 0
    while used < max_products and status is Status.BUDGET:
        image = op.apply(direction.to(op.dtype).unsqueeze(1)).squeeze(1).to(g)
        used += 1
        curvature = _dot(direction, image)
        if not math.isfinite(curvature):
            status = Status.NONFINITE
            break
        to_sphere = _length_to_sphere(step, direction, radius)
        length = squared / curvature if curvature > 0 else math.inf
        is_bound = length >= to_sphere
        length = min(length, to_sphere)
        step, image_of_step = step + length * direction, image_of_step + length * image
        residual = residual - length * image
        before, squared = squared, _dot(residual, residual)
        direction = residual + squared / before * direction
        status = Status.CONVERGED if is_bound or squared**0.5 <= target else status
    gain = -(_dot(g, step) + 0.5 * _dot(step, image_of_step))
    return BoundedStep(step, gain, is_bound, status, used)


def _length_to_sphere(step: Tensor, direction: Tensor, radius: float) -> float:
    """The t ≥ 0 with ‖s + t·d‖ = radius, from a step inside; written so that nothing cancels."""
    a, b, c = _dot(direction, direction), _dot(step, direction), _dot(step, step) - radius**2
    root = math.sqrt(max(0.0, b * b - a * c))
    return -c / (b + root) if b > 0 else (root - b) / a


def natural_step(
    op: LinearOperator, gradient: Tensor, damping: float, *, rtol: float = 1e-4, max_products: int = 50
) -> Float[Tensor, "params"]:
    """−(F + δI)⁻¹ g by conjugate gradients, F being the Gauss-Newton matrix or the Fisher information.

    Args:
        op: Positive semi-definite operator F.
        gradient: g, shape (n,), finite.
        damping: δ ≥ 0, in the unit of F.
        rtol: Stop when the residual is at most rtol·‖g‖.
        max_products: Budget of products, at least 2.

    Returns:
        The step, downhill as F is positive; NaN if a product was not finite.

    Raises:
        SettingError: If gradient is not finite, or a setting is out of range.
        ShapeError: If gradient has another shape.

    Cost: at most ``max_products`` products.
    Source: Martens 2020, sections 6 and 8; of exponential families the Fisher information is the Gauss-Newton matrix.
    """
    g = flat_vector(op, gradient, "gradient")
    solution = solve(op, -g, method="cg", damping=damping, rtol=rtol, max_products=max_products)
    step = torch.as_tensor(solution.vector).to(device=op.device, dtype=working_dtype(op))
    return torch.full_like(step, torch.nan) if solution.status is Status.NONFINITE else step


def reduction_ratio(before: float, after: float, predicted: float, *, precision: float) -> float:
    """How much J fell, over how much a model said that it would: 1 where the model is right.

    Near a minimum both are lost in the rounding of J. It is added to both, so that the ratio tends to 1 there, and no
    step is refused for what is rounding.

    Args:
        before: J before the step, finite.
        after: J after it; may be not finite.
        predicted: What the model says J falls by.
        precision: Relative error of J.

    Returns:
        The ratio; −∞ if J is not finite after the step, or the model says that it rises.

    Source: Conn, Gould & Toint 2000, section 17.4.2.
    """
    rounding = precision * max(abs(before), abs(after))
    if not math.isfinite(after) or not predicted + rounding > 0:
        return -math.inf
    return (before - after + rounding) / (predicted + rounding)


def predicted_gain(op: LinearOperator, gradient: Tensor, step: Tensor) -> float:
    """−(g·s + ½ s·As), what the quadratic model says that J falls by.

    Args:
        op: Symmetric operator A.
        gradient: g, shape (n,).
        step: s, shape (n,).

    Returns:
        The gain; NaN if the product is not finite.

    Cost: one product.
    """
    image = op.apply(step.to(op.dtype).unsqueeze(1)).squeeze(1)
    return -(_dot(gradient, step) + 0.5 * _dot(step, image))


def ball_noise(dimension: int, radius: float, seed: int) -> Float[Tensor, "params"]:
    """A point drawn uniformly from the ball of a radius, float64.

    Args:
        dimension: n.
        radius: Radius of the ball.
        seed: Seed of the draw; the global generator is not moved.

    Returns:
        The point, shape (n,), on the CPU.

    Cost: n normal numbers.
    Source: Jin et al. 2017, algorithm 4, which draws so.
    """
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(dimension, dtype=torch.float64, generator=generator)
    share = float(torch.rand((), dtype=torch.float64, generator=generator)) ** (1 / dimension)
    noise: Tensor = normal * (radius * share / float(normal.norm()))
    return noise


def _dot(u: Tensor, v: Tensor) -> float:
    """u·v in float64."""
    return float(torch.dot(u.double(), v.double()))
