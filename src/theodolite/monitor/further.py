"""What lies further off from where a training stands: straight lines far beyond, and better points that are known."""

import math
from itertools import islice
from typing import Any

from jaxtyping import Float
from torch import Tensor

from theodolite.monitor.ground import Ground
from theodolite.probes.terrain import known, lowest_at_random, ray
from theodolite.probes.whatifs import unit
from theodolite.records import Known, Ray, Trail

_SHARE = 0.5
"""Of the time of the survey, what may be spent here."""

_RAY_PASSES = 18
"""A ray, or the line to a better point, takes so many evaluations of J at most."""

_WORTH_KNOWING = 0.05
"""A point counts as better if it takes a twentieth off the excess loss."""


def far_off(ground: Ground, came: Trail | None) -> dict[str, Any]:
    """Rays in the directions that matter, and better points with what lies between.

    Args:
        ground: Where the run stands.
        came: What stands at the points that the run came through; None if none were kept.

    Returns:
        ``rays``, ``known`` and ``blank`` of a survey.
    """
    theta, judge = ground.theta, ground.split.whole
    downhill = unit(-judge.gradient(theta))
    reach = ground.reach
    passes = ground.affordable(_SHARE, _RAY_PASSES)
    known_ways = _ways(ground, downhill)
    ways = dict(islice(known_ways.items(), passes // _RAY_PASSES))
    if len(ways) < len(known_ways):
        left_out = ", ".join(name for name in known_ways if name not in ways)
        ground.clock.notes.append(f"rays {left_out}: left out, they would have taken too long")
    rays: list[Ray] = []
    better: list[tuple[str, Tensor]] = []
    for name, (way, first) in ways.items():
        found = ray(judge, theta, way, name=name, first=first or reach, downhill=downhill)
        if found is None:
            continue
        rays.append(found)
        direction = unit(way)
        if found.lowest and direction is not None:
            better.append((f"far {name}", theta + float(found.lengths[found.lowest]) * direction))
    better += _along_trail(ground, came)
    gone = theta - ground.start if ground.start is not None else None
    radius = float(gone.double().norm()) if gone is not None else 0.0
    if passes >= 2 * len(known_ways) * _RAY_PASSES:
        lowest = lowest_at_random(judge, theta, max(radius, reach), ground.generator())
        better += [("points at random", lowest)] if lowest is not None else []
    better = better[: passes // _RAY_PASSES]
    places = [known(judge, theta, at, source=source, downhill=downhill, gone=gone) for source, at in better]
    excess = judge.value(theta) - ground.floor
    worth = [place for place in places if place.gain.value > _WORTH_KNOWING * max(excess, 0.0)]
    return {"rays": tuple(rays), "known": tuple(sorted(worth, key=_by_gain)), "blank": _blank(ground)}


def _blank(ground: Ground) -> float:
    """J of a model that knows nothing: its last matrix, and what comes after it, at zero; NaN without a matrix."""
    params = ground.bench.params
    matrices = [place for place, tensor in enumerate(params.tensors) if tensor.ndim >= 2]
    if not matrices:
        return math.nan
    nothing = ground.theta.clone()
    nothing[sum(params.sizes[: matrices[-1]]) :] = 0
    return ground.split.whole.value(nothing)


def _ways(ground: Ground, downhill: Tensor | None) -> dict[str, tuple[Float[Tensor, "params"], float]]:
    """Directions to look along, each with its first length; 0 stands for the reach."""
    theta, norm = ground.theta, float(ground.theta.double().norm())
    ways: dict[str, tuple[Tensor, float]] = {}
    half = ground.points.at(0.5) if ground.points is not None else None
    if half is not None:
        out = theta - half.to(theta)
        ways["outward"] = (out, float(out.double().norm()) / 4)
    if norm > 0:
        ways["growing weights"] = (theta, norm / 16)
        last = _last_layer(ground)
        if last is not None:
            ways["growing last layer"] = (last, float(last.double().norm()) / 16)
    if downhill is not None:
        ways["downhill"] = (downhill, 0.0)
        ways["uphill"] = (-downhill, 0.0)
    return ways


def _last_layer(ground: Ground) -> Float[Tensor, "params"] | None:
    """θ with all but the last matrix, and what comes after it, set to zero; None where there is no other matrix."""
    params = ground.bench.params
    matrices = [place for place, tensor in enumerate(params.tensors) if tensor.ndim >= 2]
    if len(matrices) < 2:
        return None
    first = sum(params.sizes[: matrices[-1]])
    last = ground.theta.clone()
    last[:first] = 0
    return last


def _along_trail(ground: Ground, came: Trail | None) -> list[tuple[str, Tensor]]:
    """The best point that the run came through, if it was surely better than this one."""
    if came is None or ground.points is None or len(came.steps) < 2:
        return []
    best = int(came.losses.argmin())
    gain = float(came.losses[-1] - came.losses[best])
    if best == len(came.steps) - 1 or not gain > 2 * float(came.errors[best]):
        return []
    return [(f"step {came.steps[best]} of the run", ground.points.thetas[best].to(ground.theta))]


def _by_gain(place: Known) -> float:
    return -place.gain.value if math.isfinite(place.gain.value) else math.inf
