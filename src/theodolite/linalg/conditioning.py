"""How badly is a surface conditioned in the directions that the gradient has?

The condition number of a Hessian counts directions in which there is nothing to gain. Here each eigenvalue weighs what
the gradient holds along it.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theodolite.errors import SettingError
from theodolite.linalg.interface import LinearOperator
from theodolite.linalg.krylov import krylov_space
from theodolite.linalg.lanczos import require_symmetric
from theodolite.linalg.matrices import dense
from theodolite.linalg.rounding import product_error
from theodolite.linalg.settings import flat_vector, number, require_operator
from theodolite.records.estimates import Estimate
from theodolite.records.obstacles import Status
from theodolite.records.solutions import GradientConditioning

_COARSER = 0.75
"""Share of the nodes of the rule that a quadrature is compared with for its error."""


def gradient_conditioning(
    op: LinearOperator,
    gradient: Tensor | np.ndarray,
    *,
    products: int = 30,
    share: float = 0.99,
) -> GradientConditioning:
    """Condition number and curvature as the gradient g sees them, from its spectral measure by Lanczos.

    The measure has the weight (y·g)²/‖g‖² at the Ritz value θ of each Ritz vector y of the Krylov space of g: the Gauss
    rule of the true measure Σ (u·g)²/‖g‖² δ(λ) over the eigenpairs (λ, u) of A.

    Args:
        op: Symmetric operator A, the Hessian.
        gradient: g, not zero, finite.
        products: How many products to spend: nodes of the rule, fewer if the space is exhausted before.
        share: Share of ‖g‖² that the condition number looks at; half of the rest may lie beyond either end of |θ|.

    Returns:
        The measure and what follows from it. While A leads out of the space (BUDGET), errors compare with the rule of
        three quarters of the nodes: an estimate, no bound; that of the negative share counts nodes whose residual
        leaves the sign open. Then, if A is positive definite, the gain ratio is too small (Gauss rules are, for 1/λ),
        and for share = 1 the condition number too. If A has both signs, |θ| has a kink at zero, and neither has a side.
        An infinite error says that the least curvature is not told from zero.

    Raises:
        ShapeError: If the gradient has another shape, or is complex.
        SettingError: If the gradient is zero or not finite, op is no operator or not symmetric, or a setting is out of
            range.

    Cost: ``products`` products; holds 2·products + 1 vectors of size n for a moment.
    Limits: while the status is BUDGET, curvature finer than the nodes is not seen, least of all near zero, where 1/|θ|
    weighs most: the gain ratio of a positive spectrum that reaches down to zero grows with every product.
    Source: Golub & Meurant 2010, chapters 6 and 7 (Gauss rules); Kantorovich 1948 (the ratio).

    Example:
        >>> found = gradient_conditioning(dense(torch.diag(torch.tensor([1.0, 3.0]))), torch.tensor([1.0, 1.0]))
        >>> print(found.condition_number.value.__round__(4), found.gain_ratio.value.__round__(4))
        3.0 1.3333
    """
    require_operator(op)
    require_symmetric(op)
    gradient = flat_vector(op, gradient, "gradient")
    if not 0 < number("share", share) <= 1:
        raise SettingError(
            f"share must lie above 0 and not above 1, got {share}. 0.99 leaves half a per cent of the gradient out at "
            "either end."
        )
    space = krylov_space(op, gradient, products)
    weights = space.components**2
    measure = _Measure(space.values, weights / weights.sum() if weights.size else weights, space.residuals)
    found = {}
    for name, quantity in _QUANTITIES.items():
        value, error = math.nan, math.nan
        if space.status is not Status.NONFINITE:
            rounding = product_error(op)
            value, error = quantity(measure.resolved(rounding), rounding, share)
            if space.status is Status.BUDGET:
                coarser = measure.coarser()
                error += math.nan if coarser is None else abs(value - quantity(coarser, rounding, share)[0])
        found[name] = Estimate(value, error)
    return GradientConditioning(
        measure.nodes, measure.weights, share, status=space.status, products=space.products, method=op.method, **found
    )


@dataclass(frozen=True, eq=False)
class _Measure:
    """Nodes, ascending, with weights that sum to 1 and the residuals of the Ritz pairs."""

    nodes: Float[np.ndarray, "nodes"]
    weights: Float[np.ndarray, "nodes"]
    residuals: Float[np.ndarray, "nodes"]

    def resolved(self, rounding: float) -> "_Measure":
        """Without nodes that carry no more of the gradient than rounding brings there."""
        kept = self.weights > rounding**2
        return _Measure(self.nodes[kept], self.weights[kept] / self.weights[kept].sum(), self.residuals[kept])

    def coarser(self) -> "_Measure | None":
        """The Gauss rule of fewer nodes for the same measure: Lanczos on the diagonal matrix of the nodes."""
        count = math.floor(_COARSER * len(self.nodes))
        if count == 0:
            return None
        space = krylov_space(dense(np.diag(self.nodes)), torch.as_tensor(self.weights).sqrt(), count)
        return _Measure(space.values, space.components**2, space.residuals)

    def sizes(self) -> tuple[Float[np.ndarray, "nodes"], Float[np.ndarray, "nodes"]]:
        """|θ| ascending, with the weights."""
        order = np.argsort(np.abs(self.nodes))
        return np.abs(self.nodes)[order], self.weights[order]


def _condition_number(measure: _Measure, rounding: float, share: float) -> tuple[float, float]:
    """Greatest over least |θ| between the quantiles (1 ∓ share)/2 of the weights, and its rounding error."""
    sizes, weights = measure.sizes()
    below = np.cumsum(weights)
    tail, slack = (1 - share) / 2, 1e-12  # of the sum, which need not end at 1 exactly
    least = float(sizes[np.argmax(below > tail + slack * (tail > 0))])
    greatest = float(sizes[np.argmax(below >= 1 - tail - slack)])
    noise = rounding * float(sizes[-1])
    if least <= noise:
        return greatest / least if least > 0 else math.inf, math.inf
    return greatest / least, (greatest + noise) / (least - noise) - greatest / least


def _gain_ratio(measure: _Measure, rounding: float, share: float) -> tuple[float, float]:
    """Mean of |θ| times mean of 1/|θ|, and its rounding error."""
    sizes, weights = measure.sizes()
    noise = rounding * float(sizes[-1])
    if sizes[0] == 0:
        return math.inf, math.inf
    value = float(weights @ sizes) * float(weights @ (1 / sizes))
    if sizes[0] <= noise:
        return value, math.inf
    return value, float(weights @ (sizes + noise)) * float(weights @ (1 / (sizes - noise))) - value


def _negative_share(measure: _Measure, rounding: float, share: float) -> tuple[float, float]:
    """Weight below zero, and the weight of nodes whose residual or rounding leaves the sign open."""
    noise = rounding * float(np.abs(measure.nodes).max())
    is_open = np.abs(measure.nodes) <= measure.residuals + noise
    return float(measure.weights[measure.nodes < 0].sum()), float(measure.weights[is_open].sum())


_QUANTITIES = {"condition_number": _condition_number, "gain_ratio": _gain_ratio, "negative_share": _negative_share}
