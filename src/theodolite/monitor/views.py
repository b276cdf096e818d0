"""Which planes and lines does the picture of an obstacle need, beyond what a survey holds? They are measured here."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theodolite.landscape.planes import beside, grid, plane, project
from theodolite.linalg import extreme_eigenvalues, hessian, largest_eigenvalues
from theodolite.monitor.corrected import corrected_path
from theodolite.monitor.ground import REACH, Ground, usual_norm
from theodolite.monitor.survey import Surveyed
from theodolite.objective import Objective
from theodolite.probes.samples import rounding_of, weighted_mean
from theodolite.probes.terrain import lowest_at_random
from theodolite.probes.units import dead_units, layer_norms
from theodolite.probes.whatifs import unit
from theodolite.records.planes import Layers, Plane, Section, Sections, Track

View = Plane | Sections | Layers

_FEWEST_POINTS, _MOST_POINTS = 11, 41
"""Points on each side of a plane."""

_LINE_POINTS = 41
_RANDOM_LINES = 4
_PRODUCTS = 40
_FOLLOWED, _AFTER = 24, 6
"""Plain steps that are followed in a plane; and beyond a wall."""

_CORRECTED = 3
_TIMED = 3
_MOST_FOLLOWED = 200
_SPIKE = 10.0
"""A step this many times as long as the median one was thrown."""


@dataclass(frozen=True)
class _Look:
    """What a view is made from."""

    ground: Ground
    surveyed: Surveyed
    deadline: float

    @property
    def judge(self) -> Objective:
        """J of all held examples."""
        return self.ground.split.whole

    @property
    def reach(self) -> float:
        """A tenth of the weights, or of what weights usually are."""
        return REACH * max(float(self.ground.theta.double().norm()), usual_norm(self.ground.bench.params))

    def affordable(self, share: float, most: int) -> int:
        """How many evaluations of J a share of the time that is left allows, at most so many."""
        started = time.perf_counter()
        for _ in range(_TIMED):
            self.judge.value(self.ground.theta)
        now = time.perf_counter()
        return int(min(most, max(0.0, share * (self.deadline - now)) * _TIMED / max(now - started, 1e-9)))

    def side(self) -> int:
        """Odd number of points on a side of a plane, as the time allows."""
        side = math.isqrt(self.affordable(0.8, _MOST_POINTS**2))
        return max(_FEWEST_POINTS, side - 1 + side % 2)


def views(ground: Ground, surveyed: Surveyed, obstacle: str, seconds: float) -> Iterator[View]:
    """Measure what the picture of an obstacle needs beyond the survey.

    Args:
        ground: Where the run stands.
        surveyed: The survey there, with the better points that are known.
        obstacle: What was named.
        seconds: About how long it may take; it sets how fine planes are.

    Yields:
        Records to be stored in the run; none where the survey is enough, or J is not finite here. A view that fails is
        left out and told in the notes of the ground's clock.

    Cost: up to 41 × 41 forward passes over the held examples and 70 Hessian products.
    """
    if obstacle not in _VIEWS or not math.isfinite(ground.split.whole.value(ground.theta)):
        return
    look = _Look(ground, surveyed, time.perf_counter() + seconds)
    made: list[View] = []
    with ground.clock.part(f"the picture of {obstacle}"):
        made.extend(_VIEWS[obstacle](look))
    yield from made


def _conditioning(look: _Look) -> Iterator[View]:
    """The plane of the steepest direction and the corrected step, with the way the run came and goes on."""
    ground, theta = look.ground, look.ground.theta
    with hessian(look.judge, theta) as op:
        top = largest_eigenvalues(op, 1, rtol=1e-2, max_products=_PRODUCTS, generator=ground.generator())
    x = torch.as_tensor(top.vectors[:, 0]).to(theta)
    path = _corrected(look)
    slow = beside(path[-1] - theta if path else -look.judge.gradient(theta), x)
    if slow is None:
        return
    here = look.judge.value(theta)
    plain = _followed(ground, _FOLLOWED)
    tracks = [*_trail(look, x, slow), _track(look, x, slow, plain, name="plain steps")]
    if path:
        tracks.append(_track(look, x, slow, [theta, *path], name="corrected steps"))
    depth = max(here - look.judge.value(path[-1]), 0.0) if path else 0.0
    width = math.sqrt(2 * depth / max(float(top.values[0]), 1e-300))
    across = 1.25 * max(width, *np.abs(tracks[-1].x), *np.abs(_inside(tracks[-1 - bool(path)].x)))
    ahead = max([look.reach * 0.1, *tracks[-1].y.tolist()])
    found = _plane(look, x, slow, extent=((-across, across), (-0.4 * ahead, 1.3 * ahead)))
    yield replace(
        found,
        name="ill_conditioning",
        x_name="along the steepest direction",
        y_name="along the curvature-corrected step" if path else "downhill, beside the steepest direction",
        tracks=tuple(tracks),
    )


def _corrected(look: _Look) -> list[Tensor]:
    """Where a few curvature-corrected steps lead, one after the other."""
    points: list[Tensor] = []
    seconds = (look.deadline - time.perf_counter()) / (2 * _CORRECTED)
    for _ in range(_CORRECTED):
        here = points[-1] if points else look.ground.theta
        path = corrected_path(look.judge, here, judge=look.judge, radius=look.reach, seconds=seconds, steps=1)
        if not path.products:
            break
        points.append(path.theta)
    return points


def _inside(values: np.ndarray) -> np.ndarray:
    """The finite ones, and 0."""
    return np.append(values[np.isfinite(values)], 0.0)


def _saddle(look: _Look) -> Iterator[View]:
    """The plane of the most negative curvature and the gradient, with the way down and a random kick."""
    ground, theta, escape = look.ground, look.ground.theta, look.surveyed.escape
    with hessian(look.judge, theta) as op:
        ends = extreme_eigenvalues(op, rtol=1e-2, max_products=_PRODUCTS, generator=ground.generator())
    lowest = torch.as_tensor(ends.smallest.vectors[:, 0]).to(theta)
    x = unit(escape) if escape is not None else lowest
    assert x is not None  # an escape has a length
    length = float(escape.double().norm()) if escape is not None else look.reach
    gradient = look.judge.gradient(theta)
    y, y_name = beside(-gradient, x), "downhill, along −G"
    bend = abs(look.surveyed.record.gradient_curvature)
    if y is None:
        y, y_name = (
            beside(torch.as_tensor(ends.largest.vectors[:, 0]).to(theta), x),
            "along the most positive curvature",
        )
        bend = abs(float(ends.largest.values[0]))
    if y is None:
        yield Sections("saddle_point", "here", (_section(look, x, "along the most negative curvature", 2 * length),))
        return
    depth = abs(look.judge.value(theta) - look.judge.value(theta + length * x))
    height = math.sqrt(6 * depth / bend) if bend > 0 else math.inf
    up = min(1.6 * length, max(height, 0.05 * length))
    kick = unit(torch.randn(theta.shape, generator=ground.generator(), device=theta.device, dtype=torch.float32))
    assert kick is not None
    tracks = [
        *_trail(look, x, y),
        _track(look, x, y, [theta, theta + length * kick.to(theta)], name="random kick"),
        _track(look, x, y, [theta, theta + length * x], name="way down"),
    ]
    found = _plane(look, x, y, extent=((-1.6 * length, 1.6 * length), (-up, up)))
    yield replace(
        found, name="saddle_point", x_name="along the most negative curvature", y_name=y_name, tracks=tuple(tracks)
    )


def _minimum(look: _Look) -> Iterator[View]:
    """Straight lines through the point in many directions, and the one to a better point, if any is known."""
    ground, theta = look.ground, look.ground.theta
    with hessian(look.judge, theta) as op:
        ends = extreme_eigenvalues(op, rtol=1e-2, max_products=_PRODUCTS, generator=ground.generator())
    ways = [
        ("greatest curvature", torch.as_tensor(ends.largest.vectors[:, 0]).to(theta)),
        ("least curvature", torch.as_tensor(ends.smallest.vectors[:, 0]).to(theta)),
        ("downhill", -look.judge.gradient(theta)),
    ]
    source = ground.generator()
    for index in range(_RANDOM_LINES):
        draw = torch.randn(theta.shape, generator=source, device=theta.device, dtype=torch.float32)
        ways.append((f"random direction {index + 1}", draw.to(theta)))
    better = _better(look)
    target = float((better - theta).double().norm()) if better is not None else math.nan
    reach = 1.3 * target if math.isfinite(target) else 3 * look.reach
    lines = [_section(look, way, name, reach) for name, way in ways if unit(way) is not None]
    if better is not None:
        towards = _section(look, better - theta, "towards a better point", reach)
        lines.append(replace(towards, target=target))
    yield Sections("local_minimum", "here", tuple(lines))


def _cliff(look: _Look) -> Iterator[View]:
    """The line along the longest of the steps that follow from here, with the points before and after it."""
    ground = look.ground
    points = _followed(ground, look.affordable(0.5, _MOST_FOLLOWED) or _FOLLOWED, until=_SPIKE)
    if len(points) < 2:
        return
    lengths = [float((b - a).double().norm()) for a, b in pairwise(points)]
    longest = int(np.argmax([length if math.isfinite(length) else 0.0 for length in lengths]))
    before, after = points[longest], points[longest + 1]
    far = 1.3 * lengths[longest]
    if not far > 0:
        return
    line = _section(look, after - before, "along the longest step", far, origin=before, low=-0.3 * far)
    direction = unit(after - before)
    assert direction is not None
    near = points[max(0, longest - _AFTER) : longest + 2 + _AFTER]
    track = project(before, direction, None, near, name="plain steps")
    track = replace(track, losses=_values(look, near), steps=np.arange(len(near)) + max(0, longest - _AFTER))
    yield Sections("cliff", "before the step", (replace(line, target=lengths[longest], tracks=(track,)),))


def _nonlocal(look: _Look) -> Iterator[View]:
    """The plane of start → here and here → better point, with the way of the run; and the line to the better point."""
    ground, theta = look.ground, look.ground.theta
    better = _better(look)
    back = ground.start - theta if ground.start is not None else None
    x = unit(-back) if back is not None else None
    if x is None or back is None:
        return
    gone = float(back.double().norm())
    y = beside(better - theta, x) if better is not None else None
    y_name = "towards the better point"
    if y is None:
        y, y_name = _widest(look, x), "where the run is farthest off the line"
    if y is not None:
        tracks = [*_trail(look, x, y)]
        if better is not None:
            tracks.append(_track(look, x, y, [theta, better], name="to the better point"))
        xs, ys = np.concatenate([[-gone, 0.0], *(t.x for t in tracks)]), np.concatenate([[0.0], *(t.y for t in tracks)])
        room = 0.2 * max(float(np.ptp(xs)), float(np.ptp(ys)))
        ends = ((xs.min() - room, xs.max() + room), (ys.min() - room, ys.max() + room))
        found = _plane(look, x, y, extent=ends)
        yield replace(
            found, name="nonlocal_structure", x_name="from the start to here", y_name=y_name, tracks=tuple(tracks)
        )
    if better is not None:
        target = float((better - theta).double().norm())
        line = _section(look, better - theta, "towards the better point", 1.3 * target, low=-0.2 * target)
        yield Sections("nonlocal_structure", "here", (replace(line, target=target),))


def _layers(look: _Look) -> Iterator[View]:
    """Gradient and dead units of each layer."""
    ground, params = look.ground, look.ground.bench.params
    groups = ground.bench.objective(
        ground.bench.grouped([item.batch for item in ground.batches], ground.precision), ground.precision
    )
    dead = dead_units(groups, ground.bench.model, ground.theta)
    squares, counted = np.zeros(len(params.sizes)), 0
    for count, gradient in groups.batch_gradients(ground.theta):
        squares += count * layer_norms(params.unflatten(gradient)) ** 2
        counted += count
    scales = np.sqrt(squares / max(1, counted)) * layer_norms(params.unflatten(ground.theta))
    weights = [index for index, tensor in enumerate(params.tensors) if tensor.ndim >= 2]
    yield Layers(
        ground.step,
        tuple(params.names[index] for index in weights),
        scales[weights],
        dead.layers,
        dead.fractions,
        dead.units,
        counted,
    )


_VIEWS: Mapping[str, Callable[[_Look], Iterator[View]]] = MappingProxyType(
    {
        "ill_conditioning": _conditioning,
        "saddle_point": _saddle,
        "local_minimum": _minimum,
        "cliff": _cliff,
        "nonlocal_structure": _nonlocal,
        "plateau": _layers,
        "dead_units": _layers,
    }
)
"""What is measured for each obstacle; the survey alone is enough for the others."""


def _plane(look: _Look, x: Tensor, y: Tensor, *, extent: tuple[tuple[float, float], tuple[float, float]]) -> Plane:
    """The loss on the plane of two unit vectors through the point, as fine as the time allows."""
    side = look.side()
    found = plane(look.judge, look.ground.theta, x, y, points=(side, side), extent=extent)
    return replace(found, origin="here")


def _section(
    look: _Look, way: Tensor, name: str, far: float, *, origin: Tensor | None = None, low: float | None = None
) -> Section:
    """Loss along a direction from ``low`` (−far if None) to ``far``, with the error of the difference."""
    direction, judge = unit(way), look.judge
    assert direction is not None
    here = look.ground.theta if origin is None else origin
    counts, base = judge.batch_values(here)
    middle = weighted_mean(counts, base).value
    lengths = grid(-far if low is None else low, far, _LINE_POINTS)
    changes = [
        weighted_mean(
            counts, judge.batch_values(here + at * direction)[1] - base, rounding=rounding_of(middle, judge.dtype)
        )
        for at in lengths.tolist()
    ]
    losses = np.array([middle + change.value for change in changes])
    errors = np.array([change.error if len(counts) > 1 else math.nan for change in changes])
    return Section(name, lengths, losses, errors)


def _values(look: _Look, points: list[Tensor]) -> Float[np.ndarray, "points"]:
    """J at some points; NaN where a point itself is not finite."""
    finite = [bool(torch.isfinite(point).all()) for point in points]
    return np.array([look.judge.value(p) if ok else math.nan for p, ok in zip(points, finite, strict=True)])


def _track(look: _Look, x: Tensor, y: Tensor, points: list[Tensor], *, name: str) -> Track:
    """Some points on the plane, with J at the points themselves."""
    return replace(project(look.ground.theta, x, y, points, name=name), losses=_values(look, points))


def _trail(look: _Look, x: Tensor, y: Tensor) -> list[Track]:
    """The points that the run came through, on the plane; the last one is here."""
    points = look.ground.points
    if points is None:
        return []
    kept = [(step, p.to(look.ground.theta)) for step, p in zip(points.steps, points.thetas, strict=True)]
    came = [(step, p) for step, p in kept if step < look.ground.step] + [(look.ground.step, look.ground.theta)]
    track = _track(look, x, y, [p for _, p in came], name="the run")
    return [replace(track, steps=np.array([step for step, _ in came], np.int64))]


def _followed(ground: Ground, steps: int, *, until: float = math.inf) -> list[Tensor]:
    """Points of a plain continuation, the first one here; it ends a few steps after one that was thrown."""
    branch, order = ground.branch(), ground.order(0)
    points, lengths, last = [branch.params.point()], list[float](), steps
    while len(lengths) < last:
        branch.step(list(islice(order, 1)), len(lengths))
        points.append(branch.params.point())
        lengths.append(float((points[-1] - points[-2]).double().norm()))
        if not math.isfinite(lengths[-1]):
            return points[:-1]
        if last == steps and len(lengths) > _AFTER and lengths[-1] > until * float(np.median(lengths)):
            last = len(lengths) + _AFTER
    return points


def _widest(look: _Look, x: Tensor) -> Tensor | None:
    """Direction to the point of the run that lies farthest off the line along x."""
    points = look.ground.points
    if points is None or not points.thetas:
        return None
    ways = [p.to(look.ground.theta) - look.ground.theta for p in points.thetas]
    off = [float((w.double() - (w.double() @ x.double()) * x.double()).norm()) for w in ways]
    return beside(ways[int(np.argmax(off))], x)


def _better(look: _Look) -> Tensor | None:
    """The best of the better points that the survey knows, found again by its source; None if there is none."""
    ground, theta, record = look.ground, look.ground.theta, look.surveyed.record
    for place in record.known:
        far = record.ray(place.source.removeprefix("far "))
        way = _way(look, far.name) if far is not None else None
        if far is not None and way is not None:
            return theta + float(far.lengths[far.lowest]) * way
        if place.source == "points at random":
            gone = float((theta - ground.start).double().norm()) if ground.start is not None else 0.0
            return lowest_at_random(look.judge, theta, max(gone, look.reach), ground.generator())
        if place.source.startswith("step ") and ground.points is not None:
            step = int(place.source.split()[1])
            return ground.points.thetas[ground.points.steps.index(step)].to(theta)
    return None


def _way(look: _Look, name: str) -> Tensor | None:
    """Unit vector of one of the survey's rays."""
    ground, theta = look.ground, look.ground.theta
    if name == "outward":
        half = ground.points.at(0.5) if ground.points is not None else None
        return unit(theta - half.to(theta)) if half is not None else None
    if name == "growing weights":
        return unit(theta)
    sign = {"downhill": -1.0, "uphill": 1.0}.get(name)
    return unit(sign * look.judge.gradient(theta)) if sign is not None else None
