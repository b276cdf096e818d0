"""Is a net found again after its hidden units changed places, and is its function kept?"""

import copy
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from families import BY_NAME
from landscape.test_curves import trained
from objective.test_traces import lived
from objective.traces import traces
from theodolite.errors import SettingError, ShapeError
from theodolite.landscape import line
from theodolite.landscape.alignment import _any_order, align
from theodolite.landscape.hidden_units import attention_heads, hidden_units
from theodolite.landscape.symmetries import Axis, Group, Symmetry, Units, permuted, tied
from theodolite.objective import Objective


class Residual(nn.Module):
    """A stream of four channels, and a block of three beside it."""

    def __init__(self):
        super().__init__()
        self.stem, self.first, self.second = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 3, 3, padding=1), nn.Conv2d(3, 4, 1)
        self.norm, self.read = nn.BatchNorm2d(4), nn.Linear(4, 2)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = x + self.second(torch.relu(self.first(x)))
        return self.read(x.mean((2, 3)))


class Block(nn.Module):
    """Causal attention with packed inputs, and a chain after it."""

    def __init__(self):
        super().__init__()
        self.norm, self.inputs, self.mix = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 8)
        self.feed = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 12), nn.GELU(), nn.Linear(12, 8))

    def forward(self, x):
        q, k, v = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in self.inputs(self.norm(x)).chunk(3, -1))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.mix(mixed.transpose(1, 2).flatten(2))
        return x + self.feed(x)


class GPT(nn.Module):
    """Two blocks; the word table is tied to the read-out."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 8)
        self.core = nn.Sequential(Block(), Block())
        self.norm, self.read = nn.LayerNorm(8), nn.Linear(8, 5, bias=False)
        self.read.weight = self.embed.weight

    def forward(self, ids):
        return self.read(self.norm(self.core(self.embed(ids))))


class Separate(nn.Module):
    """Attention with a layer each for queries, keys and values."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = nn.Linear(3, 6), nn.Linear(3, 6, bias=False), nn.Linear(3, 6)
        self.out = nn.Linear(6, 2)

    def forward(self, x):
        q, k, v = (part(x).unflatten(-1, (3, 2)).transpose(0, 1) for part in (self.q, self.k, self.v))
        return self.out(functional.scaled_dot_product_attention(q, k, v).transpose(0, 1).flatten(1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.core, self.read = nn.LSTM(3, 5, batch_first=True), nn.Linear(5, 2)

    def forward(self, x):
        return self.read(self.core(x[:, None] * torch.ones(4, 1, dtype=x.dtype))[0][:, -1])


GATES = Units(
    5,
    (
        *(Axis(f"core.{name}_l0", repeats=4) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")),
        Axis("core.weight_hh_l0", 1),
        Axis("read.weight", 1),
    ),
)
STREAM = {"stem.weight": 0, "stem.bias": 0, "first.weight": 1, "second.weight": 0, "second.bias": 0, "read.weight": 1}
STREAM |= {f"norm.{name}": 0 for name in ("weight", "bias", "running_mean", "running_var")}
RESIDUAL = tied("stream", 4, STREAM) + tied("block", 3, {"first.weight": 0, "first.bias": 0, "second.weight": 1})
GPT_STREAM = {"embed.weight": 1, "norm.weight": 0, "norm.bias": 0} | {
    f"core.{i}.{name}": dim
    for i in (0, 1)
    for name, dim in {
        "norm.weight": 0, "norm.bias": 0, "inputs.weight": 1, "mix.weight": 0, "mix.bias": 0,
        "feed.0.weight": 0, "feed.0.bias": 0, "feed.1.weight": 1, "feed.3.weight": 0, "feed.3.bias": 0,
    }.items()
}  # fmt: skip


def gpt(model):
    heads = (attention_heads(model, f"core.{i}.inputs.weight", f"core.{i}.mix.weight", 2) for i in (0, 1))
    return sum(heads, hidden_units(model) + tied("stream", 8, GPT_STREAM))


@dataclass(frozen=True)
class Row:
    """A net, its inputs, how its symmetry is found, and how many groups there are."""

    build: object
    inputs: object
    symmetry: object = hidden_units
    groups: int = 1


def vectors():
    return torch.randn(9, 3)


def words():
    return torch.randn(4, 5, 8)


def pictures():
    return torch.randn(7, 1, 6, 6)


def below():
    return nn.Linear(6, 5, bias=False), nn.LayerNorm(5), nn.PReLU()


def conv(norm):
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), norm, nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.MaxPool2d(2),
        nn.Sequential(nn.Conv2d(6, 5, 1), nn.Tanh()), nn.Flatten(), nn.Dropout(0.5), nn.Linear(20, 2),
    )  # fmt: skip


ROWS = {
    "perceptron": Row(
        lambda: nn.Sequential(nn.Linear(3, 7), nn.Tanh(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 2)),
        vectors, groups=2,
    ),
    "norms": Row(
        lambda: nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.PReLU(6), *below(), nn.Linear(5, 2)),
        vectors, groups=2,
    ),
    "conv batch norm": Row(lambda: conv(nn.BatchNorm2d(6)), pictures, groups=2),
    "conv group norm": Row(lambda: conv(nn.GroupNorm(3, 6)), pictures, groups=2),
    "transposed": Row(
        lambda: nn.Sequential(nn.ConvTranspose2d(1, 5, 2), nn.ReLU(), nn.ConvTranspose2d(5, 1, 2), nn.Flatten()),
        pictures,
    ),
    "flattened norm": Row(
        lambda: nn.Sequential(nn.Conv2d(1, 4, 5), nn.Flatten(), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2)),
        pictures,
    ),
    "encoder": Row(lambda: nn.TransformerEncoderLayer(8, 2, 6, batch_first=True), words, groups=2),
    "two encoders": Row(
        lambda: nn.Sequential(nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 6, batch_first=True), 2)),
        words, groups=4,
    ),
    "gpt": Row(GPT, lambda: torch.randint(5, (4, 6)), gpt, 5),
    "separate": Row(Separate, vectors, lambda model: attention_heads(
        model, ("q.weight", "k.weight", "v.weight"), "out.weight", 3, name="heads"
    )),
    "lstm": Row(Recurrent, vectors, lambda model: Symmetry((Group("hidden", (GATES,)),))),
    "residual": Row(Residual, pictures, lambda model: RESIDUAL, 2),
}  # fmt: skip


