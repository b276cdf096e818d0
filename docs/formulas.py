"""Formulas in pages as outlines: TeX is set by Matplotlib and put into the page, which then needs no network."""

import html
import re

from docutils import nodes
from matplotlib.font_manager import FontProperties
from matplotlib.mathtext import MathTextParser
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

_FONT = FontProperties(math_fontfamily="stix")
_SIZE = 16  # units of the drawing for one em of the text around it
_LETTERS = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C", Path.CLOSEPOLY: "Z"}


def drawing(tex: str, scale: float = 1.0) -> str:
    """A formula as an inline SVG that takes the colour and the size of the text around it.

    Args:
        tex: What stands between the dollars; Matplotlib's part of TeX.
        scale: Size of the letters over those of the text.

    Returns:
        The element, its baseline on that of the line.
    """
    _, _, depth, *_ = MathTextParser("path").parse(f"${tex}$", dpi=72, prop=_FONT.copy())
    depth *= _SIZE / _FONT.get_size_in_points()
    path = TextPath((0, 0), f"${tex}$", size=_SIZE, prop=_FONT)
    box = path.get_extents()
    left, low = box.x0 - 1, min(box.y0, -depth) - 1
    width, height = box.x1 + 1 - left, box.y1 + 1 - low
    em = scale / _SIZE
    return (
        f'<svg class="formula" role="img" aria-label="{html.escape(tex)}" viewBox="{left:.1f} {-box.y1 - 1:.1f} '
        f'{width:.1f} {height:.1f}" style="width:{width * em:.2f}em;height:{height * em:.2f}em;'
        f'vertical-align:{low * em:.2f}em;max-width:100%"><path fill="currentColor" d="{_outline(path)}"/></svg>'
    )


def _outline(path: Path) -> str:
    """The path in the letters of SVG, whose y points down."""
    parts = []
    for points, code in path.iter_segments(simplify=False, curves=True):
        pairs = points.reshape(-1, 2) if code != Path.CLOSEPOLY else []
        parts.append(_LETTERS[code] + " ".join(f"{x:.2f},{-y:.2f}" for x, y in pairs))
    return "".join(parts)


def _inline(writer: HTML5Translator, node: nodes.math) -> None:
    writer.body.append(drawing(node.astext(), scale=1.05))
    raise nodes.SkipNode


def _display(writer: HTML5Translator, node: nodes.math_block) -> None:
    tex = re.sub(r"\\frac\b", r"\\dfrac", node.astext())  # fractions of full size, as TeX sets them in displays
    lines = [drawing(" ".join(line.split()), scale=1.15) for line in tex.split(r"\\")]
    style = "text-align:center;margin:1.2em 0;line-height:2.2"
    writer.body.append(f'<div class="math" style="{style}">{"<br>".join(lines)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Take over all math in HTML."""
    app.add_html_math_renderer("outlines", (_inline, None), (_display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
