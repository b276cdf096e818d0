"""Are Monte Carlo estimates of Gauss-Newton and Fisher without bias, repeatable, and no worse where a batch is cut?"""

import pytest
import torch
from torch import nn
from torch.nn import functional

from families import classification, mlp
from linalg.losses import LOSSES, labelled
from theodolite.errors import ObjectiveError
from theodolite.linalg import fisher, ggn
from theodolite.objective import Objective


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("make", [ggn, pytest.param(fisher, marks=pytest.mark.slow)])
def test_monte_carlo_is_unbiased(loss, make, generator):
    """Thirty draws of four samples: the mean lies within five standard errors of the exact entries."""
    objective = labelled(loss)
    exact = make(objective).to_dense()
    draws = torch.stack([make(objective, samples=4, generator=generator(seed)).to_dense() for seed in range(30)])
    error = draws.std(0) / 30**0.5
    floor = 1e-12 * exact.abs().max()
    assert ((draws.mean(0) - exact).abs() <= 5 * error + floor).all()
    assert draws.std(0).max() > 0
    twin = draws.mean(0) * 2  # scores of twice the variance
    assert ((twin - exact).abs() > 5 * error + floor).any()
    assert min(float(torch.linalg.eigvalsh(draw)[0]) for draw in draws[:5]) > -1e-12


def test_monte_carlo_is_repeatable_and_the_same_at_each_product(generator):
    objective = labelled(LOSSES["cross entropy"])
    a, b, c = (ggn(objective, samples=2, generator=generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(a.to_dense(), b.to_dense())
    assert not torch.equal(a.to_dense(), c.to_dense())
    v = objective.point()
    few = ggn(objective, samples=2, generator=generator(1), memory_limit=0)  # cuts the batch, and draws for each piece
    before = few @ v
    assert torch.equal(few @ v, before)
    torch.testing.assert_close(few @ torch.stack([v, -2 * v], 1), torch.stack([before, -2 * before], 1))
    few.release()
    torch.testing.assert_close(few @ v, before, rtol=1e-12, atol=0)


def test_cutting_a_batch_costs_no_accuracy(generator):
    """Pieces draw apart: with the same draws in each, errors of like examples add up (2.2 times as large here)."""
    torch.manual_seed(0)
    batch = (1 + 0.1 * torch.randn(6, 3).double(), torch.randint(0, 3, (6,)))
    objective = Objective(nn.Linear(3, 3).double(), classification, batch)
    v = torch.randn(12, generator=generator()).double()
    exact = ggn(objective) @ v

    def rms(**settings) -> float:
        found = [ggn(objective, samples=1, generator=generator(seed), **settings) @ v for seed in range(30)]
        return float((torch.stack(found) - exact).norm()) / 30**0.5

    assert rms(memory_limit=0) <= 1.3 * rms()


def test_an_unlikely_loss_has_no_scores():
    torch.manual_seed(0)
    coupled = Objective(mlp(), lambda m, b: m(b).prod(1).pow(2).mean(), torch.randn(4, 3))
    with pytest.raises(ObjectiveError, match="is that of none"):
        ggn(coupled, samples=1) @ torch.ones(26)


def test_scores_of_one_example_without_a_batch(generator):
    torch.manual_seed(0)
    objective = Objective(
        nn.Linear(3, 4).double(),
        lambda m, b: functional.cross_entropy(m(b[0]), b[1]),
        (torch.randn(3).double(), torch.tensor(2)),
    )
    exact = ggn(objective).to_dense()
    found = ggn(objective, samples=20_000, generator=generator()).to_dense()
    assert float((found - exact).norm()) <= 0.05 * float(exact.norm())