def mean_square(model, batch):
    return ((model(batch) - 0.3) ** 2).mean()


def drawn(row, seed=0, dtype=torch.float64):
    """A net in eval mode with every parameter and running statistic at random, as an objective."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model, batch = row.build(), row.inputs()
        with torch.no_grad():
            for tensor in model.parameters():
                tensor.normal_(std=0.5)
            for name, tensor in model.named_buffers():
                if name.endswith("running_mean"):
                    tensor.normal_()
                elif name.endswith("running_var"):
                    tensor.uniform_(0.5, 2.0)
    batch = batch.to(dtype) if batch.is_floating_point() else batch
    return Objective(model.to(dtype).eval(), mean_square, batch)


def shuffled(objective, symmetry, seed=0):
    """The same function with its units in another order: θ, and what lies outside."""
    rng, names = np.random.default_rng(seed), objective.names
    tensors = {name: tensor.clone() for name, tensor in objective.source.model.state_dict().items()}
    for group in symmetry.groups:
        tensors = permuted(tensors, group, _any_order(group, rng))
    return objective.params.flatten([tensors[name] for name in names]), tensors


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_net_in_another_order_is_found_again(name, seed):
    row = ROWS[name]
    objective = drawn(row, seed)
    symmetry, a = row.symmetry(objective.source.model), objective.point()
    b, state = shuffled(objective, symmetry, seed)
    before = traces(objective.source.model)
    found = align(objective, a, b, symmetry, state=state)
    assert traces(objective.source.model) == before
    assert len(symmetry.groups) == row.groups
    assert found.distance_before == pytest.approx(float((b - a).norm()))
    assert found.distance_before > 1
    assert found.distance == 0
    torch.testing.assert_close(found.point, a, rtol=0, atol=0)
    for key, tensor in found.state.items():
        torch.testing.assert_close(tensor, objective.source.model.state_dict()[key], rtol=0, atol=0)
    assert {key for key in symmetry.names if "running" in key} == set(found.state)
    named = align(objective, objective.source.model.state_dict(), state, symmetry)  # what is outside θ comes with b
    torch.testing.assert_close((named.point, named.state), (found.point, found.state), rtol=0, atol=0)
    straight = line(objective, a, found.point, points=5, extend=0)
    assert straight.barrier == 0


@pytest.mark.parametrize("name", ROWS)
def test_the_function_is_kept(name):
    """Another net's units change places: its outputs, computed by the model itself, stay."""
    row = ROWS[name]
    one, other = drawn(row, 0), drawn(row, 5)
    symmetry = row.symmetry(other.source.model)
    found = align(one, one.point(), other.point(), symmetry, state=other.source.model.state_dict())
    model, batch = copy.deepcopy(other.source.model), next(iter(other.source.batches()))
    expected = model(batch)
    parts = dict(zip(other.names, other.params.unflatten(found.point), strict=True))
    model.load_state_dict(parts | found.state, strict=False)
    torch.testing.assert_close(model(batch), expected, rtol=1e-10, atol=1e-12)
    assert found.distance < found.distance_before
    assert found.moves


