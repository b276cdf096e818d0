"""Which measurements are made of a step, what do they need, and what do they record?"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from theodolite.probes.samples import kept, regrouped
from theodolite.probes.units import dead_units, layer_norms
from theodolite.records import Status

LANCZOS_PRODUCTS = 30
"""Products of one look at both ends of the spectrum: enough for 1 % on the models of the benchmark."""

SHARES: Mapping[str, tuple[float, float]] = {
    "loss": (0.25, 0.05),
    "norms": (0.10, 0.15),
    "skips": (0.05, 0.10),
    "look": (0.10, 1.6),
    "progress": (0.25, 18.0),
    "layers": (0.05, 17.0),
    "curvature": (0.10, 300.0),
    "validation": (0.05, 10.0),
    "snapshot": (0.05, 10.0),
}
"""Each measurement's share of the budget, and its price in steps before it is known."""

_SAME_MEAN = 0.1
"""Dropout masks differ from batch to batch; a loss that means something else by a batch differs by more."""

NEEDS_BEFORE = frozenset(("norms", "look", "progress", "layers", "curvature"))
"""Measurements that need θ from before the step."""

NEEDS_BATCH = frozenset(("loss", "look", "progress"))
"""Measurements that need the batches that the step is made from."""

NEEDS_REFERENCE = frozenset(("progress", "layers", "curvature"))
"""Measurements on the reference sample."""


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

    def grouped(self, batches: Sequence[Batch], precision: Precision, *, groups: int | None = None) -> list[Batch]:
        """The same examples in batches of a useful size, as ``regrouped``, where the loss takes them so.

        A loss may read the first dimension of a batch as something else than examples: where it fails on the new
        batches, or their mean is another one, batches stay as they are.

        Args:
            batches: Batches of the run.
            precision: Autocast state of the run.
            groups: As in ``regrouped``; None is its default.

        Returns:
            The batches.
        """
        merged = regrouped(batches, self.model) if groups is None else regrouped(batches, self.model, groups=groups)
        if len(merged) == len(batches):
            return merged
        apart = self.objective(list(batches), precision).value()
        try:
            together = self.objective(merged, precision).value()
        except (RuntimeError, ValueError, TypeError, IndexError):
            return list(batches)
        is_same = math.isclose(apart, together, rel_tol=_SAME_MEAN, abs_tol=1e-6) or not math.isfinite(apart)
        return merged if is_same else list(batches)

    def checked(self, validation: object, precision: Callable[[], Precision]) -> Objective:
        """J over validation data in eval mode, in the precision that the training has by then."""
        loss = self.loss

        def evaluated(model: nn.Module, batch: Batch) -> Tensor:
            model.eval()
            with precision().entered():
                return loss(model, kept(batch))

        return Objective(self.model, evaluated, validation, parameters=self.params.names, seed=self.seed)

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


@contextmanager
def thawed(params: Params) -> Iterator[None]:
    """Let parameters that were frozen since the start require gradients while they are measured."""
    frozen = [tensor for tensor in params.tensors if not tensor.requires_grad]
    for tensor in frozen:
        tensor.requires_grad_(True)
    try:
        yield
    finally:
        for tensor in frozen:
            tensor.requires_grad_(False)


def gradient_norm(params: Params) -> Float[Tensor, ""] | None:
    """‖.grad‖₂ over all parameters, float64 on their device; None if there is no gradient."""
    gradients = [tensor.grad.detach() for tensor in params.tensors if tensor.grad is not None]
    dense = [g.coalesce().values() if g.layout == torch.sparse_coo else g for g in gradients]
    if not dense:
        return None
    # Sums of squares in half precision overflow, and keep three digits.
    wide = torch.float32 if any(g.dtype in (torch.float16, torch.bfloat16) for g in dense) else None
    norms = [norm.to(params.device, torch.float64) for norm in torch._foreach_norm(dense, 2, dtype=wide)]
    total: Tensor = torch.linalg.vector_norm(torch.stack(norms))
    return total


def update_norms(
    before: Float[Tensor, "params"], update: Float[Tensor, "params"], last: Float[Tensor, "params"] | None
) -> dict[str, Tensor]:
    """Norms of θ and of an update, and the cosine between it and the one before, on their device.

    Args:
        before: θ before the step.
        update: Δθ.
        last: Δθ of the step before, if known.

    Returns:
        Values by name of the series; the cosine is NaN where an update is zero.

    Limits: in the type of θ, half precision in float32; 10⁶ float32 terms are summed to about six digits.
    """
    half = update.dtype in (torch.bfloat16, torch.float16)
    theta, delta = (before.float(), update.float()) if half else (before, update)
    length = delta.norm().double()
    values = {"update_norm": length, "param_norm": theta.norm().double()}
    if last is not None:
        previous = last.to(delta)
        values["update_cosine"] = torch.dot(delta, previous).double() / (length * previous.norm().double())
    return values


def snapshot_arrays(params: Params) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The parameters by name, in NumPy; bfloat16 as float32, which holds it exactly, with its own name beside it."""
    arrays, dtypes = {}, {}
    for name, tensor in zip(params.names, params.tensors, strict=True):
        plain = tensor.detach().cpu()
        if plain.dtype == torch.bfloat16:
            plain, dtypes[name] = plain.float(), "bfloat16"
        arrays[name] = np.ascontiguousarray(plain.numpy())
    return arrays, dtypes
