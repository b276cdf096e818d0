"""Groups and closures as users of torch write them, and what would be passed over in silence."""

import copy
import pickle

import pytest
import torch
from torch import nn

from optim.closures import NEEDS_CLOSURE, OPTIMIZERS, batch, flat, loss_of, net, trained, usual
from theodolite.errors import ObjectiveError, SettingError
from theodolite.optim import (
    DampedNewton,
    NaturalGradient,
    PerturbedGradientDescent,
    SaddleFreeNewton,
    TrustRegionNewtonCG,
)

FAST = {name: make for name, make in OPTIMIZERS.items() if name != "saddle-free Newton with inner steps"}
OF_CLOSURES = {name: make for name, make in FAST.items() if name in NEEDS_CLOSURE}
PLAIN = {name: make for name, make in FAST.items() if name != "natural gradient"}

ALL = pytest.mark.parametrize("make", FAST.values(), ids=FAST)
CLOSURES = pytest.mark.parametrize("make", OF_CLOSURES.values(), ids=OF_CLOSURES)
FREE = pytest.mark.parametrize("make", PLAIN.values(), ids=PLAIN)
"""Those that need no model."""


def bowl(*tensors):
    return torch.stack([(tensor**2).sum() for tensor in tensors]).sum()


def stepped(optimizer, loss, count=2):
    """Losses before each step."""

    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    return [optimizer.step(closure).item() for _ in range(count)]


@FREE
def test_a_group_may_be_empty(make):
    theta = nn.Parameter(torch.ones(3))
    optimizer = make([{"params": []}, {"params": [theta]}])
    stepped(optimizer, lambda: bowl(theta))
    assert bowl(theta).item() < 3
    again = make([{"params": []}, {"params": [theta]}])
    again.load_state_dict(optimizer.state_dict())
    assert again._memory() == optimizer._memory() if hasattr(again, "_memory") else True


def test_groups_may_all_be_empty():
    PerturbedGradientDescent([{"params": []}]).step()
    with pytest.raises(ObjectiveError, match="needs a parameter that requires a gradient"):
        DampedNewton([{"params": []}]).step(lambda: torch.zeros(()))


@FREE
def test_a_parameter_without_entries_and_one_without_gradient(make):
    theta, empty, unused = nn.Parameter(torch.ones(3)), nn.Parameter(torch.empty(0)), nn.Parameter(torch.ones(2))
    stepped(make([empty, unused, theta]), lambda: bowl(theta) + empty.sum())
    assert bowl(theta).item() < 3
    assert unused.tolist() == [1.0, 1.0]


@FREE
def test_a_tied_parameter_counts_once(make):
    """Listed twice, it moves as if it were listed once; torch warns of the list."""
    one, other = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    with pytest.warns(UserWarning, match="duplicate parameters"):
        twice = make([one, one])
    stepped(twice, lambda: bowl(one))
    stepped(make([other]), lambda: bowl(other))
    assert torch.equal(one, other)


def test_tied_layers_are_trained():
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    optimizer = SaddleFreeNewton(model.parameters(), products=5)
    losses = trained(model, optimizer, 2)
    assert losses[1] < losses[0]
    assert model[2].weight is model[0].weight


@FREE
@pytest.mark.parametrize(
    "tensor", [torch.ones(2, dtype=torch.complex64), torch.eye(2).to_sparse()], ids=["complex", "sparse"]
)
def test_complex_and_sparse_parameters_are_refused(make, tensor):
    with pytest.raises(SettingError, match="parameters must be real and dense"):
        make([nn.Parameter(tensor)])


@FREE
def test_sparse_gradients_are_taken(make):
    table = nn.Embedding(5, 2, sparse=True)
    losses = stepped(make(table.parameters()), lambda: table(torch.tensor([1, 1, 2])).square().sum(), 3)
    assert losses[-1] < losses[0]


@FREE
@pytest.mark.parametrize("name", ["weight_decay", "momentum", "maximize", "betas"])
def test_settings_of_other_optimizers_are_refused(make, name):
    value = {"weight_decay": 0.1, "momentum": 0.9, "maximize": True, "betas": (0.9, 0.99)}[name]
    with pytest.raises(SettingError, match=f"{name} must be left out"):
        make([{"params": [nn.Parameter(torch.ones(1))], name: value}])
    make([{"params": [nn.Parameter(torch.ones(1))], "weight_decay": 0.0, "name": "biases"}])


