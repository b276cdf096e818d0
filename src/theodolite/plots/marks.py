"""What will be drawn? A chart as a value: axes, layers and words, without a drawing library.

A renderer (matplotlib, plotly, plain SVG) draws a chart and adds nothing to it; so what a picture shows can be tested
as data. What cannot be drawn at its place (not finite, beyond the axis) becomes a :class:`Marks` layer with a count.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import numpy as np
from jaxtyping import Float

ScaleName = Literal["linear", "log", "symlog"]


class Role(StrEnum):
    """The part a layer plays; a renderer gives each its colour, dash, marker and hatch."""

    MAIN = "main"
    SECOND = "second"
    THIRD = "third"
    FOURTH = "fourth"
    MUTED = "muted"


@dataclass(frozen=True)
class Axis:
    """One axis.

    Attributes:
        label: Quantity and symbol.
        unit: Its unit; empty for a pure number.
        scale: ``linear``, ``log`` or ``symlog`` (logarithmic beyond ±threshold, linear between).
        limits: Lower and upper end, in data.
        threshold: Half the width of the linear part of a ``symlog`` axis, in data.
        names: On an axis of things, which lie at 0, 1, 2, ..., what each is called.
    """

    label: str
    unit: str = ""
    scale: ScaleName = "linear"
    limits: tuple[float, float] = (0.0, 1.0)
    threshold: float = 1.0
    names: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Label with unit and, when it is not linear, the scale."""
        inside = [part for part in (self.unit, "" if self.scale == "linear" else f"{self.scale} scale") if part]
        return f"{self.label} ({', '.join(inside)})" if inside else self.label


@dataclass(frozen=True, eq=False)
class Curve:
    """A line through points; it is interrupted where y is NaN.

    Attributes:
        name: What it is.
        x: Positions, ascending.
        y: Values; NaN interrupts the line.
        role: Its part in the picture.
        total: How many values it stands for before thinning.
        is_thin: Whether it stays in the background.
    """

    name: str
    x: Float[np.ndarray, "points"]
    y: Float[np.ndarray, "points"]
    role: Role = Role.MAIN
    total: int = 0
    is_thin: bool = False


@dataclass(frozen=True, eq=False)
class Band:
    """A region between two curves, such as plus and minus one standard error."""

    name: str
    x: Float[np.ndarray, "points"]
    low: Float[np.ndarray, "points"]
    high: Float[np.ndarray, "points"]
    role: Role = Role.MAIN


@dataclass(frozen=True, eq=False)
class Points:
    """Single measurements with error bars; an error of NaN is unknown and has no bar."""

    name: str
    x: Float[np.ndarray, "points"]
    y: Float[np.ndarray, "points"]
    error: Float[np.ndarray, "points"]
    role: Role = Role.MAIN
    is_joined: bool = True


@dataclass(frozen=True, eq=False)
class Bars:
    """One part of a stack of bars: from ``base`` to ``base + height``, which may be negative.

    Its errors are told on hovering and in the table; a layer of :class:`Whiskers` draws them. ``is_share`` says whether
    heights are shares, to be read in percent.
    """

    name: str
    x: Float[np.ndarray, "points"]
    width: Float[np.ndarray, "points"]
    base: Float[np.ndarray, "points"]
    height: Float[np.ndarray, "points"]
    error: Float[np.ndarray, "points"]
    role: Role = Role.MAIN
    is_share: bool = True


@dataclass(frozen=True, eq=False)
class Whiskers:
    """Error bars alone, drawn over what they belong to; they have no name in the picture."""

    name: str
    x: Float[np.ndarray, "points"]
    y: Float[np.ndarray, "points"]
    error: Float[np.ndarray, "points"]


@dataclass(frozen=True)
class Level:
    """A line of reference across the whole picture, at a value of y."""

    name: str
    value: float


@dataclass(frozen=True)
class Span:
    """A shaded stretch of x."""

    name: str
    low: float
    high: float


@dataclass(frozen=True)
class Label:
    """Words at a point."""

    text: str
    x: float
    y: float


@dataclass(frozen=True, eq=False)
class Marks:
    """Values that have no place inside the axes, marked at the edge.

    Attributes:
        name: Whose values they are.
        x: Where they lie.
        reason: Why they are at the edge, with their count.
        edge: At which edge.
        count: How many values they stand for.
    """

    name: str
    x: Float[np.ndarray, "points"]
    reason: str
    edge: Literal["top", "bottom"]
    count: int