def test_one_layer_has_the_nearest_of_all_orders():
    row = Row(lambda: nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)), vectors)
    one, other = drawn(row, 0), drawn(row, 1)
    symmetry = hidden_units(one.source.model)
    found = align(one, one.point(), other.point(), symmetry)
    tensors = dict(zip(other.names, other.params.unflatten(other.point()), strict=True))

    def distance(order):
        moved = permuted(tensors, symmetry.groups[0], (np.array(order),))
        return float((one.params.flatten([moved[name] for name in one.names]) - one.point()).norm())

    assert found.distance == pytest.approx(min(map(distance, permutations(range(5)))))


def test_heads_have_the_nearest_of_all_orders():
    row = ROWS["separate"]
    one, other = drawn(row, 0), drawn(row, 1)
    symmetry = row.symmetry(one.source.model)
    found = align(one, one.point(), other.point(), symmetry)
    tensors = dict(zip(other.names, other.params.unflatten(other.point()), strict=True))

    def distance(heads, *within):
        keys, values = (np.concatenate([2 * h + np.array(w) for h, w in zip(heads, half)]) for half in within)  # noqa: B905
        moved = permuted(tensors, symmetry.groups[0], (keys, values))
        return float((one.params.flatten([moved[name] for name in one.names]) - one.point()).norm())

    swaps = list(product([(0, 1), (1, 0)], repeat=3))
    every = [distance(heads, *within) for heads in permutations(range(3)) for within in product(swaps, swaps)]
    assert found.distance == pytest.approx(min(every))


@pytest.mark.parametrize("seeds", [(0, 1), (2, 3)], ids=str)
def test_the_barrier_between_two_nets_on_digits_falls(seeds, generator):
    first, second = (trained(seed, (64, 64, 64, 10)) for seed in seeds)
    a, b, symmetry = first.point(), second.point(), hidden_units(first.source.model)
    found = align(first, a, b, symmetry)
    before, after = (line(first, a, end, points=21, extend=0).barrier for end in (b, found.point))
    assert first.value(found.point) == pytest.approx(first.value(b), rel=1e-5)
    assert before > 0.5
    assert after < 0.4 * before
    worse, _ = shuffled(second, symmetry)
    assert line(first, a, worse, points=21, extend=0).barrier > 0.7 * before
    drawn_order = align(first, a, b, symmetry, generator=generator())
    assert drawn_order.distance == pytest.approx(found.distance, rel=0.03)
    again = align(first, a, b, symmetry, generator=generator())
    assert drawn_order.point.numpy().tobytes() == again.point.numpy().tobytes()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_low_precision(dtype):
    objective = drawn(ROWS["conv batch norm"], dtype=dtype)
    symmetry, a = hidden_units(objective.source.model), objective.point()
    b, state = shuffled(objective, symmetry)
    torch.testing.assert_close(align(objective, a, b, symmetry, state=state).point, a, rtol=0, atol=0)


