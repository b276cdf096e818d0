"""J(θ) once more, by hand in float64: the loss of a copy of the model, called functionally, and its dense Hessian."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from families import Family, Problem, cast


@dataclass(frozen=True)
class Oracle:
    point: Tensor
    value: Callable[[Tensor], Tensor]

    def number(self, theta: Tensor) -> float:
        return float(self.value(theta.double()).detach())

    def gradient(self, theta: Tensor) -> Tensor:
        theta = theta.double().detach().requires_grad_()
        (found,) = torch.autograd.grad(self.value(theta), theta)
        return found

    def hessian(self, theta: Tensor) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH), ByHand():
            return torch.autograd.functional.hessian(self.value, theta.double().detach())


class ByHand(TorchFunctionMode):
    """Weight normalisation by hand: differentiated twice, torch's own is wrong."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch._weight_norm:
            v, g, dim = args
            others = [axis for axis in range(v.ndim) if axis != dim]
            return g * v / (v**2).sum(others, keepdim=True).sqrt()
        return func(*args, **(kwargs or {}))


def oracle_of(family: Family) -> Oracle:
    return oracle(family(torch.float64))


def oracle(problem: Problem) -> Oracle:
    start = problem.model
    named = {name: tensor for name, tensor in start.named_parameters() if tensor.requires_grad}
    shapes = {name: tensor.shape for name, tensor in named.items()}

    def value(theta: Tensor) -> Tensor:
        total, examples = theta.new_zeros(()), 0
        for batch in problem.batches:
            fresh = cast(copy.deepcopy(problem), torch.float64)  # every batch meets the model as it was found
            simplify(fresh.model)
            parts = dict(zip(shapes, theta.split([shape.numel() for shape in shapes.values()]), strict=True))
            values = {name: part.reshape(shapes[name]) for name, part in parts.items()}
            size = examples_of(batch)
            total = total + size * functional_loss(fresh, values, batch)
            examples += size
        return total / examples

    point = torch.cat([tensor.detach().double().reshape(-1) for tensor in named.values()])
    return Oracle(point, value)


def functional_loss(problem: Problem, values: dict[str, Tensor], batch) -> Tensor:
    """The loss with the model's parameters replaced, also where the loss holds them itself."""

    class Called(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model, self.loss = problem.model, problem.loss

        def forward(self, batch):
            return self.loss(self.model, batch)

    renamed = {f"model.{name}": value for name, value in values.items()}
    return torch.func.functional_call(Called(), renamed, (batch,), tie_weights=True)


def simplify(model: torch.nn.Module) -> None:
    for module in model.modules():
        if getattr(module, "sparse", False):
            module.sparse = False
        if hasattr(module, "is_checkpointing"):
            module.is_checkpointing = False  # it would recompute when functional_call has put the old tensors back


def examples_of(batch) -> int:
    parts = batch.values() if isinstance(batch, dict) else batch
    return next(len(part) for part in parts if part.ndim)
