"""Which hidden units of a net may change places without a change of its function?

A symmetry is a value: groups of units, and where each unit stands in which tensors. Whether it holds is not decided
here, but tried out before it is used.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Axis:
    """Where units stand along one dimension of a tensor: unit u at start + (r·count + u)·width + w.

    Attributes:
        tensor: Name of a parameter or buffer.
        dim: The dimension.
        start: Where the first unit stands.
        repeats: How many times the units come one after the other, r < repeats: 4 for the gates of an LSTM.
        width: Entries a unit, w < width: height times width of a picture that was flattened.
    """

    tensor: str
    dim: int = 0
    start: int = 0
    repeats: int = 1
    width: int = 1

    def places(self, count: int) -> Int[np.ndarray, "repeats count width"]:
        """Where the units stand.

        Args:
            count: How many units there are.

        Returns:
            Indices along the dimension.
        """
        return self.start + np.arange(self.repeats * count * self.width).reshape(self.repeats, count, self.width)


@dataclass(frozen=True)
class Units:
    """Units of one kind, and every place where they stand.

    Attributes:
        count: How many.
        axes: Where they stand.
    """

    count: int
    axes: tuple[Axis, ...]


@dataclass(frozen=True)
class Group:
    """Units that change places together.

    Attributes:
        name: What they are.
        kinds: Units of one kind or more. All kinds have the same blocks: the channels of queries and keys, and those of
            values, both lie in heads.
        blocks: The units of each kind lie in so many blocks of equal size. Blocks change places as wholes, the same way
            in every kind, and units within their block, in each kind as it pleases. 1: all change places at will.
    """

    name: str
    kinds: tuple[Units, ...]
    blocks: int = 1


Places = tuple[Int[np.ndarray, "_"], ...]
"""For each kind of units in a group, which unit comes to stand at each place."""


@dataclass(frozen=True)
class Symmetry:
    """Groups of hidden units that may change places. Symmetries add up.

    Attributes:
        groups: The groups.
    """

    groups: tuple[Group, ...] = ()

    def __add__(self, other: "Symmetry") -> "Symmetry":
        """Both together."""
        return Symmetry(self.groups + other.groups)

    @property
    def names(self) -> tuple[str, ...]:
        """The tensors that it names, each once."""
        return tuple(dict.fromkeys(a.tensor for group in self.groups for units in group.kinds for a in units.axes))


def tied(name: str, count: int, dims: Mapping[str, int], *, blocks: int = 1) -> Symmetry:
    """One group of units that stand along whole dimensions of tensors.

    Args:
        name: What they are.
        count: How many.
        dims: Name of each tensor, and the dimension along which they stand in it.
        blocks: Blocks that the units lie in, such as the groups of a ``GroupNorm``.

    Returns:
        The symmetry.

    Example:
        >>> tied("hidden", 20, {"0.weight": 0, "0.bias": 0, "2.weight": 1}).names
        ('0.weight', '0.bias', '2.weight')
    """
    return Symmetry((Group(name, (Units(count, tuple(Axis(tensor, dim) for tensor, dim in dims.items())),), blocks),))


def rows(tensor: Tensor, axis: Axis, count: int) -> Float[Tensor, "count features"]:
    """What belongs to each unit in a tensor, in float64.

    Args:
        tensor: The tensor.
        axis: Where the units stand.
        count: How many they are.

    Returns:
        One row a unit.
    """
    places = torch.from_numpy(axis.places(count).transpose(1, 0, 2).ravel()).to(tensor.device)
    return tensor.detach().movedim(axis.dim, 0).index_select(0, places).reshape(count, -1).double()


def permuted(tensors: Mapping[str, Tensor], group: Group, places: Places) -> dict[str, Tensor]:
    """The tensors after units changed places.

    Args:
        tensors: Tensors by name; not changed.
        group: The units.
        places: For each kind, which unit comes to stand at each place.

    Returns:
        New tensors where units stand, the same ones elsewhere.
    """
    found = dict(tensors)
    for units, order in zip(group.kinds, places, strict=True):
        for axis in units.axes:
            old = found[axis.tensor]
            index, spots = np.arange(old.shape[axis.dim]), axis.places(units.count)
            index[spots] = spots[:, order]
            found[axis.tensor] = old.index_select(axis.dim, torch.from_numpy(index).to(old.device))
    return found
