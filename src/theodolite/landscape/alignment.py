"""Are two nets the same but for the order of their hidden units?

Units are put in the order in which their weights are nearest to those of another net. The function stays the same; the
straight line between the two nets does not.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from theodolite.errors import SettingError
from theodolite.landscape.points import bare, point_of
from theodolite.landscape.symmetries import Group, Places, Symmetry, Units, permuted, rows
from theodolite.linalg.settings import check_tolerance
from theodolite.objective import Objective, Params

_ROUNDING = 1e-12
"""An order of units is better only if it gains more than this share of all products: they are summed in float64."""


@dataclass(frozen=True, eq=False)
class Alignment:
    """A net with its hidden units in the order of another one's.

    Attributes:
        point: θ, shape (n,): the same function as before.
        state: Tensors of the model outside θ that moved along, such as running statistics, by name.
        moves: What was done, in order: the name of a group, and which unit came to stand at each place, for each kind.
        distance_before: Distance to the other net before.
        distance: Distance to it now.
        rounds: Rounds over all groups, the last one without a gain.
    """

    point: Float[Tensor, "params"]
    state: dict[str, Tensor]
    moves: tuple[tuple[str, Places], ...]
    distance_before: float
    distance: float
    rounds: int


def align(
    objective: Objective,
    a: object,
    b: object,
    symmetry: Symmetry,
    *,
    state: Mapping[str, Tensor] | None = None,
    rtol: float | None = None,
    generator: torch.Generator | None = None,
) -> Alignment:
    """The net b with its hidden units in that order which brings it nearest to a: weight matching.

    Σ ⟨a's part of unit u, b's part of unit π(u)⟩ over all places of the units is maximised, for one group after the
    other with the rest fixed, until no group gains: exactly in each group, to a local optimum over all of them.
    That the symmetry leaves J unchanged is tried out first, by a random order of each group, at b and half way to a.

    Args:
        objective: J(θ).
        a: The net to be near to: a vector of shape (n,), or tensors by name.
        b: The net whose units change places, likewise.
        symmetry: Which units may; ``hidden_units(model)`` reads them off many models.
        state: Tensors of net b outside θ, such as its running statistics, by name; None takes them from b if they are
            there, else from the model.
        rtol: By how much J may differ for rounding, as a share of J; None is the root of the precision of θ.
        generator: Source of the order in which groups are met in each round; None is the order given.

    Returns:
        θ of the same function, and what moved along.

    Raises:
        SettingError: If the symmetry names what the model has not, or changes J, or a net or J is not finite.
        ShapeError: If a or b has another shape than θ.

    Cost: 2·groups + 2 passes over the data; for each group and round, units² × weights a unit multiplications and an
    assignment in units³.
    Limits: what lies outside θ, and signs and scales of units, are not matched. Where units stand twice in one tensor,
    as in a recurrent layer, each place is matched with the other one fixed, and the order taken only if it gains.
    Source: Ainsworth, Hayase & Srinivasa 2023 (Git Re-Basin), algorithm 1. Deviation: heads of attention are matched by
    the best match of the channels within them.

    Example:
        >>> from theodolite.landscape.symmetries import Axis
        >>> product = Objective.from_function(lambda x: (x[0] * x[2] + x[1] * x[3] - 1) ** 2, torch.ones(4))
        >>> pairs = Symmetry((Group("pairs", (Units(2, (Axis("theta"), Axis("theta", start=2))),)),))
        >>> align(product, torch.tensor([1.0, 2, 3, 4]), torch.tensor([2.0, 1, 4, 3]), pairs).point
        tensor([1., 2., 3., 4.])
    """
    net = _Net(objective, symmetry, point_of(objective, a, "a"), point_of(objective, b, "b"))
    there = net.tensors(net.b) | _state(objective, symmetry, _beside(objective, b) if state is None else state)
    _check(net, there)
    _try_out(net, there, rtol)
    here = net.tensors(net.a)
    moves: list[tuple[str, Places]] = []
    rounds = gained = 0
    while rounds == 0 or gained:
        rounds, gained = rounds + 1, 0
        for group in _ordered(symmetry, generator):
            places = _best_order([_products(units, here, there) for units in group.kinds], group.blocks)
            moved = permuted(there, group, places)
            if _gains(here, there, moved):
                there, gained = moved, gained + 1
                moves.append((group.name, places))
    point = net.vector(there)
    rest = {name: tensor for name, tensor in there.items() if name not in here}
    return Alignment(point, rest, tuple(moves), _distance(net.a, net.b), _distance(net.a, point), rounds)


@dataclass(frozen=True, eq=False)
class _Net:
    """Two points of J, and which units may change places."""

    objective: Objective
    symmetry: Symmetry
    a: Tensor
    b: Tensor

    def tensors(self, point: Tensor) -> dict[str, Tensor]:
        """The parts of a point by name."""
        params = self.objective.params
        return dict(zip(params.names, params.unflatten(point), strict=True))

    def vector(self, tensors: Mapping[str, Tensor]) -> Float[Tensor, "params"]:
        """A point of its parts."""
        return self.objective.params.flatten([tensors[name] for name in self.objective.names])

    def value(self, tensors: Mapping[str, Tensor]) -> float:
        """J with these tensors, those outside θ among them."""
        own = set(self.objective.names)
        rest = {name: tensor for name, tensor in tensors.items() if name not in own}
        if not rest:
            return self.objective.value(self.vector(tensors))
        model = _outside(self.objective)
        outside = Params(tuple(rest), tuple(model[name] for name in rest))
        with outside.placed(outside.flatten(list(rest.values()))):
            return self.objective.value(self.vector(tensors))


def _outside(objective: Objective) -> dict[str, Tensor]:
    """Tensors of the model outside θ: buffers and frozen parameters."""
    model = objective.source.model
    if model is None:
        return {}
    found = dict(model.named_parameters()) | dict(model.named_buffers())
    return {name: tensor for name, tensor in found.items() if name not in set(objective.names)}


def _beside(objective: Objective, net: object) -> dict[str, Tensor]:
    """Tensors outside θ: those of a net where it holds them, else those of the model."""
    found = _outside(objective)
    entries = bare(net, objective.names) if isinstance(net, Mapping) else {}
    return {
        name: torch.as_tensor(entries[name]).to(tensor) if name in entries else tensor for name, tensor in found.items()
    }


def _state(objective: Objective, symmetry: Symmetry, source: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those tensors outside θ in which units stand."""
    model, own = _outside(objective), set(objective.names)
    missing = [name for name in symmetry.names if name not in model and name not in own]
    if missing:
        raise SettingError(
            f"symmetry must name parameters and buffers of the model, got {missing}. It has {sorted(own | set(model))}."
        )
    wanted = [name for name in symmetry.names if name not in own]
    wrong = [name for name in wanted if name not in source or source[name].shape != model[name].shape]
    if wrong:
        raise SettingError(
            f"state must hold the tensors outside θ in which units stand, got none of the right shape for {wrong}. "
            "Take them from the state_dict of net b."
        )
    return {name: source[name].detach().clone() for name in wanted}


