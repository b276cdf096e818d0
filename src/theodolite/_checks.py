"""Is an optional package there?"""

import importlib
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
