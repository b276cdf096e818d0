"""What are the trace, the diagonal and the Frobenius norm of an operator, and how sure are they?

Errors are made to be used: value ± 1.96·error holds the truth in about 95 of 100 measurements, at few probes too.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Float

from theodolite.errors import SettingError
from theodolite.linalg.interface import LinearOperator
from theodolite.linalg.lanczos import require_symmetric
from theodolite.linalg.leave_one_out import sketch, squared_norm_of, trace_of
from theodolite.linalg.probing import (
    block_width,
    column_sums,
    exact_columns,
    rayleigh,
    second_stage,
    sign_probes,
    spherical_probes,
)
from theodolite.linalg.probing import products as multiply
from theodolite.linalg.progress import progress
from theodolite.linalg.randomness import source
from theodolite.linalg.rounding import product_error
from theodolite.linalg.settings import check_count, number, require_operator
from theodolite.records.estimates import MISSING, Estimate
from theodolite.records.obstacles import Status
from theodolite.records.spectra import DiagonalEstimate, NormEstimate, TraceEstimate, root, student_factor


def trace(
    op: LinearOperator,
    *,
    method: str = "xtrace",
    products: int = 40,
    rtol: float | None = None,
    max_products: int = 1000,
    generator: torch.Generator | None = None,
) -> TraceEstimate:
    """The trace of a symmetric operator, by XTrace with normalised probes.

    tr A = E[v·Av] for v uniform on the sphere |v|² = n. XTrace and Hutch++ take a low-rank part out exactly first.

    With ``rtol`` in two stages: a pilot of ``products`` sets how many more are needed, and the result comes from these
    fresh probes alone. A mean that stops by looking at itself is wrong (see ``probing.second_stage``).

    Args:
        op: Symmetric operator A.
        method: "xtrace", "hutch++" or "hutchinson"; the first is the most exact for as many products.
        products: How many products to spend; with ``rtol``, on the pilot. An odd one of XTrace is saved.
        rtol: Wanted standard error over |tr A|; None takes what ``products`` give.
        max_products: Budget of both stages together; only used with ``rtol``.
        generator: Source of the probes; give one for a repeatable result.

    Returns:
        Trace, error and status. Exact, of error 0, if the budget buys all n columns.

    Raises:
        SettingError: If op is no operator, or not symmetric, the method is not known, a budget is too small for it, or
            rtol is not positive and finite.

    Cost: ``products`` products; with ``rtol`` at least twice as many. XTrace holds 2·products vectors of size n and
    does O(n·products²) arithmetic; Hutch++ holds ``products`` of them.
    Limits: a trace near zero has no relative error; ``rtol`` then spends the whole budget.
    Source: Epperly, Tropp & Webber 2024 (XTrace, error formula in ``leave_one_out``); Meyer et al. 2021 (Hutch++, in
    thirds); Hutchinson 1990. Deviation: probes are of the sphere throughout, and tell their variance (``rayleigh``).

    Example:
        >>> from theodolite.linalg.matrices import dense
        >>> trace(dense(torch.diag(torch.tensor([4.0, -9.0, 1.0])))).value
        -4.0
    """
    require_operator(op)
    if method not in _METHODS:
        raise SettingError(
            f"method must be one of {', '.join(_METHODS)}, got {method!r}. Leave it out for the most exact."
        )
    require_symmetric(op)
    check_count("products", products, 1 if products >= op.dimension else _LEAST[method])
    generator = source(generator)
    if rtol is None:
        return _spend(op, method, products, generator)
    if not 0 < number("rtol", rtol) < math.inf:
        raise SettingError(f"rtol must be positive and finite, got {rtol}. None takes what the products give.")
    check_count("max_products", max_products)
    if max_products < 2 * products:
        raise SettingError(
            f"max_products must hold a pilot and a sample as large, 2 x {products}, got {max_products}. "
            "Lower products, or raise max_products."
        )
    pilot = _spend(op, method, products, generator)
    if pilot.method == "exact" or pilot.status is Status.NONFINITE:
        return pilot
    wanted = second_stage(pilot.value, pilot.error, pilot.products, rtol)
    final = _spend(op, method, min(max(wanted, products), max_products - pilot.products), generator)
    status = final.status
    if status is Status.CONVERGED and not final.error <= rtol * abs(final.value):
        status = Status.BUDGET
    return replace(final, products=pilot.products + final.products, status=status)


def frobenius_norm(op: LinearOperator, *, products: int = 80, generator: torch.Generator | None = None) -> NormEstimate:
    """The Frobenius norm of a symmetric operator, ‖A‖ = √tr(A²), from the sketch of XTrace.

    Args:
        op: Symmetric operator A.
        products: How many products to spend, at least 4.
        generator: Source of the probes; give one for a repeatable result.

    Returns:
        The norm, its standard error by the delta method, and status. Exact, of error 0, if the products buy all n
        columns.

    Raises:
        SettingError: If op is no operator, or not symmetric, or products is less than 4.

    Cost: ``products`` products; holds twice as many vectors of size n.
    Limits: of fewer products, errors are too small where eigenvalues fall off fast (± 1.96 of them covers 91 to 94 % at
    40); at 80 it covers 93 to 97 % of all spectra tried.
    Source: the sketch is that of Epperly, Tropp & Webber 2024; the estimate of ‖A‖ from it is our own.

    Example:
        >>> from theodolite.linalg.matrices import dense
        >>> frobenius_norm(dense(torch.diag(torch.tensor([3.0, -4.0])))).value
        5.0
    """
    require_operator(op)
    require_symmetric(op)
    check_count("products", products, 1 if products >= op.dimension else _LEAST["xtrace"])
    generator = source(generator)
    if products >= op.dimension:
        square = sum(float(column_sums(columns, columns).sum()) for _, columns in exact_columns(op))
        norm = Estimate(math.sqrt(square), 0.0, op.dimension) if math.isfinite(square) else MISSING
        method, spent = "exact", op.dimension
    else:
        drawn = sketch(op, products // 2, generator)
        norm = root(squared_norm_of(drawn)) if drawn.is_finite else MISSING
        method, spent = "xtrace", 2 * (products // 2)
    status = Status.CONVERGED if norm.is_finite else Status.NONFINITE
    return NormEstimate(norm.value, norm.error, norm.count, spent, status, method)


def diagonal(op: LinearOperator, *, products: int = 60, generator: torch.Generator | None = None) -> DiagonalEstimate:
    """The diagonal of a symmetric operator, by Hutchinson's method with random signs.

    A_ii is the mean of zᵢ(Az)ᵢ, whose variance is that of the rest of its row, Σ_{j≠i} A_ij².

    Args:
        op: Symmetric operator A.
        products: How many products to spend.
        generator: Source of the probes; give one for a repeatable result.

    Returns:
        Entries and their standard errors. Exact, of error 0, if the products buy all n columns.

    Raises:
        SettingError: If op is no operator, or not symmetric, or products is less than 1.

    Cost: ``products`` products; holds a block of 256 MiB, one column at least, and three vectors in float64.
    Limits: the error falls as 1/√products only: a diagonal is much dearer than its sum.
    Source: Bekas, Kokiopoulou & Saad 2007.
    """
    require_operator(op)
    require_symmetric(op)
    check_count("products", products)
    generator = source(generator)
    if products >= op.dimension:
        return _exact_diagonal(op)
    mean, scatter = np.zeros(op.dimension), np.zeros(op.dimension)
    done, width = 0, block_width(op)
    with progress(products, "diagonal") as bar, np.errstate(invalid="ignore"):
        while done < products:
            signs = sign_probes(op, min(width, products - done), generator)
            for sample in (signs * multiply(op, signs, bar)).T:
                done += 1
                value = sample.double().cpu().numpy()
                change = value - mean
                mean += change / done
                scatter += change * (value - mean)
    if not np.isfinite(mean).all():
        return _lost_diagonal(op, products)
    errors = student_factor(products) * np.sqrt(scatter / max(products - 1, 1) / products)
    return DiagonalEstimate(mean, errors, products, Status.CONVERGED)


def _spend(op: LinearOperator, method: str, products: int, generator: torch.Generator) -> TraceEstimate:
    """One stage: exact if the products buy all columns, else by the method."""
    if products >= op.dimension:
        found = _exact_diagonal(op)
        value, error = float(found.values.sum()), 0.0 if found.status is Status.CONVERGED else math.nan
        return TraceEstimate(value, error, op.dimension, op.dimension, found.status, "exact")
    estimate, spent = _METHODS[method](op, products, generator)
    status = Status.CONVERGED if estimate.is_finite else Status.NONFINITE
    return TraceEstimate(estimate.value, estimate.error, estimate.count, spent, status, method)


def _exact_diagonal(op: LinearOperator) -> DiagonalEstimate:
    """By products with the identity."""
    values = np.zeros(op.dimension)
    for indices, columns in exact_columns(op):
        if not bool(columns.isfinite().all()):
            return _lost_diagonal(op, op.dimension)
        values[indices] = columns[torch.as_tensor(indices), torch.arange(len(indices))].double().cpu().numpy()
    return DiagonalEstimate(values, np.zeros(op.dimension), op.dimension, Status.CONVERGED)


def _lost_diagonal(op: LinearOperator, products: int) -> DiagonalEstimate:
    """A product was not finite."""
    nothing = np.full(op.dimension, math.nan)
    return DiagonalEstimate(nothing, nothing.copy(), products, Status.NONFINITE)


def _xtrace(op: LinearOperator, products: int, generator: torch.Generator) -> tuple[Estimate, int]:
    """See ``leave_one_out.trace_of``."""
    drawn = sketch(op, products // 2, generator)
    return trace_of(drawn) if drawn.is_finite else MISSING, 2 * (products // 2)


def _hutch_plus_plus(op: LinearOperator, products: int, generator: torch.Generator) -> tuple[Estimate, int]:
    """tr(QᵀAQ), Q spanning the images of a third of the probes, and the mean of others on the complement."""
    rank = products // 3
    images = multiply(op, spherical_probes(op, rank, generator))
    if not bool(images.isfinite().all()):
        return MISSING, rank
    basis, _ = torch.linalg.qr(images)
    captured = column_sums(basis, multiply(op, basis))
    rests = spherical_probes(op, products - 2 * rank, generator)
    for _ in range(2):
        rests = rests - basis @ (basis.T @ rests)
    images = multiply(op, rests)
    images = images - basis @ (basis.T @ images)
    rest = _mean_trace(*rayleigh(rests, images), op.dimension - rank)
    rounding = product_error(op) * (np.linalg.norm(captured) + abs(rest.value))
    return Estimate(float(captured.sum()) + rest.value, math.hypot(rest.error, rounding), rest.count), products


def _hutchinson(op: LinearOperator, products: int, generator: torch.Generator) -> tuple[Estimate, int]:
    """The mean of n Rayleigh quotients, block of probes by block of probes."""
    parts, width = [], block_width(op)
    with progress(products, "trace") as bar:
        for first in range(0, products, width):
            probes = spherical_probes(op, min(width, products - first), generator)
            parts.append(rayleigh(probes, multiply(op, probes, bar)))
    quotients, squares = (np.concatenate(part) for part in zip(*parts, strict=True))
    found = _mean_trace(quotients, squares, op.dimension)
    rounding = product_error(op) * float(np.abs(quotients).mean()) * op.dimension
    return Estimate(found.value, math.hypot(found.error, rounding), found.count), products


def _mean_trace(quotients: Float[np.ndarray, "count"], squares: Float[np.ndarray, "count"], dimension: int) -> Estimate:
    """Trace on a space of this dimension from probes of it; see ``rayleigh``."""
    error = math.sqrt(2 * dimension * float(squares.mean()) / len(squares))
    return Estimate(dimension * float(quotients.mean()), error, len(quotients))


_METHODS: Mapping[str, Callable[[LinearOperator, int, torch.Generator], tuple[Estimate, int]]] = MappingProxyType(
    {"xtrace": _xtrace, "hutch++": _hutch_plus_plus, "hutchinson": _hutchinson}
)

_LEAST: Mapping[str, int] = MappingProxyType({"xtrace": 4, "hutch++": 3, "hutchinson": 1})
"""Products below which a method can not be formed."""
