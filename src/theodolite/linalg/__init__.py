"""How an objective curves: symmetric operators, their extreme eigenvalues, Krylov spaces."""

from theodolite.linalg.curvature import empirical_fisher, fisher, ggn, gradient_covariance, hessian
from theodolite.linalg.eigenvalues import Extremes, extreme_eigenvalues, largest_eigenvalues, smallest_eigenvalues
from theodolite.linalg.interface import Layout, LinearOperator
from theodolite.linalg.krylov import KrylovSpace, krylov_space, saddle_free_step
from theodolite.linalg.matrices import dense
from theodolite.linalg.operators import Operator

__all__ = [
    "Extremes",
    "KrylovSpace",
    "Layout",
    "LinearOperator",
    "Operator",
    "dense",
    "empirical_fisher",
    "extreme_eigenvalues",
    "fisher",
    "ggn",
    "gradient_covariance",
    "hessian",
    "krylov_space",
    "largest_eigenvalues",
    "saddle_free_step",
    "smallest_eigenvalues",
]
