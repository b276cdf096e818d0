"""What is J(θ) in float64, where the training runs in less?"""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor, nn

from theodolite.errors import ObjectiveError
from theodolite.objective.data import Batch
from theodolite.objective.params import trainable
from theodolite.objective.sources import ModelSource, Source


def widened(source: Source) -> ModelSource:
    """A copy of a source in float64: model, loss if it is a module, and every floating-point number of its batches.

    Args:
        source: The batches, with their model.

    Returns:
        The copy, at the same point; parameters without a gradient stay so.

    Raises:
        ObjectiveError: If the source is a function of a vector, or its loss holds modules that cannot be copied along.
    """
    if not isinstance(source, ModelSource):
        raise ObjectiveError(
            "the objective must be formed of a model to be widened, and this one is a function of a vector. "
            "Form it at a start of type torch.float64."
        )
    loss: Any = source.loss
    if not isinstance(loss, nn.Module) and source.modules[1:]:
        held = [type(module).__name__ for module in source.modules[1:]]
        raise ObjectiveError(
            f"the loss must get every module as an argument to be widened, but it holds {held} itself. "
            "Form the objective of model.double() and a loss in float64."
        )
    model, loss = copy.deepcopy((source.model, loss))  # functions are not copied
    for module in (model, loss):
        if isinstance(module, nn.Module):
            module.double()

    def batches() -> Iterator[Batch]:
        for batch in source.batches():
            yield _wide(batch)

    return ModelSource(trainable(model, source.params.names), model, loss, batches, source.count)


def _wide(value: Any) -> Any:
    """A batch with its floating-point numbers in float64."""
    if isinstance(value, Tensor):
        return value.double() if value.is_floating_point() else value
    if isinstance(value, np.ndarray):
        return value.astype(np.float64) if value.dtype.kind == "f" else value
    if isinstance(value, dict):
        return {key: _wide(item) for key, item in value.items()}
    return type(value)(_wide(item) for item in value) if type(value) in (tuple, list) else value
