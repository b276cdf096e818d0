"""Are the points of a trajectory those that a run kept, in the order of θ, whatever they are read from?"""

import numpy as np
import pytest
import torch
from torch import nn

from theodolite.errors import RunError, SettingError, ShapeError
from theodolite.landscape import trajectories as module
from theodolite.landscape import walks
from theodolite.landscape.trajectories import Trajectory
from theodolite.objective import Objective
from theodolite.records import Run, RunWriter

STEPS = (0, 3, 10, 200)


def recorded(folder, *, dtype=np.float32, dtype_names=None, layers=("b.weight", "a.bias", "a.scale")):
    """A run with four points of three tensors whose order is not that of their names; and the points."""
    rng = np.random.default_rng(0)
    shapes = {"b.weight": (40, 30), "a.bias": (7,), "a.scale": ()}
    points = []
    with RunWriter(folder, metadata={"layers": list(layers)} if layers else None) as writer:
        for step in STEPS:
            tensors = {name: np.asarray(rng.normal(size=shape), dtype) for name, shape in shapes.items()}
            if dtype_names:
                tensors = {
                    name: torch.as_tensor(a).bfloat16().float().numpy().reshape(a.shape) for name, a in tensors.items()
                }
            writer.snapshot(step, tensors, dtype_names=dtype_names)
            points.append(np.concatenate([tensors[name].reshape(-1) for name in shapes]))
    return np.stack(points)


@pytest.mark.parametrize(
    ("dtype", "names"),
    [
        (np.float32, None),
        (np.float64, None),
        (np.float32, dict.fromkeys(("b.weight", "a.bias", "a.scale"), "bfloat16")),
    ],
    ids=["float32", "float64", "bfloat16"],
)
def test_the_points_of_a_run(tmp_path, dtype, names):
    points = recorded(tmp_path / "run", dtype=dtype, dtype_names=names)
    for opened in (Trajectory(tmp_path / "run"), Trajectory(Run(tmp_path / "run"))):
        assert (len(opened), opened.dimension) == (4, 1208)
        assert tuple(opened.steps) == STEPS
        assert opened.names == ("b.weight", "a.bias", "a.scale")
        for place in (-1, 0, 1, 2, 3):
            assert np.array_equal(opened.point(place).numpy(), points[place])
            assert opened.point(place).dtype == torch.from_numpy(points).dtype
        assert np.array_equal(torch.stack(list(opened.points())).numpy(), points)
        assert "4 points, dimension 1208, steps 0 to 200" in repr(opened)


def test_the_order_is_that_of_the_objective(tmp_path):
    points = recorded(tmp_path / "run")
    turned = Trajectory(tmp_path / "run", names=("a.scale", "b.weight"))
    assert np.array_equal(turned.point(1).numpy(), np.concatenate([points[1, -1:], points[1, :1200]]))
    recorded(tmp_path / "foreign", layers=None)
    assert Trajectory(tmp_path / "foreign").names == ("a.bias", "a.scale", "b.weight")
    with pytest.raises(ShapeError, match=r"\['c'\] are not"):
        Trajectory(tmp_path / "run", names=("b.weight", "c"))


