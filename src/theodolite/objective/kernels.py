"""Which kernels have a second derivative, and how are they chosen for a while?"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

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
def _onednn_off() -> Iterator[None]:
    """Switch oneDNN off alone: ``mkldnn.flags`` also sets its TF32 switch, which warns on a machine without."""
    enabled, *_ = torch.backends.mkldnn.set_flags(False)
    try:
        yield
    finally:
        torch.backends.mkldnn.set_flags(enabled)


@contextmanager
def twice_differentiable(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Let attention and recurrent layers run on kernels that can be differentiated twice.

    The fused scaled-dot-product attention has no second derivative; the mathematical one has. The recurrent kernels of
    cuDNN have none, those of oneDNN a slow one (8.6 against 5.7 gradients a product); both are switched off where a
    recurrent layer is present, and only there, since the switch would slow convolutions too.

    Args:
        modules: Roots of the module trees that will be run.
    """
    with ExitStack() as stack:
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if any(isinstance(module, nn.RNNBase) for root in modules for module in root.modules()):
            stack.enter_context(_onednn_off())
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        yield


def lacks_second_derivative(error: BaseException) -> bool:
    """Whether an error says that some operation cannot be differentiated twice."""
    return isinstance(error, NotImplementedError) or (
        isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in _REFUSALS)
    )
