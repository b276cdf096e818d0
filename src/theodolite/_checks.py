"""Is an optional package there, and who is to hear a warning?"""

import importlib
import sys
import warnings
from pathlib import Path
from types import ModuleType

from theodolite.errors import MissingPackageError


def require(module: str, *, extra: str) -> ModuleType:
    """Import an optional package.

    Args:
        module: Name of the module.
        extra: The extra of this package that installs it.

    Returns:
        The module.

    Raises:
        MissingPackageError: If it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackageError(
            f"{module} must be installed for this; it is not ({error}). Run: pip install 'theodolite[{extra}]'."
        ) from error


def warn(message: str) -> None:
    """Warn whoever called this package, however deep in it the cause was found.

    Args:
        message: What happened, and what was done about it.
    """
    here = str(Path(__file__).parent)
    depth = outermost = 1
    frame = sys._getframe(1)
    while frame.f_back is not None:
        if frame.f_code.co_filename.startswith(here):
            outermost = depth
        depth, frame = depth + 1, frame.f_back
    warnings.warn(message, stacklevel=outermost + 2)
