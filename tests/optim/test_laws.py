"""What every optimizer of torch does, these do: closures, groups, schedulers, state, copies, refusals."""

import copy
import io
import warnings

import pytest
import torch
from torch import nn

from optim.closures import NEEDS_CLOSURE, OPTIMIZERS, batch, flat, loss_of, net, trained, usual
from theodolite.errors import ObjectiveError, SettingError
from theodolite.optim import DampedNewton, NaturalGradient, SaddleFreeNewton, TrustRegionNewtonCG

SLOW = {"saddle-free Newton", "saddle-free Newton with inner steps"}
"""Those of which the Krylov space shows nearly all, and which take longest."""


def rows(table):
    """One row an optimizer."""
    return [pytest.param(make, id=name, marks=[pytest.mark.slow] * (name in SLOW)) for name, make in table.items()]


ALL = pytest.mark.parametrize("make", rows(OPTIMIZERS))
CLOSURES = pytest.mark.parametrize("make", rows(NEEDS_CLOSURE))


@ALL
def test_the_loss_falls(make):
    model = net()
    losses = trained(model, make(model.parameters()), 3)
    assert losses[-1] < losses[0]


@ALL
def test_a_run_goes_on_from_a_saved_state_bitwise(make):
    whole = net()
    trained(whole, (optimizer := make(whole.parameters())), 2)
    held, state = copy.deepcopy(whole.state_dict()), io.BytesIO()
    torch.save(optimizer.state_dict(), state)
    losses = trained(whole, optimizer, 2)
    resumed = net(seed=9)
    resumed.load_state_dict(held)
    fresh = make(resumed.parameters())
    state.seek(0)
    fresh.load_state_dict(torch.load(state, weights_only=True))
    assert trained(resumed, fresh, 2) == losses
    assert torch.equal(flat(resumed), flat(whole))


@ALL
def test_a_copy_trains_on_alike(make):
    model = net()
    optimizer = make(model.parameters())
    trained(model, optimizer, 1)
    twin_model, twin = copy.deepcopy((model, optimizer))
    assert trained(model, optimizer, 2) == trained(twin_model, twin, 2)
    assert torch.equal(flat(model), flat(twin_model))


@ALL
def test_groups_have_their_own_rates(make):
    """A group of rate 0 stays; the others move."""
    model = net()
    layers = [layer for layer in model if isinstance(layer, nn.Linear)]
    first, last = flat(layers[0]), flat(layers[1])
    optimizer = make([{"params": layers[0].parameters(), "lr": 0.0}, {"params": layers[1].parameters()}])
    trained(model, optimizer, 1)
    assert torch.equal(flat(layers[0]), first)
    assert not torch.equal(flat(layers[1]), last)


@pytest.mark.parametrize("make", [DampedNewton, TrustRegionNewtonCG])
def test_named_parameters_are_taken(make):
    model = net()
    optimizer = make(model.named_parameters())
    trained(model, optimizer, 1)
    assert optimizer.param_groups[0]["param_names"][0] == "0.weight"


@CLOSURES
def test_schedulers_scale_the_step(make):
    """The first step of rate ½ is half of that of rate 1; of a trust region too, its ball being that of the step."""
    moves = []
    for factor in (1.0, 0.5):
        model = net(dtype=torch.float64)
        start = flat(model)
        optimizer = make(model.parameters())
        optimizer.param_groups[0]["dampings"] = (1.0,)  # a choice would depend on the rate
        optimizer.param_groups[0]["escape"] = False
        optimizer.param_groups[0]["inner_steps"] = 1
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch, factor=factor: factor)
        closure = usual(model, optimizer, batch(dtype=torch.float64))
        optimizer.step(closure)
        scheduler.step()
        moves.append(flat(model) - start)
    assert torch.allclose(moves[0], 2 * moves[1], rtol=1e-9)


@ALL
@pytest.mark.parametrize("to_none", [True, False])
def test_gradients_are_cleared_as_ever(make, to_none):
    model = net()
    optimizer = make(model.parameters())
    trained(model, optimizer, 1)
    assert all(tensor.grad is not None for tensor in model.parameters())  # of the first call, for whoever logs them
    optimizer.zero_grad(set_to_none=to_none)
    assert all(tensor.grad is None if to_none else not tensor.grad.any() for tensor in model.parameters())


@CLOSURES
def test_a_closure_is_needed(make):
    with pytest.raises(SettingError, match="needs a closure that computes the loss, got None"):
        make(net().parameters()).step()


@CLOSURES
def test_closures_without_backward_do_as_well(make):
    one, other = net(), net()
    first, second = make(one.parameters()), make(other.parameters())
    trained(one, first, 2)
    for _ in range(2):
        second.step(lambda: loss_of(other, batch()))
    assert torch.equal(flat(one), flat(other))


@CLOSURES
def test_losses_of_parts_add_up(make):
    """Backward on two halves is backward on their sum, as .grad adds up."""
    one, other = net(dtype=torch.float64), net(dtype=torch.float64)
    data = batch(dtype=torch.float64)
    first, second = make(one.parameters()), make(other.parameters())
    first.step(usual(one, first, data))

    def in_parts():
        second.zero_grad()
        for rows in (slice(0, 10), slice(10, 20)):
            (loss_of(other, (data[0][rows], data[1][rows])) / 2).backward()
        return 0.0

    assert second.step(in_parts) == 0.0
    assert torch.allclose(flat(one), flat(other), atol=1e-9)


