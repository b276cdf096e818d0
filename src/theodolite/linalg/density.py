"""How are the eigenvalues of an operator spread, all of them, as far as a few products from random directions tell?"""

import numpy as np
import torch

from theodolite.linalg.interface import LinearOperator
from theodolite.linalg.lanczos import Krylov, random_unit_vector
from theodolite.linalg.probing import BLOCK_BYTES, check_count, exact_columns, precision, source
from theodolite.records.obstacles import Status
from theodolite.records.spectra import SpectralDensity


def spectral_density(
    op: LinearOperator,
    *,
    probes: int = 10,
    products: int = 20,
    generator: torch.Generator | None = None,
) -> SpectralDensity:
    """Spectral density of a symmetric operator, by stochastic Lanczos quadrature, fully reorthogonalised.

    A direction v has the spectral measure Σ (v·qᵢ)² δ(λ − λᵢ), of mean (1/n) Σ δ(λ − λᵢ) over the sphere. Lanczos from
    v gives its Gauss quadrature: the Ritz values, weighted by the squared first entries of their coefficients. When
    the Krylov space is exhausted the quadrature is the measure itself, and the probe ends.

    Args:
        op: Symmetric operator A.
        probes: How many independent directions; the error falls as the root of their number.
        products: How many products each. 20 show what a kernel of 1 % of the range does not smooth away; a finer kernel
            needs as many times more.
        generator: Source of the directions; give one for a repeatable result.

    Returns:
        Nodes and weights; the density, moments, trace, effective rank and negative share with their errors. If all
        products together buy the n columns, these are taken instead, and the density is exact.

    Raises:
        SettingError: If probes or products is less than 1.

    Cost: probes · products products; holds products + 1 vectors of size n.
    Limits: eigenvalues fewer than about one in n/probes may be missed or off in weight, unless they stand apart.
    Source: Ubaru, Chen & Saad 2017; Ghorbani, Krishnan & Xiao 2019.

    Example:
        >>> from theodolite.linalg.matrices import dense
        >>> density = spectral_density(dense(torch.diag(torch.tensor([1.0, 3.0, 8.0]))))
        >>> density.moment(1).value, density.effective_rank.value.__round__(3)
        (4.0, 1.946)
    """
    check_count("probes", probes, 1)
    check_count("products", products, 1)
    if op.dimension <= probes * products and 8 * op.dimension**2 <= BLOCK_BYTES:
        return _exact(op)
    generator = source(generator)
    spaces = []
    spent = 0
    for _ in range(probes):
        krylov = Krylov(op, random_unit_vector(op, generator), min(products, op.dimension))
        while krylov.is_finite and not krylov.is_exhausted and krylov.size < krylov.capacity:
            krylov.extend()
        spent += krylov.products
        if not krylov.is_finite:
            return _nothing(op, spent)
        ritz = krylov.ritz()
        spaces.append((ritz.values, ritz.coefficients[0] ** 2, ritz.residuals))
    nodes, weights, residuals = (
        np.stack([_padded(row, products) for row in rows]) for rows in zip(*spaces, strict=True)
    )
    padding = np.arange(products) >= np.array([[len(values)] for values, _, _ in spaces])
    weights[padding] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    rounding = precision(op) * float(np.abs(nodes).max())
    return SpectralDensity(op.dimension, nodes, weights, residuals, rounding, False, Status.CONVERGED, spent, op.method)


def _padded(row: np.ndarray, size: int) -> np.ndarray:
    """A row as long as all, filled up with copies of its last entry."""
    return np.pad(row, (0, size - len(row)), mode="edge")


def _exact(op: LinearOperator) -> SpectralDensity:
    """All eigenvalues of the matrix, of equal weight."""
    n = op.dimension
    matrix = np.zeros((n, n))
    for indices, columns in exact_columns(op):
        matrix[:, indices] = columns.double().cpu().numpy()
    if not np.isfinite(matrix).all():
        return _nothing(op, n)
    values = np.linalg.eigvalsh((matrix + matrix.T) / 2)[None]
    rounding = precision(op) * float(np.abs(values).max())
    shape = np.ones_like(values)
    return SpectralDensity(n, values, shape / n, 0 * shape, rounding, True, Status.CONVERGED, n, op.method)


def _nothing(op: LinearOperator, products: int) -> SpectralDensity:
    """A product was not finite."""
    empty = np.zeros((0, 0))
    return SpectralDensity(op.dimension, empty, empty, empty, 0.0, False, Status.NONFINITE, products, op.method)
