"""Are the planes and lines behind a picture what closed forms say, and is the run untouched by them?"""

import math
import time

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from theodolite.monitor.ground import Clock, Ground, split_sample
from theodolite.monitor.measurements import Bench
from theodolite.monitor.survey import Surveyed
from theodolite.monitor.tape import Precision, Repeat
from theodolite.monitor.trail import Points
from theodolite.monitor.views import views
from theodolite.objective import trainable
from theodolite.records import Estimate, Known, Ray, Survey
from theodolite.records.obstacles import OBSTACLES
from theodolite.records.planes import Layers, Plane, Sections


class Point(nn.Module):
    """A point x."""

    def __init__(self, *start: float) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.tensor(start, dtype=torch.float64))


def ground(model: nn.Module, loss, *, rate: float = 0.1, steps: int = 8, batch: object = None) -> Ground:
    """A plain training by gradient descent on one batch, and where it stands."""
    batch = torch.zeros(1) if batch is None else batch
    optimizer = torch.optim.SGD(model.parameters(), rate)
    params = trainable(model, None)
    points, start = Points(params, model), params.point()
    points.pass_by(0)
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        loss(model, batch).backward()
        optimizer.step()
        points.pass_by(step)
    bench, precision = Bench(model, loss, params, 0), Precision()
    split = split_sample(bench, [batch], precision, is_whole=True)
    clock = Clock(time.perf_counter() + 60)
    return Ground(
        bench, optimizer, params.point(), steps, split, (Repeat(batch, None, precision),), precision, clock, 10.0,
        start=start, points=points,
    )  # fmt: skip


def looked(where: Ground, obstacle: str, record: Survey | None = None, escape: Tensor | None = None) -> list:
    """The views of an obstacle; a failed one would have left a note."""
    found = list(views(where, Surveyed(record or Survey(where.step), escape), obstacle, 0.2))
    assert where.clock.notes == []
    return found


def bowl(model: Point, _: object) -> Tensor:
    return 0.5 * (torch.tensor([100.0, 1.0, 0.5], dtype=torch.float64) * model.x**2).sum()


def test_a_valley_is_laid_along_its_steep_and_its_slow_direction() -> None:
    where = ground(Point(1.0, 1.0, 1.0), bowl, rate=0.019)
    (found,) = looked(where, "ill_conditioning")
    assert isinstance(found, Plane)
    row, column = (int(np.flatnonzero(side == 0)[0]) for side in (found.y, found.x))
    assert found.losses[row, column] == pytest.approx(where.split.whole.value(), rel=1e-12)
    bend = np.diff(found.losses[row], 2)[0] / np.diff(found.x)[0] ** 2
    assert bend == pytest.approx(100.0, rel=1e-3)
    corrected, run = found.track("corrected steps"), found.track("the run")
    assert corrected is not None
    assert corrected.losses[-1] < 1e-3 * corrected.losses[0]
    assert run is not None
    assert list(run.steps) == list(range(9))
    assert run.losses[0] == pytest.approx(50.75)
    theta = [float(t) for t in where.theta]
    assert run.distances[0] == pytest.approx(math.dist((1, 1, 1), theta), rel=1e-12)
    np.testing.assert_allclose(run.x**2 + run.y**2 + run.outside**2, run.distances**2, rtol=1e-9, atol=1e-15)


def saddle(model: Point, _: object) -> Tensor:
    return 1.0 + 0.5 * model.x[0] ** 2 - 0.5 * model.x[1] ** 2 + 0.25 * model.x[1] ** 4


def test_a_saddle_has_its_way_down_and_a_kick_that_misses_it() -> None:
    where = ground(Point(0.5, 0.0), saddle)
    (found,) = looked(where, "saddle_point", escape=torch.tensor([0.0, 1.0], dtype=torch.float64))
    down = found.track("way down")
    assert down.x == pytest.approx([0.0, 1.0], abs=1e-12)
    assert down.losses[-1] - down.losses[0] == pytest.approx(-0.25, rel=1e-9)
    assert found.track("random kick").distances[-1] == pytest.approx(1.0)
    row = int(np.flatnonzero(found.y == 0)[0])
    s = found.x
    np.testing.assert_allclose(found.losses[row] - down.losses[0], s**4 / 4 - s**2 / 2, atol=1e-9)


def test_a_saddle_of_one_dimension_has_a_line() -> None:
    where = ground(Point(0.0), lambda model, _: 1.0 - model.x[0] ** 2)
    (found,) = looked(where, "saddle_point", escape=torch.tensor([0.5], dtype=torch.float64))
    assert isinstance(found, Sections)
    np.testing.assert_allclose(found.lines[0].losses, 1 - found.lines[0].lengths ** 2, atol=1e-12)


def wells(model: Point, _: object) -> Tensor:
    return ((model.x[0] ** 2 - 1) ** 2 + 0.2 * model.x[0] + 0.21) + model.x[1] ** 2


