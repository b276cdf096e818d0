"""Is what a problem says of itself true? Dense, independent mathematics in float64.

The whole Hessian of a network on digits takes some seconds; the fast part forms one, and takes the extreme eigenvalues
of the others from ARPACK.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from torch.func import grad

from theodolite.problems import PROBLEMS, train
from theodolite.problems.critical_points import LOWER_WELL
from theodolite.problems.digits import images, labelled_components, mislabelled_components
from theodolite.problems.networks import linear_layers
from theodolite.problems.noise import IMAGES_FLOOR
from theodolite.problems.problem import Training
from theodolite.problems.step_sizes import MISLABELLED_FLOOR, SQUARES_FLOOR

PLANTED = [ill.name for ill in PROBLEMS if ill.obstacle != "none"]
HEALTHY = [ill.name for ill in PROBLEMS if ill.obstacle == "none"]


def is_dense(seed):
    """Whether to form the whole Hessian: in the slow part."""
    return seed >= 2


def next_steps(run, count):
    """The updates of θ that a copy of the training's optimizer makes next, one after the other, in float64."""
    parts = list(run.training.model.parameters())
    saved = [part.detach().clone() for part in parts]
    thetas = [torch.cat([part.detach().flatten().double() for part in parts])]
    for _, batch in zip(range(count), run.training.batches, strict=False):
        run.training.optimizer.zero_grad()
        run.training.loss(run.training.model, batch).backward()
        run.training.optimizer.step()
        thetas.append(torch.cat([part.detach().flatten().double() for part in parts]))
    with torch.no_grad():
        for part, value in zip(parts, saved, strict=True):
            part.copy_(value)
    return thetas


def gains(run, scale, count=10):
    """Sum of what the next steps, so many times as long, would each gain on all data."""
    thetas = next_steps(run, count)
    pairs = itertools.pairwise(thetas)
    return sum(run.after.value(old) - run.after.value(old + scale * (new - old)) for old, new in pairs)


# Twins and healthy runs


@pytest.mark.parametrize("name", HEALTHY)
def test_a_clean_training_gets_near_its_floor(trained, name, seed):
    run = trained(name, seed)
    assert run.excess < 0.1 * run.first_excess


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_training_ends_far_above_its_twin(trained, name, seed):
    assert trained(name, seed).excess > 4 * trained(f"{name}-twin", seed).excess + 0.01


# The floors


def test_the_floor_of_least_squares():
    inputs, targets = (part.double().numpy() for part in labelled_components().training)
    rows = np.c_[inputs, np.ones(len(inputs))]
    assert np.allclose(rows.T @ rows / len(rows), np.eye(21), atol=1e-6)  # the Hessian is the identity
    residuals = targets - rows @ np.linalg.lstsq(rows, targets, rcond=None)[0]
    assert 0.5 * (residuals**2).sum() / len(rows) == pytest.approx(SQUARES_FLOOR, rel=1e-7)


def test_the_floor_of_the_mean_image():
    _, targets = images().training
    assert 0.5 * float(targets.double().var(0, correction=0).sum()) == pytest.approx(IMAGES_FLOOR, rel=1e-7)


@pytest.fixture(scope="module")
def convex_minimum(surface):
    """The minimum of the convex classifier, by L-BFGS."""
    model = torch.nn.Linear(20, 10, dtype=torch.float64)
    inputs, targets = mislabelled_components().training
    data = (inputs.double(), targets)
    optimizer = torch.optim.LBFGS(
        model.parameters(), max_iter=2000, tolerance_grad=1e-12, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )

    def loss(model, batch):
        return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])

    def closure():
        optimizer.zero_grad()
        value = loss(model, data)
        value.backward()
        return value

    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    optimizer.step(closure)
    return surface(Training(model, optimizer, loss, [data], 0.0, data))


def test_the_floor_of_the_convex_classifier(convex_minimum):
    assert convex_minimum.gradient().norm() < 1e-6
    assert convex_minimum.value() == pytest.approx(MISLABELLED_FLOOR, rel=1e-9)


def test_the_wells():
    roots = np.roots([1.0, 0.0, -1.0, 0.15])
    assert np.abs(roots.imag).max() == 0
    assert -np.min(0.25 * (roots.real**2 - 1) ** 2 + 0.15 * roots.real) == pytest.approx(LOWER_WELL, rel=1e-12)


# step_too_small


@pytest.mark.parametrize("name", ["small-step-digits", "small-step-digits-adam", "small-step-bowl"])
def test_a_longer_step_gains_far_more(trained, name, seed):
    run = trained(name, seed)
    gain = gains(run, 1.0)
    assert gain > 0
    assert gains(run, 1000.0) > 100 * gain


