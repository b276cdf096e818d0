"""Model families: the rows of the tables that probes are tested on.

Each row builds the same small model, loss and data at every call, in the type asked for.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint


@dataclass(frozen=True)
class Problem:
    model: nn.Module
    loss: Callable[[nn.Module, Any], Tensor]
    data: Any
    batches: list[Any]
    """The batches that ``data`` gives, with their sizes."""


@dataclass(frozen=True)
class Family:
    name: str
    build: Callable[[], Problem]
    is_random: bool = False
    """Draws at random inside the model: the dense oracle, which draws otherwise, does not apply."""
    is_smooth: bool = True
    """Has a second derivative everywhere, and nothing in it is detached."""

    def __call__(self, dtype: torch.dtype = torch.float64) -> Problem:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            problem = self.build()
        return cast(problem, dtype)


def cast(problem: Problem, dtype: torch.dtype) -> Problem:
    problem.model.to(dtype)
    if isinstance(problem.loss, nn.Module):
        problem.loss.to(dtype)
    batches = [to(batch, dtype) for batch in problem.batches]
    data = batches if problem.data is problem.batches else (batches[0] if len(batches) == 1 else batches)
    return Problem(problem.model, problem.loss, data, batches)


def to(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, dict):
        return {key: to(item, dtype) for key, item in value.items()}
    return type(value)(to(item, dtype) for item in value)


def regression(model: nn.Module, batch: Any) -> Tensor:
    inputs, targets = batch
    return functional.mse_loss(model(inputs), targets)


def classification(model: nn.Module, batch: Any) -> Tensor:
    inputs, targets = batch
    output = model(inputs)
    return functional.cross_entropy(output.reshape(-1, output.shape[-1]), targets.reshape(-1))


def vectors(model: nn.Module, sizes=(5, 3), features=3, loss=regression, outputs=2) -> Problem:
    batches = [(torch.randn(size, features), torch.randn(size, outputs)) for size in sizes]
    return Problem(model, loss, batches, batches)


def images(model: nn.Module, sizes=(4, 3)) -> Problem:
    batches = [(torch.randn(size, 1, 4, 4), torch.randint(0, 2, (size,))) for size in sizes]
    return Problem(model, classification, batches, batches)


def tokens(model: nn.Module, sizes=(3, 2), length=3, words=4) -> Problem:
    batches = [(torch.randint(0, words, (size, length)), torch.randint(0, words, (size, length))) for size in sizes]
    return Problem(model, classification, batches, batches)


def mlp(activation: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), activation(), nn.Linear(4, 2))


def conv(norm: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), norm, nn.Tanh(), nn.Flatten(), nn.Linear(32, 2))


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]):
        super().__init__()
        self.embed = nn.Embedding(4, 2)
        self.core = kind(2, 2, num_layers=2, batch_first=True)
        self.read = nn.Linear(2, 4)

    def forward(self, ids):
        return self.read(self.core(self.embed(ids))[0])


class Encoder(nn.Module):
    def __init__(self, dropout: float):
        super().__init__()
        self.embed = nn.Embedding(4, 4)
        self.core = nn.TransformerEncoderLayer(4, 2, 5, dropout=dropout, batch_first=True, activation="gelu")
        self.read = nn.Linear(4, 4)

    def forward(self, ids):
        return self.read(self.core(self.embed(ids)))


class Causal(nn.Module):
    """One causal attention block, with its word table tied to the read-out."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(4, 4)
        self.norm = nn.LayerNorm(4)
        self.qkv = nn.Linear(4, 12)
        self.read = nn.Linear(4, 4, bias=False)
        self.read.weight = self.embed.weight

    def forward(self, ids):
        x = self.embed(ids)
        q, k, v = (part.reshape(*x.shape[:2], 2, 2).transpose(1, 2) for part in self.qkv(self.norm(x)).chunk(3, -1))
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(x.shape)
        return self.read(x + y)


class MultiHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(4, 4)
        self.core = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, ids):
        x = self.embed(ids)
        return self.core(x, x, x, need_weights=False)[0]


