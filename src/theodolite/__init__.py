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
        classify,
        directional_curvature,
        find_critical_point,
        gradient_step,
        line,
        newton,
        plane,
        taylor,
        taylor_order,
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
    from theodolite.pages import report
    from theodolite.records import Run

__version__ = _version("theodolite")

# Name -> the room that exports it. A public name never equals the name of a room: importing the room would hide it.
_HOMES = {
    "Monitor": "theodolite.monitor",
    "Objective": "theodolite.objective",
    "Run": "theodolite.records",
    "classify": "theodolite.landscape",
    "diagnose": "theodolite.diagnosis",
    "diagonal": "theodolite.linalg",
    "directional_curvature": "theodolite.landscape",
    "eigendecomposition": "theodolite.linalg",
    "empirical_fisher": "theodolite.linalg",
    "extreme_eigenvalues": "theodolite.linalg",
    "find_critical_point": "theodolite.landscape",
    "fisher": "theodolite.linalg",
    "frobenius_norm": "theodolite.linalg",
    "ggn": "theodolite.linalg",
    "gradient_conditioning": "theodolite.linalg",
    "gradient_covariance": "theodolite.linalg",
    "gradient_step": "theodolite.landscape",
    "hessian": "theodolite.linalg",
    "largest_eigenvalues": "theodolite.linalg",
    "line": "theodolite.landscape",
    "newton": "theodolite.landscape",
    "plane": "theodolite.landscape",
    "optimizer_metric": "theodolite.linalg",
    "preconditioned": "theodolite.linalg",
    "report": "theodolite.pages",
    "smallest_eigenvalues": "theodolite.linalg",
    "solve": "theodolite.linalg",
    "solve_absolute": "theodolite.linalg",
    "spectral_density": "theodolite.linalg",
    "taylor": "theodolite.landscape",
    "taylor_order": "theodolite.landscape",
    "trace": "theodolite.linalg",
}

__all__ = [
    "Monitor",
    "Objective",
    "Run",
    "__version__",
    "classify",
    "diagnose",
    "diagonal",
    "directional_curvature",
    "eigendecomposition",
    "empirical_fisher",
    "extreme_eigenvalues",
    "find_critical_point",
    "fisher",
    "frobenius_norm",
    "ggn",
    "gradient_conditioning",
    "gradient_covariance",
    "gradient_step",
    "hessian",
    "largest_eigenvalues",
    "line",
    "newton",
    "optimizer_metric",
    "plane",
    "preconditioned",
    "report",
    "smallest_eigenvalues",
    "solve",
    "solve_absolute",
    "spectral_density",
    "taylor",
    "taylor_order",
    "trace",
]


def __getattr__(name: str) -> Any:
    """Fetch a public name from its room (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"theodolite has {', '.join(_HOMES)}; got {name!r}. Import rooms by their full name.")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
