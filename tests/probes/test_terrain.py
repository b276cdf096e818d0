"""What lies further off: rays, better points, and the turn of a validation loss."""

import math

import numpy as np
import pytest
import torch

from theodolite import Objective
from theodolite.probes.terrain import FURTHEST, known, lowest_at_random, ray, turned

BOWL = Objective.from_function(lambda theta: (theta**2).sum(), torch.zeros(2, dtype=torch.float64))
DECAY = Objective.from_function(lambda theta: torch.exp(-theta[0]), torch.zeros(1, dtype=torch.float64))
WELLS = Objective.from_function(
    lambda theta: 0.25 * (theta[0] ** 2 - 1) ** 2 + 0.15 * theta[0], torch.zeros(1, dtype=torch.float64)
)
"""A lower well near −1, a higher one near 1, a hill near 0 between them."""


def test_a_ray_doubles_its_lengths_and_tells_the_loss_there():
    here = torch.tensor([3.0, 4.0], dtype=torch.float64)
    found = ray(BOWL, here, -here, name="inward", first=1.0)
    assert found.lengths.tolist() == [0.0, *(2.0**k for k in range(FURTHEST + 1))]
    assert found.losses == pytest.approx((found.lengths - 5.0) ** 2, rel=1e-12)
    assert found.gain.value == pytest.approx(24.0)  # the lowest of the lengths is 4
    assert not found.is_falling


def test_a_loss_without_a_minimum_falls_to_the_end_of_its_ray():
    start = torch.tensor([1.0], dtype=torch.float64)
    out = ray(DECAY, start, torch.ones(1, dtype=torch.float64), name="outward", first=0.25, downhill=torch.ones(1))
    assert out.is_falling
    assert out.cosine == pytest.approx(1.0)
    assert out.losses[3] == pytest.approx(math.exp(-2.0))
    back = ray(DECAY, start, -torch.ones(1, dtype=torch.float64), name="inward", first=1.0)
    assert not back.is_falling
    assert len(back.losses) < FURTHEST + 2
    assert not np.isfinite(back.losses[-1])


def test_a_constant_neither_falls_nor_gains():
    flat = Objective.from_function(lambda theta: 0.0 * theta.sum() + 1.0, torch.ones(2))
    found = ray(flat, torch.ones(2), torch.ones(2), name="any", first=1.0)
    assert not found.is_falling
    assert found.gain.value == 0.0


@pytest.mark.parametrize(("way", "first"), [(0.0, 1.0), (1.0, 0.0), (math.nan, 1.0)])
def test_no_ray_without_a_direction_or_a_length(way, first):
    assert ray(BOWL, torch.ones(2).double(), torch.full((2,), way).double(), name="none", first=first) is None


def test_a_better_point_beyond_a_hill():
    here, there = torch.tensor([0.93], dtype=torch.float64), torch.tensor([-1.07], dtype=torch.float64)
    place = known(WELLS, here, there, source="by hand", downhill=torch.tensor([-1.0]), gone=torch.tensor([0.4]))
    assert place.gain.value == pytest.approx(WELLS.value(here) - WELLS.value(there))
    assert place.distance == pytest.approx(2.0)
    assert (place.cosine, place.retreat) == (pytest.approx(1.0), pytest.approx(-1.0))
    top = max(WELLS.value(torch.tensor([x])) for x in np.linspace(0.93, -1.07, 17)[1:-1])
    assert place.barrier == pytest.approx(top - WELLS.value(here))
    assert known(BOWL, torch.ones(2).double(), torch.zeros(2).double(), source="in sight").barrier <= 0


def test_points_at_random_find_the_lower_well():
    here = torch.tensor([0.93], dtype=torch.float64)
    found = lowest_at_random(WELLS, here, 1.0, torch.Generator().manual_seed(0))
    assert found is not None
    assert float(found) < -0.5
    assert lowest_at_random(BOWL, torch.zeros(2).double(), 1.0, torch.Generator().manual_seed(0)) is None
    wide = Objective.from_function(lambda theta: (theta**2).sum(), torch.ones(65))
    assert lowest_at_random(wide, torch.ones(65), 1.0, torch.Generator().manual_seed(0)) is None


def test_the_turn_of_a_validation_loss_with_its_paired_error():
    counts = np.array([10.0, 30.0])
    shared = np.array([5.0, 1.0])  # how hard the batches are cancels in the difference
    curve = np.array([4.0, 2.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0])
    rise, place = turned(counts, curve[:, None] + shared)
    assert (rise.value, place) == (pytest.approx(1.0), 3)
    assert rise.error == pytest.approx(0.0, abs=1e-12)
    # Its biased twin, which takes the scatter of the batches themselves, would not see a rise of 1 beyond 2 errors.
    assert 2 * np.std(curve[-1] + shared, ddof=1) / math.sqrt(2) > 1.0
    assert turned(counts, curve[:2, None] + shared)[0].count == 0
    falling, last = turned(counts, np.arange(8.0, 0, -1)[:, None] + shared)
    assert (falling.value, last) == (0.0, 6)
