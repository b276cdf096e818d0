"""Is it the ratio of curvatures that holds a training where a problem says so? Hessians, Newton's steps, rates."""

import numpy as np
import pytest
import torch

from tests.problems.test_steps import least_squares, next_steps, slow
from theodolite.problems.conditioning import (
    CELLS_FLOOR,
    POWERS_FLOOR,
    cells,
    measured_wine,
    powers,
    rotation,
    shifted_components,
    stretched_components,
)
from theodolite.problems.problem import train
from theodolite.problems.step_sizes import SQUARES_FLOOR, WINE_FLOOR, labelled_wine

NAMES = (
    "conditioning-few",
    "conditioning-wine",
    "conditioning-powers",
    slow("conditioning-many"),
    slow("conditioning-string"),
    slow("conditioning-cells"),
    slow("conditioning-wine-net"),
    slow("conditioning-shifted"),
    slow("conditioning-deep-linear"),
    slow("conditioning-rotated"),
)


def newton(surface, steps):
    """Loss after steps −(|H| + damping)⁻¹ g, each with the damping that serves it best."""
    theta = surface.theta
    for _ in range(steps):
        surface.theta = theta
        values, vectors = torch.linalg.eigh(surface.hessian())
        slopes = vectors.T @ surface.gradient()
        dampings = float(values.abs().max()) * np.logspace(-16, 0, 33)
        tries = [theta, *(theta - vectors @ (slopes / (values.abs() + damping)) for damping in dampings)]
        theta = min(tries, key=lambda point: value if np.isfinite(value := surface.value(point)) else np.inf)
    return surface.value(theta)


def finite(value):
    return value if np.isfinite(value) else np.inf


# The floors


def test_the_floors_do_not_depend_on_the_units():
    for data in (labelled_wine(), labelled_wine(standardised=False)):
        assert least_squares(data)[0] == pytest.approx(WINE_FLOOR, rel=1e-6)
    for data in (powers(), powers(orthonormal=True)):
        assert least_squares(data)[0] == pytest.approx(POWERS_FLOOR, abs=1e-11)
    for data in (shifted_components(100.0), stretched_components(1e4)):
        assert least_squares(data)[0] == pytest.approx(SQUARES_FLOOR, rel=1e-4)


def logistic_minimum(data):
    """Least cross-entropy of a linear classifier of two classes, by Newton's method from 0."""
    inputs, targets = (part.double() for part in data.training)
    rows = torch.cat([inputs, torch.ones(len(inputs), 1, dtype=torch.float64)], 1)
    weights = torch.zeros(rows.shape[1], dtype=torch.float64)
    for _ in range(20):
        share = torch.sigmoid(rows @ weights)
        curvature = rows.T @ (rows * (share * (1 - share))[:, None])
        weights = weights - torch.linalg.solve(curvature, rows.T @ (share - targets))
    return float(torch.nn.functional.binary_cross_entropy_with_logits(rows @ weights, targets))


def test_the_floor_of_the_cells():
    assert logistic_minimum(cells()) == pytest.approx(CELLS_FLOOR, rel=1e-9)
    # Raw columns are rounded to float32 in other units.
    assert logistic_minimum(cells(standardised=False)) == pytest.approx(CELLS_FLOOR, rel=1e-6)


# The spectra


@pytest.mark.parametrize(
    ("plant", "clean", "least", "most"),
    [
        (labelled_wine(standardised=False), labelled_wine(), 1e8, 100),
        (powers(), powers(orthonormal=True), 1e12, 1.001),
        (shifted_components(100.0), shifted_components(0.0), 1e10, 1.001),
        (stretched_components(1e4), stretched_components(1.0), 1e7, 1.001),
        (measured_wine(standardised=False), measured_wine(), 1e5, 100),
    ],
    ids=["wine", "powers", "shifted", "stretched", "wine-net"],
)
def test_the_condition_of_the_inputs(plant, clean, least, most):
    conditions = [(values[-1] / values[0]) for _, values in (least_squares(plant), least_squares(clean))]
    assert conditions[0] > least
    assert conditions[1] < most


@pytest.mark.parametrize(("name", "tie"), [("conditioning-string", 0.0), ("conditioning-string-twin", 1.0)])
def test_the_string_vibrates_as_it_must(trained, name, tie):
    run = trained(name, 0)
    values = torch.linalg.eigvalsh(run.after.hessian()).numpy()
    assert np.allclose(values, 2 - 2 * np.cos(np.arange(1, 201) * np.pi / 201) + tie, atol=1e-12)
    assert (values[-1] / values[0] > 1.6e4) if tie == 0 else (values[-1] / values[0] < 5)


@pytest.mark.parametrize("name", ["conditioning-few", "conditioning-many", "conditioning-string"])
def test_what_is_left_lies_along_the_slow_directions(trained, name, seed):
    run = trained(name, seed)
    values, vectors = torch.linalg.eigh(run.after.hessian())
    heights = 0.5 * values * (vectors.T @ run.after.theta).square()
    assert float(heights[values < 1e-2 * values[-1]].sum()) > 0.99 * run.after.value()


def test_no_diagonal_helps_the_rotated_bowl(trained):
    hessian = trained("conditioning-rotated", 0).after.hessian().numpy()
    axes = np.array(rotation(30))
    assert np.allclose(axes.T @ axes, np.eye(30))
    scale = np.sqrt(np.diag(hessian))
    values = np.linalg.eigvalsh(hessian / np.outer(scale, scale))
    # Van der Sluis: scaling to a diagonal of ones is within a factor n of the best diagonal.
    assert values[-1] / values[0] / len(hessian) > 1e3
    upright = trained("conditioning-rotated-twin", 0).after.hessian().numpy()
    assert np.allclose(upright, np.diag(np.diag(upright)))


# ill_conditioning


@pytest.mark.parametrize("name", NAMES)
def test_newton_gains_what_no_rate_gains(trained, surface, name, seed):
    run = trained(name, seed)
    here = run.after.value()
    scales = (0.25, 0.5, 1.0, 2.0, 4.0, 10.0, 100.0)
    ends = [finite(run.after.value(next_steps(run, 20, scale=scale)[-1])) for scale in scales]
    gained = here - newton(surface(run.training), 5)
    assert gained > 5 * max(here - min(ends), 0.0)
    # On one network of two Newton is not at the floor after five steps.
    assert gained > (0.05 if name == "conditioning-wine-net" else 0.5) * run.excess


@pytest.mark.parametrize("name", NAMES)
def test_no_other_rate_would_have_done(trained, surface, name, seed):
    run = trained(name, seed)
    for scale in (0.25, 0.5, 2.0, 4.0):
        training = run.problem.build(seed)
        for group in training.optimizer.param_groups:
            group["lr"] *= scale
        train(training)
        assert finite(surface(training).value()) - run.problem.floor > 0.6 * run.excess


@pytest.mark.parametrize("name", ["conditioning-few", "conditioning-wine", "conditioning-powers"])
def test_the_rate_is_near_the_limit_of_stability(trained, name):
    run = trained(name, 0)
    _, greatest, _ = run.after.extremes(dense=True)
    assert 1.7 < run.training.optimizer.param_groups[0]["lr"] * greatest < 2
