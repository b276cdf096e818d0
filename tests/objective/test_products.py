"""Are products cross-checked before they are believed, and do graphs keep to their limit of memory?"""

import gc
import subprocess
import sys
import weakref

import pytest
import torch
from torch import nn

from families import BY_NAME, FAMILIES, classification, mlp, regression
from objective.oracle import oracle
from theodolite.linalg import hessian
from theodolite.objective import Objective
from theodolite.objective.batchwise import BatchMean
from theodolite.objective.data import split_batch
from theodolite.objective.knowledge import Knowledge
from theodolite.objective.products import DoubleBackward

GREAT = 2**40


def objective_of(name, dtype=torch.float64, **options):
    problem = BY_NAME[name](dtype)
    return Objective(problem.model, problem.loss, problem.data, **options)


class WrongTwice(torch.autograd.Function):
    """x³ whose second derivative is half of what it should be."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, u):
        (x,) = ctx.saved_tensors
        return u * 3 * (x.detach() * x)


def squares(x):
    return WrongTwice.apply(x).sum()


@pytest.mark.parametrize("family", [f for f in FAMILIES if f.is_smooth], ids=lambda family: family.name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_smooth_models_agree(family, dtype):
    problem = family(dtype)
    objective = Objective(problem.model, problem.loss, problem.data)
    assert objective.product_check is None
    objective.hvp(objective.point())
    assert objective.product_check.agrees is True, str(objective.product_check)
    assert objective.product_check.symmetry < 1e-5


def test_kinks_cannot_be_told():
    """On a wide net with kinks the differences say nothing, and are not believed."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 1))
    objective = Objective(model, regression, (torch.randn(64, 20), torch.randn(64, 1)))
    objective.hvp(objective.point())
    assert objective.product_check.agrees is None
    assert objective.hvp_method == "double backward"


def test_a_wrong_second_derivative_is_not_used():
    objective = Objective.from_function(squares, torch.linspace(1, 2, 4, dtype=torch.float64))
    v = torch.ones(4, dtype=torch.float64)
    with pytest.warns(UserWarning, match="right second derivatives, but: double backward disagrees"):
        product = objective.hvp(v)
    torch.testing.assert_close(product, 6 * objective.point(), rtol=1e-6, atol=0)
    assert objective.hvp_method == "central differences"
    assert objective.product_check.difference == pytest.approx(0.5, abs=1e-3)
    with hessian(objective) as op:  # no second warning: the check is known
        torch.testing.assert_close(op @ v, product, rtol=0, atol=0)
        assert op.method == "central differences"


