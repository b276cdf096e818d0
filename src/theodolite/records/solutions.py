"""What did solving with an operator give: a solution, the signs of a spectrum, how a gradient lies in it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from theodolite.records.estimates import Estimate
from theodolite.records.obstacles import Status
from theodolite.records.results import ending


@dataclass(frozen=True, eq=False, repr=False)
class Solution:
    """Solution of a symmetric linear system with its error.

    Attributes:
        vector: x, shape (n,).
        residual: Norm of right-hand side minus left-hand side, formed anew by a product; where the matrix is |A|, which
            has no product, an upper bound.
        scale: ‖b‖, the norm of the right-hand side.
        status: CONVERGED if the residual is within the tolerance, or within the rounding of the products; BUDGET if the
            products ran out before; BREAKDOWN if the system has no solution as far as rounding tells, or the method
            cannot go on; NONFINITE if a product was not finite.
        products: How many products Av it took, those for the residual counted.
        method: How it was solved.
        direction: Unit direction along which the system's curvature is not positive, if the method met one.
        curvature: That curvature; NaN if none was met.
    """

    vector: Float[np.ndarray, "params"]
    residual: float
    scale: float
    status: Status
    products: int
    method: str
    direction: Float[np.ndarray, "params"] | None = None
    curvature: float = float("nan")

    @property
    def relative_residual(self) -> float:
        """Residual over ‖b‖; 0 if b is zero and solved."""
        return self.residual / self.scale if self.scale > 0 else self.residual

    def __repr__(self) -> str:
        """Size, residual, and curvature that is not positive, if it was met."""
        met = "" if self.direction is None else f", curvature {self.curvature:.4g} met"
        return (
            f"Solution(n = {len(self.vector)} by {self.method}, relative residual {self.relative_residual:.2g}{met}; "
            f"{ending(self.status, self.products)})"
        )


@dataclass(frozen=True)
class Inertia:
    """How many eigenvalues have which sign, as far as their errors tell.

    Attributes:
        negative: Those below zero by more than their error.
        zero: Those within their error of zero: the sign is not known.
        positive: Those above zero by more than their error.
    """

    negative: int
    zero: int
    positive: int


@dataclass(frozen=True, eq=False, repr=False)
class GradientConditioning:
    """How a gradient g spreads over the spectrum of a symmetric operator A: its spectral measure, and what follows.

    Attributes:
        curvatures: Nodes θ of the measure, ascending: Ritz values of A on the Krylov space of g.
        weights: Share of ‖g‖² at each node; they sum to 1.
        share: Share of ‖g‖² that the condition number looks at.
        condition_number: Greatest over least |θ| among the nodes that carry this share.
        negative_share: Share of ‖g‖² on negative curvature.
        gain_ratio: (gᵀ|A|g)(gᵀ|A|⁻¹g)/(gᵀg)², the Kantorovich ratio, ≥ 1: the gain of the curvature-corrected step
            −|A|⁻¹g over that of the best step along −g, on the quadratic model with |A|.
        status: CONVERGED if the measure is exact, so that errors are those of rounding; BUDGET if it is a quadrature,
            whose errors are estimates; NONFINITE if a product was not finite.
        products: How many products it took.
        method: How the products were made.
    """

    curvatures: Float[np.ndarray, "nodes"]
    weights: Float[np.ndarray, "nodes"]
    share: float
    condition_number: Estimate
    negative_share: Estimate
    gain_ratio: Estimate
    status: Status
    products: int
    method: str = "double backward"

    def __repr__(self) -> str:
        """What follows from the measure, not the measure."""
        return (
            f"GradientConditioning(condition number {self.condition_number} for {100 * self.share:.4g} % of the "
            f"gradient, negative share {self.negative_share}, gain ratio {self.gain_ratio}; "
            f"{ending(self.status, self.products)})"
        )
