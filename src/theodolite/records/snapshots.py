"""How are parameters kept: one safetensors file a step, whole or absent, with its checksum in the run.

NumPy has no bfloat16: such tensors are float32 arrays here, and two bytes a number on the disk.
"""

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError, deserialize

from theodolite.errors import RunError
from theodolite.records.schema import SNAPSHOTS

_RESERVED = ("__metadata__", "=")
_KINDS = frozenset("biuf")
_DTYPES = {"BOOL": "?", "U8": "u1", "I8": "i1", "BF16": "<u2"} | {
    f"{letter.upper()}{8 * size}": f"<{letter}{size}"
    for letter, sizes in (("f", (2, 4, 8)), ("i", (2, 4, 8)), ("u", (2, 4, 8)))
    for size in sizes
}
"""Type of the format -> how NumPy reads its bytes."""


@dataclass(frozen=True)
class Span:
    """Where a tensor lies in a file.

    Attributes:
        dtype: Its type, in the format's word.
        start: Its first byte.
        count: How many numbers it has.
    """

    dtype: str
    start: int
    count: int


@dataclass(frozen=True)
class Stored:
    """A snapshot on the disk whose checksum was right, to be read in pieces.

    Attributes:
        path: The file.
        spans: Where each tensor lies.
    """

    path: Path
    spans: Mapping[str, Span]

    def piece(self, name: str, first: int, count: int) -> Float[np.ndarray, "count"]:
        """Some adjacent numbers of a tensor, row by row.

        Args:
            name: The tensor.
            first: Place of the first number.
            count: How many.

        Returns:
            The numbers, float64.

        Raises:
            RunError: If the file is gone or shorter than it was.
        """
        span = self.spans[name]
        kind = np.dtype(_DTYPES[span.dtype])
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(span.start + first * kind.itemsize)
                data = file.read(count * kind.itemsize)
        except OSError as error:
            raise RunError(f"the snapshot {self.path} must be there; it is not: {error}. Restore the file.") from error
        if len(data) != count * kind.itemsize:
            raise RunError(f"the snapshot {self.path} must stay as it is while it is read; it was cut. Restore it.")
        return _numbers(span.dtype, data).astype(np.float64)


def file_name(step: int) -> str:
    """Where the snapshot of a step lives, relative to the run's folder, with forward slashes."""
    return f"{SNAPSHOTS}/step-{step:08d}.safetensors"


def write(folder: Path, name: str, tensors: Mapping[str, np.ndarray], halves: Collection[str] = ()) -> tuple[str, int]:
    """Write tensors so that a kill leaves the whole file or none.

    Args:
        folder: The run's folder.
        name: As ``file_name`` says.
        tensors: Arrays by name.
        halves: Names of float32 arrays that are bfloat16 in truth: they take two bytes a number where that loses
            nothing.

    Returns:
        SHA-256 and number of bytes of the file.

    Raises:
        RunError: If an array can not be stored or the disk fails.
    """
    return write_together(folder, {name: tensors}, halves)[name]


def write_together(
    folder: Path, files: Mapping[str, Mapping[str, np.ndarray]], halves: Collection[str] = ()
) -> dict[str, tuple[str, int]]:
    """Write several files like ``write``, waiting for the disk once: two to nine times faster.

    Args:
        folder: The run's folder.
        files: Arrays by name, by name of the file.
        halves: As for ``write``.

    Returns:
        SHA-256 and number of bytes, by name of the file.

    Raises:
        RunError: If an array can not be stored or the disk fails.
    """
    contents = {folder / name: _serialize(tensors, halves) for name, tensors in files.items()}
    partials = {target: target.with_name(f".{target.name}.partial") for target in contents}
    try:
        (folder / SNAPSHOTS).mkdir(exist_ok=True)
        for target, data in contents.items():
            partials[target].write_bytes(data)
        for partial in partials.values():
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
        for target, partial in partials.items():
            partial.replace(target)
        _sync_folder(folder / SNAPSHOTS)
    except OSError as error:
        for partial in partials.values():
            partial.unlink(missing_ok=True)
        what = ", ".join(map(str, list(contents)[:2]))
        raise RunError(f"{what} must be writable; it is not: {error}. Free the disk.") from error
    return {
        name: (hashlib.sha256(data).hexdigest(), len(data)) for name, data in zip(files, contents.values(), strict=True)
    }


