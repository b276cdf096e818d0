"""What did one measurement give: series, eigenpairs."""

import math
from dataclasses import dataclass

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
