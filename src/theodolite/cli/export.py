"""``theodolite export``: a run's series as CSV or JSON, its pictures as PNG, SVG or PDF."""

import csv
from collections.abc import Mapping
from io import BytesIO, StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import click

from theodolite.cli.output import as_json, write_file
from theodolite.errors import SettingError

if TYPE_CHECKING:
    from theodolite.records import Run, Series

_TABLES, _FIGURES = (".csv", ".json"), (".png", ".svg", ".pdf")


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A .csv or .json file; CSV is printed if there is none.",
)
@click.option("--series", metavar="NAME,NAME", help="Which series; all if none are named.")
@click.option(
    "--figure",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw the pictures of the run into a .png, .svg or .pdf file instead.",
)
def export(run: Path, *, output: Path | None, series: str | None, figure: Path | None) -> None:
    """Export the series of a run, or its pictures.

    CSV has a row for each step. A cell is empty where nothing was recorded, and "nan" where NaN was. JSON keeps the
    steps and values of each series; NaN is null, infinities are "Infinity" and "-Infinity".
    """
    from theodolite.records import Run

    _check_suffix(output, _TABLES, "--output")
    _check_suffix(figure, _FIGURES, "--figure")
    _check_alone(figure, output, series)
    opened = Run(run)
    if figure is not None:
        write_file(figure, _drawn(opened, figure.suffix.lower()))
        return
    chosen = {name: opened.series(name) for name in _names(opened, series)}
    if output is None:
        click.echo(_as_csv(chosen), nl=False)
    else:
        text = _as_csv(chosen) if output.suffix.lower() == ".csv" else f"{_as_json(opened, chosen)}\n"
        write_file(output, text.encode())


def _check_suffix(path: Path | None, known: tuple[str, ...], option: str) -> None:
    if path is not None and path.suffix.lower() not in known:
        raise SettingError(f"{option} must end in {', '.join(known)}, got {str(path)!r}. Rename the file.")


def _check_alone(figure: Path | None, output: Path | None, series: str | None) -> None:
    if figure is not None and (output is not None or series is not None):
        raise SettingError("--figure must stand alone; it came with --output or --series. Make two calls.")


def _names(run: "Run", wanted: str | None) -> tuple[str, ...]:
    """The series that are asked for, each once."""
    if wanted is None:
        return run.names
    names = tuple(dict.fromkeys(name.strip() for name in wanted.split(",") if name.strip()))
    if not names:
        raise SettingError(f"--series must name series, got {wanted!r}. `theodolite show` lists those of a run.")
    return names


def _as_csv(chosen: "Mapping[str, Series]") -> str:
    steps = sorted({int(step) for one in chosen.values() for step in one.steps})
    known = [{int(step): float(value) for step, value in zip(s.steps, s.values, strict=True)} for s in chosen.values()]
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("step", *chosen))
    writer.writerows((step, *(values.get(step, "") for values in known)) for step in steps)
    return text.getvalue()


def _as_json(run: "Run", chosen: "Mapping[str, Series]") -> str:
    series = {name: {"steps": one.steps, "values": one.values} for name, one in chosen.items()}
    return as_json({"run": str(run.path), "series": series})


def _drawn(run: "Run", suffix: str) -> bytes:
    from theodolite.plots import figure_run

    page = BytesIO()
    figure_run(run).savefig(page, format=suffix.removeprefix("."), dpi=150)  # 150: sharp on paper at half a page
    return page.getvalue()
