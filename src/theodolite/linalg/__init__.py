"""How an objective curves: symmetric operators, their extreme eigenvalues, Krylov spaces."""

from theodolite.linalg.eigenvalues import Extremes, extreme_eigenvalues, largest_eigenvalues, smallest_eigenvalues
from theodolite.linalg.krylov import KrylovSpace, krylov_space, saddle_free_step
from theodolite.linalg.operators import LinearOperator, Operator, dense, hessian

__all__ = [
    "Extremes",
    "KrylovSpace",
    "LinearOperator",
    "Operator",
    "dense",
    "extreme_eigenvalues",
    "hessian",
    "krylov_space",
    "largest_eigenvalues",
    "saddle_free_step",
    "smallest_eigenvalues",
]
