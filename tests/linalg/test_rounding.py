"""Is the stated error of a product larger than the true one, and not by much?"""

import pytest
import torch

from families import BY_NAME
from linalg.fakes import Fake
from theodolite.linalg.curvature import ggn, hessian
from theodolite.linalg.rounding import precision, product_error
from theodolite.objective import Objective


def formed(make, name: str, dtype: torch.dtype):
    problem = BY_NAME[name](dtype)
    return make(Objective(problem.model, problem.loss, problem.data))


@pytest.mark.parametrize("make", [hessian, ggn])
@pytest.mark.parametrize("name", ["mlp", "conv groupnorm", "transformer"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_product_is_wrong_by_no_more(make, name, dtype, generator):
    """Over ‖A‖‖v‖; parameters are rounded first, which is no error of the product."""
    op = formed(make, name, dtype)
    V = torch.randn(op.dimension, 5, generator=generator()).to(dtype)
    problem = BY_NAME[name](dtype)
    exact = problem.model.double()
    A = make(Objective(exact, problem.loss, _double(problem.data))).to_dense()
    wrong = ((op @ V).double() - A @ V.double()).norm(dim=0) / (A.norm() * V.double().norm(dim=0))
    assert 0 < float(wrong.max()) <= product_error(op)


def _double(data):
    return [tuple(part.double() if part.is_floating_point() else part for part in batch) for batch in data]


def test_the_coarser_of_type_and_method_counts():
    eps = torch.finfo(torch.float32).eps
    assert precision(Fake(torch.eye(2))) == precision(Fake(torch.eye(2), relative_error=0.0)) == eps
    assert precision(Fake(torch.eye(2), relative_error=1e-3)) == 1e-3
    assert product_error(Fake(torch.eye(2), relative_error=1e-3)) == 8e-3
