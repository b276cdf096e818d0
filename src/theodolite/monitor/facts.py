"""What should be known of a run beside its series: versions, hardware, model, optimizer."""

import platform
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from theodolite.objective import Params


def describe(model: nn.Module, optimizer: torch.optim.Optimizer, params: Params) -> dict[str, Any]:
    """Metadata of a run.

    Args:
        model: The model.
        optimizer: Its optimizer.
        params: The parameters that are watched.

    Returns:
        Plain values, by name.
    """
    device = params.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    held = {id(tensor) for group in optimizer.param_groups for tensor in group["params"]}
    own = {id(tensor) for tensor in params.tensors}
    return {
        "torch": torch.__version__,
        "device": str(device),
        "device_name": name,
        "threads": torch.get_num_threads(),
        "model": type(model).__name__,
        "dimension": params.dimension,
        "dtype": str(params.dtype).removeprefix("torch."),
        "layers": list(params.names),
        "optimizer": type(optimizer).__name__,
        "hyperparameters": [_plain_group(group) for group in optimizer.param_groups],
        "params_outside_optimizer": [n for n, p in model.named_parameters() if p.requires_grad and id(p) not in held],
        "num_params_outside_model": len(held - own),
    }


def _plain_group(group: dict[str, Any]) -> dict[str, Any]:
    """A parameter group without its tensors."""
    return {key: _plain(value) for key, value in group.items() if key != "params"}


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)
