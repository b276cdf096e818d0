"""What is a batch, and how many examples does it hold? And are mistakes told at the door?"""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from families import BY_NAME, regression
from theodolite.errors import DataError, ObjectiveError, ShapeError
from theodolite.objective import Objective, Params, batches_of, count_examples, trainable

X, Y = torch.zeros(4, 3), torch.zeros(4, 2)


@dataclass
class Packet:
    name: str
    x: torch.Tensor


@pytest.mark.parametrize(
    ("batch", "count"),
    [
        (X, 4),
        (torch.tensor(1.0), 1),
        (X.numpy(), 4),
        ((X, Y), 4),
        ([X, Y], 4),
        ({"scale": torch.tensor(2.0), "x": X}, 4),
        ({"meta": {"names": ["a"]}, "x": X}, 4),
        (("name", {"x": X}), 4),
        (Packet("a", X), 4),
        ("text", 1),
        (3, 1),
        ((), 1),
        (torch.zeros(0, 3), 0),
    ],
)
def test_examples_are_counted(batch, count):
    assert count_examples(batch) == count


@pytest.mark.parametrize("data", [X, X.numpy(), (X, Y), [X, Y], {"x": X}, "text", 3, Packet("a", X)])
def test_one_batch(data):
    batches = list(batches_of(data)())
    assert len(batches) == 1
    assert batches[0] is data


@pytest.mark.parametrize("data", [[(X, Y), (X, Y)], [{"x": X}] * 2, [[X, Y]] * 2, DataLoader([0, 1])])
def test_many_batches(data):
    start = batches_of(data)
    assert len(list(start())) == len(list(start())) == 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (iter([X]), "one batch or a re-iterable of batches, got a list_iterator, which can be read only once"),
        ((x for x in [X]), "got a generator"),
        ([], "at least one batch, got an empty list"),
        (TensorDataset(X, Y), "TensorDataset, which holds single examples. Pass a DataLoader"),
    ],
)
def test_unfit_data(data, message):
    with pytest.raises(DataError, match=message):
        batches_of(data)


def test_empty_batches_are_left_out():
    model = BY_NAME["mlp"](torch.float32).model
    full, empty = (torch.ones(4, 3), torch.ones(4, 2)), (torch.ones(0, 3), torch.ones(0, 2))
    assert Objective(model, regression, [empty, full, empty]).value() == Objective(model, regression, full).value()
    nothing = Objective(model, regression, [empty])
    for ask in (nothing.value, nothing.gradient, lambda: nothing.hvp(torch.ones(26))):
        with pytest.raises(ObjectiveError, match="at least one example, got none"):
            ask()


def mlp_objective(loss=regression, **options):
    problem = BY_NAME["mlp"](torch.float32)
    return Objective(problem.model, loss, problem.data, **options)


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda: mlp_objective().value(torch.ones(3)), ShapeError, r"at must have shape \(26,\), got \(3,\)"),
        (lambda: mlp_objective().gradient(torch.ones(26, 1)), ShapeError, r"at must have shape \(26,\), got \(26, 1\)"),
        (lambda: mlp_objective().hvp(np.ones(3)), ShapeError, r"vector must have shape \(26,\)"),
        (lambda: mlp_objective().hvp(None), ShapeError, "got a NoneType"),
        (lambda: mlp_objective().values(torch.ones(2, 3)), ShapeError, "at must have shape"),
        (lambda: mlp_objective(lambda m, b: m(b[0])).value(), ObjectiveError, r"one real number, got shape \(5, 2\)"),
        (lambda: mlp_objective(lambda m, b: m(b[0]).sum().item()).value(), ObjectiveError, "got a float"),
        (lambda: mlp_objective(lambda m, b: b[0].sum().long()).value(), ObjectiveError, "torch.int64"),
        (lambda: mlp_objective(parameters=["0.wieght"]), ObjectiveError, r"got \['0.wieght'\]. It has \['0.weight'"),
        (lambda: mlp_objective(parameters=[]), ObjectiveError, "got none in Sequential"),
        (lambda: trainable(nn.ReLU()), ObjectiveError, "requires a gradient, got none in ReLU"),
        (lambda: trainable(nn.LazyLinear(2)), ObjectiveError, "weight of a lazy module has none yet"),
        (lambda: trainable(nn.Linear(1, 1, dtype=torch.cfloat)), ObjectiveError, "weight is torch.complex64"),
        (lambda: Objective.from_function(torch.sum, torch.ones(2, 2)), ObjectiveError, r"shape \(2, 2\)"),
        (lambda: Objective.from_function(torch.sum, torch.ones(2).long()), ObjectiveError, "torch.int64"),
        (lambda: Objective.from_function(torch.sum, torch.ones(0)), ObjectiveError, "with n > 0"),
    ],
)
def test_mistakes_are_told(ask, error, message):
    with pytest.raises(error, match=message):
        ask()


