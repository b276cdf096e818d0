"""What does a symmetric operator do on the space spanned by v, Av, A²v, …?

The recurrence is kept as A Q = Q H + q bᵀ with orthonormal columns Q, the next vector q orthogonal to them, and the
projected matrix H = QᵀAQ in full: in exact arithmetic it is tridiagonal, and what else stands in it measures rounding
and asymmetry. This form stays the same through breakdowns (b = 0) and thick restarts (b = a row).
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theodolite.errors import SettingError
from theodolite.linalg.interface import LinearOperator
from theodolite.linalg.randomness import source

_ROUNDING = 8
"""A remainder of up to so many roundings of the matrix is nothing: what orthogonalisation twice leaves of zero."""


@dataclass(frozen=True, eq=False)
class Ritz:
    """Eigenpairs of the projected matrix, ascending.

    Attributes:
        values: θ, float64.
        coefficients: Eigenvectors s of H, one a column; Qs approximates an eigenvector of A.
        residuals: ‖A Qs − θ Qs‖, from the recurrence.
    """

    values: Float[np.ndarray, "count"]
    coefficients: Float[np.ndarray, "count count"]
    residuals: Float[np.ndarray, "count"]


def random_unit_vector(op: LinearOperator, generator: torch.Generator | None) -> Float[Tensor, "params"]:
    """A direction drawn uniformly from the sphere.

    Args:
        op: Gives size, type and device.
        generator: Source of randomness; None draws a fresh seed and leaves the global generators alone.

    Returns:
        A unit vector.
    """
    generator = source(generator)
    normal = torch.randn(op.dimension, generator=generator, device=generator.device, dtype=torch.float64)
    unit: Tensor = normal / normal.norm()
    return unit.to(device=op.device, dtype=working_dtype(op))


def working_dtype(op: LinearOperator) -> torch.dtype:
    """Type of the basis vectors: that of the operator, float32 at least.

    Args:
        op: The operator.

    Returns:
        The type.
    """
    return torch.promote_types(op.dtype, torch.float32)


def require_symmetric(op: LinearOperator) -> None:
    """Complain of an operator that is not symmetric by construction.

    Args:
        op: The operator.

    Raises:
        SettingError: If it is not.
    """
    if not op.is_symmetric:
        raise SettingError(
            f"the operator must be symmetric, got one that need not be ({op.method}). Take its symmetric part "
            "(A + Aᵀ)/2: op.symmetrize()."
        )


class Krylov:
    """A Krylov space that grows by one product at a time, fully reorthogonalised.

    Vectors are held in the operator's type, scalars and the projected matrix in float64.
    """

    def __init__(self, op: LinearOperator, start: Float[Tensor, "params"], capacity: int) -> None:
        """Begin with a start vector, not zero; room for ``capacity`` vectors and one more."""
        self._op = op
        self._rows = torch.empty(capacity + 1, op.dimension, dtype=working_dtype(op), device=op.device)
        self._projected = np.zeros((capacity, capacity))
        self._coupling = np.zeros(0)
        self.start_norm = float(torch.linalg.vector_norm(start, dtype=torch.float64))
        self._rows[0] = start.to(self._rows) / self.start_norm
        self.size = 0
        self.products = 0
        self.is_exhausted = False
        self.is_finite = bool(self._rows[0].isfinite().all())

    @property
    def capacity(self) -> int:
        """How many vectors there is room for."""
        return self._projected.shape[0]

    @property
    def projected(self) -> Float[np.ndarray, "count count"]:
        """H = QᵀAQ."""
        return self._projected[: self.size, : self.size]

    @property
    def rows(self) -> Float[Tensor, "count params"]:
        """Qᵀ: the orthonormal vectors, one a row."""
        return self._rows[: self.size]

    def extend(self) -> None:
        """Spend one product. Afterwards ``is_exhausted`` says that the space is invariant, and so exact."""
        m = self.size
        image = self._op.apply(self._rows[m].to(self._op.dtype).unsqueeze(1)).squeeze(1).to(self._rows.dtype)
        self.products += 1
        if not bool(image.isfinite().all()):
            self.is_finite = False
            return
        self._projected[m, :m] = self._coupling
        self.size = m + 1
        self._projected[: m + 1, m] = self._orthogonalize(image)
        beta = float(torch.linalg.vector_norm(image, dtype=torch.float64))
        scale = float(np.abs(self.projected).max())
        precision = torch.finfo(image.dtype).eps
        self.is_exhausted = self.size == self._op.dimension or beta <= _ROUNDING * precision * scale
        self._coupling = np.zeros(m + 1)
        if not self.is_exhausted:
            self._coupling[m] = beta
            # Two passes leave a vector orthogonal unless next to nothing is left of it (Kahan and Parlett).
            self._place(image / beta, is_clean=beta > precision**0.5 * scale)

    def fill(self) -> None:
        """Spend products until the room is full, the space is invariant, or a product is not finite."""
        while self.is_finite and not self.is_exhausted and self.size < self.capacity:
            self.extend()

    def renew(self, generator: torch.Generator | None) -> None:
        """Go on from an invariant space with a new direction orthogonal to it."""
        vector = random_unit_vector(self._op, generator)
        self._orthogonalize(vector)
        self._place(vector / vector.norm())
        self._coupling = np.zeros(self.size)
        self.is_exhausted = False

    def restart(self, keep: np.ndarray) -> None:
        """Keep some Ritz vectors only, as many as ``keep`` has indices, and go on from there."""
        ritz = self.ritz()
        chosen = ritz.coefficients[:, keep]
        following = self._rows[self.size].clone()
        self._rows[: len(keep)] = torch.as_tensor(chosen.T).to(self._rows) @ self.rows
        self._coupling = self._coupling @ chosen
        kept = chosen.T @ self.projected @ chosen
        self._projected[:] = 0
        self._projected[: len(keep), : len(keep)] = kept
        self.size = len(keep)
        self._place(following)

    def ritz(self) -> Ritz:
        """Rayleigh-Ritz on the space, with residuals that include rounding and asymmetry seen so far."""
        symmetric = (self.projected + self.projected.T) / 2
        values, coefficients = np.linalg.eigh(symmetric)
        inside = np.linalg.norm(self.projected @ coefficients - coefficients * values, axis=0)
        return Ritz(values, coefficients, np.hypot(inside, self._coupling @ coefficients))

    def vectors(self, coefficients: Float[np.ndarray, "basis count"]) -> Float[Tensor, "params count"]:
        """Unit combinations of the basis, one a column."""
        combined = (torch.as_tensor(coefficients.T).to(self._rows) @ self.rows).T
        unit: Tensor = combined / torch.linalg.vector_norm(combined, dim=0)
        return unit

    def _orthogonalize(self, vector: Tensor) -> np.ndarray:
        """Take the basis out of a vector, in place and twice (CGS2); the coefficients, the last one in float64."""
        total = np.zeros(self.size)
        if self.size:
            last = self._rows[self.size - 1]
            exact = float(torch.dot(last.double(), vector.double()))
            for _ in range(2):
                coefficients = self.rows @ vector
                vector.sub_(coefficients @ self.rows)
                total += coefficients.double().cpu().numpy()
            total[-1] = exact
        return total

    def _place(self, vector: Tensor, *, is_clean: bool = False) -> None:
        """Lay the next basis vector, orthogonal to the rest even if little was left of it."""
        if not is_clean:
            self._orthogonalize(vector)
        self._rows[self.size] = vector / torch.linalg.vector_norm(vector, dtype=torch.float64).to(vector.dtype)
