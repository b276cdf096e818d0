"""What are sums, multiples, products and parts of operators?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from theodolite.errors import SettingError, ShapeError
from theodolite.linalg.interface import LinearOperator


@dataclass(frozen=True, eq=False)
class Derived:
    """An operator made of others.

    Attributes:
        parts: What it is made of; type and device are those of the first.
        dimension: The size n.
        method: How products are formed.
        product: AV for columns V.
        transposed: Makes Aᵀ; None if A is symmetric by construction.
    """

    parts: tuple[LinearOperator, ...]
    dimension: int
    method: str
    product: Callable[[Tensor], Tensor]
    transposed: Callable[[], LinearOperator] | None = None

    @property
    def dtype(self) -> torch.dtype:
        """Type in which products are formed."""
        return self.parts[0].dtype

    @property
    def device(self) -> torch.device:
        """Device on which products are formed."""
        return self.parts[0].device

    @property
    def relative_error(self) -> float:
        """The greatest among the parts: right as long as nothing cancels."""
        return max(part.relative_error for part in self.parts)

    @property
    def is_symmetric(self) -> bool:
        """Whether A = Aᵀ by construction."""
        return self.transposed is None

    def apply(self, vectors: Float[Tensor, "params count"]) -> Float[Tensor, "params count"]:
        """AV for the columns of V."""
        return self.product(vectors)

    def transpose(self) -> LinearOperator:
        """Aᵀ."""
        return self if self.transposed is None else self.transposed()

    def release(self) -> None:
        """Give back memory that the parts keep."""
        for part in self.parts:
            part.release()


def total(*ops: LinearOperator) -> Derived:
    """The sum A + B + … of operators.

    Args:
        ops: Operators of one size, type and device.

    Returns:
        The sum.

    Raises:
        ShapeError: If sizes, types or devices differ.
    """
    _require_alike(ops)
    are_symmetric = all(op.is_symmetric for op in ops)
    return Derived(
        ops,
        ops[0].dimension,
        " + ".join(dict.fromkeys(op.method for op in ops)),
        lambda V: torch.stack([op.apply(V) for op in ops]).sum(0),
        None if are_symmetric else lambda: total(*(op.transpose() for op in ops)),
    )


def multiple(op: LinearOperator, factor: float) -> Derived:
    """The multiple cA of an operator.

    Args:
        op: A.
        factor: c.

    Returns:
        The multiple.

    Raises:
        SettingError: If the factor is not a finite real number.
    """
    if not np.isfinite(factor):
        raise SettingError(
            f"an operator is multiplied by a finite real number, got {factor!r}. Look where the factor comes from."
        )
    return Derived(
        (op,),
        op.dimension,
        op.method,
        lambda V: op.apply(V) * factor,
        None if op.is_symmetric else lambda: multiple(op.transpose(), factor),
    )


def shifted(op: LinearOperator, shift: float) -> Derived:
    """A + δI.

    Args:
        op: A.
        shift: δ.

    Returns:
        The shifted operator.

    Raises:
        SettingError: If the shift is not a finite real number.
    """
    if not np.isfinite(shift):
        raise SettingError(
            f"an operator is shifted by a finite real number, got {shift!r}. Look where the shift comes from."
        )
    return Derived(
        (op,),
        op.dimension,
        op.method,
        lambda V: op.apply(V).add(V, alpha=shift),
        None if op.is_symmetric else lambda: shifted(op.transpose(), shift),
    )


def composed(first: LinearOperator, second: LinearOperator) -> Derived:
    """AB; not symmetric, unless both are the same.

    Args:
        first: A.
        second: B, applied first.

    Returns:
        The composition.

    Raises:
        ShapeError: If sizes, types or devices differ.
    """
    _require_alike((first, second))
    is_square = first is second and first.is_symmetric
    return Derived(
        (first, second),
        first.dimension,
        " after ".join(dict.fromkeys((first.method, second.method))),
        lambda V: first.apply(second.apply(V)),
        None if is_square else lambda: composed(second.transpose(), first.transpose()),
    )


def symmetrized(op: LinearOperator) -> LinearOperator:
    """The symmetric part (A + Aᵀ)/2 of an operator, of the same quadratic form, diagonal and trace.

    Args:
        op: A.

    Returns:
        A itself if it is symmetric; else an operator whose product takes one of A and one of Aᵀ.
    """
    if op.is_symmetric:
        return op
    transposed = op.transpose()
    return Derived(
        (op, transposed),
        op.dimension,
        f"symmetric part of {op.method}",
        lambda V: (op.apply(V) + transposed.apply(V)) / 2,
    )


def scaled_both_sides(op: LinearOperator, scale: Float[Tensor, "params"]) -> Derived:
    """diag(d) A diag(d).

    Args:
        op: A.
        scale: d, shape (n,).

    Returns:
        The scaled operator.

    Raises:
        ShapeError: If the scale has another shape.
    """
    if tuple(scale.shape) != (op.dimension,):
        raise ShapeError(
            f"scale must have shape ({op.dimension},), got {tuple(scale.shape)}. Give one entry for each parameter."
        )
    column = scale.detach().to(dtype=op.dtype, device=op.device, copy=True).unsqueeze(1)
    return Derived(
        (op,),
        op.dimension,
        op.method,
        lambda V: column * op.apply(column * V),
        None if op.is_symmetric else lambda: scaled_both_sides(op.transpose(), column.squeeze(1)),
    )


def restricted(op: LinearOperator, places: Int[np.ndarray, "kept"] | Sequence[int]) -> Derived:
    """The rows and columns of A at some places.

    Args:
        op: A.
        places: Which of the n, each once.

    Returns:
        An operator of the size of ``places``; its products cost as much as those of A.

    Raises:
        SettingError: If a place is out of range or named twice, or there is none.
    """
    kept = np.array(places)
    if kept.ndim != 1 or kept.dtype.kind not in "iu" or not kept.size or len(set(kept.tolist())) != kept.size:
        raise SettingError(
            f"places must be distinct integers, at least one, got {places!r}. np.flatnonzero gives those of a mask."
        )
    if kept.min() < 0 or kept.max() >= op.dimension:
        raise SettingError(
            f"places must lie in 0 … {op.dimension - 1}, got {kept.min()} … {kept.max()}. Count from 0, along "
            "op.layout if the operator has one."
        )
    index = torch.as_tensor(kept.astype(np.int64), device=op.device)

    def product(V: Tensor) -> Tensor:
        whole = torch.zeros(op.dimension, V.shape[1], dtype=V.dtype, device=V.device)
        return op.apply(whole.index_copy_(0, index, V)).index_select(0, index)

    transposed = None if op.is_symmetric else lambda: restricted(op.transpose(), kept)
    return Derived((op,), kept.size, op.method, product, transposed)


def _require_alike(ops: Sequence[LinearOperator]) -> None:
    """Complain of operators that cannot be combined."""
    kinds = [(op.dimension, str(op.dtype), str(op.device)) for op in ops]
    if len(set(kinds)) > 1:
        raise ShapeError(
            f"operators must have one size, type and device to be combined, got {kinds}. Form them of one "
            "objective, or restrict the larger one."
        )
