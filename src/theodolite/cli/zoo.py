"""``theodolite zoo``: the problems with planted obstacles, listed and trained."""

from pathlib import Path

import click

from theodolite.cli.output import as_json, bold, columns, page


@click.group(invoke_without_command=True, short_help="Problems with planted obstacles, to list and to train.")
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
        names = ("name", "obstacle", "title", "truth", "steps", "floor", "twin_of")
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
