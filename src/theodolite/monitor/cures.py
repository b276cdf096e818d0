"""Which changes to a training are worth trying from here, and how is each made on a branch?"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from theodolite.monitor.branch import Branch
from theodolite.monitor.ground import Ground, usual_norm
from theodolite.monitor.revival import find_dead_rows, revive
from theodolite.monitor.standardised import first_layer, fold, input_moments, is_same, standardised
from theodolite.monitor.survey import Surveyed
from theodolite.monitor.tape import Repeat
from theodolite.objective import Objective
from theodolite.objective.isolation import pin_randomness, randomness_kept
from theodolite.objective.sources import ModelSource

FACTORS = (10.0, 0.1, 3.0, 0.3, 100.0, 0.01, 1000.0)
"""Scalings of the step, in the order in which they are worth the time."""

LARGER_BATCH = 8
_MOMENTUM = 0.9
_ADAM_RATES = (1e-3, 1e-2, 1e-1)
"""Rates of Adam in typical weights: a step moves each weight by about the rate (Kingma & Ba 2015, section 2.1)."""

_VARIED = 3.0
"""Clipping at the median is worth trying where the greatest gradient norm is so many times the median."""


@dataclass(frozen=True, eq=False)
class Cure:
    """A change to a branch.

    Attributes:
        name: What is changed, as the record names it.
        prepare: What to do with a branch before its first step, given the seed of the order.
        batches: How many batches a step takes.
        change: What is done to each batch; None leaves them.
        note: What must be told beside the gain.
    """

    name: str
    prepare: Callable[[Branch, int], object]
    batches: int = 1
    change: Callable[[Repeat], Repeat] | None = None
    note: str = ""


@dataclass(frozen=True)
class LeftOut:
    """A cure that is not tried."""

    name: str
    reason: str

    def __str__(self) -> str:
        """For the notes."""
        return f"{self.name}: left out, {self.reason}"


PLAIN = Cure("plain", lambda branch, seed: None)


def scaled_steps(ground: Ground) -> tuple[Cure, ...]:
    """Longer and shorter steps; first of all as long ones as the run once had, where a schedule made them far shorter.

    Args:
        ground: Where the run stands.

    Returns:
        One cure a factor.
    """
    rates = [ground.rate] if ground.rate is not None else [float(g["lr"]) for g in ground.optimizer.param_groups]
    lost = ground.greatest_rate / max(rates) if max(rates, default=0.0) > 0 else 0.0
    once = (float(f"{lost:.0e}"),) if FACTORS[-1] < lost < math.inf else ()
    return tuple(Cure(f"step × {factor:g}", _scaling(factor)) for factor in (*once, *FACTORS))


def _scaling(factor: float) -> Callable[[Branch, int], object]:
    return lambda branch, seed: branch.scale_step(factor)


def larger_batch(ground: Ground) -> Cure | None:
    """Eight batches a step; None where the run has a single one."""
    return Cure(f"batch × {LARGER_BATCH}", PLAIN.prepare, LARGER_BATCH) if len(ground.batches) > 1 else None


def escape(surveyed: Surveyed) -> Cure | None:
    """A move along the most negative curvature, as far as the survey found it to gain; None if it found none."""
    delta = surveyed.escape
    return None if delta is None else Cure("move along negative curvature", lambda branch, seed: branch.move(delta))


def clipping(norms: Sequence[float] | np.ndarray, present: float | None = None) -> Cure | None:
    """Gradients clipped at the median of their norms.

    Args:
        norms: Gradient norms of steps of the run.
        present: Norm at which the run clips already; None if it does not.

    Returns:
        The cure; None unless norms vary, the greatest being three times the median, or if the run clips lower already.
    """
    values = np.asarray(norms, np.float64)
    known = values[np.isfinite(values)]
    median = float(np.median(known)) if known.size else 0.0
    greatest = float(known.max(initial=0.0)) if known.size == values.size else np.inf
    if not median > 0 or greatest < _VARIED * median or (present is not None and present <= median):
        return None
    return Cure("clipping", lambda branch, seed: setattr(branch, "clip", median), note=f"at a norm of {median:.3g}")


def momentum(optimizer: torch.optim.Optimizer) -> Cure | None:
    """Momentum 0.9 at the same rate; None unless the run uses SGD without momentum.

    The rate stays: at a tenth of it the long-run step would be that of the run, and momentum gain nothing but a mean
    over ten gradients. At the same rate it is ten times longer and yet stable up to 1.9 times the rate at which plain
    descent is (Polyak 1964), which is what momentum is for; "step × 10" beside it tells whether length alone would do.

    Args:
        optimizer: The optimizer of the run.

    Returns:
        The cure.
    """
    if not isinstance(optimizer, torch.optim.SGD) or any(group["momentum"] for group in optimizer.param_groups):
        return None

    def prepare(branch: Branch, seed: int) -> None:
        for group in branch.optimizer.param_groups:
            group["momentum"] = _MOMENTUM

    return Cure("momentum 0.9", prepare, note="at the same rate: in the long run steps are ten times as long")


def adam(ground: Ground) -> tuple[Cure, ...]:
    """Adam at a few rates, of which one is to be chosen; none unless the run uses SGD.

    Rates of parameter groups keep their proportions, and weight decay stays.

    Args:
        ground: Where the run stands.

    Returns:
        One cure a rate.
    """
    if not isinstance(ground.optimizer, torch.optim.SGD):
        return ()
    norm = max(float(ground.theta.double().norm()), usual_norm(ground.bench.params))
    typical = norm / ground.theta.numel() ** 0.5
    return tuple(
        Cure("Adam", _replacing(share * typical), note=f"rate {share * typical:.2g}, {share:g} of a typical weight")
        for share in _ADAM_RATES
    )


def _replacing(rate: float) -> Callable[[Branch, int], object]:
    """Put Adam in the place of a branch's optimizer."""

    def prepare(branch: Branch, seed: int) -> None:
        former = branch.optimizer.param_groups
        fastest = max(float(group["lr"]) for group in former)
        groups: list[dict[str, Any]] = [
            {
                "params": group["params"],
                "lr": rate * (float(group["lr"]) / fastest if fastest > 0 else 1.0),
                "weight_decay": group["weight_decay"],
                "maximize": group["maximize"],
            }
            for group in former
        ]
        branch.optimizer = torch.optim.Adam(groups)

    return prepare


