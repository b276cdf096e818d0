"""Matrices with spectra that are known: the rows of the tables on which eigenvalue methods are tested."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Spectrum:
    name: str
    values: Callable[[int, np.random.Generator], np.ndarray]

    def matrix(self, n: int = 120, seed: int = 0) -> np.ndarray:
        """A dense symmetric matrix with this spectrum in random axes."""
        rng = np.random.default_rng(seed)
        Q, _ = np.linalg.qr(rng.normal(size=(n, n)))
        A = (Q * self.values(n, rng)) @ Q.T
        return (A + A.T) / 2


SPECTRA = (
    Spectrum("decay", lambda n, rng: 1 / np.arange(1, n + 1)),
    Spectrum("outliers", lambda n, rng: np.r_[40, 33, 24, 21.8, 20.9, rng.exponential(0.3, n - 5) - 0.1]),
    Spectrum("cluster", lambda n, rng: np.r_[10, 9.9, 9.8, rng.normal(size=n - 3)]),
    Spectrum("condition 1e12", lambda n, rng: np.logspace(0, -12, n)),
    Spectrum("saddle", lambda n, rng: np.r_[-0.3, 5, rng.exponential(0.1, n - 2)]),
    Spectrum("least near zero", lambda n, rng: np.r_[-1e-9, rng.exponential(1, n - 1) + 1e-3]),
    Spectrum("negative", lambda n, rng: -rng.exponential(1, n)),
    Spectrum("rank 3", lambda n, rng: np.r_[3, 2, -1, np.zeros(n - 3)]),
    Spectrum("tiny scale", lambda n, rng: 1e-20 * np.r_[5, -2, rng.normal(size=n - 2)]),
)

BULK = np.random.default_rng(7).uniform(-1, 1, 1000)
CROWNS = {
    "one per cent apart": np.r_[10, 9.9, 9.8, BULK],
    "ten per cent apart": np.r_[10, 9, BULK],
    "of slow decay": 1 / np.arange(1, 1001) ** 0.5,
}
"""Largest eigenvalues that are hard to tell apart, above many others."""


def tensor(matrix: np.ndarray, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.as_tensor(matrix).to(dtype)
