"""Are the points critical, and are their curvatures those of a dense Hessian, for every set of learnt modes?"""

from math import comb

import numpy as np
import pytest
import torch
from torch.func import grad, jacrev

from theodolite.errors import SettingError, ShapeError
from theodolite.theory.linear_saddles import (
    global_minimum,
    minimum_dimension,
    saddle_families,
    saddle_index,
    saddle_loss,
    saddle_spectrum,
    saddle_weights,
)

STRENGTHS = [4.0, 3.0, 2.0, 1.0]


def surface(strengths, width):
    """½‖diag(s) − W₂W₁‖² of the flat vector, in PyTorch."""
    target = torch.diag(torch.tensor(strengths, dtype=torch.float64))
    r = len(strengths)

    def value(theta):
        first, second = theta[: width * r].view(width, r), theta[width * r :].view(r, width)
        return 0.5 * (target - second @ first).square().sum()

    return value


def flat(weights):
    return torch.cat([torch.tensor(w).flatten() for w in weights])


@pytest.mark.parametrize("learnt", saddle_families(4, 3), ids=str)
def test_all_fifteen_families(learnt):
    """G, A4: gradient, loss, index and whole spectrum at s = (4, 3, 2, 1) and three hidden units."""
    value, theta = surface(STRENGTHS, 3), flat(saddle_weights(STRENGTHS, 3, learnt))
    assert grad(value)(theta).abs().max() < 1e-14
    assert saddle_loss(STRENGTHS, learnt) == pytest.approx(float(value(theta)))
    levels = torch.linalg.eigvalsh(jacrev(grad(value))(theta)).numpy()
    np.testing.assert_allclose(saddle_spectrum(STRENGTHS, 3, learnt), levels, atol=1e-12)
    assert saddle_index(STRENGTHS, 3, learnt) == np.count_nonzero(levels < -1e-9)


@pytest.mark.parametrize(
    ("strengths", "width"), [([2.0], 1), ([2.0], 3), ([3.0, 3.0, 0.0], 2), ([2.0, 1.0, 0.0], 4), ([0.0, 0.0], 2)]
)
def test_edges_equal_and_zero_modes_and_too_many_units(strengths, width):
    for learnt in saddle_families(len(strengths), width):
        value, theta = surface(strengths, width), flat(saddle_weights(strengths, width, learnt))
        levels = torch.linalg.eigvalsh(jacrev(grad(value))(theta)).numpy()
        np.testing.assert_allclose(saddle_spectrum(strengths, width, learnt), levels, atol=1e-12)
        assert saddle_index(strengths, width, learnt) == np.count_nonzero(levels < -1e-9)


def test_counts_of_the_paper():
    families = saddle_families(4, 3)
    assert len(families) == 15
    assert sum(len(f) == 3 for f in families) == comb(4, 3)
    assert saddle_index(STRENGTHS, 3, []) == 12
    assert saddle_spectrum(STRENGTHS, 3, [])[0] == -4
    assert saddle_index(STRENGTHS, 3, [0, 1]) == 2
    assert saddle_spectrum(STRENGTHS, 3, [0, 1])[0] == -2
    assert [f for f in families if saddle_index(STRENGTHS, 3, f) == 0] == [(0, 1, 2)]


def test_the_index_is_the_same_along_the_orbit():
    rng = np.random.default_rng(0)
    first, second = saddle_weights(STRENGTHS, 3, [1, 2])
    G = rng.normal(size=(3, 3))
    theta = flat((G @ first, second @ np.linalg.inv(G)))
    value = surface(STRENGTHS, 3)
    assert grad(value)(theta).abs().max() < 1e-12
    levels = torch.linalg.eigvalsh(jacrev(grad(value))(theta)).numpy()
    assert np.count_nonzero(levels < -1e-9) == saddle_index(STRENGTHS, 3, [1, 2])


@pytest.mark.parametrize("width", [1, 3, 4, 5])
def test_the_manifold_of_global_minima(width):
    """The best approximation of its rank, at every point; its dimension is the number of flat directions."""
    value = surface(STRENGTHS, width)
    G = np.random.default_rng(1).normal(size=(width, width))
    for mixing in (None, G):
        theta = flat(global_minimum(STRENGTHS, width, mixing=mixing))
        assert float(value(theta)) == pytest.approx(0.5 * sum(s * s for s in STRENGTHS[width:]), abs=1e-12)
        levels = torch.linalg.eigvalsh(jacrev(grad(value))(theta)).numpy()
        assert levels[0] > -1e-9 * levels[-1]
        assert np.count_nonzero(np.abs(levels) < 1e-9 * levels[-1]) == minimum_dimension(4, width)


def test_the_minimum_learns_the_strongest_in_any_order():
    first, _ = global_minimum([1.0, 9.0, 4.0], 2)
    np.testing.assert_array_equal(first.any(axis=0), [False, True, True])


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda: saddle_families(0, 1), SettingError, "count must be a whole number, 1 or more"),
        (lambda: saddle_weights([-1.0], 1, []), SettingError, "strengths must not be negative, got -1.0"),
        (
            lambda: saddle_index([1.0, 2.0], 1, [0, 1]),
            SettingError,
            "learnt must be at most 1 different modes out of 2",
        ),
        (lambda: saddle_index([1.0, 2.0], 2, [0, 0]), SettingError, r"got \(0, 0\)"),
        (lambda: saddle_spectrum([1.0], 1, [1]), SettingError, r"got \(1,\)"),
        (lambda: saddle_loss([[1.0]], []), ShapeError, r"strengths must have shape \(n,\) with n > 0, got \(1, 1\)"),
        (lambda: saddle_loss([], []), ShapeError, "strengths must have shape"),
        (lambda: global_minimum([1.0], 2, mixing=[[1.0]]), ShapeError, r"mixing must have shape \(2, 2\)"),
        (lambda: global_minimum([1.0], 1, mixing=[[0.0]]), SettingError, "mixing must be invertible, got rank 0 of 1"),
        (lambda: minimum_dimension(1, 0), SettingError, "width must be a whole number"),
    ],
)
def test_mistakes_are_told(ask, error, message):
    with pytest.raises(error, match=message):
        ask()
