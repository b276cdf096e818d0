"""Are principal components those of the singular value decomposition, and a projection what geometry says?"""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn
from torch.nn import functional

from theodolite.errors import SettingError, ShapeError
from theodolite.landscape import plane
from theodolite.landscape import trajectories as module
from theodolite.landscape.projections import pca_plane, principal_components, project
from theodolite.landscape.trajectories import Trajectory
from theodolite.landscape.walks import winding
from theodolite.objective import Objective
from theodolite.problems.digits import digits
from theodolite.records import Run, RunWriter

POINTS = np.cumsum(np.random.default_rng(0).standard_normal((12, 5000)) * np.geomspace(1, 10, 12)[:, None], axis=0)


def oracle(points, origin):
    """Components by NumPy's decomposition of the whole matrix, about the mean; coordinates from the origin."""
    _, values, ways = np.linalg.svd(points - points.mean(0), full_matrices=False)
    base = {"end": points[-1], "start": points[0], "mean": points.mean(0)}[origin]
    return values**2 / np.sum(values**2), ways, points - base


@pytest.mark.parametrize("origin", ["end", "start", "mean"])
@pytest.mark.parametrize("offset", [0.0, 1e4], ids=["near", "far"])
def test_components_are_those_of_the_decomposition(monkeypatch, origin, offset):
    monkeypatch.setattr(module, "_PIECE_BYTES", 12 * 8 * 1024)
    points = POINTS + offset
    shares, ways, away = oracle(points, origin)
    found = principal_components(Trajectory.from_points(points), count=4, origin=origin)
    np.testing.assert_allclose(found.shares, shares[:4], rtol=1e-10)
    truth = away @ ways[:4].T
    scale = np.abs(truth).max()
    np.testing.assert_allclose(np.abs(found.coordinates), np.abs(truth), atol=1e-10 * scale)
    np.testing.assert_allclose(found.coordinates @ found.coordinates.T, truth @ truth.T, atol=1e-10 * scale**2)
    rest = np.linalg.norm(away - truth @ ways[:4], axis=1)
    np.testing.assert_allclose(found.outside, rest, atol=1e-10 * scale)
    np.testing.assert_allclose(found.distances, np.linalg.norm(away, axis=1), rtol=1e-12, atol=1e-9)
    assert found.steps.tolist() == list(range(12))
    assert (found.coordinates[-1 if origin == "start" else 0] >= 0).all()


def test_shares_are_those_of_scikit_learn():
    found = principal_components(Trajectory.from_points(POINTS), count=5, origin="mean")
    theirs = PCA(5, svd_solver="full").fit(POINTS)
    np.testing.assert_allclose(found.shares, theirs.explained_variance_ratio_, rtol=1e-10)
    np.testing.assert_allclose(np.abs(found.coordinates), np.abs(theirs.transform(POINTS)), rtol=1e-7, atol=1e-7)


def test_directions_without_the_origin_subtracted_would_be_wrong():
    """The biased twin: the Gram matrix of the points themselves, in float32, far from 0."""
    points = (POINTS + 1e4).astype(np.float32)
    shares = oracle(points.astype(float), "end")[0]
    gram = (points @ points.T).astype(float)
    centre = np.eye(12) - 1 / 12
    values = np.linalg.eigvalsh(centre @ gram @ centre)[::-1]
    assert abs(values[0] / values.sum() - shares[0]) > 1e-4
    found = principal_components(Trajectory.from_points(points))
    np.testing.assert_allclose(found.shares, shares[:2], rtol=1e-9)


