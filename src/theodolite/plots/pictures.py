"""Which pictures does a record have, how does one see them, and how are they saved?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, overload

import matplotlib as mpl
from matplotlib.figure import Figure

from theodolite.errors import SettingError
from theodolite.plots.animations import has_way, write_gif
from theodolite.plots.curves import marks_curve
from theodolite.plots.figures import Picture, figure_of
from theodolite.plots.gallery import charts
from theodolite.plots.html import page
from theodolite.plots.lines import charts_line
from theodolite.plots.marks import Absent, Chart, ScaleName, Scene
from theodolite.plots.paraview import write_surface, write_ways
from theodolite.plots.planes import marks_plane
from theodolite.plots.searches import charts_search
from theodolite.plots.spectra import marks_density
from theodolite.plots.surfaces import scene_plane, scene_projection
from theodolite.plots.trajectories import marks_components, marks_projection, marks_shares, marks_winding
from theodolite.records.lines import Line
from theodolite.records.planes import Plane
from theodolite.records.run import Run
from theodolite.records.searches import Search
from theodolite.records.spectra import SpectralDensity
from theodolite.records.trajectories import Components, Curve, Projection, Winding

Drawn = Chart | Scene | Absent

_MAKERS: Mapping[type, Callable[[Any, ScaleName | None], Sequence[Drawn]]] = MappingProxyType(
    {
        Line: lambda line, scale: charts_line(line, scale=scale),
        Plane: lambda plane, scale: (marks_plane(plane, scale=scale), scene_plane(plane, scale=scale)),
        Components: lambda components, _: (marks_components(components), marks_shares(components)),
        Projection: lambda way, scale: (marks_projection(way), scene_projection(way, scale=scale)),
        Winding: lambda winding, _: (marks_winding(winding),),
        Curve: lambda curve, scale: (marks_curve(curve, scale=scale),),
        SpectralDensity: lambda density, scale: (marks_density(density, scale=scale),),
        Search: lambda search, scale: charts_search(search, scale=scale),
        Run: lambda run, _: charts(run),
        Chart: lambda picture, _: (picture,),
        Scene: lambda picture, _: (picture,),
        Absent: lambda picture, _: (picture,),
    }
)
"""Record -> its pictures."""

_SALT = "theodolite"
_SHARP_DPI = 160


@dataclass(frozen=True)
class Interactive:
    """Pictures to turn, zoom and hover over; in a notebook they show themselves.

    Attributes:
        pictures: The pictures.
        is_moving: Whether their ways grow when one plays them.
    """

    pictures: tuple[Drawn, ...]
    is_moving: bool = False

    @property
    def html(self) -> str:
        """A page of its own, which needs nothing else."""
        return page(self.pictures, is_moving=self.is_moving)

    def _repr_html_(self) -> str:
        height = 60 + 640 * len(self.pictures)
        frame = f'<iframe width="100%" height="{height}" style="border:0"'
        return f'{frame} title="{escape(self.pictures[0].title)}" srcdoc="{escape(self.html)}"></iframe>'


def describe(record: object, *, scale: ScaleName | None = None) -> tuple[Drawn, ...]:
    """The pictures of a record, as values: what will be drawn, without a drawing library.

    Args:
        record: A line, plane, projection, curve, run or another record that has pictures; a picture; or several.
        scale: Scale of the loss; each picture chooses its own by default.

    Returns:
        The pictures, the first one the main one.

    Raises:
        SettingError: If it has no picture.
    """
    if isinstance(record, list | tuple):
        return tuple(picture for one in record for picture in describe(one, scale=scale))
    if type(record) not in _MAKERS:
        names = ", ".join(sorted(kind.__name__ for kind in _MAKERS))
        raise SettingError(f"a record must have a picture, as {names} have; got {type(record).__name__}.")
    return tuple(_MAKERS[type(record)](record, scale))


@overload
def figure(
    record: object, *, style: Literal["matplotlib"] = "matplotlib", scale: ScaleName | None = None
) -> Picture: ...
@overload
def figure(
    record: object, *, style: Literal["plotly"], scale: ScaleName | None = None, is_moving: bool = False
) -> Interactive: ...
def figure(
    record: object, *, style: str = "matplotlib", scale: ScaleName | None = None, is_moving: bool = False
) -> Picture | Interactive:
    """The pictures of a record, with what they leave out.

    Args:
        record: A line, plane, projection, curve, run or another record that has pictures; a picture; or several.
        style: ``matplotlib`` for a figure, ``plotly`` for pictures to turn and hover over.
        scale: Scale of the loss; each picture chooses its own by default.
        is_moving: Whether, in ``plotly``, the ways grow when one plays them.

    Returns:
        What shows itself at the end of a notebook's cell, and what :func:`save_figure` saves.

    Raises:
        SettingError: If there is no picture, or the style is another.

    Example:
        >>> import numpy as np
        >>> alpha = np.linspace(0, 1, 3)
        >>> figure(Line(alpha, 1 - alpha, np.full(3, np.nan))).alt[:54]
        'Loss along the straight line from start to end. The lo'
    """
    pictures = describe(record, scale=scale)
    if style == "plotly":
        return Interactive(pictures, is_moving)
    if style != "matplotlib":
        raise SettingError(f"style must be 'matplotlib' or 'plotly', got {style!r}. Choose one.")
    return figure_of(pictures)


def save_figure(record: object, path: str | Path, *, scale: ScaleName | None = None) -> Path:
    """Save a picture; the ending of the file says how.

    ``.png``, ``.svg``, ``.pdf``: a still one. ``.html``: one to turn and hover over. ``.gif``: one whose ways grow.
    ``.vts``, ``.vtp``: the surface, or the ways over it, for ParaView.

    Args:
        record: What :func:`figure` takes or returns, or any matplotlib figure.
        path: The file; its folder is made if need be.
        scale: Scale of the loss, where a record is drawn; each picture chooses its own by default.

    Returns:
        The file. The same record gives the same bytes.

    Raises:
        SettingError: If there is no picture, the ending is another, or the picture cannot be saved so.
    """
    target = Path(path)
    kind = target.suffix.lower()
    if kind not in _WRITERS:
        raise SettingError(f"a picture must be saved as {', '.join(_WRITERS)}; got {target.name!r}. Choose an ending.")
    target.parent.mkdir(parents=True, exist_ok=True)
    drawn = record if isinstance(record, Figure | Interactive) else describe(record, scale=scale)
    _WRITERS[kind](drawn, target)
    return target


def _write_still(record: object, target: Path) -> None:
    """Text that says what is shown goes into the file; what differs from call to call stays out of it."""
    drawn = record if isinstance(record, Figure) else figure_of(_pictures(record))
    kind, alt = target.suffix.lower(), drawn.alt if isinstance(drawn, Picture) else ""
    metadata: dict[str, Any] = {
        ".png": {"Description": alt, "Software": None},
        ".svg": {"Description": alt, "Date": None},
        ".pdf": {"Subject": alt, "CreationDate": None},
    }[kind]
    with mpl.rc_context({"svg.hashsalt": _SALT}):
        drawn.savefig(target, format=kind[1:], dpi=_SHARP_DPI, metadata=metadata)


def _write_page(record: object, target: Path) -> None:
    shown = record if isinstance(record, Interactive) else Interactive(_pictures(record))
    target.write_text(shown.html, encoding="utf-8", newline="\n")


def _write_moving(record: object, target: Path) -> None:
    able = [one for one in _pictures(record) if not isinstance(one, Absent) and has_way(one)]
    if not able:
        raise SettingError("a .gif needs a picture with a way that grows; there is none. Project a trajectory onto it.")
    write_gif(able[0], target)


def _write_space(record: object, target: Path) -> None:
    scenes = [one for one in _pictures(record) if isinstance(one, Scene)]
    if not scenes:
        raise SettingError(f"a {target.suffix} file needs a picture in space; there is none. Planes have one.")
    (write_surface if target.suffix.lower() == ".vts" else write_ways)(scenes[0], target)


def _pictures(record: object) -> tuple[Drawn, ...]:
    if isinstance(record, Figure):
        raise SettingError("a matplotlib figure is saved as .png, .svg or .pdf. Give the record for the other endings.")
    return record.pictures if isinstance(record, Interactive) else describe(record)


_WRITERS: Mapping[str, Callable[[object, Path], None]] = MappingProxyType(
    {
        ".png": _write_still,
        ".svg": _write_still,
        ".pdf": _write_still,
        ".html": _write_page,
        ".gif": _write_moving,
        ".vts": _write_space,
        ".vtp": _write_space,
    }
)
