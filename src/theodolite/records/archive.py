"""How is one record kept in a file of its own, and read back without the model?

An ``.npz`` file: every array of the record is a ``.npy`` member under its own name, so that NumPy alone reads it, and
one member of strict JSON holds the rest:

    plane.npz:  record.json  x.npy  y.npy  losses.npy  tracks.0.x.npy  ...

Nothing is pickled. Members are stored as they are, without compression: the same record gives the same bytes, and no
file can unfold into more than its own size.
"""

import contextlib
import io
import json
import os
import re
import struct
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from theodolite.errors import RunError
from theodolite.records.encoding import RECORDS, array_from, check_dtype, decode, encode, encode_array

FORMAT = "theodolite record"
VERSION = 1
_JSON = "record.json"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,120}")
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # a zip file knows no earlier day; a fixed one keeps the bytes the same
_DAMAGE = (
    OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError, RuntimeError,
    NotImplementedError, MemoryError, struct.error, zipfile.BadZipFile,
)  # fmt: skip


def save(record: object, path: str | Path) -> Path:
    """Write a record to one ``.npz`` file, in one step: a reader finds the older file or this one, whole.

    Args:
        record: A record of a class in ``encoding.RECORDS``.
        path: The file, which ends in ``.npz``; its folder is made if need be.

    Returns:
        The file.

    Raises:
        RunError: If this is no such record, the name does not end in ``.npz``, or the file cannot be written.

    Example:
        >>> from theodolite.records.estimates import Estimate
        >>> load(save(Estimate(2.0, 0.1, 9), "estimate.npz"))  # doctest: +SKIP
        Estimate(value=2.0, error=0.1, count=9)
    """
    target = Path(path)
    if type(record) not in RECORDS:
        raise RunError(
            f"only a record can be saved, got {type(record).__name__}. Give what line, plane or another measurement "
            "returned."
        )
    if target.suffix != ".npz":
        raise RunError(f"a saved record must be named *.npz, got {target.name!r}. Add the ending.")
    arrays: dict[str, np.ndarray] = {}
    content = {"format": FORMAT, "version": VERSION, "record": _without_arrays(encode(record), (), arrays)}
    members = {_JSON: json.dumps(content, allow_nan=False, indent=1).encode("ascii")}
    members |= {f"{name}.npy": _npy(array) for name, array in arrays.items()}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _replace(target, members)
    except OSError as error:
        raise RunError(f"{target} must be writable; it is not ({error}). Choose another place.") from error
    return target


def load(path: str | Path) -> Any:
    """Read a record that :func:`save` wrote; no code in the file is run, and no model is needed.

    Args:
        path: The file.

    Returns:
        The record, with writable arrays.

    Raises:
        RunError: If there is no such file, or it is damaged, foreign, or from a newer version.
    """
    source = Path(path)
    if not source.is_file():
        raise RunError(f"a saved record must be a file; {source} is none. Check the path.")
    try:
        with zipfile.ZipFile(source) as archive:
            members = _members(archive, source.stat().st_size)
            return _decoded(members)
    except RunError as error:
        raise RunError(f"{source.name}: {error}") from error
    except _DAMAGE as error:
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        raise RunError(
            f"{source.name}: a saved record must be a whole .npz file; this one is damaged or foreign ({what}). "
            "Save it again."
        ) from error


def _without_arrays(value: Any, way: tuple[str, ...], arrays: dict[str, np.ndarray]) -> Any:
    """An encoded value whose arrays are moved out, each replaced by its name."""
    if isinstance(value, list):
        return [_without_arrays(item, (*way, str(place)), arrays) for place, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if "$array" in value:
        name = _free_name(".".join(way), arrays)
        arrays[name] = decode(value)
        return {"$array": name}
    return {
        key: _without_arrays(item, way if key in {"fields", "$tuple"} else (*way, key), arrays)
        for key, item in value.items()
    }


def _free_name(wanted: str, arrays: dict[str, np.ndarray]) -> str:
    """The way to an array as its name, or a number where that is no name or taken."""
    names = (name for name in (wanted, *(f"array.{count}" for count in range(len(arrays) + 1))) if name not in arrays)
    return next(name for name in names if _NAME.fullmatch(name))


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ascontiguousarray(array).reshape(array.shape), (1, 0), allow_pickle=False)
    return file.getvalue()


def _replace(target: Path, members: dict[str, bytes]) -> None:
    """Write beside the target and rename."""
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                for member, data in members.items():
                    info = zipfile.ZipInfo(member, _EARLIEST)
                    info.create_system, info.external_attr = 3, 0o644 << 16
                    archive.writestr(info, data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, bytes]:
    """The bytes of every member, once none of them is larger than the file allows."""
    infos = archive.infolist()
    names = [info.filename for info in infos]
    if _JSON not in names or len(set(names)) != len(names):
        raise RunError(f"it must hold {_JSON}, and each name once; it holds {names[:9]}. It is no saved record.")
    if any(info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 for info in infos):
        raise RunError("its members must be stored plainly; some are compressed or encrypted. Save it again.")
    total = sum(info.file_size for info in infos)
    if total > size or any(info.file_size != info.compress_size for info in infos):
        raise RunError(f"its members must fit its {size} bytes; they claim {total}. It is damaged.")
    return {info.filename: archive.read(info) for info in infos}


def _decoded(members: dict[str, bytes]) -> object:
    content = json.loads(members.pop(_JSON))
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise RunError(f"it must say that it is a {FORMAT!r}; it does not. It was written by something else.")
    if not isinstance(content.get("version"), int) or not 1 <= content["version"] <= VERSION:
        raise RunError(
            f"its version must be {VERSION} or less; it is {content.get('version')!r}. Update theodolite to read it."
        )
    record = decode(_with_arrays(content["record"], members))
    if members:
        raise RunError(f"every array must have a place in the record; {sorted(members)[:9]} have none. It is damaged.")
    if type(record) not in RECORDS:
        raise RunError(f"it must hold a record; it holds a {type(record).__name__}. It is damaged.")
    return record


def _with_arrays(value: Any, members: dict[str, bytes]) -> Any:
    """The inverse of :func:`_without_arrays`; takes what it uses out of ``members``."""
    if isinstance(value, list):
        return [_with_arrays(item, members) for item in value]
    if not isinstance(value, dict):
        return value
    if "$array" in value:
        name = value["$array"]
        if not isinstance(name, str) or f"{name}.npy" not in members:
            raise RunError(f"each array must be there once; {name!r} is missing. It is damaged.")
        return {"$array": encode_array(_array(name, members.pop(f"{name}.npy")))}
    return {key: _with_arrays(item, members) for key, item in value.items()}


def _array(name: str, data: bytes) -> np.ndarray:
    file = io.BytesIO(data)
    if np.lib.format.read_magic(file) != (1, 0):
        raise RunError(f"array {name!r} must be of .npy version 1.0; it is not. Save the record again.")
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
    check_dtype(dtype)
    if is_fortran:
        raise RunError(f"array {name!r} must be in C order; it is not. Save the record again.")
    return array_from(dtype.str, list(shape), data[file.tell() :])
