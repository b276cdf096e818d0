"""Is the step what is wrong where a problem says so? Gains of longer and shorter steps, curvatures, closed forms."""

import contextlib
import copy
import itertools
import math

import numpy as np
import pytest
import torch

from theodolite.problems.digits import labelled_components, mislabelled_components
from theodolite.problems.problem import Batches, Training
from theodolite.problems.step_sizes import (
    MISLABELLED_FLOOR,
    SQUARES_FLOOR,
    WINE_FLOOR,
    circles,
    fallen,
    labelled_wine,
    risen,
)

FAST = (
    "small-step-digits",
    "small-step-bowl",
    "small-step-decayed",
    "small-step-adagrad",
    "large-step-valley",
    "large-step-rmsprop",
    "large-step-beyond",
)
"""One row of each kind of cause; the others are slow only together."""


def rows(*names):
    """Names, alone or with what goes with them, as parameters of a test."""
    tuples = [(name,) if isinstance(name, str) else name for name in names]
    return [pytest.param(*row, marks=() if row[0] in FAST else pytest.mark.slow) for row in tuples]


def slow(*values):
    """A row that is not among the fast ones."""
    return pytest.param(*values, marks=pytest.mark.slow)


def flat(training):
    return torch.cat([part.detach().flatten().double() for part in training.model.parameters()])


@contextlib.contextmanager
def put_back(training):
    """Bring parameters and optimizer back afterwards: a trained problem serves many tests."""
    parts = list(training.model.parameters())
    saved, state = [part.detach().clone() for part in parts], copy.deepcopy(training.optimizer.state_dict())
    yield
    training.optimizer.load_state_dict(state)
    with torch.no_grad():
        for part, value in zip(parts, saved, strict=True):
            part.copy_(value)


def next_steps(run, count, *, scale=1.0, size=0):
    """θ now and after each of the steps that the training would make next, in float64.

    With another rate if a scale is given, with fresh batches if a size is.
    """
    training = run.training
    batches = Batches(*training.data, size, count, 99) if size else training.batches
    thetas = [flat(training)]
    with put_back(training):
        for _, batch in zip(range(count), batches, strict=False):
            for group in training.optimizer.param_groups:
                group["lr"] *= scale if len(thetas) == 1 else 1.0
            training.optimizer.zero_grad()
            training.loss(training.model, batch).backward()
            training.optimizer.step()
            thetas.append(flat(training))
    return thetas


def gains(run, scales, count=10):
    """For each scale, the sum of what the next steps, so many times as long, would each gain on all data."""
    pairs = list(itertools.pairwise(next_steps(run, count)))
    here = [run.after.value(old) for old, _ in pairs]
    return [
        sum(value - run.after.value(old + scale * (new - old)) for value, (old, new) in zip(here, pairs, strict=True))
        for scale in scales
    ]


def least_squares(data):
    """Loss at the minimum of linear least squares with a bias, and the eigenvalues of its Hessian."""
    inputs, targets = (part.double().numpy() for part in data.training)
    matrix = np.c_[inputs, np.ones(len(inputs))]
    residuals = targets - matrix @ np.linalg.lstsq(matrix, targets, rcond=None)[0]
    return 0.5 * (residuals**2).sum() / len(matrix), np.linalg.eigvalsh(matrix.T @ matrix / len(matrix))


# The floors


def test_the_floors_of_least_squares():
    floor, values = least_squares(labelled_components())
    assert floor == pytest.approx(SQUARES_FLOOR, rel=1e-7)
    assert np.allclose(values, 1.0, atol=1e-6)  # the Hessian is the identity
    assert least_squares(labelled_wine())[0] == pytest.approx(WINE_FLOOR, rel=1e-7)


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


def test_the_circles_cannot_be_told_apart_by_a_line():
    points, targets = circles().training
    assert np.allclose([points[targets == k].norm(dim=1).mean() for k in (0, 1)], [1.0, 0.5], atol=0.03)


def test_rates_fall_and_rise_to_their_ends():
    assert fallen(1.0, factor=0.5, least=0.1) == 0.5
    assert fallen(0.15, factor=0.5, least=0.1) == 0.1
    assert risen(1.0, factor=2.0) == 2.0
    assert risen(1.0, summand=0.5, most=1.2) == 1.2


# step_too_small


SMALL = (
    "small-step-digits",
    "small-step-bowl",
    "small-step-circles",
    "small-step-digits-adam",
    "small-step-transformer",
    "small-step-decayed",
    "small-step-decayed-conv",
    "small-step-warm-up",
    "small-step-clipped",
    "small-step-epsilon",
    "small-step-adagrad",
)


@pytest.mark.parametrize("name", rows(*SMALL))
def test_a_longer_step_gains_far_more(trained, name, seed):
    gain, longer = gains(trained(name, seed), (1.0, 1000.0))
    assert gain > 0
    assert longer > 100 * gain


@pytest.mark.parametrize(
    "name",
    ["small-step-digits", "small-step-bowl", *map(slow, ("small-step-circles", "small-step-decayed"))],
)
def test_a_small_step_is_far_from_the_curvature(trained, name, seed):
    run = trained(name, seed)
    _, greatest, _ = run.after.extremes(dense=seed >= 2)
    assert run.training.optimizer.param_groups[0]["lr"] * greatest < 1e-3


