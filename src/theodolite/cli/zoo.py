"""``theodolite zoo``: the problems with planted obstacles, listed, trained and scored."""

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from theodolite.cli.output import as_json, bold, columns, page

if TYPE_CHECKING:
    from theodolite.cli.scoring import Failure, Judged
    from theodolite.problems import Problem


@click.group(
    invoke_without_command=True, short_help="Problems with planted obstacles, to list, to train and to score by."
)
@click.pass_context
def zoo(context: click.Context) -> None:
    """Problems whose obstacle is known, because it was planted; each with a clean twin."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@zoo.command("list")
@click.option("--json", "json_", is_flag=True, help="Print JSON instead of a table.")
def list_(*, json_: bool) -> None:
    """List the problems with what was planted in each."""
    from theodolite.problems import PROBLEMS

    if json_:
        names = ("name", "obstacle", "title", "truth", "steps", "floor", "twin_of", "family", "needs")
        click.echo(as_json([{name: getattr(one, name) for name in names} for one in PROBLEMS]))
        return
    rows = [(one.name, one.obstacle, str(one.steps), one.title) for one in PROBLEMS]
    click.echo(columns([("name", "obstacle", "steps", "what it is"), *rows], right=(2,)))


@zoo.command("run")
@click.argument("name")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of weights and batches.")
@click.option(
    "--run",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the run; runs/zoo/NAME by default. A run that is there is moved aside.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=20.0,
    show_default=True,
    help="About how long the diagnosis may take.",
)
def run_(name: str, *, seed: int, run: Path | None, seconds: float) -> None:
    """Train the problem NAME, diagnose it, and compare with the truth."""
    from theodolite.cli.watching import watch
    from theodolite.problems import problem

    chosen = problem(name)
    click.echo(f"{chosen.title}: {chosen.steps} steps.")
    folder = run or Path("runs/zoo") / name
    diagnosis = watch(chosen.build(seed), run=folder, seed=seed, seconds=seconds)
    click.echo(f"\n{page(diagnosis)}\n")
    agreement = "agrees" if diagnosis.obstacle == chosen.obstacle else f"is {diagnosis.obstacle}"
    click.echo(f"The truth is {chosen.obstacle}: {chosen.truth}")
    click.echo(bold(f"The verdict {agreement}."))
    click.echo(f"run: {folder}")


@zoo.command("score", short_help="Train and diagnose every problem; how many verdicts are right.")
@click.option("--only", default="", metavar="TEXT", help="Only problems whose name contains TEXT.")
@click.option("--family", default="", metavar="F", help="Only problems of the family F.")
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="How many seeds, from 0.")
@click.option(
    "--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Trainings at once, a core each."
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=20.0,
    show_default=True,
    help="About how long one diagnosis may take.",
)
@click.option(
    "--runs",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs/zoo/score"),
    show_default=True,
    help="Where the runs are kept.",
)
@click.option("--json", "json_", is_flag=True, help="Print JSON instead of tables.")
@click.option("--calibrate", is_flag=True, help="Print the counts from which probabilities are made, too.")
def score_(  # noqa: PLR0913 - one for each option
    *, only: str, family: str, seeds: int, jobs: int, seconds: float, runs: Path, json_: bool, calibrate: bool
) -> None:
    """Train every problem, diagnose it, and say how often the verdict is right.

    A run that is there already is not trained again but judged again, from its record: after a change of the rules
    that takes seconds, and a score that was stopped goes on where it was. After a change of the monitor or of a
    problem, remove its folder.
    """
    from theodolite.cli.scored import confidence_text, numbers, pages
    from theodolite.cli.scoring import score, tasks
    from theodolite.diagnosis.calibration import confidences

    work, left = tasks(_chosen(only, family), seeds, runs)
    for one in left:
        click.echo(f"{one.name} is left out: its data, {one.needs}, are not here (THEODOLITE_DATA).", err=True)
    judged, failures = score(work, seconds=seconds, jobs=jobs, tell=_teller(len(work)))
    _say_stored(judged, runs)
    click.echo(as_json(numbers(judged, failures)) if json_ else pages(judged))
    if calibrate:
        click.echo(f"\n{confidence_text(confidences(one.case for one in judged))}", err=json_)
    _complain_of(failures, len(work))


def _chosen(only: str, family: str) -> "Sequence[Problem]":
    """The problems that are asked for."""
    from theodolite.errors import SettingError
    from theodolite.problems import PROBLEMS

    families = sorted({one.family for one in PROBLEMS})
    if family and family not in families:
        near = difflib.get_close_matches(family, families, n=3, cutoff=0.4) or families
        raise SettingError(f"family must be that of a problem, got {family!r}. Perhaps one of {', '.join(near)}.")
    found = [one for one in PROBLEMS if only in one.name and family in ("", one.family)]
    if not found:
        raise SettingError(f"only must be part of a problem's name, got {only!r}. `theodolite zoo list` names them.")
    return found


def _teller(total: int) -> "Callable[[Judged | Failure], None]":
    """Lines of progress on the error stream."""
    from theodolite.cli.scored import told

    count = 0

    def tell(result: "Judged | Failure") -> None:
        nonlocal count
        count += 1
        click.echo(f"[{count:>{len(str(total))}}/{total}] {told(result)}", err=True)

    return tell


def _say_stored(judged: "Sequence[Judged]", runs: Path) -> None:
    """Which verdicts rest on runs of earlier times."""
    stored = sum(one.is_stored for one in judged)
    if stored:
        click.echo(
            f"{stored} of {len(judged)} runs were in {runs}, and were judged again without training. Remove a run's "
            "folder to train it again.",
            err=True,
        )


def _complain_of(failures: "Sequence[Failure]", total: int) -> None:
    """A score that misses cases does not pass for a whole one."""
    if failures:
        raise click.ClickException(f"{len(failures)} of {total} failed: {'; '.join(map(str, failures))}.")
