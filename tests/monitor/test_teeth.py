"""Would the tests of identity notice a probe that touches the run, and is every part of the guard needed?"""

import contextlib

import pytest
import torch

from monitor.bits import differences, monitored, trained
from monitor.trainings import FAMILIES, FOUR, LOOPS, MORE
from theodolite.monitor import measurements, observer, replay, tape, undisturbed
from theodolite.monitor.loop import Watched
from theodolite.objective.isolation import RandomState

ROWS = {row.name: row for row in (*FOUR, *LOOPS, *MORE, *FAMILIES)}

pytestmark = pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*:UserWarning")


class Naive:
    """A monitor that does what many do."""

    def __init__(self, run, probe):
        self.run, self.probe = run, probe

    def __call__(self, batches):
        return Watched(self, batches)

    def arrive(self, batch, seconds):
        self.probe(self.run, batch)

    def leave(self): ...

    def pause(self): ...

    def headline(self):
        return ""

    def close(self): ...


def draws(run, batch):
    torch.randn(3)


def runs_forward(run, batch):
    with torch.no_grad():
        run.loss(run.model, batch)


def leaves_gradients(run, batch):
    run.loss(run.model, batch).backward()


def switches_modes(run, batch):
    run.model.eval()


def peeks(run, batch):
    next(iter(run.batches))


def only_looks(run, batch):
    for tensor in run.model.parameters():
        tensor.detach().norm()


@pytest.mark.parametrize("name", ["mlp dropout", "conv batchnorm", "lstm", "transformer adamw"])
@pytest.mark.parametrize("probe", [draws, runs_forward, leaves_gradients, switches_modes, peeks])
def test_a_naive_probe_is_caught(name, probe):
    row = ROWS[name]
    # Gradients that are left behind are zeroed by these loops, but what made them has drawn.
    assert differences(trained(row, None), trained(row, lambda run: Naive(run, probe))) != []


def test_a_probe_that_only_looks_is_not_caught():
    row = ROWS["mlp dropout"]
    assert differences(trained(row, None), trained(row, lambda run: Naive(run, only_looks))) == []


@contextlib.contextmanager
def nothing(*args, **options):
    yield


def as_found(self, model=None):
    return contextlib.nullcontext()


PARTS = {
    "random states while a loss is read": ("mlp dropout", replay, "randomness_kept", nothing),
    "modules that a loss reaches": ("family loss module", replay, "isolated", nothing),
    "objects that a loss writes to": ("loss with state", undisturbed, "_brought_back", nothing),
    "copies of batches": ("rmsprop, batches and outputs in place", observer, "kept", lambda batch: batch),
    "copies of batches for measurements": ("rmsprop, batches and outputs in place", tape, "kept", lambda batch: batch),
    "models compiled in place": ("compiled in place", tape.Tape, "_attach", None),
}


def careless(self):
    """Hook whatever comes, and draw when hooked."""
    self._handles = [self.model.register_forward_pre_hook(lambda *_: torch.randn(1) and None)]


@pytest.mark.parametrize("part", PARTS)
def test_a_guard_that_loses_a_part_is_caught(part, tmp_path, monkeypatch):
    name, home, attribute, substitute = PARTS[part]
    row = ROWS[name]
    plain = trained(row, None)
    monkeypatch.setattr(home, attribute, substitute or careless)
    if part == "copies of batches":
        monkeypatch.setattr("theodolite.monitor.held.kept", lambda batch: batch)
    found = differences(plain, trained(row, monitored(tmp_path)))
    if part != "copies of batches for measurements":
        assert found != []
    else:  # held batches are copies too: what is spoilt there are the measurements, not the training
        from theodolite import Run

        assert Run(tmp_path / "run").events("probe_failed")


def test_a_random_state_that_is_not_brought_back_is_caught(tmp_path, monkeypatch):
    row = ROWS["mlp dropout"]
    plain = trained(row, None)
    monkeypatch.setattr(RandomState, "restore", lambda self: None)
    assert differences(plain, trained(row, monitored(tmp_path))) != []


def test_gradients_that_are_not_laid_aside_are_caught(tmp_path, monkeypatch):
    row = ROWS["accumulation"]
    plain = trained(row, None)
    monkeypatch.setattr(observer, "thawed", _spoiling)
    assert differences(plain, trained(row, monitored(tmp_path))) != []


@contextlib.contextmanager
def _spoiling(params):
    with measurements.thawed(params):
        yield
    for tensor in params.tensors:
        if tensor.grad is not None:
            tensor.grad.mul_(1 + 1e-6)
