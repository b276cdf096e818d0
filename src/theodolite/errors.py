"""Which mistakes can a caller make? Each is also the built-in error that one would expect.

Every message says what must hold, what came, and what to do.
"""


class TheodoliteError(Exception):
    """Base of all errors that this package raises on purpose."""


class ShapeError(TheodoliteError, ValueError):
    """An array or vector has the wrong shape."""


class DataError(TheodoliteError, TypeError):
    """Data is neither one batch nor a re-iterable of batches."""


class ObjectiveError(TheodoliteError, ValueError):
    """An objective cannot be formed or evaluated as asked."""


class RunError(TheodoliteError, ValueError):
    """A run cannot be opened, read or written."""


class SettingError(TheodoliteError, ValueError):
    """A setting lies outside what it may be."""


class MissingPackageError(TheodoliteError, ImportError):
    """An optional package is needed and not installed."""
