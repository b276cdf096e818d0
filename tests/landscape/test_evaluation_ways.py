"""Do all ways of evaluating J give the same J: pieces, an affine first layer, a preview; and is the choice sound?"""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from families import BY_NAME, classification
from landscape.by_hand import GRID, by, flat_of, means, objective_of, one_by_one
from theodolite.landscape import tuning
from theodolite.landscape.evaluation import evaluate
from theodolite.landscape.first_layer import first_layer
from theodolite.landscape.flats import AffineSum, Flat, Surface
from theodolite.landscape.tuning import chosen
from theodolite.landscape.ways import Way
from theodolite.objective import Objective


@pytest.fixture
def eager(monkeypatch):
    """Every way that agrees is taken, however slow."""
    monkeypatch.setattr(tuning, "_GAIN", np.inf)
    monkeypatch.setattr(tuning, "_SLOW", np.inf)
    monkeypatch.setattr(tuning, "_SHARE", np.inf)


class Blobs(nn.Module):
    """A layer that may come first, and a loss on what follows it."""

    def __init__(self, layer: nn.Module, inplace: bool = False) -> None:
        super().__init__()
        self.layer, self.act, self.head = layer, nn.ReLU(inplace), nn.LazyLinear(3)

    def forward(self, x):
        return self.head(self.act(self.layer(x)).flatten(1))


