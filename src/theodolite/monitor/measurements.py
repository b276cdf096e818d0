"""Which measurements are made of a step, what do they need, and what do they record?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from theodolite.linalg import extreme_eigenvalues, hessian
from theodolite.monitor.tape import Precision, Repeat, repeating
from theodolite.objective import Objective, Params, count_examples
from theodolite.objective.data import Batch
from theodolite.objective.sources import LossFunction
from theodolite.probes.look import look
from theodolite.probes.noise import noise_scale
from theodolite.probes.progress import progress
from theodolite.probes.units import dead_units, layer_norms
from theodolite.records import Status

LANCZOS_PRODUCTS = 30
"""Products of one look at both ends of the spectrum: enough for 1 % on the models of the benchmark."""

SHARES: Mapping[str, tuple[float, float]] = {
    "loss": (0.30, 0.05),
    "norms": (0.15, 0.15),
    "look": (0.10, 1.6),
    "progress": (0.25, 18.0),
    "layers": (0.05, 5.0),
    "curvature": (0.10, 150.0),
    "validation": (0.05, 10.0),
}
"""Each measurement's share of the budget, and its price in steps before it is known."""

NEEDS_BEFORE = frozenset(("norms", "look", "progress", "layers", "curvature"))
"""Measurements that need θ from before the step."""


@dataclass(frozen=True, eq=False)
class Taken:
    """A step that was taken.

    Attributes:
        step: Its number.
        before: θ before it.
        after: θ after it.
        own: The batches it was made from; empty if they are not known.
        fresh: The next batch, if there is one.
        grad_norm: ‖gradient that the optimizer was given‖, if measured.
    """

    step: int
    before: Float[Tensor, "params"]
    after: Float[Tensor, "params"]
    own: tuple[Repeat, ...]
    fresh: Batch | None
    grad_norm: float


@dataclass(eq=False)
class Bench:
    """Where measurements are made: the model with its loss, and the reference sample."""

    model: nn.Module
    loss: LossFunction
    params: Params
    seed: int

    def objective(self, batches: list[Batch], precision: Precision) -> Objective:
        """J over batches, in the precision of the training."""
        return self.repeat(tuple(Repeat(batch, None, precision) for batch in batches))

    def repeat(self, items: tuple[Repeat, ...]) -> Objective:
        """J over batches under the randomness that the training had."""
        return Objective(
            self.model,
            repeating(self.loss),
            list(items),
            parameters=self.params.names,
            count=lambda item: count_examples(item.batch),
            seed=self.seed,
        )


def measure_look(bench: Bench, taken: Taken, precision: Precision) -> dict[str, float]:
    """Loss of the step's own batch and of a fresh one, before and after; two forward passes each."""
    values: dict[str, float] = {}
    if taken.own:
        values |= look(bench.repeat(taken.own), taken.before, taken.after, name="own")
    if taken.fresh is not None:
        values |= look(bench.objective([taken.fresh], precision), taken.before, taken.after, name="fresh")
    return values


def measure_progress(bench: Bench, taken: Taken, reference: Objective) -> dict[str, float]:
    """The progress budget of the step."""
    return progress(bench.repeat(taken.own), reference, taken.before, taken.after).scalars() if taken.own else {}


def measure_layers(
    bench: Bench, taken: Taken, reference: Objective
) -> tuple[dict[str, float], dict[str, np.ndarray], tuple[str, ...]]:
    """Noise scale and dead units of the reference sample; norms of its gradient and of the update by layer."""
    scale = noise_scale(reference, taken.before)
    dead = dead_units(reference, bench.model, taken.before)
    gradient = reference.gradient(taken.before)
    arrays = {
        "layer_grad_norm": layer_norms(bench.params.unflatten(gradient)),
        "layer_update_norm": layer_norms(bench.params.unflatten(taken.after - taken.before)),
        "layer_dead_fraction": dead.fractions,
    }
    values = {"noise_scale": scale.value, "noise_scale_error": scale.error}
    return values | ({"dead_fraction": dead.overall} if dead.layers else {}), arrays, dead.layers


def measure_curvature(taken: Taken, reference: Objective, generator: torch.Generator) -> dict[str, float]:
    """Both ends of the Hessian's spectrum, and the curvature along the gradient, on the reference sample."""
    gradient = reference.gradient(taken.before)
    square = float(gradient.double() @ gradient.double())
    with hessian(reference, taken.before) as op:
        bend = float(gradient.double() @ (op @ gradient).double())
        ends = extreme_eigenvalues(op, rtol=1e-2, max_products=LANCZOS_PRODUCTS, generator=generator)
    values: dict[str, float] = {}
    for name, pairs in (("largest", ends.largest), ("smallest", ends.smallest)):
        if pairs.status is not Status.NONFINITE and len(pairs.values):
            values |= {f"{name}_eigenvalue": float(pairs.values[0]), f"{name}_residual": float(pairs.residuals[0])}
    if square > 0:
        values["gradient_curvature"] = bend / square
        values["best_step"] = square / bend if bend > 0 else float("inf")
    if taken.grad_norm > 0:
        values["step_scale"] = float((taken.after - taken.before).norm()) / taken.grad_norm
    return values


def evaluated(loss: LossFunction) -> LossFunction:
    """The loss in eval mode; only for use in an objective, which brings the mode back."""

    def in_eval_mode(model: nn.Module, batch: Batch) -> Tensor:
        model.eval()
        return loss(model, batch)

    return in_eval_mode


def snapshot_arrays(params: Params) -> dict[str, np.ndarray]:
    """The parameters by name, in NumPy; bfloat16 and half as float32, which holds them exactly."""
    arrays = {}
    for name, tensor in zip(params.names, params.tensors, strict=True):
        wide = tensor.detach().cpu()
        if wide.dtype in (torch.bfloat16, torch.float16):
            wide = wide.float()
        arrays[name] = np.ascontiguousarray(wide.numpy())
    return arrays


__all__ = [
    "NEEDS_BEFORE",
    "SHARES",
    "Bench",
    "Taken",
    "evaluated",
    "measure_curvature",
    "measure_layers",
    "measure_look",
    "measure_progress",
    "snapshot_arrays",
]
