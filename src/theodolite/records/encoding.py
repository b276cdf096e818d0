"""How is a record written as text: strict JSON that gives back exactly what went in.

Plain JSON where JSON is enough; everything else is an object with one ``$`` key:

    {"$float": "nan" | "inf" | "-inf"}          {"$tuple": [...]}           {"$dict": [[key, value], ...]}
    {"$array": {"dtype": "<f8", "shape": [2], "data": base64 of the bytes in C order}}
    {"$enum": ["Verdict", "present"]}           {"$record": "Line", "version": [1, 0], "fields": {...}}
"""

import base64
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import fields
from enum import Enum
from types import MappingProxyType
from typing import Any, cast

import numpy as np

from theodolite.errors import RunError
from theodolite.records.diagnosis import Continuation, Diagnosis, Finding, Findings, Remedy, Trials
from theodolite.records.estimates import Estimate
from theodolite.records.lines import Along, Evaluations, Line
from theodolite.records.obstacles import Status, Verdict
from theodolite.records.planes import Layers, Plane, Section, Sections, Track
from theodolite.records.points import (
    CriticalPoint,
    DirectionalCurvature,
    NewtonPath,
    StepForecast,
    StepPrediction,
    Taylor,
)
from theodolite.records.progress import Progress
from theodolite.records.results import Eigenpairs, ProductCheck, Series
from theodolite.records.searches import Search
from theodolite.records.solutions import GradientConditioning, Inertia, Solution
from theodolite.records.spectra import DiagonalEstimate, NormEstimate, SpectralDensity, TraceEstimate
from theodolite.records.survey import Rescaled, Survey, WhatIf
from theodolite.records.terrain import Known, Ray, Trail
from theodolite.records.timeline import Passage, Passages, Window
from theodolite.records.trajectories import Components, Curve, Projection, Winding

RECORDS: Mapping[type, tuple[int, int]] = MappingProxyType(
    {
        Along: (1, 0),
        Components: (1, 0),
        Continuation: (1, 0),
        CriticalPoint: (1, 0),
        Curve: (1, 0),
        Diagnosis: (1, 1),
        DiagonalEstimate: (1, 0),
        DirectionalCurvature: (1, 0),
        Eigenpairs: (1, 0),
        Estimate: (1, 0),
        Evaluations: (1, 0),
        Finding: (1, 0),
        Findings: (1, 0),
        GradientConditioning: (1, 0),
        Inertia: (1, 0),
        Known: (1, 0),
        Layers: (1, 0),
        Line: (1, 1),
        NewtonPath: (1, 0),
        NormEstimate: (1, 0),
        ProductCheck: (1, 0),
        Plane: (1, 1),
        Progress: (1, 0),
        Projection: (1, 0),
        Ray: (1, 0),
        Remedy: (1, 1),
        Rescaled: (1, 0),
        Search: (1, 0),
        Section: (1, 0),
        Sections: (1, 0),
        Series: (1, 0),
        Solution: (1, 0),
        SpectralDensity: (1, 0),
        StepForecast: (1, 0),
        StepPrediction: (1, 0),
        Survey: (1, 2),
        Taylor: (1, 0),
        TraceEstimate: (1, 0),
        Track: (1, 0),
        Trail: (1, 0),
        Passage: (1, 0),
        Passages: (1, 0),
        Trials: (1, 1),
        WhatIf: (1, 0),
        Winding: (1, 0),
        Window: (1, 0),
    }
)
"""Every class that can be stored, with the version of its fields: add a field → minor + 1, change one → major + 1."""

ENUMS: tuple[type[Enum], ...] = (Status, Verdict)
"""Every enumeration that can be stored."""

_CLASSES = MappingProxyType({cls.__name__: cls for cls in RECORDS})
_ENUMS = MappingProxyType({cls.__name__: cls for cls in ENUMS})
_DTYPE = re.compile(r"[<>|](?:b1|[iu][1248]|f[248]|c(?:8|16)|[SU]\d{1,6})")


