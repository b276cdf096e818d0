"""How do pictures stand on a page of their own: one HTML file that needs nothing else, not even a network?"""

import json
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import Any

from theodolite.plots.animations import has_way, plotly_animation
from theodolite.plots.bundle import packed_plotly, policy, unpacker
from theodolite.plots.marks import Absent, Chart, Scene
from theodolite.plots.palette import themes
from theodolite.plots.plotly_charts import plotly_chart
from theodolite.plots.plotly_scenes import plotly_scene


def page(pictures: Sequence[Chart | Scene | Absent], *, is_moving: bool = False) -> str:
    """Pictures that can be turned, zoomed and hovered over, each with its words, light or dark as the system is.

    Args:
        pictures: The pictures.
        is_moving: Whether ways grow when one plays them; a picture without ways stands still.

    Returns:
        HTML. The same pictures give the same text.

    Limits: 2 MB, for plotly is inside, compressed; browsers unpack it since 2023.
    """
    figures: list[dict[str, Any]] = []
    body = "\n".join(_figure(one, figures, is_moving=is_moving) for one in pictures)
    script, style = _file("picture.js"), _file("picture.css")
    title = escape(pictures[0].title if pictures else "No picture")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy(script)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n<title>{title}</title>\n<style>\n{style}</style>\n</head>\n'
        f"<body>\n<main>\n{body}\n</main>\n"
        f'<script type="application/json" id="figures">{_json(figures)}</script>\n'
        f'<script type="application/json" id="palette">{_json(themes())}</script>\n'
        f'<script type="text/plain" id="plotly">{packed_plotly()}</script>\n'
        f"<script>{unpacker()}</script>\n<script>{script}</script>\n</body>\n</html>\n"
    )


def _figure(picture: Chart | Scene | Absent, figures: list[dict[str, Any]], *, is_moving: bool) -> str:
    """A picture with its words; its plotly figure is added to ``figures``."""
    head = f"<h2>{escape(picture.title)}</h2>"
    if isinstance(picture, Absent):
        return f'<figure>\n{head}\n<p class="absent">{escape(picture.reason)}</p>\n</figure>'
    moves = is_moving and has_way(picture)
    figures.append(plotly_animation(picture) if moves else still(picture))
    kind = "plot" + " space" * isinstance(picture, Scene) + " moving" * moves
    notes = "".join(f"<li>{escape(note)}</li>" for note in picture.notes)
    label = escape(f"{picture.title}. {picture.takeaway}")
    words = f'<p>{escape(picture.takeaway)}</p>\n<p class="reading">{escape(picture.reading)}</p>'
    place = f'<div class="{kind}" role="img" aria-label="{label}" data-figure="{len(figures) - 1}"></div>'
    return f'<figure>\n<figcaption>{head}\n{words}</figcaption>\n{place}\n<ul class="notes">{notes}</ul>\n</figure>'


def still(picture: Chart | Scene) -> dict[str, Any]:
    """A picture as a plotly figure.

    Args:
        picture: The picture.

    Returns:
        ``data`` and ``layout`` of strict JSON values, colours by name.
    """
    return plotly_chart(picture) if isinstance(picture, Chart) else plotly_scene(picture)


def _file(name: str) -> str:
    return files("theodolite.plots").joinpath(name).read_text(encoding="utf-8")


def _json(value: object) -> str:
    """Strict JSON in which nothing ends the script that holds it."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
