"""Are value, gradient and Hessian product those of the mean loss over examples, in every family and type?"""

import pytest
import torch

from families import BY_NAME, FAMILIES, Family
from objective.oracle import oracle_of
from theodolite.objective import Objective

PLAIN = [family for family in FAMILIES if not family.is_random and family.name != "penalty"]
EXACT = {torch.float64: 1e-10, torch.float32: 1e-5}

families = pytest.mark.parametrize("family", PLAIN, ids=lambda family: family.name)
everything = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
types = pytest.mark.parametrize("dtype", EXACT, ids=["float64", "float32"])


def objective_of(family: Family, dtype: torch.dtype) -> Objective:
    problem = family(dtype)
    return Objective(problem.model, problem.loss, problem.data)


def distance(found: torch.Tensor, truth: torch.Tensor) -> float:
    return float((found.double() - truth).norm() / truth.norm().clamp_min(1e-300))


def probes(dimension: int, count: int, generator) -> torch.Tensor:
    return torch.randn(dimension, count, dtype=torch.float64, generator=generator(7))


@families
@types
def test_value_and_gradient(family, dtype, generator):
    objective, truth = objective_of(family, dtype), oracle_of(family)
    here = objective.point().double()
    for at in (None, here + 0.1 * probes(len(here), 1, generator)[:, 0]):
        theta = here if at is None else at
        assert objective.value(at) == pytest.approx(truth.number(theta), rel=EXACT[dtype])
        assert distance(objective.gradient(at), truth.gradient(theta)) <= EXACT[dtype]


@families
def test_hessian_products_against_the_dense_hessian(family, generator):
    truth = oracle_of(family)
    V = probes(len(truth.point), 3, generator)
    for at in (None, truth.point + 0.1 * V[:, 0]):
        expected = truth.hessian(truth.point if at is None else at) @ V
        for dtype, tolerance in EXACT.items():
            objective = objective_of(family, dtype)
            for v, Hv in zip(V.unbind(1), expected.unbind(1), strict=True):
                assert distance(objective.hvp(v, at), Hv) <= tolerance
            with objective.products(at) as products:
                for _ in range(2):  # the second time from kept graphs
                    assert distance(products.apply(V.to(dtype)), expected) <= tolerance
                assert products.method == "double backward"


@everything
def test_hessian_is_symmetric_and_linear(family, generator):
    objective = objective_of(family, torch.float64)
    u, v = probes(objective.dimension, 2, generator).unbind(1)
    Hu, Hv = objective.hvp(u), objective.hvp(v)
    assert float(u @ Hv) == pytest.approx(float(v @ Hu), rel=1e-9, abs=1e-12 * float(Hu.norm()))
    torch.testing.assert_close(objective.hvp(2 * u - 3 * v), 2 * Hu - 3 * Hv, rtol=1e-9, atol=1e-11)


@everything
def test_same_question_same_answer(family, generator):
    objective = objective_of(family, torch.float32)
    v = probes(objective.dimension, 1, generator)[:, 0]
    assert objective.value() == objective.value()
    torch.testing.assert_close(objective.gradient(), objective.gradient(), rtol=0, atol=0)
    torch.testing.assert_close(objective.hvp(v), objective.hvp(v), rtol=0, atol=0)


@pytest.mark.parametrize("family", [f for f in FAMILIES if f.is_smooth], ids=lambda family: family.name)
def test_one_function(family, generator):
    """Value, gradient and product belong to one and the same function, also where it draws at random."""
    objective = objective_of(family, torch.float64)
    here = objective.point()
    v = probes(objective.dimension, 1, generator)[:, 0]
    slope = central(lambda s: objective.value(here + s * v))
    bend = central(lambda s: float(objective.gradient(here + s * v) @ v))
    assert float(objective.gradient() @ v) == pytest.approx(slope, rel=1e-6, abs=1e-7)
    assert float(objective.hvp(v) @ v) == pytest.approx(bend, rel=1e-6, abs=1e-7)


def central(f, h: float = 3e-4) -> float:
    """f'(0) by differences of order four."""
    return (8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h)


def test_a_penalty_on_captured_parameters():
    problem = BY_NAME["penalty"](torch.float64)
    objective = Objective(problem.model, problem.loss, problem.data)
    plain = Objective(problem.model, BY_NAME["mlp"]().loss, problem.data)
    theta = objective.point()
    assert objective.value() == pytest.approx(plain.value() + 0.1 * float(theta @ theta))
    there = theta + 1
    assert objective.value(there) == pytest.approx(plain.value(there) + 0.1 * float(there @ there))
    torch.testing.assert_close(objective.gradient(there), plain.gradient(there) + 0.2 * there)
    torch.testing.assert_close(objective.hvp(theta, there), plain.hvp(theta, there) + 0.2 * theta)


def test_batches_are_weighted_by_size():
    """The unweighted twin, as peers have it, is caught."""
    family = BY_NAME["three batches"]
    problem, truth = family(), oracle_of(family)
    unweighted = Objective(problem.model, problem.loss, problem.data, count=lambda batch: 1)
    assert abs(unweighted.value() - truth.number(truth.point)) > 1e-3


def test_uneven_batches_equal_the_concatenation():
    problem = BY_NAME["three batches"]()
    whole = tuple(torch.cat(parts) for parts in zip(*problem.batches, strict=True))
    parts, one = (Objective(problem.model, problem.loss, data) for data in (problem.data, whole))
    assert parts.value() == pytest.approx(one.value(), rel=1e-13)
    torch.testing.assert_close(parts.gradient(), one.gradient(), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(parts.hvp(parts.point()), one.hvp(one.point()), rtol=1e-11, atol=1e-13)


def test_names_and_order_of_theta():
    problem = BY_NAME["odd parameters"]()
    objective = Objective(problem.model, problem.loss, problem.data)
    assert objective.names == ("scale", "turned", "spread", "unused")
    expected = [problem.model.get_parameter(name).detach().reshape(-1) for name in objective.names]
    torch.testing.assert_close(objective.point(), torch.cat(expected), rtol=0, atol=0)
    unused = slice(objective.dimension - 2, objective.dimension)
    assert objective.gradient()[unused].abs().max() == 0


def test_a_subset_of_the_parameters():
    problem = BY_NAME["mlp"]()
    whole = Objective(problem.model, problem.loss, problem.data)
    part = Objective(problem.model, problem.loss, problem.data, parameters=["2.bias", "0.weight"])
    assert part.names == ("0.weight", "2.bias")
    index = [*range(12), *range(whole.dimension - 2, whole.dimension)]
    torch.testing.assert_close(part.gradient(), whole.gradient()[index])
    V = torch.eye(whole.dimension, dtype=torch.float64)[:, index]
    with whole.products() as all_products, part.products() as products:
        block = all_products.apply(V)[index]
        torch.testing.assert_close(products.apply(torch.eye(14, dtype=torch.float64)), block)


def test_values_at_many_points():
    problem = BY_NAME["mlp"]()
    objective = Objective(problem.model, problem.loss, problem.data)
    points = torch.stack([objective.point(), objective.point() + 1])
    expected = [objective.value(), objective.value(points[1])]
    assert objective.values(points).tolist() == expected
    assert objective.values(points.numpy()).tolist() == expected
