"""What is there to be found where the training stands now? The deep probe at the end of a run."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theodolite.errors import TheodoliteError
from theodolite.linalg import (
    Operator,
    extreme_eigenvalues,
    gradient_conditioning,
    hessian,
    krylov_space,
    largest_eigenvalues,
    optimizer_metric,
    preconditioned,
    saddle_free_step,
)
from theodolite.monitor.following import Followed, follow
from theodolite.monitor.ground import Clock, Ground
from theodolite.objective import count_examples
from theodolite.objective.data import Batch
from theodolite.probes.noise import noise_scale
from theodolite.probes.samples import weighted_mean
from theodolite.probes.units import dead_units, layer_norms, saturated_units, silent_rectifiers
from theodolite.probes.whatifs import best_along, clipped, gain, pooled, ratio, rescaled, unit
from theodolite.records import Estimate, Status, Survey, WhatIf

_PLAIN_STEPS, _FEWEST_STEPS = 16, 3
"""Plain steps that are followed on a branch."""

_RESCALED_STEPS = 4
_EIGEN_PRODUCTS, _FEWEST_EIGEN = 80, 12
_KRYLOV_PRODUCTS, _FEWEST_KRYLOV = 20, 6
_CONDITION_PRODUCTS = 24
_HURRIED = 0.1
"""With less than a tenth of the effort the conditioning is left out: few products see too little of it."""

_SEVERED = 0.95
"""A layer with so many dead units hands on next to nothing."""

COST = 700.0
"""A whole survey takes about so many gradients of one half of the sample: 100 products, 32 budgets, 180 evaluations."""

_FAR = 3.0
"""Flat means flat over three times the reach: within a tenth of the weights even a wide bowl looks flat."""

_GRADIENT_BYTES = 512 * 2**20


@dataclass(frozen=True, eq=False)
class Surveyed:
    """A survey, and the move along the most negative curvature that it found, if any."""

    record: Survey
    escape: Float[Tensor, "params"] | None = None


def survey(ground: Ground) -> Surveyed:
    """Measure everything local at one point.

    Args:
        ground: Where, and on what.

    Returns:
        The survey; what could not be measured is missing in it and told in its notes.
    """
    split, theta = ground.split, ground.theta
    loss = weighted_mean(*split.whole.batch_values(theta))
    gradient = split.first.gradient(theta)
    examples = sum(count_examples(item.batch) for item in ground.batches)
    found = Survey(
        step=ground.step,
        examples=examples,
        loss=loss,
        param_norm=float(theta.double().norm()),
        grad_norm=float(gradient.double().norm()),
        batch=examples / len(ground.batches),
    )
    if not (loss.is_finite and math.isfinite(found.grad_norm)):
        return Surveyed(replace(found, status=Status.NONFINITE))
    clock = ground.clock
    parts = _attempt(clock, "hidden units and layers", lambda: _units(ground, gradient))
    parts |= _attempt(clock, "plain steps on a branch", lambda: _plain_steps(ground))
    parts |= _attempt(clock, "curvature and moves", lambda: _moves(ground, gradient))
    parts |= _attempt(clock, "gradient noise", lambda: _noise(ground, gradient))
    lowest, length = parts.pop("lowest", None), parts.pop("escape_length", 0.0)
    cut = parts.pop("cut", 1.0)
    if "sharpness" in parts:  # a clipped gradient makes a step that is shorter by as much
        parts["sharpness"] = Estimate(cut * parts["sharpness"].value, cut * parts["sharpness"].error)
    shorter = parts.pop("clipped", None)
    if shorter is not None and shorter.gain.is_finite and "what_ifs" in parts:
        parts["what_ifs"] = (*parts["what_ifs"], shorter)
    silent = parts.pop("silent", None)
    if lowest is not None and silent is not None:
        parts["revived"] = float((lowest.double() ** 2)[silent].sum())
    escape = length * lowest if lowest is not None and length > 0 else None
    return Surveyed(replace(found, **parts, notes=tuple(ground.clock.notes)), escape)


def _attempt(clock: Clock, what: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Some parts of a survey; none if the time is used up, or if measuring fails."""
    if clock.is_over:
        clock.notes.append(f"{what}: left out, the time was used up")
        return {}
    with clock.part(what):
        return measure()
    return {}


