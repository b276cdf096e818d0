"""Which objectives have a surface that is known exactly? Those of the room ``theory``, as functions of one vector.

Each takes the point to stand at, and computes in its type and on its device.
"""

import math
from collections.abc import Sequence
from functools import partial, reduce

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from theodolite.errors import ShapeError
from theodolite.objective.objective import Objective
from theodolite.theory.spin_glass import SpinGlass


def quadratic_surface(hessian: ArrayLike, start: Tensor, *, gradient: ArrayLike | None = None) -> Objective:
    """J(θ) = gᵀθ + ½θᵀHθ.

    Args:
        hessian: H, symmetric, shape (n, n), of any signs.
        start: θ, shape (n,).
        gradient: g at the origin, shape (n,); None is 0.

    Returns:
        The objective; ``theory.quadratic``, ``theory.descent`` and ``theory.flow`` know where a descent on it goes.

    Raises:
        ShapeError: If the shapes do not fit, or H is not symmetric.
        ObjectiveError: If the start is no vector.

    Example:
        >>> import torch
        >>> quadratic_surface([[1.0, 0.0], [0.0, -1.0]], torch.tensor([2.0, 1.0])).value()
        1.5
    """
    H, n = _as_of(hessian, start), start.numel()
    g = torch.zeros_like(start) if gradient is None else _as_of(gradient, start)
    if H.shape != (n, n) or g.shape != (n,) or not torch.allclose(H, H.T):
        raise ShapeError(
            f"hessian must be symmetric of shape ({n}, {n}), and gradient of shape ({n},), "
            f"got {tuple(H.shape)} and {tuple(g.shape)}. Symmetrise as (H + Hᵀ)/2."
        )
    return Objective.from_function(partial(_quadratic, H, g), start)


def product_surface(start: Tensor, *, x: float = 1.0, target: float = 1.0) -> Objective:
    """J(w) = ½(w₁⋯w_k x − t)², the chain of scalars.

    Args:
        start: w, shape (k,).
        x: The input.
        target: t.

    Returns:
        The objective; ``theory.products`` knows its gradient, its Hessian and its series along an update.

    Raises:
        ObjectiveError: If the start is no vector.

    Source: Goodfellow 2015, tutorial; Saxe 2014, one mode.

    Example:
        >>> import torch
        >>> product_surface(torch.tensor([2.0, 1.0])).gradient()
        tensor([1., 2.])
    """
    return Objective.from_function(partial(_product, x, target), start)


def deep_linear_surface(
    weights: Sequence[Tensor], cross: ArrayLike, *, covariance: ArrayLike | None = None
) -> Objective:
    """J = ½‖Y − W_m…W₁X‖² less its least value without a bottleneck, of the moments Σ₃₁ = YXᵀ and Σ₁₁ = XXᵀ alone.

    ½tr[(W − W*)Σ₁₁(W − W*)ᵀ] with W = W_m…W₁ and W* = Σ₃₁Σ₁₁⁺; ½‖W − Σ₃₁‖² where the inputs are white.

    Args:
        weights: W₁ … W_m at the start, from the input on; θ holds them one after the other, row by row.
        cross: Σ₃₁, shape (outputs, inputs); its rows lie in the space of Σ₁₁, as moments do.
        covariance: Σ₁₁, shape (inputs, inputs); None is the identity.

    Returns:
        The objective; 0 is its least value if no hidden layer is narrower than Σ₃₁'s rank. ``theory.deep_linear`` knows
        how flow on it learns, ``theory.linear_saddles`` where it halts.

    Raises:
        ShapeError: If there is no weight, or the weights and moments do not form a chain.

    Cost: of a value Σ N_l N_{l+1} N_in multiplications, whatever the number of examples.
    Source: Saxe 2014.

    Example:
        >>> import torch
        >>> deep_linear_surface([torch.tensor([[2.0]]), torch.tensor([[1.0]])], [[1.0]]).value()
        0.5
    """
    if not weights:
        raise ShapeError("weights must hold at least one matrix, got none.")
    start = torch.cat([weight.detach().flatten() for weight in weights])
    target = _as_of(cross, start)
    shapes = [tuple(weight.shape) for weight in weights]
    inner = [target.shape[-1], *(shape[0] for shape in shapes)]
    if [shape[-1] for shape in shapes] != inner[:-1] or target.shape != (inner[-1], inner[0]):
        raise ShapeError(
            f"weights and cross must form a chain, got {shapes} for cross of shape {tuple(target.shape)}. "
            "Order them from the input."
        )
    moments = torch.eye(inner[0]).to(start) if covariance is None else _as_of(covariance, start)
    if moments.shape != (inner[0], inner[0]):
        raise ShapeError(f"covariance must have shape ({inner[0]}, {inner[0]}), got {tuple(moments.shape)}.")
    best = target @ torch.linalg.pinv(moments, hermitian=True)
    return Objective.from_function(partial(_deep_linear, shapes, best, moments), start)


def spin_glass_surface(glass: SpinGlass, start: Tensor) -> Objective:
    """J(θ) = L(√Λ θ/‖θ‖), the energy of a spherical spin glass at the point of the sphere that θ points to.

    J does not depend on ‖θ‖: no penalty and no constraint is needed. On the sphere its gradient is the tangent gradient
    of L, and at critical points its Hessian is the tangent Hessian, with a 0 along θ.

    Args:
        glass: The surface, from ``theory.spin_glass``.
        start: θ, shape (Λ,), not 0.

    Returns:
        The objective; J/Λ is the energy per spin.

    Raises:
        ShapeError: If the start has another size.
        ObjectiveError: If the start is no vector.

    Limits: steps of a fixed size turn θ by the less the longer it has become; ‖θ‖ grows under descent.
    Source: Choromanska 2015.
    """
    if start.shape != (glass.size,):
        raise ShapeError(f"start must have shape ({glass.size},), one entry a spin, got {tuple(start.shape)}.")
    return Objective.from_function(partial(_spin_glass, _as_of(glass.tensor, start)), start)


def _quadratic(H: Tensor, g: Tensor, theta: Tensor) -> Tensor:
    return theta @ (g + 0.5 * (H @ theta))


def _product(x: float, target: float, theta: Tensor) -> Tensor:
    return 0.5 * (theta.prod() * x - target).square()


def _deep_linear(shapes: Sequence[tuple[int, ...]], best: Tensor, moments: Tensor, theta: Tensor) -> Tensor:
    parts = theta.split([math.prod(shape) for shape in shapes])
    layers = [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
    gap = reduce(lambda before, after: after @ before, layers) - best
    return torch.sum(gap * (gap @ moments)) / 2


def _spin_glass(tensor: Tensor, theta: Tensor) -> Tensor:
    point = theta * (math.sqrt(len(theta)) / torch.linalg.vector_norm(theta))
    return reduce(torch.matmul, [point] * tensor.ndim, tensor)


def _as_of(value: ArrayLike, start: Tensor) -> Tensor:
    """A tensor of the type and on the device of the start."""
    return torch.as_tensor(value, dtype=start.dtype, device=start.device)
