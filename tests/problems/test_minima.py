"""Are the minima minima, above the lowest? Dense Hessians in float64, and searches for the lowest by SciPy."""

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from theodolite.problems.minima import (
    CLUSTERS_FLOOR,
    GROUND_SIGNS,
    GROUND_STATE,
    LOCAL_MINIMA,
    LOWER_WELL,
    NUM_SPINS,
    ROBUST_FLOOR,
    XOR_FLOOR,
    couplings,
    exclusive_or,
)

TRIALS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3, 4))]
LOSSES = {
    "minimum-digits": 4.97304,
    "minimum-well": 0.29913,
    "minimum-wave": 0.41359,
    "minimum-echoes": 2.16568,
    "minimum-xor": 0.31028,
    "minimum-glass": 2.40541,
    "minimum-mixture": 0.91680,
    "minimum-robust": 0.66472,
}
"""What the minimum's loss is."""


def numeric(function):
    """Value and gradient for SciPy."""

    def both(point):
        theta = torch.tensor(point, requires_grad=True)
        value = function(theta)
        return value.item(), torch.autograd.grad(value, theta)[0].numpy()

    return both


def settled(spins):
    """The minimum into which soft spins roll from a pattern of signs, by descent and then Newton."""
    glass = couplings().numpy()
    for _ in range(300):
        spins = spins - 0.2 * (spins * (spins**2 - 1) - 0.3 * spins @ glass)
    for _ in range(5):
        slopes = spins * (spins**2 - 1) - 0.3 * spins @ glass
        hessians = (3 * spins**2 - 1)[:, :, None] * np.eye(NUM_SPINS) - 0.3 * glass
        spins = spins - np.linalg.solve(hessians, slopes[:, :, None])[:, :, 0]
    return spins, 0.25 * ((spins**2 - 1) ** 2).sum(1) - 0.15 * ((spins @ glass) * spins).sum(1)


@pytest.mark.parametrize("trial", TRIALS)
@pytest.mark.parametrize("name", [ill.name for ill in LOCAL_MINIMA if not ill.twin])
def test_a_local_minimum_has_no_way_down_and_lies_above_the_floor(trained, name, trial):
    run = trained(name, trial)
    least, greatest, _ = run.after.extremes(dense=True)
    slope = float(run.after.gradient().norm())
    assert least > 3e-3 * greatest
    # By Newton, J could fall by no more than |g|² / 2λmin: nothing.
    assert slope < 1e-3 * greatest
    assert slope**2 / (2 * least) < 1e-4 * run.excess
    assert trained(f"{name}-twin", trial).excess < 0.01 * run.excess


@pytest.mark.parametrize("trial", TRIALS)
@pytest.mark.parametrize(("name", "loss"), LOSSES.items())
def test_the_loss_of_a_local_minimum(trained, name, loss, trial):
    assert trained(name, trial).after.value() == pytest.approx(loss, abs=1e-4)


@pytest.mark.parametrize("trial", TRIALS)
def test_two_centres_share_a_cluster_and_two_clusters_a_centre(trained, trial):
    run = trained("minimum-mixture", trial)
    centres, (inputs, classes) = run.after.theta.view(3, -1), run.after.data
    means = torch.stack([inputs[classes == cluster].mean(0) for cluster in range(3)])
    assert torch.cdist(centres, means).argmin(1).tolist()[:2] == [2, 2]


def test_the_wells():
    roots = np.roots([1.0, 0.0, -1.0, 0.15])
    assert np.abs(roots.imag).max() == 0
    assert -np.min(0.25 * (roots.real**2 - 1) ** 2 + 0.15 * roots.real) == pytest.approx(LOWER_WELL, rel=1e-12)


def test_the_ground_state_among_all_patterns():
    patterns = np.array(list(itertools.product((-1.0, 1.0), repeat=NUM_SPINS)))
    spins, energies = settled(patterns)
    assert -energies.min() == pytest.approx(GROUND_STATE, rel=1e-12)
    ground = np.sign(spins[energies.argmin()])
    assert np.array_equal(ground * ground[0], GROUND_SIGNS)
    assert len(np.unique(energies.round(8))) > 100


def test_the_least_loss_of_two_units_on_xor():
    random = np.random.default_rng(0)
    ends = [minimize(numeric(exclusive_or), 1.5 * random.normal(size=9), jac=True).fun for _ in range(25)]
    assert min(ends) == pytest.approx(XOR_FLOOR, rel=1e-6)
    assert np.isclose(ends, 0.31028, atol=1e-4).any()


def test_the_least_loss_of_the_mixture(trained):
    surface = trained("minimum-mixture-twin", 0).after
    end = minimize(numeric(surface.at), surface.theta.numpy(), jac=True, options={"gtol": 1e-10})
    assert end.fun == pytest.approx(CLUSTERS_FLOOR, rel=1e-6)
    inputs, _ = surface.data
    random = np.random.default_rng(0)
    starts = [inputs[random.choice(len(inputs), 3, replace=False)].flatten().numpy() for _ in range(20)]
    assert min(minimize(numeric(surface.at), start, jac=True).fun for start in starts) > CLUSTERS_FLOOR - 1e-6


def test_the_least_loss_of_a_robust_line(trained):
    surface = trained("minimum-robust-twin", 0).after
    starts = itertools.product(np.linspace(-2, 2, 7), repeat=2)
    ends = [minimize(numeric(surface.at), np.array(start), jac=True, options={"gtol": 1e-9}).fun for start in starts]
    assert min(ends) == pytest.approx(ROBUST_FLOOR, rel=1e-6)
