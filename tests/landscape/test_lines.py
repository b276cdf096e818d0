"""Is the loss along a line the loss at its points?"""

from inspect import unwrap

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from families import BY_NAME
from objective.test_traces import lived
from objective.traces import traces
from theodolite.errors import SettingError, ShapeError
from theodolite.landscape import line, point_of
from theodolite.landscape.evaluation import mean_and_error
from theodolite.landscape.lines import positions
from theodolite.objective import Objective
from theodolite.records.lines import Line
from theodolite.records.run import Run
from theodolite.records.writer import RunWriter

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


def shaped(values, positions=None):
    """A line with these values."""
    values = np.array(values, float)
    where = np.linspace(0, 1, len(values)) if positions is None else np.array(positions)
    return Line(where, values, np.full(len(values), np.nan))


def test_two_factors_fall_without_a_barrier():
    """Goodfellow et al. 2015, figure 9: (1 − w₁w₂)² from 0 to (1, 1) is (1 − α²)²."""
    factors = Objective.from_function(lambda w: (1 - w.prod()) ** 2, torch.ones(2, dtype=torch.float64))
    found = line(factors, torch.zeros(2), torch.ones(2), extend=1.0)
    np.testing.assert_allclose(found.losses, (1 - found.positions**2) ** 2, atol=1e-15)
    assert found.is_monotone
    assert not found.is_convex
    assert found.barrier == 0
    t = found.positions[(found.positions >= 0) & (found.positions <= 1)]
    assert found.barrier_above_chord == pytest.approx(np.max((1 - t**2) ** 2 - (1 - t)))
    assert found.length == pytest.approx(2**0.5)


def test_between_two_solutions_of_two_factors():
    """Figure 10 of the same: (α(1 − α))²(a − 1/a)⁴ from (a, 1/a) to (1/a, a)."""
    factors = Objective.from_function(lambda w: (1 - w.prod()) ** 2, torch.ones(2, dtype=torch.float64))
    a = 5**0.5
    ends = np.array([a, 1 / a]), np.array([1 / a, a])
    found = line(factors, *ends, points=101, extend=0)
    t = found.positions
    np.testing.assert_allclose(found.losses, (t * (1 - t)) ** 2 * (a - 1 / a) ** 4, atol=1e-14)
    assert found.barrier == pytest.approx(0.64, abs=1e-12)
    assert not found.is_monotone


def test_both_barriers_where_the_ends_differ():
    found = shaped([4.0, 3.0, 2.5, 0.0])
    assert found.barrier == 0
    assert found.barrier_above_chord == pytest.approx(2.5 - 4 / 3)
    assert shaped([0.0, 3.0, 1.0]).barrier == 2
    assert shaped([0.0, 3.0, 1.0]).barrier_above_chord == 2.5
    beyond = shaped([9.0, 1.0, 0.0, 9.0], [-1.0, 0.0, 1.0, 2.0])
    assert (beyond.barrier, beyond.barrier_above_chord, beyond.is_monotone) == (0, 0, True)


def test_shape_is_told_beyond_rounding_only():
    assert shaped([1.0, 0.5, 0.5 + 0.9e-6, 0.0]).is_monotone
    assert not shaped([1.0, 0.5, 0.5 + 1.1e-6, 0.0]).is_monotone
    assert shaped([1.0, 0.5 + 0.9e-6, 0.0]).is_convex
    assert not shaped([1.0, 0.5 + 1.1e-6, 0.0]).is_convex
    assert shaped([1.0, 0.4, 0.0], [0.0, 0.5, 1.0]).is_convex
    assert not shaped([1.0, 0.4, 0.0], [0.0, 0.7, 1.0]).is_convex  # the chord there is at 0.3
    assert not shaped([1.0, np.nan, 0.0]).is_convex


def test_refinement_goes_where_it_bends():
    kink = Objective.from_function(lambda theta: (theta[0] - 0.4321).abs(), torch.zeros(1, dtype=torch.float64))
    plain = line(kink, [0.0], [1.0], points=11, extend=0)
    found = line(kink, [0.0], [1.0], points=11, extend=0, refine=12)
    assert set(plain.positions) < set(found.positions)
    assert len(found.positions) == 23
    assert (np.diff(found.positions) > 0).all()
    assert np.array_equal(found.losses, np.abs(found.positions - 0.4321))
    assert np.abs(found.positions - 0.4321).min() < 2e-3
    even = line(kink, [0.0], [1.0], points=23, extend=0)

    def error(some):
        fine = np.linspace(0, 1, 1001)
        return np.abs(np.interp(fine, some.positions, some.losses) - np.abs(fine - 0.4321)).max()

    assert error(found) < error(even) / 4
    flat = Objective.from_function(lambda theta: theta[0], torch.zeros(1))
    assert len(line(flat, [0.0], [1.0], points=9, extend=0, refine=5).positions) <= 14


def squares(model, batch):
    return functional.mse_loss(model(batch[0]), batch[1])


def spread(model, batch):
    return model(batch[0]).std()


