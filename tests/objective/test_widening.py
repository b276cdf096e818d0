"""Is J in float64 the same J?"""

import pytest
import torch
from torch import nn

from families import BY_NAME, FAMILIES, regression
from objective.oracle import oracle_of
from theodolite.errors import ObjectiveError
from theodolite.linalg import hessian
from theodolite.objective import Objective

COPIED = [f for f in FAMILIES if f.name not in {"penalty"} and not f.is_random]


@pytest.mark.parametrize("family", COPIED, ids=lambda family: family.name)
def test_the_same_objective(family):
    """In float64 to its precision, from a model and data in float32; the original stays what it was."""
    problem = family(torch.float32)
    narrow = Objective(problem.model, problem.loss, problem.data)
    before = narrow.point()
    wide = narrow.double()
    assert wide.dtype == torch.float64
    assert wide.names == narrow.names
    torch.testing.assert_close(wide.point(), before.double(), rtol=0, atol=0)
    assert wide.value() == pytest.approx(narrow.value(), rel=1e-5)
    torch.testing.assert_close(wide.gradient(), narrow.gradient().double(), rtol=1e-4, atol=1e-5)
    assert narrow.dtype == torch.float32
    assert torch.equal(narrow.point(), before)
    for tensor in problem.model.parameters():
        tensor.data.zero_()
    torch.testing.assert_close(wide.point(), before.double(), rtol=0, atol=0)


def test_a_dense_hessian_in_double():
    problem = BY_NAME["mlp"](torch.float32)
    objective = Objective(problem.model, problem.loss, problem.data)
    truth = oracle_of(BY_NAME["mlp"])
    H = hessian(objective.double()).to_dense()
    assert (H - truth.hessian(objective.point().double())).norm() < 1e-6 * H.norm()  # the data were rounded
    assert (H - H.T).abs().max() == 0
    assert hessian(objective.double()).relative_error < 1e-15


def test_a_subset_stays_a_subset():
    problem = BY_NAME["mlp"](torch.float32)
    part = Objective(problem.model, problem.loss, problem.data, parameters=["2.bias"]).double()
    assert part.names == ("2.bias",)


def test_what_cannot_be_widened():
    with pytest.raises(ObjectiveError, match=r"function of a vector.*torch\.float64"):
        Objective.from_function(torch.sum, torch.ones(2)).double()
    teacher = nn.Linear(3, 2)
    held = Objective(nn.Linear(3, 2), lambda m, b: regression(m, b) + teacher(b[0]).sum(), BY_NAME["mlp"]().batches)
    with pytest.raises(ObjectiveError, match=r"holds \['Linear'\] itself"):
        held.double()
