"""Is what was not measured known as well as the picture says?"""

import numpy as np
import pytest

from theodolite.landscape.planes import grid
from theodolite.landscape.refinement import Filled, Hierarchy, Ladder, most_bent, widest_gap, worst


def refined(truth, *, tolerance=0.01, budget=10**9):
    """A whole grid of true values, measured where it is asked for."""
    height, width = truth.shape
    hierarchy = Hierarchy.of(grid(-1.0, 1.0, height), grid(-1.0, 1.0, width))
    measured, cells = np.zeros(truth.shape, bool), np.argwhere(hierarchy.first)
    while len(cells):
        measured[tuple(cells.T)] = True
        filled = hierarchy.fill(measured, np.where(measured, truth, np.nan))
        finite = truth[measured & np.isfinite(truth)]
        bound = max(tolerance * np.ptp(finite), 1e-6 * np.abs(finite).max())
        cells = worst(filled, hierarchy.levels, tolerance=bound, count=budget - int(measured.sum()))
    return filled, measured


def picture(function, points=(51, 51)):
    b, a = np.meshgrid(grid(-1.0, 1.0, points[1]), grid(-1.0, 1.0, points[0]), indexing="ij")
    with np.errstate(all="ignore"):
        return function(a, b)


def error_of(filled, truth):
    finite = np.isfinite(truth)
    return np.abs(filled.values[finite] - truth[finite]).max() / np.ptp(truth[finite])


SMOOTH = {
    "bowl": lambda a, b: a**2 + 3 * b**2,
    "slope": lambda a, b: a + 10 * b,
    "Rosenbrock": lambda a, b: (1 - 2 * a) ** 2 + 100 * (2 * b - 4 * a**2) ** 2,
    "exponential": lambda a, b: np.exp(3 * (a**2 + b**2)),
    "wave": lambda a, b: np.sin(4 * a) * np.cos(3 * b),
}


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("points", [(51, 51), (40, 51)])
def test_smooth_pictures_cost_a_fifth(name, points):
    truth = picture(SMOOTH[name], points)
    filled, measured = refined(truth)
    assert measured.size >= 5 * measured.sum()
    assert error_of(filled, truth) < filled.errors.max() / np.ptp(truth) + 1e-12 <= 0.01
    np.testing.assert_array_equal(filled.values[measured], truth[measured])


def test_cubics_are_exact_to_rounding():
    cubic = picture(lambda a, b: a**3 - 2 * a * b**2 + b)
    filled, measured = refined(cubic)
    assert error_of(filled, cubic) < 1e-13
    assert measured.sum() == Hierarchy.of(grid(-1, 1, 51), grid(-1, 1, 51)).first.sum()


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("place", range(1, 51, 7))
def test_a_ridge_of_one_cell_along_an_axis_is_met(axis, place):
    truth = picture(lambda a, b: 0.1 * a)
    truth[(slice(None), place) if axis else place] += 1
    filled, _ = refined(truth)
    assert error_of(filled, truth) < 0.01


def test_without_the_lattice_a_ridge_is_missed():
    """The twin: the base level alone sees nothing between its rows."""
    truth = picture(lambda a, b: 0.1 * a)
    hierarchy = Hierarchy.of(grid(-1, 1, 51), grid(-1, 1, 51))
    base = hierarchy.levels <= 2
    row = next(row for row in range(51) if not base[row].any())
    truth[row] += 1
    blind = hierarchy.fill(base, np.where(base, truth, np.nan))
    assert blind.errors.max() < 1e-6
    assert error_of(blind, truth) > 0.8
    assert error_of(refined(truth)[0], truth) < 0.01


def test_ridges_at_any_angle():
    draw = np.random.default_rng(0).uniform(size=(20, 2))
    errors = []
    for where, angle in zip(1.4 * draw[:, 0] - 0.7, np.pi * draw[:, 1], strict=True):
        truth = picture(lambda a, b: np.exp(-0.5 * ((a * np.cos(angle) + b * np.sin(angle) - where) / 0.08) ** 2))  # noqa: B023
        filled, _ = refined(truth)
        errors.append(error_of(filled, truth))
    assert np.mean(np.array(errors) > 0.01) < 0.3
    assert max(errors) < 0.04


