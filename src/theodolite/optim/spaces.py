"""In which axes is a step formed: all eigenvectors of the Hessian, or those of a small space around the gradient?"""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theodolite.linalg import KrylovSpace, LinearOperator, eigendecomposition
from theodolite.linalg.interface import as_array
from theodolite.linalg.lanczos import working_dtype
from theodolite.records.obstacles import Status


def whole_space(op: LinearOperator, gradient: Float[Tensor, "params"]) -> KrylovSpace:
    """All eigenpairs of a symmetric operator, with the components of a gradient along them.

    Args:
        op: Symmetric operator A.
        gradient: g, shape (n,); may be zero.

    Returns:
        The space ℝⁿ in the axes of A; NONFINITE, without axes, if A is not finite.

    Cost: n products and about 10 n³ operations.
    """
    pairs = eigendecomposition(op)
    vectors = torch.as_tensor(pairs.vectors).to(device=op.device, dtype=working_dtype(op))
    components = np.asarray(pairs.vectors.T @ as_array(gradient).astype(np.float64))
    return KrylovSpace(pairs.values, vectors, components, pairs.residuals, pairs.status, pairs.products)


def widened_space(space: KrylovSpace, op: LinearOperator, direction: Float[Tensor, "params"]) -> KrylovSpace:
    """A space with one more direction u, in the axes that the operator has there.

    The projection of A on span(Y, u) is [[Θ, YᵀAu], [uᵀAY, uᵀAu]] with the Ritz pairs (Θ, Y), u made orthogonal to Y.

    Args:
        space: The space so far, finite.
        op: The operator A.
        direction: The direction, shape (n,); need not be of unit length.

    Returns:
        The wider space; the residuals are upper bounds. The same space if the direction lies in it to rounding, or is
        zero or not finite; NONFINITE if the product is.

    Cost: one product, and a pass over the basis.
    Source: Dauphin et al. 2014, appendix E, where the last Lanczos vector gives way to the previous update.
    """
    u = direction.to(space.vectors)
    length = float(torch.linalg.vector_norm(u, dtype=torch.float64))
    if not np.isfinite(length) or length == 0 or space.vectors.shape[0] == space.vectors.shape[1]:
        return space
    u = u / length
    for _ in range(2):  # twice is enough (Kahan and Parlett)
        u = u - space.vectors @ (space.vectors.T @ u)
    left = float(torch.linalg.vector_norm(u, dtype=torch.float64))
    if left <= torch.finfo(u.dtype).eps ** 0.5:
        return space
    u = u / left
    image = op.apply(u.to(op.dtype).unsqueeze(1)).squeeze(1).to(u)
    if not bool(image.isfinite().all()):
        return replace(space, status=Status.NONFINITE, products=space.products + 1)
    return _rotated(space, u, image)


def _rotated(space: KrylovSpace, u: Tensor, image: Tensor) -> KrylovSpace:
    """Rayleigh-Ritz on the space and u, of which Au is known."""
    inside = space.vectors.T @ image
    curvature = float(torch.dot(u.double(), image.double()))
    outside = image - space.vectors @ inside - curvature * u
    border = as_array(inside).astype(np.float64)
    projected = np.block([[np.diag(space.values), border[:, None]], [border[None, :], np.array([[curvature]])]])
    values, rotation = np.linalg.eigh(projected)
    basis = torch.cat([space.vectors, u[:, None]], 1)
    leaving = np.append(space.residuals, float(torch.linalg.vector_norm(outside, dtype=torch.float64)))
    # The gradient of a Krylov space has no part along u, that of a space which was widened before may have one.
    return KrylovSpace(
        values,
        basis @ torch.as_tensor(rotation).to(basis),
        rotation.T @ np.append(space.components, 0.0),
        np.abs(rotation).T @ leaving,
        Status.BUDGET,
        space.products + 1,
    )


def seen_from(space: KrylovSpace, gradient: Float[Tensor, "params"]) -> KrylovSpace:
    """The same axes and curvatures, with the components of another gradient.

    Args:
        space: The space.
        gradient: The gradient, shape (n,); what of it lies outside the space is dropped.

    Returns:
        The space for that gradient.
    """
    components = as_array(space.vectors.T @ gradient.to(space.vectors)).astype(np.float64)
    return replace(space, components=components)
