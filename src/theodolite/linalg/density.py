"""How are the eigenvalues of an operator spread, all of them, as far as a few products from random directions tell?"""

import numpy as np
import torch

from theodolite.linalg.decomposition import eigendecomposition
from theodolite.linalg.interface import LinearOperator
from theodolite.linalg.lanczos import Krylov, random_unit_vector, require_symmetric
from theodolite.linalg.probing import BLOCK_BYTES
from theodolite.linalg.progress import progress
from theodolite.linalg.randomness import source
from theodolite.linalg.rounding import product_error
from theodolite.linalg.settings import check_count, require_operator
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
        Nodes and weights; the density, moments, trace, effective rank and negative fraction with their errors. If all
        products together buy the n columns, these are taken instead, and the density is exact.

    Raises:
        SettingError: If op is no operator, or not symmetric, or probes or products is less than 1.

    Cost: probes · products products; holds products + 1 vectors of size n. Exact, that of ``eigendecomposition``.
    Limits: eigenvalues fewer than about one in n/probes may be missed or off in weight, unless they stand apart.
    Source: Ubaru, Chen & Saad 2017; Ghorbani, Krishnan & Xiao 2019.

    Example:
        >>> from theodolite.linalg.matrices import dense
        >>> density = spectral_density(dense(torch.diag(torch.tensor([1.0, 3.0, 8.0]))))
        >>> density.moment(1).value, density.effective_rank.value.__round__(3)
        (4.0, 1.946)
    """
    require_operator(op)
    require_symmetric(op)
    check_count("probes", probes)
    check_count("products", products)
    generator = source(generator)
    if op.dimension <= probes * products and 8 * op.dimension**2 <= BLOCK_BYTES:
        return _exact(op)
    room, spaces, spent = min(products, op.dimension), [], 0
    with progress(probes * room, "spectral density (at most)") as bar:
        for _ in range(probes):
            krylov = Krylov(op, random_unit_vector(op, generator), room)
            krylov.fill()
            spent += krylov.products
            bar.update(krylov.products)
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
    rounding = product_error(op) * float(np.abs(nodes).max())
    return SpectralDensity(op.dimension, nodes, weights, residuals, rounding, False, Status.CONVERGED, spent, op.method)


def _padded(row: np.ndarray, size: int) -> np.ndarray:
    """A row as long as all, filled up with copies of its last entry."""
    return np.pad(row, (0, size - len(row)), mode="edge")


def _exact(op: LinearOperator) -> SpectralDensity:
    """All eigenvalues of the matrix, of equal weight."""
    n, pairs = op.dimension, eigendecomposition(op)
    if pairs.status is Status.NONFINITE:
        return _nothing(op, n)
    nodes, one = pairs.values[None], np.ones((1, n))
    rounding = product_error(op) * float(np.abs(nodes).max())
    return SpectralDensity(n, nodes, one / n, 0 * one, rounding, True, pairs.status, n, pairs.method)


def _nothing(op: LinearOperator, products: int) -> SpectralDensity:
    """A product was not finite."""
    empty = np.zeros((0, 0))
    return SpectralDensity(op.dimension, empty, empty, empty, 0.0, False, Status.NONFINITE, products, op.method)