LAYERS = {
    "linear": (lambda: nn.Linear(5, 4), (5,)),
    "no bias": (lambda: nn.Linear(5, 4, bias=False), (5,)),
    "sequences": (lambda: nn.Linear(5, 4), (7, 5)),
    "conv1d": (lambda: nn.Conv1d(2, 3, 3, stride=2), (2, 9)),
    "conv2d": (lambda: nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular", groups=2), (2, 6, 6)),
    "conv3d": (lambda: nn.Conv3d(1, 2, 2, dilation=2, bias=False), (1, 4, 4, 4)),
}


def blobs(layer, shape, generator, dtype=torch.float64, **options) -> Objective:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x = torch.randn(12, *shape, generator=generator).to(dtype)
        model = Blobs(layer(), **options).to(dtype)
        model(x)
    return Objective(model, classification, (x, torch.arange(12) % 3))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("directions", [1, 2, 4])
@pytest.mark.parametrize("size", [0, 5])
def test_the_first_layer_is_affine(name, directions, size, generator):
    layer, shape = LAYERS[name]
    objective = blobs(layer, shape, generator(), inplace=True)
    assert first_layer(objective.source.model, next(objective.source.terms())[1]) == "layer"
    flat = flat_of(objective, directions, generator())
    rows = torch.randn(9, directions, generator=generator()).double().numpy()
    found = by(objective, flat, rows, Way(layer="layer", size=size))
    assert found.way == Way(layer="layer", size=size)
    np.testing.assert_allclose(means(found), one_by_one(objective, flat, rows), rtol=1e-13)


@pytest.mark.parametrize("frozen", ["layer.weight", "layer.bias"])
def test_a_frozen_part_of_the_first_layer_stays(frozen, generator):
    objective = blobs(lambda: nn.Linear(5, 4), (5,), generator())
    source = objective.source
    names = [name for name in objective.names if name != frozen]
    part = Objective(source.model, source.loss, next(source.batches()), parameters=names)
    flat = flat_of(part, 2, generator())
    np.testing.assert_allclose(
        means(by(part, flat, GRID, Way(layer="layer"))), one_by_one(part, flat, GRID), rtol=1e-13
    )


class Asked(nn.Module):
    """A first layer whose weights are asked for once more."""

    def __init__(self, how):
        super().__init__()
        self.layer, self.how = nn.Linear(4, 4), how

    def forward(self, x):
        z = self.layer(x).tanh()
        return {"twice": lambda: self.layer(z), "tied": lambda: functional.linear(z, self.layer.weight)}.get(
            self.how, lambda: z
        )()


@pytest.mark.parametrize(
    "how", ["once", "twice", "tied", "penalty", "alias", "late penalty", "swallowed", "transformed"]
)
def test_weights_are_in_place_for_whoever_asks(how, generator):
    x = torch.randn(6, 4, generator=generator(), dtype=torch.float64)
    model = Asked(how).double()
    alias = model.layer.weight.detach()

    def loss(model, batch):
        value = model(batch).square().mean()
        if how == "penalty" or (how == "late penalty" and value > 0.3):
            value = value + model.layer.weight.square().sum()
        if how == "swallowed":
            try:
                value = value + model.layer.bias.sum()
            except Exception:  # noqa: BLE001  # as models do
                value = value + 1
        if how == "transformed":
            value = value + torch.func.vmap(lambda row: row @ model.layer.bias)(batch).mean()
        return value + alias.sum() if how == "alias" else value

    objective = Objective(model, loss, x)
    flat = flat_of(objective, 2, generator())
    found = by(objective, flat, 5 * GRID, Way(layer="layer"))
    assert found.way.layer == "layer"
    np.testing.assert_allclose(means(found), one_by_one(objective, flat, 5 * GRID), rtol=1e-12)


def hooked(model):
    model.layer.register_forward_hook(lambda module, inputs, output: output.tanh())


def normalised(model):
    parametrizations.weight_norm(model.layer)


def scaled(model):
    model.scale = nn.Parameter(torch.ones((), dtype=torch.float64))
    model.register_forward_pre_hook(lambda module, inputs: inputs[0] * module.scale)


@pytest.mark.parametrize("change", [hooked, normalised, scaled])
def test_no_other_layer_is_taken_for_affine(change, generator):
    objective = blobs(lambda: nn.Linear(5, 4), (5,), generator())
    change(objective.source.model)
    objective = Objective(objective.source.model, objective.source.loss, next(objective.source.batches()))
    assert first_layer(objective.source.model, next(objective.source.terms())[1]) in {"", "head"}
    assert (
        "layer'"
        not in chosen(Surface(objective.source, 0, flat_of(objective, 2, generator())), GRID, preview=False).way.layer
    )


@pytest.mark.parametrize("power", [1, 2])
def test_an_input_that_moves_with_theta_is_not_taken_for_fixed(power, generator):
    """Also where autograd does not see it, and where both ends of a line have the same."""

    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.layer = nn.Parameter(torch.zeros(())), nn.Linear(3, 2)

        def forward(self, x):
            return self.layer(x * self.scale.detach() ** power)

    objective = Objective(Hidden().double(), lambda m, b: m(b).square().mean(), torch.ones(4, 3, dtype=torch.float64))
    assert first_layer(objective.source.model, next(objective.source.terms())[1]) == "layer"
    flat = flat_of(objective, 1, generator())
    rows = np.linspace(-1, 1, 9)[:, None]
    found = by(objective, flat, rows, Way(layer="layer"))
    assert found.way == Way()
    np.testing.assert_allclose(means(found), one_by_one(objective, flat, rows), rtol=1e-13)


def test_the_affine_layer_is_left_out_where_memory_is_short(generator, monkeypatch):
    objective = blobs(lambda: nn.Linear(5, 4), (5,), generator())
    monkeypatch.setattr("theodolite.landscape.first_layer._MEMORY", 3 * 12 * 4 * 8 - 1)
    assert by(objective, flat_of(objective, 2, generator()), GRID, Way(layer="layer")).way == Way()
    assert by(objective, flat_of(objective, 1, generator()), GRID[:, :1], Way(layer="layer")).way != Way()


def test_the_fastest_way_agrees_and_is_kept(generator, eager, monkeypatch):
    monkeypatch.setattr(tuning, "_SIZES", (5, 2))
    objective = blobs(lambda: nn.Linear(5, 4), (5,), generator())
    flat = flat_of(objective, 2, generator())
    found = evaluate(objective, flat.origin, flat.directions, GRID)
    assert found.method == "in place, 2 examples at a time, first layer 'layer' as an affine function"
    np.testing.assert_allclose(found.losses, one_by_one(objective, flat, GRID), rtol=1e-13)
    monkeypatch.setattr("theodolite.landscape.evaluation.chosen", lambda *_, **__: pytest.fail("tried again"))
    assert evaluate(objective, flat.origin, flat.directions, GRID[:3]).method == found.method
    objective.source.model.eval()
    assert evaluate(objective, flat.origin, flat.directions, GRID[:3]).method == "in place"


def test_trying_is_paid_from_what_it_may_save(generator, monkeypatch):
    objective = blobs(lambda: nn.Linear(5, 4), (5,), generator())
    surface = Surface(objective.source, 0, flat_of(objective, 2, generator()))
    monkeypatch.setattr(tuning, "_SHARE", 0.0)
    assert chosen(surface, GRID, preview=False) == tuning.Choice(Way(), "", len(GRID))


@pytest.mark.parametrize("name", ["batch", "contrast"])
def test_batch_statistics_forbid_pieces(name, generator, eager, monkeypatch):
    monkeypatch.setattr(tuning, "_SIZES", (6,))
    norm = nn.BatchNorm1d(5, track_running_stats=False) if name == "batch" else nn.Identity()
    x = torch.randn(12, 5, generator=generator())

    def contrast(model, batch):
        z = model(batch)
        return functional.cross_entropy(z @ z.T, torch.arange(len(z)))

    objective = Objective(nn.Sequential(nn.Linear(5, 5), norm, nn.Tanh()), contrast, x)
    flat = flat_of(objective, 2, generator())
    found = evaluate(objective, flat.origin, flat.directions, GRID)
    assert found.method == "in place, first layer '0' as an affine function"
    np.testing.assert_allclose(found.losses, one_by_one(objective, flat, GRID), rtol=1e-5)
    cut = means(by(objective, flat, GRID, Way(size=6)))
    assert np.abs(cut - found.losses).max() > 1e-2, "the twin that is cut anyway is wrong"


def test_dependence_on_the_caller_s_autocast(generator):
    """J in a region of autocast is that of the region, and not flat."""
    objective = objective_of(BY_NAME["mlp"](torch.float32))
    flat = flat_of(objective, 2, generator())
    with torch.autocast("cpu", torch.bfloat16):
        found = evaluate(objective, flat.origin, flat.directions, GRID)
        np.testing.assert_allclose(found.losses, one_by_one(objective, flat, GRID), rtol=2e-2)
    assert len(set(found.losses)) > 6


def wide(generator) -> Objective:
    return blobs(lambda: nn.Linear(64, 64), (64,), generator, torch.float32)


@pytest.mark.parametrize("way", [Way(is_preview=True), Way(is_preview=True, layer="layer", size=5)])
def test_the_preview_is_near_and_not_flat(way, generator):
    objective = wide(generator())
    flat = flat_of(objective, 2, generator())
    sought, found = one_by_one(objective, flat, GRID), by(objective, flat, GRID, way)
    assert found.way == way
    np.testing.assert_allclose(means(found), sought, rtol=1e-2)
    assert np.abs(means(found) - sought).max() > 0, "nothing ran in bfloat16"
    assert np.corrcoef(means(found), sought)[0, 1] > 0.999


def test_a_cache_of_cast_weights_would_flatten_the_surface(generator):
    """The biased twin: autocast as it comes, entered once."""
    objective = wide(generator())
    (way,) = flat_of(objective, 1, generator()).directions
    model, (x, y) = objective.source.model, next(objective.source.batches())
    losses = []
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), objective.params.kept() as storages:
        for share in (-1.0, 0.0, 1.0):
            AffineSum(*Flat(objective.point(), (way,)).parts(objective.params)).write((share,), storages)
            losses.append(float(functional.cross_entropy(model(x), y)))
    flat, bent = np.array(losses), one_by_one(objective, Flat(objective.point(), (way,)), [[-1], [0], [1]])
    assert np.ptp(flat[1:] - flat[0]) < 0.2 * np.ptp(bent[1:] - bent[0])