@pytest.mark.parametrize("kind", ["run", "array", "tensors", "bfloat16", "memmap", "generator", "walk"])
def test_rows_are_points(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(module, "_PIECE_BYTES", 1)
    monkeypatch.setattr(walks, "_HELD_BYTES", 1)
    points = recorded(tmp_path / "run")
    np.save(tmp_path / "points.npy", points)
    made = {
        "run": lambda: Trajectory(tmp_path / "run"),
        "array": lambda: Trajectory.from_points(points),
        "tensors": lambda: Trajectory.from_points([torch.from_numpy(row) for row in points]),
        "bfloat16": lambda: Trajectory.from_points(torch.from_numpy(points).bfloat16()),
        "memmap": lambda: Trajectory.from_points(np.load(tmp_path / "points.npy", mmap_mode="r")),
        "generator": lambda: Trajectory.from_points(torch.from_numpy(row) for row in points),
        "walk": lambda: walks.random_walk(torch.zeros(3000), np.ones(30), generator=torch.Generator().manual_seed(1)),
    }[kind]()
    if kind == "walk":
        assert not hasattr(made.source, "_points")
    for first, stop in ((0, made.dimension), (17, 1201), (1199, 1208), (5, 5)):
        rows = made.source.rows(first, stop)
        assert rows.dtype == np.float64
        for place in (0, 1, len(made) - 1):
            assert np.array_equal(rows[place], made.point(place).double().numpy()[first:stop])
    seen = np.concatenate([rows for _, rows in made.pieces()], axis=1)
    assert np.array_equal(seen[-1], made.point(-1).double().numpy())
    assert [place.start for place, _ in made.pieces()] == list(range(0, made.dimension, 1024))


def test_what_is_handed_out_is_a_copy(tmp_path):
    points = np.ones((2, 5))
    made = Trajectory.from_points(points)
    made.point(0).zero_()
    made.source.rows(0, 5)[:] = 0
    assert (points == 1).all()
    given = torch.ones(5)
    Trajectory.from_points([given]).point(0).zero_()
    assert (given == 1).all()


def test_an_objective_of_another_theta_is_refused(tmp_path):
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    names = [name for name, _ in model.named_parameters()]
    arrays = {name: p.detach().numpy() for name, p in model.named_parameters()}
    with RunWriter(tmp_path / "run", metadata={"layers": names}) as writer:
        writer.snapshot(0, arrays)
    objective = Objective(model, lambda m, x: m(x).sum(), torch.ones(2, 3))
    Trajectory(tmp_path / "run").check(objective)
    with pytest.raises(ShapeError, match="Open it with Trajectory"):
        Trajectory(tmp_path / "run", names=names[::-1]).check(objective)
    with pytest.raises(ShapeError, match="11 parameters of the trajectory, got one of 2"):
        Trajectory(tmp_path / "run").check(Objective.from_function(lambda t: t.sum(), torch.ones(2)))
    Trajectory(tmp_path / "run").check(Objective.from_function(lambda t: t.sum(), torch.ones(11)))


def test_damage_is_told(tmp_path):
    recorded(tmp_path / "run")
    made = Trajectory(tmp_path / "run")
    file = tmp_path / "run" / "snapshots" / "step-00000010.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(RunError, match="damaged"):
        made.point(2)
    with pytest.raises(RunError, match="damaged"):
        made.source.rows(0, 5)
    file.unlink()
    with pytest.raises(RunError, match="must be there"):
        list(made.pieces())
    with RunWriter(tmp_path / "other") as writer:
        writer.snapshot(0, {"a": np.zeros(3)})
        writer.snapshot(1, {"a": np.zeros(4)})
    with pytest.raises(ShapeError, match="that of step 1 has others"):
        Trajectory(tmp_path / "other").source.rows(0, 3)


@pytest.mark.parametrize(
    ("points", "steps", "error", "words"),
    [
        ([], None, SettingError, "must have at least one point"),
        ([torch.ones(2), torch.ones(3)], None, ShapeError, r"vectors of one length, got shapes \[\(2,\), \(3,\)\]"),
        (np.ones(3), None, ShapeError, "must be tensors or arrays"),
        ([[1.0, 2.0]], None, ShapeError, "got a list"),
        (np.ones((2, 3)), [0], ShapeError, r"steps must have shape \(2,\)"),
        (np.ones((2, 3)), [4, 4], SettingError, "steps must ascend"),
    ],
)
def test_what_is_no_trajectory_is_refused(points, steps, error, words):
    with pytest.raises(error, match=words):
        Trajectory.from_points(points, steps)


def test_a_run_without_points_and_a_place_that_is_none(tmp_path):
    RunWriter(tmp_path / "run").close()
    with pytest.raises(RunError, match="needs parameters that were kept"):
        Trajectory(tmp_path / "run")
    with pytest.raises(RunError, match="a run must exist"):
        Trajectory(tmp_path / "none")
    for place in (1, -2):
        with pytest.raises(SettingError, match="one of 1 points"):
            Trajectory.from_points(np.ones((1, 3))).point(place)
