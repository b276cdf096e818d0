"""Which colour, dash, marker and hatch has each role?

The colours are those of Okabe & Ito (2008), which stay apart for readers without full colour vision; dash, marker and
hatch differ too, so that no picture needs colour at all. For a dark ground some are lightened to keep a contrast of 3.
"""

from dataclasses import dataclass
from types import MappingProxyType

from theodolite.plots.marks import Role


@dataclass(frozen=True)
class Style:
    """How a role looks.

    Attributes:
        light: Colour on a light ground.
        dark: Colour on a dark ground.
        dash: Lengths of dash and gap in pixels; empty for a solid line.
        marker: ``circle``, ``square``, ``diamond`` or ``triangle``.
        hatch: Direction of the hatch of an area: slash, backslash, dot; empty for a plain area.
    """

    light: str
    dark: str
    dash: tuple[int, ...]
    marker: str
    hatch: str


STYLES = MappingProxyType(
    {
        Role.MAIN: Style("#0072B2", "#4DA9E0", (), "circle", ""),
        Role.SECOND: Style("#D55E00", "#EF7E32", (7, 3), "square", "/"),
        Role.THIRD: Style("#008F68", "#2DBE94", (2, 3), "diamond", "\\"),
        Role.FOURTH: Style("#B4588E", "#D98BBA", (8, 3, 2, 3), "triangle", "."),
        Role.MUTED: Style("#8A9099", "#7C838D", (), "circle", ""),
    }
)
"""The style of each role."""

SHADES_LIGHT = ("#FFFFFF", "#F5F6F8", "#EBEDF0", "#E1E4E8", "#D7DBE0", "#CDD2D8", "#C3C9D0", "#B9BFC8", "#AFB6BF")
SHADES_DARK = ("#14171A", "#1B1F23", "#23282D", "#2B3137", "#333A41", "#3B434B", "#434C55", "#4B555F", "#535E69")
"""Shades of a field from low to high, on a light and on a dark ground: grey, so that ways stay the only colours."""

SLOPES_LIGHT = ("#FBFBFC", "#F0F2F4", "#E4E7EB", "#D8DCE2", "#CBD1D8", "#BEC5CE", "#B0B9C4", "#A2ACB9", "#939FAE")
SLOPES_DARK = ("#2A3038", "#343B45", "#3F4752", "#4A535F", "#56606D", "#626D7B", "#6F7A89", "#7C8897", "#8A96A5")
"""The same for a surface in space, whose shape needs more contrast with the ground."""


def themes() -> dict[str, dict[str, str]]:
    """Every colour by its name, such as ``main`` or ``shade3``, for a light and for a dark ground.

    Returns:
        Theme to name to colour.
    """
    light = {str(role): style.light for role, style in STYLES.items()}
    dark = {str(role): style.dark for role, style in STYLES.items()}
    for name, bright, dim in (("shade", SHADES_LIGHT, SHADES_DARK), ("slope", SLOPES_LIGHT, SLOPES_DARK)):
        light |= {f"{name}{place}": colour for place, colour in enumerate(bright)}
        dark |= {f"{name}{place}": colour for place, colour in enumerate(dim)}
    return {
        "light": light | {"ink": "#33383F", "paper": "#FFFFFF", "grid": "#E8EAED", "axis": "#B9BEC5"},
        "dark": dark | {"ink": "#D5D9DE", "paper": "#1B1E22", "grid": "#2C3036", "axis": "#565C65"},
    }
