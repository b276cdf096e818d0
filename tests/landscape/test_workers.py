"""Are points that other processes evaluate the same, and is a lost worker no loss?"""

import multiprocessing
import os
import pickle
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from objective.traces import traces
from theodolite.errors import ObjectiveError, SettingError
from theodolite.landscape import workers
from theodolite.landscape.evaluation import evaluate
from theodolite.landscape.flats import Flat, Surface
from theodolite.objective import Objective

HOME = "THEODOLITE_TEST_HOME"
ROWS = np.stack(np.meshgrid(np.linspace(-1, 1, 4), np.linspace(-1, 1, 5)), -1).reshape(-1, 2)


def classify(model, batch):
    return functional.cross_entropy(model(batch[0]), batch[1])


def fatal(model, batch):
    """Ends every process but the one that began."""
    if os.environ[HOME] != str(os.getpid()):
        os._exit(1)
    return classify(model, batch)


def raising(model, batch):
    raise ArithmeticError("the loss has no value")


def bowl(theta):
    return (theta**2).sum()


def problem(loss=classify, *, dropout=0.0) -> tuple[Objective, tuple]:
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Dropout(dropout), nn.Linear(30, 3))
    whole = torch.randn(40, 20, generator=generator)
    batches = [(whole[start : start + 15], torch.arange(len(whole))[start : start + 15] % 3) for start in (0, 15, 30)]
    objective = Objective(model, loss, batches, seed=5)
    ways = torch.randn(2, objective.dimension, generator=generator) * 0.1
    return objective, (objective.point(), list(ways), ROWS)


class Here(Executor):
    """Runs each task at once, as a worker would: after a journey through bytes."""

    def __init__(self, lost=(), closed=()):
        self.lost, self.closed, self.count = lost, closed, -1

    def submit(self, task, /, *inputs, **options):
        self.count += 1
        if self.count in self.closed:
            raise BrokenExecutor("no workers are left")
        future = Future()
        if self.count in self.lost:
            future.set_exception(BrokenExecutor("a worker was lost"))
            return future
        task, inputs = pickle.loads(pickle.dumps((task, inputs)))
        try:
            future.set_result(task(*inputs))
        except (ArithmeticError, ObjectiveError) as error:
            future.set_exception(error)
        return future


@pytest.fixture(scope="module")
def pool():
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as executor:
        yield executor


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_processes_give_the_same_numbers(pool, dropout):
    """To the bit: the same way, the same order of additions, the same threads."""
    objective, inputs = problem(dropout=dropout)
    before = traces(objective.source.model)
    here = evaluate(objective, *inputs)
    there = evaluate(objective, *inputs, executor=pool)
    assert traces(objective.source.model) == before
    assert np.array_equal(there.losses, here.losses)
    assert np.array_equal(there.errors, here.errors)
    assert there.method == here.method


def test_a_process_that_ends_costs_its_points_once_more(monkeypatch):
    monkeypatch.setenv(HOME, str(os.getpid()))
    objective, inputs = problem(fatal)
    here = evaluate(objective, *inputs)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        there = evaluate(objective, *inputs, executor=executor)
    assert np.array_equal(there.losses, here.losses)


@pytest.mark.parametrize("executor", [Here(), Here(lost={0, 3}), Here(closed={1, 2, 4}), Here(lost=range(100))])
def test_any_executor_will_do(executor):
    objective, inputs = problem()
    before = traces(objective.source.model)
    there, here = evaluate(objective, *inputs, executor=executor), evaluate(objective, *inputs)
    assert np.array_equal(there.losses, here.losses)
    assert traces(objective.source.model) == before


@pytest.mark.parametrize("executor", [None, Here(lost={1})])
def test_the_bar_counts_points(executor, monkeypatch):
    counts = []

    @contextmanager
    def drawn(total, what):
        assert (total, what) == (len(ROWS), "points")
        yield SimpleNamespace(n=0, update=counts.append)

    monkeypatch.setattr("theodolite.landscape.evaluation.drawn", drawn)
    objective, inputs = problem()
    evaluate(objective, *inputs, executor=executor, progress=True)
    assert sum(counts) == len(ROWS)


def test_a_function_travels_too():
    objective = Objective.from_function(bowl, torch.zeros(2))
    found = evaluate(objective, torch.zeros(2), list(torch.eye(2)), ROWS, executor=Here())
    np.testing.assert_allclose(found.losses, (ROWS**2).sum(1), rtol=1e-6)


def test_an_objective_is_opened_once():
    workers._opened.cache_clear()
    objective, inputs = problem()
    evaluate(objective, *inputs, executor=Here())
    assert workers._opened.cache_info().misses == 1


def test_views_travel_without_what_lies_beside_them():
    whole = torch.zeros(100_000, 63)
    objective = Objective(nn.Linear(20, 3), classify, [(whole[:2, :20], torch.zeros(2, dtype=torch.int64))])
    surface = Surface(objective.source, 0, Flat(whole[0], (whole[1], whole[2])))
    assert len(pickle.dumps(workers._portable(surface))) < 10_000


def test_no_points():
    objective, (theta, ways, _) = problem()
    assert len(evaluate(objective, theta, ways, np.empty((0, 2)), executor=Here()).losses) == 0


def test_threads_are_refused():
    objective, inputs = problem()
    with (
        ThreadPoolExecutor(1) as executor,
        pytest.raises(SettingError, match=r"executor must run processes, got a ThreadPoolExecutor: .* Use ProcessPool"),
    ):
        evaluate(objective, *inputs, executor=executor)


def test_what_cannot_travel_is_told():
    def local(model, batch):
        return classify(model, batch)

    objective, inputs = problem(local)
    with pytest.raises(ObjectiveError, match=r"must be picklable .* at the top of a module"):
        evaluate(objective, *inputs, executor=Here())


def test_what_cannot_be_found_there_is_told(monkeypatch):
    objective, _ = problem()
    payload = pickle.dumps(objective.source.loss)
    monkeypatch.delattr(f"{__name__}.classify")
    with pytest.raises(ObjectiveError, match=r"must be importable by other processes, got .* Define them in a module"):
        workers._opened(payload)


def test_what_the_loss_raises_arrives():
    objective, (theta, ways, _) = problem(raising)
    with pytest.raises(ArithmeticError, match="no value"):
        evaluate(objective, theta, ways, ROWS[:4], executor=Here())
