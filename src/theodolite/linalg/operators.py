"""How is a symmetric matrix too large to write down held: as its products with vectors."""

from typing import Protocol, Self, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse.linalg import LinearOperator as ScipyOperator
from torch import Tensor

from theodolite.errors import SettingError, ShapeError
from theodolite.objective import MEMORY_LIMIT, Objective

ArrayOrTensor = TypeVar("ArrayOrTensor", np.ndarray, Tensor)

_CHUNK_BYTES = 2**25
"""Identity columns that are multiplied at once, with their products: 32 MiB."""


class LinearOperator(Protocol):
    """A symmetric linear map A on ℝⁿ, known by its products.

    Laws: A(u + cv) = Au + cAv and u·Av = v·Au to rounding, that is to ``relative_error``·‖A‖; the same product twice is
    the same to the bit; a product with k columns is the k products.
    """

    @property
    def dimension(self) -> int:
        """The size n."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Type in which products are formed."""
        ...

    @property
    def device(self) -> torch.device:
        """Device on which products are formed."""
        ...

    @property
    def method(self) -> str:
        """How products are formed."""
        ...

    @property
    def relative_error(self) -> float:
        """Error of a product over its size, as far as the method knows it."""
        ...

    def apply(self, vectors: Float[Tensor, "params count"]) -> Float[Tensor, "params count"]:
        """AV for the columns of V, which are of the operator's type and on its device."""
        ...

    def release(self) -> None:
        """Give back memory that was kept to make further products cheap; products stay possible."""
        ...


