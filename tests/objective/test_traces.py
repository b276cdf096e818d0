"""Is everything as it was, to the bit, after any measurement, also one that fails half-way?"""

import random
import warnings
from contextlib import suppress
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from families import BY_NAME, FAMILIES, Problem, regression
from objective.traces import traces
from theodolite.errors import ObjectiveError
from theodolite.linalg import ggn, gradient_covariance
from theodolite.objective import Objective


def products(objective: Objective, at) -> None:
    with objective.products(at) as held:
        held.apply(torch.ones(objective.dimension, 2, dtype=objective.dtype))
        held.apply(torch.ones(objective.dimension, 1, dtype=objective.dtype))


def gauss_newton(objective: Objective, at) -> None:
    for make in (ggn, partial(ggn, samples=2), gradient_covariance):
        with suppress(ObjectiveError), make(objective, at) as op:  # not every loss can be split at the outputs
            op @ torch.ones(objective.dimension, 2)
            op @ torch.ones(objective.dimension)


MEASUREMENTS = {
    "value": lambda objective, at: objective.value(at),
    "values": lambda objective, at: objective.values([objective.point() if at is None else at]),
    "gradient": lambda objective, at: objective.gradient(at),
    "batch gradients": lambda objective, at: list(objective.batch_gradients(at)),
    "directional": lambda objective, at: list(objective.batch_directional(torch.ones(objective.dimension), at)),
    "hvp": lambda objective, at: objective.hvp(torch.ones(objective.dimension), at),
    "products": products,
    "Gauss-Newton": gauss_newton,
}


def lived(problem: Problem) -> Problem:
    """The problem after some training, with gradients, hooks and state about."""
    for parameter in problem.model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.full_like(parameter, 0.5)
            parameter.register_hook(lambda grad: 2 * grad)
            parameter.register_post_accumulate_grad_hook(lambda parameter: pytest.fail("the hook fired"))
    problem.model.register_forward_hook(lambda *_: None)
    for batch in problem.batches:
        problem.loss(problem.model, batch)
    return problem


def measure_all(objective: Objective, *owners) -> None:
    """Every measurement, here and elsewhere; complain of the first trace."""
    before = traces(*owners)
    for name, measure in MEASUREMENTS.items():
        for at in (None, objective.point() + 1):
            with suppress(InterruptionError):
                measure(objective, at)
            after = traces(*owners)
            changed = [key for key in before | after if before.get(key) != after.get(key)]
            assert not changed, (name, "here" if at is None else "elsewhere", changed)


class InterruptionError(Exception):
    pass


everything = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


@everything
def test_no_trace(family):
    problem = lived(family(torch.float32))
    objective = Objective(problem.model, problem.loss, problem.data)
    measure_all(objective, problem.model, problem.loss)


@everything
def test_no_trace_of_a_failure(family):
    problem = lived(family(torch.float32))
    objective = Objective(problem.model, failing(problem.loss), problem.data)
    measure_all(objective, problem.model, problem.loss)


def failing(loss):
    """The loss, but after the model ran on the last batch the power goes."""
    seen = []

    def interrupted(model, batch):
        value = loss(model, batch)
        seen.append(batch)
        if len(seen) % 2 == 0:
            raise InterruptionError
        return value

    return interrupted


def test_no_trace_between_batches():
    problem = lived(BY_NAME["stateful"](torch.float32))
    objective = Objective(problem.model, problem.loss, problem.data)
    before = traces(problem.model)
    for _ in objective.batch_gradients(objective.point() + 1):
        assert traces(problem.model) == before
    stream = objective.batch_gradients(objective.point() + 1)
    next(stream)
    del stream
    assert traces(problem.model) == before


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)])
def test_in_any_mode_of_the_caller(mode):
    problem = lived(BY_NAME["mlp"](torch.float32))
    objective = Objective(problem.model, problem.loss, problem.data)
    with mode():
        measure_all(objective, problem.model)
        objective.hvp(objective.gradient(objective.point() + 1), objective.point() + 1)


