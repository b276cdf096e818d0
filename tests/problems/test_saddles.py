"""Do the saddles have no slope and a way down? Whole Hessians, ARPACK and closed forms in float64."""

import math

import numpy as np
import pytest
import torch

from theodolite.problems.digits import labelled_components
from theodolite.problems.networks import linear_layers
from theodolite.problems.saddles import (
    CODE,
    CODE_FLOOR,
    MEANS_FLOOR,
    NUM_LEARNT,
    RANK,
    SADDLES,
    STAGES_FLOOR,
    centred_images,
    class_means,
)

TRIALS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))]
NAMES = [ill.name for ill in SADDLES if not ill.twin]
NETS = [
    "saddle-digits",
    "saddle-convolutional",
    "saddle-transformer",
    "saddle-digits-zero",
    "saddle-recurrent-zero",
]
SLOW = {*NETS, "saddle-autoencoder", "saddle-stages"}
LONG = {"saddle-digits", "saddle-transformer", "saddle-recurrent-zero"}
ZERO = ["saddle-digits-zero", "saddle-recurrent-zero"]


def modes():
    """Singular values of the moment between whitened components and classes."""
    inputs, targets = (part.double().numpy() for part in labelled_components().training)
    return np.linalg.svd(targets.T @ inputs / len(inputs), compute_uv=False)


def variances():
    """Variances of the digits along their principal components."""
    inputs = centred_images().training[0].double().numpy()
    return np.linalg.svd(inputs, compute_uv=False) ** 2 / len(inputs)


def a_way_down(surface):
    """A unit vector and its curvature, which bounds the least eigenvalue from above: shifted power iteration."""
    rounds = 15 if len(surface.theta) > 500 else 100
    start = torch.randn(len(surface.theta), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    vector = start / start.norm()
    for _ in range(10):
        vector = surface.product(vector)
        vector = vector / vector.norm()
    shift = 1.05 * abs(float(vector @ surface.product(vector)))
    vector = start / start.norm()
    for _ in range(rounds):
        vector = shift * vector - surface.product(vector)
        vector = vector / vector.norm()
    return vector, float(vector @ surface.product(vector))


@pytest.mark.parametrize("trial", TRIALS)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in NAMES]
)
def test_a_saddle_has_little_slope_and_a_way_down(trained, name, trial):
    surface = trained(name, trial).after
    down, curvature = a_way_down(surface)
    assert curvature < -0.02
    assert float(surface.gradient().norm()) < 0.3 * -curvature
    # Half a unit along it the loss falls by at least half of what the curvature promises, ⅛ |λ|.
    fallen = surface.value() - min(surface.value(surface.theta + sign * 0.5 * down) for sign in (1, -1))
    assert fallen > -curvature / 16


@pytest.mark.parametrize("trial", TRIALS)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in NAMES]
)
def test_the_spectrum_of_a_saddle(trained, name, trial):
    surface = trained(name, trial).after
    least, greatest, down = surface.extremes(dense=len(surface.theta) < 500)
    scale = max(greatest, -least)
    assert least < -0.1 * scale
    assert float(surface.gradient().norm()) < 0.2 * scale
    assert float((surface.product(down) - least * down).norm()) < 1e-3 * scale


@pytest.mark.parametrize("trial", TRIALS)
@pytest.mark.parametrize("name", NETS)
def test_a_network_at_the_saddle_knows_nothing(trained, name, trial):
    assert trained(name, trial).after.value() == pytest.approx(math.log(10), abs=0.01)


@pytest.mark.parametrize("trial", TRIALS)
@pytest.mark.parametrize("name", ZERO)
def test_zero_weights_have_no_gradient(trained, name, trial):
    run = trained(name, trial)
    assert all(float(layer.weight.detach().abs().max()) == 0 for layer in linear_layers(run.training.model))
    run.training.model.zero_grad()
    run.training.loss(run.training.model, run.training.data).backward()
    assert all(float(layer.weight.grad.abs().max()) == 0 for layer in linear_layers(run.training.model))


@pytest.mark.parametrize("trial", TRIALS)
def test_units_that_are_alike_stay_alike(trained, trial):
    run = trained("saddle-symmetric", trial)
    first, last = linear_layers(run.training.model)
    assert torch.equal(first.weight, first.weight[:1].expand_as(first.weight))
    assert torch.equal(last.weight, last.weight[:, :1].expand_as(last.weight))
    _, _, down = run.after.extremes(dense=True)
    # The way down tells units apart: among equal ones it has no mean.
    rows = down[: first.weight.numel()].view_as(first.weight)
    assert float(rows.mean(0).norm()) < 1e-6 * float(rows.norm())


@pytest.mark.parametrize("trial", TRIALS)
def test_the_factors_are_at_zero_and_curve_as_the_means_do(trained, trial):
    surface = trained("saddle-factors", trial).after
    strengths = np.linalg.svd(class_means().double().numpy(), compute_uv=False)
    values = np.linalg.eigvalsh(surface.hessian().numpy())
    assert values[0] == pytest.approx(-strengths[0] / 10, rel=1e-3)
    assert values[-1] == pytest.approx(strengths[0] / 10, rel=1e-3)
    # One negative eigenvalue for each singular value above 0 and each of the units; the tenth is 0 by centring.
    assert (values < -0.01).sum() == 9 * RANK


@pytest.mark.parametrize("trial", TRIALS)
def test_the_deep_linear_net_stands_between_two_stages(trained, trial):
    surface, strengths = trained("saddle-stages", trial).after, modes()
    unlearnt = strengths[NUM_LEARNT:]
    assert surface.value() == pytest.approx(STAGES_FLOOR + 0.5 * (unlearnt**2).sum(), abs=1e-4)
    least, _, _ = surface.extremes(dense=True)
    assert least == pytest.approx(-unlearnt[0], rel=1e-2)


@pytest.mark.parametrize("trial", TRIALS)
def test_the_autoencoder_spans_the_wrong_components(trained, trial):
    surface, spread = trained("saddle-autoencoder", trial).after, variances()
    third, sixth = spread[2], spread[5]
    assert surface.value() == pytest.approx(CODE_FLOOR + (third - sixth) / 2, abs=1e-4)
    # Code unit and decoder turn from the sixth to the third: ½ (λ₃a² − 2λ₃ab + λ₆b²).
    turn = np.linalg.eigvalsh([[third, -third], [-third, sixth]])[0]
    least, _, _ = surface.extremes(dense=True)
    assert least == pytest.approx(turn, rel=1e-2)


def test_the_floors():
    assert 0.5 * variances()[CODE:].sum() == pytest.approx(CODE_FLOOR, rel=1e-6)
    strengths = np.linalg.svd(class_means().double().numpy(), compute_uv=False)
    assert 0.5 * (strengths[RANK:] ** 2).sum() / 10 == pytest.approx(MEANS_FLOOR, rel=1e-6)
    inputs, targets = (part.double().numpy() for part in labelled_components().training)
    residuals = targets - inputs @ np.linalg.lstsq(inputs, targets, rcond=None)[0]
    assert 0.5 * (residuals**2).sum() / len(inputs) == pytest.approx(STAGES_FLOOR, rel=1e-6)


@pytest.mark.parametrize("name", ["saddle-product", "saddle-ridge"])
def test_a_saddle_in_closed_form(trained, name):
    least, greatest, _ = trained(name, 0).after.extremes(dense=True)
    assert (least, greatest) == (pytest.approx(-1, abs=0.01), pytest.approx(1, abs=0.01))
