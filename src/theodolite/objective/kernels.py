"""Which kernels have a second derivative, and how are they chosen for a while?"""

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from theodolite.objective.convolutions import trilinear_convolutions

_REFUSALS = (
    "is not implemented",
    "not implemented for",
    "does not currently support double backward",
    "differentiate twice",
    "once_differentiable",
    "double backwards",
    "not supported for",
    "does not require grad and does not have a grad_fn",
)


@contextmanager
def recurrent_kernels_off() -> Iterator[None]:
    """Switch the recurrent kernels of oneDNN and cuDNN off, and no other flag of theirs."""
    backends: Any = torch.backends
    former = backends.mkldnn.enabled, backends.cudnn.enabled
    backends.mkldnn.enabled = backends.cudnn.enabled = False
    try:
        yield
    finally:
        backends.mkldnn.enabled, backends.cudnn.enabled = former


@contextmanager
def dense_embeddings(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Let embeddings give dense gradients; few operations on sparse ones can be differentiated."""
    sparse = [module for module in modules if isinstance(module, (nn.Embedding, nn.EmbeddingBag)) and module.sparse]
    for module in sparse:
        module.sparse = False
    try:
        yield
    finally:
        for module in sparse:
            module.sparse = True


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """Weight normalisation g·v/‖v‖ from primitives."""
    return v * (g / torch.norm_except_dim(v, 2, dim))


@contextmanager
def primitive_weight_norm() -> Iterator[None]:
    """Form weight normalisation from primitives: the second derivative of torch's own holds ‖v‖ fixed.

    Measured in torch 2.13: a product wrong by 0.6 of its size, without an error.
    """
    homes: list[Any] = [torch, sys.modules["torch.nn.utils.weight_norm"]]
    fused = torch._weight_norm
    for home in homes:
        home._weight_norm = _weight_norm
    try:
        yield
    finally:
        for home in homes:
            home._weight_norm = fused


@contextmanager
def twice_differentiable(roots: Iterable[nn.Module]) -> Iterator[None]:
    """Run attention, recurrent layers, embeddings and weight normalisation so that they can be differentiated twice.

    The fused scaled-dot-product attention has no second derivative; the mathematical one has. The recurrent kernels of
    cuDNN have none, those of oneDNN a slow one (8.6 against 5.7 gradients a product); both are switched off where a
    recurrent layer is present, and only there, since the switch would slow convolutions too. The second derivative of
    the fused weight normalisation is wrong, that of convolutions slow.

    Args:
        roots: Roots of the module trees that will be run.

    Yields:
        Nothing.
    """
    modules = [module for root in roots for module in root.modules()]
    with ExitStack() as stack:
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(dense_embeddings(modules))
        stack.enter_context(primitive_weight_norm())
        stack.enter_context(trilinear_convolutions())
        if any(isinstance(module, nn.RNNBase) for module in modules):
            stack.enter_context(recurrent_kernels_off())
        yield


def lacks_second_derivative(error: BaseException) -> bool:
    """Whether an error says that some operation cannot be differentiated twice.

    Args:
        error: What differentiating raised.

    Returns:
        The answer, read from the message.
    """
    return isinstance(error, NotImplementedError) or (
        isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in _REFUSALS)
    )
