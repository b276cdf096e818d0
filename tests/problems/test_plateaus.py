"""Is nothing left on the plateaus: no slope, no curvature that leads down? Gradients and Hessians in float64."""

import math

import numpy as np
import pytest
import torch

from theodolite.problems.networks import linear_layers
from theodolite.problems.plateaus import DELAY, DEPTH, PLATEAUS

TRIALS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))]
SLOW = {"plateau-depth", "plateau-digits-stack-8", "plateau-digits-stack-12"}
NAMES = [pytest.param(ill.name, marks=pytest.mark.slow if ill.name in SLOW else ()) for ill in PLATEAUS if not ill.twin]
STACKS = {
    "plateau-digits-stack": (1e-3, 2e-4, 2e-3),
    "plateau-digits-stack-8": (1e-4, 2e-5, 1e-4),
    "plateau-digits-stack-12": (1e-6, 3e-5, 3e-5),
}
"""At most: the first layer's gradient as a share of the last one's at the start; the whole gradient at the end; the
most negative eigenvalue then, as a share of the largest."""


@pytest.fixture(scope="module")
def fresh():
    """The function from a problem's name to its training before the first step, with the gradient of all data."""

    def build(name, seed=0):
        training = next(ill for ill in PLATEAUS if ill.name == name).build(seed)
        training.loss(training.model, training.data).backward()
        return training

    return build


def gradients(training):
    """Norm of the gradient of each linear layer, from the inputs on."""
    return [float(layer.weight.grad.norm()) for layer in linear_layers(training.model)]


# Saturated units


@pytest.mark.parametrize("trial", TRIALS)
@pytest.mark.parametrize(
    ("name", "most"),
    [
        pytest.param("plateau-digits-outputs", 2e-5, marks=pytest.mark.slow),
        pytest.param("plateau-softmax", 1e-9, marks=pytest.mark.slow),
        ("plateau-unit", 2e-5),
        ("plateau-well", 1e-6),
    ],
)
def test_saturation_leaves_neither_slope_nor_curvature(trained, name, most, trial):
    run = trained(name, trial)
    least, greatest, _ = run.after.extremes(dense=len(run.after.theta) < 20)
    assert float(run.after.gradient().norm()) < most
    assert max(abs(least), abs(greatest)) < most
    assert run.after.value() == pytest.approx(run.before.value(), rel=1e-4)


@pytest.mark.parametrize("trial", TRIALS)
def test_the_outputs_are_sure_of_a_wrong_class(trained, trial):
    run = trained("plateau-softmax", trial)
    inputs, targets = run.training.data
    with torch.no_grad():
        shares = torch.softmax(run.training.model(inputs), 1)
    assert float(shares[:, 1:].max()) < 1e-10
    assert float(targets[:, 0].mean()) < 0.11


@pytest.mark.parametrize("trial", TRIALS)
def test_the_slope_far_from_the_well(trained, trial):
    surface = trained("plateau-well", trial).after
    squares = float(surface.theta @ surface.theta)
    assert float(surface.gradient().norm()) == pytest.approx(math.sqrt(squares) * math.exp(-squares / 2), rel=1e-6)
    _, greatest, _ = surface.extremes(dense=True)
    assert abs(greatest) < squares * math.exp(-squares / 2)


@pytest.mark.parametrize("trial", TRIALS)
def test_saturated_hidden_units_tell_examples_apart_by_next_to_nothing(trained, trial):
    run = trained("plateau-digits-hidden", trial)
    model, (inputs, targets) = run.training.model, run.training.data
    with torch.no_grad():
        units = torch.tanh(model[0](inputs).double())
    assert float((1 - units).abs().max()) < 1e-3
    # What is left to learn without them is the share of each class.
    shares = torch.bincount(targets).double() / len(targets)
    assert run.after.value() == pytest.approx(float(-(shares * shares.log()).sum()), abs=1e-4)
    assert float(run.after.gradient().norm()) < 1e-4


# Depth


@pytest.mark.parametrize("trial", TRIALS)
@pytest.mark.parametrize("name", STACKS)
def test_the_gradient_vanishes_down_a_sigmoid_stack(fresh, name, trial):
    norms, twin = gradients(fresh(name, trial)), gradients(fresh(f"{name}-twin", trial))
    assert norms[0] < STACKS[name][0] * norms[-1]
    assert twin[0] > 0.1 * twin[-1]


@pytest.mark.parametrize("trial", TRIALS)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in STACKS]
)
def test_a_sigmoid_stack_learns_nothing(trained, name, trial):
    after = trained(name, trial).after
    assert after.value() == pytest.approx(math.log(10), abs=0.01)
    assert float(after.gradient().norm()) < STACKS[name][1]


@pytest.mark.slow
@pytest.mark.parametrize("trial", [0, 1])
@pytest.mark.parametrize("name", STACKS)
def test_no_way_down_from_a_sigmoid_stack(trained, name, trial):
    least, greatest, _ = trained(name, trial).after.extremes(dense=trial > 0)
    assert least > -STACKS[name][2] * greatest


def test_a_thousand_layers_let_nothing_through(fresh):
    shrunk = 0.97**DEPTH
    plant, twin = (fresh(name) for name in ("plateau-depth", "plateau-depth-twin"))
    assert max(gradients(plant)) < 1e3 * shrunk
    assert min(gradients(twin)) > 1e-3
    outputs = plant.model(plant.data[0]).detach()
    assert float(outputs.abs().max()) < 1e3 * shrunk


@pytest.mark.slow
def test_a_thousand_layers_stay_where_they_are(trained, surface):
    run = trained("plateau-depth", 0)
    assert run.after.value() == pytest.approx(1.5, abs=1e-3)  # half the variance of three components
    assert float(run.after.gradient().norm()) < 1e-10
    vector = torch.randn(len(run.after.theta), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert float(run.after.product(vector / vector.norm()).norm()) < 1e-10


# Time


@pytest.mark.parametrize("trial", TRIALS)
def test_a_cue_is_forgotten_before_it_is_asked_for(trained, trial):
    run = trained("plateau-memory", trial)
    model, (inputs, _) = run.after.model, run.after.data
    memory = linear_layers(model)[1].weight.detach()
    assert float(torch.linalg.matrix_norm(memory, 2)) < 0.7
    assert float(torch.linalg.matrix_power(memory, DELAY - 1).abs().max()) < 1e-9
    with torch.no_grad():
        outputs = model(inputs)
    assert float((outputs - outputs.mean()).abs().max()) < 1e-9
    assert run.after.value() == pytest.approx(0.5, abs=1e-4)


@pytest.mark.slow
def test_nothing_leads_down_where_a_cue_is_forgotten(trained):
    surface = trained("plateau-memory", 0).after
    values = np.linalg.eigvalsh(surface.hessian().numpy())
    assert values[0] > -1e-3 * values[-1]
    assert float(surface.gradient().norm()) < 1e-2 * values[-1]


@pytest.mark.parametrize("name", NAMES)
def test_a_plateau_is_level_over_the_last_half_of_its_run(trained, name):
    losses = np.array(trained(name, 0).losses)
    half, end = losses[len(losses) // 2 :][:20].mean(), losses[-20:].mean()
    assert end == pytest.approx(half, rel=0.01)
