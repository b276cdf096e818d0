"""What limited progress when: windows that double with the age, judged by what was recorded in them."""

import math
from dataclasses import replace

import numpy as np
import pytest

from theodolite.diagnosis.timeline import timeline
from theodolite.records import Estimate, Passage, Passages, Rescaled, Run, RunWriter, Trail

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


def passage(step, *, noise=0.0, curvature=0.0, uphill=0.0, rescaled=None, promise=1.0):
    slope = Estimate(promise - noise, 0.0)
    plain = Rescaled((1.0, 10.0, 100.0), (Estimate(promise - noise - curvature, 0.0),) * 3, slope)
    parts = [Estimate(value, 0.0) for value in (promise, noise, curvature, 0.0)]
    return Passage(step, *parts, own_uphill=uphill, rescaled=rescaled or plain)


def test_steps_taken_again_decide_where_the_loss_stalled(tmp_path):
    longer = Rescaled((1.0, 10.0, 100.0), (Estimate(1e-3, 0.0), Estimate(1e-2, 0.0), Estimate(0.1, 0.0)))
    longer = replace(longer, slope=Estimate(1e-3, 0.0))
    again = Passages(
        (
            passage(20, noise=0.9),
            passage(40, curvature=0.8),
            passage(80, uphill=0.75),
            passage(160, promise=1e-3, rescaled=longer),
            passage(320, promise=1e-5),
        )
    )
    with RunWriter(tmp_path / "looked", metadata={"floor": 0.0}) as writer:
        for step in STEPS:
            writer.scalars(int(step), {"loss": 1.0})
        writer.result(again, 1024)
    found = timeline(Run(tmp_path / "looked"), "plateau")
    expected = ["gradient_noise", "step_too_large", "step_too_large", "step_too_small", "undetermined", "plateau"]
    assert [window.obstacle for window in found] == expected
    assert "from step 160" in found[3].why
    assert "× 100" in found[3].why
    assert "the slope is small" in found[4].why


def test_noise_is_not_blamed_where_the_slope_is_small(recorded):
    small = np.full(1024, 1e-5)
    run = recorded(np.ones(1024), promise=small, noise=0.9 * small, curvature=0 * small, higher_order=0 * small)
    found = timeline(run, "plateau")
    assert {window.obstacle for window in found[:-1]} == {"undetermined"}
    assert "the slope is small" in found[0].why


def test_a_validation_loss_that_rises_with_the_training_loss_is_no_overfitting(recorded):
    points = np.linspace(0, 1024, 33)
    turned = np.interp(points, [0, 64, 128, 1024], [2.0, 1.0, 1.6, 1.7])
    apart = np.abs(points[:, None] - points[None, :])
    ways = [
        Trail(points.astype(int), losses, np.zeros(33), apart, np.ones(33), turned) for losses in (turned, 3 - turned)
    ]
    both, alone = ({w.first: w for w in timeline(recorded(np.ones(1024), trail=way), "none")} for way in ways)
    assert both[64].obstacle != "overfitting"
    assert alone[64].obstacle == "overfitting"


def test_a_run_that_stands_at_its_floor_has_a_timeline(tmp_path):
    with RunWriter(tmp_path / "arrived", metadata={"floor": 1.0}) as writer:
        for step in STEPS:
            writer.scalars(
                int(step), {"loss": 1.0, "promise": 1.0, "noise": 0.9, "curvature": 0.1, "higher_order": 0.0}
            )
        writer.result(Passages((passage(80, noise=0.9),)), 1024)
    found = timeline(Run(tmp_path / "arrived"), "none")
    assert len(found) == 6
    assert found[-1].obstacle == "none"
