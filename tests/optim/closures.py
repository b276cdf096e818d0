"""Models with closures as people write them, and the optimizers under test with settings that suit all."""

from functools import partial

import torch
from torch import nn

from theodolite.optim import (
    DampedNewton,
    NaturalGradient,
    PerturbedGradientDescent,
    SaddleFreeNewton,
    TrustRegionNewtonCG,
)


def natural(params, **settings):
    """The natural gradient knows its model; it is found from its first parameter here."""
    params = [{**one, "params": list(one["params"])} if isinstance(one, dict) else one for one in params]
    first = params[0]["params"][0] if isinstance(params[0], dict) else params[0]
    return NaturalGradient(params, model=OWNER[id(first)], **settings)


OWNER = {}
"""id of the first parameter -> the model; filled by ``net``."""

NEEDS_CLOSURE = {
    "damped Newton": DampedNewton,
    "saddle-free Newton": SaddleFreeNewton,
    "saddle-free Newton in a Krylov space": partial(SaddleFreeNewton, products=6),
    "saddle-free Newton with inner steps": partial(SaddleFreeNewton, products=6, inner_steps=3),
    "trust region": TrustRegionNewtonCG,
    "natural gradient": partial(natural, damping=0.5),
}
OPTIMIZERS = {**NEEDS_CLOSURE, "perturbed": partial(PerturbedGradientDescent, lr=0.1, threshold=0.5, interval=2)}


def net(seed=0, dtype=torch.float32, middle=nn.Tanh):
    """A small net of three classes, drawn from a seed."""
    model = nn.Sequential(nn.Linear(4, 5), middle(), nn.Linear(5, 3)).to(dtype)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.copy_(0.5 * torch.randn(tensor.shape, generator=draw))
    OWNER[id(next(model.parameters()))] = model
    return model


def batch(seed=1, dtype=torch.float32):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(20, 4, generator=draw).to(dtype), torch.randint(3, (20,), generator=draw)


def loss_of(model, data):
    return nn.functional.cross_entropy(model(data[0]), data[1])


def usual(model, optimizer, data, loss=loss_of):
    """The closure of the documentation of torch."""

    def closure():
        optimizer.zero_grad()
        value = loss(model, data)
        value.backward()
        return value

    return closure


def flat(model):
    return torch.cat([tensor.detach().reshape(-1) for tensor in model.parameters()])


def trained(model, optimizer, steps, data=None):
    """Losses before each step."""
    closure = usual(model, optimizer, batch() if data is None else data)
    return [optimizer.step(closure).item() for _ in range(steps)]
