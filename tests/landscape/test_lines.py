"""Is the loss along a line the loss at its points?"""

import numpy as np
import pytest
import torch

from families import BY_NAME
from objective.test_traces import lived
from objective.traces import traces
from theodolite.errors import SettingError, ShapeError
from theodolite.landscape import line
from theodolite.landscape.evaluation import mean_and_error
from theodolite.landscape.lines import positions
from theodolite.objective import Objective

A, B = torch.tensor([2.0, 0.0], dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64)
BOWL = Objective.from_function(lambda theta: theta @ theta, A)


def test_a_parabola():
    found = line(BOWL, A, B)
    t = found.positions
    np.testing.assert_allclose(found.losses, 4 * (1 - t) ** 2 + t**2, rtol=1e-13)
    assert len(t) == 51
    assert t[0] == -0.25
    assert t[-1] == 1.25
    assert {0.0, 1.0} <= set(t)
    assert np.isnan(found.errors).all()
    assert found.barrier == 0.0
    assert not found.is_monotone  # the parabola's lowest point lies at 0.8
    assert line(BOWL, A, 0 * A).is_monotone


def test_a_barrier():
    wells = Objective.from_function(lambda theta: ((theta**2 - 1) ** 2).sum(), torch.ones(1))
    found = line(wells, -torch.ones(1), torch.ones(1), labels=("left", "right"))
    assert found.barrier == pytest.approx(1.0, abs=0.01)
    assert not found.is_monotone
    assert (found.start, found.end) == ("left", "right")


@pytest.mark.parametrize("points", [4, 5, 6, 7, 50, 51, 101])
@pytest.mark.parametrize("extend", [0.0, 0.01, 0.25, 1.0, 10.0])
def test_positions(points, extend):
    t = positions(points, extend)
    assert len(t) == points
    assert (np.diff(t) > 0).all()
    assert t[0] == -extend
    assert t[-1] == 1 + extend
    assert {0.0, 1.0} <= set(t)
    if points >= 50 and extend == 0.25:
        assert np.diff(t).max() / np.diff(t).min() < 1.1


@pytest.mark.parametrize("name", ["three batches", "conv batchnorm train", "dropout", "lstm"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_ends_are_the_values_there_and_nothing_is_touched(name, dtype):
    problem = lived(BY_NAME[name](dtype))
    objective = Objective(problem.model, problem.loss, problem.data)
    start, end = objective.point(), objective.point() + 0.3
    before = traces(problem.model)
    found = line(objective, start, end, points=7)
    assert traces(problem.model) == before
    losses = dict(zip(found.positions, found.losses, strict=True))
    assert losses[0.0] == objective.value()
    assert losses[1.0] == objective.value(end)
    assert (found.errors > 0).all()


def test_the_error_over_uneven_batches():
    """Against the scatter of the mean over many samples of batches."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 20, 4000).astype(float)
    losses = 1 + rng.normal(size=4000) / np.sqrt(sizes)
    groups = zip(sizes.reshape(200, 20), losses.reshape(200, 20), strict=True)
    means, errors = np.array([mean_and_error(counts, values) for counts, values in groups]).T
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(means.std(), rel=0.15)
    assert mean_and_error(np.array([3.0, 1.0]), np.array([1.0, 5.0]))[0] == 2.0
    same = mean_and_error(np.array([2.0, 2.0]), np.array([1.0, 3.0]))
    assert same == pytest.approx((2.0, np.std([1, 3], ddof=1) / np.sqrt(2)))


def test_what_is_not_finite_is_kept():
    log = Objective.from_function(lambda theta: -theta.log().sum(), torch.ones(1))
    found = line(log, torch.ones(1), torch.zeros(1), points=5)
    assert np.isnan(found.losses[-1])
    assert np.isposinf(found.losses[found.positions == 1.0])
    assert np.isfinite(found.losses[:-2]).all()
    with np.errstate(invalid="ignore"):
        assert not np.isfinite(found.barrier)


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda: line(BOWL, A, torch.ones(3)), ShapeError, r"end must have shape \(2,\), got \(3,\)"),
        (lambda: line(BOWL, [1.0], B), ShapeError, "start must have shape"),
        (lambda: line(BOWL, A, B, points=3), SettingError, "points must be at least 4 with extend=0.25, got 3. Both"),
        (lambda: line(BOWL, A, B, points=1, extend=0), SettingError, "at least 2"),
        (lambda: line(BOWL, A, B, extend=-0.1), SettingError, "not negative, got -0.1"),
        (lambda: line(BOWL, A, B, extend=float("nan")), SettingError, "got nan"),
    ],
)
def test_mistakes_are_told(ask, error, message):
    with pytest.raises(error, match=message):
        ask()
