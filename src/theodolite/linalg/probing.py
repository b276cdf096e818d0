"""What do random vectors tell of an operator: how they are drawn, multiplied, and how many of them are enough?"""

import math
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from theodolite.linalg.interface import LinearOperator
from theodolite.linalg.lanczos import working_dtype
from theodolite.linalg.progress import progress

BLOCK_BYTES = 2**28
"""Columns that are multiplied at once, with their products: 256 MiB, or one column."""

_MARGIN = 1.2
"""A pilot of 20 probes knows its error to some 15 %; a fifth more makes a miss of the tolerance rare."""


def spherical_probes(op: LinearOperator, count: int, generator: torch.Generator) -> Float[Tensor, "params count"]:
    """Directions uniform on the sphere of radius √n, one a column, as the operator sees them.

    Args:
        op: Gives size, type and device.
        count: How many.
        generator: Source of randomness.

    Returns:
        Columns in the working type, rounded to the type of the operator.
    """
    columns = torch.empty(op.dimension, count, dtype=working_dtype(op), device=op.device)
    for index in range(count):
        normal = torch.randn(op.dimension, generator=generator, device=generator.device, dtype=torch.float64)
        columns[:, index] = (normal * (math.sqrt(op.dimension) / normal.norm())).to(op.device, op.dtype)
    return columns


def sign_probes(op: LinearOperator, count: int, generator: torch.Generator) -> Float[Tensor, "params count"]:
    """Vectors of independent fair signs (Rademacher), one a column.

    Args:
        op: Gives size, type and device.
        count: How many.
        generator: Source of randomness.

    Returns:
        Columns in the working type.
    """
    columns = torch.empty(op.dimension, count, dtype=working_dtype(op), device=op.device)
    for index in range(count):
        bits = torch.randint(0, 2, (op.dimension,), generator=generator, device=generator.device, dtype=torch.int8)
        columns[:, index] = (2 * bits - 1).to(columns)
    return columns


def block_width(op: LinearOperator) -> int:
    """How many columns, with their products, fit the memory bound.

    Args:
        op: Gives size and type.

    Returns:
        At least 1.
    """
    return max(1, BLOCK_BYTES // (2 * op.dimension * torch.empty(0, dtype=working_dtype(op)).element_size()))


def products(
    op: LinearOperator, columns: Float[Tensor, "params count"], bar: Any = None
) -> Float[Tensor, "params count"]:
    """AV in the working type, formed in blocks of columns that fit the memory bound.

    Args:
        op: Symmetric operator A.
        columns: V.
        bar: Progress bar of a longer computation; None shows one of these columns.

    Returns:
        The products.
    """
    images, width = torch.empty_like(columns), block_width(op)
    with progress(columns.shape[1], "products") if bar is None else nullcontext(bar) as shown:
        for part, image in zip(columns.split(width, 1), images.split(width, 1), strict=True):
            image.copy_(op.apply(part.to(op.dtype)))
            shown.update(part.shape[1])
    return images


def exact_columns(op: LinearOperator) -> Iterator[tuple[Int[np.ndarray, "count"], Float[Tensor, "params count"]]]:
    """The matrix A, block of columns by block of columns, by products with the identity.

    Args:
        op: Symmetric operator A.

    Yields:
        Indices of columns, and these columns, in the working type.
    """
    n, width = op.dimension, min(op.dimension, block_width(op))
    with progress(n, "columns") as bar:
        for first in range(0, n, width):
            size = min(width, n - first)
            identity = torch.zeros(n, size, dtype=working_dtype(op), device=op.device)
            identity[first : first + size].fill_diagonal_(1)
            yield np.arange(first, first + size), products(op, identity, bar)


def rayleigh(
    probes: Float[Tensor, "params count"], images: Float[Tensor, "params count"]
) -> tuple[Float[np.ndarray, "count"], Float[np.ndarray, "count"]]:
    """Rayleigh quotients ρ = v·Bv/v·v and squared residuals ‖Bv − ρv‖²/v·v.

    Of a direction uniform on the sphere of an m-dimensional space, m·ρ estimates tr B, and 2m times the squared
    residual is an estimate without bias of how that varies: the variance of v·Bv over the sphere |v|² = m is
    2m/(m + 2)·(‖B‖² − (tr B)²/m), and the mean of 2(‖Bv‖² − (v·Bv)²/m) is the same. It needs no second probe, and
    scatters much less than the sample variance does.

    Args:
        probes: Vectors v of the space, none of them zero.
        images: Bv.

    Returns:
        Both, float64.
    """
    lengths = column_sums(probes, probes)
    quotients = column_sums(probes, images) / lengths
    rest = images - probes * torch.as_tensor(quotients).to(probes)
    return quotients, column_sums(rest, rest) / lengths


def column_sums(
    left: Float[Tensor, "params count"], right: Float[Tensor, "params count"]
) -> Float[np.ndarray, "count"]:
    """u·v of columns u and v that stand in the same place, summed in float64.

    Args:
        left: Columns u.
        right: Columns v.

    Returns:
        The products.
    """
    rows = max(1, BLOCK_BYTES // (16 * max(1, left.shape[1])))
    blocks = zip(left.split(rows), right.split(rows), strict=True)  # squares of 1e-25 would vanish in float32
    sums = torch.stack([(u.double() * v.double()).sum(0) for u, v in blocks]).sum(0)
    array: np.ndarray = sums.cpu().numpy()
    return array


def gram(
    left: Float[Tensor, "params rows"], right: Float[Tensor, "params columns"]
) -> Float[np.ndarray, "rows columns"]:
    """UᵀV, summed in float64 over blocks of rows.

    Args:
        left: U.
        right: V.

    Returns:
        The products of all columns with all.
    """
    rows = max(1, BLOCK_BYTES // (8 * (left.shape[1] + right.shape[1])))
    total = torch.zeros(left.shape[1], right.shape[1], dtype=torch.float64, device=left.device)
    for u, v in zip(left.split(rows), right.split(rows), strict=True):
        total += u.double().T @ v.double()
    array: np.ndarray = total.cpu().numpy()
    return array


def second_stage(value: float, error: float, spent: int, rtol: float) -> int:
    """How many fresh products an estimate needs, from a pilot: the error falls at least as their root.

    The sample size is a function of the pilot alone, and the estimate of fresh probes alone, so it keeps its mean. That
    the running mean settles says nothing of its error, and to stop once its own error is small enough favours samples
    that scatter little by chance: where small values scatter less, as of quadratic forms, such a mean is too small.

    Args:
        value: The pilot's estimate.
        error: Its standard error.
        spent: Its products.
        rtol: Error wanted, over the modulus of the value.

    Returns:
        Products, as many as the pilot at least.
    """
    wanted = rtol * abs(value)
    if error * _MARGIN <= wanted:
        return spent
    ratio = error * _MARGIN / wanted if wanted > 0 else math.inf
    return math.ceil(min(spent * ratio**2, float(2**62)))
