"""Which way to look from a point: at random, downhill, along the curvature, or towards other points?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from theodolite.errors import SettingError, ShapeError
from theodolite.landscape.points import point_of
from theodolite.linalg.curvature import hessian
from theodolite.linalg.eigenvalues import extreme_eigenvalues
from theodolite.linalg.interface import LinearOperator
from theodolite.linalg.randomness import source
from theodolite.objective import Objective
from theodolite.records.obstacles import Status
from theodolite.records.results import Eigenpairs

Normalization = Literal["filter", "layer"]
End = Literal["smallest", "largest"]

_PARALLEL = 1e-6
"""Share of a direction below which what is left beside another is rounding."""


class Frame(NamedTuple):
    """What a plane is spanned by: ``plane(objective, *frame)``."""

    origin: Float[Tensor, "params"]
    x: Float[Tensor, "params"]
    y: Float[Tensor, "params"]


def random_direction(
    objective: Objective,
    *,
    at: object = None,
    generator: torch.Generator | None = None,
    normalize: Normalization | None = None,
    keep_vectors_fixed: bool | None = None,
) -> Float[Tensor, "params"]:
    """A Gaussian direction, each entry N(0, 1), rescaled to the weights where asked for.

    Normalised by filter, d becomes d·‖w‖/‖d‖ in each filter w: the weights into one unit, a row of a matrix, an output
    channel of a convolution. By layer, w is a whole tensor. Where w is zero, so is the direction: see ``zero_filters``.

    Args:
        objective: J(θ).
        at: Point whose weights set the scale, a vector or tensors by name; None is the present one.
        generator: Source of randomness; give one for a repeatable result.
        normalize: By "filter", by "layer", or not at all.
        keep_vectors_fixed: Whether parameters with less than two dimensions, biases and gains, stay where they are.
            None is yes for normalised directions, as in the paper, and no for others. If they move, each entry is a
            filter of one weight.

    Returns:
        The direction, in the type and on the device of θ.

    Raises:
        SettingError: If normalize is none of these, or nothing is left that could move.
        ShapeError: If ``at`` has another shape.

    Cost: a few passes over θ.
    Limits: a plane of two random directions is nearly orthogonal to what training does: it shows how sharp the point
    is, not where the run went.
    Source: Li, Xu, Taylor, Studer & Goldstein 2018, section 4.

    Example:
        >>> bowl = Objective.from_function(lambda theta: theta @ theta, torch.zeros(3))
        >>> random_direction(bowl, generator=torch.Generator().manual_seed(0)).shape
        torch.Size([3])
    """
    scales = _Scales.of(objective, at, _kind(normalize), keep_vectors_fixed)
    (parts,) = _drawn(objective, 1, generator)
    return _joined(objective, scales.normalised(parts))


def orthogonal_pair(
    objective: Objective,
    *,
    at: object = None,
    generator: torch.Generator | None = None,
    normalize: Normalization | None = None,
    keep_vectors_fixed: bool | None = None,
) -> tuple[Float[Tensor, "params"], Float[Tensor, "params"]]:
    """Two Gaussian directions that are orthogonal, and normalised all the same.

    They are made orthogonal within each filter, or each layer, before they are rescaled. In a filter of one weight,
    where nothing is orthogonal, the second is zero.

    Args:
        objective: J(θ).
        at: Point whose weights set the scale, a vector or tensors by name; None is the present one.
        generator: Source of randomness; give one for a repeatable result.
        normalize: By "filter", by "layer", or not at all.
        keep_vectors_fixed: As in ``random_direction``.

    Returns:
        x and y; x is what ``random_direction`` gives with the same generator.

    Raises:
        SettingError: If normalize is none of these, or fewer than two directions are left.
        ShapeError: If ``at`` has another shape.

    Cost: a few passes over θ.
    """
    scales = _Scales.of(objective, at, _kind(normalize), keep_vectors_fixed)
    first, second = _drawn(objective, 2, generator)
    if normalize is None:
        x = _joined(objective, scales.normalised(first))
        return x, orthogonalised(_joined(objective, scales.normalised(second)), x)
    beside = [scales.beside(place, y, x) for place, (y, x) in enumerate(zip(second, first, strict=True))]
    return _joined(objective, scales.normalised(first)), _joined(objective, scales.normalised(beside))


def zero_filters(objective: Objective, *, at: object = None, normalize: Normalization = "filter") -> int:
    """Number of filters, or layers, whose weights are all zero: a normalised direction leaves them where they are.

    Args:
        objective: J(θ).
        at: Point, a vector or tensors by name; None is the present one.
        normalize: By "filter" or by "layer".

    Returns:
        How many, biases and gains not counted.

    Raises:
        SettingError: If normalize is neither.
        ShapeError: If ``at`` has another shape.
    """
    scales = _Scales.of(objective, at, _kind(normalize), True)
    rows = (scales.rows(place) for place, is_fixed in enumerate(scales.is_fixed) if not is_fixed)
    return sum(int((weights.norm(dim=1) == 0).sum()) for weights in rows)


def orthogonalised(
    y: Float[Tensor, "params"],
    x: Float[Tensor, "params"],
    metric: Float[Tensor, "params"] | LinearOperator | None = None,
) -> Float[Tensor, "params"]:
    """The part of y that is orthogonal to x: y − x·⟨x, y⟩/⟨x, x⟩, with ⟨u, v⟩ = u·Mv.

    Args:
        y: The direction, shape (n,).
        x: The one to be orthogonal to, shape (n,), of any length.
        metric: M: a vector of weights for M = diag(m), or a symmetric positive definite operator; None is M = I.

    Returns:
        The vector in the type of y, not rescaled; orthogonal to rounding of that type.

    Raises:
        ShapeError: If the vectors differ in shape.
        SettingError: If x has no positive finite length in the metric, or y is parallel to x.

    Cost: two passes; two products with an operator.

    Example:
        >>> orthogonalised(torch.tensor([1.0, 1.0]), torch.tensor([2.0, 0.0]))
        tensor([0., 1.])
    """
    if x.ndim != 1 or x.shape != y.shape:
        raise ShapeError(f"x and y must have one shape (n,), got {tuple(x.shape)} and {tuple(y.shape)}. Flatten both.")
    wide, base = y.double(), x.double().to(y.device)
    dual = _lowered(base, metric)
    square = float(base @ dual)
    if not 0 < square < math.inf:
        raise SettingError(
            f"x must have a positive, finite length in the metric, got x·Mx = {square}. Take another direction, or "
            "a positive definite metric."
        )
    for _ in range(2):  # once more takes off the rounding of the first time
        wide = wide - (float(wide @ dual) / square) * base
    if not float(wide.norm()) > _PARALLEL * float(y.double().norm()):
        raise SettingError("y must not be parallel to x, but nothing of it is left beside x. Take another direction.")
    return wide.to(y)


def gradient_direction(objective: Objective, at: object = None) -> Float[Tensor, "params"]:
    """Steepest descent: the unit vector along −∇J(θ).

    Args:
        objective: J(θ).
        at: Point θ, a vector or tensors by name; None is the present one.

    Returns:
        The direction, in the type and on the device of θ.

    Raises:
        SettingError: If the gradient is zero or not finite.
        ShapeError: If ``at`` has another shape.

    Cost: one gradient.
    """
    gradient = objective.gradient(_point(objective, at)).double()
    length = float(gradient.norm())
    if not 0 < length < math.inf:
        raise SettingError(
            f"the gradient must be finite and not zero to point anywhere, its norm is {length}. Take another point, or "
            "eigen_directions(objective)."
        )
    return (-gradient / length).to(objective.dtype)


def eigen_directions(
    objective: Objective,
    at: object = None,
    *,
    which: Sequence[End] = ("smallest", "largest"),
    generator: torch.Generator | None = None,
) -> Eigenpairs:
    """Unit eigenvectors of the Hessian at the ends of its spectrum, signed, by Lanczos.

    Args:
        objective: J(θ).
        at: Point θ, a vector or tensors by name; None is the present one.
        which: The ends, in the order wanted; "smallest" (most negative) twice gives the two smallest.
        generator: Source of randomness; give one for a repeatable result.

    Returns:
        Eigenvalues with their sign, and a column of ``vectors`` for each, in the order of ``which``.

    Raises:
        SettingError: If an end is none of these, or more are wanted than there are.
        ShapeError: If ``at`` has another shape.

    Cost: at most 200 Hessian products.
    """
    if not which or set(which) - {"smallest", "largest"}:
        raise SettingError(f"which must name ends, 'smallest' or 'largest', got {which!r}. Both is the default.")
    ends = list(which)
    operator = hessian(objective, _point(objective, at))
    try:
        found = extreme_eigenvalues(operator, ends.count("largest"), ends.count("smallest"), generator=generator)
    finally:
        operator.release()
    pairs = {"largest": found.largest, "smallest": found.smallest}
    places = [(pairs[end], ends[:place].count(end)) for place, end in enumerate(ends)]
    return replace(
        next((one for one, _ in places if one.status is not Status.CONVERGED), places[0][0]),
        values=np.array([one.values[k] for one, k in places]),
        vectors=np.stack([one.vectors[:, k] for one, k in places], 1),
        residuals=np.array([one.residuals[k] for one, k in places]),
    )


def three_points(a: Float[Tensor, "params"], b: Float[Tensor, "params"], c: Float[Tensor, "params"]) -> Frame:
    """The plane through three points: b stands at (1, 0), and c straight above or below the line through a and b.

    Args:
        a: The origin, shape (n,).
        b: A second point.
        c: A third one.

    Returns:
        a, x = b − a, and y, the part of c − a that is orthogonal to x: c stands at (s, 1) with s = (c − a)·x/‖x‖².

    Raises:
        ShapeError: If the points differ in shape.
        SettingError: If they lie on one line.

    Source: Garipov et al. 2018, appendix A.1, without their rescaling.

    Example:
        >>> three_points(torch.zeros(2), torch.tensor([2.0, 0.0]), torch.tensor([1.0, 3.0])).y
        tensor([0., 3.])
    """
    if not a.shape == b.shape == c.shape:
        raise ShapeError(f"points must have one shape (n,), got {a.shape}, {b.shape}, {c.shape}. Take points of one J.")
    x = (b.double() - a.double()).to(a)
    return Frame(a, x, orthogonalised((c.double() - a.double()).to(a), x))


@dataclass(frozen=True, eq=False)
class _Scales:
    """What a direction is rescaled to.

    Attributes:
        weights: The parameters at the point, in float64.
        groups: Of each, the groups of a transposed convolution; 0 for all others.
        normalize: By filter, by layer, or None.
        is_fixed: Of each, whether it stays where it is.
    """

    weights: tuple[Tensor, ...]
    groups: tuple[int, ...]
    normalize: Normalization | None
    is_fixed: tuple[bool, ...]

    @classmethod
    def of(
        cls, objective: Objective, at: object, normalize: Normalization | None, keep_vectors_fixed: bool | None
    ) -> "_Scales":
        """The scales at a point."""
        weights = tuple(part.double() for part in objective.params.unflatten(_point(objective, at)))
        fixed = normalize is not None if keep_vectors_fixed is None else keep_vectors_fixed
        is_fixed = tuple(fixed and part.ndim < 2 for part in weights)
        if all(is_fixed):
            raise SettingError(
                "a parameter must have two dimensions to move while vectors are kept fixed, and none has. Pass "
                "keep_vectors_fixed=False."
            )
        transposed = _transposed(objective.source.model)
        return cls(weights, tuple(transposed.get(id(t), 0) for t in objective.params.tensors), normalize, is_fixed)

    def rows(self, place: int, tensor: Tensor | None = None) -> Float[Tensor, "filters entries"]:
        """A tensor shaped like one parameter, or that parameter, a row a filter or layer."""
        part = self.weights[place] if tensor is None else tensor
        if self.normalize == "layer" or part.numel() == 0:
            return part.reshape(1, -1)
        if part.ndim < 2:
            return part.reshape(-1, 1)
        groups = self.groups[place]
        if not groups:
            return part.reshape(len(part), -1)
        # (inputs, outputs of a group, ...): the filters lie along the second dimension of each group.
        found: Tensor = part.unflatten(0, (groups, -1)).movedim(2, 1).flatten(0, 1).flatten(1)
        return found

    def _back(self, place: int, rows: Float[Tensor, "filters entries"]) -> Tensor:
        """The inverse of ``rows``."""
        shape, groups = self.weights[place].shape, self.groups[place]
        if not groups or self.normalize == "layer":
            return rows.reshape(shape)
        inputs, outputs, *kernel = shape
        return rows.reshape(groups, outputs, inputs // groups, *kernel).movedim(1, 2).reshape(shape)

    def normalised(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """A direction, each row as long as that of the weights; zero where it stays."""
        found = []
        for place, part in enumerate(parts):
            if self.is_fixed[place]:
                found.append(torch.zeros_like(part))
            elif self.normalize is None:
                found.append(part)
            else:
                rows = self.rows(place, part)
                own = rows.norm(dim=1, keepdim=True)
                share = self.rows(place).norm(dim=1, keepdim=True) / own
                found.append(self._back(place, torch.where(own > 0, share, 0.0) * rows))
        return found

    def beside(self, place: int, y: Tensor, x: Tensor) -> Tensor:
        """What of y is orthogonal to x in each row; zero in rows of one weight."""
        rows, base = self.rows(place, y), self.rows(place, x)
        if rows.shape[1] < 2:
            return torch.zeros_like(y)
        for _ in range(2):  # once more takes off the rounding of the first time
            rows = rows - (rows * base).sum(1, keepdim=True) / base.square().sum(1, keepdim=True) * base
        return self._back(place, rows)


def _kind(normalize: object) -> Normalization | None:
    """How to normalise, checked."""
    if normalize in ("filter", "layer", None):
        return normalize
    raise SettingError(f"normalize must be 'filter', 'layer' or None, got {normalize!r}. None leaves N(0, 1).")


def _transposed(model: nn.Module | None) -> dict[int, int]:
    """Groups of each transposed convolution, by the identity of its weight."""
    modules = () if model is None else model.modules()
    return {id(module.weight): module.groups for module in modules if isinstance(module, _ConvTransposeNd)}


def _drawn(objective: Objective, count: int, generator: object) -> list[list[Tensor]]:
    """Gaussian directions, tensor by tensor, in float64 on the devices of the parameters."""
    random = source(generator)
    return [
        [
            torch.randn(tensor.shape, generator=random, dtype=torch.float64, device=random.device).to(tensor.device)
            for tensor in objective.params.tensors
        ]
        for _ in range(count)
    ]


def _point(objective: Objective, at: object) -> Float[Tensor, "params"]:
    """The point that was named; None is the present one."""
    return objective.point() if at is None else point_of(objective, at, "at")


def _joined(objective: Objective, parts: Sequence[Tensor]) -> Float[Tensor, "params"]:
    """One vector of tensors."""
    return objective.params.flatten(list(parts))


def _lowered(
    vector: Float[Tensor, "params"], metric: Float[Tensor, "params"] | LinearOperator | None
) -> Float[Tensor, "params"]:
    """Mv in float64."""
    if metric is None:
        return vector
    if isinstance(metric, Tensor):
        return metric.double().to(vector.device) * vector
    return metric.apply(vector.to(metric.dtype).to(metric.device).unsqueeze(1)).squeeze(1).to(vector)
