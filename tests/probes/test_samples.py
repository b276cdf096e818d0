"""Are means weighted, errors honest, and batches cut anew without losing an example?"""

import math

import numpy as np
import pytest
import torch
from torch import nn

from theodolite.probes.samples import kept, regrouped, size_of, weighted_mean


def test_a_mean_weighs_by_examples():
    found = weighted_mean([3, 1], [1.0, 5.0])
    assert found.value == 2.0
    assert found.count == 2


def test_the_error_of_even_batches_is_that_of_the_textbook():
    values = np.array([1.0, 2.0, 4.0, 7.0])
    assert weighted_mean([5] * 4, values).error == pytest.approx(values.std(ddof=1) / 2)


def test_one_batch_is_the_sample_itself():
    assert weighted_mean([7], [3.0], rounding=1e-6).error == 1e-6
    assert math.isnan(weighted_mean([], []).value)


def batches_of(sizes):
    return [(torch.arange(size, dtype=torch.float32) + 100 * k, {"y": np.arange(size)}) for k, size in enumerate(sizes)]


@pytest.mark.parametrize("sizes", [(1,) * 40, (100,), (64, 64, 10), (3, 5)])
def test_every_example_is_kept_in_order(sizes):
    batches = batches_of(sizes)
    cut = regrouped(batches, nn.Linear(1, 1))
    assert 1 < len(cut) <= 16
    assert torch.equal(torch.cat([batch[0] for batch in cut]), torch.cat([batch[0] for batch in batches]))
    assert sum(len(batch[1]["y"]) for batch in cut) == sum(sizes)


def test_batches_stay_where_company_matters_or_cutting_is_impossible():
    batches = batches_of((4, 4))
    norm = nn.BatchNorm1d(3)
    assert regrouped(batches, norm) == batches
    assert regrouped(batches, norm.eval()) != batches
    ragged = [(torch.zeros(4, 3), torch.zeros(2)), (torch.zeros(4, 3), torch.zeros(2))]
    assert regrouped(ragged, nn.Linear(1, 1)) == ragged
    widths = [torch.zeros(4, 3), torch.zeros(4, 5)]
    assert regrouped(widths, nn.Linear(1, 1)) == widths
    assert regrouped([], nn.Linear(1, 1)) == []


def test_a_kept_batch_is_beyond_reach():
    batch = {"x": torch.ones(3), "n": np.ones(2), "deep": [torch.ones(1)], "tag": "a"}
    copy = kept(batch)
    batch["x"].zero_()
    batch["n"][:] = 0
    batch["deep"][0].zero_()
    assert copy["x"].sum() == 3
    assert copy["n"].sum() == 2
    assert copy["deep"][0] == 1
    assert size_of(batch) == 12 + 16 + 4