def layered():
    """A net with a buffer and a frozen parameter, and data; nothing of it drawn from the global generator."""
    draw = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    for part in model.parameters():
        part.data = torch.randn(part.shape, generator=draw)
    model[2].bias.requires_grad_(False)
    data = [(torch.randn(6, 3, generator=draw), torch.randn(6, 2, generator=draw)) for _ in range(3)]
    return model, data


def test_further_quantities_at_the_same_points():
    model, data = layered()
    objective = Objective(model, squares, data[:2])
    validation, metric = Objective(model, squares, data[2:]), Objective(model, spread, data)
    start, end = objective.point(), objective.point() + 0.1
    found = line(objective, start, end, points=5, refine=2, others={"validation": validation, "spread": metric})
    assert [along.name for along in found.others] == ["validation", "spread"]
    for place, alpha in enumerate(found.positions.tolist()):
        theta = (1 - alpha) * start + alpha * end
        for along, other in zip(found.others, (validation, metric), strict=True):
            assert along.values[place] == pytest.approx(other.value(theta), rel=1e-5)
    assert np.isnan(found.others[0].errors).all()  # one batch
    assert (found.others[1].errors > 0).all()
    with pytest.raises(SettingError, match=r"others\['bowl'\] must be an Objective of the same parameters"):
        line(objective, start, end, others={"bowl": BOWL})


def test_a_point_by_name(tmp_path):
    model, data = layered()
    objective = Objective(model, squares, data)
    state = {name: tensor.clone() + 1 for name, tensor in model.state_dict().items()}
    expected = torch.cat([state[name].flatten() for name in objective.names])
    assert torch.equal(point_of(objective, state), expected)
    assert torch.equal(point_of(objective, {f"module.{name}": value for name, value in state.items()}), expected)
    arrays = {name: state[name].double().numpy() for name in objective.names}
    assert torch.equal(point_of(objective, arrays), expected)
    with RunWriter(tmp_path / "run") as run:
        run.snapshot(3, {name: state[name].numpy() for name in objective.names})
    found = line(objective, objective.point(), Run(tmp_path / "run").snapshot(3), points=3, extend=0)
    assert found.losses[-1] == objective.value(expected)
    assert torch.equal(point_of(objective, expected.numpy()), expected)


def test_a_point_under_a_prefix():
    """As a trainer keeps it, beside what is none of the model; a model's own child may be called "module" too."""
    model, data = layered()
    objective = Objective(model, squares, data)
    state, expected = model.state_dict(), objective.point()
    kept = {f"net.{name}": value for name, value in state.items()} | {"metric.count": torch.ones(3)}
    assert torch.equal(point_of(objective, kept), expected)
    inner = nn.Module()
    inner.module = model
    within = Objective(inner, lambda outer, batch: squares(outer.module, batch), data)
    assert torch.equal(point_of(within, inner.state_dict()), expected)
    twice = kept | {f"average.{name}": 0 * value for name, value in state.items()}
    with pytest.raises(SettingError, match=r"lacks '0\.weight'.*it has 'net\.0\.weight'"):
        point_of(objective, twice)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda state: state.pop("0.weight"),
            SettingError,
            "start must hold every parameter .* lacks '0.weight'; it has",
        ),
        (lambda state: state.update({"9.weight": torch.ones(1)}), SettingError, "knows no '9.weight'"),
        (
            lambda state: state.update({"0.bias": torch.ones(5)}),
            ShapeError,
            r"start\['0.bias'\] must have shape \(4,\), got \(5,\)",
        ),
        (lambda state: state.clear(), SettingError, "lacks '0.weight', '0.bias', '1.weight' and 2 more"),
    ],
)
def test_a_state_of_another_model_is_refused(change, error, message):
    model, data = layered()
    objective = Objective(model, squares, data)
    state = dict(model.state_dict())
    change(state)
    with pytest.raises(error, match=message):
        line(objective, state, objective.point())


def test_a_preview_says_so():
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
    data = torch.ones(256, 64), torch.ones(256, 10)
    objective = Objective(model, squares, data)
    found = line(objective, objective.point(), 0 * objective.point(), points=9, preview=True)
    exact = line(objective, objective.point(), 0 * objective.point(), points=9)
    assert "bfloat16" not in exact.method
    np.testing.assert_allclose(found.losses, exact.losses, rtol=0.02)
    assert found.method


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda: line(BOWL, A, torch.ones(3)), ShapeError, r"end must have shape \(2,\), got \(3,\)"),
        (lambda: line(BOWL, [1.0], B), ShapeError, "start must have shape"),
        (lambda: line(BOWL, A, B, points=3), SettingError, "points must be at least 4 with extend=0.25, got 3. Both"),
        (lambda: line(BOWL, A, B, points=1, extend=0), SettingError, "at least 2"),
        (lambda: line(BOWL, A, B, extend=-0.1), SettingError, "not negative, got -0.1"),
        (lambda: line(BOWL, A, B, extend=float("nan")), SettingError, "got nan"),
        (lambda: line(BOWL, A, B, refine=-1), SettingError, "refine must be at least 0, got -1"),
        (lambda: unwrap(line)(BOWL, A, B, refine=1.5), SettingError, "refine must be a whole number"),
    ],
)
def test_mistakes_are_told(ask, error, message):
    with pytest.raises(error, match=message):
        ask()
