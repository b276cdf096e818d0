"""What a closure computes, as a function of θ: against autograd by hand, and without a trace."""

import numpy as np
import pytest
import torch
from torch import nn

from optim.closures import batch, flat, loss_of, net, usual
from theodolite.errors import ObjectiveError
from theodolite.linalg import ggn, hessian
from theodolite.objective import Objective, trainable
from theodolite.objective.knowledge import Knowledge
from theodolite.optim import NaturalGradient, SaddleFreeNewton
from theodolite.optim.batches import BackwardNoted, BatchObjective, ClosureSource


def opened(model, closure, seed=0):
    return BatchObjective(ClosureSource(trainable(model), closure, model), seed, Knowledge())


def test_value_gradient_and_products_are_those_of_the_objective():
    model, data = net(dtype=torch.float64), batch(dtype=torch.float64)
    objective, theta = Objective(model, loss_of, data), flat(model)
    optimizer = SaddleFreeNewton(model.parameters())
    opened_batch = opened(model, usual(model, optimizer, data))
    beside = theta + 0.1
    assert abs(opened_batch.value(beside) - objective.value(beside)) < 1e-15
    assert torch.allclose(opened_batch.gradient(beside), objective.gradient(beside), rtol=1e-12, atol=1e-15)
    H, G = opened_batch.hessian(beside).to_dense(), opened_batch.ggn(beside).to_dense()
    assert torch.allclose(H, hessian(objective, beside).to_dense(), atol=1e-12)
    assert torch.allclose(G, ggn(objective, beside).to_dense(), atol=1e-12)
    assert torch.equal(flat(model), theta)


def test_backward_is_noted_and_left_out():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with BackwardNoted() as noted:
        (x**2).sum().backward()
        (x * 2).backward(torch.tensor([1.0, 3.0]))
        (3 * x).sum().backward(gradient=torch.tensor(2.0))
    assert x.grad is None
    assert [loss.item() for loss in noted.losses] == [5.0, 14.0, 18.0]
    (x**2).sum().backward()  # outside, all is as ever
    assert x.grad.tolist() == [2.0, 4.0]


def test_weights_of_backward_count():
    x = nn.Parameter(torch.tensor([1.0, 2.0]))
    source = ClosureSource(trainable(Holder(x)), lambda: (x**2).backward(torch.tensor([1.0, 10.0])))
    assert BatchObjective(source, 0, Knowledge()).gradient(x.detach()).tolist() == [2.0, 40.0]


class Holder(nn.Module):
    def __init__(self, theta):
        super().__init__()
        self.theta = theta


@pytest.mark.parametrize("kind", ["attention", "recurrent", "convolution"])
def test_layers_whose_fused_kernels_have_no_second_derivative(kind):
    torch_layers = {
        "attention": Attention,
        "recurrent": Recurrent,
        "convolution": lambda: nn.Sequential(nn.Conv1d(4, 3, 2), nn.BatchNorm1d(3), nn.Flatten(), nn.Linear(12, 2)),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = torch_layers[kind]()
    inputs = torch.randn(8, 4, 5, generator=torch.Generator().manual_seed(1))
    targets = torch.arange(8) % 2
    optimizer = SaddleFreeNewton(model.parameters(), products=8)
    closure = usual(model, optimizer, (inputs, targets))
    losses = [optimizer.step(closure).item() for _ in range(4)]
    assert losses[-1] < losses[0]


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix, self.head = nn.Linear(5, 15), nn.Linear(5, 2)

    def forward(self, x):
        q, k, v = self.mix(x).chunk(3, -1)
        return self.head(nn.functional.scaled_dot_product_attention(q, k, v).mean(1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.loop, self.head = nn.LSTM(5, 3, batch_first=True), nn.Linear(3, 2)

    def forward(self, x):
        return self.head(self.loop(x)[0][:, -1])


def test_masks_are_the_same_within_a_step_and_differ_between_steps():
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    optimizer, theta = SaddleFreeNewton(model.parameters()), flat(model)
    closure = usual(model, optimizer, batch())
    values = [opened(model, closure, seed).value(theta) for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


def test_the_natural_gradient_of_a_linear_model_is_newtons_step():
    """Of half the squared error of a linear model, Gauss-Newton is the Hessian: one step gives least squares."""
    draw = np.random.default_rng(0)
    X, y = draw.normal(size=(30, 4)), draw.normal(size=(30, 1))
    model = nn.Linear(4, 1, bias=False).double()
    optimizer = NaturalGradient(model.parameters(), model=model, damping=0.0, rtol=1e-10)
    optimizer.step(lambda: 0.5 * (model(torch.tensor(X)) - torch.tensor(y)).square().mean())
    assert np.allclose(model.weight.detach().numpy()[0], np.linalg.lstsq(X, y, rcond=None)[0][:, 0], atol=1e-8)


def test_a_model_that_the_closure_does_not_call_is_refused():
    model, other = net(), net()
    optimizer = NaturalGradient(model.parameters(), model=other)
    with pytest.raises(ObjectiveError, match="must call the Sequential"):
        optimizer.step(usual(model, optimizer, batch()))


class Result:
    """As Lightning holds what its closure gave: the loss that is returned is detached from its graph."""

    def __init__(self, make_loss, clear):
        self.make_loss, self.clear, self.calls = make_loss, clear, 0

    def __call__(self):
        loss = self.make_loss()
        self.clear()
        loss.backward()
        self.calls += 1
        return loss.detach().clone()


@pytest.mark.parametrize("kind", ["saddle-free", "natural"])
def test_the_protocol_of_lightning(kind):
    """Its closure computes the loss, clears gradients, calls backward, and returns the loss without a graph."""
    model, other = net(), net()
    make = (
        (lambda m: SaddleFreeNewton(m.parameters()))
        if kind == "saddle-free"
        else (lambda m: NaturalGradient(m.parameters(), model=m, damping=0.5))
    )
    optimizer, plain = make(model), make(other)
    held = Result(lambda: loss_of(model, batch()), optimizer.zero_grad)
    for _ in range(2):
        optimizer.step(closure=held)
        plain.step(usual(other, plain, batch()))
    assert held.calls > 2
    assert torch.equal(flat(model), flat(other))
