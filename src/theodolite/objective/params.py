"""How do named tensors and one flat vector θ correspond?

The order of θ is the order of ``model.named_parameters()``; each tensor is laid out row by row, whatever its strides.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from theodolite.errors import ObjectiveError, ShapeError


@dataclass(frozen=True, eq=False)
class Params:
    """The tensors that make up θ, in order.

    Attributes:
        names: One name a tensor.
        tensors: The leaf tensors themselves; shared with the model, never copied.
    """

    names: tuple[str, ...]
    tensors: tuple[Tensor, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of entries of each tensor."""
        return tuple(tensor.numel() for tensor in self.tensors)

    @property
    def dimension(self) -> int:
        """Length n of θ."""
        return sum(self.sizes)

    @property
    def dtype(self) -> torch.dtype:
        """The type that holds every tensor without loss."""
        return reduce(torch.promote_types, (tensor.dtype for tensor in self.tensors))

    @property
    def device(self) -> torch.device:
        """The device of the first tensor; θ lives there."""
        return self.tensors[0].device

    def point(self) -> Float[Tensor, "params"]:
        """A copy of θ as it is now."""
        return self.flatten([tensor.detach() for tensor in self.tensors])

    def flatten(self, tensors: Sequence[Tensor | None]) -> Float[Tensor, "params"]:
        """One vector of tensors shaped like the parameters; None stands for zeros, sparse tensors become dense."""
        if all(t is not None and t.layout == torch.strided and t.device == self.device for t in tensors):
            joined = torch.cat([tensor.detach().reshape(-1) for tensor in tensors if tensor is not None])
            return joined.to(self.dtype)
        flat = torch.zeros(self.dimension, dtype=self.dtype, device=self.device)
        for part, tensor in zip(flat.split(self.sizes), tensors, strict=True):
            if tensor is not None:
                dense = tensor.to_dense() if tensor.layout != torch.strided else tensor
                part.copy_(dense.detach().reshape(-1))
        return flat

    def unflatten(self, vector: Float[Tensor, "params"]) -> tuple[Tensor, ...]:
        """Parts of a vector, each with the shape, type and device of its parameter."""
        parts = vector.split(self.sizes)
        return tuple(part.reshape(tensor.shape).to(tensor) for part, tensor in zip(parts, self.tensors, strict=True))

    def unflatten_rows(self, rows: Float[Tensor, "count params"]) -> tuple[Tensor, ...]:
        """Parts of several vectors, stacked in front of the shape of each parameter."""
        parts = rows.split(self.sizes, 1)
        pairs = zip(parts, self.tensors, strict=True)
        return tuple(part.reshape(len(rows), *tensor.shape).to(tensor) for part, tensor in pairs)

    def flatten_rows(self, tensors: Sequence[Tensor | None], count: int) -> Float[Tensor, "count params"]:
        """Several vectors of tensors stacked in front of the shape of each parameter; None stands for zeros."""
        pairs = zip(tensors, self.sizes, strict=True)
        parts = [
            torch.zeros(count, size, dtype=self.dtype, device=self.device)
            if tensor is None
            else tensor.detach().reshape(count, size).to(dtype=self.dtype, device=self.device)
            for tensor, size in pairs
        ]
        return torch.cat(parts, 1)

    def vector(self, value: object, name: str = "vector") -> Float[Tensor, "params"]:
        """A caller's vector, checked, in the type and on the device of θ.

        Args:
            value: Tensor or array of shape (n,).
            name: What to call it in the error.

        Returns:
            The vector, detached.

        Raises:
            ShapeError: If its shape is not (n,), or it is complex.
        """
        if not isinstance(value, (Tensor, np.ndarray, list, tuple)):
            raise ShapeError(
                f"{name} must be a tensor or array of shape ({self.dimension},), got a {type(value).__name__}. "
                "Pass a flat vector, for example objective.point()."
            )
        tensor = torch.as_tensor(value)
        if tuple(tensor.shape) != (self.dimension,):
            raise ShapeError(
                f"{name} must have shape ({self.dimension},), got {tuple(tensor.shape)}. "
                "Concatenate parameter-shaped tensors in the order of objective.names, each flattened."
            )
        if tensor.is_complex():
            raise ShapeError(f"{name} must be real, got {tensor.dtype}. Pass its real part.")
        return tensor.detach().to(dtype=self.dtype, device=self.device)

    def _hold(self, theta: Float[Tensor, "params"]) -> bool:
        """Whether the tensors have these values now; reading them costs half of what writing and restoring would."""
        return all(
            torch.equal(tensor.detach(), part) for tensor, part in zip(self.tensors, self.unflatten(theta), strict=True)
        )

    @contextmanager
    def placed(self, theta: Float[Tensor, "params"] | None) -> Iterator[None]:
        """Put θ into the tensors for a while; afterwards they hold what they held, to the bit.

        The values are written into the tensors' own storage, so that ties by storage, packed recurrent weights and
        references held elsewhere stay true. Version counters do not move. None leaves the tensors as they are, and so
        does a θ that they hold already.
        """
        if theta is None or self._hold(theta):
            yield
            return
        with self.kept() as storages:
            with torch.no_grad():
                for storage, part in zip(storages, self.unflatten(theta), strict=True):
                    storage.copy_(part)
            yield

    @contextmanager
    def kept(self) -> Iterator[list[Tensor]]:
        """The values of the tensors, to be written to for a while; afterwards they are what they were, to the bit.

        Yields:
            One tensor a parameter, in its own storage; what is written there is θ. Version counters do not move.
        """
        storages = [tensor.data for tensor in self.tensors]
        backup = [storage.clone() for storage in storages]
        try:
            yield storages
        finally:
            with torch.no_grad():
                for storage, saved in zip(storages, backup, strict=True):
                    storage.copy_(saved)


def trainable(model: nn.Module, names: Sequence[str] | None = None) -> Params:
    """The parameters of a model that require a gradient, each once however often it is tied.

    Args:
        model: Any module.
        names: Keep only these; None keeps all.

    Returns:
        Names and tensors in the order of ``named_parameters``.

    Raises:
        ObjectiveError: If nothing is left, a name is unknown, or a parameter is uninitialised or complex.
    """
    found = {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}
    for name, tensor in found.items():
        if isinstance(tensor, nn.parameter.UninitializedParameter):
            raise ObjectiveError(
                f"every parameter must have a shape, but {name} of a lazy module has none yet. "
                "Run the model once on a batch first."
            )
        if tensor.is_complex():
            raise ObjectiveError(
                f"parameters must be real, but {name} is {tensor.dtype}. Hold its real and imaginary parts apart."
            )
    if names is not None:
        unknown = [name for name in names if name not in found]
        if unknown:
            raise ObjectiveError(
                f"names must be trainable parameters of the model, got {unknown}. It has {list(found)}."
            )
        found = {name: found[name] for name in found if name in set(names)}
    if not found:
        raise ObjectiveError(
            f"the model must have a parameter that requires a gradient, got none in {type(model).__name__}. "
            "Unfreeze one, or use Objective.from_function."
        )
    return Params(tuple(found), tuple(found.values()))
