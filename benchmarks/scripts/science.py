"""Science: an equation as the loss, a graph, a flow in time, sound, and two moons."""

from functools import partial
from typing import Any

import torch
from sklearn.datasets import make_moons
from torch import Tensor, nn

from scripts.case import Case, Training, classify, entropy, loader, spoil


def oscillator(model: nn.Module, batch: Any, weight: float) -> Tensor:
    """Residual of u'' + 2u' + 16u = 0 at points in time, and ``weight`` times that of u(0) = 1, u'(0) = 0."""
    (times,) = batch
    times = torch.cat([torch.zeros(1, 1), times]).requires_grad_()
    u = model(times)
    (first,) = torch.autograd.grad(u.sum(), times, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), times, create_graph=True)
    physics = ((second + 2 * first + 16 * u)[1:] / 16).square().mean()
    return physics + weight * ((u[0] - 1).square() + (first[0] / 4).square()).sum()


def pinn(*, weight: float = 1.0, sgd: float = 0.0) -> Training:
    """A net that solves the damped oscillator from its equation alone; Adam."""
    torch.manual_seed(31)
    model = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
    parameters = model.parameters()
    optimizer = torch.optim.SGD(parameters, lr=sgd) if sgd else torch.optim.Adam(parameters, lr=3e-3)
    times = torch.linspace(0, 1, 64).unsqueeze(1)
    return Training(model, optimizer, partial(oscillator, weight=weight), loader(times), 3000)


class GCN(nn.Module):
    """Two rounds of averaging over neighbours; asked for nodes, it gives their logits."""

    adjacency: Tensor
    features: Tensor

    def __init__(self, adjacency: Tensor, features: Tensor) -> None:
        super().__init__()
        self.register_buffer("adjacency", adjacency)
        self.register_buffer("features", features)
        self.first, self.second = nn.Linear(features.shape[1], 16), nn.Linear(16, 4)
        self.dropout = nn.Dropout(0.5)

    def forward(self, nodes: Tensor) -> Tensor:
        hidden = torch.relu(self.adjacency @ self.first(self.dropout(self.features)))
        out: Tensor = self.adjacency @ self.second(self.dropout(hidden))
        return out[nodes]


def graph(*, lr: float = 0.01) -> Training:
    """Communities of a random graph from 40 labels each, all nodes at once; Adam with weight decay."""
    torch.manual_seed(32)
    labels = torch.arange(4).repeat_interleave(100)
    chance = torch.where(labels[:, None] == labels, 0.06, 0.01)
    edges = torch.triu(torch.rand(400, 400) < chance, 1).float()
    edges = edges + edges.T + torch.eye(400)
    degree = edges.sum(1).rsqrt()
    features = 0.5 * nn.functional.one_hot(labels, 32).float() + 0.5 * torch.randn(400, 32)
    model = GCN(degree[:, None] * edges * degree, features)
    nodes = torch.randperm(400)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, weight_decay=5e-4)
    batches = loader(nodes[:160], labels[nodes[:160]], batch=160)
    return Training(model, optimizer, classify, batches, 400, [(nodes[160:], labels[nodes[160:]])])


def integrate(model: nn.Module, start: Tensor, steps: int = 9, dt: float = 0.1) -> Tensor:
    """States along a path of the flow, by Runge and Kutta's fourth order."""
    states = [start]
    for _ in range(steps):
        y = states[-1]
        k1 = model(y**3)
        k2 = model((y + dt / 2 * k1) ** 3)
        k3 = model((y + dt / 2 * k2) ** 3)
        k4 = model((y + dt * k3) ** 3)
        states.append(y + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4))
    return torch.stack(states, 1)


def follow(model: nn.Module, batch: Any) -> Tensor:
    start, path = batch
    return (integrate(model, start) - path).abs().mean()


def ode(*, lr: float = 1e-3) -> Training:
    """A net as the right-hand side of a spiral's equation, learnt from pieces of its path; RMSprop."""
    torch.manual_seed(33)
    truth = nn.Linear(2, 2, bias=False)
    truth.weight = nn.Parameter(torch.tensor([[-0.1, -2.0], [2.0, -0.1]]), requires_grad=False)
    path = integrate(truth, torch.tensor([[2.0, 0.0]]), 1000, 0.025)[0]
    pieces = torch.stack([path[i : i + 37 : 4] for i in range(len(path) - 37)])
    model = nn.Sequential(nn.Linear(2, 50), nn.Tanh(), nn.Linear(50, 2))
    for layer in (model[0], model[2]):
        nn.init.normal_(layer.weight, 0.0, 0.1)
        nn.init.zeros_(layer.bias)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=lr)
    return Training(model, optimizer, follow, loader(pieces[:, 0], pieces, batch=20), 24)