def revived_units(ground: Ground) -> Cure | LeftOut | None:
    """Dead units with fresh incoming weights; None if no unit is dead.

    Args:
        ground: Where the run stands.

    Returns:
        The cure, or why it is left out.

    Cost: one forward pass over the held examples.
    """
    name = "dead units re-initialised"
    found = find_dead_rows(ground.branch(), ground.batches)
    untold = ", ".join(found.untold)
    if not found.made:
        return LeftOut(name, f"it cannot be told which layer makes the dead inputs of {untold}") if untold else None
    count = sum(int(one.rows.sum()) for one in found.made)
    note = f"{count} units of {', '.join(one.layer for one in found.made)}"
    note += f"; the dead inputs of {untold} are left, as it cannot be told what makes them" if untold else ""
    return Cure(name, lambda branch, seed: revive(branch, found.made, ground.bench.seed + seed), note=note)


def normalised_inputs(ground: Ground) -> Cure | LeftOut | None:
    """Inputs of mean zero and variance one, from a point where the model computes the same; None if they need it not.

    Args:
        ground: Where the run stands.

    Returns:
        The cure, or why it is left out.

    Cost: two forward passes over the held examples.
    """
    name = "inputs normalised"
    moments = input_moments(ground.batches)
    if moments is None or not moments.need:
        return None
    branch, features = ground.branch(), moments.mean.numel()
    layer = first_layer(branch, ground.batches[0], features)
    if layer is None:
        return LeftOut(
            name, "the model does not begin with a trained linear layer on the inputs, into which to fold them"
        )
    place = next(place for place, module in branch.model.named_modules() if module is layer)
    is_centred = layer.bias is not None

    def prepare(branch: Branch, seed: int) -> None:
        inner = branch.model.get_submodule(place)
        assert isinstance(inner, nn.Linear)
        fold(branch, inner, moments)

    def change(item: Repeat) -> Repeat:
        return standardised(item, moments, is_centred=is_centred)

    cure = Cure(name, prepare, change=change, note=f"{moments.need}; from a point where the model computes the same")
    before, fresh = reached(ground, PLAIN, ground.branch()), ground.branch()
    prepare(fresh, 0)
    if not is_same(before, reached(ground, cure, fresh), ground.theta.dtype):
        return LeftOut(name, "the loss uses the inputs elsewhere than in the first layer too")
    return cure


def reached(ground: Ground, cure: Cure, branch: Branch) -> float:
    """J of the held examples where a branch stands, on inputs as its cure has them; NaN if it is not finite there."""
    theta, whole = branch.params.point(), ground.split.whole
    if not bool(torch.isfinite(theta).all()):
        return float("nan")
    source = whole.source
    if cure.change is None or not isinstance(source, ModelSource):
        return whole.value(theta)
    changed = [cure.change(item) for item in source.batches()]
    names = ground.bench.params.names
    return Objective(branch.model, source.loss, changed, parameters=names, count=source.count, seed=whole.seed).value()


def fresh_start(ground: Ground) -> Cure | LeftOut:
    """The run from new parameters, as each layer initialises its own, with an empty optimizer.

    Args:
        ground: Where the run stands.

    Returns:
        The cure, or why it is left out.
    """
    name = "fresh start"
    if not restart(ground.branch(), ground.bench.seed):
        return LeftOut(name, "some parameters belong to no module with reset_parameters")
    return Cure(name, lambda branch, seed: restart(branch, ground.bench.seed + seed))


def restart(branch: Branch, seed: int) -> bool:
    """Let each module of a branch initialise itself, and empty the optimizer; parameters that are not trained stay.

    Args:
        branch: The branch.
        seed: Seed of the new values; the global generators come back as they were.

    Returns:
        Whether every trained parameter was given new values; if not, the branch is of no use any more.
    """
    trained = {id(tensor) for tensor in branch.params.tensors}
    others = [(tensor, tensor.detach().clone()) for tensor in branch.model.parameters() if id(tensor) not in trained]
    with randomness_kept(), torch.no_grad():
        pin_randomness(seed)
        for tensor in branch.params.tensors:
            tensor.fill_(torch.nan)  # what no module initialises shows
        for module in reversed(list(branch.model.modules())):
            reset: Any = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
            if callable(reset):
                reset()
        for tensor, value in others:
            tensor.copy_(value)
    branch.optimizer.state.clear()
    return not any(_has_nan(tensor) for tensor in branch.params.tensors)


def _has_nan(tensor: Tensor) -> bool:
    return bool(torch.isnan(tensor).any())