class Operator:
    """A symmetric operator as a person holds it: ``op @ v``, dense, or for SciPy.

    Example:
        >>> op = dense(torch.diag(torch.tensor([1.0, -10.0])))
        >>> op @ torch.tensor([1.0, 1.0])
        tensor([  1., -10.])
    """

    def __init__(self, products: LinearOperator) -> None:
        """Hold an operator that is known by its products."""
        self._products = products

    def __repr__(self) -> str:
        """Size, type, device, method."""
        return f"Operator(shape={self.shape}, dtype={self.dtype}, device={self.device}, method={self.method!r})"

    @property
    def dimension(self) -> int:
        """The size n."""
        return self._products.dimension

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        return self.dimension, self.dimension

    @property
    def dtype(self) -> torch.dtype:
        """Type in which products are formed."""
        return self._products.dtype

    @property
    def device(self) -> torch.device:
        """Device on which products are formed."""
        return self._products.device

    @property
    def method(self) -> str:
        """How products are formed; may change on the first product."""
        return self._products.method

    @property
    def relative_error(self) -> float:
        """Error of a product over its size, as far as the method knows it."""
        return self._products.relative_error

    def release(self) -> None:
        """Give back memory that was kept to make further products cheap; products stay possible."""
        self._products.release()

    def __enter__(self) -> Self:
        """Hold the operator for the length of a block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Release it."""
        self.release()

    def apply(self, vectors: Float[Tensor, "params count"]) -> Float[Tensor, "params count"]:
        """AV for the columns of V.

        Args:
            vectors: Columns, of the operator's type and on its device.

        Returns:
            The products.
        """
        return self._products.apply(vectors)

    def __matmul__(self, vectors: ArrayOrTensor) -> ArrayOrTensor:
        """Av or AV, as a tensor for a tensor and an array for an array, in the operator's type."""
        if not isinstance(vectors, (np.ndarray, Tensor)):
            raise ShapeError(
                f"op @ v needs a tensor or array of shape ({self.dimension},) or ({self.dimension}, k), got a "
                f"{type(vectors).__name__}."
            )
        if vectors.ndim not in (1, 2) or vectors.shape[0] != self.dimension:
            raise ShapeError(
                f"v must have shape ({self.dimension},) or ({self.dimension}, k), got {tuple(vectors.shape)}. "
                "Put vectors into columns, each in the order of objective.names."
            )
        columns = torch.as_tensor(vectors).detach().to(dtype=self.dtype, device=self.device)
        product = self.apply(columns.reshape(self.dimension, -1)).reshape(columns.shape)
        return product if isinstance(vectors, Tensor) else as_array(product)

    def to_scipy(self) -> ScipyOperator:
        """The operator for SciPy's solvers, in its own type (float32 for half precision).

        Returns:
            A ``scipy.sparse.linalg.LinearOperator``; symmetric, so it is its own adjoint.
        """

        def product(vectors: np.ndarray) -> np.ndarray:
            return self @ vectors

        dtype = as_array(torch.empty(0, dtype=self.dtype)).dtype
        return ScipyOperator(self.shape, matvec=product, rmatvec=product, matmat=product, rmatmat=product, dtype=dtype)

    def to_dense(self, *, symmetrize: bool = True, memory_limit: int = 4 * 2**30) -> Float[Tensor, "params params"]:
        """The matrix A, by products with the columns of the identity.

        Args:
            symmetrize: Whether to return (A + Aᵀ)/2; without, A − Aᵀ shows the rounding.
            memory_limit: Bytes that the matrix may take.

        Returns:
            The matrix, in the operator's type and on its device.

        Raises:
            SettingError: If the matrix would exceed the limit.

        Cost: n products, in chunks of columns of 32 MiB; n² numbers.
        """
        n = self.dimension
        width = torch.empty(0, dtype=self.dtype).element_size()
        if n * n * width > memory_limit:
            raise SettingError(
                f"the dense matrix must fit memory_limit={memory_limit:,} bytes, but {n} x {n} takes {n * n * width:,}."
                " Raise the limit, or use products: op @ v, largest_eigenvalues(op)."
            )
        matrix = torch.empty(n, n, dtype=self.dtype, device=self.device)
        chunk = max(1, _CHUNK_BYTES // (2 * width * n))
        for first in range(0, n, chunk):
            size = min(chunk, n - first)
            columns = torch.zeros(n, size, dtype=self.dtype, device=self.device)
            columns[first : first + size].fill_diagonal_(1)
            matrix[:, first : first + size] = self.apply(columns)
        return _symmetrized(matrix) if symmetrize else matrix


def _symmetrized(matrix: Tensor, size: int = 512) -> Tensor:
    """(A + Aᵀ)/2, written over A block by block."""
    n = matrix.shape[0]
    for i in range(0, n, size):
        for j in range(0, i + 1, size):
            lower, upper = matrix[i : i + size, j : j + size], matrix[j : j + size, i : i + size]
            mean = lower.add(upper.T).mul_(0.5)
            lower.copy_(mean)
            upper.copy_(mean.T)
    return matrix


def as_array(tensor: Tensor) -> np.ndarray:
    """A tensor as an array on the host; half precision, which NumPy lacks in part, as float32.

    Args:
        tensor: Any tensor.

    Returns:
        The array.
    """
    wide = tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor
    array: np.ndarray = wide.detach().cpu().numpy()
    return array


def hessian(objective: Objective, at: object = None, *, memory_limit: int = MEMORY_LIMIT) -> Operator:
    """The Hessian H(θ) of an objective, at a point that is fixed now.

    Further products reuse the graph of the gradient. The point stays the same if the model is trained on meanwhile.

    Args:
        objective: J(θ).
        at: Point θ, shape (n,); None is the present one.
        memory_limit: Bytes that kept graphs may take; batches beyond are rebuilt for each block of vectors.

    Returns:
        The operator; ``release`` it, or use ``with``, to free the graphs early.

    Raises:
        SettingError: If ``objective`` is none.
        ShapeError: If ``at`` has another shape.

    Cost: nothing now; about 3 gradients for the first product, 1.5 to 2.6 for each further one.

    Example:
        >>> bowl = Objective.from_function(lambda theta: theta[0] * theta[1], torch.ones(2))
        >>> hessian(bowl).to_dense()
        tensor([[0., 1.],
                [1., 0.]])
    """
    if not isinstance(objective, Objective):
        raise SettingError(
            f"objective must be an Objective, got a {type(objective).__name__}. "
            "Form one with Objective(model, loss, data)."
        )
    return Operator(objective.open_products(at, memory_limit=memory_limit))


class _Matrix:
    """Products of a matrix that is written down."""

    method = "dense"

    def __init__(self, matrix: Tensor) -> None:
        self._matrix = matrix
        self.dimension, self.dtype, self.device = matrix.shape[0], matrix.dtype, matrix.device
        self.relative_error = torch.finfo(matrix.dtype).eps

    def apply(self, vectors: Tensor) -> Tensor:
        """AV; one column at a time, so that a block gives the same bits as its columns."""
        return torch.stack([self._matrix @ column for column in vectors.unbind(1)], 1) if vectors.numel() else vectors

    def release(self) -> None:
        """Nothing is kept."""


def dense(matrix: Tensor | np.ndarray) -> Operator:
    """A symmetric matrix that is written down, as an operator.

    Args:
        matrix: Symmetric, shape (n, n), floating point.

    Returns:
        The operator.

    Raises:
        ShapeError: If it is not square, real and symmetric to the square root of its precision.
    """
    tensor = torch.as_tensor(matrix)
    if tensor.ndim != 2 or tensor.shape[0] != tensor.shape[1] or not tensor.is_floating_point() or not tensor.numel():
        raise ShapeError(
            f"matrix must be square, real and not empty, got shape {tuple(tensor.shape)} of {tensor.dtype}."
        )
    gap = float((tensor - tensor.T).abs().max())
    if gap > torch.finfo(tensor.dtype).eps ** 0.5 * float(tensor.abs().max()):
        raise ShapeError(f"matrix must be symmetric, but entries differ from their mirror by up to {gap:.3g}.")
    return Operator(_Matrix(tensor))
