"""Operators that count, fail, lie or are quick: what the tests put in the place of real ones."""

import math

import numpy as np
import torch

from linalg.spectra import tensor
from theodolite.linalg.operators import Operator


class Fake:
    """A float matrix that multiplies whole blocks, counts columns, and may spoil one product with NaN.

    It says of itself that it is symmetric, whether that is so or not.
    """

    method, is_symmetric, device = "fake", True, torch.device("cpu")

    def __init__(self, matrix: torch.Tensor | np.ndarray, *, spoil: int | None = None, relative_error=None):
        self.matrix, self.columns, self.spoil = torch.as_tensor(matrix), 0, spoil
        self.dimension, self.dtype = len(self.matrix), self.matrix.dtype
        self.relative_error = torch.finfo(self.dtype).eps if relative_error is None else relative_error

    def apply(self, vectors):
        self.columns += vectors.shape[1]
        if self.columns == self.spoil:
            return torch.full_like(vectors, math.nan)
        return self.matrix @ vectors

    def transpose(self):
        return self

    def release(self):
        pass


class Diagonal(Fake):
    """An operator in its own axes: to Lanczos as good as any other."""

    def apply(self, vectors):
        self.columns += vectors.shape[1]
        return self.matrix.unsqueeze(1) * vectors


def diagonal(values: np.ndarray) -> Operator:
    return Operator(Diagonal(tensor(values)))


def noisy(matrix: np.ndarray, size: float, generator: torch.Generator) -> Operator:
    """A symmetric matrix whose products are off by those of another one, as of central differences."""
    A = tensor(matrix)
    return Operator(Fake(A + size * torch.randn(A.shape, dtype=A.dtype, generator=generator), relative_error=0.0))
