"""How many held batches does a deep look use? Small ones cost little together; those that cannot be merged do not."""

import pytest
import torch
from torch import nn

from theodolite.monitor import deep
from theodolite.monitor.measurements import Bench
from theodolite.monitor.tape import Precision
from theodolite.objective import trainable

HELD = [(torch.randn(2, 3), torch.randn(2, 1)) for _ in range(64)]


def squares(model, batch):
    return ((model(batch[0]) - batch[1]) ** 2).mean()


@pytest.fixture
def used(monkeypatch):
    """How many batches are used for a model, where a gradient takes a second for each batch that J is made of."""
    monkeypatch.setattr(deep, "_seconds_of_a_gradient", lambda objective: float(len(list(objective.source.batches()))))

    def count(model, *, most, kept=4):
        bench = Bench(model, squares, trainable(model), 0)
        return deep._sampled(bench, HELD, Precision(), most=most, kept=kept)

    return count


def test_small_batches_that_can_be_merged_are_all_used(used):
    kept, seconds = used(nn.Linear(3, 1), most=100.0)
    assert kept == len(HELD)
    assert seconds < len(HELD)  # merged


def test_batches_that_cannot_be_merged_are_used_as_far_as_the_time_allows(used):
    """BatchNorm in train mode depends on the company that examples keep."""
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    assert used(model, most=10.0) == (8, 8.0)
    assert used(model, most=7.0) == (4, 4.0)


def test_no_more_are_taken_than_there_are(used):
    assert used(nn.Linear(3, 1), most=1e9, kept=60)[0] == len(HELD)
