"""How is a mean over batches formed with its error, and how are batches cut anew?"""

import copy
import math
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from theodolite.objective import count_examples
from theodolite.objective.data import Batch
from theodolite.records import Estimate

_GROUPS = 8
"""Aim for so many groups: the standard error of a mean over 8 is itself known to about 27 %, and each costs a pass."""


_PLAIN = frozenset((bool, int, float, str, bytes, type(None)))


def weighted_mean(
    counts: Sequence[float] | np.ndarray, values: Sequence[float] | np.ndarray, *, rounding: float = 0.0
) -> Estimate:
    """Mean of batch means weighted by their sizes, with its standard error over the batches.

    Args:
        counts: Examples of each batch.
        values: Mean of each batch.
        rounding: Rounding error of the values; the only error where there is a single batch.

    Returns:
        The mean; its error is the rounding alone if there is one batch, which then *is* the sample.
    """
    weight, value = np.asarray(counts, np.float64), np.asarray(values, np.float64)
    if value.size == 0:
        return Estimate(math.nan, math.nan, 0)
    share = weight / weight.sum()
    scatter = 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        mean = float(share @ value)
        if value.size > 1:
            scatter = math.sqrt(float((share**2) @ (value - mean) ** 2) * value.size / (value.size - 1))
    return Estimate(mean, math.hypot(scatter, rounding), int(value.size))


def regrouped(batches: Sequence[Batch], model: nn.Module, *, groups: int = _GROUPS) -> list[Batch]:
    """The same examples in batches of a useful size.

    Many small batches are merged and a few large ones cut, along the first dimension of every tensor, so that a mean
    over batches carries an honest error. Batches stay as they are if they are not made of tensors with the same number
    of examples, or if the model has BatchNorm in train mode, where the loss depends on the company that examples keep.

    Args:
        batches: Batches of the run.
        model: The model that will see them.
        groups: Aim for so many batches.

    Returns:
        Batches with the same examples in the same order.
    """
    normalised = any(isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training for m in model.modules())
    counts = [count_examples(batch) for batch in batches]
    if normalised or not batches or not all(_is_stackable(batch, n) for batch, n in zip(batches, counts, strict=True)):
        return list(batches)
    try:
        whole = _merge(batches)
    except (TypeError, RuntimeError):
        return list(batches)
    total = sum(counts)
    size = math.ceil(total / groups)
    return [_cut(whole, slice(start, start + size)) for start in range(0, total, size)]


def _is_stackable(batch: Batch, count: int) -> bool:
    """Whether a batch is made of tensors that all hold so many examples."""
    if isinstance(batch, (Tensor, np.ndarray)):
        return batch.ndim > 0 and batch.shape[0] == count
    if isinstance(batch, Mapping):
        return type(batch) is dict and all(_is_stackable(part, count) for part in batch.values())
    return type(batch) in (tuple, list) and all(_is_stackable(part, count) for part in batch)


def _merge(batches: Sequence[Batch]) -> Batch:
    first = batches[0]
    if isinstance(first, Tensor):
        return torch.cat(list(batches))
    if isinstance(first, np.ndarray):
        return np.concatenate(batches)
    if isinstance(first, Mapping):
        return {key: _merge([batch[key] for batch in batches]) for key in first}
    return type(first)(_merge(parts) for parts in zip(*batches, strict=True))


def _cut(batch: Batch, part: slice) -> Batch:
    return mapped(batch, lambda leaf: leaf[part])


def mapped(batch: Batch, change: Callable[[Any], Any], *, depth: int = 4) -> Batch:
    """A batch of the same structure with every tensor and array changed; other parts are kept as they are.

    Args:
        batch: Tensors and arrays in tuples, lists, mappings of any class, named tuples, or attributes of an object.
        change: What to do with a tensor or array.
        depth: How many containers deep to look.

    Returns:
        A new batch; containers are copied, an object without tensors is handed on itself.
    """
    if isinstance(batch, (Tensor, np.ndarray)):
        return change(batch)
    if type(batch) in _PLAIN or depth == 0:
        return batch
    if isinstance(batch, PackedSequence):  # its batch sizes live on the CPU and belong to its shape
        return batch._replace(data=change(batch.data))
    if type(batch) in (tuple, list):
        return type(batch)(mapped(part, change, depth=depth - 1) for part in batch)
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(mapped(part, change, depth=depth - 1) for part in batch))
    return _mapped_object(batch, change, depth)


def _mapped_object(batch: Batch, change: Callable[[Any], Any], depth: int) -> Batch:
    """A copy of a mapping or object with the tensors it holds changed; the object itself if it has none."""
    if isinstance(batch, MutableMapping):
        filled = copy.copy(batch)
        for key, part in batch.items():
            filled[key] = mapped(part, change, depth=depth - 1)
        return filled
    held = getattr(batch, "__dict__", None)
    if not held or callable(batch) or isinstance(batch, type):
        return batch
    changed = {name: mapped(part, change, depth=depth - 1) for name, part in held.items()}
    if all(changed[name] is part for name, part in held.items()):
        return batch
    twin = copy.copy(batch)
    twin.__dict__.update(changed)
    return twin


def leaves_of(batch: Batch) -> list[Any]:
    """Tensors and arrays of a batch, in the order in which it holds them."""
    kind = type(batch)
    if kind is Tensor:
        return [batch]
    if (kind is tuple or kind is list) and all(type(part) is Tensor for part in batch):
        return list(batch)
    found: list[Any] = []

    def note(leaf: Any) -> Any:
        found.append(leaf)
        return leaf

    mapped(batch, note)
    return found


def versions_of(batch: Batch) -> tuple[int, ...]:
    """How often each tensor of a batch was changed in place."""
    leaves = leaves_of(batch)
    return tuple(-1 if not isinstance(leaf, Tensor) or leaf.is_inference() else leaf._version for leaf in leaves)


def kept(batch: Batch) -> Batch:
    """A copy of a batch that later changes in place cannot reach."""
    return mapped(batch, _copied)


def _copied(leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        return leaf.detach().clone().requires_grad_(leaf.requires_grad and leaf.is_leaf)
    return leaf.copy()


def size_of(batch: Batch) -> int:
    """Bytes of the tensors and arrays of a batch."""
    return sum(leaf.nbytes for leaf in leaves_of(batch))


def rounding_of(loss: float, dtype: torch.dtype) -> float:
    """Rounding error of a loss value computed in a type, as a rule of thumb: ε·|J|."""
    return torch.finfo(dtype).eps * abs(loss)


def as_array(vector: Float[Tensor, "params"]) -> Float[np.ndarray, "params"]:
    """A tensor as a NumPy array in float64 on the CPU."""
    return vector.detach().double().cpu().numpy()