def test_a_net_is_aligned_with_itself():
    objective = drawn(ROWS["perceptron"])
    found = align(objective, objective.point(), objective.point(), hidden_units(objective.source.model))
    assert (found.distance, found.distance_before, found.moves, found.rounds) == (0.0, 0.0, (), 1)


def test_a_wrong_symmetry_is_refused():
    objective = drawn(ROWS["perceptron"])
    a, b = objective.point(), objective.point().flip(0)
    right = {"0.weight": 0, "0.bias": 0, "2.weight": 1}
    assert align(objective, a, b, tied("hidden", 7, right)).distance >= 0
    for missing in right:
        with pytest.raises(SettingError, match="Units of 'hidden' must leave J as it is"):
            align(objective, a, b, tied("hidden", 7, {name: dim for name, dim in right.items() if name != missing}))
    grouped = drawn(ROWS["conv group norm"])
    (first, second) = hidden_units(grouped.source.model).groups
    loose = Symmetry((Group(first.name, first.kinds), second))
    with pytest.raises(SettingError, match="must leave J as it is"):
        align(grouped, grouped.point(), grouped.point().flip(0), loose)
    assert align(objective, a, b, tied("half", 7, {"0.weight": 0}), rtol=1e3).distance >= 0


def test_dropout_tells_units_apart():
    problem = lived(BY_NAME["mlp"](torch.float64))
    model = nn.Sequential(*problem.model[:2], nn.Dropout(0.5), problem.model[2])
    objective = Objective(model, problem.loss, problem.data)
    other = objective.point().flip(0)
    with pytest.raises(SettingError, match="in train mode, dropout tells units apart"):
        align(objective, objective.point(), other, hidden_units(model))
    model.eval()
    assert align(objective, objective.point(), other, hidden_units(model)).rounds >= 1


def test_frozen_parameters_move_along():
    model = drawn(ROWS["perceptron"]).source.model
    batch = torch.randn(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    objective = Objective(model, mean_square, batch, parameters=["0.weight", "0.bias", "2.weight"])
    found = align(objective, objective.point(), objective.point().flip(0), hidden_units(model))
    assert set(found.state) == {"2.bias", "4.weight"}


def test_mistakes():
    objective = drawn(ROWS["norms"])
    model, a = objective.source.model, objective.point()
    with pytest.raises(SettingError, match="symmetry must have a group of units, got none"):
        align(objective, a, a, Symmetry())
    with pytest.raises(
        SettingError, match=r"symmetry must name parameters and buffers of the model, got \['9.weight'\]"
    ):
        align(objective, a, a, tied("x", 6, {"9.weight": 0}))
    with pytest.raises(SettingError, match=r"'0.weight' must hold the 7 units of 'x' up to place 7 along dimension 0"):
        align(objective, a, a, tied("x", 7, {"0.weight": 0}))
    with pytest.raises(SettingError, match="along dimension 2"):
        align(objective, a, a, tied("x", 6, {"0.weight": 2}))
    with pytest.raises(SettingError, match="must lie in blocks of equal size, got 6 in 4 blocks"):
        align(objective, a, a, tied("x", 6, {"0.weight": 0}, blocks=4))
    with pytest.raises(SettingError, match="state must hold the tensors outside θ"):
        align(objective, a, a, hidden_units(model), state={})
    with pytest.raises(SettingError, match="b must be finite"):
        align(objective, a, a * float("nan"), hidden_units(model))
    with pytest.raises(SettingError, match="rtol must be finite"):
        align(objective, a, a, hidden_units(model), rtol=-1.0)
    with pytest.raises(ShapeError, match="a must have shape"):
        align(objective, a[1:], a, hidden_units(model))
    with pytest.raises(SettingError, match=r"Weights must be parameters of the model, got \['in'\]"):
        attention_heads(Separate(), "in", "out.weight", 2)
    with pytest.raises(SettingError, match=r"must each have the 6 rows that the output reads, in 4 heads"):
        attention_heads(Separate(), ("q.weight", "k.weight", "v.weight"), "out.weight", 4)
    endless = Objective(model, lambda net, batch: mean_square(net, batch) * float("inf"), torch.ones(2, 3).double())
    with pytest.raises(SettingError, match="J must be finite at b and half way to a"):
        align(endless, a, a, hidden_units(model))