def test_a_function_of_one_vector():
    start = torch.tensor([3.0, 4.0])
    bowl = Objective.from_function(lambda theta: 0.5 * (theta**2).sum(), start)
    assert bowl.value() == 12.5
    start.zero_()
    assert bowl.value() == 12.5
    assert bowl.gradient([1.0, 2.0]).tolist() == [1.0, 2.0]
    assert bowl.hvp(np.array([1, 0])).tolist() == [1.0, 0.0]
    constant = Objective.from_function(lambda theta: torch.tensor(2.0), torch.ones(2))
    assert constant.gradient().tolist() == constant.hvp(torch.ones(2)).tolist() == [0.0, 0.0]
    linear = Objective.from_function(torch.sum, torch.ones(2))
    assert linear.hvp(torch.ones(2)).tolist() == [0.0, 0.0]


def test_values_that_are_not_finite_are_kept():
    log = Objective.from_function(lambda theta: theta.log().sum(), torch.ones(2))
    assert np.isneginf(log.value(torch.zeros(2)))
    assert np.isnan(log.value(-torch.ones(2)))


def test_vectors_and_tensors_correspond(generator):
    tensors = tuple(torch.randn(shape, generator=generator(), requires_grad=True) for shape in [(), (2, 3), (4,)])
    params = Params(("a", "b", "c"), tensors)
    point = params.point()
    assert params.dimension == len(point) == 11
    for part, tensor in zip(params.unflatten(point), tensors, strict=True):
        assert torch.equal(part, tensor)
    assert params.flatten([None, tensors[1], None])[:1].abs().sum() == 0


def test_the_point_is_fixed_when_products_are_opened():
    problem = BY_NAME["mlp"]()
    objective = Objective(problem.model, problem.loss, problem.data)
    v = torch.ones(26, 1, dtype=torch.float64)
    with objective.products() as products:
        before = products.apply(v)
        with torch.no_grad():
            for parameter in problem.model.parameters():
                parameter.add_(1)
        torch.testing.assert_close(products.apply(v), before, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("limit", [0, 2**30])
def test_memory_limit_changes_cost_only(limit):
    problem = BY_NAME["three batches"]()
    read = []
    data = Counted(problem.batches, read)
    objective = Objective(problem.model, problem.loss, data)
    V = torch.eye(26, dtype=torch.float64)
    with objective.products(memory_limit=2**30) as free, objective.products(memory_limit=limit) as products:
        expected = free.apply(V)
        read.clear()
        for _ in range(3):
            torch.testing.assert_close(products.apply(V), expected, rtol=1e-12, atol=1e-13)
    assert len(read) == (1 if limit else 3)  # with all graphs kept the data is read once


class Counted:
    def __init__(self, batches, read):
        self.batches, self.read = batches, read

    def __iter__(self):
        self.read.append(True)
        return iter(self.batches)


@dataclass(slots=True)
class Slotted:
    x: torch.Tensor
    more: object = None


class Plain:
    def __init__(self, inner):
        self.name, self.inner = "a batch", inner


@pytest.mark.parametrize(
    "wrap",
    [
        Slotted,
        lambda x: Slotted(torch.tensor(1.0), Slotted(x)),
        Plain,
        lambda x: (Plain(Plain(x)),),
        lambda x: [Slotted(x)],
    ],
)
def test_examples_of_batches_that_are_objects(wrap):
    assert count_examples(wrap(torch.zeros(8, 3))) == 8
    assert count_examples(Plain("no tensor")) == 1
