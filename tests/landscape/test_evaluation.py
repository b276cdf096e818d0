"""Is J at many points the J of each point, and is nothing left behind?"""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from families import BY_NAME, FAMILIES, mlp, regression
from landscape.by_hand import GRID, by, flat_of, means, objective_of, one_by_one
from objective.traces import traces
from theodolite.errors import ShapeError
from theodolite.landscape import evaluation, tuning, ways
from theodolite.landscape.evaluation import evaluate
from theodolite.landscape.flats import AffineSum, Flat, walking_order
from theodolite.landscape.ways import Way
from theodolite.objective import Objective


@pytest.fixture
def eager(monkeypatch):
    """Every way that agrees is taken, however slow."""
    monkeypatch.setattr(tuning, "_GAIN", np.inf)
    monkeypatch.setattr(tuning, "_SLOW", np.inf)
    monkeypatch.setattr(tuning, "_SHARE", np.inf)


everything = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


@everything
def test_each_point_has_its_own_value(family, generator):
    objective = objective_of(family(torch.float64))
    flat = flat_of(objective, 2, generator())
    found = evaluate(objective, flat.origin, flat.directions, GRID)
    np.testing.assert_allclose(found.losses, one_by_one(objective, flat, GRID), rtol=1e-11)


@everything
def test_no_trace(family, generator, eager):
    problem = family(torch.float32)
    objective = objective_of(problem)
    flat = flat_of(objective, 2, generator())
    before = traces(problem.model, problem.loss)
    for preview in (False, True):
        evaluate(objective, flat.origin, flat.directions, GRID, preview=preview)
        assert traces(problem.model, problem.loss) == before


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("calls", [1, 9, 40])
def test_an_interruption_leaves_no_trace(error, calls, generator, eager):
    problem = BY_NAME["mlp"](torch.float32)
    seen = []

    def loss(model, batch):
        seen.append(0)
        if len(seen) >= calls:
            raise error("the power went")
        return problem.loss(model, batch)

    objective = Objective(problem.model, loss, problem.data)
    flat = flat_of(objective, 2, generator())
    before = traces(problem.model)
    with pytest.raises(error, match="the power went"):
        evaluate(objective, flat.origin, flat.directions, GRID)
    assert traces(problem.model) == before


def test_rosenbrock(generator):
    def valley(theta):
        return (1 - theta[0]) ** 2 + 100 * (theta[1] - theta[0] ** 2) ** 2

    objective = Objective.from_function(valley, torch.zeros(2, dtype=torch.float64))
    rows = torch.randn(30, 2, generator=generator(), dtype=torch.float64).numpy()
    found = evaluate(objective, torch.zeros(2), list(torch.eye(2)), rows)
    x, y = rows.T
    np.testing.assert_allclose(found.losses, (1 - x) ** 2 + 100 * (y - x**2) ** 2, rtol=1e-13)
    assert np.isnan(found.errors).all()


def test_points_do_not_drift(generator):
    """A peer adds steps up: its last point is off. Here the centre and the ends are met to the bit."""
    objective = objective_of(BY_NAME["mlp"](torch.float32))
    (way,) = flat_of(objective, 1, generator()).directions
    theta = objective.point()
    rows = np.linspace(-1, 1, 401)[:, None]
    found = evaluate(objective, theta, [way], rows, preview=False)
    sought = [objective.value(theta), objective.value(theta + way)]
    np.testing.assert_allclose(found.losses[[200, 400]], sought, rtol=1e-6)
    exact = means(by(objective, Flat(theta, (way,)), rows, Way()))
    assert exact[200] == sought[0]
    assert exact[400] == sought[1]


def test_accumulated_steps_would_drift(generator):
    """The biased twin of the test above."""
    theta = torch.randn(1000, generator=generator())
    moving = theta.clone()
    for _ in range(200):
        moving += 0.1
    for _ in range(200):
        moving -= 0.1
    assert not torch.equal(moving, theta)