def dumps(value: object) -> str:
    """A value or record as strict JSON.

    Args:
        value: None, bool, int, float, str, list, tuple, dict, NumPy array or scalar, or a record of ``RECORDS``.

    Returns:
        JSON text without bare NaN or Infinity, ASCII only.

    Raises:
        RunError: If something inside can not be stored.
    """
    try:
        return json.dumps(encode(value), allow_nan=False, separators=(",", ":"))
    except RecursionError as error:
        raise RunError("a stored value must be nested less deeply; this one contains itself or nearly so.") from error


def loads(text: str | bytes) -> Any:
    """The value that ``dumps`` was given.

    Args:
        text: JSON text.

    Returns:
        The value or record.

    Raises:
        RunError: If the text is damaged, or holds a record that this version does not know.
    """
    try:
        return decode(json.loads(text, parse_constant=_refuse_constant))
    except RunError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError) as error:
        raise RunError(
            f"a stored value must be strict JSON of the run format; this one is damaged: {error}."
        ) from error


def encode(value: object) -> Any:
    """A value as objects that strict JSON can hold; see ``dumps``."""
    if isinstance(value, Enum):
        return _encode_enum(value)
    if isinstance(value, (np.generic, np.ndarray)):
        return _encode_numpy(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return _encode_atom(value)
    return _encode_record(value) if type(value) in RECORDS else _encode_container(value)


def decode(value: Any) -> Any:
    """The inverse of ``encode``."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    tags = [key for key in value if key.startswith("$")]
    if not tags:
        return {key: decode(item) for key, item in value.items()}
    if len(tags) > 1 or tags[0] not in _DECODERS:
        raise RunError(
            f"a stored value must carry one known tag of {sorted(_DECODERS)}; it carries {tags}. "
            "The run was written by a newer theodolite, or is damaged: update theodolite."
        )
    return _DECODERS[tags[0]](value)


def encode_array(array: np.ndarray) -> dict[str, Any]:
    """Data type, shape and bytes (base64) of an array.

    Args:
        array: Booleans, integers, floats, complex numbers or strings.

    Returns:
        An object that JSON can hold.

    Raises:
        RunError: If the data type can not be stored.
    """
    check_dtype(array.dtype)
    data = base64.b64encode(array.tobytes(order="C")).decode("ascii")
    return {"dtype": array.dtype.str, "shape": list(array.shape), "data": data}


def check_dtype(dtype: np.dtype[Any]) -> None:
    """Refuse a data type whose bytes mean nothing elsewhere.

    Args:
        dtype: The data type.

    Raises:
        RunError: If it is not one of booleans, integers, floats up to 64 bits, complex numbers, strings.
    """
    if dtype.hasobject or dtype.names or not _DTYPE.fullmatch(dtype.str):
        raise RunError(
            "a stored array must hold booleans, integers, floats of at most 64 bits, complex numbers or strings; "
            f"it has dtype {dtype}. Convert it, for example with array.astype('float64')."
        )


def array_from(dtype: str, shape: list[int], data: bytes) -> np.ndarray:
    """An array from its stored parts.

    Args:
        dtype: NumPy type string with byte order.
        shape: Lengths of the axes.
        data: Bytes in C order.

    Returns:
        A writable array.

    Raises:
        RunError: If the parts do not fit each other.
    """
    if not _DTYPE.fullmatch(dtype):
        raise RunError(f"a stored array must have a known dtype; it has {dtype!r}. The run is damaged.")
    kind = np.dtype(dtype)
    if not all(type(length) is int and length >= 0 for length in shape):
        raise RunError(f"a stored shape must be a list of whole numbers; it is {shape!r}. The run is damaged.")
    if math.prod(shape) * kind.itemsize != len(data):
        raise RunError(f"{shape} of {dtype} must have {math.prod(shape) * kind.itemsize} bytes, not {len(data)}.")
    if kind.itemsize == 0 or len(data) == 0:
        return np.zeros(shape, kind)
    return np.frombuffer(data, kind).reshape(shape).copy()


def _refuse_constant(name: str) -> None:
    raise RunError(f"stored JSON must be strict; it holds a bare {name}. Write it as {{'$float': ...}}.")


def _encode_enum(value: Enum) -> dict[str, list[Any]]:
    if type(value) not in ENUMS:
        raise RunError(f"a stored enumeration must stand in encoding.ENUMS; {type(value).__name__} does not. Add it.")
    return {"$enum": [type(value).__name__, value.value]}


def _encode_numpy(value: np.generic | np.ndarray) -> Any:
    check_dtype(value.dtype)
    if isinstance(value, np.ndarray) or value.dtype.kind in "cS":
        return {"$array": encode_array(np.asarray(value))}
    return encode(value.item())


def _encode_atom(value: object) -> Any:
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": str(float(value))}
    return str(value) if isinstance(value, str) else value


def _encode_record(value: object) -> dict[str, Any]:
    inside = {"findings": value.values()} if isinstance(value, Findings) else _fields_of(value)
    return {
        "$record": type(value).__name__,
        "version": list(RECORDS[type(value)]),
        "fields": {name: encode(item) for name, item in inside.items()},
    }


def _fields_of(value: object) -> dict[str, object]:
    return {field.name: getattr(value, field.name) for field in fields(cast("Any", value))}


def _encode_container(value: object) -> Any:
    if isinstance(value, list):
        return [encode(item) for item in value]
    if isinstance(value, tuple):
        return {"$tuple": [encode(item) for item in value]}
    if not isinstance(value, Mapping):
        raise RunError(
            f"a stored value must be JSON, a NumPy array or a record of encoding.RECORDS; "
            f"{type(value).__module__}.{type(value).__qualname__} came. Convert it, for example with str()."
        )
    if all(type(key) is str and not key.startswith("$") for key in value):
        return {key: encode(item) for key, item in value.items()}
    return {"$dict": [[encode(key), encode(item)] for key, item in value.items()]}


def _decode_float(value: dict[str, Any]) -> float:
    if value["$float"] not in {"nan", "inf", "-inf"}:
        raise RunError(f"a tagged float must be nan, inf or -inf; it is {value['$float']!r}. The run is damaged.")
    return float(value["$float"])


def _decode_array(value: dict[str, Any]) -> np.ndarray:
    inside = value["$array"]
    return array_from(inside["dtype"], inside["shape"], base64.b64decode(inside["data"], validate=True))


def _decode_enum(value: dict[str, Any]) -> Enum:
    name, member = value["$enum"]
    if name not in _ENUMS:
        raise RunError(f"a stored enumeration must be one of {sorted(_ENUMS)}; it is {name!r}. Update theodolite.")
    return _ENUMS[name](member)


def _decode_dict(value: dict[str, Any]) -> dict[Any, Any]:
    return {decode(key): decode(item) for key, item in value["$dict"]}


def _decode_record(value: dict[str, Any]) -> object:
    name, version = value["$record"], tuple(value["version"])
    if name not in _CLASSES:
        raise RunError(f"a stored record must be one of {sorted(_CLASSES)}; it is {name!r}. Update theodolite.")
    cls = _CLASSES[name]
    if version[0] > RECORDS[cls][0]:
        raise RunError(
            f"a stored {name} must have version {RECORDS[cls][0]} or less; it has {version[0]}. "
            "It was written by a newer theodolite: update yours."
        )
    inside = {key: decode(item) for key, item in value["fields"].items()}
    return Findings(tuple(inside["findings"])) if cls is Findings else _build(cls, inside)


def _build(cls: type, inside: dict[str, Any]) -> object:
    known = {field.name: field for field in fields(cls)}
    absent = [
        name
        for name, field in known.items()
        if name not in inside and field.default is NO_DEFAULT and field.default_factory is NO_DEFAULT
    ]
    if absent:
        raise RunError(f"a stored {cls.__name__} must have the fields {absent}; they are missing. The run is damaged.")
    return cls(**{name: item for name, item in inside.items() if name in known})


_DECODERS: Mapping[str, Callable[[dict[str, Any]], Any]] = MappingProxyType(
    {
        "$float": _decode_float,
        "$tuple": lambda value: tuple(decode(item) for item in value["$tuple"]),
        "$dict": _decode_dict,
        "$array": _decode_array,
        "$enum": _decode_enum,
        "$record": _decode_record,
    }
)
