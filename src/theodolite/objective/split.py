"""Where does a model end and its loss begin: J as ℓ(z(θ), θ), with z what the model puts out."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from theodolite.errors import ObjectiveError
from theodolite.objective.sources import Term


@dataclass(frozen=True, eq=False)
class Split:
    """The loss of one batch, cut at the outputs of a module.

    Attributes:
        outputs: z, with their graph down to θ.
        leaves: The same values without a graph, on which the loss was computed.
        loss: ℓ, a function of the leaves, and of θ where the loss reaches it past the outputs (penalties).
    """

    outputs: tuple[Tensor, ...]
    leaves: tuple[Tensor, ...]
    loss: Tensor


def split_at(module: nn.Module, loss: Term) -> Split:
    """Evaluate a loss, cut at the outputs of a module.

    Args:
        module: The model, or a part of it; called once or several times by the loss.
        loss: The loss of a batch.

    Returns:
        Both halves.

    Raises:
        ObjectiveError: If the loss does not call the module, calls it on its own outputs, differentiates it, or is
            itself what the module puts out.
        RuntimeError: What else the model raises.
    """
    pairs: list[tuple[Tensor, Tensor]] = []
    with _cutting(module, pairs):
        try:
            value = loss()
        except RuntimeError as error:
            if "used in the graph" not in str(error) and "does not require grad" not in str(error):
                raise
            raise ObjectiveError(
                "the loss must be a function of the model's outputs, but it differentiates them with respect to the "
                f"inputs ({error}). Use hessian(objective)."
            ) from error
    if not pairs:
        raise ObjectiveError(
            f"the loss must call the {type(module).__name__} whose outputs it is a function of, and did not (a call of "
            "module.forward does not count). Call model(inputs) in loss(model, batch), or name the module whose "
            "outputs are meant: output='head'."
        )
    outputs, leaves = zip(*pairs, strict=True)
    _require_apart(outputs, leaves)
    if any(leaf is value or leaf.data_ptr() == value.data_ptr() for leaf in leaves):
        raise ObjectiveError(
            "the loss must be computed from the model's outputs, but the model puts out the loss itself. Compute it "
            "from the predictions in loss(model, batch), or name the module that makes them: output='head'."
        )
    return Split(outputs, leaves, value)


def _require_apart(outputs: Sequence[Tensor], leaves: Sequence[Tensor]) -> None:
    """Complain if one output was computed from another, of which only a copy without a graph was handed on."""
    for place, output in enumerate(outputs[1:], start=1):
        found = torch.autograd.grad(output.sum(), leaves[:place], retain_graph=True, allow_unused=True)
        if any(slope is not None for slope in found):
            raise ObjectiveError(
                "outputs must be computed from inputs, but the module is called on what it put out before, as in an "
                "unrolled loop. Wrap all of its calls into one module, and let that be the model."
            )


@contextmanager
def _cutting(module: nn.Module, pairs: list[tuple[Tensor, Tensor]]) -> Iterator[None]:
    """Replace what a module puts out by leaves of the same value, and note both."""

    def cut(value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.requires_grad:
            return value
        leaf = value.detach().requires_grad_()
        pairs.append((value, leaf))
        return leaf

    handle = module.register_forward_hook(lambda module, inputs, output: tree_map(cut, output))
    try:
        yield
    finally:
        handle.remove()