def test_walls_stand_around_a_minimum_and_a_better_point_behind_them() -> None:
    where = ground(Point(1.1, 0.0), wells, steps=6)
    here = where.split.whole.value()
    lengths, way = np.array([0.0, 1.0, 2.0]), -1.0
    losses = np.array([wells(Point(float(where.theta[0]) + way * s, 0.0), None).item() for s in lengths])
    record = Survey(
        6,
        rays=(Ray("outward", lengths, losses, np.zeros(3)),),
        known=(Known("far outward", Estimate(0.3, 0.0), 2.0),),
    )
    (found,) = looked(where, "local_minimum", record)
    better = next(line for line in found.lines if line.name == "towards a better point")
    at = float(np.interp(better.target, better.lengths, better.losses))
    assert at < here - 0.1
    assert better.losses.max() > here + 0.5
    assert {"greatest curvature", "least curvature", "random direction 1"} <= {line.name for line in found.lines}


def test_a_way_round_is_laid_through_start_end_and_better_point() -> None:
    where = ground(Point(0.9, 0.4), wells, steps=10)
    record = Survey(10, known=(Known("step 4 of the run", Estimate(0.1, 0.0), 0.1),))
    found, line = looked(where, "nonlocal_structure", record)
    assert isinstance(found, Plane)
    assert found.track("the run").outside.max() < 1e-9  # two dimensions: the plane holds everything
    assert found.track("to the better point").losses[-1] == pytest.approx(found.track("the run").losses[4], rel=1e-12)
    assert isinstance(line, Sections)


def test_without_a_better_point_the_plane_holds_the_way_of_the_run() -> None:
    (found,) = looked(ground(Point(0.9, 0.4), wells, steps=10), "nonlocal_structure")
    assert [track.name for track in found.tracks] == ["the run"]
    assert found.y_name == "where the run is farthest off the line"


def test_the_longest_step_is_the_line_of_a_cliff() -> None:
    def overshoots(model: Point, _: object) -> Tensor:
        return 0.5 * 25.0 * model.x[0] ** 2

    where = ground(Point(1.0), overshoots, rate=0.084, steps=2)  # each step multiplies x by −1.1
    (found,) = looked(where, "cliff")
    line = found.lines[0]
    step, start = line.target, float(np.sqrt(2 / 25 * np.interp(0.0, line.lengths, line.losses)))
    assert step == pytest.approx(2.1 * start, rel=1e-6)
    track = line.tracks[0]
    at = int(np.flatnonzero(np.abs(track.x) < 1e-9)[0])
    assert track.x[at + 1] == pytest.approx(step)
    assert track.outside.max() < 1e-9


def test_layers_tell_dead_units_and_gradients() -> None:
    torch_source = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.copy_(torch.randn(tensor.shape, generator=torch_source))
        model[0].bias[:2] = -100.0
    batch = (torch.randn(16, 4, generator=torch_source), torch.zeros(16, 2))
    where = ground(model, lambda m, b: ((m(b[0]) - b[1]) ** 2).mean(), rate=0.0, steps=1, batch=batch)
    (found,) = looked(where, "dead_units")
    assert isinstance(found, Layers)
    assert found.units == ("2",)
    assert found.dead[0] * found.counts[0] == 2
    assert found.weights == ("0.weight", "2.weight")
    assert found.examples == 16
    assert (found.gradients > 0).all()
    assert [type(one) for one in looked(where, "plateau")] == [Layers]


@pytest.mark.parametrize("obstacle", [*OBSTACLES, "undetermined"])
def test_the_model_and_the_global_generator_are_untouched(obstacle: str) -> None:
    where = ground(Point(0.9, 0.4, 0.3), bowl, rate=0.015, steps=3)
    before, state = where.bench.model.state_dict()["x"].clone(), torch.get_rng_state()
    kept = str(where.optimizer.state_dict())
    looked(where, obstacle)
    assert torch.equal(where.bench.model.state_dict()["x"], before)
    assert torch.equal(torch.get_rng_state(), state)
    assert str(where.optimizer.state_dict()) == kept


def test_nothing_is_measured_where_the_loss_is_not_finite() -> None:
    where = ground(Point(1.0, 1.0), lambda model, _: (model.x * math.inf).sum(), rate=0.0, steps=1)
    assert looked(where, "saddle_point") == []


def test_a_view_that_fails_is_told_and_left_out() -> None:
    where = ground(Point(0.9, 0.4, 0.3), bowl, steps=1, rate=0.01)
    assert list(views(where, Surveyed(Survey(1), torch.ones(2).double()), "saddle_point", 1.0)) == []
    assert "the picture of saddle_point could not be measured" in where.clock.notes[0]


def test_time_sets_how_fine_a_plane_is() -> None:
    where = ground(Point(0.5, 0.0), saddle)
    coarse = next(views(where, Surveyed(Survey(8), torch.tensor([0.0, 1.0]).double()), "saddle_point", 0.0))
    assert isinstance(coarse, Plane)
    assert coarse.losses.shape == (11, 11)
