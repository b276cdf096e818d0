"""Does a record keep what was measured, whatever the caller does with the arrays that were handed in?"""

from dataclasses import astuple, fields, is_dataclass

import numpy as np
import pytest
import torch

from theodolite.landscape.critical_points import classify
from theodolite.landscape.searches import find_critical_point, newton
from theodolite.landscape.series import taylor
from theodolite.landscape.steps import directional_curvature, gradient_step
from theodolite.linalg.matrices import dense
from theodolite.objective import Objective
from theodolite.records import Eigenpairs, Status

DIAGONAL = torch.tensor([4.0, -1.0, 2.0], dtype=torch.float64)
SADDLE = Objective.from_function(lambda t: 0.5 * (DIAGONAL * t**2).sum(), torch.zeros(3, dtype=torch.float64))
MATRIX = dense(torch.diag(DIAGONAL))

DOORS = {
    "classify": lambda v, seed: classify(SADDLE, v, generator=seed),
    "classify, Lanczos": lambda v, seed: classify(SADDLE, v, dense_limit=0, generator=seed),
    "newton": lambda v, seed: newton(SADDLE, v, 1, generator=seed),
    "newton, no step": lambda v, seed: newton(SADDLE, v, 0, generator=seed),
    "find_critical_point": lambda v, seed: find_critical_point(SADDLE, v, generator=seed),
    "find_critical_point, no step": lambda v, seed: find_critical_point(SADDLE, v, max_iterations=0, generator=seed),
    "gradient_step": lambda v, seed: gradient_step(SADDLE, v, 0.1, generator=seed),
    "taylor": lambda v, seed: taylor(SADDLE, v, 2, at=v),
    "directional_curvature": lambda v, seed: directional_curvature(MATRIX, v),
}


def arrays(record) -> list[np.ndarray]:
    """Every array in a record, and in the records in it."""
    values = [getattr(record, field.name) for field in fields(record)]
    inner = [array for value in values if is_dataclass(value) for array in arrays(value)]
    return [value for value in values if isinstance(value, np.ndarray)] + inner


@pytest.mark.parametrize("at", [(0.0, 0.0, 0.0), (1.0, 2.0, 3.0)], ids=["critical", "elsewhere"])
@pytest.mark.parametrize("kind", [torch.tensor, np.array], ids=["tensor", "array"])
@pytest.mark.parametrize("door", DOORS)
def test_a_record_has_its_own_memory(door, kind, at, generator):
    vector = torch.tensor(at, dtype=torch.float64) if kind is torch.tensor else np.array(at)
    if door == "directional_curvature" and not any(at):
        vector += 1
    found = DOORS[door](vector, generator())
    before, words = [array.copy() for array in arrays(found)], str(found)
    vector += 7
    for array, copy in zip(arrays(found), before, strict=True):
        np.testing.assert_array_equal(array, copy)
    assert str(found) == words


def test_eigenpairs_that_were_handed_in_are_not_kept():
    values, vectors = np.array([-1.0]), np.array([[0.0], [1.0], [0.0]])
    found = directional_curvature(MATRIX, torch.ones(3), Eigenpairs(values, vectors, np.zeros(1), Status.CONVERGED, 0))
    before = astuple(found)
    values += 7
    vectors += 7
    assert str(astuple(found)) == str(before)
