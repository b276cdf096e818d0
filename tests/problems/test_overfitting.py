"""Has the loss on other examples turned up, by far more than its error, while the training loss falls; not in twins?"""

import copy
from functools import cache

import numpy as np
import pytest
import torch

from theodolite.problems import overfitting
from theodolite.problems.overfitting import OVERFITTING, noisy_wave, padded_tumours, some_digits

BY_NAME = {ill.name: ill for ill in OVERFITTING}
FAST = ("overfit-digits", "overfit-wave", "overfit-tumours")
PLANTED = [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in BY_NAME if "twin" not in name]
TWINS = [
    pytest.param(name, marks=() if name.removesuffix("-twin") in FAST else pytest.mark.slow)
    for name in BY_NAME
    if "twin" in name
]


@pytest.fixture
def ready(request, monkeypatch):
    """A function that skips the test of a problem whose data are not here."""

    def check(name):
        if BY_NAME[name].needs:
            monkeypatch.setenv("THEODOLITE_DATA", str(request.getfixturevalue("data_folder")))

    return check


@torch.no_grad()
def each(training, model, data):
    """The loss of every example."""
    return np.array([float(training.loss(model, (x[None], y[None]))) for x, y in zip(*data, strict=True)])


@cache
def watched(name, seed):
    """Training and validation loss at 13 times, and each validation example's loss at its least and at the end."""
    training = BY_NAME[name].build(seed)
    curve, least = [], copy.deepcopy(training.model)

    @torch.no_grad()
    def look():
        curve.append([float(training.loss(training.model, data)) for data in (training.data, training.validation)])
        if curve[-1][1] == min(value for _, value in curve):
            least.load_state_dict(training.model.state_dict())

    for step, batch in enumerate(training.batches):
        if step % (BY_NAME[name].steps // 12) == 0:
            look()
        training.optimizer.zero_grad()
        training.loss(training.model, batch).backward()
        training.optimizer.step()
    look()
    held = training.validation
    return np.array(curve).T, each(training, least, held), each(training, training.model, held)


def turn(before, after):
    """By how many standard errors the paired losses have risen."""
    rise = after - before
    return rise.mean() / (rise.std(ddof=1) / np.sqrt(len(rise)) + 1e-300)


@pytest.mark.parametrize("name", PLANTED)
def test_the_validation_loss_has_turned_far_beyond_its_error(name, seed, ready):
    ready(name)
    (training, validation), before, after = watched(name, seed)
    assert turn(before, after) > 3
    assert validation[-1] > 1.1 * validation.min()
    assert training[-1] < training[6]


@pytest.mark.parametrize("name", TWINS)
def test_the_validation_loss_of_a_twin_has_not_turned(name, seed, ready):
    ready(name)
    (training, _), before, after = watched(name, seed)
    # The least of 13 values that the batches shake is low by chance: only a rise beyond its own error is a turn.
    assert turn(before, after) < 3
    floor = BY_NAME[name].floor
    assert training[-1] - floor < max(1e-3 * (training[0] - floor), 0.97 * (training[6] - floor))


@pytest.mark.parametrize(
    ("data", "bias", "floor"),
    [
        (noisy_wave(2000), False, overfitting.WAVE_FLOOR),
        (noisy_wave(24), False, overfitting.FEW_POINTS_FLOOR),
        (padded_tumours(0), True, overfitting.TUMOURS_FLOOR),
        (padded_tumours(600), True, 0.0),
    ],
    ids=["wave", "few points", "tumours", "padded"],
)
def test_the_floor_of_least_squares(data, bias, floor):
    inputs, targets = (part.double().numpy() for part in data.training)
    rows = np.c_[inputs, np.ones(len(inputs))] if bias else inputs
    residuals = targets - rows @ np.linalg.lstsq(rows, targets, rcond=None)[0]
    assert 0.5 * np.square(residuals).sum() / len(rows) == pytest.approx(floor, rel=1e-6, abs=1e-12)


def test_the_polynomials_have_mean_square_one():
    inputs = noisy_wave(4000).training[0].double()
    assert (inputs.square().mean(0) - 1).abs().max() < 0.2


def test_a_share_of_the_labels_is_wrong():
    (inputs, right), (same, wrong) = some_digits(1000).training, some_digits(1000, 0.4).training
    assert torch.equal(inputs, same)
    # A tenth of those drawn anew are right by chance: 0.36 ± 0.015.
    assert float((right != wrong).double().mean()) == pytest.approx(0.36, abs=0.05)


def test_the_components_are_white():
    inputs = padded_tumours(0).training[0].double()
    covariance = inputs.T @ inputs / len(inputs)
    torch.testing.assert_close(covariance, torch.eye(10, dtype=torch.float64), atol=1e-4, rtol=0)
