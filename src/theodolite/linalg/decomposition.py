"""What are all eigenvalues of a symmetric operator small enough to write down, and how many have which sign?"""

import numpy as np
import torch

from theodolite.errors import SettingError
from theodolite.linalg.interface import LinearOperator, as_array
from theodolite.linalg.lanczos import require_symmetric
from theodolite.linalg.operators import Operator
from theodolite.linalg.rounding import product_error
from theodolite.linalg.settings import check_memory, require_operator
from theodolite.records.obstacles import Status
from theodolite.records.results import Eigenpairs
from theodolite.records.solutions import Inertia

_COPIES = 5
"""Matrices of float64 held at once: A, its symmetric part, the eigenvectors, and LAPACK's workspace of two."""


def eigendecomposition(op: LinearOperator, *, memory_limit: int = 4 * 2**30) -> Eigenpairs:
    """All eigenpairs of a symmetric operator, by its dense matrix in float64.

    Products with the columns of the identity give A; the pairs are those of (A + Aᵀ)/2. Unlike Lanczos it finds
    interior, multiple and nearly zero eigenvalues.

    Args:
        op: Symmetric operator A.
        memory_limit: Bytes that the matrix and its decomposition may take.

    Returns:
        All n pairs, ascending. Residuals count what the matrix lacks in symmetry, and the rounding of the products.
        NONFINITE, with no pairs, if the matrix has an entry that is not finite.

    Raises:
        SettingError: If op is no operator, or not symmetric, or the decomposition would exceed the limit.

    Cost: n products, about 10 n³ operations, 5 n² numbers of float64 and one matrix in the operator's type.
    Limits: an eigenvalue smaller than the residuals is zero as far as the products tell, though the decomposition is
    in float64; ``objective.double()`` gives products that tell more. Vectors of eigenvalues closer than the residuals
    are mixed.

    Example:
        >>> from theodolite.linalg.matrices import dense
        >>> eigendecomposition(dense(torch.tensor([[1.0, 2.0], [2.0, 1.0]]))).values.round(6)
        array([-1.,  3.])
    """
    require_operator(op)
    require_symmetric(op)
    check_memory(memory_limit)
    n = op.dimension
    need = n * n * (8 * _COPIES + torch.empty(0, dtype=op.dtype).element_size())
    if need > memory_limit:
        raise SettingError(
            f"the decomposition must fit memory_limit={memory_limit:,} bytes, but takes {need:,} for {n} parameters. "
            "Raise the limit, or ask for some pairs only: largest_eigenvalues(op, k)."
        )
    A = Operator(op).to_dense(symmetrize=False, memory_limit=memory_limit).double()
    if not bool(A.isfinite().all()):
        return Eigenpairs(np.zeros(0), np.zeros((n, 0)), np.zeros(0), Status.NONFINITE, n, op.method)
    values, V = torch.linalg.eigh((A + A.T) / 2)
    noise = product_error(op) * float(values.abs().max())
    residuals = torch.linalg.vector_norm(A @ V - V * values, dim=0) + noise
    return Eigenpairs(as_array(values), as_array(V), as_array(residuals), Status.CONVERGED, n, op.method)


def inertia(pairs: Eigenpairs) -> Inertia:
    """How many of some eigenvalues are negative, zero and positive, as far as their errors tell.

    Args:
        pairs: Eigenvalues with residuals; all of them for the inertia of the matrix (Sylvester).

    Returns:
        The three counts; ``zero`` counts those whose error leaves the sign open.

    Raises:
        SettingError: If the pairs come from products that were not finite: then nothing is known of the signs.

    Example:
        >>> from theodolite.linalg.matrices import dense
        >>> inertia(eigendecomposition(dense(torch.diag(torch.tensor([2.0, 0.0, -1.0, 1.0])))))
        Inertia(negative=1, zero=1, positive=2)
    """
    if pairs.status is Status.NONFINITE:
        raise SettingError(
            "pairs must be those of an operator that is finite, got the status NONFINITE. Look at pairs.status before, "
            "and where NaN or infinity comes from."
        )
    negative = int((pairs.values < -pairs.residuals).sum())
    positive = int((pairs.values > pairs.residuals).sum())
    return Inertia(negative, len(pairs.values) - negative - positive, positive)
