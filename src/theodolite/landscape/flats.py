"""How are the points origin + Σₖ cₖ·directionₖ formed, one after the other?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from theodolite.objective.params import Params
from theodolite.objective.sources import Source


class AffineSum:
    """z₀ + Σₖ cₖ·zₖ of several tensors, written into others of their shapes.

    The sum over all directions but the last is kept while its coefficients repeat: along a row of a grid, one addition
    forms a point. Every sum starts at z₀, so that no rounding is handed on from point to point.
    """

    def __init__(self, origin: Sequence[Tensor], directions: Sequence[Sequence[Tensor]]) -> None:
        """Take z₀ and each zₖ, tensor by tensor; they are not copied."""
        self._origin, self._directions = origin, directions
        self._base = origin
        self._leading: tuple[float, ...] = ()

    def write(self, row: tuple[float, ...], out: Sequence[Tensor]) -> None:
        """Form one sum.

        Args:
            row: c, a coefficient a direction.
            out: Where to; a coarser type is rounded to once.
        """
        if not row:
            for tensor, part in zip(out, self._origin, strict=True):
                tensor.copy_(part)
            return
        if row[:-1] != self._leading:
            self._base, self._leading = self._summed(row[:-1]), row[:-1]
        for tensor, part, way in zip(out, self._base, self._directions[-1], strict=True):
            torch.add(part, way, alpha=row[-1], out=tensor)

    def _summed(self, leading: tuple[float, ...]) -> list[Tensor]:
        """The sum over all directions but the last."""
        ways = iter(zip(leading, self._directions, strict=False))
        share, first = next(ways)
        base = [torch.add(part, way, alpha=share) for part, way in zip(self._origin, first, strict=True)]
        for share, further in ways:
            for part, way in zip(base, further, strict=True):
                part.add_(way, alpha=share)
        return base


@dataclass(frozen=True, eq=False)
class Flat:
    """All points origin + Σₖ cₖ·directionₖ.

    Attributes:
        origin: Where all coefficients are 0.
        directions: One vector a coefficient.
    """

    origin: Float[Tensor, "params"]
    directions: tuple[Float[Tensor, "params"], ...]

    def parts(self, params: Params) -> tuple[list[Tensor], list[list[Tensor]]]:
        """Origin and directions in the shapes of the parameters and on their devices, in float32 at least.

        Args:
            params: The tensors that make up θ.

        Returns:
            The parts of the origin, and those of each direction.
        """
        origin, *directions = [_parts(vector, params) for vector in (self.origin, *self.directions)]
        return origin, directions


@dataclass(frozen=True, eq=False)
class Surface:
    """J on a flat, as a function of the coefficients c.

    Attributes:
        source: Where J comes from.
        seed: Seed of its pinned randomness.
        flat: Origin and directions.
    """

    source: Source
    seed: int
    flat: Flat


class Placing:
    """θ at points of a flat, put into the tensors that hold it."""

    def __init__(
        self, flat: Flat, params: Params, storages: Sequence[Tensor], *, left_out: Sequence[Tensor] = ()
    ) -> None:
        """Take the flat, where θ is held, and which parameters are left as they are."""
        idle = {id(tensor) for tensor in left_out}
        kept = [place for place, tensor in enumerate(params.tensors) if id(tensor) not in idle]
        origin, directions = flat.parts(params)
        self._sum = AffineSum([origin[i] for i in kept], [[way[i] for i in kept] for way in directions])
        self._storages = [storages[i] for i in kept]

    def write(self, row: tuple[float, ...]) -> None:
        """Go to a point.

        Args:
            row: c, a coefficient a direction.
        """
        self._sum.write(row, self._storages)


def _parts(vector: Tensor, params: Params) -> list[Tensor]:
    """One vector in the shapes of the parameters."""
    fine = vector.to(torch.promote_types(vector.dtype, torch.float32))
    pairs = zip(fine.split(params.sizes), params.tensors, strict=True)
    return [part.reshape(tensor.shape).to(tensor.device) for part, tensor in pairs]


def walking_order(rows: Float[np.ndarray, "points directions"]) -> Int[np.ndarray, "points"]:
    """An order of points in which leading coefficients repeat as often as they can.

    Args:
        rows: c, a row a point.

    Returns:
        Places of the points.
    """
    return np.lexsort(rows.T[::-1]) if rows.shape[1] else np.arange(len(rows))
