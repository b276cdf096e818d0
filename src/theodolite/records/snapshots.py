"""How are parameters kept: one safetensors file a step, whole or absent, with its checksum in the run."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from theodolite.errors import RunError
from theodolite.records.schema import SNAPSHOTS

_RESERVED = ("__metadata__", "=")
_KINDS = frozenset("biuf")


def file_name(step: int) -> str:
    """Where the snapshot of a step lives, relative to the run's folder, with forward slashes."""
    return f"{SNAPSHOTS}/step-{step:08d}.safetensors"


def write(folder: Path, name: str, tensors: Mapping[str, np.ndarray]) -> tuple[str, int]:
    """Write tensors so that a kill leaves the whole file or none.

    Args:
        folder: The run's folder.
        name: As ``file_name`` says.
        tensors: Arrays by name.

    Returns:
        SHA-256 and number of bytes of the file.

    Raises:
        RunError: If an array can not be stored or the disk fails.
    """
    data = _serialize(tensors)
    target = folder / name
    partial = target.with_name(f".{target.name}.partial")
    try:
        target.parent.mkdir(exist_ok=True)
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RunError(f"{target} must be writable; it is not: {error}. Free the disk.") from error
    return hashlib.sha256(data).hexdigest(), len(data)


def read(folder: Path, name: str, sha256: str) -> dict[str, np.ndarray]:
    """Read tensors and check that they are the ones that were written.

    Args:
        folder: The run's folder.
        name: File, relative to the folder.
        sha256: Its checksum.

    Returns:
        Arrays by name.

    Raises:
        RunError: If the file is missing or damaged, or lies outside the snapshots' folder.
    """
    path = folder / name
    if Path(name).parent != Path(SNAPSHOTS) or path.is_symlink():
        raise RunError(f"a snapshot must lie in {SNAPSHOTS}/; this one is {name!r}. The run is damaged.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RunError(f"the snapshot {path} must be there; it is not: {error}. Restore the file.") from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise RunError(f"the snapshot {path} must have SHA-256 {sha256}; it has {found}: damaged. Restore the file.")
    try:
        return {key.removeprefix("="): array for key, array in load(data).items()}
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise RunError(f"the snapshot {path} must be a safetensors file that NumPy can hold: {error}.") from error


def _serialize(tensors: Mapping[str, np.ndarray]) -> bytes:
    for name, array in tensors.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in _KINDS or array.dtype.itemsize > 8:
            raise RunError(
                f"a snapshot must hold NumPy arrays of booleans, integers or floats; {name!r} is "
                f"{getattr(array, 'dtype', type(array).__name__)}. Convert it, and give its dtype in dtype_names."
            )
    # NumPy's copy in C order keeps the shape () of a 0-d array, which ascontiguousarray would not.
    safe = {
        _key(name): np.array(array, dtype=array.dtype.newbyteorder("="), order="C") for name, array in tensors.items()
    }
    try:
        return save(safe)
    except (SafetensorError, KeyError, ValueError, TypeError, UnicodeError) as error:
        raise RunError(f"a snapshot must be storable as safetensors; it is not: {error}.") from error


def _key(name: str) -> str:
    # "__metadata__" means something else in the format; one "=" in front frees the name, and is taken off in reading.
    return f"={name}" if name.startswith(_RESERVED) else name


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