@FREE
def test_groups_of_perturbed_descent_share_settings_as_all_do(make):
    theta, other = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    optimizer = make([theta])
    with pytest.raises(SettingError, match="seed must be the same in all groups"):
        optimizer.add_param_group({"params": [other], "seed": 5})
    assert len(optimizer.param_groups) == 1
    with pytest.raises(SettingError, match="lr must be finite"):
        optimizer.add_param_group({"params": [other], "lr": -1.0})
    assert len(optimizer.param_groups) == 1


@FREE
def test_a_group_that_is_added_has_the_settings_that_were_loaded(make):
    theta, other = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    saved, optimizer = make([theta], seed=7).state_dict(), make([theta])
    optimizer.load_state_dict(saved)
    optimizer.add_param_group({"params": [other]})
    assert optimizer.param_groups[1]["seed"] == 7


@ALL
def test_a_pickle_trains_on_alike(make):
    model = net()
    optimizer = make(model.parameters())
    trained(model, optimizer, 1)
    twin_model, twin = pickle.loads(pickle.dumps((model, optimizer)))
    assert trained(model, optimizer, 2) == trained(twin_model, twin, 2)
    twin.add_param_group({"params": [nn.Parameter(torch.ones(2))]})
    assert copy.deepcopy(twin).param_groups[1]["lr"] == twin.param_groups[1]["lr"]


@ALL
def test_a_state_may_be_loaded_in_another_type(make):
    model = net()
    optimizer = make(model.parameters())
    trained(model, optimizer, 2)
    wide = net(seed=9, dtype=torch.float64)
    fresh = make(wide.parameters())
    fresh.load_state_dict(optimizer.state_dict())
    wide.load_state_dict(model.state_dict())
    before = flat(wide)
    trained(wide, fresh, 1, batch(dtype=torch.float64))
    trained(model, optimizer, 1)
    moved = (flat(wide) - before).norm()
    assert float((flat(wide) - flat(model)).norm()) < 0.05 * float(moved)
    tensors = [value for state in fresh.state.values() for value in state.values() if torch.is_tensor(value)]
    assert all(tensor.dtype == torch.float64 for tensor in tensors)


@FREE
@pytest.mark.parametrize("name", ["plateau", "cosine", "one cycle", "tensor"])
def test_schedulers_of_torch(make, name):
    theta = nn.Parameter(torch.ones(3))
    optimizer = make([{"params": [theta], "lr": torch.tensor(0.1) if name == "tensor" else 0.1}])
    schedule = {
        "plateau": lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=0),
        "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 4),
        "one cycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.2, total_steps=5, cycle_momentum=False),
        "tensor": lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.5),
    }[name](optimizer)
    rates = []
    for _ in range(3):
        losses = stepped(optimizer, lambda: bowl(theta), 1)
        schedule.step(*([1.0] if name == "plateau" else []))
        rates.append(float(optimizer.param_groups[0]["lr"]))
    assert losses[0] < 3
    assert len(set(rates)) > 1


@FREE
def test_hooks_of_torch_are_called(make):
    theta, calls = nn.Parameter(torch.ones(3)), []
    optimizer = make([theta])
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    stepped(optimizer, lambda: bowl(theta))
    assert calls == ["before", "after"] * 2


@CLOSURES
def test_closures_may_look_at_gradients(make):
    """Norms for a log, clipping: what happens to .grad changes no step, and the gradients of θ stay for the caller."""
    one, other = net(), net()
    first, second = make(one.parameters()), make(other.parameters())
    norms = []

    def closure():
        second.zero_grad()
        loss = loss_of(other, batch())
        loss.backward()
        norms.append(sum(float(tensor.grad.norm()) for tensor in other.parameters()))
        torch.nn.utils.clip_grad_norm_(other.parameters(), 1e-3)
        return loss

    first.step(usual(one, first, batch()))
    second.step(closure)
    assert torch.equal(flat(one), flat(other))
    assert norms[0] > 0 == max(norms[1:])
    assert all(float(tensor.grad.norm()) > 0 for tensor in other.parameters())