def test_a_preview_says_so(generator, monkeypatch):
    monkeypatch.setattr(tuning._Clock, "__call__", lambda clock, losses: clock.laps.append(1.0))
    objective = wide(generator())
    flat = flat_of(objective, 2, generator())
    few = evaluate(objective, flat.origin, flat.directions, GRID[:2], preview=True)
    assert few.method == "in place, bfloat16 preview with weights combined in full precision"
    found = evaluate(objective, flat.origin, flat.directions, GRID, preview=True)
    assert found.method.startswith(few.method + "; off by ")
    monkeypatch.setattr(tuning, "_COARSE", 0.0)
    objective.ways.clear()
    found = evaluate(objective, flat.origin, flat.directions, GRID, preview=True)
    assert found.method.startswith("in place; bfloat16 preview left out: off by ")


def test_no_preview_of_other_types(generator):
    objective = objective_of(BY_NAME["mlp"](torch.float64))
    flat = flat_of(objective, 2, generator())
    found = evaluate(objective, flat.origin, flat.directions, GRID, preview=True)
    assert found.method.endswith("bfloat16 preview left out: θ is float64")
    assert found.losses == pytest.approx(one_by_one(objective, flat, GRID), rel=1e-12)


def test_a_model_that_does_not_run_on_pieces_of_its_batch(eager):
    """A graph net: rows of the adjacency can be cut like examples, and fit nothing any more."""
    source = torch.Generator().manual_seed(0)
    features, graph = torch.randn(300, 4, generator=source), torch.rand(300, 300, generator=source)
    objective = Objective(nn.Linear(4, 2), lambda m, b: (b[1] @ m(b[0])).square().mean(), (features, graph))
    theta, way = objective.point(), torch.ones(10)
    found = evaluate(objective, theta, [way], np.linspace(0, 1, 12)[:, None])
    truth = objective.values(theta + share * way for share in np.linspace(0, 1, 12)).numpy()
    np.testing.assert_allclose(found.losses, truth, rtol=1e-6)
    assert "examples at a time" not in found.method


def test_a_preview_that_the_model_does_not_run_in():
    def loss(model, batch):
        if torch.is_autocast_enabled("cpu"):
            raise RuntimeError("no bfloat16 here\nwhatever follows")
        return model(batch).square().mean()

    objective = Objective(nn.Linear(4, 2), loss, torch.ones(5, 4))
    found = evaluate(objective, torch.zeros(10), [torch.ones(10)], np.linspace(0, 1, 12)[:, None], preview=True)
    assert "bfloat16 preview left out: no bfloat16 here" in found.method
    np.testing.assert_allclose(found.losses, 25 * np.linspace(0, 1, 12) ** 2, rtol=1e-5)
