"""Does a curve of low loss go around the barrier, by the right gradient, and is what it says true?"""

import copy
import itertools
from functools import cache
from inspect import unwrap

import numpy as np
import pytest
import torch
from torch import nn

from families import BY_NAME
from objective.test_traces import lived
from objective.traces import traces
from theodolite.errors import SettingError, ShapeError
from theodolite.landscape.curves import Descent, _descended, _evenly, _length, _Task, bernstein, connect, hats
from theodolite.objective import Objective
from theodolite.problems.digits import digits
from theodolite.problems.networks import cross_entropy, initialise, perceptron

A, B = torch.tensor([-1.0, 0.1], dtype=torch.float64), torch.tensor([1.0, 0.1], dtype=torch.float64)
RING = Objective.from_function(lambda x: (x @ x - 1) ** 2, A)
KINDS = {"bezier": bernstein, "polygon": hats}


@cache
def trained(seed, widths=(64, 32, 32, 10)):
    """A net on the digits, and its point."""
    source = torch.Generator().manual_seed(seed)
    model, data = perceptron(widths, nn.ReLU), digits().training
    initialise(model, source, gain=2**0.5)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(200):
        rows = torch.randint(len(data[0]), (100,), generator=source)
        optimizer.zero_grad()
        cross_entropy(model, (data[0][rows], data[1][rows])).backward()
        optimizer.step()
    optimizer.zero_grad()
    return Objective(model, cross_entropy, data)


def de_casteljau(controls, t):
    points = list(controls)
    while len(points) > 1:
        points = [(1 - t) * one + t * other for one, other in itertools.pairwise(points)]
    return points[0]


@pytest.mark.parametrize("bends", [1, 2, 5])
def test_weights(bends):
    t = np.linspace(0, 1, 33)
    controls = np.random.default_rng(bends).normal(size=(bends + 2, 3))
    np.testing.assert_allclose(bernstein(t, bends) @ controls, [de_casteljau(controls, s) for s in t], atol=1e-14)
    knots = np.linspace(0, 1, bends + 2)
    corners = np.stack([np.interp(t, knots, column) for column in controls.T], 1)
    np.testing.assert_allclose(hats(t, bends) @ controls, corners, atol=1e-14)
    for weigh in KINDS.values():
        np.testing.assert_array_equal(weigh(np.array([0.0, 1.0]), bends), np.eye(bends + 2)[[0, -1]])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bends", [1, 3])
def test_length(kind, bends, generator):
    controls = torch.randn(bends + 2, 5, generator=generator(bends), dtype=torch.float64)
    dense = KINDS[kind](np.linspace(0, 1, 40001), bends) @ controls.numpy()
    assert _length(kind, controls) == pytest.approx(np.linalg.norm(np.diff(dense, axis=0), axis=1).sum(), rel=1e-6)


class Point(nn.Module):
    def __init__(self, start):
        super().__init__()
        self.theta = nn.Parameter(start.clone())


def half_square(model, batch):
    return 0.5 * ((model.theta - batch) ** 2).sum(1).mean()