@pytest.mark.parametrize("bend", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("origin", ["end", "start", "mean"])
def test_a_plane_that_is_nearly_a_line(bend, origin):
    """The second component holds 1e-4 to 1e-12 of the variance: both stay unit vectors at a right angle."""
    u, v = np.linalg.qr(np.random.default_rng(0).standard_normal((3000, 2)))[0].T
    time = np.linspace(0, 1, 20)
    found = pca_plane(Trajectory.from_points(np.outer(time, u) + bend * np.outer(np.sin(3 * time), v)), origin=origin)
    axes = torch.stack(found.frame[1:]).numpy()
    np.testing.assert_allclose(axes @ axes.T, np.eye(2), atol=1e-4)
    assert abs(axes[0] @ axes[1]) < 1e-8
    assert found.track.outside.max() < 1e-3 * bend


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_plane_of_the_components(dtype):
    points = torch.from_numpy(POINTS[:, :400]).to(dtype)
    bowl = Objective.from_function(lambda t: (t.double() ** 2).sum(), points[0].clone())
    trajectory = Trajectory.from_points(points)
    found = pca_plane(trajectory, objective=bowl)
    origin, x, y = found
    assert x.dtype is dtype
    assert torch.equal(origin, points[-1])
    exact = {torch.float64: 1e-12, torch.float32: 1e-6, torch.bfloat16: 0.02}[dtype]
    gram = torch.stack([x, y]).double() @ torch.stack([x, y]).double().T
    np.testing.assert_allclose(gram, np.eye(2), atol=exact)
    wide = points.double().numpy()
    ways = oracle(wide, "end")[1]
    np.testing.assert_allclose(np.abs(torch.stack([x, y]).double().numpy() @ ways[:2].T), np.eye(2), atol=2 * exact)
    feet = np.stack([found.track.x, found.track.y], 1) @ torch.stack([x, y]).double().numpy() + wide[-1]
    np.testing.assert_allclose(np.linalg.norm(wide - feet, axis=1), found.track.outside, atol=exact * 1e3)
    np.testing.assert_allclose(found.track.losses, (wide**2).sum(1), rtol=1e-6)
    np.testing.assert_allclose(found.feet, (feet**2).sum(1), rtol=max(exact, 1e-9) * 10)
    assert found.gaps[-1] == pytest.approx(0.0, abs=1e-9)
    assert found.track.outside[-1] == 0.0
    (low, high), (bottom, top) = found.extent
    assert low < found.track.x.min() < found.track.x.max() < high
    assert bottom < found.track.y.min() < found.track.y.max() < top


def test_the_path_has_the_height_of_the_surface_where_it_lies_on_it():
    """A trajectory that stays in a plane: no point lies off it, and the surface at each foot is J at the point."""
    rng = np.random.default_rng(1)
    ways = np.linalg.qr(rng.standard_normal((60, 2)))[0].T
    points = rng.standard_normal(60) + rng.standard_normal((9, 2)) @ ways
    objective = Objective.from_function(lambda t: (t**2).sum() + torch.sin(t).sum(), torch.from_numpy(points[0]))
    found = pca_plane(Trajectory.from_points(points), objective=objective)
    assert found.track.outside.max() < 1e-13 * found.track.distances.max()
    np.testing.assert_allclose(found.gaps, 0, atol=1e-11)
    assert found.components.shares.sum() == pytest.approx(1.0, abs=1e-14)
    drawn = plane(objective, *found, points=(5, 5), extent=found.extent)
    assert drawn.losses[drawn.y == 0, drawn.x == 0][0] == objective.value(points[-1])


def test_points_that_are_not_finite_are_left_out():
    points = POINTS.copy()
    points[3, 7], points[11, 4999] = np.nan, np.inf
    kept = np.delete(np.arange(12), [3, 11])
    found, clean = (
        principal_components(Trajectory.from_points(p, s)) for p, s in ((points, None), (POINTS[kept], kept))
    )
    assert found.steps.tolist() == kept.tolist()
    np.testing.assert_allclose(found.coordinates, clean.coordinates, rtol=1e-10)
    assert pca_plane(Trajectory.from_points(points)).track.outside[-1] == 0.0


def test_a_projection_keeps_points_that_are_not_finite_as_such():
    points = np.array([[0.0, 0, 0], [1, 2, 0], [np.nan, 0, 0], [np.inf, 1, 1], [4, 0, 0]])
    bowl = Objective.from_function(lambda t: (t**2).sum(), torch.zeros(3).double())
    found = project(Trajectory.from_points(points), points[0], points[-1], objective=bowl, offsets=5)
    assert np.isfinite(found.residuals).tolist() == [True, True, False, False, True]
    assert np.isfinite(found.losses).tolist() == [True, True, False, False, True]
    assert found.across.tolist() == [0, 1, 4]
    assert np.isfinite(found.surface).all()


def test_edges_of_components():
    still = principal_components(Trajectory.from_points(np.ones((3, 4))))
    assert still.shares.tolist() == [0.0, 0.0]
    assert not still.coordinates.any()
    straight = Trajectory.from_points(np.outer(np.arange(4.0), np.ones(5)))
    assert principal_components(straight).shares.tolist() == [1.0, 0.0]
    with pytest.raises(SettingError, match="lie on one line"):
        pca_plane(straight)
    two = principal_components(Trajectory.from_points(np.eye(2)), count=1, origin="mean")
    np.testing.assert_allclose(np.abs(two.coordinates[:, 0]), np.sqrt(0.5))
    for points, count, origin, words in (
        (np.ones((1, 3)), 1, "end", "at least two points must be finite, got 1 of 1"),
        (np.full((2, 3), np.nan), 1, "end", "got 0 of 2"),
        (np.eye(3), 4, "end", "count must be from 1 to the 3"),
        (np.eye(3), 0, "end", "count must be"),
    ):
        with pytest.raises(SettingError, match=words):
            principal_components(Trajectory.from_points(points), count=count, origin=origin)
    bowl = Objective.from_function(lambda t: t.sum(), torch.ones(2))
    with pytest.raises(ShapeError, match="got one of 2"):
        principal_components(Trajectory.from_points(np.eye(3)), objective=bowl)


def test_progress_and_residual():
    points = np.array([[0, 0, 0], [1, 2, 0], [2, 0, -3], [4, 0, 0.0]]) + 7
    found = project(Trajectory.from_points(points, [0, 5, 6, 9]), points[0], torch.from_numpy(points[-1]))
    np.testing.assert_allclose(found.progress, [0, 1, 2, 4])
    np.testing.assert_allclose(found.residuals, [0, 2, 3, 0], atol=1e-15)
    assert (found.length, found.steps.tolist()) == (4.0, [0, 5, 6, 9])
    assert found.share_on_line == pytest.approx(1 / np.sqrt(5))
    assert (found.losses.size, found.surface.size) == (0, 0)


@pytest.mark.parametrize("seed", range(3))
def test_the_surface_meets_the_points(seed):
    """At r = β of each row stands J at the point; at both ends of the line β = 0; against points formed by hand."""
    rng = np.random.default_rng(seed)
    points = np.cumsum(rng.standard_normal((7, 50)), axis=0)
    objective = Objective.from_function(
        lambda t: torch.log1p((t**2).sum()) + torch.cos(t).sum(), torch.zeros(50).double()
    )
    trajectory = Trajectory.from_points(points)
    plain = project(trajectory, points[0], points[-1])
    assert plain.residuals[[0, -1]].max() <= 1e-14 * plain.length
    offsets = np.unique([0.0, *plain.residuals[1:-1], -3.0, 40.0])
    found = project(trajectory, points[0], points[-1], objective=objective, offsets=offsets, rows=7)
    assert found.across.tolist() == list(range(7))
    np.testing.assert_allclose(found.losses, [objective.value(p) for p in points], rtol=1e-14)
    for place in range(1, 6):
        column = np.flatnonzero(offsets == plain.residuals[place])
        assert found.surface[place, column] == pytest.approx(found.losses[place], rel=1e-9)
    unit = (points[-1] - points[0]) / np.linalg.norm(points[-1] - points[0])
    foot = points[0] + found.progress[2] * unit
    side = (points[2] - foot) / np.linalg.norm(points[2] - foot)
    np.testing.assert_allclose(found.surface[2], [objective.value(foot + r * side) for r in offsets], rtol=1e-9)
    assert found.surface[0, offsets == 0] == objective.value(points[0])
    assert found.notes == ("The points of steps 0, 6 lie on the line; their rows look to the side of the nearest row.",)


@pytest.mark.parametrize(("many", "words"), [(1, "point of step 0 lies"), (6, "steps 0, 1, 2, 3 and 2 more lie")])
def test_points_on_the_line_are_counted(many, words):
    points = np.concatenate([np.outer(np.linspace(0, 1, many, endpoint=False), [9.0, 0]), [[3.0, 1], [9, 0.5]]])
    bowl = Objective.from_function(lambda t: (t**2).sum(), torch.zeros(2).double())
    found = project(Trajectory.from_points(points), points[0], np.array([9.0, 0]), objective=bowl, offsets=5)
    assert words in found.notes[0]
    assert len(found.notes) == 1


def test_that_running_statistics_do_not_follow_is_told():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).double().eval()
    objective = Objective(model, lambda m, b: m(b).square().mean(), torch.ones(4, 2).double())
    points = torch.randn(4, objective.dimension, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    path = Trajectory.from_points(points)
    for made in (
        project(path, points[0], points[-1], objective=objective, offsets=3),
        plane(objective, *pca_plane(path), points=(3, 3)),
    ):
        assert made.notes[0].startswith("Batch normalisation has the same running statistics at all points")
    model.train()
    assert plane(objective, *pca_plane(path), points=(3, 3)).notes == ()


def test_offsets_by_number_and_rows_by_place():
    points = np.array([[0.0, 0], [1, 2], [4, 0]])
    bowl = Objective.from_function(lambda t: (t**2).sum(), torch.zeros(2).double())
    found = project(Trajectory.from_points(points), points[0], points[-1], objective=bowl, offsets=10, rows=[1])
    assert (found.offsets[0], found.offsets[-1], len(found.offsets)) == (-2, 2.5, 10)
    assert 0 in found.offsets
    np.testing.assert_allclose(found.surface, [1 + found.offsets**2])
    assert found.across.tolist() == [1]
    assert found.method


def test_a_trajectory_on_the_line_has_no_way_across():
    points = np.outer([0, 0.3, 0.9, 1.2, 1.0], np.arange(1.0, 4))
    bowl = Objective.from_function(lambda t: (t**2).sum(), torch.zeros(3).double())
    found = project(Trajectory.from_points(points), points[0], points[-1], objective=bowl, offsets=5)
    assert found.surface.size == 0
    assert found.notes == ("Every point lies on the line: there is no way across.",)
    assert found.residuals.max() < 1e-15
    assert found.share_on_line == pytest.approx(1.0)


def test_ends_may_be_tensors_by_name(tmp_path):
    points = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
    with RunWriter(tmp_path / "run", metadata={"layers": ["b", "a"]}) as writer:
        for step, point in enumerate(points):
            writer.snapshot(step, {"a": point[4:], "b": point[:4].reshape(2, 2)})
    path, run = Trajectory(tmp_path / "run"), Run(tmp_path / "run")
    found = project(path, run.snapshot(0), {f"net.{name}": value for name, value in run.snapshot(3).items()})
    truth = project(path, points[0], points[3])
    np.testing.assert_array_equal((found.progress, found.residuals), (truth.progress, truth.residuals))


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"end": np.zeros(3)}, SettingError, "two finite points, but lie 0.0 apart"),
        ({"end": np.full(3, np.inf)}, SettingError, "two finite points"),
        ({"end": np.zeros(4)}, ShapeError, r"end must have shape \(3,\), got \(4,\)"),
        ({"end": {"weight": np.zeros(3)}}, SettingError, "end must be a vector, or hold the tensors of the trajectory"),
        ({"offsets": 5}, SettingError, "need an objective"),
        ({"offsets": np.array([1.0, 0.0]), "objective": True}, SettingError, "values that ascend"),
        ({"offsets": 5, "rows": [9], "objective": True}, SettingError, "rows must be places from 0 to 2"),
        ({"offsets": 5, "rows": 0, "objective": True}, SettingError, "rows must be at least 1"),
    ],
)
def test_what_cannot_be_projected_is_refused(settings, error, words):
    trajectory = Trajectory.from_points(np.arange(9.0).reshape(3, 3))
    if "objective" in settings:
        bowl = Objective.from_function(lambda t: (t**2).sum(), torch.zeros(3).double())
        settings = settings | {"objective": bowl}
    with pytest.raises(error, match=words):
        project(trajectory, np.zeros(3), settings.pop("end", np.ones(3)), **settings)


