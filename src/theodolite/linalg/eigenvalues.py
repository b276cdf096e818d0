"""What are the extreme eigenvalues of a symmetric operator, signed, and how sure are they?"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from theodolite.errors import SettingError, ShapeError
from theodolite.linalg.interface import LinearOperator, as_array
from theodolite.linalg.lanczos import Krylov, Ritz, random_unit_vector, require_symmetric
from theodolite.linalg.progress import progress
from theodolite.linalg.rounding import product_error
from theodolite.linalg.settings import check_count, check_tolerance, require_operator
from theodolite.records.obstacles import Status
from theodolite.records.results import Eigenpairs

_UNKNOWN = 0.3
"""Random part of a warm start: less saves no product and hides what is new; more costs one (measured)."""

_SPARE = 30
"""Vectors kept beyond twice the wanted ones before a restart; 10 to 20 are usual, more saves products for memory."""


_PATIENCE = 6
"""Products that are waited for a space to close in which zero has settled."""

_USELESS = 0.1
"""Products with an error of more than a tenth; those in bfloat16 count as wrong by 0.06."""


@dataclass(frozen=True, eq=False, repr=False)
class Extremes:
    """Both ends of a spectrum, from one run.

    Attributes:
        largest: The greatest eigenvalues, descending.
        smallest: The least eigenvalues, ascending.
    """

    largest: Eigenpairs
    smallest: Eigenpairs

    def __repr__(self) -> str:
        """Both ends in a line each."""
        return f"Extremes(largest={self.largest},\n         smallest={self.smallest})"


Start = Eigenpairs | Extremes | Tensor | np.ndarray
"""What may stand for a guess of the eigenvectors: those of an earlier run, or one vector of size n."""


def largest_eigenvalues(
    op: LinearOperator,
    k: int = 1,
    *,
    rtol: float = 1e-3,
    max_products: int = 200,
    start: Start | None = None,
    generator: torch.Generator | None = None,
) -> Eigenpairs:
    """Largest eigenvalues of a symmetric operator, signed, by Lanczos.

    Solves Av = λv for the k greatest λ.

    Args:
        op: Symmetric operator A.
        k: How many pairs.
        rtol: Stop when the residual ‖Av − λv‖ ≤ rtol·|λ| for every pair, or at the rounding of the products.
        max_products: Budget of products Av; reaching it sets the status.
        start: Pairs of an earlier step, or a vector (n,), to begin from; a zero one is none. A random part is mixed
            in, and the first pair beyond the k must have settled too, so that what has overtaken them shows.
        generator: Source of the random part; give one for a repeatable result.

    Returns:
        Pairs in descending order. Each residual bounds the distance of λ to an eigenvalue of A; rounding of the
        products is counted in.

    Raises:
        SettingError: If k or max_products is less than 1, k exceeds the size of the operator, rtol is negative or not
            finite, the operator is not symmetric, or start is not finite.
        ShapeError: If start has another size.

    Cost: at most ``max_products`` products, about 12 to 60 in practice; a warm start saves 10 to 30 % where several
    pairs are wanted, and little for one. Keeps at most 2k + 31 vectors of size n, and half as many more for a moment
    at a restart.
    Limits: of eigenvalues that coincide, or nearly so, some may be missed unless the space is exhausted; the pairs
    returned are pairs of A all the same. The bound residual²/gap (Parlett 1980, theorem 11.7.1) would save two
    products, but two values not yet told apart look like one with a wide gap.
    Source: Wu & Simon 2000 (thick restart).

    Example:
        >>> from theodolite.linalg.matrices import dense
        >>> largest_eigenvalues(dense(torch.diag(torch.tensor([1.0, -10.0])))).values.round(6)
        array([1.])
    """
    goal = _Goal(k, 0, rtol, start is not None)
    return _ends(op, goal, max_products, _first(op, start, generator), generator=generator).largest


def smallest_eigenvalues(
    op: LinearOperator,
    k: int = 1,
    *,
    rtol: float = 1e-3,
    max_products: int = 200,
    start: Start | None = None,
    generator: torch.Generator | None = None,
) -> Eigenpairs:
    """Smallest eigenvalues of a symmetric operator, signed (the most negative first), by Lanczos.

    Args:
        op: Symmetric operator A.
        k: How many pairs.
        rtol: Stop when the residual ‖Av − λv‖ ≤ rtol·|λ| for every pair, or at the rounding of the products.
        max_products: Budget of products Av; reaching it sets the status.
        start: Pairs of an earlier step, or a vector (n,), to begin from; see ``largest_eigenvalues``.
        generator: Source of the random part; give one for a repeatable result.

    Returns:
        Pairs in ascending order. That λ is negative is sure where |λ| exceeds the residual; that the least is positive
        says only that none below it was met, and is right where λ exceeds ten residuals (2,000 spectra, none wrong).

    Raises:
        SettingError: If k or max_products is less than 1, k exceeds the size of the operator, rtol is negative or not
            finite, the operator is not symmetric, or start is not finite.
        ShapeError: If start has another size.

    Cost: as ``largest_eigenvalues``; an end near zero of a wide spectrum takes many products.
    """
    goal = _Goal(0, k, rtol, start is not None)
    return _ends(op, goal, max_products, _first(op, start, generator), generator=generator).smallest


def extreme_eigenvalues(
    op: LinearOperator,
    largest: int = 1,
    smallest: int = 1,
    *,
    rtol: float = 1e-3,
    max_products: int = 200,
    start: Start | None = None,
    generator: torch.Generator | None = None,
) -> Extremes:
    """Both ends of the spectrum of a symmetric operator from one Lanczos run.

    Args:
        op: Symmetric operator A.
        largest: How many of the greatest eigenvalues; 0 for none.
        smallest: How many of the least.
        rtol: Stop when the residual ‖Av − λv‖ ≤ rtol·|λ| for every pair, or at the rounding of the products.
        max_products: Budget of products Av; reaching it sets the status.
        start: Extremes or pairs of an earlier step, or a vector (n,); see ``largest_eigenvalues``.
        generator: Source of the random part; give one for a repeatable result.

    Returns:
        Both ends; each states the status of its own end, and the products of the whole run.

    Raises:
        SettingError: If a count or rtol is out of range, the operator is not symmetric, or start is not finite.
        ShapeError: If start has another size.

    Cost: one run, see ``largest_eigenvalues``.
    """
    goal = _Goal(largest, smallest, rtol, start is not None)
    return _ends(op, goal, max_products, _first(op, start, generator), generator=generator)


def _first(op: LinearOperator, start: Start | None, generator: torch.Generator | None) -> Float[Tensor, "params"]:
    """The vector that Lanczos begins with: random, or the sum of the guessed vectors with a random part."""
    require_operator(op)
    unknown = random_unit_vector(op, generator)
    if start is None:
        return unknown
    known = _columns(start, unknown)
    if known.shape[0] != op.dimension:
        raise ShapeError(
            f"start must hold vectors of size {op.dimension}, got {known.shape[0]}. Leave it out to begin at random."
        )
    if not bool(known.isfinite().all()):
        raise SettingError("start must be finite, got NaN or infinity. Leave it out to begin at random.")
    total = torch.nn.functional.normalize(known, dim=0).sum(1)
    norm = torch.linalg.vector_norm(total)
    return total / norm + _UNKNOWN * unknown if norm > 0 else unknown


def _columns(start: Start, like: Tensor) -> Float[Tensor, "size count"]:
    """Guessed eigenvectors, one a column."""
    if isinstance(start, Extremes):
        return torch.as_tensor(np.hstack([start.largest.vectors, start.smallest.vectors])).to(like)
    if isinstance(start, Eigenpairs):
        return torch.as_tensor(start.vectors).to(like)
    return torch.as_tensor(start).detach().to(like).reshape(-1, 1)


@dataclass(frozen=True)
class _Goal:
    """How many pairs at each end, how exact, and whether the start was a guess."""

    largest: int
    smallest: int
    rtol: float
    is_warm: bool = False

    @property
    def count(self) -> int:
        """Pairs at both ends."""
        return self.largest + self.smallest

    def check(self, dimension: int) -> None:
        """Complain of settings out of range."""
        check_tolerance("rtol", self.rtol)
        if min(self.largest, self.smallest) < 0 or self.count == 0 or max(self.largest, self.smallest) > dimension:
            raise SettingError(
                f"the number of eigenvalues must lie between 1 and the size {dimension} of the operator, got "
                f"{self.largest} largest and {self.smallest} smallest. Ask for fewer; eigendecomposition(op) gives all."
            )

    def places(self, size: int, spare: int = 0) -> Int[np.ndarray, "count"]:
        """Where the wanted values stand among ascending ones: the greatest, descending, then the least, ascending."""
        largest, smallest = (count + spare if count else 0 for count in (self.largest, self.smallest))
        return np.concatenate([np.arange(size)[::-1][:largest], np.arange(size)[:smallest]])

    def survivors(self, size: int) -> Int[np.ndarray, "kept"]:
        """Ritz pairs that survive a restart: the wanted ones and their neighbours, half of the room."""
        ends = (self.largest > 0) + (self.smallest > 0)
        return np.unique(self.places(size, max(0, size // 2 - self.count) // ends))[: size - 1]

    def is_met(self, ritz: Ritz, noise: float) -> Bool[np.ndarray, "count"]:
        """Which Ritz values are as exact as asked for, or as the products, wrong by ``noise``, permit.

        A shift of the operator changes nothing for the method, so what is asked for is never looser than it would be
        for a spectrum that begins at zero: of a cluster far out, the distances within it count.

        Args:
            ritz: Ritz pairs.
            noise: What rounding makes of a Ritz value.

        Returns:
            One answer a pair; none is exact if the products themselves say nothing.
        """
        sizes = np.minimum(np.abs(ritz.values), np.ptp(ritz.values))
        exact: np.ndarray = ritz.residuals <= np.maximum(self.rtol * sizes, noise)
        return exact & (not _is_useless(ritz, noise))

    def is_reached(self, ritz: Ritz, noise: float) -> bool:
        """Whether every wanted pair is exact, and beyond a guess the next one has settled too."""
        size = len(ritz.values)
        if size < self.count + self.is_warm or not self.is_met(ritz, noise)[self.places(size)].all():
            return False
        # A guess that is exact, but not of the end, has no residual to betray it. What it lacks is in the random part,
        # and the first pair beyond the wanted ones shows how far that part has been seen.
        settled = ritz.residuals <= np.maximum(self.rtol**0.5 * np.ptp(ritz.values), noise)
        return not self.is_warm or bool(settled[self.places(size, 1)].all())


def _ends(
    op: LinearOperator,
    goal: _Goal,
    max_products: int,
    first: Float[Tensor, "params"],
    *,
    generator: torch.Generator | None,
) -> Extremes:
    """Run Lanczos until both ends are converged, the budget is spent, or a product is not finite."""
    require_symmetric(op)
    goal.check(op.dimension)
    check_count("max_products", max_products)
    krylov = Krylov(op, first, min(op.dimension, max_products, 2 * goal.count + _SPARE))
    with progress(max_products, "eigenvalues (at most)") as bar:
        return _run(krylov, op, goal, max_products=max_products, generator=generator, bar=bar)


def _run(
    krylov: Krylov, op: LinearOperator, goal: _Goal, *, max_products: int, generator: torch.Generator | None, bar: Any
) -> Extremes:
    """Extend and restart a Krylov space until the goal is met or cannot be."""
    exhausted = np.zeros(0)  # the ends when the space was last invariant
    patience = _PATIENCE
    while True:
        krylov.extend()
        bar.update(1)
        if not krylov.is_finite:
            return _read(krylov, op, goal, Status.NONFINITE)
        ritz = krylov.ritz()
        noise = _noise(ritz, op)
        if _is_useless(ritz, noise):
            return _read(krylov, op, goal, Status.BREAKDOWN)
        # Where every residual is rounding, the space is invariant for all that can be told, as that of a matrix of low
        # rank is: the zeros outside it are values too.
        is_invariant = krylov.is_exhausted or bool((ritz.residuals <= noise).all())
        if is_invariant:
            ends = ritz.values[goal.places(krylov.size)]
            # A random direction outside an invariant space sees every value there: if none enters, none was missed.
            if krylov.size == op.dimension or (len(ends) == len(exhausted) and np.allclose(ends, exhausted, 0, noise)):
                return _read(krylov, op, goal, Status.BREAKDOWN)
            exhausted, goal = ends, replace(goal, is_warm=True)
        elif goal.is_reached(ritz, noise):
            # A zero that has settled stands, as a rule, for all those outside the range: the space is about to close.
            has_zero = bool((np.abs(ritz.values[goal.places(krylov.size)]) <= noise).any())
            patience -= 1
            if not has_zero or not patience:
                return _read(krylov, op, goal, Status.CONVERGED)
        if krylov.products == max_products:
            return _read(krylov, op, goal, Status.BUDGET)
        if is_invariant:
            krylov.renew(generator)
        if krylov.size == krylov.capacity:
            krylov.restart(goal.survivors(krylov.size))


def _is_useless(ritz: Ritz, noise: float) -> bool:
    """Whether the products are so wrong that no Ritz value says anything: differences of gradients across kinks."""
    return noise > _USELESS * float(np.abs(ritz.values).max())


def _noise(ritz: Ritz, op: LinearOperator) -> float:
    """What rounding makes of a Ritz value."""
    return product_error(op) * float(np.abs(ritz.values).max())


def _read(krylov: Krylov, op: LinearOperator, goal: _Goal, status: Status) -> Extremes:
    """Both ends with their errors; an end may be converged when the other is not."""
    if krylov.size == 0:
        empty = Eigenpairs(np.zeros(0), np.zeros((op.dimension, 0)), np.zeros(0), status, krylov.products, op.method)
        return Extremes(empty, empty)
    ritz = krylov.ritz()
    noise = _noise(ritz, op)
    ends = []
    for end in (replace(goal, smallest=0), replace(goal, largest=0)):
        chosen = end.places(krylov.size)
        is_whole = (
            status is Status.BREAKDOWN and len(chosen) == end.count and bool(end.is_met(ritz, noise)[chosen].all())
        )
        is_done = is_whole or (status is not Status.NONFINITE and end.is_reached(ritz, noise))
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