def speech(*, batch: int = 64, noise: float = 0.0, bias: float = 0.0, epochs: int = 24) -> Training:
    """Convolutions on raw waves, which of eight chords sounds through noise; Adam with weight decay."""
    torch.manual_seed(34)
    labels = torch.randint(8, (1500,))
    time = torch.arange(800) / 800
    pitch = (30 + 8 * labels + 2 * torch.rand(1500))[:, None]
    waves = torch.sin(6.28 * (pitch * time + torch.rand(1500, 1))) + torch.sin(6.28 * 1.5 * pitch * time)
    waves = (waves + 3 * torch.randn(1500, 800)).unsqueeze(1)
    norm = nn.BatchNorm1d(32)
    if bias:
        nn.init.constant_(norm.bias, bias)
    model = nn.Sequential(
        nn.Conv1d(1, 16, 80, 8), nn.BatchNorm1d(16), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(16, 32, 3), norm, nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(32, 8),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=1e-4)
    batches = loader(waves, spoil(labels, noise, 8), batch=batch)
    return Training(model, optimizer, classify, batches, epochs, floor=entropy(noise, 8))


def margin(model: nn.Module, batch: Any) -> Tensor:
    """The largest margin, and a little decay."""
    inputs, signs = batch
    decay = sum(p.square().sum() for p in model.parameters())
    return torch.relu(1 - signs * model(inputs).squeeze(-1)).mean() + 1e-4 * decay


def moons(*, constant: float | None = None, bias: float = 0.0) -> Training:
    """Two moons and two hidden layers of 16; SGD whose rate falls from 0.5 to a tenth."""
    torch.manual_seed(35)
    points, classes = make_moons(500, noise=0.1, random_state=1)
    inputs, signs = torch.tensor(points, dtype=torch.float32), torch.tensor(2.0 * classes - 1).float()
    model = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))
    if constant is not None:
        for parameter in model.parameters():
            nn.init.constant_(parameter, constant)
    if bias:
        nn.init.constant_(model[0].bias, bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, 3000)
    return Training(model, optimizer, margin, loader(inputs, signs, batch=50), 300, schedule=schedule)


CASES = (
    Case("pinn", pinn, "benmoseley/harmonic-oscillator-pinn"),
    Case("pinn-unbalanced", partial(pinn, weight=1e4, sgd=2e-6), "benmoseley/harmonic-oscillator-pinn",
         "ill_conditioning", ("step_too_small",), "the start weighs 10,000 times as much, SGD as fast as it bears"),
    Case("graph", graph, "tkipf/pygcn"),
    Case("graph-slow", partial(graph, lr=1e-5), "tkipf/pygcn", "step_too_small", (), "learning rate / 1000"),
    Case("graph-hot", partial(graph, lr=3.0), "tkipf/pygcn", "step_too_large", ("dead_units", "plateau", "cliff"),
         "learning rate × 300"),
    Case("ode", ode, "rtqichen/torchdiffeq, ode_demo"),
    Case("ode-hot", partial(ode, lr=0.3), "rtqichen/torchdiffeq, ode_demo", "step_too_large",
         ("cliff", "plateau"), "learning rate × 300"),
    Case("speech", speech, "PyTorch tutorial, M5 on speech commands"),
    Case("speech-noise", partial(speech, batch=4, noise=0.8, epochs=6), "PyTorch tutorial, M5 on speech commands",
         "gradient_noise", ("step_too_large",), "four examples a batch, 80 % of the labels at random"),
    Case("speech-dead", partial(speech, bias=-10.0), "PyTorch tutorial, M5 on speech commands", "dead_units",
         ("plateau",), "biases of the last normalisation −10"),
    Case("moons", moons, "karpathy/micrograd, demo"),
    Case("moons-symmetric", partial(moons, constant=0.1), "karpathy/micrograd, demo", "saddle_point",
         ("local_minimum", "plateau"), "all parameters 0.1 at first"),
    Case("moons-dead", partial(moons, bias=-10.0), "karpathy/micrograd, demo", "dead_units", ("plateau",),
         "biases of the first layer −10"),
)  # fmt: skip
