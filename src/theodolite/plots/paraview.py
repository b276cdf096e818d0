"""How does ParaView read a picture in space: VTK's XML files, ``.vts`` for the surface, ``.vtp`` for the ways over it?

Source: VTK file formats, section "XML file formats": arrays as base64, each after its length in bytes.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from theodolite.errors import SettingError
from theodolite.plots.marks import Axis, Flight, Scene, Surface
from theodolite.plots.scales import forward

_TYPES = {"f": ("Float64", "<f8"), "i": ("Int64", "<i8"), "u": ("UInt8", "<u1")}
_HIDDEN = 2
"""Of VTK's ghost flags, the one that hides a point."""


@dataclass(frozen=True, eq=False)
class _Array:
    """A named array of a VTK file, a row a point."""

    name: str
    values: np.ndarray

    @property
    def xml(self) -> str:
        kind, dtype = _TYPES[self.values.dtype.kind]
        width = self.values.shape[1] if self.values.ndim > 1 else 1
        data = np.ascontiguousarray(self.values, dtype).tobytes()
        text = base64.b64encode(len(data).to_bytes(8, "little") + data).decode("ascii")
        return (
            f'<DataArray type="{kind}" Name="{escape(self.name)}" NumberOfComponents="{width}" format="binary">'
            f"{text}</DataArray>"
        )


def write_surface(scene: Scene, path: str | Path) -> Path:
    """The surface of a scene as a structured grid, with the loss at each point; where it is not finite it is hidden.

    Args:
        scene: The scene; its first surface is written.
        path: The file, which ends in ``.vts``.

    Returns:
        The file.

    Raises:
        SettingError: If the scene has no surface.
    """
    if not scene.surfaces:
        raise SettingError(f"a .vts file needs a surface; {scene.name!r} has none. Measure a plane.")
    surface = scene.surfaces[0]
    rows, columns = surface.z.shape
    extent = f"0 {columns - 1} 0 {rows - 1} 0 0"
    points = _Array("points", _points(scene.z, surface))
    hidden = np.where(np.isfinite(surface.z), 0, _HIDDEN).astype(np.uint8).ravel()
    data = (_Array(surface.name, surface.z.ravel().astype(np.float64)), _Array("vtkGhostType", hidden))
    body = (
        f'<StructuredGrid WholeExtent="{extent}"><Piece Extent="{extent}">{_section("PointData", data)}'
        f"{_section('Points', [points])}</Piece></StructuredGrid>"
    )
    return _write(path, "StructuredGrid", body)


def write_ways(scene: Scene, path: str | Path) -> Path:
    """The ways of a scene as lines, with the loss at each point and the height of the surface there.

    Args:
        scene: The scene.
        path: The file, which ends in ``.vtp``.

    Returns:
        The file.

    Raises:
        SettingError: If the scene has no way.
    """
    kept = [_finite(way) for way in scene.flights]
    kept = [way for way in kept if way.x.size]
    if not kept:
        raise SettingError(f"a .vtp file needs a way; {scene.name!r} has none. Project a trajectory onto the plane.")
    lengths = [way.x.size for way in kept]
    z = np.concatenate([way.z for way in kept])
    at = np.stack(
        [np.concatenate([way.x for way in kept]), np.concatenate([way.y for way in kept]), forward(scene.z, z)], 1
    )
    data = (
        _Array("loss J", z),
        _Array("surface", np.concatenate([way.foot for way in kept])),
        _Array("nearness", np.concatenate([way.nearness for way in kept])),
        _Array("way", np.repeat(np.arange(len(kept)), lengths)),
    )
    lines = (_Array("connectivity", np.arange(len(z))), _Array("offsets", np.cumsum(lengths)))
    body = (
        f'<PolyData><Piece NumberOfPoints="{len(z)}" NumberOfVerts="0" NumberOfLines="{len(kept)}" NumberOfStrips="0" '
        f'NumberOfPolys="0">{_section("PointData", data)}{_section("Points", [_Array("points", at)])}'
        f"{_section('Lines', lines)}</Piece></PolyData>"
    )
    return _write(path, "PolyData", body)


def _points(height: Axis, surface: Surface) -> np.ndarray:
    """Coordinates, x fastest; a point without a value lies at the bottom, for VTK draws nothing at NaN properly."""
    z = forward(height, surface.z)
    low = float(forward(height, height.limits[0]))
    return np.stack([surface.x.ravel(), surface.y.ravel(), np.where(np.isfinite(z), z, low).ravel()], 1)


def _finite(way: Flight) -> Flight:
    known = np.isfinite(way.z)
    texts = tuple(text for text, is_known in zip(way.texts, known.tolist(), strict=True) if is_known)
    return Flight(
        way.name, way.x[known], way.y[known], way.z[known], way.foot[known], way.nearness[known], texts, way.role
    )


def _section(name: str, arrays: Sequence[_Array]) -> str:
    return f"<{name}>{''.join(array.xml for array in arrays)}</{name}>"


def _write(path: str | Path, kind: str, body: str) -> Path:
    target = Path(path)
    target.write_text(
        f'<?xml version="1.0"?>\n<VTKFile type="{kind}" version="1.0" byte_order="LittleEndian" header_type="UInt64">'
        f"{body}</VTKFile>\n",
        encoding="utf-8",
        newline="\n",
    )
    return target