def test_the_bowl_shrinks_as_it_must(trained, seed):
    run = trained("small-step-bowl", seed)
    shrunk = (1 - 3e-5 * torch.linspace(1, 4, 4, dtype=torch.float64)) ** run.problem.steps
    assert torch.allclose(run.after.theta, shrunk * run.before.theta, rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "rate"),
    rows(("small-step-decayed", 1e-5), ("small-step-decayed-conv", 1e-7), ("small-step-warm-up", 301 * 5e-9)),
)
def test_the_schedule_ends_where_it_says(trained, name, rate, seed):
    assert trained(name, seed).training.optimizer.param_groups[0]["lr"] == pytest.approx(rate)


@pytest.mark.slow
def test_clipping_fixes_the_length_of_the_step(trained, seed):
    run = trained("small-step-clipped", seed)
    old, new = next_steps(run, 1)
    assert float((new - old).norm()) == pytest.approx(0.1 * 1e-3, rel=0.01)
    assert float(run.after.gradient().norm()) > 100 * 1e-3


@pytest.mark.parametrize(("name", "rate"), rows(("small-step-epsilon", 3e-5), ("small-step-adagrad", 5e-5)))
def test_a_great_denominator_leaves_a_small_rate(trained, name, rate, seed):
    run = trained(name, seed)
    thetas = next_steps(run, 10)
    moved = float((thetas[-1] - thetas[0]).norm())
    # As far as ten steps of plain descent at that rate, within what batches differ.
    assert moved == pytest.approx(10 * rate * float(run.after.gradient().norm()), rel=0.25)


# step_too_large


@pytest.mark.parametrize(
    "name",
    rows(
        "large-step-digits",
        "large-step-linear",
        "large-step-valley",
        "large-step-momentum",
        "large-step-conv",
        "large-step-circles",
        "large-step-linear-adam",
        "large-step-recurrent",
        "large-step-transformer",
        "large-step-rmsprop",
        "large-step-beyond",
        "large-step-rising",
    ),
)
def test_a_shorter_step_gains_more(trained, name, seed):
    # The loss leaps: what the steps as they are gain is what lies between first and last, whatever their number.
    gain, *shorter = gains(trained(name, seed), (1.0, 0.01, 0.03, 0.1, 0.3), count=40)
    assert max(shorter) > max(0.0, gain)


@pytest.mark.parametrize(
    ("name", "scale"),
    rows(
        ("large-step-linear", 0.1),
        ("large-step-momentum", 0.03),
        ("large-step-linear-adam", 0.1),
        ("large-step-rmsprop", 0.1),
        ("large-step-beyond", 0.5),
        ("large-step-rising", 0.02),  # its schedule goes on, to seven times as much
    ),
)
def test_with_a_smaller_rate_the_loss_falls_where_it_did_not(trained, name, scale, seed):
    run = trained(name, seed)
    plain, cured = (run.after.value(next_steps(run, 100, scale=factor)[-1]) for factor in (1.0, scale))
    assert cured - run.problem.floor < 0.5 * min(run.excess, plain - run.problem.floor)


def test_a_large_step_exceeds_what_the_start_allows(trained, seed):
    run = trained("large-step-digits", seed)
    _, greatest, _ = run.before.extremes(dense=seed >= 2)
    assert 5.0 * greatest > 4 * 2
    assert run.after.value() > run.before.value()


def test_a_large_step_cannot_settle_at_the_convex_minimum(convex_minimum):
    least, greatest, _ = convex_minimum.extremes(dense=True)
    assert least > -1e-12
    assert 30.0 * greatest > 2 * 3
    assert 40.0 * greatest > 2 * (1 + 0.9) * 2  # heavy ball: 2 (1 + momentum) / λmax
    assert 1.0 * greatest < 2


def test_divergence_doubles_the_error_and_ends_in_nan(trained, seed):
    run = trained("large-step-diverges", seed)
    assert not math.isfinite(run.after.value())
    early = np.array(run.losses[5:20]) - SQUARES_FLOOR
    assert np.allclose(early[1:] / early[:-1], 4.0, rtol=1e-3)


def test_just_beyond_the_limit_the_error_grows_by_its_eigenvalue(trained, seed):
    run = trained("large-step-beyond", seed)
    _, values = least_squares(labelled_wine())
    growth = (1 - 0.425 * values[-1]) ** 2
    assert 1.05 < growth < 1.08
    late = np.array(run.losses[150:]) - WINE_FLOOR
    assert np.allclose(late[1:] / late[:-1], growth, rtol=1e-3)


def test_an_exploding_loss_grows_step_by_step(trained, seed):
    run = trained("large-step-explodes", seed)
    _, greatest, _ = run.before.extremes(dense=False)
    assert 2.0 * greatest > 4 * 2
    losses = np.array(run.losses)
    finite = losses[: np.flatnonzero(~np.isfinite(losses))[0]]
    assert len(finite) >= 4
    assert (np.diff(finite) > 0).all()


def test_a_rising_rate_turns_the_loss(trained, seed):
    run = trained("large-step-rising", seed)
    assert np.mean(run.losses[140:160]) < 0.35
    assert np.mean(run.losses[-10:]) > 1.5 * np.mean(run.losses[140:160])


def test_the_valley_is_jumped_for_ever(trained, seed):
    run = trained("large-step-valley", seed)
    assert torch.allclose(run.after.theta.abs(), 3 * run.after.theta.tanh().abs(), rtol=1e-4)
    assert run.after.value() == pytest.approx(6.88, abs=0.01)