def _check(net: _Net, tensors: Mapping[str, Tensor]) -> None:
    """Refuse a symmetry that does not fit, and nets that are not finite."""
    if not net.symmetry.groups:
        raise SettingError(
            "symmetry must have a group of units, got none. Write one with tied(name, count, dims): hidden_units knows "
            "chains of layers and torch's own attention only."
        )
    for group in net.symmetry.groups:
        for units in group.kinds:
            _check_units(group, units, tensors)
    for name, point in (("a", net.a), ("b", net.b)):
        if not bool(point.isfinite().all()):
            raise SettingError(f"{name} must be finite, got NaN or infinite entries. Take an earlier checkpoint.")


def _check_units(group: Group, units: Units, tensors: Mapping[str, Tensor]) -> None:
    """Refuse units that do not fit into their tensors, or into their blocks."""
    if units.count < 1 or group.blocks < 1 or units.count % group.blocks:
        raise SettingError(
            f"Units of {group.name!r} must lie in blocks of equal size, got {units.count} in {group.blocks} blocks. "
            "Take a number of blocks that divides them."
        )
    for axis in units.axes:
        shape = tuple(tensors[axis.tensor].shape)
        last = axis.start + axis.repeats * units.count * axis.width
        if not -len(shape) <= axis.dim < len(shape) or last > shape[axis.dim]:
            raise SettingError(
                f"{axis.tensor!r} must hold the {units.count} units of {group.name!r} up to place {last} along "
                f"dimension {axis.dim}, got shape {shape}. Correct dim, start, repeats or width of this axis."
            )


