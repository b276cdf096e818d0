"""Everything that a measurement could leave behind, as one comparable dict."""

import random
from typing import Any

import numpy as np
import torch
import torch.utils.checkpoint
from torch import Tensor, nn


def traces(*owners: Any) -> dict[str, Any]:
    """State of modules, generators and loaders, of the global generators, and of the switches of torch."""
    found: dict[str, Any] = {}
    for index, owner in enumerate(owners):
        for path, module in owner.named_modules() if isinstance(owner, nn.Module) else [("", owner)]:
            found |= {f"{index}.{path}.{name}": value for name, value in attributes(module).items()}
    return found | randomness() | switches()


def attributes(owner: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"keys": list(vars(owner))}
    for name, value in vars(owner).items():
        found[name] = describe(value)
    if isinstance(owner, nn.Module):
        for kind in ("_parameters", "_buffers"):
            found[kind] = {key: describe(value) for key, value in getattr(owner, kind).items()}
    return found


def describe(value: Any, depth: int = 2) -> Any:
    """What an object is and holds; tensors and arrays to the bit."""
    if isinstance(value, Tensor):
        grad = None if not value.is_leaf or value.grad is None else describe(value.grad)
        where = value.data_ptr(), value.stride(), value._version
        hooks = list((value._backward_hooks or {}).items())
        return id(value), where, value.requires_grad, value.dtype, bits(value), hooks, grad
    if isinstance(value, np.ndarray):
        return id(value), value.tobytes()
    if isinstance(value, torch.Generator):
        return id(value), bits(value.get_state())
    if isinstance(value, np.random.Generator):
        return id(value), str(value.bit_generator.state)
    if isinstance(value, random.Random):
        return id(value), value.getstate()
    if isinstance(value, dict) and depth:
        return id(value), [(key, describe(item, depth - 1)) for key, item in value.items()]
    if isinstance(value, (list, tuple)) and depth:
        return id(value), [describe(item, depth - 1) for item in value]
    if isinstance(value, (int, float, str, bool, type(None))):
        return value
    return id(value)


def bits(tensor: Tensor) -> bytes:
    dense = tensor.detach().to_dense() if tensor.layout != torch.strided else tensor.detach()
    return dense.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def randomness() -> dict[str, Any]:
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    return {
        "torch generator": bits(torch.get_rng_state()),
        "python generator": random.getstate(),
        "numpy generator": (name, keys.tobytes(), rest),
    }


def switches() -> dict[str, Any]:
    return {
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "anomaly mode": torch.is_anomaly_enabled(),
        "default dtype": torch.get_default_dtype(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
        "autocast cache": torch.is_autocast_cache_enabled(),
        "attention": (
            torch.backends.cuda.flash_sdp_enabled(),
            torch.backends.cuda.mem_efficient_sdp_enabled(),
            torch.backends.cuda.math_sdp_enabled(),
            torch.backends.cuda.cudnn_sdp_enabled(),
        ),
        "mkldnn": torch.backends.mkldnn.set_flags(_fp32_precision=None),
        "cudnn": torch.backends.cudnn.set_flags(_fp32_precision=None),
        "precision": torch.get_float32_matmul_precision(),
        "checkpoint": torch.utils.checkpoint.CheckpointFunction,
        "weight norm": torch._weight_norm,
        "threads": torch.get_num_threads(),
    }