def _moves(ground: Ground, gradient: Tensor) -> dict[str, Any]:
    """Ends of the spectrum, and the moves that gradient and curvature propose."""
    split, theta = ground.split, ground.theta
    products = min(ground.spend(_KRYLOV_PRODUCTS, _FEWEST_KRYLOV), gradient.numel())
    reach = ground.reach
    parts: dict[str, Any] = {}
    with hessian(split.first, theta) as op:
        ends = extreme_eigenvalues(
            op, rtol=1e-2, max_products=ground.spend(_EIGEN_PRODUCTS, _FEWEST_EIGEN), generator=ground.generator()
        )
        downhill = unit(-gradient)
        space = None if downhill is None else krylov_space(op, gradient, products)
        corrected = None if space is None else unit(saddle_free_step(space))
        bent = {name: op @ move for name, move in (("g", downhill), ("c", corrected)) if move is not None}
        with ground.clock.part("conditioning and sharpness"):
            parts |= _conditioning(ground, op, gradient)
    top, bottom = float(ends.largest.values[0]), float(ends.smallest.values[0])
    far = _FAR * reach
    parts |= {
        "largest": Estimate(top, float(ends.largest.residuals[0])),
        "smallest": Estimate(bottom, float(ends.smallest.residuals[0])),
        "flatness": float(gradient.double().norm()) * far + max(abs(top), abs(bottom)) * far**2 / 2,
    }
    moves: list[WhatIf] = []
    for name, key, move in (("noise-free gradient", "g", downhill), ("curvature-corrected", "c", corrected)):
        if move is not None:
            model = (float(gradient.double() @ move.double()), float(move.double() @ bent[key].double()))
            moves.append(best_along(split, theta, move, name=name, model=model, reach=reach))
            if key == "g":
                parts["gradient_curvature"] = model[1]
    if bottom < 0:
        lowest = torch.as_tensor(ends.smallest.vectors[:, 0]).to(theta)
        lowest = -lowest if float(gradient.double() @ lowest.double()) > 0 else lowest
        moves += _escapes(ground, gradient, lowest, bottom=bottom, reach=reach)
        length = moves[-2].length
        parts["escape"] = float(gradient.double().norm()) / (-bottom * length) if length > 0 else math.inf
        parts |= {"lowest": lowest, "escape_length": length}
    return parts | {"what_ifs": tuple(moves)}


def _conditioning(ground: Ground, op: Operator, gradient: Tensor) -> dict[str, Any]:
    """How badly the part of the spectrum that carries the gradient is conditioned, and how steep it is to the steps."""
    products = min(ground.spend(_CONDITION_PRODUCTS, _FEWEST_KRYLOV), gradient.numel())
    parts: dict[str, Any] = {}
    if bool(gradient.any()) and ground.effort > _HURRIED:
        found = gradient_conditioning(op, gradient, products=products)
        parts = {"gain_ratio": found.gain_ratio, "condition_number": found.condition_number}
    try:
        metric = optimizer_metric(ground.split.first, ground.optimizer)
    except TheodoliteError as error:
        ground.clock.notes.append(f"sharpness in the optimizer's metric: {error}")
        return parts
    steep = largest_eigenvalues(
        preconditioned(op, metric), rtol=1e-2, max_products=products, generator=ground.generator()
    )
    if len(steep.values):
        sharpest = Estimate(float(steep.values[0]), float(steep.residuals[0]))
        parts |= {"sharpness": sharpest, "stable_sharpness": metric.stability_limit}
    return parts


def _escapes(ground: Ground, gradient: Tensor, lowest: Tensor, *, bottom: float, reach: float) -> list[WhatIf]:
    """The move along the most negative curvature, and a random kick of the same length as control."""
    slope = float(gradient.double() @ lowest.double())
    escape = best_along(
        ground.split, ground.theta, lowest, name="negative curvature", model=(slope, bottom), reach=reach
    )
    noise = torch.randn(lowest.shape, generator=ground.generator(), device=lowest.device, dtype=torch.float32)
    kick = unit(noise.to(lowest))
    assert kick is not None
    here = ground.split.second.batch_values(ground.theta)
    kicked = gain(ground.split.second, here, ground.theta + escape.length * kick)
    return [escape, WhatIf("random kick", kicked, escape.length)]