class Odd(nn.Module):
    """A scalar parameter, a transposed one, a channels-last one, an unused one, a frozen one."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.turned = nn.Parameter(torch.randn(4, 3).t())
        self.spread = nn.Parameter(torch.randn(2, 3, 2, 2).to(memory_format=torch.channels_last))
        self.unused = nn.Parameter(torch.randn(2))
        self.frozen = nn.Parameter(torch.randn(4, 2), requires_grad=False)

    def forward(self, x):
        picture = torch.tanh(x[:, :, None, None] * torch.ones(3, 3, dtype=x.dtype))
        extra = functional.conv2d(picture, self.spread).mean((2, 3))
        return self.scale * torch.tanh(x @ self.turned) @ self.frozen + extra**2


class Sparse(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(4, 3, sparse=True)
        self.read = nn.Linear(3, 4)

    def forward(self, ids):
        return self.read(torch.tanh(self.embed(ids)))


class Checkpointed(nn.Module):
    def __init__(self, use_reentrant: bool):
        super().__init__()
        self.core, self.use_reentrant, self.is_checkpointing = mlp(), use_reentrant, True

    def forward(self, x):
        if not self.is_checkpointing:
            return self.core(x)
        return checkpoint(self.core, x.detach().requires_grad_(), use_reentrant=self.use_reentrant)


class Stateful(nn.Module):
    """Counts its calls, remembers activations, carries a hidden state, and lets all of them act on its output."""

    def __init__(self):
        super().__init__()
        self.core = mlp()
        self.calls, self.history, self.table, self.hidden = 0, [], {"calls": 0}, None
        self.cache = [torch.zeros(2)]
        self.register_buffer("mean", torch.zeros(2))

    def forward(self, x):
        self.calls += 1
        self.table["calls"] += 1
        y = self.core(x)
        with torch.no_grad():
            self.mean.mul_(0.9).add_(y.mean(0), alpha=0.1)
            self.cache[0].add_(1)
        y = y * (1 + 0.1 * self.calls) + self.mean + self.cache[0].to(y)
        if self.hidden is not None:
            y = y + self.hidden.mean(0)
        self.hidden = y
        self.history.append(y.detach())
        return y


class Noisy(nn.Module):
    """Draws from a generator of its own, and from NumPy's and Python's."""

    def __init__(self):
        super().__init__()
        self.core = mlp()
        self.generator = torch.Generator().manual_seed(3)

    def forward(self, x):
        noise = torch.randn(x.shape, generator=self.generator, dtype=x.dtype)
        return self.core(x + noise) * (1 + np.random.rand()) + random.random()  # noqa: NPY002


class Penalized(nn.Module):
    """A loss that is a module, with a buffer that moves."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, model, batch):
        self.seen.add_(1)
        return regression(model, batch) * (1 + 0.1 * self.seen)


def penalty() -> Problem:
    model = mlp()
    weights = list(model.parameters())
    return vectors(model, loss=lambda m, batch: regression(m, batch) + 0.1 * sum((w**2).sum() for w in weights))


def physics() -> Problem:
    """u'' = f at points x: the loss differentiates the model twice."""

    def residual(model, batch):
        x = batch[0].detach().requires_grad_()
        u = model(x)
        (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
        (bend,) = torch.autograd.grad(slope.sum(), x, create_graph=True)
        return functional.mse_loss(bend, batch[1])

    model = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))
    return vectors(model, features=1, outputs=1, loss=residual)


def dictionary() -> Problem:
    batches = [{"scale": torch.tensor(2.0), "x": torch.randn(size, 3), "y": torch.randn(size, 2)} for size in (5, 3)]
    return Problem(mlp(), lambda m, b: b["scale"] * functional.mse_loss(m(b["x"]), b["y"]), batches, batches)


def one_batch() -> Problem:
    batch = [torch.randn(6, 3), torch.randn(6, 2)]
    return Problem(mlp(), regression, batch, [batch])


def evaluating(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
    return model.eval()


FAMILIES = (
    Family("mlp", lambda: vectors(mlp())),
    Family("relu", lambda: vectors(mlp(nn.ReLU)), is_smooth=False),
    Family("three batches", lambda: vectors(mlp(), sizes=(6, 1, 3))),
    Family("conv batchnorm train", lambda: images(conv(nn.BatchNorm2d(2)))),
    Family("conv batchnorm eval", lambda: images(evaluating(conv(nn.BatchNorm2d(2))))),
    Family("conv groupnorm", lambda: images(conv(nn.GroupNorm(1, 2)))),
    Family("layernorm", lambda: vectors(nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Tanh(), nn.Linear(4, 2)))),
    Family("lstm", lambda: tokens(Recurrent(nn.LSTM))),
    Family("gru", lambda: tokens(Recurrent(nn.GRU))),
    Family("transformer", lambda: tokens(Encoder(0.0))),
    Family("transformer eval", lambda: tokens(Encoder(0.3).eval())),
    Family("transformer dropout", lambda: tokens(Encoder(0.3)), is_random=True),
    Family("dropout", lambda: vectors(nn.Sequential(nn.Dropout(0.4), *mlp())), is_random=True),
    Family("causal attention, tied", lambda: tokens(Causal())),
    Family("multihead attention", lambda: tokens(MultiHead())),
    Family("odd parameters", lambda: vectors(Odd())),
    Family("sparse embeddings", lambda: tokens(Sparse())),
    Family("weight norm", lambda: vectors(nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 2)), nn.Tanh()))),
    Family(
        "spectral norm",
        lambda: vectors(nn.Sequential(parametrizations.spectral_norm(nn.Linear(3, 2)), nn.Tanh())),
        is_smooth=False,
    ),
    Family("checkpointed", lambda: vectors(Checkpointed(use_reentrant=False))),
    Family("checkpointed, reentrant", lambda: vectors(Checkpointed(use_reentrant=True))),
    Family("stateful", lambda: vectors(Stateful()), is_smooth=False),
    Family("noisy", lambda: vectors(Noisy()), is_random=True),
    Family("penalty", penalty),
    Family("loss module", lambda: vectors(mlp(), loss=Penalized())),
    Family("physics", physics),
    Family("dict batches", dictionary),
    Family("one list batch", one_batch),
)

BY_NAME = {family.name: family for family in FAMILIES}
