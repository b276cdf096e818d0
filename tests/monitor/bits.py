"""Everything of a training that a monitor could have touched, as bytes to compare."""

import random
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from monitor.trainings import Row, Training
from theodolite import Monitor

_HOOKS = ("_hooks",)
_FLAGS = ("_hooks_with_kwargs", "_hooks_always_called")


@contextmanager
def seeded(seed=7):
    """The global generators at a seed, and back as they were."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])


def bits(value: Any, depth: int = 0) -> Any:
    """A value as nested tuples of plain things, tensors as their bytes."""
    if depth > 12:
        return "deep"
    if isinstance(value, Tensor):
        dense = (value.to_dense() if value.layout != torch.strided else value).detach().contiguous()
        raw = dense.cpu().reshape(-1).view(torch.uint8).numpy().tobytes() if dense.numel() else b""
        grad = bits(value.grad) if value.is_leaf and value.grad is not None else None
        return "tensor", str(value.dtype), tuple(value.shape), value.requires_grad, raw, grad
    if isinstance(value, np.ndarray):
        return "array", value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, torch.Generator):
        return bits(value.get_state())
    if isinstance(value, nn.Module):
        return module_bits(value, depth)
    if isinstance(value, Mapping):
        return tuple((str(key), bits(item, depth + 1)) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(bits(item, depth + 1) for item in value)
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, (int, str, bool, bytes, type(None))):
        return value
    if callable(getattr(value, "state_dict", None)):
        return bits(value.state_dict(), depth + 1)
    return type(value).__name__


def module_bits(module: nn.Module, depth: int) -> Any:
    """Every attribute of a module, children included; of hooks their number."""
    found = []
    for key, value in vars(module).items():
        if key.endswith(_FLAGS):
            continue
        if key.endswith(_HOOKS):
            found.append((key, sum(getattr(hook, "__name__", "") != "__exit__" for hook in value.values())))
        elif key == "_torchdynamo_wrapper_id":
            continue
        elif not callable(value) or isinstance(value, (nn.Module, Tensor, torch.Generator)):
            found.append((key, bits(value, depth + 1)))
    return tuple(found)


def globals_bits() -> Any:
    return (
        bits(torch.get_rng_state()),
        bits(np.random.get_state()),  # noqa: NPY002
        bits(random.getstate()),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_cache_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.backends.mkldnn.enabled,
        torch.backends.cudnn.enabled,
        torch.backends.cuda.math_sdp_enabled(),
        torch.backends.cuda.flash_sdp_enabled(),
        torch.backends.cuda.mem_efficient_sdp_enabled(),
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_anomaly_enabled(),
        torch.utils.checkpoint.CheckpointFunction.__name__,
    )


def trained(row: Row, watch: Callable[[Training], Any] | None, *, diagnoses: bool = False) -> dict[str, Any]:
    """Train a row to its end; ``watch`` makes a monitor of it, which may diagnose in the middle."""
    with seeded():
        run = row.build()
        monitor = watch(run) if watch is not None else None
        losses: list[Any] = []
        order: list[Any] = []
        for epoch in range(run.epochs):
            for batch in run.batches if monitor is None else monitor(run.batches):
                order.append(bits(batch))
                loss = run.body(run, batch)
                losses.append(bits(loss))
                if loss is None:
                    break
            if diagnoses and monitor is not None and epoch == 0:
                monitor.diagnose(seconds=0.5)
        middle = globals_bits()
        if monitor is not None and hasattr(monitor, "close"):
            monitor.close()
        optimizer = run.optimizer
        hooks = {key: len(value) for key, value in vars(optimizer).items() if key.endswith("_hooks")}
        return {
            "model": bits(run.model),
            "state_dict": bits(run.model.state_dict()),
            "optimizer": bits(optimizer.state_dict()),
            "groups": bits([{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]),
            "optimizer hooks": bits(hooks),
            "losses": bits(losses),
            "order": bits(order),
            "extras": bits(run.extras),
            "globals": globals_bits(),
            "globals before closing": middle,
        }


def differences(plain: Mapping[str, Any], watched: Mapping[str, Any]) -> list[str]:
    """Names of the parts that differ."""
    return [name for name in plain if plain[name] != watched[name]]


def monitored(folder: Path, **options) -> Callable[[Training], Monitor]:
    """A monitor of a training, everything measured at every step."""

    def watch(run: Training) -> Monitor:
        settings: dict[str, Any] = {"budget": None, "validation": run.validation} | options
        return Monitor(run.model, run.optimizer, run.loss, run=folder / "run", **settings)

    return watch


def named(rows: Iterable[Row], *, slow: Iterable[Row] = ()):
    import pytest

    return [
        *(pytest.param(row, id=row.name) for row in rows),
        *(pytest.param(row, id=row.name, marks=pytest.mark.slow) for row in slow),
    ]
