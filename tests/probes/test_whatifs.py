"""Moves from a point: gains against closed forms, and far jumps left out."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from theodolite.objective import Objective
from theodolite.probes.whatifs import FACTORS, Split, best_along, clipped, pooled, ratio, rescaled, unit
from theodolite.records import Estimate


def both(function: object, start: Tensor) -> Split:
    """A function that proposes and judges itself: exact."""
    objective = Objective.from_function(function, start)  # type: ignore[arg-type]
    return Split(objective, objective, objective, True)


def quadratic(*curvatures: float) -> tuple[Split, Tensor]:
    """½ Σ λx² at ones, in float64."""
    diagonal = torch.tensor(curvatures, dtype=torch.float64)
    theta = torch.ones_like(diagonal)
    return both(lambda x: 0.5 * (diagonal * x**2).sum(), theta), theta


def test_best_gradient_length_on_a_bowl_is_exact() -> None:
    """Along −g the best length is gᵀg/gᵀHg · ‖g‖, and the gain ½ (gᵀg)²/gᵀHg."""
    split, theta = quadratic(1.0, 3.0)
    gradient = split.first.gradient()
    move = unit(-gradient)
    assert move is not None
    bend = float((torch.tensor([1.0, 3.0], dtype=torch.float64) * move**2).sum())
    slope = -float(gradient.norm())
    found = best_along(split, theta, move, name="g", model=(slope, bend), reach=0.1)
    assert found.gain.value == pytest.approx(slope**2 / bend / 2, rel=1e-9)
    assert found.predicted == pytest.approx(found.gain.value, rel=1e-9)
    assert found.length == pytest.approx(-slope / bend, rel=1e-9)


def test_negative_curvature_is_followed_as_far_as_the_model_holds() -> None:
    """At the saddle of ¼x⁴ − ½x² the gain at s is ½s² − ¼s⁴: the model holds within a factor two up to s = 1."""
    split = both(lambda x: (x**4 / 4 - x**2 / 2).sum(), torch.zeros(1, dtype=torch.float64))
    theta, move = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    found = best_along(split, theta, move, name="n", model=(0.0, -1.0), reach=0.1)
    assert 0.5 < found.length <= 1.0
    assert found.gain.value == pytest.approx(found.length**2 / 2 - found.length**4 / 4, rel=1e-9)


def test_a_far_jump_is_not_counted() -> None:
    """A better valley beyond a wall says nothing about local information."""
    split = both(lambda x: (torch.cos(x) + 1 - 0.5 * torch.sigmoid(20 * (x - 6))).sum(), torch.full((1,), math.pi))
    theta, move = torch.full((1,), math.pi), torch.ones(1)
    assert best_along(split, theta, move, name="j", model=(0.0, 1.0), reach=0.1).gain.value == 0.0


def test_not_finite_ends_the_line() -> None:
    """Beyond a loss that is not finite nothing is tried; what lies before it counts."""
    split = both(lambda x: torch.where(x > 1, torch.nan, -x).sum(), torch.zeros(1))
    found = best_along(split, torch.zeros(1), torch.ones(1), name="x", model=(-1.0, 0.0), reach=0.1)
    assert 0.4 < found.gain.value <= 1.0


def test_gains_are_judged_by_examples_that_did_not_propose() -> None:
    """A direction fitted to the noise of one half gains there and loses on the other: the biased twin is caught."""
    first = Objective.from_function(lambda x: ((x - 1) ** 2).sum(), torch.zeros(1))
    second = Objective.from_function(lambda x: ((x + 1) ** 2).sum(), torch.zeros(1))
    move = torch.ones(1)
    honest = best_along(
        Split(first, second, second, False), torch.zeros(1), move, name="x", model=(-2.0, 2.0), reach=0.1
    )
    biased = best_along(Split(first, first, first, False), torch.zeros(1), move, name="x", model=(-2.0, 2.0), reach=0.1)
    assert honest.gain.value < 0 < biased.gain.value


def test_rescaled_steps_follow_the_parabola() -> None:
    """A step of a tenth of the best length gains αs − α²b/2 at factor α."""
    split, theta = quadratic(2.0)
    delta = torch.full((1,), -0.1, dtype=torch.float64)
    found = rescaled([(split.whole, theta, delta)], Estimate(0.2, 0.0))
    expected = [0.2 * factor - 0.5 * factor**2 * 0.02 for factor in FACTORS]
    assert [gain.value for gain in found.gains] == pytest.approx(expected, rel=1e-9)
    assert found.at(10.0).value == max(gain.value for gain in found.gains)
    assert not found.at(2.5).is_finite


def test_ratio_has_the_error_of_a_ratio() -> None:
    """Parts that follow their wholes exactly have a ratio without error, however much the wholes scatter."""
    wholes = np.array([1.0, 5.0, 2.0, 9.0])
    exact = ratio((0.3 * wholes).tolist(), wholes.tolist())
    assert exact.value == pytest.approx(0.3)
    assert exact.error == pytest.approx(0.0, abs=1e-12)
    assert not ratio([1.0, 2.0], [1.0, -1.0]).is_finite
    assert not ratio([], []).is_finite


def test_ratio_error_covers_the_truth() -> None:
    """Over 300 samples of 16 cases, two errors cover the truth in 90 to 98 per cent."""
    source = np.random.default_rng(0)
    inside = 0
    for _ in range(300):
        wholes = source.uniform(1, 3, 16)
        found = ratio((0.5 * wholes + source.normal(0, 0.2, 16)).tolist(), wholes.tolist())
        inside += abs(found.value - 0.5) < 2 * found.error
    assert 0.90 <= inside / 300 <= 0.98


def test_pooled_keeps_the_shared_error() -> None:
    """Steps judged on the same examples share their sampling error: it does not average out."""
    assert pooled([Estimate(1.0, 0.3)] * 100).error == pytest.approx(0.3)
    assert pooled([]).count == 0
    assert math.isnan(pooled([Estimate(math.nan)]).value)


def test_unit_of_nothing_is_nothing() -> None:
    """No direction in a zero vector, nor in one that is not finite."""
    assert unit(torch.zeros(3)) is None
    assert unit(torch.tensor([1.0, math.inf])) is None
    assert torch.allclose(unit(torch.tensor([3.0, 4.0])), torch.tensor([0.6, 0.8]))  # type: ignore[arg-type]


def test_clipped_steps_gain_what_the_closed_form_says() -> None:
    """On ½x² a step of −ηx from x, clipped to the median norm 1: from 1, 0.5 and 10 with η = 1.9."""
    split = both(lambda x: (x**2 / 2).sum(), torch.zeros(1, dtype=torch.float64))
    places = [1.0, 0.5, 10.0]
    points = [torch.tensor([place], dtype=torch.float64) for place in places]
    steps = [(split.first, point, -1.9 * point) for point in points]
    found = clipped(steps, places)
    ends = [1.0 - 1.9, 0.5 - 0.95, 10.0 - 1.9]  # the last gradient is cut from 10 to 1
    wanted = np.mean([(place**2 - end**2) / 2 for place, end in zip(places, ends, strict=True)])
    assert found.gain.value == pytest.approx(wanted, rel=1e-9)
    assert found.length == pytest.approx((1.9 + 0.95 + 1.9) / 3)
    unclipped = np.mean([(place**2 - (0.9 * place) ** 2) / 2 for place in places])
    assert abs(found.gain.value - unclipped) > 0.1


@pytest.mark.parametrize("norms", [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [math.nan] * 3, []])
def test_without_greater_norms_nothing_is_clipped(norms: list[float]) -> None:
    """Equal norms, zeros and none at all: there is no what-if."""
    split = both(lambda x: (x**2 / 2).sum(), torch.zeros(1, dtype=torch.float64))
    step = (split.first, torch.ones(1, dtype=torch.float64), -torch.ones(1, dtype=torch.float64))
    assert not clipped([step] * len(norms), norms).gain.is_finite