@pytest.mark.parametrize(("kind", "bends"), [("bezier", 1), ("polygon", 1), ("bezier", 2), ("polygon", 3)])
def test_bends_arrive_where_the_mean_over_the_curve_is_least(kind, bends, generator):
    """J = Σ½‖θ − xᵢ‖²/N in batches of one and of three examples: the bends solve a linear system in closed form."""
    batches = [torch.full((1, 2), 3.0, dtype=torch.float64), torch.ones(3, 2, dtype=torch.float64)]
    start, weigh = _evenly(A, B, bends), KINDS[kind]
    objective = Objective(Point(A), half_square, batches)
    descent = Descent(steps=600, learning_rate=0.1 * (bends + 1))
    *_, last = _descended(_Task(objective, weigh, descent), start, generator=generator())
    weights = weigh((np.arange(4000) + 0.5) / 4000, bends)

    def least(mean):
        ends = weights[:, [0, -1]] @ start[[0, -1]].numpy()
        return np.linalg.lstsq(weights[:, 1:-1], mean - ends, rcond=None)[0]

    def apart(bends):
        """Root mean square distance on the curve, which is what J sees."""
        return np.sqrt(np.mean((weights[:, 1:-1] @ (last.controls[1:-1].numpy() - bends)) ** 2))

    assert apart(least(1.5)) < 0.01
    assert apart(least(2.0)) > 0.25  # batches, not examples, counted alike
    if bends == 1:  # nor does the bend pull without its weight: then the mean of J's gradient would vanish
        assert apart((1.5 - (weights[:, [0, -1]] @ start[[0, -1]].numpy()).mean(0)) / weights[:, 1].mean()) > 0.15
    torch.testing.assert_close(last.controls[[0, -1]], torch.stack([A, B]), rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_around_a_ring(kind, dtype, generator):
    a, b = A.to(dtype), B.to(dtype)
    objective = Objective.from_function(lambda x: (x @ x - 1) ** 2, a)
    curve = connect(objective, a, b, kind=kind, bends=2, generator=generator())
    assert curve.barrier_before == pytest.approx(1.0, abs=0.03)
    assert curve.barrier <= 0.05 * curve.barrier_before
    assert curve.notes == ()
    assert (curve.losses[0], curve.losses[-1]) == (objective.value(a), objective.value(b))
    assert curve.losses.shape == curve.errors.shape == curve.straight.shape == (21,)
    assert curve.bends.shape == (2, 2)
    assert curve.displacement == pytest.approx(2.0)
    assert 2.0 < curve.length < 4.0  # half a circle: π
    assert curve.method.startswith("Adam, ")


def test_losses_are_those_of_the_curve_told(generator):
    curve = connect(RING, A, B, bends=3, descent=Descent(points=7), generator=generator())
    points = bernstein(curve.positions, 3) @ np.vstack([A, curve.bends, B])
    np.testing.assert_allclose(curve.losses, [(x @ x - 1) ** 2 for x in points], rtol=1e-10, atol=1e-12)


def test_a_seed_repeats_it(generator):
    first, second = (connect(RING, A, B, generator=generator(3)) for _ in range(2))
    assert first.losses.tobytes() == second.losses.tobytes()
    assert first.bends.tobytes() == second.bends.tobytes()
    unseeded = connect(RING, A, B, descent=Descent(steps=6))
    assert unseeded.barrier <= unseeded.barrier_before


@pytest.mark.parametrize("factor", [1e-12, 1e12])
def test_units_do_not_matter(factor, generator):
    plain = connect(RING, A, B, generator=generator())
    steep = Objective.from_function(lambda x: factor * (x @ x - 1) ** 2, A)
    wide = Objective.from_function(lambda x: (x @ x / factor**2 - 1) ** 2, factor * A)
    np.testing.assert_allclose(connect(steep, A, B, generator=generator()).losses, factor * plain.losses, rtol=1e-5)
    scaled = connect(wide, factor * A, factor * B, generator=generator())
    np.testing.assert_allclose(scaled.losses, plain.losses, rtol=1e-5)
    assert scaled.length == pytest.approx(factor * plain.length, rel=1e-6)


@pytest.mark.parametrize("name", ["three batches", "conv batchnorm eval", "dropout", "transformer"])
def test_nothing_is_touched(name, generator):
    problem = lived(BY_NAME[name](torch.float32))
    objective = Objective(problem.model, problem.loss, problem.data)
    start = objective.point()
    end = start + torch.randn(len(start), generator=generator())
    before = traces(problem.model)
    curve = connect(objective, start, end, descent=Descent(steps=7, tolerance=0, points=5), generator=generator())
    assert traces(problem.model) == before
    assert curve.barrier <= curve.barrier_before
    assert any("Batch normalisation" in note for note in curve.notes) == (name == "conv batchnorm eval")


def normalised(seed):
    """A net with batch normalisation, trained on batches of the digits, in eval mode; and its batches."""
    source, data = torch.Generator().manual_seed(seed), digits().training
    model = nn.Sequential(nn.Linear(64, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 10))
    initialise(model, source, gain=2**0.5)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(150):
        rows = torch.randint(len(data[0]), (100,), generator=source)
        optimizer.zero_grad()
        cross_entropy(model, (data[0][rows], data[1][rows])).backward()
        optimizer.step()
    return model.eval(), list(zip(*(part[:600].split(150) for part in data), strict=True))


def with_its_own_statistics(model, point, batches):
    """The oracle: J of a copy at a point, after one pass of torch's own cumulative average over the data."""
    twin = copy.deepcopy(model).train()
    nn.utils.vector_to_parameters(point, twin.parameters())
    twin[1].reset_running_stats()
    twin[1].momentum = None
    for batch in batches:
        twin(batch[0])
    return np.mean([cross_entropy(twin.eval(), batch).item() for batch in batches])


def test_statistics_are_those_of_each_point_where_that_is_asked_for(generator):
    model, batches = normalised(0)
    other, _ = normalised(1)
    objective, before = Objective(model, cross_entropy, batches), traces(model)
    start, end = model.state_dict(), {f"module.{name}": value for name, value in other.state_dict().items()}
    curve = connect(objective, start, end, batch_norm="recomputed", generator=generator())
    assert traces(model) == before
    ends = [nn.utils.parameters_to_vector(net.parameters()).detach() for net in (model, other)]
    controls = torch.stack([ends[0], torch.tensor(curve.bends[0]), ends[1]])
    points = torch.from_numpy(bernstein(curve.positions, 1)).float() @ controls
    truth = [with_its_own_statistics(model, point, batches) for point in points]
    np.testing.assert_allclose(curve.losses, truth, rtol=1e-4)
    middle = with_its_own_statistics(model, (ends[0] + ends[1]) / 2, batches)
    assert curve.straight[10] == pytest.approx(middle, rel=1e-4)
    assert curve.barrier <= 0.1 * curve.barrier_before
    assert curve.notes == ("Statistics of batch normalisation are recomputed.",)
    fixed = connect(objective, start, end, descent=Descent(steps=1), generator=generator())
    assert fixed.losses[-1] > 10 * curve.losses[-1]  # the twin: the end with the statistics of the start
    assert curve.losses[-1] == pytest.approx(with_its_own_statistics(other, ends[1], batches), rel=1e-4)


def test_gradients_have_the_statistics_of_their_batch_as_training_has():
    model, batches = normalised(0)
    objective, theta = Objective(model, cross_entropy, batches), nn.utils.parameters_to_vector(model.parameters())
    task = _Task(objective, hats, Descent(), is_recomputed=True)
    found = [gradient for _, gradient in itertools.islice(task.gradients(theta.detach()), 2 * len(batches))]
    twin = copy.deepcopy(model).train()
    for batch, first, again in zip(batches, found, found[len(batches) :], strict=False):
        twin.zero_grad()
        cross_entropy(twin, batch).backward()
        truth = nn.utils.parameters_to_vector([tensor.grad for tensor in twin.parameters()])
        torch.testing.assert_close(first, truth)
        torch.testing.assert_close(again, truth)
    assert not model.training
    assert not model[1].training


def test_what_is_left_out_is_told(generator):
    flat = connect(RING, A, A, generator=generator())
    assert flat.notes == ("The straight line has no barrier: no curve was looked for.",)
    assert (flat.barrier, flat.length, flat.displacement) == (0.0, 0.0, 0.0)
    pole = Objective.from_function(lambda x: 1 / (x @ x), A)
    assert "not finite at an end" in connect(pole, 0 * A, B, generator=generator()).notes[0]
    stuck = connect(RING, A, B, descent=Descent(learning_rate=0), generator=generator())
    assert "No curve lower than the straight line" in stuck.notes[0]
    np.testing.assert_array_equal(stuck.losses, stuck.straight)
    assert stuck.length == stuck.displacement
    short = connect(RING, A, B, descent=Descent(steps=4), generator=generator())
    assert "above its tolerance after 4 steps" in short.notes[0]
    assert short.barrier < short.barrier_before


def test_values_that_are_not_finite(generator):
    """A hole in the middle of the line: its barrier is unknown, the curve goes around, lost steps are counted."""
    hole = Objective.from_function(lambda x: (x @ x - 1) ** 2 + 1e-3 * torch.sqrt(x @ x - 0.05), A)
    curve = connect(hole, A, B, generator=generator())
    assert np.isnan(curve.barrier_before)
    assert 0 <= curve.barrier < 0.1
    assert "not finite; these steps were left out" in curve.notes[0]


def test_mistakes():
    with pytest.raises(SettingError, match=r"kind must be one of 'bezier', 'polygon', got 'spline'"):
        connect(RING, A, B, kind="spline")
    with pytest.raises(SettingError, match="bends must be at least 1, got 0"):
        connect(RING, A, B, bends=0)
    for name, value in {"steps": 0, "points": 2, "tolerance": -1.0, "learning_rate": float("inf")}.items():
        with pytest.raises(SettingError, match=f"{name} must be"):
            connect(RING, A, B, descent=Descent(**{name: value}))
    with pytest.raises(SettingError, match="batch_norm must be None or 'recomputed', got 'interpolated'"):
        unwrap(connect)(RING, A, B, batch_norm="interpolated")
    with pytest.raises(SettingError, match="needs a model with batch normalisation"):
        connect(RING, A, B, batch_norm="recomputed")
    with pytest.raises(ShapeError, match=r"a must have shape \(2,\), got \(3,\)"):
        connect(RING, torch.zeros(3), B)
    with pytest.raises(ShapeError, match=r"b must have shape"):
        connect(RING, A, torch.zeros(3))


@pytest.mark.parametrize(("kind", "bends"), [("bezier", 1), ("polygon", 1), ("polygon", 3)])
@pytest.mark.parametrize("seeds", [(0, 1), pytest.param((2, 3), marks=pytest.mark.slow)], ids=str)
def test_two_nets_on_digits_are_connected(kind, bends, seeds, generator):
    """Garipov 2018: at most a tenth of the barrier is left, between the points looked at as well."""
    first, second = map(trained, seeds)
    a, b = first.point(), second.point()
    curve = connect(first, a, b, kind=kind, bends=bends, generator=generator())
    weights = torch.tensor(KINDS[kind](np.linspace(0, 1, 101), bends), dtype=torch.float32)
    dense = first.values(weights @ torch.stack([a, *torch.tensor(curve.bends), b])).numpy()
    assert curve.barrier_before > 0.5
    assert dense.max() - max(dense[0], dense[-1]) <= 0.1 * curve.barrier_before
    assert curve.length < 1.6 * curve.displacement
