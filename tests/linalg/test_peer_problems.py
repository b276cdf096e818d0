"""The problems on which a well-tested package of curvature operators (curvlinops) tests its own: are ours right?

Losses with mean and sum, soft labels, several outputs, a sequence dimension, dict-like inputs, a convolutional net, and
blocks of the parameters; each operator against dense matrices in float64.
"""

from collections import UserDict

import numpy as np
import pytest
import torch
from torch import nn

from theodolite.linalg import empirical_fisher, ggn, gradient_covariance, hessian
from theodolite.objective import Objective


class Dictlike(nn.Module):
    """Takes a mapping with the inputs in it."""

    def __init__(self, outputs):
        super().__init__()
        self.net = net(10, outputs)

    def forward(self, data):
        return self.net(data["x"])


class Shared(nn.Module):
    """The same net at every place of a sequence, with the classes put where cross entropy wants them."""

    def __init__(self):
        super().__init__()
        self.net = net(10, 3)

    def forward(self, x):
        return self.net(x).movedim(-1, 1)


def net(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, 5), nn.ReLU(), nn.Linear(5, outputs))


def convolutional():
    return nn.Sequential(
        nn.Conv2d(1, 3, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(6, 4),
    )  # fmt: skip


def rand(*shape):
    return torch.rand(shape, dtype=torch.float64)


def labels(shape, classes):
    return torch.randint(classes, shape)


MEAN, SUM = {"reduction": "mean"}, {"reduction": "sum"}
PROBLEMS = {
    "cross entropy": lambda: (
        net(10, 3), nn.CrossEntropyLoss(**MEAN), [(rand(n, 10), labels((n,), 3)) for n in (3, 4)],
    ),
    "cross entropy, sum": lambda: (
        net(10, 3), nn.CrossEntropyLoss(**SUM), [(rand(n, 10), labels((n,), 3)) for n in (3, 4)],
    ),
    "one logit": lambda: (net(10, 1), nn.BCEWithLogitsLoss(**MEAN), [(rand(n, 10), rand(n, 1)) for n in (3, 4)]),
    "two logits": lambda: (net(10, 2), nn.BCEWithLogitsLoss(**MEAN), [(rand(n, 10), rand(n, 2)) for n in (3, 4)]),
    "two logits, sum": lambda: (net(10, 2), nn.BCEWithLogitsLoss(**SUM), [(rand(n, 10), rand(n, 2)) for n in (3, 4)]),
    "squared": lambda: (net(8, 3), nn.MSELoss(**MEAN), [(rand(n, 8), rand(n, 3)) for n in (2, 6)]),
    "squared, sum": lambda: (net(8, 3), nn.MSELoss(**SUM), [(rand(n, 8), rand(n, 3)) for n in (2, 6)]),
    "dict-like": lambda: (
        Dictlike(3), nn.CrossEntropyLoss(),
        [(UserDict({"x": rand(3, 10)}), labels((3,), 3)), ({"x": rand(4, 10)}, labels((4,), 3))],
    ),
    "sequence": lambda: (Shared(), nn.CrossEntropyLoss(), [(rand(n, 5, 10), labels((n, 5), 3)) for n in (3, 4)]),
    "sequence of logits": lambda: (
        net(10, 2), nn.BCEWithLogitsLoss(), [(rand(n, 5, 10), rand(n, 5, 2)) for n in (3, 4)],
    ),
    "sequence, squared, sum": lambda: (net(8, 3), nn.MSELoss(**SUM), [(rand(n, 5, 8), rand(n, 5, 3)) for n in (2, 6)]),
    "convolutional": lambda: (
        convolutional(), nn.CrossEntropyLoss(), [(rand(n, 1, 12, 12), labels((n,), 4)) for n in (3, 2)],
    ),
}  # fmt: skip
problems = pytest.mark.parametrize("name", PROBLEMS)


def formed(name):
    torch.manual_seed(0)
    model, loss, batches = PROBLEMS[name]()
    model.double()
    counts = [len(targets) for _, targets in batches]
    objective = Objective(model, lambda m, b: loss(m(b[0]), b[1]), batches, count=lambda b: len(b[1]))
    return objective, model, loss, batches, counts


def dense_parts(model, batch):
    """Outputs z and Jacobian by θ, row by row."""
    z = model(batch[0])
    rows = [torch.autograd.grad(entry, model.parameters(), retain_graph=True) for entry in z.flatten()]
    return z, torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])


def total(counts, matrices):
    return sum(n * M for n, M in zip(counts, matrices, strict=True)) / sum(counts)


@problems
def test_hessian(name):
    objective, model, loss, batches, counts = formed(name)

    def dense(batch):
        params = list(model.parameters())
        g = torch.cat(
            [p.flatten() for p in torch.autograd.grad(loss(model(batch[0]), batch[1]), params, create_graph=True)]
        )
        rows = [torch.autograd.grad(entry, params, retain_graph=True, materialize_grads=True) for entry in g]
        return torch.stack([torch.cat([p.flatten() for p in row]) for row in rows])

    expected = total(counts, map(dense, batches))
    H = hessian(objective)
    torch.testing.assert_close(H.to_dense(), expected, rtol=1e-9, atol=1e-11)
    some = np.eye(len(expected))[:, :7]
    np.testing.assert_allclose(H.to_scipy() @ some, expected[:, :7].numpy(), rtol=1e-9, atol=1e-11)


@problems
def test_gauss_newton(name):
    objective, model, loss, batches, counts = formed(name)

    def dense(batch):
        z, J = dense_parts(model, batch)
        S = torch.autograd.functional.hessian(lambda flat: loss(flat.reshape(z.shape), batch[1]), z.detach().flatten())
        return J.T @ S @ J

    torch.testing.assert_close(ggn(objective).to_dense(), total(counts, map(dense, batches)), rtol=1e-9, atol=1e-11)


@problems
def test_gradient_moments(name):
    objective, model, loss, batches, _ = formed(name)

    def scores(batch):
        z, J = dense_parts(model, batch)
        leaf = z.detach().requires_grad_()
        (a,) = torch.autograd.grad(loss(leaf, batch[1]), leaf)
        n = len(z)
        return n * torch.einsum("nk,nkp->np", a.reshape(n, -1), J.reshape(n, -1, J.shape[1]))

    G = torch.cat([scores(batch) for batch in batches])
    torch.testing.assert_close(empirical_fisher(objective).to_dense(), G.T @ G / len(G), rtol=1e-9, atol=1e-11)
    centred = G - G.mean(0)
    torch.testing.assert_close(
        gradient_covariance(objective).to_dense(), centred.T @ centred / len(G), rtol=1e-8, atol=1e-10
    )


@problems
def test_submatrices(name):
    objective, *_ = formed(name)
    H = hessian(objective)
    dense = H.to_dense()
    places = np.arange(H.dimension)[::3]
    torch.testing.assert_close(H.restrict(places).to_dense(), dense[places][:, places], rtol=1e-9, atol=1e-11)
    biases = H.restrict("*.bias")
    assert biases.dimension == sum(s for n, s in zip(H.layout.names, H.layout.sizes, strict=True) if n.endswith("bias"))
