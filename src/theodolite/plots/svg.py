"""A chart as a small static SVG: no script, no font file, readable on light and dark ground.

Colours are CSS variables (``--main`` and so on) with the light palette as fallback; text takes the colour around it.
"""

from html import escape
from typing import assert_never

import numpy as np

from theodolite.plots.labels import end_labels, field_of, keyed, stacked, ways
from theodolite.plots.marks import (
    Absent,
    Band,
    Bars,
    Chart,
    Curve,
    Dots,
    Field,
    Label,
    Layer,
    Level,
    Marks,
    Points,
    Role,
    Span,
    Way,
    Whiskers,
)
from theodolite.plots.palette import SHADES_LIGHT, STYLES
from theodolite.plots.scales import fraction, levels, shades, texts_apart, ticks

_WIDTH, _HEIGHT = 720, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 150, 16, 44
_DOT = 'stroke="currentColor" stroke-width="1.6" stroke-linecap="round" opacity=".55"'


def svg_chart(chart: Chart | Absent) -> str:
    """Draw a chart as SVG.

    Args:
        chart: The chart.

    Returns:
        One ``<svg>`` element with title and description.
    """
    if isinstance(chart, Absent):
        return _frame(chart.title, chart.reason, _absent(chart.reason), height=60)
    body = [*_grid(chart), *(_layer(chart, layer) for layer in chart.layers), *_names(chart)]
    return _frame(chart.title, chart.takeaway, "".join(body))


def _frame(title: str, words: str, body: str, height: int = _HEIGHT) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" width="100%" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="currentColor">'
        f"<title>{escape(title)}</title><desc>{escape(words)}</desc>{body}</svg>"
    )


def _absent(reason: str) -> str:
    first, _, rest = reason.partition(". ")
    return f'<text x="0" y="20">{escape(first)}.</text><text x="0" y="40">{escape(rest)}</text>'


def _x(chart: Chart, values: np.ndarray | float) -> np.ndarray:
    return np.asarray(_LEFT + fraction(chart.x, values) * (_WIDTH - _LEFT - _RIGHT))


def _y(chart: Chart, values: np.ndarray | float) -> np.ndarray:
    places = np.clip(fraction(chart.y, values), -0.02, 1.02)
    return np.asarray(_HEIGHT - _BOTTOM - places * (_HEIGHT - _TOP - _BOTTOM))