def test_frozen_flags_survive():
    """A precision that the user chose is not reset by switching kernels."""
    problem = BY_NAME["lstm"](torch.float32)
    former = torch.backends.mkldnn.set_flags(_fp32_precision="ieee")
    try:
        measure_all(Objective(problem.model, problem.loss, problem.data), problem.model)
    finally:
        torch.backends.mkldnn.set_flags(_fp32_precision=former[-1])


def test_a_loss_that_calls_backward():
    problem = lived(BY_NAME["mlp"](torch.float32))

    def loss(model, batch):
        with torch.enable_grad():
            regression(model, batch).backward()
        return regression(model, batch)

    measure_all(Objective(problem.model, loss, problem.data), problem.model)


def test_modules_that_the_loss_reaches():
    """A teacher in a closure, a bound method's owner, a function of θ around a model."""
    problem = BY_NAME["conv batchnorm train"](torch.float32)
    teacher = BY_NAME["conv batchnorm train"](torch.float32).model
    distilled = Objective(
        problem.model, lambda model, batch: (model(batch[0]) - teacher(batch[0])).pow(2).mean(), problem.data
    )
    measure_all(distilled, problem.model, teacher)

    class Trainer:
        def __init__(self):
            self.parts = {"teacher": teacher}

        def loss(self, model, batch):
            return (model(batch[0]) - self.parts["teacher"](batch[0])).pow(2).mean()

    measure_all(Objective(problem.model, Trainer().loss, problem.data), problem.model, teacher)
    inputs = problem.batches[0][0]
    around = Objective.from_function(lambda theta: teacher(inputs).mean() * (theta**2).sum(), torch.ones(2))
    measure_all(around, teacher)


def test_script_modules():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        model = torch.jit.script(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Tanh()))
    objective = Objective(model, regression, BY_NAME["mlp"](torch.float32).batches)
    buffers = {name: (id(value), value.clone()) for name, value in model.named_buffers()}
    for measure in MEASUREMENTS.values():
        for at in (None, objective.point() + 1):
            measure(objective, at)
    for name, value in model.named_buffers():
        assert id(value) == buffers[name][0]
        assert torch.equal(value, buffers[name][1])


class Augmented(Dataset):
    """Examples with noise from NumPy's, Python's, torch's and its own generator."""

    def __init__(self):
        self.rng = np.random.default_rng(0)
        self.drawn = []

    def __len__(self):
        return 7

    def __getitem__(self, index):
        noise = torch.rand(3) + np.random.rand() + random.random() + self.rng.random()  # noqa: NPY002
        self.drawn.append(index)
        return index + noise.float(), torch.zeros(2)


@pytest.mark.parametrize("own", [True, False], ids=["own generator", "global generator"])
def test_shuffled_augmenting_loaders(own):
    data = Augmented()
    generator = torch.Generator().manual_seed(5) if own else None
    loader = DataLoader(data, batch_size=3, shuffle=True, generator=generator)
    problem = lived(BY_NAME["dropout"](torch.float32))
    objective = Objective(problem.model, problem.loss, loader)
    first = objective.value()
    held = (problem.model, loader, loader.sampler, data) if not data.drawn.clear() else ()
    before = {key: value for key, value in traces(*held).items() if "drawn" not in key}
    for measure in MEASUREMENTS.values():
        measure(objective, objective.point() + 1)
        after = {key: value for key, value in traces(*held).items() if "drawn" not in key}
        assert {key for key in before if before[key] != after[key]} == set()
    next(iter(loader))  # training goes on: the batches of J stay the same
    data.rng.random()
    torch.rand(1)
    assert objective.value() == first


def test_a_loader_that_is_being_read():
    data = Augmented()
    loader = DataLoader(data, batch_size=3, shuffle=True, generator=torch.Generator().manual_seed(5))

    def orders(with_measurement):
        data.drawn, data.rng = [], np.random.default_rng(0)
        loader.generator.manual_seed(5)
        objective = Objective(BY_NAME["mlp"](torch.float32).model, regression, loader)
        batches = []
        for inputs, _ in loader:
            batches.append(inputs)
            if with_measurement:
                objective.value()
        return torch.cat(batches)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        plain = orders(False)
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        assert torch.equal(orders(True), plain)
