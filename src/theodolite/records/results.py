"""What did one measurement give: series, eigenpairs, lines."""

import math
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from theodolite.records.estimates import Estimate
from theodolite.records.obstacles import Status


@dataclass(frozen=True, eq=False)
class Series:
    """One quantity over training.

    Attributes:
        name: What it is, as in ``docs/format.md``.
        steps: Optimizer steps at which it was measured, ascending; step t is the t-th update, from 1.
        values: The values, in the unit of the quantity; NaN and infinities are kept as measured.
    """

    name: str
    steps: Int[np.ndarray, "points"]
    values: Float[np.ndarray, "points"]

    def __len__(self) -> int:
        """How many points it has."""
        return len(self.steps)


@dataclass(frozen=True, eq=False, repr=False)
class Eigenpairs:
    """Eigenvalues of a symmetric operator with their errors.

    Attributes:
        values: λ, signed, in the order that was asked for.
        vectors: Unit eigenvectors, one a column, shape (n, k).
        residuals: ‖Av − λv‖ of each pair: an eigenvalue of A lies within this distance of λ.
        status: How the iteration ended.
        products: How many products A v it took.
        method: How the products were made.
    """

    values: Float[np.ndarray, "count"]
    vectors: Float[np.ndarray, "params count"]
    residuals: Float[np.ndarray, "count"]
    status: Status
    products: int
    method: str = "double backward"

    def __repr__(self) -> str:
        """The first and the last value with their errors."""
        shown = listed(self.values, self.residuals, len(self.vectors))
        return f"Eigenpairs({shown}; {ending(self.status, self.products)})"


def listed(values: Float[np.ndarray, "count"], errors: Float[np.ndarray, "count"], dimension: int) -> str:
    """Some of n values in words: how many, and the first and the last of them with their errors.

    Args:
        values: The values.
        errors: The error of each.
        dimension: n.

    Returns:
        For example "5 of 2666: 4.873 ± 5e-06, ..., 2.011 ± 0.002"; all of them up to three.
    """
    count = len(values)
    if not count:
        return f"none of {dimension}"
    places = range(count) if count <= 3 else (0, count - 1)
    shown = [str(Estimate(float(values[place]), float(errors[place]))) for place in places]
    return f"{count} of {dimension}: {(', ' if count <= 3 else ', ..., ').join(shown)}"


def ending(status: Status, products: int) -> str:
    """How a measurement ended and what it took, in words.

    Args:
        status: How.
        products: How many products.

    Returns:
        For example "converged, 22 products".
    """
    return f"{status}, {products} product{'' if products == 1 else 's'}"


@dataclass(frozen=True)
class ProductCheck:
    """Whether two ways of forming Hessian products agree on a model, on a few examples of its data.

    Attributes:
        method: The way that was checked.
        agrees: Whether it agrees with central differences of the gradient and is symmetric; None where the differences
            cannot tell, as on nets with kinks or in half precision.
        symmetry: |u·Hv − v·Hu| over its greatest possible size, for random u and v.
        difference: ‖Hv − differences‖ over the size of Hv.
        difference_error: Relative error of the differences themselves; NaN where one agreed at once.
        is_gradient: False if what autograd gives as gradient is not that of the loss either, told by the slope of the
            loss and by differences that are not symmetric: then something is detached, or held fixed, that depends on
            θ, and double backward, which takes it as fixed, is kept.
    """

    method: str
    agrees: bool | None
    symmetry: float
    difference: float
    difference_error: float
    is_gradient: bool = True

    def __str__(self) -> str:
        """One sentence."""
        word = {True: "agrees with", False: "disagrees with", None: "cannot be told by"}[self.agrees]
        cause = "" if self.is_gradient else "; the loss detaches something that depends on the parameters"
        error = "" if math.isnan(self.difference_error) else f" ± {self.difference_error:.1e}"
        return (
            f"{self.method} {word} central differences of gradients (apart by {self.difference:.1e}{error}, asymmetric "
            f"by {self.symmetry:.1e}){cause}."
        )


@dataclass(frozen=True, eq=False)
class Line:
    """Loss along a straight line θ(α) = (1−α)·start + α·end.

    Attributes:
        positions: α of each point, ascending; 0 is the start and 1 the end.
        losses: J(θ(α)); non-finite values are kept.
        errors: Standard error over the batches of the data; NaN where there is one batch only.
        start: What stands at α = 0.
        end: What stands at α = 1.
    """

    positions: Float[np.ndarray, "points"]
    losses: Float[np.ndarray, "points"]
    errors: Float[np.ndarray, "points"]
    start: str = "start"
    end: str = "end"
    metadata: dict[str, float] = field(default_factory=dict)

    @property
    def _between(self) -> np.ndarray:
        return (self.positions >= 0) & (self.positions <= 1)

    @property
    def barrier(self) -> float:
        """Height of the loss above the higher end, max over 0 ≤ α ≤ 1 (Goodfellow 2015: a bump on the line); ≥ 0.

        NaN if a value between the ends is not finite.
        """
        inside = self.losses[self._between]
        with np.errstate(invalid="ignore"):
            return float(inside.max() - max(inside[0], inside[-1])) if inside.size else float("nan")

    @property
    def is_monotone(self) -> bool:
        """Whether the loss never rises from start to end, beyond rounding of the values."""
        inside = self.losses[self._between]
        slack = 1e-6 * (np.abs(inside).max() if inside.size else 0.0)
        return bool(np.all(np.isfinite(inside)) and np.all(np.diff(inside) <= slack))
