"""Does each picture of the gallery show what its page says? Every script, at reduced size."""

import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from theodolite.problems.digits import labelled_components

FOLDER = Path(__file__).parents[2] / "examples"


@pytest.fixture
def example(monkeypatch, tmp_path, capsys):
    """A function that runs an example by name in an empty folder, looks at its picture, and gives what it found."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.chdir(tmp_path)

    def run(name, **settings):
        found = import_module(name).main("picture.png", **settings)
        assert Path("picture.png").stat().st_size > 10_000
        assert capsys.readouterr().out.count("\n") >= len(found)
        return found

    yield run
    for name in [name for name in sys.modules if (FOLDER / f"{name}.py").is_file()]:
        del sys.modules[name]


def test_every_example_is_run_here():
    """A new script without a test is noticed."""
    tested = Path(__file__).read_text(encoding="utf-8")
    assert [path.stem for path in FOLDER.glob("*.py") if f'example("{path.stem}"' not in tested] == []


def test_the_straight_line_has_no_wall(example, monkeypatch):
    monkeypatch.setenv("THEODOLITE_DATA", "nowhere")  # the digits alone
    found = example("straight_line", steps=300, size=21)
    assert len(found) == 3
    for numbers in found.values():
        assert numbers["barrier"] < 1e-9
        assert numbers["tenth"] > 0.85  # flat at first
        assert numbers["end"] < 0.1


@pytest.mark.slow
def test_nor_has_that_of_a_net_with_a_memory(example, data_folder, monkeypatch):
    monkeypatch.setenv("THEODOLITE_DATA", str(data_folder))
    found = example("straight_line_lstm", steps=300, size=21)
    assert abs(found["loss at the start"] - np.log(65)) < 0.05
    assert found["barrier"] < 1e-9
    assert found["loss at the end"] < 2.2


@pytest.mark.slow
def test_nor_has_that_of_a_convolutional_net(example, data_folder, monkeypatch):
    monkeypatch.setenv("THEODOLITE_DATA", str(data_folder))
    found = example("straight_line_conv", steps=300, size=15)
    assert len(found) == 3
    for numbers in found.values():
        assert numbers["barrier"] < 0.01
        assert numbers["end"] < 0.95
    assert abs(found["gain 0.25"]["start"] - np.log(10)) < 0.01  # a guess among ten


def test_between_two_solutions_there_is_one_wall(example):
    found = example("barrier", steps=300, size=71)
    assert found["peaks between solutions"] == 1
    assert found["barrier / loss at its higher end"] > 10
    assert found["peaks from the random point"] == 0
    assert found["is monotone from the random point"]
    assert found["is convex from the random point"]


def test_the_factored_linear_net_is_its_closed_form(example):
    found = example("factored_linear", size=41, steps=80)
    assert found["error of (1 - a^2)^2"] < 1e-6
    assert found["error of 10.24 (a(1 - a))^2"] < 1e-6
    assert abs(found["height of the wall"] - 0.64) < 1e-2
    assert found["smallest eigenvalue at the start"] < 0
    assert found["smallest eigenvalue at the end"] > -1e-3


def test_a_random_walk_is_a_semicircle(example):
    found = example("random_walk", dimensions=(2, 1000))
    assert all(abs(share - 1) < 0.15 for share in found[1000].values())


def test_two_solutions_are_connected(example):
    found = example("mode_connectivity", steps=300)
    assert found["straight"] > 0.3
    assert found["curve"] < 0.1 * found["straight"]
    assert found["aligned"] < found["straight"]


def test_a_training_leaves_the_line_and_comes_back(example):
    found = example("trajectory_3d", steps=300, size=21)
    assert found["distance at the start, in lengths"] < 1e-9
    assert found["distance at the end, in lengths"] < 1e-9
    assert 0.1 < found["greatest distance, in lengths"] < 0.5  # a random walk: one half
    assert found["least share along the line, second half"] > 0.6
    assert found["path beside the interpolated surface"] < 0.05


def test_a_deep_linear_net_goes_from_a_saddle_into_a_basin(example):
    found = example("deep_linear_3d", steps=1000, width=32, size=11)
    assert found["least eigenvalue at the start"] < -0.1 * found["greatest eigenvalue at the start"]
    assert found["least eigenvalue at the end"] > -1e-3 * found["greatest eigenvalue at the end"]
    assert 0.2 < found["greatest distance, in lengths"] < 0.5
    x, y = labelled_components().training
    misfit = x.double().numpy() @ np.linalg.lstsq(x.double().numpy(), y.double().numpy())[0] - y.double().numpy()
    assert abs(found["loss at the end"] - 0.5 * (misfit**2).sum(1).mean()) < 1e-3  # as good as any linear map


def test_a_random_plane_shows_nothing(example):
    found = example("random_plane", steps=300, size=9)
    assert found["range on the random plane / fall of the training"] < 0.05
    assert found["range on the principal plane / fall of the training"] > 0.5


def test_a_function_has_one_picture_by_filters(example):
    found = example("filter_normalisation", steps=200, size=11)
    assert found["loss of the two nets apart"] < 1e-12
    assert found["pictures by filters apart"] < 1e-6
    assert found["plain pictures apart"] > 1
