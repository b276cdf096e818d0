"""Theodolite names the obstacle that slows a neural network's training, and shows it.

This file is the front door: it says where each public name lives and fetches it on first use, so that opening, judging
and reporting a stored run never imports torch. It holds nothing else.
"""

from importlib import import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from theodolite.diagnosis import diagnose
    from theodolite.landscape import line
    from theodolite.linalg import hessian, largest_eigenvalues, smallest_eigenvalues
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
    "diagnose": "theodolite.diagnosis",
    "hessian": "theodolite.linalg",
    "largest_eigenvalues": "theodolite.linalg",
    "line": "theodolite.landscape",
    "report": "theodolite.pages",
    "smallest_eigenvalues": "theodolite.linalg",
}

__all__ = [
    "Monitor",
    "Objective",
    "Run",
    "__version__",
    "diagnose",
    "hessian",
    "largest_eigenvalues",
    "line",
    "report",
    "smallest_eigenvalues",
]


def __getattr__(name: str) -> Any:
    """Fetch a public name from its room (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"theodolite has {', '.join(_HOMES)}; got {name!r}. Import rooms by their full name.")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