@CLOSURES
def test_a_loss_without_graph_is_refused(make):
    model = net()
    before = flat(model)
    with pytest.raises(ObjectiveError, match="depends on no parameter"):
        make(model.parameters()).step(lambda: loss_of(model, batch()).detach())
    with pytest.raises(ObjectiveError, match="must return a scalar tensor, got a float"):
        make(model.parameters()).step(lambda: loss_of(model, batch()).item())
    assert torch.equal(flat(model), before)


@ALL
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_step_that_is_not_finite_is_not_taken(make, bad):
    model = net()
    optimizer = make(model.parameters())
    trained(model, optimizer, 1)
    before = flat(model)
    lost = usual(model, optimizer, batch(), lambda model, data: loss_of(model, data) * bad)
    with pytest.warns(UserWarning, match="must be finite, and") as told:
        optimizer.step(lost)
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step(lost)  # told once
    assert torch.equal(flat(model), before)
    trained(model, optimizer, 1)
    assert not torch.equal(flat(model), before)


@CLOSURES
def test_only_one_call_of_the_closure_moves_the_model(make):
    """BatchNorm's statistics and the global generator move as by one forward pass."""
    model, once = (
        nn.Sequential(net(middle=nn.Tanh)[0], nn.BatchNorm1d(5), nn.Dropout(0.3), nn.Linear(5, 3)) for _ in "ab"
    )
    once.load_state_dict(model.state_dict())
    settings = {"model": model} if "natural" in str(make) else {}
    optimizer = (NaturalGradient if settings else make)(model.parameters(), **settings)
    draw = torch.get_rng_state()
    optimizer.step(usual(model, optimizer, batch()))
    after = torch.get_rng_state()
    torch.set_rng_state(draw)
    loss_of(once, batch())
    assert torch.equal(torch.get_rng_state(), after)
    torch.set_rng_state(draw)
    for name, buffer in once.named_buffers():
        assert torch.equal(dict(model.named_buffers())[name], buffer)


@ALL
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_types(make, dtype):
    model = net(dtype=dtype)
    losses = trained(model, make(model.parameters()), 3, batch(dtype=dtype))
    assert losses[-1] < losses[0]
    assert all(tensor.dtype == dtype for tensor in model.parameters())


@CLOSURES
def test_autocast_in_the_closure(make):
    model = net()
    optimizer = make(model.parameters())

    def closure():
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(model, batch())
        loss.backward()
        return loss

    losses = [optimizer.step(closure).item() for _ in range(2)]
    assert losses[-1] < losses[0]


@CLOSURES
def test_frozen_parameters_stay(make):
    model = net()
    frozen = model[2].bias.requires_grad_(requires_grad=False).clone()
    optimizer = make(model.parameters())
    trained(model, optimizer, 2)
    assert torch.equal(model[2].bias, frozen)
    for tensor in model.parameters():
        tensor.requires_grad_(requires_grad=False)
    with pytest.raises(ObjectiveError, match="needs a parameter that requires a gradient"):
        optimizer.step(lambda: torch.zeros(()))


@pytest.mark.parametrize("make", [DampedNewton, SaddleFreeNewton, TrustRegionNewtonCG])
def test_groups_share_what_is_not_the_rate(make):
    one, other = (nn.Parameter(torch.ones(2)) for _ in range(2))
    name, value = ("radius", 0.5) if make is TrustRegionNewtonCG else ("dampings", (0.5,))
    optimizer = make([one])
    with pytest.raises(SettingError, match=f"{name} must be the same in all groups"):
        optimizer.add_param_group({"params": [other], name: value})
    assert len(optimizer.param_groups) == 1
    optimizer.add_param_group({"params": [other], "lr": 0.1})
    assert len(optimizer.param_groups) == 2
    with pytest.raises(SettingError, match="lr must be finite"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))], "lr": -1.0})


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (DampedNewton, {"lr": -1.0}, "lr must be finite and not negative"),
        (DampedNewton, {"dampings": ()}, "dampings must hold at least one"),
        (DampedNewton, {"dampings": (-1.0,)}, "each damping must be finite"),
        (DampedNewton, {"products": 0}, "products must be at least 1"),
        (SaddleFreeNewton, {"inner_steps": 0}, "inner_steps must be at least 1"),
        (SaddleFreeNewton, {"seed": -1}, "seed must be at least 0"),
        (TrustRegionNewtonCG, {"radius": 0.0}, "radius must be positive and at most max_radius"),
        (TrustRegionNewtonCG, {"radius": 9.0, "max_radius": 1.0}, "radius must be positive and at most max_radius"),
        (TrustRegionNewtonCG, {"rtol": -1.0}, "rtol must be finite"),
        (NaturalGradient, {"model": None}, "model must be the module whose outputs are meant"),
        (NaturalGradient, {"model": nn.Linear(1, 1), "products": 1}, "products must be at least 2"),
        (OPTIMIZERS["perturbed"], {"interval": -1}, "interval must be at least 0"),
        (OPTIMIZERS["perturbed"], {"radius": -1.0}, "radius must be finite and not negative"),
    ],
)
def test_settings_out_of_range(make, settings, message):
    with pytest.raises(SettingError, match=message):
        make([nn.Parameter(torch.ones(2))], **settings)