@dataclass(frozen=True, eq=False)
class Field:
    """A quantity over a plane, as shades between lines of equal value; where it is not finite the plane is hatched.

    Attributes:
        name: What it is.
        x: Positions of the columns, ascending.
        y: Positions of the rows.
        z: Values; NaN where there is no finite one.
        scale: Scale of the shades; what lies beyond its limits gets the shade of the nearest one.
    """

    name: str
    x: Float[np.ndarray, "grid_x"]
    y: Float[np.ndarray, "grid_y"]
    z: Float[np.ndarray, "grid_y grid_x"]
    scale: Axis


@dataclass(frozen=True, eq=False)
class Way:
    """Points on a plane, joined in their order.

    Attributes:
        name: Whose way it is.
        x: First coordinate of each.
        y: Second one.
        nearness: How near to the plane each point really is, from 1 on it to 0 far off: its marker is as large.
        texts: What is told of each on hovering.
        role: Its part in the picture.
        is_arrow: Whether it is one move, drawn with a head and without markers.
    """

    name: str
    x: Float[np.ndarray, "points"]
    y: Float[np.ndarray, "points"]
    nearness: Float[np.ndarray, "points"]
    texts: tuple[str, ...]
    role: Role = Role.MAIN
    is_arrow: bool = False


@dataclass(frozen=True, eq=False)
class Dots:
    """Small dots, such as the points where a field was measured; they have no name in the picture."""

    name: str
    x: Float[np.ndarray, "points"]
    y: Float[np.ndarray, "points"]


Layer = Curve | Band | Points | Bars | Whiskers | Level | Span | Label | Marks | Field | Way | Dots


@dataclass(frozen=True, eq=False)
class Chart:
    """A picture, described.

    Attributes:
        name: Its name, as findings refer to it.
        title: What it shows.
        takeaway: What it says of this run, in one sentence.
        reading: How to read it.
        x: The axis of x.
        y: The axis of y.
        layers: What is drawn, from the back to the front.
        notes: What it leaves out.
    """

    name: str
    title: str
    takeaway: str
    reading: str
    x: Axis
    y: Axis
    layers: tuple[Layer, ...]
    notes: tuple[str, ...] = ()

    def of(self, name: str) -> tuple[Layer, ...]:
        """The layers with a name."""
        return tuple(layer for layer in self.layers if not isinstance(layer, Label) and layer.name == name)


@dataclass(frozen=True, eq=False)
class Surface:
    """A quantity over a mesh, as a surface in space; it has a hole wherever a value is not finite.

    Attributes:
        name: What it is.
        x: First coordinate of each point of the mesh.
        y: Second one.
        z: Values; NaN where there is no finite one.
    """

    name: str
    x: Float[np.ndarray, "rows columns"]
    y: Float[np.ndarray, "rows columns"]
    z: Float[np.ndarray, "rows columns"]


@dataclass(frozen=True, eq=False)
class Flight:
    """Points in space, joined in their order, each with a stem to the surface below or above it.

    Attributes:
        name: Whose way it is.
        x: First coordinate of each.
        y: Second one.
        z: Height of each.
        foot: Height of the surface there; NaN where it was not measured, and then without a stem.
        nearness: How near to the picture's plane each point really is, from 1 to 0: its marker is as large.
        texts: What is told of each on hovering.
        role: Its part in the picture.
    """

    name: str
    x: Float[np.ndarray, "points"]
    y: Float[np.ndarray, "points"]
    z: Float[np.ndarray, "points"]
    foot: Float[np.ndarray, "points"]
    nearness: Float[np.ndarray, "points"]
    texts: tuple[str, ...]
    role: Role = Role.MAIN


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture in space, described.

    Attributes:
        name: Its name.
        title: What it shows.
        takeaway: What it says, in one sentence.
        reading: How to read it.
        x: The axis of x.
        y: The axis of y.
        z: The axis upwards, which is the scale of the shades too.
        surfaces: What lies below.
        flights: Ways over it.
        notes: What it leaves out.
    """

    name: str
    title: str
    takeaway: str
    reading: str
    x: Axis
    y: Axis
    z: Axis
    surfaces: tuple[Surface, ...]
    flights: tuple[Flight, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Absent:
    """A picture that cannot be drawn.

    Attributes:
        name: Its name.
        title: What it would show.
        reason: What is missing, and how to get it.
    """

    name: str
    title: str
    reason: str
