"""``theodolite demo``: a real training on real digits, into an obstacle, and what Theodolite says of it."""

import time
from dataclasses import replace
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, cast

import click

from theodolite.cli.output import bold, open_page, page

if TYPE_CHECKING:
    from theodolite.problems import Batches, Training
    from theodolite.problems.demo import Demo

OBSTACLES = (
    "none",
    "step_too_small",
    "step_too_large",
    "gradient_noise",
    "saddle_point",
    "local_minimum",
    "plateau",
    "dead_units",
    "ill_conditioning",
    "cliff",
    "no_minimum",
    "nonlocal_structure",
    "overfitting",
)
"""Those of ``problems.demo.DEMOS``, which could not be listed without loading torch; a test compares them."""

_DEFAULT = "saddle_point"
_LENGTH = 3
"""Times the steps that the verdict needs: some seconds of training, so that the pictures have points. With six times, a
step that is too large has blown up and come half-way back on two seeds of four, and passes for a loss that falls."""

_SECONDS = 20.0
"""For survey and remedies: with the start of torch (up to 8 s) and some seconds of training well under a minute."""


@click.command(short_help="Train on real digits into an obstacle, and diagnose it.")
@click.option(
    "--obstacle",
    type=click.Choice(OBSTACLES),
    default=_DEFAULT,
    metavar="NAME",
    help=f"What is planted: {', '.join(OBSTACLES)}. By default one that surprises.",
)
@click.option("--clean", is_flag=True, help="Train the healthy twin: the same without what was planted.")
@click.option(
    "--run",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs/demo"),
    show_default=True,
    help="Folder of the run; a run that is there is moved aside.",
)
@click.option("--steps", type=click.IntRange(min=1), help="How many steps; about 2,000 by default.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of weights and batches.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=_SECONDS,
    show_default=True,
    help="About how long the diagnosis may take.",
)
@click.option("--open", "open_", is_flag=True, help="Show the report in the browser.")
def demo(obstacle: str, *, clean: bool, run: Path, steps: int | None, seed: int, seconds: float, open_: bool) -> None:
    """Train a small network on real digits into an obstacle, and diagnose it.

    Takes less than a minute. First it trains, then Theodolite looks for the obstacle, then you learn what had been
    planted. The last line names the report.
    """
    from theodolite.cli.watching import watch
    from theodolite.pages import report
    from theodolite.problems.demo import demo as planted

    started = time.perf_counter()
    plan = planted(obstacle)
    problem = plan.clean if clean else plan.ill
    is_timed = problem.name.startswith("demo-")  # the others come from the zoo, where their length is part of the truth
    count = steps or (_LENGTH if is_timed else 1) * problem.steps
    training = problem.build(seed)
    training = replace(training, batches=replace(cast("Batches", training.batches), steps=count))
    _say(_introduction(training, count))
    diagnosis = watch(training, run=run, seed=seed, seconds=seconds)
    click.echo(f"\n{page(diagnosis)}\n")
    _say(_truth(plan, clean=clean))
    _say(bold(_comparison(diagnosis.obstacle, problem.obstacle)))
    if count < problem.steps:
        _say(f"This was made for {problem.steps} steps or more; after {count} there may be too little to judge by.")
    written = report(run, run / "report.html", diagnosis=diagnosis)
    click.echo(f"\nAll this took {time.perf_counter() - started:.0f} s. The pictures are in the report:")
    click.echo(f"report: {written}")
    if open_:
        open_page(written)


def _say(text: str) -> None:
    click.echo(fill(text, 88, break_on_hyphens=False))


def _introduction(training: "Training", steps: int) -> str:
    """What is trained, without a word on what is wrong with it."""
    count = sum(tensor.numel() for tensor in training.model.parameters())
    kind = "network" if any(True for _ in training.model.children()) else "model"
    return (
        f"Training a small {kind} of {count:,} parameters on {len(training.data[0]):,} real examples, {steps:,} "
        f"steps of {type(training.optimizer).__name__}. What was planted to get in its way, if anything, is told at "
        "the end."
    )


def _truth(plan: "Demo", *, clean: bool) -> str:
    """What was planted, in words."""
    if plan.obstacle == "none":
        return "What had been planted: nothing. This training is healthy."
    if clean:
        return f"What had been planted: nothing. This was the healthy twin of the training with {plan.obstacle}."
    return f"What had been planted: {plan.obstacle}. {plan.planted}"


def _comparison(verdict: str, truth: str) -> str:
    """Whether the verdict is what was planted."""
    if verdict == truth:
        return "Theodolite's verdict agrees."
    return f"Theodolite's verdict does not agree: it says {verdict}, where the truth is {truth}."
