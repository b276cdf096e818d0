"""Does a trajectory stand where least squares puts it on a plane, and is it drawn there with its own loss?"""

import numpy as np
import pytest
import torch

from theodolite.errors import ShapeError
from theodolite.landscape import orthogonal_pair, pca_plane, plane, track
from theodolite.landscape.planes import extent_of
from theodolite.landscape.trajectories import Trajectory
from theodolite.objective import Objective
from theodolite.plots import describe
from theodolite.records.planes import Track

POINTS = np.cumsum(np.random.default_rng(0).standard_normal((9, 40)), axis=0)
PATH = Trajectory.from_points(POINTS, steps=np.arange(9) * 3)
BOWL = Objective.from_function(lambda theta: (theta**2).sum(), torch.zeros(40, dtype=torch.float64))


@pytest.mark.parametrize("angle", [90, 45, 0.01])
def test_feet_are_those_of_least_squares(angle, generator):
    source, turn = generator(), np.deg2rad(angle)
    origin = torch.randn(40, generator=source, dtype=torch.float64)
    x, beside = torch.linalg.qr(torch.randn(40, 2, generator=source, dtype=torch.float64))[0].T
    y = np.cos(turn) * x + np.sin(turn) * beside
    found = track(PATH, origin, 3 * x, y / 2, objective=BOWL)
    basis, away = torch.stack([3 * x, y / 2], 1).numpy(), POINTS - origin.numpy()
    truth, *_ = np.linalg.lstsq(basis, away.T, rcond=None)
    rest = np.linalg.norm(away.T - basis @ truth, axis=0)
    np.testing.assert_allclose([found.x, found.y], truth, rtol=1e-7 / np.sin(turn), atol=1e-9)
    np.testing.assert_allclose(found.outside, rest, rtol=1e-9)
    np.testing.assert_allclose(found.distances, np.linalg.norm(away, axis=1), rtol=1e-12)
    np.testing.assert_allclose(found.losses, (POINTS**2).sum(1), rtol=1e-12)
    assert found.steps.tolist() == PATH.steps.tolist()
    assert (found.name, track(PATH, origin, x, y).losses.size) == ("path", 0)


def test_it_is_that_of_the_principal_plane():
    plane_of = pca_plane(PATH, objective=BOWL)
    found = track(PATH, *plane_of, objective=BOWL)
    for name in ("x", "y", "outside", "distances", "losses", "steps"):
        np.testing.assert_allclose(getattr(found, name), getattr(plane_of.track, name), atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_points_finer_than_the_plane_are_not_rounded(dtype):
    """A point off the plane by less than the precision of the origin."""
    origin, x, y = torch.full((40,), 100.0).to(dtype), *torch.eye(40)[:2].to(dtype)
    point = origin.double() + 1e-4 * torch.eye(40, dtype=torch.float64)[0]
    found = track(Trajectory.from_points([point]), origin, x, y)
    assert found.x[0] == pytest.approx(1e-4)
    assert found.outside[0] == pytest.approx(0, abs=1e-12)


def test_a_plane_is_as_large_as_its_tracks(generator):
    pair = orthogonal_pair(BOWL, generator=generator())
    seen = track(PATH, torch.zeros(40, dtype=torch.float64), *pair, objective=BOWL)
    picture = plane(BOWL, torch.zeros(40), *pair, points=(5, 7), tracks=[seen])
    assert picture.tracks == (seen,)
    for side, values in ((picture.x, seen.x), (picture.y, seen.y)):
        low, high = min(values.min(), 0), max(values.max(), 0)
        assert (side[0], side[-1]) == pytest.approx((low - 0.15 * (high - low), high + 0.15 * (high - low)))
    drawn, space = describe(picture)
    assert "of its distance from origin lies outside the plane; J at its points differs" in drawn.notes[0]
    assert [flight.name for flight in space.flights] == ["path"]
    given = plane(BOWL, torch.zeros(40), *pair, points=(3, 3), extent=2.0, tracks=[seen])
    assert given.x.tolist() == [-2, 0, 2]


def test_points_that_are_not_finite_stretch_nothing():
    lost = Track("path", np.array([np.nan, 2.0]), np.array([np.inf, 0.0]), np.zeros(2), np.zeros(2))
    assert extent_of([lost]) == ((pytest.approx(-0.3), pytest.approx(2.3)), (-1.0, 1.0))
    path = Trajectory.from_points([torch.full((2,), torch.nan), torch.ones(2)])
    found = track(path, torch.zeros(2), *torch.eye(2))
    np.testing.assert_array_equal(found.x, [np.nan, 1])


def test_mistakes():
    with pytest.raises(ShapeError, match=r"origin must have shape \(40,\), as the points .* have, got \(3,\)"):
        track(PATH, *torch.eye(3))
    small = Objective.from_function(lambda theta: theta.sum(), torch.zeros(2))
    with pytest.raises(ShapeError, match="objective must be a function of the 40 parameters"):
        track(PATH, torch.zeros(40), *torch.eye(40)[:2], objective=small)