def _noise(ground: Ground, gradient: Tensor) -> dict[str, Any]:
    """Gradient noise scale over groups of the held examples."""
    most = max(3, _GRADIENT_BYTES // (gradient.nbytes or 1))
    groups = ground.bench.objective(_groups(ground)[:most], ground.precision)
    return {"noise_scale": noise_scale(groups, ground.theta)}


def _groups(ground: Ground) -> list[Batch]:
    """The held examples in groups, also where the run has them in one batch."""
    return ground.bench.grouped([item.batch for item in ground.batches], ground.precision, groups=ground.groups)


def _units(ground: Ground, gradient: Tensor) -> dict[str, Any]:
    """Dead units, parameters without any gradient, and how gradients scale over depth."""
    params = ground.bench.params
    groups = ground.bench.objective(_groups(ground), ground.precision)
    dead = dead_units(groups, ground.bench.model, ground.theta)
    squares = np.zeros(len(params.sizes))
    counted = 0
    silent = torch.ones_like(gradient, dtype=torch.bool)
    for count, batch_gradient in groups.batch_gradients(ground.theta):
        squares += count * layer_norms(params.unflatten(batch_gradient)) ** 2
        counted += count
        silent &= batch_gradient == 0
    weights = np.array([tensor.ndim >= 2 for tensor in params.tensors])
    gradients, norms = np.sqrt(squares / max(1, counted)), layer_norms(params.unflatten(ground.theta))
    scales = gradients * norms
    is_blocked_by_dead = dead.worst >= _SEVERED  # a dead layer stops gradients too, and is told apart
    live = scales[weights & (squares > 0)] if is_blocked_by_dead else scales[weights]
    # Where all weights have lost their gradient, that of a bias of the usual size shows what they could have.
    strongest = max(
        scales.max(), float((gradients * np.maximum(norms, np.sqrt(params.sizes)))[~weights].max(initial=0.0))
    )
    return {
        "dead_fraction": dead.overall,
        "dead_worst": dead.worst,
        "dead_layer": dead.layers[int(np.argmax(dead.fractions))] if dead.layers else "",
        "silent": silent,
        "blocked": float(silent.double().mean()),
        "silent_rectifiers": silent_rectifiers(groups, ground.theta),
        "saturated": saturated_units(groups, ground.theta),
        "depth_ratio": float(live.min() / strongest) if live.size > 1 and strongest > 0 else math.nan,
    }


def _plain_steps(ground: Ground) -> dict[str, Any]:
    """Follow plain steps on a branch, with the full progress budget of each."""
    branch, order = ground.branch(), ground.order(0)
    followed: list[Followed] = []
    wanted = ground.spend(_PLAIN_STEPS, _FEWEST_STEPS)
    for index in range(wanted):
        if ground.clock.is_over and len(followed) >= _FEWEST_STEPS:
            ground.clock.notes.append(f"plain steps: {index} of {wanted}, the time was used up")
            break
        followed.append(follow(ground, branch, next(order), index))
    budgets = [one.budget for one in followed]
    names = ("promise", "noise", "curvature", "higher_order", "delivered")
    parts: dict[str, Any] = {name: pooled([getattr(b, name) for b in budgets]) for name in names}
    slope = pooled([Estimate(b.promise.value - b.noise.value, b.noise.error) for b in budgets])
    some = ground.spend(_RESCALED_STEPS, 1)
    chosen = followed[:: max(1, len(followed) // some)][:some]
    uphill = [float(one.own_gain < 0) for one in followed]
    cosines = [_cosine(a.delta, b.delta) for a, b in pairwise(followed)]
    norms = [one.grad_norm for one in followed]
    return parts | {
        "steps": len(followed),
        "noise_share": ratio([b.noise.value for b in budgets], [b.promise.value for b in budgets]),
        "own_uphill": Estimate.mean_of(uphill),
        "own_gain": Estimate.mean_of([one.own_gain for one in followed]),
        "cosine": Estimate.mean_of(cosines),
        "rescaled": rescaled([one.made for one in chosen], slope),
        "clipped": clipped([one.made for one in followed], norms),
        "cut": _cut(ground.clip, norms),
    }


def _cut(clip: float | None, norms: Sequence[float]) -> float:
    """To what share of their length clipping cuts gradients of these norms, the median."""
    if clip is None or not norms:
        return 1.0
    return float(np.median([min(1.0, clip / norm) if norm > clip else 1.0 for norm in norms]))


def _cosine(one: Tensor, other: Tensor) -> float:
    lengths = float(one.double().norm()) * float(other.double().norm())
    return float(one.double() @ other.double()) / lengths if lengths > 0 else math.nan
