"""How is a run read: one HTML file that needs nothing else, not even a network."""

import contextlib
import os
import tempfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from theodolite.diagnosis import diagnose
from theodolite.pages.tables import Table, chart_tables, event_table, facts
from theodolite.pages.verdicts import finding_rows, opening, remedy_rows, window_rows
from theodolite.plots.bundle import packed_plotly, policy, unpacker
from theodolite.plots.gallery import charts
from theodolite.plots.marks import Absent, Chart
from theodolite.plots.obstacles import charts_obstacle
from theodolite.plots.palette import themes
from theodolite.plots.plotly_charts import plotly_chart
from theodolite.plots.svg import svg_chart
from theodolite.records.diagnosis import Diagnosis
from theodolite.records.run import Run


@dataclass(frozen=True)
class Picture:
    """A chart on the page: its words, its static drawing and its data as tables."""

    chart: Chart
    svg: Markup
    tables: tuple[Table, ...]


def report(run: Run | str | Path, path: str | Path, *, diagnosis: Diagnosis | None = None) -> Path:
    """Write the page of a run: the verdict in words, its evidence, the pictures, the facts.

    The file is self-contained and makes no request; it replaces an older one in one step, so that a reader never
    finds half a page. The same run gives the same bytes.

    Args:
        run: The run, or its folder.
        path: The HTML file to write; its folder is made if need be.
        diagnosis: What is said of the run; by default the diagnosis stored in it, or else one judged from its record.

    Returns:
        The file.
    """
    opened = run if isinstance(run, Run) else Run(run)
    judged = diagnosis or opened.result("Diagnosis") or diagnose(opened)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    _replace(target, compose(opened, judged))
    return target


def compose(run: Run, diagnosis: Diagnosis) -> str:
    """The page as text.

    Args:
        run: The run.
        diagnosis: What is said of it.

    Returns:
        HTML.
    """
    lead, drawn, absent = _pictures(run, diagnosis)
    first = opening(diagnosis)
    every = [*lead, *drawn]
    scripts = {name: Markup(_script(name)) for name in ("theme.js", "page.js")}
    return _template().render(
        name=str(run.metadata.get("name") or run.path.name),
        opening=first,
        lead=lead,
        pictures=drawn,
        absent=absent,
        windows=window_rows(diagnosis.timeline),
        findings=finding_rows(diagnosis),
        remedies=remedy_rows(diagnosis),
        facts=facts(run),
        events=event_table(run.events()),
        figures={one.chart.name: plotly_chart(one.chart) for one in every},
        palette=themes(),
        titles={one.chart.name: one.chart.title for one in every},
        style=Markup(_file("style.css")),
        theme_script=scripts["theme.js"],
        page_script=scripts["page.js"],
        plotly=packed_plotly(),
        unpacker=Markup(unpacker()),  # code, named by its sum: not one byte of it may be escaped
        policy=policy(*scripts.values()),
    )


def _pictures(run: Run, diagnosis: Diagnosis) -> tuple[list[Picture], list[Picture], list[Absent]]:
    """The picture of the obstacle, the other ones, and those that cannot be drawn; each name once."""
    shown = charts_obstacle(run, diagnosis)
    named = {panel.name for panel in shown}
    others = [one for one in charts(run) if one.name not in named]
    lead = [_picture(one) for one in shown if isinstance(one, Chart)]
    drawn = [_picture(one) for one in others if isinstance(one, Chart)]
    return (
        lead or drawn[:1],
        drawn if lead else drawn[1:],
        [one for one in (*shown, *others) if isinstance(one, Absent)],
    )


def _picture(chart: Chart) -> Picture:
    return Picture(chart, Markup(svg_chart(chart)), chart_tables(chart))  # the SVG escapes its texts


def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_file("template.html.j2"))


def _file(name: str) -> str:
    return files("theodolite.pages").joinpath(name).read_text(encoding="utf-8")


def _script(name: str) -> str:
    return _file(name).strip()


def _replace(target: Path, text: str) -> None:
    """Write beside the target and rename: a reader finds the old file or the new one, whole."""
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        Path(name).chmod(0o644)
        Path(name).replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