def test_the_caller_is_warned(tmp_path):
    """In a fresh interpreter: here the shape checks stand between the package and its caller."""
    script = tmp_path / "own.py"
    script.write_text(
        "import torch, warnings\n"
        "from theodolite import Objective, hessian\n"
        "near = Objective.from_function(lambda x: torch.cdist(x[None], torch.ones(1, 3)).sum(), torch.zeros(3))\n"
        "with warnings.catch_warnings(record=True) as heard:\n"
        "    hessian(near) @ torch.ones(3)\n"
        "print(heard[0].filename)\n"
    )
    found = subprocess.run([sys.executable, str(script)], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == str(script)


def test_what_is_detached_is_told_and_kept(caplog):
    """x·detach(x)²: the gradient of autograd is that of nothing; there is no right Hessian to go over to."""
    objective = Objective.from_function(lambda x: (x * (x**2).roll(1).detach()).sum(), torch.arange(1.0, 5).double())
    product = objective.hvp(torch.ones(4, dtype=torch.float64))
    assert product.abs().max() == 0
    assert objective.product_check.agrees is False
    assert not objective.product_check.is_gradient
    assert "the loss detaches something" in caplog.text
    assert objective.hvp_method == "double backward"


def test_the_check_is_made_once():
    calls = []
    objective = Objective(mlp().double(), lambda m, b: (calls.append(1), regression(m, b))[1], BY_NAME["mlp"]().data)
    objective.hvp(objective.point())
    first, checked = len(calls), objective.product_check
    objective.hvp(objective.point())
    with hessian(objective, objective.point() + 1) as op:
        op @ objective.point()
    assert objective.product_check is checked
    assert first == (1 + 2) + (2 + 2)  # a few examples: built, two gradients; two batches: sized, built
    assert len(calls) - first == 2 * len(BY_NAME["mlp"]().batches)


def test_half_precision_is_not_accused():
    problem = BY_NAME["mlp"](torch.bfloat16)
    objective = Objective(problem.model, problem.loss, problem.data)
    objective.hvp(objective.point())
    assert objective.product_check.agrees is not False


def test_nan_is_not_accused():
    objective = Objective.from_function(lambda x: (x * float("nan")).sum(), torch.ones(3))
    objective.hvp(torch.ones(3))
    assert objective.product_check.agrees is None


# Memory


@pytest.mark.parametrize("family", [f for f in FAMILIES if not f.is_random], ids=lambda family: family.name)
@pytest.mark.parametrize("limit", [0, 3000])
def test_any_limit_gives_the_same_product(family, limit, generator):
    problem = family(torch.float64)
    objective = Objective(problem.model, problem.loss, problem.data)
    V = torch.randn(objective.dimension, 2, dtype=torch.float64, generator=generator())
    with objective.products() as plenty, objective.products(memory_limit=limit) as few:
        expected = plenty.apply(V)
        for _ in range(2):
            torch.testing.assert_close(few.apply(V), expected, rtol=1e-9, atol=1e-12)


def wide(count=256, loss=regression, model=None):
    torch.manual_seed(0)
    model = model or nn.Sequential(nn.Linear(10, 400), nn.Tanh(), nn.Linear(400, 400), nn.Tanh(), nn.Linear(400, 1))
    return Objective(model, loss, (torch.randn(count, 10), torch.randn(count, 1)))


def held_and_peak(objective, limit, products=2):
    """Bytes of storages alive after products, over those before, and at the peak, by torch's own profiler."""
    mean = BatchMean(
        objective.source,
        objective.point(),
        DoubleBackward(objective.params),
        seed=0,
        knowledge=Knowledge(),
        memory_limit=limit,
    )
    V = torch.randn(objective.dimension, 1)
    mean.apply(V)
    mean.release()
    with torch.profiler.profile(profile_memory=True, record_shapes=False) as profile:
        for _ in range(products):
            mean.apply(V)
    levels, level = [0], 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            level += event.nbytes()
            levels.append(level)
    return levels[-1], max(levels)


def test_a_limit_is_kept():
    """A batch that exceeds the limit is cut; beside the graphs stand a few vectors of θ's size."""
    objective = wide()
    vectors = 8 * 4 * objective.dimension
    whole, _ = held_and_peak(objective, GREAT)
    assert whole > 2_500_000
    for limit in (2_000_000, 1_000_000):
        held, peak = held_and_peak(objective, limit)
        assert held <= limit
        assert peak <= limit + vectors
    assert held_and_peak(objective, 1_000_000)[1] < held_and_peak(objective, GREAT)[1]


def test_what_is_kept_is_estimated_rightly():
    """The graph takes no more than the estimate by which it is admitted, and no less than a third of it."""
    objective = wide()
    knowledge = Knowledge()
    mean = BatchMean(
        objective.source, objective.point(), DoubleBackward(objective.params), seed=0, knowledge=knowledge,
        memory_limit=GREAT,
    )  # fmt: skip
    mean.apply(torch.ones(objective.dimension, 1))
    saved = knowledge.size(0, lambda: torch.zeros(()))
    held, peak = held_and_peak(objective, GREAT)
    assert 2.5 * saved / 3 <= held <= 2.5 * saved
    assert peak <= (2.5 + 4.5) * saved + 8 * 4 * objective.dimension


def test_graphs_are_freed():
    """With the operator, or when it is released; hooks that hold the tensor they are given would keep them for ever."""
    objective = wide()
    for release in (True, False):
        op = hessian(objective)
        op @ torch.ones(objective.dimension)
        (built,) = op._products._mean._kept.values()
        nodes = [weakref.ref(tensor) for tensor in built.graph.gradient]
        if release:
            op.release()
        del built, op
        gc.collect()
        assert [node() for node in nodes] == [None] * len(nodes)


@pytest.mark.parametrize("name", ["conv batchnorm train", "dropout", "noisy"])
def test_batches_that_do_not_add_up_are_not_cut(name):
    """Batch statistics and masks make the loss of a batch other than that of its pieces."""
    objective = objective_of(name)
    v = objective.point()
    with objective.products() as plenty, objective.products(memory_limit=0) as few:
        torch.testing.assert_close(few.apply(v[:, None]), plenty.apply(v[:, None]), rtol=1e-9, atol=1e-12)


class Centred(nn.Module):
    """Takes the mean of the batch out: a batch statistic."""

    def forward(self, x):
        return x - x.mean(0)


@pytest.mark.parametrize(
    "between", [nn.BatchNorm1d(16), nn.Dropout(0.3), Centred()], ids=["batchnorm", "dropout", "mean"]
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=["float64", "bfloat16"])
@pytest.mark.parametrize("is_zero", [True, False], ids=["zero head", "head"])
def test_what_adds_up_by_chance_is_not_cut(between, dtype, is_zero):
    """With a head of zeros the loss of every piece is log C; in half precision all losses look alike."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 16), between, nn.Tanh(), nn.Linear(16, 4)).to(dtype)
    batch = (torch.randn(64, 3).to(dtype), torch.randint(0, 4, (64,)))
    objective = Objective(model, classification, batch)
    here = objective.point()
    there = here.clone()
    there[-68:] = 0
    at, elsewhere = (there, here) if is_zero else (here, there)
    with hessian(objective, elsewhere, memory_limit=12_000) as first:  # what is learnt there must hold here
        first @ here
    few, plenty = hessian(objective, at, memory_limit=12_000), hessian(Objective(model, classification, batch), at)
    torch.testing.assert_close(few @ here, plenty @ here, rtol=0, atol=0)


def test_a_padding_index_is_not_accused():
    for seed in range(12):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Embedding(10, 8, padding_idx=0), nn.Flatten(), nn.Tanh(), nn.Linear(32, 4))
        objective = Objective(model, regression, (torch.randint(0, 10, (32, 4)), torch.randn(32, 4)))
        objective.hvp(objective.point())
        assert objective.product_check.agrees is True, str(objective.product_check)


def test_useless_differences_are_told():
    """No second derivative, kinks and float32: the products say nothing, and the warning says that."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))
    loss = lambda m, b: nn.functional.multi_margin_loss(m(b[0]), b[1], p=2)  # noqa: E731
    objective = Objective(model, loss, (torch.randn(64, 8), torch.randint(0, 4, (64,))))
    with (
        pytest.warns(UserWarning, match="these Hessian products say nothing"),
        pytest.warns(UserWarning, match="right second"),
    ):
        objective.hvp(objective.point() + torch.randn(objective.dimension))


def test_pieces_run_fewer_examples():
    seen = []

    def loss(model, batch):
        seen.append(len(batch[0]))
        return regression(model, batch)

    objective = wide(loss=loss)
    objective.hvp(objective.point())
    seen.clear()
    with objective.products(memory_limit=500_000) as products:
        products.apply(torch.ones(objective.dimension, 1))
    assert 1 <= seen[-1] < 256 / 4
    pieces = -(-256 // seen[-2])
    assert sum(seen[-pieces:]) == 256


def test_splitting():
    x, y = torch.arange(10.0).reshape(5, 2), torch.arange(5)
    assert [len(part) for part in split_batch(x, 5, 2)] == [2, 2, 1]
    pieces = split_batch({"x": x, "more": (y, [x.numpy()]), "name": "a", "rate": 0.5}, 5, 3)
    assert [len(p["more"][0]) for p in pieces] == [3, 2]
    assert all(p["name"] == "a" and p["rate"] == 0.5 for p in pieces)
    assert pieces[1]["more"][1][0].shape == (2, 2)
    assert split_batch((x, torch.zeros(7)), 5, 2) == []  # a second length: nothing is known of it
    assert [piece[1].tolist() for piece in split_batch((x, torch.arange(10)), 5, 3)] == [list(range(6)), [6, 7, 8, 9]]
    assert split_batch((x, torch.zeros(())), 5, 2) == []
    assert split_batch((x, object()), 5, 2) == []
    assert split_batch("text", 5, 2) == split_batch((), 5, 2) == []


def embedded():
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5), nn.Flatten(0, 1)).double()


