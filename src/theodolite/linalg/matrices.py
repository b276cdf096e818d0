"""How is a matrix that is written down used as an operator?"""

import numpy as np
import torch
from torch import Tensor

from theodolite.errors import ShapeError
from theodolite.linalg.operators import Operator
from theodolite.linalg.settings import described


class _Matrix:
    """Products of a matrix that is written down."""

    method = "dense"

    def __init__(self, matrix: Tensor) -> None:
        self._matrix = matrix
        self.dimension, self.dtype, self.device = matrix.shape[0], matrix.dtype, matrix.device
        self.relative_error = torch.finfo(matrix.dtype).eps
        self.is_symmetric = True

    def apply(self, vectors: Tensor) -> Tensor:
        """AV; one column at a time, so that a block gives the same bits as its columns."""
        return torch.stack([self._matrix @ column for column in vectors.unbind(1)], 1) if vectors.numel() else vectors

    def transpose(self) -> "_Matrix":
        """The same."""
        return self

    def release(self) -> None:
        """Nothing is kept."""


def dense(matrix: Tensor | np.ndarray) -> Operator:
    """A symmetric matrix that is written down, as an operator.

    Args:
        matrix: Symmetric, shape (n, n), floating point.

    Returns:
        The operator. Its products take one column at a time, so that a block gives the same bits as its columns.

    Raises:
        ShapeError: If it is no matrix, or not square, real and symmetric to the square root of its precision.

    Cost: one pass over the matrix now; a product is one with the matrix.
    Limits: the matrix is not copied: what is written to it later shows in the products. Asymmetry below the square root
    of the precision is let through, and shows in residuals; NaN is let through, and ends an algorithm as NONFINITE.

    Example:
        >>> dense(torch.tensor([[2.0, 1.0], [1.0, 2.0]])) @ torch.tensor([1.0, -1.0])
        tensor([ 1., -1.])
    """
    if not isinstance(matrix, (Tensor, np.ndarray, list, tuple)):
        raise ShapeError(
            f"matrix must be a tensor or array of shape (n, n), got {described(matrix)}. Of an objective, "
            "hessian(objective) is an operator."
        )
    tensor = torch.as_tensor(matrix)
    if tensor.ndim != 2 or tensor.shape[0] != tensor.shape[1] or not tensor.is_floating_point() or not tensor.numel():
        raise ShapeError(
            f"matrix must be square, real and not empty, got shape {tuple(tensor.shape)} of {tensor.dtype}. Convert "
            "integers with .float(); of complex numbers there are no operators here."
        )
    gap = float((tensor - tensor.T).abs().max())
    if gap > torch.finfo(tensor.dtype).eps ** 0.5 * float(tensor.abs().max()):
        raise ShapeError(
            f"matrix must be symmetric, but entries differ from their mirror by up to {gap:.3g}. Pass its symmetric "
            "part, (A + A.T) / 2."
        )
    return Operator(_Matrix(tensor))