def test_order_of_rows_does_not_matter(generator):
    objective = objective_of(BY_NAME["mlp"](torch.float32))
    flat = flat_of(objective, 3, generator())
    rows = torch.randn(20, 3, generator=generator()).round(decimals=0).double().numpy()
    there, back = by(objective, flat, rows, Way()), by(objective, flat, rows[::-1], Way())
    assert np.array_equal(there.losses, back.losses[::-1])
    steps = np.diff(rows[walking_order(rows)][:, :2], axis=0).any(1).sum()
    assert steps == len(np.unique(rows[:, :2], axis=0)) - 1


def test_errors_are_over_batches_and_counts_weigh():
    objective = Objective(
        nn.Linear(1, 1), lambda m, b: (m(b) - b).square().mean(), [torch.ones(3, 1), torch.zeros(1, 1)]
    )
    found = evaluate(objective, torch.zeros(2), [torch.ones(2)], np.zeros((9, 1)))
    assert found.losses == pytest.approx(np.full(9, 0.75))
    assert found.errors[0] > 0


@pytest.mark.parametrize(("directions", "rows"), [(2, np.empty((0, 2))), (0, np.empty((0, 0)))])
def test_no_points(directions, rows, generator):
    objective = objective_of(BY_NAME["mlp"](torch.float32))
    found = evaluate(objective, objective.point(), [objective.point()] * directions, rows)
    assert found.losses.shape == found.errors.shape == (0,)


def test_no_directions():
    objective = objective_of(BY_NAME["mlp"](torch.float64))
    theta = objective.point() + 1
    found = evaluate(objective, theta, [], np.empty((2, 0)))
    assert found.losses == pytest.approx(np.full(2, objective.value(theta)), rel=1e-14)


def test_values_that_are_not_finite_are_kept():
    objective = Objective.from_function(lambda theta: theta.log().sum(), torch.ones(1))
    found = evaluate(objective, torch.zeros(1), [torch.ones(1)], np.linspace(-1, 1, 9)[:, None])
    assert np.isnan(found.losses[:4]).all()
    assert found.losses[4] == -np.inf
    assert np.isfinite(found.losses[5:]).all()


