"""``theodolite diagnose`` and ``theodolite report``: a recorded run, judged and drawn without torch."""

from pathlib import Path

import click

from theodolite.cli.output import as_json, open_page, page

_OBSTACLE_FOUND = 2


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--json", "json_", is_flag=True, help="Print JSON instead of a page.")
@click.option("--exit-code", is_flag=True, help="End with exit code 2 if an obstacle is named.")
@click.pass_context
def diagnose(context: click.Context, run: Path, *, json_: bool, exit_code: bool) -> None:
    """Name the obstacle of a recorded run, from its record alone.

    In JSON, NaN is null, and infinities are the strings "Infinity" and "-Infinity".
    """
    from theodolite import diagnosis as room
    from theodolite.records import UNDETERMINED, Run

    found = room.diagnose(Run(run))
    click.echo(as_json(found) if json_ else page(found))
    if exit_code and found.obstacle not in {"none", UNDETERMINED}:
        context.exit(_OBSTACLE_FOUND)


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="The file; report.html in the run if none."
)
@click.option("--open", "open_", is_flag=True, help="Show the page in the browser.")
def report(run: Path, *, output: Path | None, open_: bool) -> None:
    """Write the page of a run: one HTML file that needs no network."""
    from theodolite import pages
    from theodolite.records import Run

    opened = Run(run)
    written = pages.report(opened, output or _inside(run) / "report.html")
    click.echo(f"report: {written}")
    if open_:
        open_page(written)


def _inside(run: Path) -> Path:
    """The folder of a run that was given by its folder or its ``run.db``, as it was given."""
    return run if run.is_dir() else run.parent
