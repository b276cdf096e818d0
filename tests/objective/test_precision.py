"""Are mixed precision, compiled models and missing second derivatives measured right, and said?"""

import warnings

import pytest
import torch
from torch import nn

from families import BY_NAME, Problem, regression, vectors
from objective.oracle import oracle
from objective.test_derivatives import distance
from theodolite.linalg import hessian
from theodolite.objective import Objective


def objective_of(problem: Problem, loss=None) -> Objective:
    return Objective(problem.model, loss or problem.loss, problem.data)


@pytest.mark.parametrize("name", ["mlp", "lstm", "causal attention, tied", "layernorm", "conv batchnorm train"])
def test_bfloat16_inside_the_loss(name):
    problem, truth = BY_NAME[name](torch.float32), oracle(BY_NAME[name]())

    def loss(model, batch):
        with torch.autocast("cpu", torch.bfloat16):
            return problem.loss(model, batch)

    objective = objective_of(problem, loss)
    theta = truth.point
    v = torch.linspace(-1, 1, len(theta), dtype=torch.float64)
    assert objective.value() == pytest.approx(truth.number(theta), rel=0.02)
    assert distance(objective.gradient(), truth.gradient(theta)) < 0.05
    product, expected = objective.hvp(v), truth.hessian(theta) @ v
    assert product.dtype == torch.float32
    assert objective.hvp_error == torch.finfo(torch.bfloat16).eps
    assert distance(product, expected) < 20 * objective.hvp_error


def test_bfloat16_around_the_call():
    """The value elsewhere is that of a model that was there from the start: no cast weight is remembered."""
    problem, twin = BY_NAME["mlp"](torch.float32), BY_NAME["mlp"](torch.float32)
    objective = objective_of(problem)
    there = objective.point() + 0.5
    with torch.no_grad():
        for parameter in twin.model.parameters():
            parameter.add_(0.5)
    with torch.autocast("cpu", torch.bfloat16):
        expected = objective_of(twin).value()
        problem.loss(problem.model, problem.batches[0])  # training fills autocast's cache
        assert objective.value(there) == expected
        with torch.no_grad():
            for parameter in problem.model.parameters():
                parameter.add_(0.5)
        assert objective.value() == expected
        torch.testing.assert_close(objective.gradient(), objective.gradient(there), rtol=0, atol=0)


def test_bfloat16_parameters():
    problem, truth = BY_NAME["mlp"](torch.bfloat16), oracle(BY_NAME["mlp"]())
    objective = objective_of(problem)
    assert objective.dtype == torch.bfloat16
    assert objective.value() == pytest.approx(truth.number(objective.point()), rel=0.05)
    v = torch.ones(objective.dimension)
    assert distance(objective.hvp(v), truth.hessian(objective.point()) @ v.double()) < 0.1


def test_mixed_types_of_parameters():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2).double())
    model[1].register_forward_hook(lambda module, inputs, output: output.double())
    problem = vectors(model)
    objective = Objective(model, lambda m, b: (m(b[0]) - b[1]).pow(2).mean(), problem.batches)
    assert objective.dtype == torch.float64
    u, v = torch.randn(2, objective.dimension, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert float(u @ objective.hvp(v)) == pytest.approx(float(v @ objective.hvp(u)), rel=1e-5)


@pytest.mark.parametrize("how", ["wrapped", "in place", "inside", "captured"])
def test_compiled_models(how):
    problem, truth = BY_NAME["mlp"](), oracle(BY_NAME["mlp"]())
    model, loss = problem.model, problem.loss
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if how == "in place":
            model.compile(backend="aot_eager")
        elif how == "inside":
            model = nn.Sequential(torch.compile(model, backend="aot_eager"))
        elif how == "wrapped":
            model = torch.compile(model, backend="aot_eager")
        else:
            compiled = torch.compile(model, backend="aot_eager")
            loss = lambda _, batch: regression(compiled, batch)  # noqa: E731
        loss(model, problem.batches[0]).backward()  # compiled now
        objective = Objective(model, loss, problem.data)
        v = torch.linspace(-1, 1, len(truth.point), dtype=torch.float64)
        assert distance(objective.hvp(v), truth.hessian(truth.point) @ v) < 1e-10
        assert objective.hvp_method == "double backward"
        loss(model, problem.batches[0]).backward()


class Distances(nn.Module):
    """Radial basis functions; torch.cdist has no second derivative."""

    def __init__(self, fused: bool):
        super().__init__()
        self.centres, self.read, self.fused = nn.Parameter(torch.randn(4, 3)), nn.Linear(4, 2), fused

    def forward(self, x):
        fused = self.fused
        distances = torch.cdist(x, self.centres) if fused else (x[:, None] - self.centres).norm(dim=-1)
        return self.read(torch.exp(-0.3 * distances))


def distances(fused: bool, dtype: torch.dtype) -> Problem:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        problem = vectors(Distances(fused))
    batches = [tuple(part.to(dtype) for part in batch) for batch in problem.batches]
    return Problem(problem.model.to(dtype), regression, batches, batches)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_central_differences_are_said_and_honest(dtype):
    objective, truth = objective_of(distances(True, dtype)), oracle(distances(False, torch.float64))
    H = truth.hessian(truth.point)
    assert objective.hvp_method == ""
    directions = torch.randn(8, len(truth.point), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with pytest.warns(UserWarning, match=r"need right second derivatives, but: .*cdist.* Central differences"):
        objective.hvp(directions[0])
    for v in directions:  # and once only: a second warning would be an error
        true = distance(objective.hvp(v), H @ v)
        assert objective.hvp_method == "central differences"
        assert true <= 3 * objective.hvp_error
        assert true < (3e-3 if dtype == torch.float32 else 1e-8)
        assert objective.hvp_error < (3e-2 if dtype == torch.float32 else 1e-5)


def test_central_differences_in_an_operator():
    objective, truth = objective_of(distances(True, torch.float64)), oracle(distances(False, torch.float64))
    with hessian(objective) as op:
        with pytest.warns(UserWarning, match="need right second derivatives"):
            H = op.to_dense()
        assert op.method == "central differences"
        assert distance(H, truth.hessian(truth.point)) <= 3 * op.relative_error
        assert op @ torch.zeros(objective.dimension) == pytest.approx(0)


def test_other_errors_are_not_mistaken_for_missing_derivatives():
    problem = BY_NAME["mlp"]()

    def loss(model, batch):
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="the disk is full"):
        objective_of(problem, loss).hvp(torch.ones(26))


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


@needs_cuda
@pytest.mark.parametrize("name", ["mlp", "lstm", "gru", "conv batchnorm train", "causal attention, tied", "dropout"])
def test_on_cuda(name):
    problem, twin = BY_NAME[name](torch.float32), BY_NAME[name]()
    problem.model.cuda()
    batches = [tuple(part.cuda() for part in batch) for batch in problem.batches]
    objective = Objective(problem.model, problem.loss, batches)
    state = torch.cuda.get_rng_state()
    v = torch.linspace(-1, 1, objective.dimension, dtype=torch.float64)
    product = objective.hvp(v)
    assert product.device.type == "cuda"
    assert torch.equal(torch.cuda.get_rng_state(), state)
    torch.testing.assert_close(objective.hvp(v), product, rtol=1e-4, atol=1e-5)
    if name != "dropout":
        assert distance(product.cpu(), Objective(twin.model, twin.loss, twin.data).hvp(v)) < 1e-4
