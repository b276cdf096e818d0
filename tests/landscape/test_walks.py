"""Is the random walk the control that it should be, and is winding what geometry says?"""

import numpy as np
import pytest
import torch

from theodolite.errors import SettingError, ShapeError
from theodolite.landscape import walks
from theodolite.landscape.projections import project
from theodolite.landscape.trajectories import Trajectory
from theodolite.landscape.walks import random_walk, random_walk_like, winding
from theodolite.objective import Objective


def semicircle(dimension, generator, *, steps=1000, end=900):
    """Progress and residual of a walk of unit-Gaussian steps, and what they should be."""
    raw = np.full(steps, np.sqrt(dimension))
    walk = random_walk(torch.zeros(dimension), raw, generator=generator)
    found = project(walk, walk.point(0), walk.point(end))
    k = np.arange(steps + 1)
    before = k <= end
    alpha = np.where(before, k * np.sqrt(dimension / end), np.sqrt(dimension * end))
    beta = np.sqrt(dimension * np.where(before, k * (1 - k / end), k - end))
    return found, alpha, beta, np.sqrt(dimension * end)


@pytest.mark.parametrize(
    ("dimension", "error", "of_curve"),
    [(1000, 0.03, 0.05), pytest.param(100_000, 0.01, 0.01, marks=pytest.mark.slow)],
    ids=["1e3", "1e5"],
)
def test_a_random_walk_is_a_semicircle(generator, dimension, error, of_curve):
    """The curves have, in the middle, a standard deviation of √(0.75/D) lengths: 0.027 and 0.0027."""
    found, alpha, beta, length = semicircle(dimension, generator())
    assert found.length == pytest.approx(length, rel=error)
    assert found.residuals[-1] == pytest.approx(beta[-1], rel=error)
    assert np.abs(found.progress - alpha).max() < of_curve * length
    assert np.abs(found.residuals - beta).max() < of_curve * length
    radius = np.hypot(found.progress[:901] - found.length / 2, found.residuals[:901])
    assert np.abs(radius / (found.length / 2) - 1).max() < 2 * of_curve


def test_a_walk_that_drifts_is_no_semicircle(generator):
    """The biased twin: a hundredth of each step goes the same way."""
    dimension, steps = 1000, 900
    moves = np.random.default_rng(0).standard_normal((steps, dimension)) + 0.3 / np.sqrt(dimension)
    moves[:, 0] += 0.05 * np.sqrt(dimension)
    walk = Trajectory.from_points(np.concatenate([np.zeros((1, dimension)), np.cumsum(moves, 0)]))
    found = project(walk, walk.point(0), walk.point(-1))
    assert abs(found.length / np.sqrt(dimension * steps) - 1) > 0.1


@pytest.mark.parametrize("is_held", [True, False])
def test_the_walk_has_the_same_steps(generator, monkeypatch, is_held):
    monkeypatch.setattr(walks, "_HELD_BYTES", 2**30 if is_held else 0)
    points = torch.randn(7, 2500, generator=generator()).cumsum(0)
    points[4] = points[3]  # a step of length zero
    way = Trajectory.from_points(points, steps=[0, 1, 2, 4, 8, 16, 32])
    walk, again = (random_walk_like(way, generator=generator(5)) for _ in range(2))
    other = random_walk_like(way, generator=generator(6))
    assert np.array_equal(walk.steps, way.steps)
    assert np.array_equal(walk.point(0), points[0])
    lengths = [np.diff(np.stack(list(t.points())), axis=0) for t in (walk, way)]
    norms = [np.linalg.norm(moves.astype(float), axis=1) for moves in lengths]
    np.testing.assert_allclose(norms[0], norms[1], rtol=1e-5, atol=1e-12)
    assert all(torch.equal(a, b) for a, b in zip(walk.points(), again.points(), strict=True))
    assert not torch.equal(walk.point(1), other.point(1))
    state = torch.get_rng_state()
    random_walk_like(way)
    assert torch.equal(state, torch.get_rng_state())


