"""What limited progress when: windows that double with the age, judged by what was recorded in them."""

import math

import numpy as np
import pytest

from theodolite.diagnosis.timeline import timeline
from theodolite.records import Run, RunWriter, Trail

STEPS = np.arange(1, 1025)


@pytest.fixture
def recorded(tmp_path):
    """A maker of runs: loss of each step, other series by name, perhaps a trail."""

    def make(loss, *, trail=None, **series):
        with RunWriter(tmp_path / "run", metadata={"floor": 0.0}) as writer:
            for index, step in enumerate(STEPS):
                values = {name: float(column[index]) for name, column in series.items()}
                writer.scalars(int(step), {"loss": float(loss[index])} | values)
            if trail is not None:
                writer.result(trail, 1024)
        return Run(tmp_path / "run")

    return make


def test_windows_double_and_the_last_one_is_that_of_the_survey(recorded):
    found = timeline(recorded(STEPS**-1.0), "saddle_point")
    assert [(window.first, window.last) for window in found] == [(16 * 2**k, 32 * 2**k) for k in range(6)]
    assert [window.obstacle for window in found] == ["none"] * 5 + ["saddle_point"]
    assert "survey" in found[-1].why
    assert "128–256" in str(found[3])


def test_a_stall_is_put_down_to_what_took_the_promise(recorded):
    flat = np.where(STEPS < 64, 1 / STEPS, 1 / 64)
    ones = np.ones(1024)
    late = STEPS > 512
    run = recorded(
        flat,
        promise=ones,
        noise=np.where(late, 0.1, 0.9),
        curvature=np.where(late, 0.6, 0.05),
        higher_order=np.where(late, 0.2, 0.0),
    )
    found = {window.first: window for window in timeline(run, "step_too_large")}
    assert found[32].obstacle == "none"
    assert found[256].obstacle == "gradient_noise"
    assert "90 %" in found[256].why
    assert found[512].obstacle == "step_too_large"
    assert "80 %" in found[512].why


def test_without_budgets_a_stall_is_undetermined(recorded):
    found = timeline(recorded(np.ones(1024)), "undetermined")
    assert {window.obstacle for window in found} == {"undetermined"}
    assert "raise the budget" in found[0].why


def test_spikes_turns_and_nan(recorded):
    norms = np.ones(1024)
    norms[400] = 50.0
    losses = np.ones(1024)
    losses[900:] = math.nan
    points = np.linspace(0, 1024, 33)
    turned = np.interp(points, [0, 64, 128, 1024], [2.0, 1.0, 1.6, 1.7])
    apart = np.abs(points[:, None] - points[None, :])
    way = Trail(points.astype(int), np.full(33, 1.0), np.zeros(33), apart, np.ones(33), turned)
    found = {window.first: window for window in timeline(recorded(losses, grad_norm=norms, trail=way), "cliff")}
    assert found[64].obstacle == "overfitting"
    assert found[256].obstacle == "cliff"
    assert found[512].obstacle == "cliff"


def test_a_short_run_has_no_windows(tmp_path):
    with RunWriter(tmp_path / "run") as writer:
        writer.scalars(3, {"loss": 1.0})
    assert timeline(Run(tmp_path / "run"), "none") == ()