def test_shapes_are_asked_for():
    objective = objective_of(BY_NAME["mlp"](torch.float32))
    theta = objective.point()
    with pytest.raises(ShapeError, match=r"coefficients must have shape \(points, 1\), got \(3, 2\). Give one column"):
        evaluate(objective, theta, [theta], np.zeros((3, 2)))
    with pytest.raises(ShapeError, match="direction must have shape"):
        evaluate(objective, theta, [theta[1:]], np.zeros((3, 1)))
    with pytest.raises(ShapeError, match="origin must have shape"):
        evaluate(objective, theta[1:], [theta], np.zeros((3, 1)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_coarse_parameters_are_rounded_once(dtype, generator):
    vectors = torch.randn(4, 10_000, generator=generator())
    exact = vectors[0].double() + torch.tensor([0.3, -0.7, 0.1], dtype=torch.float64) @ vectors[1:].double()
    found, stepwise = torch.empty(10_000, dtype=dtype), vectors[0].to(dtype)
    AffineSum([vectors[0]], [[way] for way in vectors[1:]]).write((0.3, -0.7, 0.1), [found])
    for share, way in zip((0.3, -0.7, 0.1), vectors[1:], strict=True):
        stepwise = torch.add(stepwise, way.to(dtype), alpha=share)
    assert (found == exact.to(dtype)).double().mean() > 0.99
    assert (stepwise == exact.to(dtype)).double().mean() < 0.7, "the twin that rounds at each step"


def test_a_model_of_half_precision(generator):
    objective = objective_of(BY_NAME["mlp"](torch.bfloat16))
    flat = flat_of(objective, 2, generator())
    found = evaluate(objective, flat.origin, flat.directions, GRID, preview=True)
    assert found.method == "in place; bfloat16 preview left out: θ is bfloat16"
    np.testing.assert_allclose(found.losses, one_by_one(objective, flat, GRID), rtol=1e-2)


def test_a_loader_is_read_once_and_held_as_memory_allows(generator, monkeypatch):
    reads = []

    class Pairs(TensorDataset):
        def __getitem__(self, index):
            reads.append(index)
            return super().__getitem__(index)

    data = Pairs(torch.randn(10, 3, generator=generator()), torch.randn(10, 2, generator=generator()))
    objective = Objective(mlp(), regression, DataLoader(data, 4, shuffle=True))
    flat = flat_of(objective, 2, generator())
    sought = one_by_one(objective, flat, GRID)
    reads.clear()
    np.testing.assert_allclose(means(by(objective, flat, GRID, Way())), sought, rtol=1e-6)
    assert len(reads) == 10
    monkeypatch.setattr(ways, "_MEMORY", 1)
    np.testing.assert_allclose(means(by(objective, flat, GRID, Way(size=3))), sought, rtol=1e-6)
    assert len(reads) == 20


@pytest.mark.parametrize(
    "name", ["dropout", "conv batchnorm train", "spectral norm", "stateful", "noisy", "loss module"]
)
def test_a_model_that_moves_is_guarded(name, generator):
    objective = objective_of(BY_NAME[name](torch.float32))
    flat = flat_of(objective, 2, generator())
    found = evaluate(objective, flat.origin, flat.directions, GRID)
    assert found.method == "one by one, since the model draws at random or keeps state"


def test_a_model_that_moves_late_is_guarded_from_the_start(generator):
    class Late(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return x * self.weight + (torch.randn(()) if self.weight > 0.9 else 0)

    objective = Objective(Late(), lambda m, b: m(b).mean(), [torch.ones(1), torch.ones(1)], seed=3)
    rows = np.linspace(-1, 1, 9)[:, None]
    found = evaluate(objective, torch.zeros(1), [torch.ones(1)], rows)
    assert found.method.startswith("one by one")
    assert found.losses[-1] == objective.value(torch.ones(1)) != 1


def test_a_model_that_moves_and_comes_back_is_guarded(generator):
    class Toggle(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.is_on = nn.Parameter(torch.zeros(1)), False

        def forward(self, x):
            self.is_on = not self.is_on
            return x * self.weight if self.is_on else -x * self.weight

    objective = Objective(Toggle(), lambda m, b: m(b).mean(), [torch.ones(1), torch.ones(1)])
    rows = np.linspace(-1, 1, 9)[:, None]
    np.testing.assert_allclose(evaluate(objective, torch.zeros(1), [torch.ones(1)], rows).losses, rows[:, 0])


def test_a_loss_that_differentiates(generator):
    objective = objective_of(BY_NAME["physics"](torch.float64))
    flat = flat_of(objective, 1, generator())
    found = evaluate(objective, flat.origin, flat.directions, np.linspace(0, 1, 9)[:, None])
    assert found.method == "one by one, since the loss differentiates"


def test_progress_is_silent_off_a_terminal(generator, capsys):
    objective = objective_of(BY_NAME["mlp"](torch.float32))
    flat = flat_of(objective, 2, generator())
    evaluate(objective, flat.origin, flat.directions, GRID, progress=True)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("points", [3, 12], ids=["untried", "tried"])
def test_progress_ends_at_the_end_where_data_are_held_piece_by_piece(points, monkeypatch):
    bar = SimpleNamespace(total=0, n=0, ahead=[])

    def update(count):
        bar.n += count
        bar.ahead.append(bar.total - bar.n)

    bar.update = update
    monkeypatch.setattr(evaluation, "drawn", lambda total, what: nullcontext(bar))
    monkeypatch.setattr(ways, "_MEMORY", 1)
    objective = Objective(nn.Linear(2, 1), lambda m, b: m(b).square().mean(), list(torch.ones(3, 5, 2)))
    rows = np.linspace(-1, 1, points)[:, None]
    evaluate(objective, torch.zeros(3), [torch.ones(3)], rows, progress=True)
    assert min(bar.ahead) == 0
    assert bar.ahead == sorted(bar.ahead, reverse=True)
    if points == 12:  # the way was tried, which tells how many pieces there are
        assert bar.total == 3 * points
        assert bar.ahead.count(0) == 1
