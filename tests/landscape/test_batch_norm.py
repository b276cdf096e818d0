"""Are the statistics of batch normalisation those that were asked for, and is the model left as it was?"""

import copy
from inspect import unwrap

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from objective.traces import traces
from theodolite.errors import SettingError
from theodolite.landscape import line
from theodolite.landscape.batch_norm import batch_norms, evaluating, recomputed
from theodolite.objective import Objective


def squares(model, batch):
    return functional.mse_loss(model(batch[0]), batch[1])


def built(seed, sizes=(8, 8), mode=False):
    """A net whose statistics have seen something, and batches of the given sizes."""
    draw = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 2), nn.BatchNorm1d(2)).double()
    for tensor in model.parameters():
        tensor.data = torch.randn(tensor.shape, generator=draw, dtype=torch.float64)
    for norm in batch_norms(model).values():
        norm.running_mean.data = torch.randn(norm.running_mean.shape, generator=draw, dtype=torch.float64)
        norm.running_var.data = torch.rand(norm.running_var.shape, generator=draw, dtype=torch.float64) + 0.5
    batches = [
        (torch.randn(size, 4, generator=draw).double(), torch.randn(size, 2, generator=draw).double()) for size in sizes
    ]
    return model.train(mode), batches


def at(model, theta):
    """A copy of the model at a point."""
    found = copy.deepcopy(model)
    nn.utils.vector_to_parameters(theta, found.parameters())
    return found


def evaluated(model, batches):
    with torch.no_grad():
        losses = [float(squares(model, batch)) for batch in batches]
    return np.average(losses, weights=[len(batch[0]) for batch in batches])


@pytest.fixture
def ends():
    model, batches = built(0)
    other, _ = built(1)
    return model, batches, model.state_dict(), other.state_dict()


def test_interpolated(ends):
    model, batches, start, end = ends
    objective = Objective(model, squares, batches)
    before = traces(model)
    found = line(objective, start, end, points=5, extend=0, batch_norm="interpolated")
    assert traces(model) == before
    for alpha, loss in zip(found.positions, found.losses, strict=True):
        twin = copy.deepcopy(model)
        mixed = {key: (1 - alpha) * start[key] + alpha * end[key] for key in start if start[key].is_floating_point()}
        twin.load_state_dict(mixed, strict=False)
        assert loss == pytest.approx(evaluated(twin.eval(), batches), rel=1e-12)
    assert found.notes == ("Statistics of batch normalisation are interpolated.",)
    wrong = line(objective, start, end, points=5, extend=0)  # the twin: the statistics of the start everywhere
    assert wrong.losses[0] == pytest.approx(found.losses[0])
    assert abs(wrong.losses[-1] / found.losses[-1] - 1) > 0.1
    assert "the same running statistics at all points" in wrong.notes[0]


def test_interpolated_variances_stay_positive_beyond_the_ends(ends):
    model, batches, start, end = ends
    low = {key: 0.01 * value if key.endswith("running_var") else value for key, value in end.items()}
    found = line(Objective(model, squares, batches), start, low, points=9, extend=1, batch_norm="interpolated")
    assert np.isfinite(found.losses).all()


def test_recomputed_is_the_cumulative_average(ends):
    model, batches, _, end = ends
    objective = Objective(model, squares, batches)
    before = traces(model)
    here, there = objective.point(), torch.nn.utils.parameters_to_vector(end[name] for name in objective.names)
    found = line(objective, here, there, points=4, extend=0, batch_norm="recomputed")
    assert traces(model) == before
    for alpha, loss in zip(found.positions, found.losses, strict=True):
        twin = at(model, (1 - alpha) * here + alpha * there).train()
        for norm in batch_norms(twin).values():
            norm.reset_running_stats()
            norm.momentum = None
        with torch.no_grad():
            for batch in batches:
                squares(twin, batch)
        assert loss == pytest.approx(evaluated(twin.eval(), batches), rel=1e-12)


def test_recomputed_counts_examples_not_batches():
    model, batches = built(0, sizes=(30, 2))
    objective = Objective(model, squares, batches)
    found = recomputed(objective, objective.point())["1.running_mean"]
    seen = [model[0](x).detach().mean(0) for x, _ in batches]
    torch.testing.assert_close(found, (30 * seen[0] + 2 * seen[1]) / 32)
    assert not torch.allclose(found, (seen[0] + seen[1]) / 2, rtol=1e-2)


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("choice", ["interpolated", "recomputed"])
def test_modes_are_kept_and_a_failure_leaves_nothing(ends, mode, choice):
    model, batches, start, end = ends
    model.train(mode)
    calls = []

    def failing(module, batch):
        calls.append(module[1].training)
        if len(calls) > 7:
            raise ValueError("enough")
        return squares(module, batch)

    before = traces(model)
    with pytest.raises(ValueError, match="enough"):
        line(Objective(model, failing, batches), start, end, batch_norm=choice)
    assert traces(model) == before


def test_others_have_the_statistics_of_the_first(ends):
    model, batches, start, end = ends
    _, more = built(7)
    settings = {"points": 4, "extend": 0, "batch_norm": "recomputed"}
    objective, validation = Objective(model, squares, batches), Objective(model, squares, more)
    found = line(objective, start, end, others={"validation": validation}, **settings)
    with evaluating(model, recomputed(objective, objective.point())):
        assert found.others[0].values[0] == pytest.approx(validation.value(), rel=1e-12)
    own = line(validation, start, end, **settings).losses
    assert np.abs(own - found.others[0].values).max() > 1e-3
    apart = Objective(copy.deepcopy(model), squares, more)
    with pytest.raises(SettingError, match="must have the very model"):
        line(objective, start, end, others={"validation": apart}, **settings)


def test_statistics_are_asked_for_in_vain(ends):
    model, batches, start, end = ends
    objective = Objective(model, squares, batches)
    bare = Objective(nn.Linear(4, 2).double(), squares, batches)
    without = {key: value for key, value in end.items() if "running" not in key}
    with pytest.raises(SettingError, match="this one has none"):
        line(bare, bare.point(), bare.point(), batch_norm="recomputed")
    with pytest.raises(SettingError, match="both ends, but start is a Tensor"):
        line(objective, objective.point(), end, batch_norm="interpolated")
    with pytest.raises(SettingError, match="end is a state without '1.running_mean'"):
        line(objective, start, without, batch_norm="interpolated")
    with pytest.raises(SettingError, match="got 'frozen'"):
        unwrap(line)(objective, start, end, batch_norm="frozen")


@pytest.mark.parametrize("prefix", ["module.", "model.net.", ""])
def test_states_may_have_a_prefix_before_every_name(ends, prefix):
    model, batches, start, end = ends
    objective = Objective(nn.DataParallel(model) if prefix == "module." else model, squares, batches)
    named = [{f"{prefix}{key}": value for key, value in state.items()} for state in (start, end)]
    found = line(objective, *named, points=5, extend=0, batch_norm="interpolated")
    truth = line(Objective(model, squares, batches), start, end, points=5, extend=0, batch_norm="interpolated")
    np.testing.assert_array_equal(found.losses, truth.losses)
