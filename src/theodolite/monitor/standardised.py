"""How would the run go on with inputs of mean zero and variance one, from a point where the model computes the same?"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from theodolite.monitor.branch import Branch
from theodolite.monitor.tape import Repeat
from theodolite.objective.data import Batch

_SPREAD, _OFFSET = 10.0, 3.0
"""Features need it if their scales differ by more than ten, or a mean exceeds three standard deviations."""

_CONSTANT = 1e-6
"""A feature that varies by less than this share of its size is constant."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and standard deviation of each input feature over the examples, float64; images are flattened.

    Attributes:
        mean: One a feature.
        scale: One a feature; 1 where the feature is constant.
        is_constant: Which features are.
    """

    mean: Float[Tensor, "features"]
    scale: Float[Tensor, "features"]
    is_constant: Tensor

    @property
    def need(self) -> str:
        """Why the inputs should be normalised, in words; empty if they need not."""
        scale, mean = self.scale[~self.is_constant], self.mean[~self.is_constant]
        if scale.numel() == 0:
            return ""
        spread, offset = float(scale.max() / scale.min()), float((mean.abs() / scale).max())
        if spread > _SPREAD:
            return f"scales of the features differ by a factor {spread:.3g}"
        return f"a mean is {offset:.3g} standard deviations from zero" if offset > _OFFSET else ""


def input_moments(items: Sequence[Repeat]) -> Moments | None:
    """Moments of the inputs: of the first element of each batch.

    Args:
        items: The examples.

    Returns:
        The moments; None unless every first element is a float tensor of shape (N, features) or (N, C, H, W).
    """
    inputs = [_first(item.batch) for item in items]
    if not inputs or any(x is None or not x.is_floating_point() or x.ndim not in (2, 4) for x in inputs):
        return None
    rows = [x.detach().double().flatten(1) for x in inputs if x is not None]
    if any(row.shape[1] != rows[0].shape[1] for row in rows) or not all(bool(torch.isfinite(r).all()) for r in rows):
        return None
    whole = torch.cat(rows)
    mean, scale = whole.mean(0), whole.std(0, correction=0)
    is_constant = scale <= _CONSTANT * whole.abs().amax(0)
    return Moments(mean, torch.where(is_constant, 1.0, scale), is_constant)


def standardised(item: Repeat, moments: Moments, *, is_centred: bool) -> Repeat:
    """A batch with inputs (x − μ)/σ.

    Args:
        item: The batch.
        moments: μ and σ.
        is_centred: Whether μ is subtracted.

    Returns:
        The batch under the same randomness and precision.
    """

    def changed(x: Tensor) -> Tensor:
        mean = moments.mean if is_centred else torch.zeros_like(moments.mean)
        return ((x.double().flatten(1) - mean) / moments.scale).reshape(x.shape).to(x.dtype)

    return Repeat(_with_first(item.batch, changed), item.state, item.precision)


def first_layer(branch: Branch, item: Repeat, features: int) -> nn.Linear | None:
    """The linear layer that a model begins with.

    Args:
        branch: A branch, whose buffers may move.
        item: A batch.
        features: How many inputs it must take.

    Returns:
        The layer; None if the first module with parameters that is called is another, or is not trained.

    Cost: one forward pass over the batch.
    """
    called: list[nn.Module] = []
    holders = [m for m in branch.model.modules() if next(m.parameters(recurse=False), None) is not None]
    handles = [m.register_forward_pre_hook(lambda module, _: called.append(module)) for m in holders]
    try:
        branch.evaluate(item, 0)
    finally:
        for handle in handles:
            handle.remove()
    trained = {id(tensor) for tensor in branch.params.tensors}
    if not called or not isinstance(called[0], nn.Linear) or called[0].in_features != features:
        return None
    return called[0] if all(id(tensor) in trained for tensor in called[0].parameters()) else None


def fold(branch: Branch, layer: nn.Linear, moments: Moments) -> None:
    """Let a layer give on (x − μ)/σ what it gave on x: W ← Wσ, b ← b + Wμ; what the optimizer remembers is emptied.

    Args:
        branch: The branch that the layer belongs to.
        layer: Its first layer; without a bias, μ counts as zero.
        moments: μ and σ.
    """
    with torch.no_grad():
        weight = layer.weight.double()
        mean, scale = moments.mean.to(weight.device), moments.scale.to(weight.device)
        if layer.bias is not None:
            layer.bias.add_((weight @ mean).to(layer.bias.dtype))
        layer.weight.copy_((weight * scale).to(layer.weight.dtype))
    for tensor in layer.parameters():
        branch.forget(tensor)


def is_same(here: float, there: float, dtype: torch.dtype) -> bool:
    """Whether two values of J agree to the rounding of the way from inputs to J: √ε of it."""
    return math.isfinite(there) and abs(here - there) <= math.sqrt(torch.finfo(dtype).eps) * abs(here)


def _first(batch: Batch) -> Tensor | None:
    """The first element of a batch, if it is a tensor."""
    if isinstance(batch, Tensor):
        return batch
    if type(batch) in (tuple, list) and batch:
        return batch[0] if isinstance(batch[0], Tensor) else None
    value: Any = next(iter(batch.values()), None) if type(batch) is dict else None
    return value if isinstance(value, Tensor) else None


def _with_first(batch: Any, change: Callable[[Tensor], Tensor]) -> Batch:
    """A batch of the same kind with its first element changed."""
    if isinstance(batch, Tensor):
        return change(batch)
    if isinstance(batch, dict):
        name = next(iter(batch))
        return batch | {name: change(batch[name])}
    return type(batch)((change(batch[0]), *batch[1:]))
