"""What are the extreme eigenvalues of a symmetric operator, signed, and how sure are they?"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from theodolite.errors import SettingError
from theodolite.linalg.lanczos import Krylov, Ritz, random_unit_vector
from theodolite.linalg.operators import LinearOperator, as_array
from theodolite.records.obstacles import Status
from theodolite.records.results import Eigenpairs

_ROUNDING = 8
"""Products of double backward in float32 are wrong by 3e-7 to 9e-7 (measured): up to so many times their precision."""

_SPARE = 30
"""Vectors kept beyond twice the wanted ones before a restart; 10 to 20 are usual, more saves products for memory."""


@dataclass(frozen=True, eq=False)
class Extremes:
    """Both ends of a spectrum, from one run.

    Attributes:
        largest: The greatest eigenvalues, descending.
        smallest: The least eigenvalues, ascending.
    """

    largest: Eigenpairs
    smallest: Eigenpairs


def largest_eigenvalues(
    op: LinearOperator,
    k: int = 1,
    *,
    rtol: float = 1e-3,
    max_products: int = 200,
    generator: torch.Generator | None = None,
) -> Eigenpairs:
    """Largest eigenvalues of a symmetric operator, signed, by Lanczos.

    Solves Av = λv for the k greatest λ.

    Args:
        op: Symmetric operator A.
        k: How many pairs.
        rtol: Stop when min(r, r²/gap) ≤ rtol·|λ| for every pair, r being its residual.
        max_products: Budget of products Av; reaching it sets the status.
        generator: Source of the start vector; give one for a repeatable result.

    Returns:
        Pairs in descending order. Each residual bounds the distance of λ to an eigenvalue of A; rounding of the
        products is counted in.

    Raises:
        SettingError: If k or max_products is less than 1, or k exceeds the size of the operator.

    Cost: at most ``max_products`` products, about 12 to 60 in practice; keeps at most 2k + 31 vectors of size n, and
    half as many more for a moment at a restart.
    Limits: of eigenvalues that coincide, or nearly so, some may be missed; the pairs returned are pairs of A all the
    same.
    Source: Wu & Simon 2000 (thick restart); Parlett 1980, theorem 11.7.1 (residual²/gap).

    Example:
        >>> from theodolite.linalg.operators import dense
        >>> largest_eigenvalues(dense(torch.diag(torch.tensor([1.0, -10.0])))).values.round(6)
        array([1.])
    """
    return _ends(op, _Goal(k, 0, rtol), max_products, generator).largest


def smallest_eigenvalues(
    op: LinearOperator,
    k: int = 1,
    *,
    rtol: float = 1e-3,
    max_products: int = 200,
    generator: torch.Generator | None = None,
) -> Eigenpairs:
    """Smallest eigenvalues of a symmetric operator, signed (the most negative first), by Lanczos.

    Args:
        op: Symmetric operator A.
        k: How many pairs.
        rtol: Stop when min(r, r²/gap) ≤ rtol·|λ| for every pair, or at the rounding of the products.
        max_products: Budget of products Av; reaching it sets the status.
        generator: Source of the start vector; give one for a repeatable result.

    Returns:
        Pairs in ascending order. The sign of λ is sure only where |λ| exceeds the residual.

    Raises:
        SettingError: If k or max_products is less than 1, or k exceeds the size of the operator.

    Cost: as ``largest_eigenvalues``; an end near zero of a wide spectrum takes many products.
    """
    return _ends(op, _Goal(0, k, rtol), max_products, generator).smallest


def extreme_eigenvalues(
    op: LinearOperator,
    largest: int = 1,
    smallest: int = 1,
    *,
    rtol: float = 1e-3,
    max_products: int = 200,
    generator: torch.Generator | None = None,
) -> Extremes:
    """Both ends of the spectrum of a symmetric operator from one Lanczos run.

    Args:
        op: Symmetric operator A.
        largest: How many of the greatest eigenvalues; 0 for none.
        smallest: How many of the least.
        rtol: Stop when min(r, r²/gap) ≤ rtol·|λ| for every pair, or at the rounding of the products.
        max_products: Budget of products Av; reaching it sets the status.
        generator: Source of the start vector; give one for a repeatable result.

    Returns:
        Both ends; each states the status of its own end, and the products of the whole run.

    Raises:
        SettingError: If a count is out of range.

    Cost: one run, see ``largest_eigenvalues``.
    """
    return _ends(op, _Goal(largest, smallest, rtol), max_products, generator)


@dataclass(frozen=True)
class _Goal:
    """How many pairs at each end, and how exact."""

    largest: int
    smallest: int
    rtol: float

    @property
    def count(self) -> int:
        """Pairs at both ends."""
        return self.largest + self.smallest

    def check(self, dimension: int, max_products: int) -> None:
        """Complain of counts out of range."""
        if min(self.largest, self.smallest) < 0 or self.count == 0 or max(self.largest, self.smallest) > dimension:
            raise SettingError(
                f"the number of eigenvalues must lie between 1 and the size {dimension} of the operator, got "
                f"{self.largest} largest and {self.smallest} smallest."
            )
        if max_products < 1:
            raise SettingError(f"max_products must be at least 1, got {max_products}.")

    def places(self, size: int, spare: int = 0) -> Int[np.ndarray, "count"]:
        """Where the wanted values stand among ascending ones: the greatest, descending, then the least, ascending."""
        largest, smallest = (count + spare if count else 0 for count in (self.largest, self.smallest))
        return np.concatenate([np.arange(size)[::-1][:largest], np.arange(size)[:smallest]])

    def survivors(self, size: int) -> Int[np.ndarray, "kept"]:
        """Ritz pairs that survive a restart: the wanted ones and their neighbours, half of the room."""
        ends = (self.largest > 0) + (self.smallest > 0)
        return np.unique(self.places(size, max(0, size // 2 - self.count) // ends))[: size - 1]

    def is_met(self, ritz: Ritz, noise: float) -> Bool[np.ndarray, "count"]:
        """Which Ritz values are as exact as asked for, or as the products permit.

        The gap to a neighbour counts only as far as the neighbour's own residual leaves it.

        Args:
            ritz: Ritz pairs.
            noise: What the products themselves are wrong by.

        Returns:
            One answer a pair.
        """
        values, residuals = ritz.values, ritz.residuals
        distances = np.abs(values[:, None] - values[None, :]) - residuals[:, None]
        np.fill_diagonal(distances, np.inf)
        gaps = distances.min(axis=0)
        is_apart = (gaps > 0) & (gaps < np.inf)
        squared = np.divide(residuals**2, gaps, out=np.full_like(gaps, np.inf), where=is_apart)
        reached: np.ndarray = np.minimum(residuals, squared) <= np.maximum(self.rtol * np.abs(values), noise)
        return reached


def _ends(op: LinearOperator, goal: _Goal, max_products: int, generator: torch.Generator | None) -> Extremes:
    """Run Lanczos until both ends are converged, the budget is spent, or a product is not finite."""
    goal.check(op.dimension, max_products)
    wanted = min(goal.count, op.dimension)
    krylov = Krylov(op, random_unit_vector(op, generator), min(op.dimension, max_products, 2 * wanted + _SPARE))
    while True:
        krylov.extend()
        if not krylov.is_finite:
            return _read(krylov, op, goal, Status.NONFINITE)
        ritz = krylov.ritz()
        if krylov.size >= wanted and goal.is_met(ritz, _noise(ritz, op))[goal.places(krylov.size)].all():
            return _read(krylov, op, goal, Status.CONVERGED)
        if krylov.is_exhausted and krylov.size >= wanted:
            return _read(krylov, op, goal, Status.BREAKDOWN)
        if krylov.products == max_products:
            return _read(krylov, op, goal, Status.BUDGET)
        if krylov.is_exhausted:
            krylov.renew(generator)
        elif krylov.size == krylov.capacity:
            krylov.restart(goal.survivors(krylov.size))


def _noise(ritz: Ritz, op: LinearOperator) -> float:
    """What the products themselves are wrong by."""
    return _ROUNDING * op.relative_error * float(np.abs(ritz.values).max())


def _read(krylov: Krylov, op: LinearOperator, goal: _Goal, status: Status) -> Extremes:
    """Both ends with their errors; an end may be converged when the other is not."""
    if krylov.size == 0:
        empty = Eigenpairs(np.zeros(0), np.zeros((op.dimension, 0)), np.zeros(0), status, krylov.products, op.method)
        return Extremes(empty, empty)
    ritz = krylov.ritz()
    noise = _noise(ritz, op)
    met = goal.is_met(ritz, noise)
    ends = []
    for end in (replace(goal, smallest=0), replace(goal, largest=0)):
        chosen = end.places(krylov.size)
        is_done = status is not Status.NONFINITE and len(chosen) == end.count and bool(met[chosen].all())
        vectors = _signed(as_array(krylov.vectors(ritz.coefficients[:, chosen])))
        own = Status.CONVERGED if is_done else status
        residuals = ritz.residuals[chosen] + noise
        ends.append(Eigenpairs(ritz.values[chosen], vectors, residuals, own, krylov.products, op.method))
    return Extremes(*ends)


def _signed(vectors: Float[np.ndarray, "params count"]) -> Float[np.ndarray, "params count"]:
    """Each column with the sign that makes its largest entry positive."""
    largest = vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])]
    signed: np.ndarray = vectors * np.where(largest < 0, -1, 1).astype(vectors.dtype)
    return signed