@pytest.mark.parametrize("name", ["small-step-digits", "small-step-bowl"])
def test_a_small_step_is_far_from_the_curvature(trained, name, seed):
    run = trained(name, seed)
    _, greatest, _ = run.after.extremes(dense=is_dense(seed))
    assert run.training.optimizer.param_groups[0]["lr"] * greatest < 1e-3


def test_the_bowl_shrinks_as_it_must(trained, seed):
    run = trained("small-step-bowl", seed)
    shrunk = (1 - 3e-5 * torch.linspace(1, 4, 4, dtype=torch.float64)) ** run.problem.steps
    assert torch.allclose(run.after.theta, shrunk * run.before.theta, rtol=1e-3)


# step_too_large


@pytest.mark.parametrize(
    "name", ["large-step-digits", "large-step-linear", "large-step-linear-adam", "large-step-valley"]
)
def test_a_shorter_step_gains_more(trained, name, seed):
    run = trained(name, seed)
    assert max(gains(run, 0.03), gains(run, 0.1), gains(run, 0.3)) > max(0.0, gains(run, 1.0))


def test_a_large_step_exceeds_what_the_start_allows(trained, seed):
    run = trained("large-step-digits", seed)
    _, greatest, _ = run.before.extremes(dense=is_dense(seed))
    assert 5.0 * greatest > 4 * 2
    assert run.after.value() > run.before.value()


def test_a_large_step_cannot_settle_at_the_convex_minimum(convex_minimum):
    least, greatest, _ = convex_minimum.extremes(dense=True)
    assert least > -1e-12
    assert 30.0 * greatest > 2 * 3
    assert 1.0 * greatest < 2


def test_divergence_doubles_the_error_and_ends_in_nan(trained, seed):
    run = trained("large-step-diverges", seed)
    assert not math.isfinite(run.after.value())
    early = np.array(run.losses[5:20]) - SQUARES_FLOOR
    assert np.allclose(early[1:] / early[:-1], 4.0, rtol=1e-3)


def test_the_valley_is_jumped_for_ever(trained, seed):
    run = trained("large-step-valley", seed)
    assert torch.allclose(run.after.theta.abs(), 3 * run.after.theta.tanh().abs(), rtol=1e-4)
    assert run.after.value() == pytest.approx(6.88, abs=0.01)


# gradient_noise


@pytest.mark.parametrize(
    ("name", "rate", "size"), [("noise-digits", 0.25, 1), ("noise-labels", 0.3, 2), ("noise-mean", 0.3, 1)]
)
def test_the_average_step_loses_what_the_full_gradient_gains(trained, name, rate, size, seed):
    run = trained(name, seed)
    surface = run.after
    generator = torch.Generator().manual_seed(seed)
    signal = noise = full = single = 0.0
    # Loss and gradient fluctuate: the mean over twenty points of the run as it goes on.
    for theta in next_steps(run, 199)[::10]:
        here = surface.value(theta)
        gradient = surface.slope(theta)
        full += here - surface.value(theta - rate * gradient)
        chosen = torch.randperm(len(surface.data[0]), generator=generator)[: 60 * size]
        rows = surface.example_gradients(theta, chosen).view(60, size, -1).mean(1)
        signal += float(gradient.square().sum())
        noise += float((rows - gradient).square().sum(1).mean())
        single += float(np.mean([here - surface.value(theta - rate * row) for row in rows]))
    assert noise > 3 * signal
    assert full > 0
    assert single < 0.2 * full


@pytest.mark.parametrize(("name", "rate"), [("noise-digits", 0.25), ("noise-mean", 0.3)])
def test_each_step_is_downhill_for_its_own_example(trained, name, rate, seed):
    surface = trained(name, seed).after
    inputs, targets = surface.data
    for index in range(100):
        own = (inputs[index : index + 1], targets[index : index + 1])
        step = -rate * grad(surface.at)(surface.theta, own)
        assert float(surface.at(surface.theta + step, own)) <= float(surface.at(surface.theta, own))


def test_the_mean_hovers_where_it_must(seed):
    training = next(ill for ill in PROBLEMS if ill.name == "noise-mean").build(seed)
    (theta,) = training.model.parameters()
    true = training.data[1].mean(0)
    excess = []
    for batch in training.batches:
        training.optimizer.zero_grad()
        training.loss(training.model, batch).backward()
        training.optimizer.step()
        excess.append(0.5 * float((theta.detach() - true).square().sum()))
    assert np.mean(excess[50:]) == pytest.approx(0.3 / (2 - 0.3) * IMAGES_FLOOR, rel=0.1)


# saddle_point