def test_a_bump_is_missed_only_where_a_gap_is_as_large_as_it():
    """The stated limit: a bump between all points is not seen, and one as large as the widest gap is."""
    truth = picture(lambda a, b: 0.1 * a)
    first = Hierarchy.of(grid(-1, 1, 51), grid(-1, 1, 51)).first
    gap = widest_gap(first)
    assert 2 <= gap <= 6
    hidden = truth.copy()
    row, column = next((i, j) for i in range(49) for j in range(49) if not first[i : i + 2, j : j + 2].any())
    hidden[row : row + 2, column : column + 2] += 1
    filled, measured = refined(hidden)
    assert error_of(filled, hidden) > 0.5
    assert widest_gap(measured) >= 2


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_keeps_its_border(bad):
    truth = picture(lambda a, b: np.where(a + 0.3 * b > 0.33, bad, a**2 + b))
    filled, measured = refined(truth)
    np.testing.assert_array_equal(np.isfinite(filled.values), np.isfinite(truth))
    assert error_of(filled, truth) < 0.01
    assert measured.sum() < measured.size / 2


def test_one_finite_point():
    truth = picture(lambda a, b: np.where((a == 0) & (b == 0), 1.0, np.nan))
    filled, _ = refined(truth)
    assert np.isfinite(filled.values).sum() == 1
    assert filled.errors.max() == 0


@pytest.mark.parametrize("points", [(3, 3), (3, 51), (4, 40), (9, 10), (17, 101), (101, 101)])
def test_any_number_of_points(points):
    truth = picture(lambda a, b: a + 10 * b, points)
    filled, measured = refined(truth)
    np.testing.assert_allclose(filled.values, truth, atol=1e-12)
    assert Hierarchy.of(grid(-1, 1, points[1]), grid(-1, 1, points[0])).first.any(0).all()
    assert measured.any(1).all()


def test_noise_is_measured_everywhere():
    truth = np.random.default_rng(0).normal(size=(20, 20))
    filled, measured = refined(truth)
    assert measured.all()
    assert filled.errors.max() == 0


def test_the_budget_goes_where_it_is_needed():
    truth = picture(lambda a, b: np.exp(6 * (a**2 + b**2)))
    spent = [refined(truth, tolerance=0.0, budget=budget) for budget in (130, 200, 300, 600)]
    assert [int(measured.sum()) for _, measured in spent] == [130, 200, 300, 600]
    errors = [error_of(filled, truth) for filled, _ in spent]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 10


def test_ladders_hold_the_level_before():
    for points in (2, 3, 5, 9, 10, 51, 101):
        ladder = Ladder.of(grid(0.0, 1.0, points))
        for low, high in zip(ladder.nodes[:-1], ladder.nodes[1:], strict=True):
            assert set(low) <= set(high)
        assert list(ladder.nodes[-1]) == list(range(points))
        assert ladder.levels.max() == (len(ladder.nodes) - 1 if points > 2 else 0)
        for matrix in (*ladder.cubics, *ladder.chords):
            np.testing.assert_allclose(matrix.sum(1), 1, rtol=1e-12)


def test_the_worst_comes_first_and_coarse_before_fine():
    errors = np.array([[0.0, 0.9], [1.0, 0.8]])
    levels = np.array([[0, 1], [2, 1]])
    filled = Filled(np.zeros((2, 2)), errors)
    assert worst(filled, levels, tolerance=0.1, count=9).tolist() == [[0, 1], [1, 1]]
    assert worst(filled, levels, tolerance=0.1, count=1).tolist() == [[0, 1]]
    assert worst(filled, levels, tolerance=1.0, count=9).tolist() == []
    assert worst(filled, levels, tolerance=0.1, count=0).tolist() == []


def test_the_widest_gap():
    measured = np.ones((5, 6), bool)
    assert widest_gap(measured) == 0
    measured[1:4, 2:5] = False
    assert widest_gap(measured) == 3
    measured[2, 3] = True
    assert widest_gap(measured) == 1
    assert widest_gap(np.zeros((3, 7), bool)) == 3


def test_middles_where_it_bends():
    x = np.linspace(0, 1, 11)
    found = most_bent(x, np.abs(x - 0.52), 4)
    assert len(found) == 4
    assert ((found > 0.4) & (found < 0.7)).all()
    assert len(most_bent(x, x, 4)) == 0  # a straight line needs none
    assert len(most_bent(x, np.full(11, np.nan), 4)) == 0


def test_points_gather_at_the_border_of_what_is_finite():
    x, border = np.linspace(0, 1, 11), 0.5471
    y = np.where(x < border, x, np.nan)
    for _ in range(10):
        more = most_bent(x, y, 1)
        x = np.sort(np.concatenate([x, more]))
        y = np.where(x < border, x, np.nan)
    assert np.diff(x)[np.searchsorted(x, border) - 1] < 1e-3


def test_a_jump_does_not_halve_for_ever():
    x = np.array([0.0, 0.5, 1.0])
    for _ in range(200):
        more = most_bent(x, (x > 0.3).astype(float), 1)
        x = np.sort(np.concatenate([x, more]))
    assert np.diff(x).min() >= 2.0**-21
