"""``theodolite ls`` and ``theodolite show``: which runs there are, and what is in one."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from theodolite.cli.output import as_json, columns, number, state
from theodolite.errors import RunError

if TYPE_CHECKING:
    from theodolite.records import Event, Run

_MOST_EVENTS = 20
"""So many events are shown, from both ends of the run."""


@click.command(short_help="List the runs in a folder.")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--json", "json_", is_flag=True, help="Print JSON instead of a table.")
def ls(folder: Path | None, *, json_: bool) -> None:
    """List the runs in FOLDER, at any depth; in `runs` if none is given."""
    from theodolite.records import list_runs

    top = folder or (Path("runs") if Path("runs").is_dir() else Path())
    rows = [_row(path, top) for path in list_runs(top)]
    if json_:
        click.echo(as_json(rows))
    elif not rows:
        click.echo(f"There is no run in {top}. `theodolite demo` makes one.", err=True)
    else:
        head = ("run", "steps", "last loss", "verdict", "state", "started")
        click.echo(columns([head, *map(_cells, rows)], right=(1, 2)))


def _row(path: Path, top: Path) -> dict[str, Any]:
    """What the list says of a run; a damaged one is told, and does not hide the others."""
    from theodolite.records import Run

    name = str(path.relative_to(top)) if path != top else path.absolute().name
    row: dict[str, Any] = {"name": name, "path": str(path), "state": "unreadable"}
    try:
        run = Run(path)
        losses = run.series("loss").values
        judged = run.result("Diagnosis")
        return row | {
            "steps": run.num_steps,
            "loss": float(losses[-1]) if losses.size else None,
            "verdict": None if judged is None else judged.obstacle,
            "state": state(run),
            "started": run.metadata.get("created"),
        }
    except RunError as error:
        return row | {"error": str(error)}


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    if "error" in row:
        return row["name"], "–", "–", "–", row["state"], "–"
    return (
        row["name"],
        str(row["steps"]),
        number(row["loss"]),
        row["verdict"] or "–",
        row["state"],
        _local(row["started"]),
    )


def _local(moment: Any) -> str:
    """A moment in ISO format as the reader's clock shows it."""
    try:
        return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M")
    except (TypeError, ValueError):
        return "–"


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--json", "json_", is_flag=True, help="Print JSON instead of text.")
def show(run: Path, *, json_: bool) -> None:
    """Show what is in a run: facts, series, events, results."""
    from theodolite.records import Run

    opened = Run(run)
    if json_:
        click.echo(as_json(_contents(opened)))
        return
    for title, lines in _chapters(opened):
        if lines:
            click.echo(f"{title}\n{lines}\n")


def _contents(run: "Run") -> dict[str, Any]:
    series = {name: run.series(name) for name in run.names}
    return {
        "path": str(run.path),
        "state": state(run),
        "steps": run.num_steps,
        "metadata": run.metadata,
        "series": {
            name: {"count": len(one.steps), "last_step": one.steps[-1], "last": one.values[-1]}
            for name, one in series.items()
        },
        "arrays": {name: len(run.array_steps(name)) for name in run.array_names},
        "events": run.events(),
        "results": {kind: len(found) for kind, found in _results(run)},
        "snapshots": run.snapshot_steps,
    }


def _chapters(run: "Run") -> tuple[tuple[str, str], ...]:
    """Title and lines of each part of the text."""
    from theodolite.pages.tables import facts

    known = [("run", str(run.path)), *(pair for pair in facts(run) if pair[0] != "state"), ("state", state(run))]
    series = [
        (name, str(len(one.steps)), f"{one.steps[-1]}", number(float(one.values[-1])))
        for name, one in ((name, run.series(name)) for name in run.names)
    ]
    arrays = [(name, f"at {len(run.array_steps(name))} steps") for name in run.array_names]
    stored = [(kind, _brief(found)) for kind, found in _results(run)]
    snapshots = [("snapshots", f"of the parameters at step {', '.join(map(str, run.snapshot_steps))}")]
    head = ("name", "values", "last step", "last value")
    return (
        ("Facts", columns(known, indent="  ")),
        ("Series", columns([head, *series], right=(1, 2, 3), indent="  ") if series else ""),
        ("Arrays and parameters", columns([*arrays, *(snapshots if run.snapshot_steps else [])], indent="  ")),
        ("Events", _event_lines(run.events())),
        ("Results", columns(stored, indent="  ")),
    )


def _event_lines(events: "tuple[Event, ...]") -> str:
    """The first and the last events, as many as are read with pleasure."""
    head, tail = events[: _MOST_EVENTS // 2], events[_MOST_EVENTS // 2 :][-_MOST_EVENTS // 2 :]
    rows = [_event_cells(event) for event in head]
    if left_out := len(events) - len(head) - len(tail):
        rows.append(("...", f"{left_out} more", ""))
    return columns([*rows, *(_event_cells(event) for event in tail)], right=(0,), indent="  ") if rows else ""


def _event_cells(event: "Event") -> tuple[str, str, str]:
    detail = ", ".join(f"{key} {value}" for key, value in event.detail.items())
    return f"step {event.step}", event.kind, " ".join(detail.split())


def _results(run: "Run") -> list[tuple[str, tuple[Any, ...]]]:
    """Every class of which the run holds results, with these."""
    from theodolite.records.encoding import RECORDS

    found = ((cls.__name__, run.results(cls.__name__)) for cls in RECORDS)
    return [(kind, records) for kind, records in found if records]


def _brief(records: tuple[Any, ...]) -> str:
    """The last of some results in a few words."""
    from theodolite.records import Diagnosis, Line, Survey, Trials

    match records[-1]:
        case Diagnosis() as one:
            words = one.obstacle
        case Trials() as one:
            words = f"{len(one.remedies)} remedies tried, {sum(r.helped for r in one.remedies)} helped"
        case Line() as one:
            words = f"from {one.start} to {one.end}, barrier {number(one.barrier)}"
        case Survey() as one:
            words = f"at step {one.step}, loss {one.loss}, {one.status}"
        case other:
            words = type(other).__name__
    return words if len(records) == 1 else f"{words} (the last of {len(records)})"
