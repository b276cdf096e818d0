"""Where would a curvature-corrected step go, as far as a few products can tell?"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theodolite.errors import SettingError
from theodolite.linalg.interface import LinearOperator
from theodolite.linalg.lanczos import Krylov, require_symmetric
from theodolite.linalg.settings import check_count, check_tolerance, flat_vector, require_operator
from theodolite.records.obstacles import Status
from theodolite.records.results import ending, listed


@dataclass(frozen=True, eq=False, repr=False)
class KrylovSpace:
    """An operator seen on the space spanned by g, Ag, A²g, …, in its own axes there.

    Attributes:
        values: Ritz values θ, ascending; curvature along each axis.
        vectors: Ritz vectors y, orthonormal, one a column.
        components: y·g of the start vector g, float64; g lies in the space, so that g = Σ (y·g) y.
        residuals: ‖Ay − θy‖.
        status: CONVERGED if the space is exact, that is invariant (A does not lead out of it); BUDGET if A leads out of
            it; NONFINITE if a product was not finite.
        products: How many products it took.
    """

    values: Float[np.ndarray, "count"]
    vectors: Float[Tensor, "params count"]
    components: Float[np.ndarray, "count"]
    residuals: Float[np.ndarray, "count"]
    status: Status
    products: int

    def __repr__(self) -> str:
        """The first and the last value with their errors."""
        shown = listed(self.values, self.residuals, len(self.vectors))
        return f"KrylovSpace({shown}; {ending(self.status, self.products)})"

    def combine(self, weights: Float[np.ndarray, "count"]) -> Float[Tensor, "params"]:
        """Σ wᵢ yᵢ, the vector with these components."""
        return self.vectors @ torch.as_tensor(weights).to(self.vectors)


def krylov_space(op: LinearOperator, start: Tensor | np.ndarray, products: int) -> KrylovSpace:
    """The Krylov space of an operator and a vector, by fully reorthogonalised Lanczos.

    Args:
        op: Symmetric operator A.
        start: g, shape (n,), not zero, finite.
        products: How many products to spend: the dimension of the space, unless it is exhausted before.

    Returns:
        Ritz pairs and the components of g.

    Raises:
        ShapeError: If start has another shape, or is complex.
        SettingError: If start is zero or not finite, products is less than 1, or op is no operator or not symmetric.

    Cost: ``products`` products; holds 2·products + 1 vectors of size n for a moment, then half.
    """
    require_operator(op)
    start = flat_vector(op, start, "start")
    norm = float(torch.linalg.vector_norm(start, dtype=torch.float64))
    if not np.isfinite(norm) or norm == 0:
        raise SettingError(
            f"start must be finite and not zero, got a vector of norm {norm}; a zero gradient spans nothing. Move off "
            "the critical point, or look where what is not finite comes from."
        )
    require_symmetric(op)
    check_count("products", products)
    krylov = Krylov(op, start.to(op.device), min(products, op.dimension))
    krylov.fill()
    if not krylov.is_finite:
        status = Status.NONFINITE
    else:
        status = Status.CONVERGED if krylov.is_exhausted else Status.BUDGET
    ritz = krylov.ritz()
    vectors = krylov.vectors(ritz.coefficients)
    components = norm * ritz.coefficients[0] if krylov.size else np.zeros(0)
    return KrylovSpace(ritz.values, vectors, components, ritz.residuals, status, krylov.products)


def saddle_free_step(space: KrylovSpace, damping: float = 0.0) -> Float[Tensor, "params"]:
    """−(|A| + δ)⁻¹ g on a Krylov space of the gradient g: Newton's lengths, and always downhill.

    Args:
        space: Krylov space of the Hessian and the gradient.
        damping: δ ≥ 0, in the unit of the curvature.

    Returns:
        The step, shape (n,). Axes whose curvature is zero to rounding are left out when there is no damping. NaN of a
        space that is NONFINITE: what acts on the gradient is not known.

    Raises:
        SettingError: If damping is negative or not finite.

    Cost: one pass over the basis.
    Source: Dauphin et al. 2014, equation 5 and algorithm 1.
    """
    check_tolerance("damping", damping)
    if space.status is Status.NONFINITE:
        return space.vectors.new_full(space.vectors.shape[:1], torch.nan)
    stiffness = np.abs(space.values) + damping
    floor = float(torch.finfo(space.vectors.dtype).eps) * (stiffness.max() if stiffness.size else 0.0)
    weights = np.divide(-space.components, stiffness, out=np.zeros_like(stiffness), where=stiffness > floor)
    return space.combine(weights)
