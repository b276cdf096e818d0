"""Theodolite names the obstacle that slows a neural network's training, and shows it.

This file is the front door: it says where each public name lives and fetches it on first use, so that opening, judging
and reporting a stored run never imports torch. It holds nothing else.
"""

from importlib import import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from theodolite.diagnosis import diagnose
    from theodolite.landscape import (
        Descent,
        Symmetry,
        Trajectory,
        align,
        attention_heads,
        classify,
        connect,
        directional_curvature,
        eigen_directions,
        find_critical_point,
        gradient_direction,
        gradient_step,
        hidden_units,
        line,
        newton,
        orthogonal_pair,
        orthogonalised,
        pca_plane,
        plane,
        principal_components,
        project,
        random_direction,
        random_walk_like,
        taylor,
        taylor_order,
        three_points,
        tied,
        track,
        winding,
    )
    from theodolite.linalg import (
        diagonal,
        eigendecomposition,
        empirical_fisher,
        extreme_eigenvalues,
        fisher,
        frobenius_norm,
        ggn,
        gradient_conditioning,
        gradient_covariance,
        hessian,
        largest_eigenvalues,
        optimizer_metric,
        preconditioned,
        smallest_eigenvalues,
        solve,
        solve_absolute,
        spectral_density,
        trace,
    )
    from theodolite.monitor import Monitor
    from theodolite.objective import Objective
    from theodolite.optim import (
        DampedNewton,
        NaturalGradient,
        PerturbedGradientDescent,
        SaddleFreeNewton,
        TrustRegionNewtonCG,
    )
    from theodolite.pages import report
    from theodolite.plots import figure, save_figure
    from theodolite.records import Run, load, save
    from theodolite.search import minimize

__version__ = _version("theodolite")

# Name -> the room that exports it. A public name never equals the name of a room: importing the room would hide it.
_HOMES = {
    "DampedNewton": "theodolite.optim",
    "Descent": "theodolite.landscape",
    "Monitor": "theodolite.monitor",
    "NaturalGradient": "theodolite.optim",
    "Objective": "theodolite.objective",
    "PerturbedGradientDescent": "theodolite.optim",
    "Run": "theodolite.records",
    "SaddleFreeNewton": "theodolite.optim",
    "Symmetry": "theodolite.landscape",
    "Trajectory": "theodolite.landscape",
    "TrustRegionNewtonCG": "theodolite.optim",
    "align": "theodolite.landscape",
    "attention_heads": "theodolite.landscape",
    "classify": "theodolite.landscape",
    "connect": "theodolite.landscape",
    "diagnose": "theodolite.diagnosis",
    "diagonal": "theodolite.linalg",
    "directional_curvature": "theodolite.landscape",
    "eigen_directions": "theodolite.landscape",
    "eigendecomposition": "theodolite.linalg",
    "empirical_fisher": "theodolite.linalg",
    "extreme_eigenvalues": "theodolite.linalg",
    "figure": "theodolite.plots",
    "find_critical_point": "theodolite.landscape",
    "fisher": "theodolite.linalg",
    "frobenius_norm": "theodolite.linalg",
    "ggn": "theodolite.linalg",
    "gradient_conditioning": "theodolite.linalg",
    "gradient_covariance": "theodolite.linalg",
    "gradient_direction": "theodolite.landscape",
    "gradient_step": "theodolite.landscape",
    "hessian": "theodolite.linalg",
    "hidden_units": "theodolite.landscape",
    "largest_eigenvalues": "theodolite.linalg",
    "line": "theodolite.landscape",
    "load": "theodolite.records",
    "minimize": "theodolite.search",
    "newton": "theodolite.landscape",
    "optimizer_metric": "theodolite.linalg",
    "orthogonal_pair": "theodolite.landscape",
    "orthogonalised": "theodolite.landscape",
    "pca_plane": "theodolite.landscape",
    "plane": "theodolite.landscape",
    "preconditioned": "theodolite.linalg",
    "principal_components": "theodolite.landscape",
    "project": "theodolite.landscape",
    "random_direction": "theodolite.landscape",
    "random_walk_like": "theodolite.landscape",
    "report": "theodolite.pages",
    "save": "theodolite.records",
    "save_figure": "theodolite.plots",
    "smallest_eigenvalues": "theodolite.linalg",
    "solve": "theodolite.linalg",
    "solve_absolute": "theodolite.linalg",
    "spectral_density": "theodolite.linalg",
    "taylor": "theodolite.landscape",
    "taylor_order": "theodolite.landscape",
    "three_points": "theodolite.landscape",
    "tied": "theodolite.landscape",
    "trace": "theodolite.linalg",
    "track": "theodolite.landscape",
    "winding": "theodolite.landscape",
}

__all__ = [
    "DampedNewton",
    "Descent",
    "Monitor",
    "NaturalGradient",
    "Objective",
    "PerturbedGradientDescent",
    "Run",
    "SaddleFreeNewton",
    "Symmetry",
    "Trajectory",
    "TrustRegionNewtonCG",
    "__version__",
    "align",
    "attention_heads",
    "classify",
    "connect",
    "diagnose",
    "diagonal",
    "directional_curvature",
    "eigen_directions",
    "eigendecomposition",
    "empirical_fisher",
    "extreme_eigenvalues",
    "figure",
    "find_critical_point",
    "fisher",
    "frobenius_norm",
    "ggn",
    "gradient_conditioning",
    "gradient_covariance",
    "gradient_direction",
    "gradient_step",
    "hessian",
    "hidden_units",
    "largest_eigenvalues",
    "line",
    "load",
    "minimize",
    "newton",
    "optimizer_metric",
    "orthogonal_pair",
    "orthogonalised",
    "pca_plane",
    "plane",
    "preconditioned",
    "principal_components",
    "project",
    "random_direction",
    "random_walk_like",
    "report",
    "save",
    "save_figure",
    "smallest_eigenvalues",
    "solve",
    "solve_absolute",
    "spectral_density",
    "taylor",
    "taylor_order",
    "three_points",
    "tied",
    "trace",
    "track",
    "winding",
]


def __getattr__(name: str) -> Any:
    """Fetch a public name from its room (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"theodolite has {', '.join(_HOMES)}; got {name!r}. Import rooms by their full name.")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