def test_labels_laid_end_to_end_are_cut_along():
    seen = []

    def loss(model, batch):
        seen.append((len(batch[0]), len(batch[1])))
        return classification(model, batch)

    objective = Objective(embedded(), loss, (torch.randint(0, 5, (20, 3)), torch.randint(0, 5, (60,))))
    whole = objective.hvp(objective.point())
    with objective.products(memory_limit=0) as few:
        torch.testing.assert_close(few.apply(objective.point()[:, None])[:, 0], whole)
    assert (1, 3) in seen


def test_pieces_that_make_no_sense_are_not_used():
    """Class weights that happen to be as many as examples, and a model that takes batches of one size only."""
    weighted = Objective(
        mlp().double(),
        lambda m, b: (m(b[0]) * b[1][:2]).pow(2).mean(),
        (torch.randn(10, 3).double(), torch.randn(10).double()),
    )
    rigid = Objective(
        mlp().double(),
        lambda m, b: m(b.reshape(12, 3)).reshape(3, 4, 2).sum(1).pow(2).mean(),
        torch.randn(12, 3).double(),
    )
    for objective in (weighted, rigid):
        whole = objective.hvp(objective.point())
        with objective.products(memory_limit=0) as few:
            torch.testing.assert_close(few.apply(objective.point()[:, None])[:, 0], whole)


