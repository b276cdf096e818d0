"""Where do the names of lines stand beside the picture, and what does each layer look like in words?"""

from dataclasses import dataclass
from textwrap import fill

import numpy as np

from theodolite.plots.marks import Bars, Chart, Curve, Field, Level, Points, Role, Way
from theodolite.plots.scales import fraction


@dataclass(frozen=True)
class EndLabel:
    """The name of a layer at the right end of the picture.

    Attributes:
        text: The name.
        role: Whose colour it has; None for a line of reference.
        value: Where the layer ends, in data of y.
        place: Where the label stands, as a fraction of the height; moved so that labels do not overlap.
    """

    text: str
    role: Role | None
    value: float
    place: float


def end_labels(chart: Chart, gap: float = 0.075) -> tuple[EndLabel, ...]:
    """Names for the right ends of curves, points and levels, pushed apart by at least ``gap`` of the height.

    Args:
        chart: The chart.
        gap: Least distance between labels, as a fraction of the height.

    Returns:
        The labels, from the bottom to the top.
    """
    found = []
    for layer in chart.layers:
        is_drawn = isinstance(layer, Points) or (isinstance(layer, Curve) and not layer.is_thin)
        end = _end(chart, layer) if is_drawn and isinstance(layer, Curve | Points) else None
        if isinstance(layer, Level):
            end = layer.value if layer.name else None
        if end is None:
            continue
        place = float(np.clip(fraction(chart.y, end), 0.0, 1.0))
        role = None if isinstance(layer, Level) else layer.role if isinstance(layer, Curve | Points) else None
        found.append(EndLabel(layer.name if isinstance(layer, Curve | Points | Level) else "", role, end, place))
    return _spread(sorted(found, key=lambda label: label.place), gap)


def _end(chart: Chart, layer: Curve | Points) -> float | None:
    inside = np.flatnonzero(np.isfinite(layer.y) & np.isfinite(fraction(chart.y, layer.y)))
    return float(layer.y[inside[-1]]) if inside.size else None


def _spread(labels: list[EndLabel], gap: float) -> tuple[EndLabel, ...]:
    places: list[float] = []
    for label in labels:
        places.append(max(label.place, places[-1] + gap) if places else label.place)
    ceiling = 1.0
    for index in range(len(places) - 1, -1, -1):
        places[index] = min(places[index], ceiling)
        ceiling = places[index] - gap
    return tuple(EndLabel(one.text, one.role, one.value, place) for one, place in zip(labels, places, strict=True))


def fold(title: str, width: int) -> str:
    """The title of an axis in lines of at most ``width`` letters, its unit on a line of its own if it needs two."""
    head, bracket, unit = title.rpartition(" (")
    return title if len(title) <= width or not bracket else f"{fill(head, width)}\n({unit}"


def stacked(chart: Chart) -> tuple[Bars, ...]:
    """The bars of a chart over steps, which get a legend because their ends say nothing."""
    return tuple(layer for layer in chart.layers if isinstance(layer, Bars) and not chart.x.names)


def ways(chart: Chart) -> tuple[Way, ...]:
    """The ways on a plane, which get a legend because they end anywhere."""
    return tuple(layer for layer in chart.layers if isinstance(layer, Way))


def keyed(chart: Chart) -> tuple[Way | Curve | Points, ...]:
    """What a legend names in a chart with ways: they, and the lines beside them."""
    lines = [one for one in chart.layers if isinstance(one, Points) or (isinstance(one, Curve) and not one.is_thin)]
    return (*ways(chart), *lines) if ways(chart) else ()


def field_of(chart: Chart) -> Field | None:
    """The field of a chart of a plane."""
    return next((layer for layer in chart.layers if isinstance(layer, Field)), None)
