"""``theodolite surface``, ``line``, ``spectrum``, ``draw``: pictures of a checkpoint, kept as numbers and redrawn."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from theodolite.cli.loading import ends_at, objective_of, point_at
from theodolite.errors import SettingError

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.landscape.projections import PrincipalPlane
    from theodolite.objective import Objective
    from theodolite.records.planes import Track
    from theodolite.records.results import Eigenpairs

_FLAT = (".npz", ".html", ".png", ".svg", ".pdf")
_SPACE = (".vts",)
_WAYS = (".vtp", ".gif")
"""What a picture can be written as: any; one in space; one with a way in it."""

_EXAMPLES = """\b
Examples:
  theodolite surface --objective mymodel:objective --at model.safetensors -o plane.npz -o plane.html
  theodolite surface --objective mymodel:objective --directions pca --run runs/first -o path.html
"""


_SEEDED = click.option("--seed", default=0, show_default=True, help="Seed of random directions and start vectors.")


def _shared(also: str = "") -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The options that every measuring command has; ``also`` tells of further files that one writes."""
    options = (
        click.option(
            "--objective", "factory", required=True, metavar="MODULE:FACTORY",
            help="Function without arguments that returns a theodolite.Objective, J(θ).",
        ),
        click.option(
            "-o", "--output", "outputs", multiple=True, required=True, type=click.Path(path_type=Path, dir_okay=False),
            help=f"Where to write: .npz keeps the numbers; .html .png .svg .pdf draw{also}. Repeatable.",
        ),
    )  # fmt: skip

    def decorated(function: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorated


@click.command(epilog=_EXAMPLES)
@_shared("; .vts too, and with --run .vtp and .gif")
@_SEEDED
@click.option("--at", "place", help="Checkpoint, run or RUN@STEP at the centre; the factory's own point if not given.")
@click.option(
    "--directions", type=click.Choice(["random", "eigen", "gradient", "pca"]), default="random", show_default=True,
    help="random: two Gaussian ones, orthogonal; eigen: those of the least and the greatest curvature; gradient: the "
    "negative gradient, and a random one orthogonal to it; pca: the first two principal components of --run.",
)  # fmt: skip
@click.option("--run", help="Run whose kept points are drawn on the plane, and span it if the directions are pca.")
@click.option(
    "--normalize", type=click.Choice(["filter", "layer", "none"]), default="filter", show_default=True,
    help="How random directions are scaled to the weights.",
)  # fmt: skip
@click.option(
    "--extent", type=float, default=None,
    help="How far to go, in lengths of the directions. If not given: 1 if they are random, as far as the points of the "
    "run go if pca, 0.1 ‖θ‖ otherwise.",
)  # fmt: skip
@click.option("--points", default=51, show_default=True, help="Points on each axis.")
@click.option(
    "--tolerance", type=float, default=None,
    help="Evaluate only where interpolation would be off by more than this share of the range, such as 0.01.",
)  # fmt: skip
@click.option("--preview", is_flag=True, help="In bfloat16: faster, two or three digits.")
@click.option("--log", "is_log", is_flag=True, help="Shades and heights on a logarithmic scale.")
@click.option("--workers", default=0, help="Processes to evaluate in; 0 is this one.")
def surface(factory: str, *, outputs: tuple[Path, ...], workers: int, **settings: Any) -> None:
    """The loss on a plane through a checkpoint or a run."""
    from theodolite.landscape import plane

    _check(outputs, _FLAT + _SPACE + (() if settings["run"] is None else _WAYS))
    objective = objective_of(factory)
    view = _principal_view(objective, settings) if settings["directions"] == "pca" else _view(objective, settings)
    number = settings["points"]
    with _executor(workers) as executor:
        record = plane(
            objective, view.origin, view.x, view.y,
            points=(number, number), extent=view.extent if settings["extent"] is None else settings["extent"],
            tracks=view.tracks, tolerance=settings["tolerance"], names=view.names,
            preview=settings["preview"], executor=executor, progress=True,
        )  # fmt: skip
    _write(replace(record, origin=view.label), outputs, scale="log" if settings["is_log"] else None)


class _View(NamedTuple):
    """What a surface is drawn over."""

    origin: "Tensor"
    x: "Tensor"
    y: "Tensor"
    names: tuple[str, str]
    label: str
    tracks: tuple["Track", ...] = ()
    extent: float | None = None


def _principal_view(objective: "Objective", settings: dict[str, Any]) -> _View:
    """The plane of the principal components of a run, with its points."""
    from theodolite.landscape import Trajectory, pca_plane
    from theodolite.plots.scales import percent

    if settings["run"] is None or settings["place"] is not None:
        raise SettingError(
            "--directions pca needs --run, whose last point is the centre, and no --at; got "
            f"--run {settings['run']} and --at {settings['place']}. Give the folder of a run with snapshots."
        )
    found = pca_plane(Trajectory(settings["run"], names=objective.names), objective=objective)
    first, second = (percent(float(share)) for share in found.components.shares)
    click.echo(f"components of {first} and {second} of the variance; {_off_plane(found)}")
    names = (f"component 1, {first} of the variance", f"component 2, {second} of the variance")
    return _View(*found.frame, names, f"step {found.track.steps[-1]}", (found.track,))


def _off_plane(found: "PrincipalPlane") -> str:
    """How far the points lie off their plane, and by how much J differs there."""
    import numpy as np

    gap = np.max(np.abs(found.gaps[np.isfinite(found.gaps)]), initial=0.0)
    return f"points lie up to {found.track.outside.max():.3g} off the plane, where J differs by up to {gap:.3g}"


def _view(objective: "Objective", settings: dict[str, Any]) -> _View:
    """Two directions from a point, with the points of a run if there is one."""
    from theodolite.landscape import Trajectory, track

    place, run = settings["place"], settings["run"]
    origin = objective.point() if place is None else point_at(objective, place)
    x, y, names = _directions(objective, origin, settings)
    tracks = []
    if run is not None:
        tracks = [track(Trajectory(run, names=objective.names), origin, x, y, objective=objective)]
    extent = 1.0 if settings["directions"] == "random" else 0.1
    return _View(origin, x, y, names, "origin" if place is None else Path(place).name, tuple(tracks), extent)


def _directions(
    objective: "Objective", origin: "Tensor", settings: dict[str, Any]
) -> tuple["Tensor", "Tensor", tuple[str, str]]:
    """Two directions and what they are; a curvature or a slope has no length of its own, and takes that of θ."""
    import torch

    from theodolite import landscape
    from theodolite.plots.scales import number

    generator = torch.Generator(objective.device).manual_seed(settings["seed"])
    length = float(origin.norm())
    if settings["directions"] == "eigen":
        pairs = landscape.eigen_directions(objective, origin, which=("largest", "smallest"), generator=generator)
        _tell_ends(pairs)
        high, low = torch.as_tensor(pairs.vectors.T).to(origin) * length
        top, bottom = (number(float(value), 3) for value in pairs.values)
        return high, low, (f"along λmax = {top}, in ‖θ‖", f"along λmin = {bottom}, in ‖θ‖")
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
@_shared()
@click.option("--start", required=True, help="Checkpoint, run or RUN@STEP at α = 0.")
@click.option("--end", required=True, help="Checkpoint, run or RUN@STEP at α = 1.")
@click.option("--points", default=51, show_default=True, help="Even points.")
@click.option("--refine", default=0, show_default=True, help="Further points where the curve bends.")
@click.option("--extend", default=0.25, show_default=True, help="How far beyond both ends, in lengths of the line.")
@click.option(
    "--batch-norm", type=click.Choice(["interpolated", "recomputed", "model"]), default=None,
    help="What running statistics are between the ends. If not given: interpolated where both checkpoints hold them, "
    "else those of the factory's model.",
)  # fmt: skip
@click.option("--preview", is_flag=True, help="In bfloat16: faster, two or three digits.")
def line(factory: str, *, start: str, end: str, outputs: tuple[Path, ...], **settings: Any) -> None:
    """The loss along the straight line between two checkpoints."""
    from theodolite.landscape import line as measured
    from theodolite.landscape.batch_norm import have_statistics

    _check(outputs, _FLAT)
    objective = objective_of(factory)
    ends = ends_at(objective, start, end)
    chosen = settings.pop("batch_norm")
    if chosen is None and have_statistics(objective, *ends):
        chosen = "interpolated"
    labels, statistics = (Path(start).name, Path(end).name), None if chosen == "model" else chosen
    record = measured(objective, *ends, labels=labels, batch_norm=statistics, progress=True, **settings)
    click.echo(f"barrier {record.barrier:.4g}, above the chord {record.barrier_above_chord:.4g}")
    _write(record, outputs)


@click.command()
@_shared()
@_SEEDED
@click.option("--at", "place", help="Checkpoint, run or RUN@STEP; the factory's own point if not given.")
@click.option("--probes", default=4, show_default=True, help="Random vectors that the density is taken over.")
@click.option("--ggn", "is_ggn", is_flag=True, help="Of the generalised Gauss-Newton matrix instead of the Hessian.")
def spectrum(
    factory: str, *, place: str | None, outputs: tuple[Path, ...], seed: int, probes: int, is_ggn: bool
) -> None:
    """The eigenvalues of the Hessian at a checkpoint."""
    import torch

    from theodolite.linalg import extreme_eigenvalues, ggn, hessian, spectral_density

    _check(outputs, _FLAT)
    objective = objective_of(factory)
    at = objective.point() if place is None else point_at(objective, place)
    generator = torch.Generator(objective.device).manual_seed(seed)
    with (ggn if is_ggn else hessian)(objective, at) as op:
        ends = extreme_eigenvalues(op, 1, 1, generator=generator)
        density = spectral_density(op, probes=probes, generator=generator)
    _tell_ends(ends.largest, ends.smallest)
    _write(density, outputs)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "-o", "--output", "outputs", multiple=True, required=True, type=click.Path(path_type=Path, dir_okay=False),
    help="A .html, .png, .svg, .pdf, .gif, .vts or .vtp file, as far as the record has such a picture. Repeatable.",
)  # fmt: skip
@click.option("--log", "is_log", is_flag=True, help="Shades and heights on a logarithmic scale.")
def draw(file: Path, *, outputs: tuple[Path, ...], is_log: bool) -> None:
    """Draw what was kept in an .npz file, without the model."""
    from theodolite.records import load

    _check(outputs, _FLAT + _SPACE + _WAYS)
    _write(load(file), outputs, scale="log" if is_log else None)


def _tell_ends(*pairs: "Eigenpairs") -> None:
    """The greatest and the least eigenvalue, with what bounds their error and how the search ended."""
    ends = [(value, error, one.status) for one in pairs for value, error in zip(one.values, one.residuals, strict=True)]
    for name, (value, error, status) in zip(("λmax", "λmin"), ends, strict=True):
        click.echo(f"{name} {value:.5g} ± {error:.2g} ({status})")


def _check(outputs: tuple[Path, ...], kinds: tuple[str, ...]) -> None:
    """Refuse files before anything is measured for them."""
    for path in outputs:
        if path.suffix.lower() not in kinds:
            hint = " or give --run, whose way they hold" if path.suffix.lower() in _WAYS and _SPACE[0] in kinds else ""
            raise SettingError(f"--output must end in {', '.join(kinds)}, got {str(path)!r}. Rename the file{hint}.")


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
