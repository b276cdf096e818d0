"""How is a first layer spared: its output at origin + Σₖ cₖ·directionₖ is affine in c where its input is fixed.

z(c) = W(c)x + b(c) = z₀ + Σₖ cₖ·zₖ, exactly. The layer is run once a direction; a point costs one addition.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from theodolite.landscape.flats import AffineSum, Flat
from theodolite.objective.params import Params
from theodolite.objective.sources import Term

_KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)

_MEMORY = 2**28
"""Bytes that kept outputs may take: 256 MiB."""


class _HeardError(Exception):
    """The input of a layer, on its way out of the forward pass."""

    def __init__(self, name: str, value: Tensor) -> None:
        super().__init__("a layer was reached")
        self.name, self.value = name, value


@torch.enable_grad()
def first_layer(model: nn.Module | None, term: Term) -> str:
    """Name of the layer that a loss reaches first, if what it gets does not depend on parameters.

    Args:
        model: The model; None where there is none.
        term: The loss of a batch; its forward pass goes no further than that layer.

    Returns:
        The name among the model's modules; "" if no layer is linear or a convolution, free of hooks and with weights
        that are parameters, or the first of them gets what other parameters have made.
    """
    layers = {} if model is None else {name: module for name, module in model.named_modules() if _is_plain(module)}
    try:
        for name, module in layers.items():
            module.__dict__["forward"] = partial(_stop, name)
        term()
    except _HeardError as heard:
        return "" if heard.value.requires_grad else heard.name
    finally:
        for module in layers.values():
            module.__dict__.pop("forward", None)
    return ""


def _stop(name: str, value: Tensor) -> Tensor:
    """Leave the forward pass where a layer is reached."""
    raise _HeardError(name, value)


def _is_plain(module: nn.Module) -> bool:
    """Whether a module is a layer W x + b with parameters of its own, run by its own ``forward`` and nothing else."""
    return (
        type(module) in _KINDS
        and isinstance(module._parameters.get("weight"), nn.Parameter)
        and not (module._forward_hooks or module._forward_pre_hooks or "forward" in module.__dict__)
    )


class WeightsReadError(Exception):
    """Somebody reads weights that were left out of date."""


class Unread(TorchFunctionMode):
    """Runs code that must not read some tensors: penalties, tied layers and further calls of a layer do."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        """Take the tensors; what shares their memory counts as they do."""
        super().__init__()
        self._places = {tensor.untyped_storage().data_ptr() for tensor in tensors}
        self.is_held = True

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation if it reads none of the tensors."""
        kwargs = kwargs or {}
        self.is_held &= not any(map(self._is_one, tree_leaves((args, kwargs))))
        if not self.is_held:
            raise WeightsReadError(f"{func} reads weights that were left out of date")
        return func(*args, **kwargs)

    def _is_one(self, value: object) -> bool:
        """Whether a value is one of the tensors, or cannot be told from them."""
        if not isinstance(value, Tensor) or value.layout != torch.strided:
            return False
        try:
            return value.untyped_storage().data_ptr() in self._places
        except RuntimeError:  # inside transformations of functions, tensors have no memory of their own
            return True


class AffineOutputs:
    """The outputs of one layer on several pieces of data, as affine functions of the coefficients."""

    def __init__(self, module: nn.Module, sums: Sequence[AffineSum], buffers: Sequence[Tensor]) -> None:
        """Take the layer, a sum a piece, and where each is written to."""
        self._module, self._sums, self._buffers = module, sums, buffers
        self._next: Tensor | None = None

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """Those of the layer."""
        return tuple(self._module.parameters(recurse=False))

    @classmethod
    @torch.no_grad()
    def of(
        cls, module: Any, inputs: Sequence[Tensor], flat: Flat, params: Params, *, dtype: torch.dtype
    ) -> Self | None:
        """Run the layer once a piece and direction.

        Args:
            module: The layer.
            inputs: What it gets of each piece.
            flat: Origin and directions.
            params: The tensors that make up θ.
            dtype: Type of the outputs.

        Returns:
            The outputs; None if they would take too much memory.
        """
        weights = _weights(module, flat, params)
        sums, buffers, room = [], [], _MEMORY
        for value in inputs:
            outputs = [_apply(module, value, *weight) for weight in weights]
            room -= sum(output.nbytes for output in outputs)
            if room < 0:
                return None
            sums.append(AffineSum(outputs[:1], [[output] for output in outputs[1:]]))
            buffers.append(torch.empty_like(outputs[0], dtype=dtype))
        return cls(module, sums, buffers)

    def put(self, piece: int, row: tuple[float, ...]) -> None:
        """Let the next call of the layer give its output on a piece at a point.

        Args:
            piece: Place of the piece.
            row: c, a coefficient a direction.
        """
        self._sums[piece].write(row, [self._buffers[piece]])
        self._next = self._buffers[piece]

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Let the layer's first call after each ``put`` give what was put; further calls run it as it is.

        Yields:
            Nothing.
        """
        plain = self._module.forward

        def forward(value: Tensor) -> Tensor:
            if self._next is None:
                result: Tensor = plain(value)
                return result
            output, self._next = self._next, None
            return output

        self._module.__dict__["forward"] = forward
        try:
            yield
        finally:
            self._module.__dict__.pop("forward", None)


def input_of(module: nn.Module, term: Term) -> Tensor | None:
    """What a layer gets in the forward pass of a loss, which goes no further.

    Args:
        module: The layer.
        term: The loss of a batch.

    Returns:
        The input of its first call; None if it is not called.
    """
    module.__dict__["forward"] = partial(_stop, "")
    try:
        term()
    except _HeardError as heard:
        return heard.value.detach().clone()
    finally:
        module.__dict__.pop("forward", None)
    return None


def _weights(module: Any, flat: Flat, params: Params) -> list[tuple[Tensor, Tensor | None]]:
    """Weight and bias at the origin and along each direction, where a parameter that is not in θ does not move."""
    origin, directions = flat.parts(params)
    places = {id(tensor): place for place, tensor in enumerate(params.tensors)}

    def part(tensor: Tensor | None, parts: Sequence[Tensor], *, is_origin: bool) -> Tensor | None:
        if tensor is None:
            return None
        if id(tensor) in places:
            return parts[places[id(tensor)]].to(tensor.dtype)
        return tensor.detach() if is_origin else torch.zeros_like(tensor)

    found = []
    for index, parts in enumerate((origin, *directions)):
        weight = part(module.weight, parts, is_origin=index == 0)
        assert weight is not None
        found.append((weight, part(module.bias, parts, is_origin=index == 0)))
    return found


def _apply(module: Any, value: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The layer with other weights."""
    if isinstance(module, nn.Linear):
        return functional.linear(value, weight, bias)
    output: Tensor = module._conv_forward(value, weight, bias)
    return output