def test_directions_are_isotropic(generator):
    """Sums over coordinates, blocks and steps are those of independent standard normal numbers; z-bounds of 4.5."""
    n, steps = 3000, 400
    walk = random_walk(torch.zeros(n), np.full(steps, np.sqrt(n)), generator=generator())
    moves = np.diff(walk.source.rows(0, n), axis=0)
    assert abs(moves.mean()) < 4.5 / np.sqrt(n * steps)
    assert abs(moves.var() - 1) < 1e-9 + 4.5 * abs(moves.mean())
    assert np.abs(moves.mean(0)).max() * np.sqrt(steps) < 4.9
    assert np.abs((moves[1:] * moves[:-1]).sum(1)).max() / np.sqrt(n) < 4.5
    assert np.abs((moves[:, :1000] * moves[:, 1024:2024]).mean()) < 4.5 / np.sqrt(1000 * steps)
    assert (moves**4).mean() == pytest.approx(3, rel=0.02)


def test_winding_of_a_polygon():
    points = np.array([[0, 0], [3, 0], [3, 4], [3, 3], [3, 3.0]])
    found = winding(Trajectory.from_points(points, [0, 1, 5, 6, 9]))
    assert found.path_length == 8
    assert found.displacement == pytest.approx(np.sqrt(18))
    assert found.ratio == pytest.approx(8 / np.sqrt(18))
    np.testing.assert_array_equal(found.cosines, [0, -1, np.nan])
    assert found.descents.size == 0
    assert np.isnan(found.descent_fraction)
    assert found.steps.tolist() == [0, 1, 5, 6, 9]


def test_edges():
    one = winding(Trajectory.from_points(np.ones((1, 3))))
    assert (one.path_length, one.displacement, one.cosines.size) == (0.0, 0.0, 0)
    assert np.isnan(one.ratio)
    closed = winding(Trajectory.from_points(np.array([[0.0], [1.0], [0.0]])))
    assert closed.ratio == np.inf
    assert closed.cosines.tolist() == [-1.0]
    lost = winding(Trajectory.from_points(np.array([[0.0], [np.nan], [0.0], [1.0]])))
    assert np.isnan(lost.path_length)
    assert lost.displacement == 1.0
    alone = random_walk_like(Trajectory.from_points(np.ones((1, 3))))
    assert alone.point(0).tolist() == [1, 1, 1]
    with pytest.raises(SettingError, match="lengths of moves must be finite"):
        random_walk_like(Trajectory.from_points(np.array([[0.0], [np.nan]])))


def test_is_the_end_downhill(generator):
    """On a bowl with its minimum at the end, −∇J·(end − θ) = (θ − end)ᵀA(θ − end) > 0; uphill, it is negative."""
    scales = torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64)
    end = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    bowl = Objective.from_function(lambda t: 0.5 * (scales * (t - end) ** 2).sum(), torch.zeros(3).double())
    points = torch.cat([torch.randn(5, 3, generator=generator(), dtype=torch.float64), end[None]])
    found = winding(Trajectory.from_points(points), bowl)
    way = (end - points[:-1]).numpy()
    slope = (scales * (points[:-1] - end)).numpy()
    truth = -(way * slope).sum(1) / np.linalg.norm(way, axis=1) / np.linalg.norm(slope, axis=1)
    np.testing.assert_allclose(found.descents, truth, rtol=1e-13)
    assert found.descent_fraction == 1.0
    hill = Objective.from_function(lambda t: -(scales * (t - end) ** 2).sum(), torch.zeros(3).double())
    assert winding(Trajectory.from_points(points), hill).descent_fraction == 0.0
    flat = Objective.from_function(lambda t: (t * 0).sum(), torch.zeros(3).double())
    assert np.isnan(winding(Trajectory.from_points(points), flat).descents).all()
    with pytest.raises(ShapeError, match="got one of 3"):
        winding(Trajectory.from_points(np.ones((2, 4))), bowl)