@pytest.mark.parametrize("name", ["saddle-digits", "saddle-digits-zero", "saddle-product", "saddle-ridge"])
def test_a_saddle_has_a_small_gradient_and_a_way_down(trained, name, seed):
    run = trained(name, seed)
    # One whole Hessian of a network in the fast part, too.
    least, greatest, down = run.after.extremes(dense=is_dense(seed) or (name, seed) == ("saddle-digits-zero", 0))
    scale = max(greatest, -least)
    assert least < -0.2
    assert float(run.after.gradient().norm()) < 0.2 * scale
    assert float((run.after.product(down) - least * down).norm()) < 1e-3 * scale
    here = run.after.value()
    assert min(run.after.value(run.after.theta + sign * 0.5 * down) for sign in (1, -1)) < here - 0.02


@pytest.mark.parametrize("name", ["saddle-digits", "saddle-digits-zero"])
def test_a_network_at_the_saddle_knows_nothing(trained, name, seed):
    assert trained(name, seed).after.value() == pytest.approx(math.log(10), abs=0.01)


def test_zero_weights_have_no_gradient(trained, seed):
    run = trained("saddle-digits-zero", seed)
    assert all(float(layer.weight.detach().abs().max()) == 0 for layer in linear_layers(run.training.model))
    run.training.model.zero_grad()
    run.training.loss(run.training.model, run.training.data).backward()
    assert all(float(layer.weight.grad.abs().max()) == 0 for layer in linear_layers(run.training.model))


# local_minimum


@pytest.mark.parametrize(
    ("name", "loss"), [("minimum-digits", 4.97304), ("minimum-well", 0.29913), ("minimum-wave", 0.41359)]
)
def test_a_local_minimum_has_no_way_down_and_lies_above_the_floor(trained, name, loss, seed):
    run = trained(name, seed)
    least, greatest, _ = run.after.extremes(dense=True)
    assert least > 0.2
    # By Newton, J could fall by no more than |g|² / 2λmin: nothing.
    assert float(run.after.gradient().norm()) < 1e-4 * greatest
    assert run.after.value() == pytest.approx(loss, abs=1e-4)
    assert trained(f"{name}-twin", seed).after.value() < 1e-6


# plateau


@pytest.mark.parametrize("name", ["plateau-digits-outputs", "plateau-unit"])
def test_saturation_leaves_neither_slope_nor_curvature(trained, name, seed):
    run = trained(name, seed)
    least, greatest, _ = run.after.extremes(dense=is_dense(seed))
    assert float(run.after.gradient().norm()) < 1e-5
    assert max(abs(least), abs(greatest)) < 2e-5
    assert run.after.value() == pytest.approx(run.before.value(), rel=1e-4)


def test_the_gradient_vanishes_down_a_sigmoid_stack(trained, seed):
    run = trained("plateau-digits-stack", seed)
    least, greatest, _ = run.after.extremes(dense=is_dense(seed))
    assert float(run.after.gradient().norm()) < 2e-4
    assert least > -2e-3 * greatest
    fresh = run.problem.build(seed)
    fresh.loss(fresh.model, fresh.data).backward()
    norms = [float(layer.weight.grad.norm()) for layer in linear_layers(fresh.model)]
    assert norms[0] < 1e-3 * norms[-1]
    assert run.after.value() == pytest.approx(math.log(10), abs=0.01)


# dead_units


@pytest.mark.parametrize(
    ("name", "layer", "share"),
    [("dead-digits", 0, 1.0), ("dead-digits-most", 0, 23 / 24), ("dead-digits-adam", 1, 1.0)],
)
def test_dead_units_are_inactive_on_every_example_and_without_gradient(trained, name, layer, share, seed):
    run = trained(name, seed)
    model, (inputs, _) = run.training.model, run.training.data
    with torch.no_grad():
        active = (model[: 2 * layer + 1](inputs) > 0).any(0)
    assert float((~active).double().mean()) >= share - 1e-6
    model.zero_grad()
    run.training.loss(model, run.training.data).backward()
    linear = linear_layers(model)[layer]
    assert float(linear.weight.grad[~active].abs().max()) == 0
    assert float(linear.bias.grad[~active].abs().max()) == 0
    assert run.after.value() > (2.29 if share == 1 else 1.2)


def test_a_dead_unit_never_moves(trained, seed):
    run = trained("dead-unit", seed)
    assert torch.equal(run.after.theta, run.before.theta)
    assert float(run.after.gradient().norm()) == 0


@pytest.mark.parametrize(
    ("name", "most"), [("dead-digits-twin", 0.1), ("dead-digits-most-twin", 0.1), ("dead-digits-adam-twin", 0.25)]
)
def test_a_clean_twin_has_few_dead_units(trained, name, most, seed):
    run = trained(name, seed)
    activity = run.training.data[0]
    for layer in run.training.model:
        activity = layer(activity).detach()
        if isinstance(layer, torch.nn.ReLU):
            assert float((activity > 0).any(0).double().mean()) >= 1 - most


def test_training_goes_on_after_nan():
    training = next(ill for ill in PROBLEMS if ill.name == "large-step-diverges").build(0)
    assert len(train(training)) == 200
