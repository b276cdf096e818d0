"""How an objective curves: operators and their algebra, eigenvalues, density, traces, solves."""

from theodolite.linalg.conditioning import gradient_conditioning
from theodolite.linalg.curvature import empirical_fisher, fisher, ggn, gradient_covariance, hessian
from theodolite.linalg.decomposition import eigendecomposition, inertia
from theodolite.linalg.density import spectral_density
from theodolite.linalg.eigenvalues import Extremes, extreme_eigenvalues, largest_eigenvalues, smallest_eigenvalues
from theodolite.linalg.interface import Layout, LinearOperator
from theodolite.linalg.krylov import KrylovSpace, krylov_space, saddle_free_step
from theodolite.linalg.matrices import dense
from theodolite.linalg.metric import Metric, optimizer_metric, preconditioned
from theodolite.linalg.operators import Operator
from theodolite.linalg.solves import solve, solve_absolute
from theodolite.linalg.traces import diagonal, frobenius_norm, trace

__all__ = [
    "Extremes",
    "KrylovSpace",
    "Layout",
    "LinearOperator",
    "Metric",
    "Operator",
    "dense",
    "diagonal",
    "eigendecomposition",
    "empirical_fisher",
    "extreme_eigenvalues",
    "fisher",
    "frobenius_norm",
    "ggn",
    "gradient_conditioning",
    "gradient_covariance",
    "hessian",
    "inertia",
    "krylov_space",
    "largest_eigenvalues",
    "optimizer_metric",
    "preconditioned",
    "saddle_free_step",
    "smallest_eigenvalues",
    "solve",
    "solve_absolute",
    "spectral_density",
    "trace",
]