def test_a_trained_net_keeps_near_its_line(generator):
    """Goodfellow 2015, figure 13: the line holds at least about two thirds of the norm at all times."""
    data = digits().training
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    objective = Objective(model, lambda m, b: functional.cross_entropy(m(b[0]), b[1]), [data])
    optimizer, points, steps = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9), [], []
    draw = generator()
    for step in range(400):
        if step % max(1, step // 8) == 0 or step == 399:
            points.append(objective.point())
            steps.append(step)
        batch = torch.randint(len(data[0]), (64,), generator=draw)
        optimizer.zero_grad()
        functional.cross_entropy(model(data[0][batch]), data[1][batch]).backward()
        optimizer.step()
    trajectory = Trajectory.from_points(points, steps)
    found = project(trajectory, points[0], points[-1], objective=objective, offsets=5, rows=3)
    assert found.residuals[[0, -1]].max() < 1e-6 * found.length
    distance = np.hypot(found.progress, found.residuals)
    far = distance > 0.1 * found.length  # the very first steps go their own ways
    assert (found.progress[far] / distance[far]).min() > 0.6
    assert found.losses[-1] < 0.1 * found.losses[0]
    assert np.isfinite(found.surface).all()
    assert winding(trajectory, objective).descent_fraction > 0.9
    assert principal_components(trajectory).shares.sum() > 0.9
