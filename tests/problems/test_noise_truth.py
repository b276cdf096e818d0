"""Is it noise that holds a training where a problem says so? Exact gradients and those of single examples."""

import numpy as np
import pytest
import torch
from torch.func import grad, vmap

from tests.problems.test_conditioning import logistic_minimum
from tests.problems.test_steps import least_squares, next_steps, slow
from theodolite.problems.digits import images
from theodolite.problems.noise import (
    HEAVY_FLOOR,
    IMAGES_FLOOR,
    MISLABELLED_CELLS_FLOOR,
    RANK,
    RATINGS_FLOOR,
    heavy_tails,
    mislabelled_cells,
    ratings,
)
from theodolite.problems.zoo import problem


def signal_and_noise(surface, theta, size, generator, count=60):
    """‖G‖², gradients of random batches as rows, and their mean squared distance from G."""
    gradient = surface.slope(theta)
    chosen = torch.randperm(len(surface.data[0]), generator=generator)[: count * size]
    batches = surface.example_gradients(theta, chosen).view(-1, size, len(theta)).mean(1)
    return float(gradient.square().sum()), batches, float((batches - gradient).square().sum(1).mean())


# The floors


def test_the_floor_of_the_mean_image():
    _, targets = images().training
    assert 0.5 * float(targets.double().var(0, correction=0).sum()) == pytest.approx(IMAGES_FLOOR, rel=1e-7)


def test_the_floor_of_heavy_tails():
    floor, values = least_squares(heavy_tails())
    assert floor == pytest.approx(HEAVY_FLOOR, rel=1e-7)
    assert 0.7 < values[0] < values[-1] < 1.3
    inputs, targets = (part.double().numpy() for part in heavy_tails().training)
    errors = (targets - inputs @ np.linalg.lstsq(inputs, targets, rcond=None)[0]).ravel()
    assert np.mean(errors**4) > 6 * np.mean(errors**2) ** 2  # normal errors: 3


def test_the_floor_of_the_ratings():
    matrix = ratings().training[1].double().view(30, 20)
    left_out = torch.linalg.svdvals(matrix)[RANK:]
    assert 0.5 * float(left_out.square().sum()) / matrix.numel() == pytest.approx(RATINGS_FLOOR, rel=1e-9)


def test_the_floor_of_the_mislabelled_cells():
    assert logistic_minimum(mislabelled_cells()) == pytest.approx(MISLABELLED_CELLS_FLOOR, rel=1e-9)


# gradient_noise


@pytest.mark.parametrize(
    ("name", "rate", "size", "count"),
    [
        slow("noise-digits", 0.3, 1, 60),
        slow("noise-labels", 0.3, 2, 60),
        ("noise-mean", 0.3, 1, 60),
        ("noise-heavy", 0.05, 2, 500),  # all examples: a few carry half of the noise
    ],
)
def test_the_average_step_loses_what_the_full_gradient_gains(trained, name, rate, size, count, seed):
    run = trained(name, seed)
    surface = run.after
    generator = torch.Generator().manual_seed(seed)
    signal = noise = full = single = 0.0
    # Loss and gradient fluctuate: the mean over twenty points of the run as it goes on.
    for theta in next_steps(run, 199)[::10]:
        here = surface.value(theta)
        square, batches, distance = signal_and_noise(surface, theta, size, generator, count)
        signal += square
        noise += distance
        full += here - surface.value(theta - rate * surface.slope(theta))
        single += here - float(vmap(surface.at)(theta - rate * batches).mean())
    assert noise > 3 * signal
    assert full > 0
    assert single < 0.2 * full


@pytest.mark.parametrize(
    ("name", "size", "large", "steps"),
    [
        slow("noise-transformer", 1, 64, 150),
        slow("noise-recurrent", 1, 64, 150),
        slow("noise-labels-adamw", 2, 426, 150),
        ("noise-ratings", 2, 600, 150),
    ],
)
def test_a_larger_batch_gains_what_a_tiny_one_does_not(trained, name, size, large, steps, seed):
    run = trained(name, seed)
    surface = run.after
    generator = torch.Generator().manual_seed(seed)
    pairs = [signal_and_noise(surface, theta, size, generator) for theta in next_steps(run, 99)[::20]]
    assert sum(noise for _, _, noise in pairs) > 3 * sum(signal for signal, _, _ in pairs)
    ends = {}
    for batch in (size, large):
        late = next_steps(run, steps, size=batch)[-50::10]
        ends[batch] = np.mean([surface.value(theta) for theta in late]) - run.problem.floor
    assert ends[large] < 0.85 * ends[size]


@pytest.mark.parametrize(("name", "rate"), [slow("noise-digits", 0.3), ("noise-mean", 0.3)])
def test_each_step_is_downhill_for_its_own_example(trained, name, rate, seed):
    surface = trained(name, seed).after
    inputs, targets = surface.data
    for index in range(100):
        own = (inputs[index : index + 1], targets[index : index + 1])
        step = -rate * grad(surface.at)(surface.theta, own)
        assert float(surface.at(surface.theta + step, own)) <= float(surface.at(surface.theta, own))


def test_the_mean_hovers_where_it_must(seed):
    training = problem("noise-mean").build(seed)
    (theta,) = training.model.parameters()
    true = training.data[1].mean(0)
    excess = []
    for batch in training.batches:
        training.optimizer.zero_grad()
        training.loss(training.model, batch).backward()
        training.optimizer.step()
        excess.append(0.5 * float((theta.detach() - true).square().sum()))
    assert np.mean(excess[50:]) == pytest.approx(0.3 / (2 - 0.3) * IMAGES_FLOOR, rel=0.1)