def read(folder: Path, name: str, sha256: str) -> dict[str, np.ndarray]:
    """Read tensors and check that they are the ones that were written.

    Args:
        folder: The run's folder.
        name: File, relative to the folder.
        sha256: Its checksum.

    Returns:
        Arrays by name; bfloat16 as float32, which holds it exactly.

    Raises:
        RunError: If the file is missing or damaged, or lies outside the snapshots' folder.
    """
    path = _place(folder, name)
    data = _checked(path, sha256)
    try:
        return {
            key.removeprefix("="): _numbers(part["dtype"], part["data"]).reshape(part["shape"])
            for key, part in deserialize(data)
        }
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise RunError(f"the snapshot {path} must be a safetensors file that NumPy can hold: {error}.") from error


def stored(folder: Path, name: str, sha256: str) -> Stored:
    """Check a file once, to read it in pieces afterwards.

    Args:
        folder: The run's folder.
        name: File, relative to the folder.
        sha256: Its checksum.

    Returns:
        Where its tensors lie.

    Raises:
        RunError: As ``read`` does.
    """
    path = _place(folder, name)
    data = _checked(path, sha256)
    try:
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        header.pop("__metadata__", None)
        spans = {
            key.removeprefix("="): Span(part["dtype"], 8 + size + part["data_offsets"][0], int(np.prod(part["shape"])))
            for key, part in header.items()
        }
        for span in spans.values():
            np.dtype(_DTYPES[span.dtype])
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise RunError(f"the snapshot {path} must be a safetensors file that NumPy can hold: {error}.") from error
    return Stored(path, spans)


def remove(folder: Path, name: str) -> None:
    """Delete a file that no row of the run names any more; that it is gone already is no fault.

    Args:
        folder: The run's folder.
        name: As ``file_name`` says.

    Raises:
        RunError: If it can not be deleted.
    """
    target = folder / name
    try:
        target.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"{target} must be deletable; it is not: {error}. Look at the folder's permissions.") from error


def _place(folder: Path, name: str) -> Path:
    path = folder / name
    if Path(name).parent != Path(SNAPSHOTS) or path.is_symlink():
        raise RunError(f"a snapshot must lie in {SNAPSHOTS}/; this one is {name!r}. The run is damaged.")
    return path


def _checked(path: Path, sha256: str) -> bytes:
    """The bytes of a file, if they are the ones that were written."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RunError(f"the snapshot {path} must be there; it is not: {error}. Restore the file.") from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise RunError(f"the snapshot {path} must have SHA-256 {sha256}; it has {found}: damaged. Restore the file.")
    return data


def _numbers(dtype: str, data: bytes | bytearray) -> np.ndarray:
    """The numbers in some bytes of the format; a bfloat16 is the upper half of a float32."""
    found = np.frombuffer(data, _DTYPES[dtype])
    return (found.astype(np.uint32) << 16).view(np.float32) if dtype == "BF16" else found


def _serialize(tensors: Mapping[str, np.ndarray], halves: Collection[str]) -> bytes:
    for name, array in tensors.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in _KINDS or array.dtype.itemsize > 8:
            raise RunError(
                f"a snapshot must hold NumPy arrays of booleans, integers or floats; {name!r} is "
                f"{getattr(array, 'dtype', type(array).__name__)}. Convert it, and give its dtype in dtype_names."
            )
    parts = [_encoded(name, array, name in halves) for name, array in tensors.items()]
    parts.sort(key=lambda part: (-np.dtype(_DTYPES[part[1]]).itemsize, part[0]))  # so that each is aligned
    header, place = {}, 0
    for key, dtype, shape, data in parts:
        header[key] = {"dtype": dtype, "shape": shape, "data_offsets": [place, place := place + len(data)]}
    try:
        text = json.dumps(header, ensure_ascii=False).encode()
    except UnicodeError as error:
        raise RunError(f"a snapshot must be storable as safetensors; it is not: {error}.") from error
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *(data for *_, data in parts)])


def _encoded(name: str, array: np.ndarray, is_half: bool) -> tuple[str, str, list[int], bytes]:
    """Name, type, shape and bytes of a tensor as the format has them."""
    plain = np.array(array, dtype=array.dtype.newbyteorder("<"), order="C")
    shape = list(plain.shape)
    if is_half and plain.dtype == np.float32:
        bits = plain.view(np.uint32) if plain.ndim else plain.reshape(1).view(np.uint32)
        if not (bits & 0xFFFF).any():
            return _key(name), "BF16", shape, (bits >> 16).astype("<u2").tobytes()
    dtype = "BOOL" if plain.dtype.kind == "b" else f"{plain.dtype.kind.upper()}{8 * plain.dtype.itemsize}"
    return _key(name), dtype, shape, plain.tobytes()


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