@CLOSURES
def test_backward_for_some_parameters_is_refused(make):
    model = net()
    before, optimizer = flat(model), make(model.parameters())
    with pytest.raises(ObjectiveError, match="names inputs"):
        optimizer.step(lambda: loss_of(model, batch()).backward(inputs=list(model[0].parameters())))
    assert torch.equal(flat(model), before)


@CLOSURES
def test_a_graph_that_is_gone_is_told(make):
    """torch.autograd.backward is not noted; nor can features computed outside be differentiated twice."""
    model = net()
    optimizer = make(model.parameters())

    def past_the_method():
        loss = loss_of(model, batch())
        torch.autograd.backward(loss)
        return loss

    outside = model[1](model[0](batch()[0]))

    def with_features():
        loss = nn.functional.cross_entropy(model[2](outside), batch()[1])
        loss.backward()
        return loss

    if not isinstance(optimizer, NaturalGradient):
        with pytest.raises(ObjectiveError, match="graph of the loss was freed"):
            optimizer.step(with_features)
    with pytest.raises(ObjectiveError, match="graph of the loss was freed"):
        optimizer.step(past_the_method)


@CLOSURES
def test_the_last_call_is_at_the_point_where_the_step_began(make):
    """Lightning logs what its closure saw last: that must be the loss before the step, as with other optimizers."""
    model = net()
    optimizer, seen = make(model.parameters()), []

    def closure():
        loss = loss_of(model, batch())
        seen.append(loss.item())
        return loss

    first = optimizer.step(closure).item()
    assert seen[-1] == first
    assert len(set(seen)) > 1 or isinstance(optimizer, DampedNewton)


@CLOSURES
def test_autocast_around_the_step_is_that_of_the_closure_alone(make):
    """As in Lightning's manual optimization: products of the step's own algebra in bfloat16 would be other steps."""
    one, other = net(), net()
    inside, around = make(one.parameters()), make(other.parameters())

    def closure():
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(one, batch())
        loss.backward()
        return loss

    for _ in range(2):
        inside.zero_grad()
        inside.step(closure)
        with torch.autocast("cpu", torch.bfloat16):
            around.step(lambda: loss_of(other, batch()))
            assert torch.is_autocast_enabled("cpu")
    assert torch.equal(flat(one), flat(other))


def test_perturbed_descent_works_with_a_gradient_scaler():
    """Scaling by powers of two changes nothing; those that need a closure are refused by the scaler or refuse it."""
    one, other = (nn.Parameter(torch.ones(3)) for _ in "ab")
    plain, scaled = PerturbedGradientDescent([one], lr=0.1), PerturbedGradientDescent([other], lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    stepped(plain, lambda: bowl(one), 1)
    scaler.scale(bowl(other)).backward()
    scaler.step(scaled)
    assert torch.equal(one, other)
    newton = DampedNewton([other])
    scaler.scale(bowl(other)).backward()
    with pytest.raises(SettingError, match="needs a closure"):
        scaler.step(newton)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_trust_region_survives_a_kink(dtype):
    """Where no step is good for hundreds of steps, the radius must neither vanish nor grow without cause."""
    model, data = net(middle=nn.ReLU, dtype=dtype), batch(dtype=dtype)
    optimizer = TrustRegionNewtonCG(model.parameters(), products=5)
    losses = trained(model, optimizer, 200, data)
    assert losses[-1] <= min(losses) * (1 + 2 * float(torch.finfo(dtype).eps))
    assert optimizer._memory()["radius"] > 0


def test_the_trust_region_survives_a_hole():
    """J is a number at one point alone, and each step is refused until none moves θ; then the hole closes."""
    theta = nn.Parameter(torch.tensor([3.0]))
    optimizer, is_open = TrustRegionNewtonCG([theta]), True

    def loss():
        around = torch.where(theta == 3.0, 0.0, torch.nan) if is_open else torch.zeros(1)
        return ((theta - 4) ** 2 + around).sum()

    for _ in range(20):
        optimizer.step(loss)
    assert theta.tolist() == [3.0]
    is_open = False
    for _ in range(35):
        optimizer.step(loss)
    assert abs(theta.item() - 4) < 1e-3
