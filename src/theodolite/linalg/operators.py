"""How is a matrix too large to write down held: as its products with vectors."""

from collections.abc import Sequence
from numbers import Real
from typing import Self, TypeVar, overload

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse.linalg import LinearOperator as ScipyOperator
from torch import Tensor

from theodolite.errors import SettingError, ShapeError
from theodolite.linalg.algebra import composed, multiple, restricted, shifted, symmetrized, total
from theodolite.linalg.interface import Layout, LinearOperator, as_array
from theodolite.linalg.progress import progress
from theodolite.linalg.settings import check_memory, require_real

ArrayOrTensor = TypeVar("ArrayOrTensor", np.ndarray, Tensor)

_CHUNK_BYTES = 2**25
"""Identity columns that are multiplied at once, with their products: 32 MiB."""


class Operator:
    """A linear operator as a person holds it: ``op @ v``, combined with others, dense, or for SciPy.

    ``A + B``, ``A - B``, ``2 * A``, ``A / 2``, ``A @ B``, ``A.T``, ``A.shift(δ)``, ``A.symmetrize()`` and
    ``A.restrict("layers.0", "*.bias")`` give operators.

    Example:
        >>> from theodolite.linalg.matrices import dense
        >>> op = dense(torch.diag(torch.tensor([1.0, -10.0])))
        >>> op @ torch.tensor([1.0, 1.0])
        tensor([  1., -10.])
        >>> (2 * op).shift(1.0) @ torch.tensor([1.0, 1.0])
        tensor([  3., -19.])
    """

    __array_ufunc__ = None  # else NumPy takes an operator for a number, and np.ones(2) * op for two of them

    def __init__(self, products: LinearOperator, layout: Layout | None = None, name: str = "") -> None:
        """Hold an operator that is known by its products.

        Args:
            products: The products.
            layout: Which entries belong to which parameter, where that has a meaning.
            name: Which matrix it is, in words; without, the method stands for it.
        """
        self._products = products
        self._name = name
        self.layout = layout

    def __repr__(self) -> str:
        """Name, size, type, device, method."""
        lead = f"{self._name}, " if self._name else ""
        return f"Operator({lead}shape={self.shape}, dtype={self.dtype}, device={self.device}, method={self.method!r})"

    @property
    def name(self) -> str:
        """Which matrix it is, in words: "Hessian", "2 · Hessian"."""
        return self._name or self.method

    @property
    def _factor(self) -> str:
        """The name as it stands in a product, in brackets where it is more than a word."""
        return f"({self.name})" if " " in self.name else self.name

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

    @property
    def is_symmetric(self) -> bool:
        """Whether A = Aᵀ by construction."""
        return self._products.is_symmetric

    def transpose(self) -> "Operator":
        """Aᵀ; A itself if it is symmetric."""
        return self if self.is_symmetric else Operator(self._products.transpose(), self.layout, f"{self._factor}ᵀ")

    @property
    def T(self) -> "Operator":  # noqa: N802  # as everywhere
        """Aᵀ."""
        return self.transpose()

    def __add__(self, other: "Operator") -> "Operator":
        """A + B."""
        if not isinstance(other, Operator):
            return NotImplemented
        return Operator(total(self, other), self.layout, f"{self.name} + {other.name}")

    def __sub__(self, other: "Operator") -> "Operator":
        """A − B."""
        if not isinstance(other, Operator):
            return NotImplemented
        return Operator(total(self, -other), self.layout, f"{self.name} − {other._factor}")

    def __neg__(self) -> "Operator":
        """−A."""
        return -1.0 * self

    def __mul__(self, factor: float | np.number) -> "Operator":
        """The multiple cA."""
        if not isinstance(factor, Real):
            return NotImplemented
        return Operator(multiple(self, float(factor)), self.layout, f"{float(factor):g} · {self._factor}")

    __rmul__ = __mul__

    def __truediv__(self, divisor: float | np.number) -> "Operator":
        """The quotient A/c."""
        if not isinstance(divisor, Real):
            return NotImplemented
        if divisor == 0:
            raise SettingError(
                f"an operator is divided by a number that is not zero, got {divisor!r}. Look where it comes from."
            )
        return self * (1 / float(divisor))

    def shift(self, shift: float) -> "Operator":
        """A + δI.

        Args:
            shift: δ.

        Returns:
            The operator.
        """
        size = f"{'−' if shift < 0 else '+'} {abs(float(shift)):g}"
        return Operator(shifted(self, shift), self.layout, f"{self.name} {size} · I")

    def symmetrize(self) -> "Operator":
        """The symmetric part (A + Aᵀ)/2; A itself if it is symmetric.

        Returns:
            The operator, of the same quadratic form, diagonal and trace; its product takes one of A and one of Aᵀ.

        Example:
            >>> from theodolite.linalg.matrices import dense
            >>> product = dense(torch.diag(torch.tensor([1.0, 3.0]))) @ dense(torch.ones(2, 2))
            >>> product.symmetrize().to_dense()
            tensor([[1., 2.],
                    [2., 3.]])
        """
        name = f"symmetric part of {self._factor}"
        return self if self.is_symmetric else Operator(symmetrized(self), self.layout, name)

    def restrict(self, *which: str | Sequence[str] | Sequence[int] | np.ndarray) -> "Operator":
        """The block of A that belongs to some parameters.

        Args:
            which: Names of parameters, of modules, or patterns ("*.bias"), one by one or as one list; or one array of
                places.

        Returns:
            The submatrix as an operator; ``layout`` says what it holds, in order. A product costs as much as one of A:
            for a small part of a large model, ``Objective(..., parameters=names)`` is cheaper.

        Raises:
            SettingError: If nothing is asked for, a pattern matches nothing, a place is out of range, or the operator
                knows no names.
        """
        if not which:
            raise SettingError(
                "restrict must be told what to keep, got nothing. Pass names, as in op.restrict('layers.0', '*.bias'), "
                "or an array of places."
            )
        given = which[0] if len(which) == 1 and not isinstance(which[0], str) else which
        patterns = [one for one in given if isinstance(one, str)] if isinstance(given, (list, tuple)) else []
        if not patterns:
            places = np.array(given)
            return Operator(restricted(self, places), None, f"{self._factor}[{places.size} places]")
        if len(patterns) < len(given):
            raise SettingError(f"restrict must be given names alone, or places alone, got {given!r}. Ask for one kind.")
        if self.layout is None:
            raise SettingError("the operator must know its parameters by name, and does not. Pass an array of places.")
        places, layout = self.layout.places(patterns)
        shown = ", ".join(patterns) if len(patterns) <= 3 else f"{len(patterns)} patterns"
        return Operator(restricted(self, places), layout, f"{self._factor}[{shown}]")

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

    @overload
    def __matmul__(self, vectors: "Operator") -> "Operator": ...
    @overload
    def __matmul__(self, vectors: ArrayOrTensor) -> ArrayOrTensor: ...
    def __matmul__(self, vectors: "ArrayOrTensor | Operator") -> "ArrayOrTensor | Operator":
        """Av or AV, as a tensor for a tensor and an array for an array, in the operator's type; AB for operators."""
        if isinstance(vectors, Operator):
            return Operator(composed(self, vectors), self.layout, f"{self._factor} · {vectors._factor}")
        if not isinstance(vectors, (np.ndarray, Tensor)):
            raise ShapeError(
                f"op @ v needs a tensor or array of shape ({self.dimension},) or ({self.dimension}, k), got a "
                f"{type(vectors).__name__}. Convert it with torch.as_tensor(v)."
            )
        if vectors.ndim not in (1, 2) or vectors.shape[0] != self.dimension:
            raise ShapeError(
                f"v must have shape ({self.dimension},) or ({self.dimension}, k), got {tuple(vectors.shape)}. "
                "Put vectors into columns, each in the order of objective.names."
            )
        columns = torch.as_tensor(vectors).detach()
        require_real(columns, "v")
        columns = columns.to(dtype=self.dtype, device=self.device)
        product = self.apply(columns.reshape(self.dimension, -1)).reshape(columns.shape)
        return product if isinstance(vectors, Tensor) else as_array(product)

    def to_scipy(self) -> ScipyOperator:
        """The operator for SciPy's solvers, in its own type (float32 for half precision).

        Returns:
            A ``scipy.sparse.linalg.LinearOperator``, with its adjoint.
        """
        adjoint = self.transpose()

        def product(vectors: np.ndarray) -> np.ndarray:
            return self @ vectors

        def back(vectors: np.ndarray) -> np.ndarray:
            return adjoint @ vectors

        dtype = as_array(torch.empty(0, dtype=self.dtype)).dtype
        return ScipyOperator(self.shape, matvec=product, rmatvec=back, matmat=product, rmatmat=back, dtype=dtype)

    def to_dense(self, *, symmetrize: bool = True, memory_limit: int = 4 * 2**30) -> Float[Tensor, "params params"]:
        """The matrix A, by products with the columns of the identity.

        Args:
            symmetrize: Whether to return (A + Aᵀ)/2 of a symmetric operator; without, A − Aᵀ shows the rounding.
            memory_limit: Bytes that the matrix may take.

        Returns:
            The matrix, in the operator's type and on its device.

        Raises:
            SettingError: If the matrix would exceed the limit, or that is no number of bytes.

        Cost: n products, in chunks of columns of 32 MiB; n² numbers.
        """
        check_memory(memory_limit)
        n = self.dimension
        width = torch.empty(0, dtype=self.dtype).element_size()
        if n * n * width > memory_limit:
            raise SettingError(
                f"the dense matrix must fit memory_limit={memory_limit:,} bytes, but {n} x {n} takes {n * n * width:,}."
                " Raise the limit, or use products: op @ v, largest_eigenvalues(op)."
            )
        matrix = torch.empty(n, n, dtype=self.dtype, device=self.device)
        chunk = max(1, _CHUNK_BYTES // (2 * width * n))
        with progress(n, "dense matrix") as bar:
            for first in range(0, n, chunk):
                size = min(chunk, n - first)
                columns = torch.zeros(n, size, dtype=self.dtype, device=self.device)
                columns[first : first + size].fill_diagonal_(1)
                matrix[:, first : first + size] = self.apply(columns)
                bar.update(size)
        return _symmetrized(matrix) if symmetrize and self.is_symmetric else matrix


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
