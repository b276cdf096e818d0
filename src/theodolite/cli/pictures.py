"""``theodolite surface``, ``line``, ``spectrum``, ``draw``: pictures of a checkpoint, kept as numbers and redrawn."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from theodolite.cli.loading import objective_of, point_at, tensors_at
from theodolite.errors import SettingError

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.objective import Objective

_PICTURES = (".html", ".png", ".svg", ".pdf")
_FILES = (".npz", ".vts", ".vtp", ".gif", *_PICTURES)


def _shared(function: Callable[..., None]) -> Callable[..., None]:
    """The options that every measuring command has."""
    options = (
        click.option(
            "--objective", "factory", required=True, metavar="MODULE:FACTORY", help="Function that returns J(θ)."
        ),
        click.option("--seed", default=0, show_default=True, help="Seed of random directions and start vectors."),
        click.option(
            "-o", "--output", "outputs", multiple=True, required=True, type=click.Path(path_type=Path, dir_okay=False),
            help="Where to write: .npz keeps the numbers; .html .png .svg .pdf draw; .vts is for ParaView. Repeatable.",
        ),
    )  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


@click.command()
@_shared
@click.option("--at", "place", help="Checkpoint, run or RUN@STEP at the centre; the factory's own point if not given.")
@click.option(
    "--directions", type=click.Choice(["random", "eigen", "gradient"]), default="random", show_default=True,
    help="random: two Gaussian ones, orthogonal; eigen: those of the least and the greatest curvature; gradient: the "
    "negative gradient, and a random one orthogonal to it.",
)  # fmt: skip
@click.option(
    "--normalize", type=click.Choice(["filter", "layer", "none"]), default="filter", show_default=True,
    help="How random directions are scaled to the weights.",
)  # fmt: skip
@click.option(
    "--extent", type=float, default=None,
    help="How far to go, in lengths of the directions: 1 if they are random, 0.1 ‖θ‖ otherwise, if not given.",
)  # fmt: skip
@click.option("--points", default=51, show_default=True, help="Points on each axis.")
@click.option(
    "--tolerance", type=float, default=None,
    help="Evaluate only where interpolation would be off by more than this share of the range, such as 0.01.",
)  # fmt: skip
@click.option("--preview", is_flag=True, help="In bfloat16: faster, two or three digits.")
@click.option("--log", "is_log", is_flag=True, help="Shades and heights on a logarithmic scale.")
@click.option("--workers", default=0, help="Processes to evaluate in; 0 is this one.")
def surface(factory: str, *, place: str | None, outputs: tuple[Path, ...], workers: int, **settings: Any) -> None:
    r"""The loss on a plane through a checkpoint.

    \b
    Example:
      theodolite surface --objective mymodel:objective --at model.safetensors -o plane.npz -o plane.html
    """
    from theodolite.landscape import plane

    _check(outputs)
    objective = objective_of(factory)
    origin = objective.point() if place is None else point_at(objective, place)
    x, y, names = _directions(objective, origin, settings)
    number = settings["points"]
    usual = 1.0 if settings["directions"] == "random" else 0.1
    extent = usual if settings["extent"] is None else settings["extent"]
    with _executor(workers) as executor:
        record = plane(
            objective, origin, x, y, points=(number, number), extent=extent,
            tolerance=settings["tolerance"], preview=settings["preview"], executor=executor, progress=True, names=names,
        )  # fmt: skip
    _write(record, outputs, scale="log" if settings["is_log"] else None)


def _directions(
    objective: "Objective", origin: "Tensor", settings: dict[str, Any]
) -> tuple["Tensor", "Tensor", tuple[str, str]]:
    """Two directions and what they are; a curvature or a slope has no length of its own, and takes that of θ."""
    import torch

    from theodolite import landscape

    generator = torch.Generator(objective.device).manual_seed(settings["seed"])
    length = float(origin.norm())
    if settings["directions"] == "eigen":
        pairs = landscape.eigen_directions(objective, origin, which=("largest", "smallest"), generator=generator)
        high, low = torch.as_tensor(pairs.vectors.T).to(origin) * length
        top, bottom = (float(value) for value in pairs.values)
        return high, low, (f"along λmax = {top:.3g}, in ‖θ‖", f"along λmin = {bottom:.3g}, in ‖θ‖")
    normalize = None if settings["normalize"] == "none" else settings["normalize"]
    if settings["directions"] == "gradient":
        x = landscape.gradient_direction(objective, origin) * length
        random = landscape.random_direction(objective, at=origin, normalize=normalize, generator=generator)
        y = landscape.orthogonalised(random, x)
        return x, y * (length / float(y.norm())), ("downhill, in ‖θ‖", "along a random direction, in ‖θ‖")
    x, y = landscape.orthogonal_pair(objective, at=origin, normalize=normalize, generator=generator)
    scaled = "" if normalize is None else f", {normalize}-normalised"
    return x, y, (f"along a random direction{scaled}", f"along another one{scaled}")


@click.command()
@_shared
@click.option("--start", required=True, help="Checkpoint, run or RUN@STEP at α = 0.")
@click.option("--end", required=True, help="Checkpoint, run or RUN@STEP at α = 1.")
@click.option("--points", default=51, show_default=True, help="Even points.")
@click.option("--refine", default=0, show_default=True, help="Further points where the curve bends.")
@click.option("--extend", default=0.25, show_default=True, help="How far beyond both ends, in lengths of the line.")
@click.option(
    "--batch-norm", type=click.Choice(["interpolated", "recomputed"]), default=None,
    help="What running statistics are between the ends; those of the factory's model if not given.",
)  # fmt: skip
@click.option("--preview", is_flag=True, help="In bfloat16: faster, two or three digits.")
def line(factory: str, *, start: str, end: str, outputs: tuple[Path, ...], **settings: Any) -> None:
    """The loss along the straight line between two checkpoints."""
    from theodolite.landscape import line as measured

    _check(outputs)
    objective = objective_of(factory)
    settings.pop("seed")
    record = measured(
        objective,
        tensors_at(start),
        tensors_at(end),
        labels=(Path(start).name, Path(end).name),
        progress=True,
        **settings,
    )
    click.echo(f"barrier {record.barrier:.4g}, above the chord {record.barrier_above_chord:.4g}")
    _write(record, outputs)


@click.command()
@_shared
@click.option("--at", "place", help="Checkpoint, run or RUN@STEP; the factory's own point if not given.")
@click.option("--probes", default=4, show_default=True, help="Random vectors that the density is taken over.")
@click.option("--ggn", "is_ggn", is_flag=True, help="Of the generalised Gauss-Newton matrix instead of the Hessian.")
def spectrum(
    factory: str, *, place: str | None, outputs: tuple[Path, ...], seed: int, probes: int, is_ggn: bool
) -> None:
    """The eigenvalues of the Hessian at a checkpoint."""
    import torch

    from theodolite.linalg import extreme_eigenvalues, ggn, hessian, spectral_density

    _check(outputs)
    objective = objective_of(factory)
    at = objective.point() if place is None else point_at(objective, place)
    generator = torch.Generator(objective.device).manual_seed(seed)
    with (ggn if is_ggn else hessian)(objective, at) as op:
        ends = extreme_eigenvalues(op, 1, 1, generator=generator)
        density = spectral_density(op, probes=probes, generator=generator)
    for name, end in (("λmax", ends.largest), ("λmin", ends.smallest)):
        click.echo(f"{name} {end.values[0]:.5g} ± {end.residuals[0]:.2g} ({end.status})")
    _write(density, outputs)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "-o", "--output", "outputs", multiple=True, required=True, type=click.Path(path_type=Path, dir_okay=False),
    help="A .html, .png, .svg, .pdf or .vts file. Repeatable.",
)  # fmt: skip
@click.option("--log", "is_log", is_flag=True, help="Shades and heights on a logarithmic scale.")
def draw(file: Path, *, outputs: tuple[Path, ...], is_log: bool) -> None:
    """Draw what was kept in an .npz file, without the model."""
    from theodolite.records import load

    _check(outputs)
    _write(load(file), outputs, scale="log" if is_log else None)


def _check(outputs: tuple[Path, ...]) -> None:
    for path in outputs:
        if path.suffix.lower() not in _FILES:
            raise SettingError(f"--output must end in {', '.join(_FILES)}, got {str(path)!r}. Rename the file.")


def _executor(workers: int) -> Any:
    """Processes, or none."""
    from concurrent.futures import ProcessPoolExecutor
    from contextlib import nullcontext
    from multiprocessing import get_context

    if workers < 0:
        raise SettingError(f"--workers must not be negative, got {workers}. 0 evaluates in this process.")
    return ProcessPoolExecutor(workers, get_context("spawn")) if workers else nullcontext()


def _write(record: Any, outputs: tuple[Path, ...], **drawing: Any) -> None:
    """Keep and draw a record; one line a file."""
    from theodolite.plots import save_figure
    from theodolite.records import save

    for path in outputs:
        if path.suffix.lower() == ".npz":
            save(record, path)
        else:
            save_figure(record, path, **drawing)
        click.echo(path)
