"""What is a linear operator to those who use it: its size, its products, how sure they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import accumulate
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from theodolite.errors import SettingError


class LinearOperator(Protocol):
    """A linear map A on ℝⁿ, known by its products.

    Laws: A(u + cv) = Au + cAv to rounding, that is to ``relative_error``·‖A‖; if it is symmetric, u·Av = v·Au to the
    same; the same product twice is the same to the bit; a product with k columns is the k products, to rounding.
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

    @property
    def is_symmetric(self) -> bool:
        """Whether A = Aᵀ by construction."""
        ...

    def apply(self, vectors: Float[Tensor, "params count"]) -> Float[Tensor, "params count"]:
        """AV for the columns of V, which are of the operator's type and on its device."""
        ...

    def transpose(self) -> "LinearOperator":
        """Aᵀ; A itself if it is symmetric."""
        ...

    def release(self) -> None:
        """Give back memory that was kept to make further products cheap; products stay possible."""
        ...


@dataclass(frozen=True)
class Layout:
    """Which entries of a vector belong to which parameter.

    Attributes:
        names: Names of the parameters, in order.
        sizes: Number of entries of each.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]

    def places(self, patterns: Sequence[str]) -> tuple[Int[np.ndarray, "kept"], "Layout"]:
        """Entries of the parameters whose names match, in order.

        Args:
            patterns: Names ("0.weight"), modules ("layers.0", which means all of their parameters), or patterns of the
                shell ("*.bias").

        Returns:
            The places, and the layout of what was kept.

        Raises:
            SettingError: If a pattern matches no name.
        """
        for pattern in patterns:
            if not any(_matches(name, pattern) for name in self.names):
                raise SettingError(
                    f"a pattern must match a parameter, but {pattern!r} matches none of {self.names}. Take one of "
                    "these names, the module before its dot, or a pattern such as '*.bias'."
                )
        starts = [0, *accumulate(self.sizes)]
        kept = [i for i, name in enumerate(self.names) if any(_matches(name, pattern) for pattern in patterns)]
        places = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in kept])
        return places, Layout(tuple(self.names[i] for i in kept), tuple(self.sizes[i] for i in kept))


def _matches(name: str, pattern: str) -> bool:
    return name.startswith(f"{pattern}.") or fnmatchcase(name, pattern)


def as_array(tensor: Tensor) -> np.ndarray:
    """A tensor as an array on the host; half precision, which NumPy lacks in part, as float32.

    Args:
        tensor: Any tensor.

    Returns:
        An array of its own memory: what happens to the tensor later leaves it alone.
    """
    dtype = torch.float32 if tensor.dtype in (torch.bfloat16, torch.float16) else tensor.dtype
    array: np.ndarray = tensor.detach().to("cpu", dtype, copy=True).numpy()
    return array