def _grid(chart: Chart) -> list[str]:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = []
    for value, text in zip(*ticks(chart.y), strict=True):
        y = float(_y(chart, value))
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{right}" stroke="currentColor" opacity=".14"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" opacity=".75">{escape(text)}</text>')
    for value, text in zip(*ticks(chart.x), strict=True):
        x = float(_x(chart, value))
        parts.append(f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle" opacity=".75">{escape(text)}</text>')
    parts.append(f'<path d="M{_LEFT} {bottom}H{right}" stroke="currentColor" opacity=".5"/>')
    place = f'x="{(_LEFT + right) / 2}" y="{_HEIGHT - 8}"'
    turn = f'transform="translate(12 {(_TOP + bottom) / 2}) rotate(-90)"'
    parts.append(f'<text {place} text-anchor="middle">{escape(chart.x.title)}</text>')
    parts.append(f'<text {turn} text-anchor="middle">{escape(chart.y.title)}</text>')
    return parts


def _colour(role: Role | None) -> str:
    return f"var(--{role}, {STYLES[role].light})" if role else "currentColor"


def _layer(chart: Chart, layer: Layer) -> str:
    match layer:
        case Curve():
            text = _curve(chart, layer)
        case Points():
            text = _points(chart, layer)
        case Bars():
            text = _bars(chart, layer)
        case Band():
            text = _band(chart, layer)
        case Whiskers():
            text = _whiskers(chart, layer)
        case Level() | Span():
            text = _reference(chart, layer)
        case Label():
            text = _label(chart, layer)
        case Marks():
            text = _marks(chart, layer)
        case Field():
            text = _field(chart, layer)
        case Way():
            text = _way(chart, layer)
        case Dots():
            at = zip(_x(chart, layer.x).tolist(), _y(chart, layer.y).tolist(), strict=True)
            text = f'<path d="{"".join(f"M{x:.1f} {y:.1f}h.01" for x, y in at)}" {_DOT}/>'
        case _:
            assert_never(layer)
    return text


def _band(chart: Chart, layer: Band) -> str:
    x = np.concatenate([_x(chart, layer.x), _x(chart, layer.x)[::-1]])
    y = np.concatenate([_y(chart, _floor(chart, layer.low)), _y(chart, layer.high)[::-1]])
    return f'<path d="{_path(x, y)}Z" style="fill:{_colour(layer.role)}" opacity=".18"/>'


def _whiskers(chart: Chart, layer: Whiskers) -> str:
    low, high = _y(chart, layer.y - layer.error), _y(chart, layer.y + layer.error)
    path = "".join(f"M{x:.1f} {u:.1f}V{v:.1f}" for x, u, v in zip(_x(chart, layer.x), low, high, strict=True))
    halo = f'<path d="{path}" style="stroke:var(--paper, #fff)" stroke-width="3.2"/>'
    return f'{halo}<path d="{path}" stroke="currentColor" stroke-width="1.3"/>'


def _reference(chart: Chart, layer: Level | Span) -> str:
    if isinstance(layer, Level):
        y = float(_y(chart, layer.value))
        return f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="currentColor" opacity=".6"/>'
    left, right = (float(_x(chart, end)) for end in (layer.low, layer.high))
    size = f'width="{right - left:.1f}" height="{_HEIGHT - _TOP - _BOTTOM}"'
    return f'<rect x="{left:.1f}" y="{_TOP}" {size} opacity=".07"><title>{escape(layer.name)}</title></rect>'


def _label(chart: Chart, layer: Label) -> str:
    x, y = float(_x(chart, layer.x)), float(_y(chart, layer.y))
    anchor, shift = ("end", -6) if x > _WIDTH - _RIGHT - 80 else ("start", 6)
    text = f'<text x="{x + shift:.1f}" y="{y - 7:.1f}" text-anchor="{anchor}">{escape(layer.text)}</text>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>{text}'


def _floor(chart: Chart, values: np.ndarray) -> np.ndarray:
    """On a log axis what is ≤ 0 goes to the lower end."""
    return np.maximum(values, chart.y.limits[0]) if chart.y.scale == "log" else values


def _path(x: np.ndarray, y: np.ndarray) -> str:
    """Straight lines through points; a new start after each gap."""
    parts, pen = [], "M"
    for a, b in zip(x.tolist(), y.tolist(), strict=True):
        if not (np.isfinite(a) and np.isfinite(b)):
            pen = "M"
            continue
        parts.append(f"{pen}{a:.1f} {b:.1f}")
        pen = "L"
    return "".join(parts)


def _curve(chart: Chart, layer: Curve) -> str:
    look = STYLES[layer.role]
    dash = f' stroke-dasharray="{" ".join(map(str, look.dash))}"' if look.dash and not layer.is_thin else ""
    width = '1" opacity=".5' if layer.is_thin else "2"
    path = _path(_x(chart, layer.x), _y(chart, layer.y))
    dots = _dots(chart, layer.x, layer.y, layer.role) if layer.x.size < 3 else ""
    return (
        f'<path d="{path}" fill="none" style="stroke:{_colour(layer.role)}" stroke-width="{width}"{dash} '
        f'stroke-linejoin="round"/>{dots}'
    )


def _dots(chart: Chart, x: np.ndarray, y: np.ndarray, role: Role) -> str:
    shape = {
        "circle": "M-3 0A3 3 0 1 1 3 0A3 3 0 1 1 -3 0Z",
        "square": "M-3 -3H3V3H-3Z",
        "diamond": "M0 -4L4 0L0 4L-4 0Z",
        "triangle": "M0 -4L4 3H-4Z",
    }[STYLES[role].marker]
    at = zip(_x(chart, x).tolist(), _y(chart, y).tolist(), strict=True)
    return "".join(
        f'<path d="{shape}" transform="translate({a:.1f} {b:.1f})" style="fill:{_colour(role)}"/>'
        for a, b in at
        if np.isfinite(a) and np.isfinite(b)
    )


def _points(chart: Chart, layer: Points) -> str:
    line = _curve(chart, Curve(layer.name, layer.x, layer.y, layer.role)) if layer.is_joined else ""
    known = np.isfinite(layer.y) & np.isfinite(layer.error)
    x = _x(chart, layer.x[known])
    low = _y(chart, _floor(chart, (layer.y - layer.error)[known]))
    high = _y(chart, (layer.y + layer.error)[known])
    bars = "".join(f"M{a:.1f} {b:.1f}V{c:.1f}" for a, b, c in zip(x, low, high, strict=True))
    error = f'<path d="{bars}" style="stroke:{_colour(layer.role)}" fill="none"/>' if bars else ""
    return line + error + (_dots(chart, layer.x, layer.y, layer.role) if layer.x.size >= 3 else "")


def _bars(chart: Chart, layer: Bars) -> str:
    half = layer.width * 0.46
    left, right = _x(chart, layer.x - half), _x(chart, layer.x + half)
    a, b = _y(chart, layer.base), _y(chart, layer.base + layer.height)
    boxes = "".join(
        f"M{x0:.1f} {y0:.1f}H{x1:.1f}V{y1:.1f}H{x0:.1f}Z" for x0, x1, y0, y1 in zip(left, right, a, b, strict=True)
    )
    key = f"hatch-{chart.name}-{layer.role}"
    lines = {"/": "M-1 7L7 -1", "\\": "M-1 -1L7 7", ".": "M2 2h2v2h-2Z", "": ""}[STYLES[layer.role].hatch]
    pattern = (
        f'<pattern id="{key}" width="6" height="6" patternUnits="userSpaceOnUse">'
        f'<rect width="6" height="6" style="fill:{_colour(layer.role)}"/>'
        f'<path d="{lines}" stroke="#fff" stroke-width="1" opacity=".75"/></pattern>'
    )
    return f'{pattern}<path d="{boxes}" fill="url(#{key})"/>'


def _marks(chart: Chart, layer: Marks) -> str:
    y = _TOP + 1 if layer.edge == "top" else _HEIGHT - _BOTTOM - 1
    shape = "l4 7h-8Z" if layer.edge == "top" else "l4 -7h-8Z"
    path = "".join(f"M{x:.1f} {y}{shape}" for x in _x(chart, layer.x).tolist())
    return f'<path d="{path}"><title>{escape(layer.reason)}</title></path>'


def _field(chart: Chart, layer: Field) -> str:
    """Cells of one shade in a row are one rectangle; cells without a value are hatched."""
    xs, ys = _x(chart, _borders(layer.x)), _y(chart, _borders(layer.y))
    which = shades(layer.scale, layer.z, len(SHADES_LIGHT))
    paths = [""] * (len(SHADES_LIGHT) + 1)
    for row, cells in enumerate(which.tolist()):
        first = 0
        for place in range(1, len(cells) + 1):
            if place == len(cells) or cells[place] != cells[first]:
                a, b, top, low = xs[first], xs[place], ys[row + 1], ys[row]
                paths[cells[first]] += f"M{a:.1f} {low:.1f}H{b:.1f}V{top:.1f}H{a:.1f}Z"
                first = place
    key = f"unknown-{chart.name}"
    pattern = (
        f'<pattern id="{key}" width="6" height="6" patternUnits="userSpaceOnUse">'
        '<path d="M-1 7L7 -1M-1 -1L7 7" stroke="currentColor" opacity=".35"/></pattern>'
    )
    areas = [
        f'<path d="{path}" style="fill:var(--shade{place}, {shade})"/>'
        for place, (path, shade) in enumerate(zip(paths[:-1], SHADES_LIGHT, strict=True))
        if path
    ]
    unknown = f'{pattern}<path d="{paths[-1]}" fill="url(#{key})"/>' if paths[-1] else ""
    return f'<g shape-rendering="crispEdges">{"".join(areas)}</g>{unknown}'


def _borders(values: np.ndarray) -> np.ndarray:
    """Where the cells around some positions begin and end; the outer ones are half as wide."""
    return np.concatenate([values[:1], (values[1:] + values[:-1]) / 2, values[-1:]])


def _way(chart: Chart, layer: Way) -> str:
    inside = _within(chart, layer)
    look, role = STYLES[layer.role], _colour(layer.role)
    is_dashed = look.dash and not layer.is_arrow
    dash = f' stroke-dasharray="{" ".join(map(str, look.dash))}"' if is_dashed else ""
    key = f"head-{chart.name}-{layer.role}"
    head = (
        f'<marker id="{key}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
        f'<path d="M0 0L8 4L0 8Z" style="fill:{role}"/></marker>'
    )
    path = _path(
        _x(chart, layer.x), np.asarray(_HEIGHT - _BOTTOM - fraction(chart.y, layer.y) * (_HEIGHT - _TOP - _BOTTOM))
    )
    clip = (
        f'<clipPath id="clip-{key}"><rect x="{_LEFT}" y="{_TOP}" width="{_WIDTH - _LEFT - _RIGHT}" '
        f'height="{_HEIGHT - _TOP - _BOTTOM}"/></clipPath>'
    )
    end = f' marker-end="url(#{key})"' if layer.is_arrow else ""
    stroke = f'fill="none" style="stroke:{role}" stroke-width="1.8"{dash}{end}'
    line = f'<path d="{path}" clip-path="url(#clip-{key})" {stroke}/>'
    if layer.is_arrow:
        return f"{head}{clip}{line}"
    dots = "".join(
        f'<circle cx="{a:.1f}" cy="{b:.1f}" r="{1.2 + 2.3 * near:.1f}" style="fill:{role};stroke:var(--paper, #fff)" '
        'stroke-width=".5"/>'
        for a, b, near in zip(
            _x(chart, layer.x[inside]).tolist(), _y(chart, layer.y[inside]).tolist(),
            np.nan_to_num(layer.nearness[inside]).tolist(), strict=True,
        )
    )  # fmt: skip
    return f"{clip}{line}{dots}"


def _within(chart: Chart, layer: Way) -> np.ndarray:
    """Which points of a way lie in the picture."""
    places = np.stack([fraction(chart.x, layer.x), fraction(chart.y, layer.y)])
    with np.errstate(invalid="ignore"):
        return np.asarray(((places >= 0) & (places <= 1)).all(0))


def _keys(chart: Chart, x: int) -> list[str]:
    """The legend of a plane: its ways and lines, and below them what the shades mean."""
    parts = [
        f'<path d="M{x} {_TOP + 20 * row + 7}h14" style="stroke:{_colour(way.role)}" stroke-width="2.5"/>'
        f'<text x="{x + 20}" y="{_TOP + 20 * row + 11}">{escape(way.name)}</text>'
        for row, way in enumerate(keyed(chart))
    ]
    field = field_of(chart)
    if field is None:
        return parts
    ends, top = levels(field.scale, len(SHADES_LIGHT)), _TOP + 20 * len(keyed(chart)) + 26
    parts.append(f'<text x="{x}" y="{top - 8}" opacity=".75">{escape(field.scale.title)}</text>')
    for row, shade in enumerate(reversed(SHADES_LIGHT)):
        place = len(SHADES_LIGHT) - 1 - row
        parts.append(
            f'<rect x="{x}" y="{top + 13 * row}" width="14" height="13" style="fill:var(--shade{place}, {shade})" '
            'stroke="currentColor" stroke-width=".3"/>'
        )
    parts += [
        f'<text x="{x + 20}" y="{top + 13 * (len(SHADES_LIGHT) - at) + 4}" opacity=".75">{escape(text)}</text>'
        for at, text in zip(range(0, len(SHADES_LIGHT) + 1, 3), texts_apart(ends[::3]), strict=True)
    ]
    return parts


def _names(chart: Chart) -> list[str]:
    x = _WIDTH - _RIGHT + 8
    if field_of(chart) is not None or ways(chart):
        return _keys(chart, x)
    if stacked(chart):
        return [
            f'<rect x="{x}" y="{_TOP + 22 * row}" width="14" height="14" fill="url(#hatch-{chart.name}-{bars.role})"/>'
            f'<text x="{x + 20}" y="{_TOP + 22 * row + 11}">{escape(bars.name)}</text>'
            for row, bars in enumerate(reversed(stacked(chart)))
        ]
    height = _HEIGHT - _TOP - _BOTTOM
    return [
        f'<text x="{x}" y="{_HEIGHT - _BOTTOM - label.place * height + 4:.1f}" '
        f'style="fill:{_colour(label.role)}">{escape(label.text)}</text>'
        for label in end_labels(chart)
    ]
