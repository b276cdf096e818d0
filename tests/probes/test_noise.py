"""Is the noise scale tr C / ‖G‖² of a planted covariance?"""

import math

import numpy as np
import pytest
import torch
from torch import nn

from probes.again import Again
from theodolite.objective import Objective
from theodolite.probes.noise import _from_gram, noise_scale

_N, _BATCH, _BATCHES, _REPEATS = 200, 16, 32, 100
_SCALES = torch.linspace(0.2, 1.4, _N, dtype=torch.float64)
_MEAN = torch.full((_N,), 1 / math.sqrt(_N), dtype=torch.float64)
_TRUTH = float((_SCALES**2).sum() / (_MEAN @ _MEAN))


class Point(nn.Module):
    def __init__(self):
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(_N, dtype=torch.float64))


def tilt(model, batch):
    """Its gradient is the mean of the batch."""
    return batch.mean(0) @ model.theta


def planted(seed):
    source = torch.Generator().manual_seed(seed)
    shape = (_BATCHES, _BATCH, _N)
    return list(_MEAN + _SCALES * torch.randn(shape, generator=source, dtype=torch.float64))


def z_score(values):
    return (np.mean(values) - _TRUTH) / (np.std(values, ddof=1) / math.sqrt(len(values)))


def naive(batches):
    """The biased twin: ‖ḡ‖² for ‖G‖², which counts the noise as signal."""
    means = torch.stack([batch.mean(0) for batch in batches])
    mean = means.mean(0)
    variance = float(((means - mean) ** 2).sum() / (len(means) - 1))
    return _BATCH * variance / float(mean @ mean)


def test_it_is_unbiased_and_its_biased_twin_is_caught():
    samples = [planted(seed) for seed in range(_REPEATS)]
    found = [noise_scale(Objective(Point(), tilt, Again(batches))) for batches in samples]
    # The mean of a ratio is itself off by the squared scatter of its denominator, here 0.7 %: below one standard error.
    assert abs(z_score([estimate.value for estimate in found])) < 4
    assert z_score([naive(batches) for batches in samples]) < -10
    scatter = np.std([estimate.value for estimate in found], ddof=1)
    assert np.median([estimate.error for estimate in found]) == pytest.approx(scatter, rel=0.35)


def test_without_noise_it_is_zero_and_without_signal_infinite():
    same = [torch.ones(4, _N, dtype=torch.float64)] * 3
    assert noise_scale(Objective(Point(), tilt, Again(same))).value == pytest.approx(0, abs=1e-12)
    one = torch.ones(4, _N, dtype=torch.float64)
    assert noise_scale(Objective(Point(), tilt, Again([one, -one]))).value == math.inf


def test_one_batch_says_nothing_of_noise():
    found = noise_scale(Objective(Point(), tilt, Again(planted(0)[:1])))
    assert math.isnan(found.value)
    assert math.isnan(found.error)
    assert math.isnan(noise_scale(Objective(Point(), tilt, Again(planted(0)[:2]))).error)


def test_it_comes_from_inner_products_alone():
    means = torch.stack([batch.mean(0) for batch in planted(3)])
    gram = (means @ means.T).numpy()
    direct = noise_scale(Objective(Point(), tilt, Again(planted(3)))).value
    assert _from_gram(gram, _BATCH) == pytest.approx(direct, rel=1e-9)