def _try_out(net: _Net, there: Mapping[str, Tensor], rtol: float | None) -> None:
    """Refuse a symmetry that changes J."""
    if rtol is not None:
        check_tolerance("rtol", rtol)
    coarsest = max(torch.finfo(tensor.dtype).eps for tensor in net.objective.params.tensors)
    share = coarsest**0.5 if rtol is None else rtol
    between = dict(there) | net.tensors(net.a + (net.b - net.a) / 2)
    plain = [net.value(tensors) for tensors in (there, between)]
    if not np.isfinite(plain).all():
        raise SettingError(
            f"J must be finite at b and half way to a, to see whether it changes; got {plain}. Check the data."
        )
    for group in net.symmetry.groups:
        places = _any_order(group, np.random.default_rng(0))
        changes = [
            net.value(permuted(tensors, group, places)) - value
            for tensors, value in zip((there, between), plain, strict=True)
        ]
        if not np.all(np.abs(changes) <= share * np.abs(plain).max()):
            raise SettingError(
                f"Units of {group.name!r} must leave J as it is when they change places, got changes of {changes} to "
                f"J = {plain} at b and half way to a. Name every tensor in which they stand; in train mode, dropout "
                "tells units apart; with low precision inside the model raise rtol."
            )


def _any_order(group: Group, rng: np.random.Generator) -> Places:
    """A random order in which no block and no unit stays, where it can go elsewhere."""
    blocks, found = _cycle(group.blocks, rng), []
    for units in group.kinds:
        size = units.count // group.blocks
        found.append(np.concatenate([block * size + _cycle(size, rng) for block in blocks]))
    return tuple(found)


def _cycle(count: int, rng: np.random.Generator) -> Int[np.ndarray, "count"]:
    """A random permutation of one cycle."""
    order, places = rng.permutation(count), np.empty(count, np.int64)
    places[order] = np.roll(order, 1)
    return places


def _ordered(symmetry: Symmetry, generator: torch.Generator | None) -> tuple[Group, ...]:
    """The groups of one round."""
    if generator is None:
        return symmetry.groups
    order = torch.randperm(len(symmetry.groups), generator=generator)
    return tuple(symmetry.groups[index] for index in order.tolist())


def _gains(here: Mapping[str, Tensor], there: Mapping[str, Tensor], moved: Mapping[str, Tensor]) -> bool:
    """Whether a move brings the nets nearer; with units twice in one tensor, as in a recurrent layer, it may not."""
    gain = total = 0.0
    for name, mine in here.items():
        if moved[name] is not there[name]:
            products = mine.double() * (moved[name].double() - there[name].double())
            gain, total = gain + float(products.sum()), total + float(products.abs().sum())
    return gain > _ROUNDING * total


def _products(
    units: Units, here: Mapping[str, Tensor], there: Mapping[str, Tensor]
) -> Float[np.ndarray, "count count"]:
    """⟨a's part of unit i, b's part of unit j⟩, summed over the tensors of θ."""
    total = np.zeros((units.count, units.count))
    for axis in units.axes:
        if axis.tensor in here:
            left, right = (rows(net[axis.tensor], axis, units.count) for net in (here, there))
            total += (left @ right.T).cpu().numpy()
    return total


def _best_order(products: list[np.ndarray], blocks: int) -> Places:
    """The order of the greatest sum of products, blocks moving as wholes."""
    if blocks == 1:
        return tuple(linear_sum_assignment(one, maximize=True)[1] for one in products)
    sizes = [len(one) // blocks for one in products]
    cut = [one.reshape(blocks, n, blocks, n).swapaxes(1, 2) for one, n in zip(products, sizes, strict=True)]
    # For each pair of blocks, the best order within.
    within = [[[linear_sum_assignment(pair, maximize=True)[1] for pair in row] for row in one] for one in cut]
    gains = np.zeros((blocks, blocks))
    for one, orders, n in zip(cut, within, sizes, strict=True):
        gains += [[one[i, j][range(n), orders[i][j]].sum() for j in range(blocks)] for i in range(blocks)]
    chosen = linear_sum_assignment(gains, maximize=True)[1]
    return tuple(
        np.concatenate([j * n + orders[i][j] for i, j in enumerate(chosen)])
        for orders, n in zip(within, sizes, strict=True)
    )


def _distance(here: Tensor, there: Tensor) -> float:
    return float(torch.linalg.vector_norm(there.double() - here.double()))
