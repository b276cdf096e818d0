"""Independent mathematics for the truth of a problem: float64, torch.func and SciPy; nothing of ``objective``."""

import copy
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch.func import functional_call, grad, vmap

from theodolite.problems.problem import Problem, Training, train
from theodolite.problems.zoo import problem


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small networks: a second thread only waits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def doubled(data):
    """A batch in float64."""
    return tuple(part.double() if part.is_floating_point() else part for part in data)


class At(torch.nn.Module):
    """A model whose parameters are given as tensors."""

    def __init__(self, model, tensors):
        super().__init__()
        self.call = lambda inputs: functional_call(model, tensors, (inputs,))

    def forward(self, inputs):
        return self.call(inputs)


class Surface:
    """J(θ) of a training at its present point, in float64."""

    def __init__(self, training: Training):
        self.loss = training.loss
        self.model = copy.deepcopy(training.model).double()
        self.data = doubled(training.data)
        self.shapes = {name: part.shape for name, part in self.model.named_parameters()}
        self.theta = torch.cat([part.detach().flatten() for part in self.model.parameters()])
        self.slope = grad(self.at)

    def at(self, theta, data=None):
        """J(θ) on all examples, or on the data given."""
        parts = theta.split([shape.numel() for shape in self.shapes.values()])
        tensors = {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}
        return self.loss(At(self.model, tensors), data or self.data)

    def value(self, theta=None) -> float:
        with torch.no_grad():
            return float(self.at(self.theta if theta is None else theta))

    def gradient(self):
        return self.slope(self.theta)

    def product(self, vector):
        # Reverse over reverse: forward mode would call for torch.jit, which warns that it is old.
        return grad(lambda theta: self.slope(theta) @ vector)(self.theta)

    def hessian(self):
        """All of it, column by column."""
        columns = torch.eye(len(self.theta), dtype=torch.float64).split(64)
        matrix = torch.cat([vmap(self.product)(block) for block in columns])
        assert torch.allclose(matrix, matrix.T, atol=1e-10 * float(matrix.abs().max()) + 1e-300)
        return (matrix + matrix.T) / 2

    def extremes(self, *, dense: bool):
        """Least and greatest eigenvalue with the eigenvector of the least: whole Hessian, or ARPACK."""
        size = len(self.theta)
        if dense or size < 20:
            values, vectors = torch.linalg.eigh(self.hessian())
            return float(values[0]), float(values[-1]), vectors[:, 0]
        op = LinearOperator((size, size), dtype=np.float64, matvec=lambda v: self.product(torch.tensor(v)).numpy())
        start = np.random.default_rng(0).standard_normal(size)
        # Saddles have one negative eigenvalue for each hidden unit, all nearly equal: no finer than this in short time.
        values, vectors = eigsh(op, k=2, which="BE", v0=start, tol=1e-3, ncv=40)
        return float(values[0]), float(values[1]), torch.tensor(vectors[:, 0])

    def example_gradients(self, theta, chosen):
        """One row for each example chosen, with a singleton batch each."""

        def single(inputs, target):
            return grad(self.at)(theta, (inputs[None], target[None]))

        return vmap(single)(*(part[chosen] for part in self.data))


@dataclass(frozen=True)
class Trained:
    """A problem after its training."""

    problem: Problem
    training: Training
    before: Surface
    after: Surface
    losses: tuple[float, ...]

    @property
    def excess(self) -> float:
        """Loss above the floor at the end; infinite if it is not a number."""
        value = self.after.value() - self.problem.floor
        return value if np.isfinite(value) else float("inf")

    @property
    def first_excess(self) -> float:
        return self.before.value() - self.problem.floor


@cache
def trained(name: str, seed: int) -> Trained:
    """A problem trained to its end; kept, since many tests look at one."""
    ill = problem(name)
    training = ill.build(seed)
    before = Surface(training)
    losses = tuple(train(training))
    return Trained(ill, training, before, Surface(training), losses)


@pytest.fixture(scope="session", name="trained")
def trained_fixture():
    """The function from name and seed to the trained problem."""
    return trained


@pytest.fixture(scope="session")
def surface():
    """The class that measures J(θ) in float64."""
    return Surface


def seeds():
    """Two seeds in the fast part, three more in the slow one."""
    return [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3, 4))]


def pytest_generate_tests(metafunc):
    """Give every test that takes a seed the seeds."""
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", seeds())