# Blocks


@pytest.mark.parametrize("family", [f for f in FAMILIES if not f.is_random], ids=lambda family: family.name)
def test_a_block_is_its_columns(family, generator):
    problem = family(torch.float64)
    objective = Objective(problem.model, problem.loss, problem.data)
    V = torch.randn(objective.dimension, 9, dtype=torch.float64, generator=generator())
    with objective.products() as products:
        block = products.apply(V)
        for k in range(9):
            torch.testing.assert_close(products.apply(V[:, k : k + 1])[:, 0], block[:, k], rtol=1e-10, atol=1e-13)
        assert torch.equal(products.apply(V), block)


def test_a_wrong_block_is_not_used(monkeypatch, generator):
    """If differentiating at once gave something else, columns would be formed one by one."""
    from theodolite.objective import products as home

    plain = home.pull_back

    def wrong(outputs, inputs, weights, *, is_block):
        found = plain(outputs, inputs, weights, is_block=is_block)
        return [None if t is None else 2 * t for t in found] if is_block else found

    monkeypatch.setattr(home, "pull_back", wrong)
    problem = BY_NAME["mlp"]()
    truth = oracle(problem)
    objective = Objective(problem.model, problem.loss, problem.data)
    V = torch.randn(objective.dimension, 8, dtype=torch.float64, generator=generator())
    with objective.products() as products:
        torch.testing.assert_close(products.apply(V), truth.hessian(truth.point) @ V, rtol=1e-9, atol=1e-11)
