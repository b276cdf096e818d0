"""Does the monitor keep a true record of loops as people write them, and never end one?"""

import gc
import itertools
import logging
import os
import signal
import subprocess
import sys
import textwrap
import warnings
import weakref
from collections import UserDict, namedtuple
from pathlib import Path
from unittest.mock import create_autospec

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_sequence

from monitor.trainings import classify, flat_data, made, mlp, plain, scaler_run
from theodolite import Monitor, Run
from theodolite.errors import DataError, RunError, SettingError
from theodolite.monitor.held import Held
from theodolite.monitor.monitor import _check
from theodolite.monitor.recorder import Recorder
from theodolite.probes.samples import kept, leaves_of, mapped
from theodolite.records import RunWriter


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        yield


@pytest.fixture
def run():
    return made(mlp(), flat_data(), epochs=1)


def monitor_of(run, tmp_path, **options):
    settings = {"budget": None, "run": tmp_path / "run"} | options
    return Monitor(run.model, run.optimizer, run.loss, **settings)


def events(tmp_path, kind):
    return [event for event in Run(tmp_path / "run").events() if event.kind == kind]


def watched(run, tmp_path, body=None, **options):
    losses = []
    with monitor_of(run, tmp_path, **options) as monitor:
        for batch in monitor(run.batches):
            losses.append((body or run.body)(run, batch))
    return losses


# --- ends of loops


def test_a_loop_that_never_enters(run, tmp_path):
    with monitor_of(run, tmp_path) as monitor:
        assert list(monitor([])) == []
    assert Run(tmp_path / "run").num_steps == 0
    assert events(tmp_path, "stop")


def test_one_step_is_measured_in_full(run, tmp_path):
    run.batches = [next(iter(run.batches))]
    watched(run, tmp_path)
    record = Run(tmp_path / "run")
    assert record.num_steps == 1
    for name in ("loss", "learning_rate", "grad_norm", "update_norm", "param_norm", "own_loss_after"):
        assert record.series(name).steps.tolist() == [1]
    assert "fresh_loss_after" not in record.names


def test_breaking_off_before_the_step_leaves_no_half_step(run, tmp_path):
    with monitor_of(run, tmp_path) as monitor:
        for batch in monitor(run.batches):
            run.loss(run.model, batch).backward()
            break
        run.optimizer.zero_grad()
        for batch in monitor(run.batches):
            plain(run, batch)
    record = Run(tmp_path / "run")
    assert record.series("loss").steps.tolist() == [1, 2, 3, 4]
    one = record.series("promise"), record.series("own_loss_before")
    assert np.allclose(one[1].values, record.series("loss").values, rtol=1e-5)


def test_an_exception_goes_on_and_is_told(run, tmp_path):
    def body(run, batch):
        plain(run, batch)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        watched(run, tmp_path, body)
    (event,) = events(tmp_path, "exception")
    assert event.detail["type"] == "ZeroDivisionError"
    assert Run(tmp_path / "run").num_steps == 1
    assert not run.model._forward_hooks
    assert not run.optimizer._optimizer_step_post_hooks


def test_an_exception_of_the_loader_goes_on(run, tmp_path):
    batches = list(run.batches)

    def stream():
        yield from batches[:2]
        raise OSError("no such file")

    run.batches = stream()
    with pytest.raises(OSError, match="no such file"):
        watched(run, tmp_path)
    assert Run(tmp_path / "run").num_steps == 2


def test_a_keyboard_interrupt_within_a_measurement_ends_the_loop_and_leaves_no_trace(run, tmp_path):
    calls = itertools.count()

    def loss(model, batch):
        if next(calls) == 25:
            raise KeyboardInterrupt
        return classify(model, batch)

    before = []

    def body(run, batch):
        run.optimizer.zero_grad()
        classify(run.model, batch).backward()
        run.optimizer.step()
        before[:] = [p.detach().clone() for p in run.model.parameters()]

    run.loss = loss
    with pytest.raises(KeyboardInterrupt):
        watched(run, tmp_path, body)
    assert all(torch.equal(a, b) for a, b in zip(before, run.model.parameters(), strict=True))
    assert events(tmp_path, "exception")[0].detail["type"] == "KeyboardInterrupt"


def test_closing_twice_and_in_the_loop(run, tmp_path):
    monitor = monitor_of(run, tmp_path)
    for index, batch in enumerate(monitor(run.batches)):
        plain(run, batch)
        if index == 1:
            monitor.close()
    monitor.close()
    assert Run(tmp_path / "run").num_steps == 2
    assert len(events(tmp_path, "stop")) == 1
    assert not run.model._forward_hooks
    with pytest.raises(RunError, match="must be open"):
        monitor(run.batches)
    with pytest.raises(RunError, match="must be open"):
        monitor.diagnose()


def test_a_monitor_that_nobody_keeps_watches_to_the_end(run, tmp_path):
    for batch in monitor_of(run, tmp_path)(run.batches):
        gc.collect()
        plain(run, batch)
    assert Run(tmp_path / "run").num_steps == 4


def test_epochs_count_on_and_lengths_are_those_of_the_loader(run, tmp_path):
    with monitor_of(run, tmp_path, budget=0.5) as monitor:
        for _ in range(3):
            assert len(monitor(run.batches)) == 4
            for batch in monitor(run.batches):
                plain(run, batch)
        with pytest.raises(TypeError, match="has no len"):
            len(monitor(iter([])))
    assert Run(tmp_path / "run").num_steps == 12


def test_an_earlier_run_is_moved_aside(run, tmp_path):
    for _ in range(2):
        watched(made(mlp(), flat_data()), tmp_path, budget=0.5)
    assert {"run", "run.1"} <= {path.name for path in tmp_path.iterdir()}
    assert Run(tmp_path / "run.1").num_steps == 4


# --- bodies of loops


def test_a_body_without_a_step_is_none(run, tmp_path):
    def body(run, batch):
        run.count += 1
        return plain(run, batch) if run.count % 2 else None

    losses = watched(run, tmp_path, body)
    record = Run(tmp_path / "run")
    truth = [float(loss) for loss in losses if loss is not None]
    assert record.series("loss").steps.tolist() == [1, 2]
    assert record.series("loss").values.tolist() == truth
    assert np.allclose(record.series("own_loss_before").values, truth, rtol=1e-6)


def test_several_steps_in_a_body_record_the_first_loss_and_say_so(run, tmp_path):
    def body(run, batch):
        return plain(run, batch), plain(run, batch)

    losses = watched(run, tmp_path, body)
    record = Run(tmp_path / "run")
    assert record.num_steps == 8
    assert record.series("loss").steps.tolist() == [1, 3, 5, 7]
    assert record.series("loss").values.tolist() == [float(first) for first, _ in losses]
    assert "update_norm" not in record.names
    assert "promise" not in record.names
    assert len(events(tmp_path, "note")) == 1


def test_a_skipped_step_is_told_and_its_batch_belongs_to_no_step(tmp_path):
    run = scaler_run()
    losses = watched(run, tmp_path)
    record = Run(tmp_path / "run")
    assert [event.detail["after"] for event in events(tmp_path, "skipped_step")] == [2]
    truth = [float(loss) for index, loss in enumerate(losses) if index != 2]
    assert record.series("loss").values.tolist() == truth
    assert np.allclose(record.series("own_loss_before").values, truth, rtol=1e-6)


@pytest.mark.parametrize("set_to_none", [True, False])
def test_accumulated_batches_make_one_step(tmp_path, set_to_none):
    run = made(mlp(), flat_data(48), lambda p: torch.optim.SGD(p, 0.05))

    def body(run, batch):
        loss = run.loss(run.model, batch)
        (loss / 2).backward()
        run.count += 1
        if run.count % 2 == 0:
            run.optimizer.step()
            run.optimizer.zero_grad(set_to_none=set_to_none)
        return float(loss.detach())

    losses = watched(run, tmp_path, body)
    record = Run(tmp_path / "run")
    truth = np.mean(np.reshape(losses, (-1, 2)), 1)
    assert record.series("loss").steps.tolist() == [1, 2, 3, 4]
    assert np.allclose(record.series("loss").values, truth, rtol=1e-7)
    assert np.allclose(record.series("own_loss_before").values, truth, rtol=1e-6)
    # The budget's own gradient is that of both batches: −g·Δθ = lr·‖g‖² for plain steps.
    promise = record.series("promise")
    norms = record.series("grad_norm")
    assert promise.steps.tolist() == [3, 4]
    assert np.allclose(promise.values, 0.05 * norms.values[2:] ** 2, rtol=1e-4)


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_what_is_not_finite_is_recorded_and_ends_nothing(run, tmp_path, where):
    def body(run, batch):
        run.count += 1
        run.optimizer.zero_grad()
        loss = run.loss(run.model, batch)
        loss.backward()
        if where == "gradient" and run.count == 2:
            run.model[0].weight.grad[0, 0] = float("inf")
        run.optimizer.step()
        if where == "loss" and run.count == 2:
            with torch.no_grad():
                run.model[3].bias[0] = float("nan")
        return loss

    watched(run, tmp_path, body)
    record = Run(tmp_path / "run")
    assert record.num_steps == 4
    assert record.series("loss").steps.tolist() == [1, 2, 3, 4]
    found = {key for event in events(tmp_path, "nonfinite") for key in event.detail}
    assert ("loss" if where == "loss" else "grad_norm") in found
    assert not events(tmp_path, "skipped_step")


# --- models and optimizers


def test_parameters_outside_the_model_are_counted_and_left_alone(tmp_path):
    extra = nn.Parameter(torch.ones(3))
    run = made(mlp(), flat_data(), lambda p: torch.optim.SGD([*p, extra], 0.1))
    run.body = lambda run, batch: (
        run.optimizer.zero_grad(),
        run.loss(run.model, batch).backward(),
        run.optimizer.step(),
    )
    watched(run, tmp_path)
    assert Run(tmp_path / "run").metadata["num_params_outside_model"] == 1
    assert torch.equal(extra, torch.ones(3))


def test_two_monitors_on_two_models_at_once(tmp_path):
    make, judge = nn.Linear(2, 6), nn.Linear(6, 1)
    first, second = torch.optim.Adam(make.parameters(), 1e-3), torch.optim.Adam(judge.parameters(), 1e-3)

    def make_loss(model, batch):
        return functional.softplus(-judge(model(batch[0]))).mean()

    def judge_loss(model, batch):
        return (functional.softplus(-model(batch[1])) + functional.softplus(model(make(batch[0]).detach()))).mean()

    batches = [(torch.randn(4, 2), torch.randn(4, 6)) for _ in range(6)]
    one = Monitor(make, first, make_loss, run=tmp_path / "make", budget=None)
    other = Monitor(judge, second, judge_loss, run=tmp_path / "judge", budget=None)
    with one, other:
        for batch in one(other(batches)):
            for model, optimizer, loss in ((judge, second, judge_loss), (make, first, make_loss)):
                optimizer.zero_grad()
                loss(model, batch).backward()
                optimizer.step()
    for name in ("make", "judge"):
        record = Run(tmp_path / name)
        assert record.series("loss").steps.tolist() == [1, 2, 3, 4, 5, 6]
        assert not [event for event in record.events() if event.kind == "probe_failed"]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"optimizer": []}, "one torch.optim.Optimizer, got a list of 0. With several optimizers, watch each"),
        ({"optimizer": (1, 2)}, "got a tuple of 2"),
        ({"model": 3}, "model must be a torch.nn.Module, got a int"),
        ({"loss": None}, "loss must be callable"),
        ({"budget": 0.0}, "budget must be a share"),
        ({"budget": 2}, "budget must be a share"),
        ({"floor": float("nan")}, "floor must be a finite loss"),
    ],
)
def test_what_cannot_be_watched_is_refused(run, change, match):
    parts = {"model": run.model, "optimizer": run.optimizer, "loss": run.loss} | {
        key: value for key, value in change.items() if key in ("model", "optimizer", "loss")
    }
    rest = {key: value for key, value in change.items() if key not in parts}
    with pytest.raises(SettingError, match=match):
        _check(*parts.values(), **({"budget": 0.05, "floor": 0.0} | rest))


def test_what_cannot_be_watched_leaves_no_folder_and_no_hook(run, tmp_path):
    with pytest.raises(SettingError, match="budget"):
        Monitor(run.model, run.optimizer, run.loss, run=tmp_path / "run", budget=7)
    with pytest.raises(SettingError, match="must step trainable parameters of the model"):
        Monitor(mlp(), run.optimizer, run.loss, run=tmp_path / "run")
    with pytest.raises(DataError, match="only"):
        Monitor(run.model, run.optimizer, run.loss, run=tmp_path / "run", validation=iter([1]))
    assert not (tmp_path / "run").exists()
    assert not run.optimizer._optimizer_step_post_hooks


# --- failures of ours


def test_a_loss_that_fails_in_every_measurement_changes_nothing(tmp_path, caplog):
    def train(folder):
        with torch.random.fork_rng():
            torch.manual_seed(5)
            run = made(mlp(), flat_data(40), size=4)
            inside = []

            def loss(model, batch):
                if inside:
                    return classify(model, batch)
                raise ValueError("only in the loop")

            def body(run, batch):
                inside.append(1)
                plain(run, batch)
                inside.clear()

            run.loss = loss
            for batch in run.batches if folder is None else monitor_of(run, folder, validation=[1])(run.batches):
                body(run, batch)
            return torch.cat([p.detach().reshape(-1) for p in run.model.parameters()])

    with caplog.at_level(logging.WARNING, logger="theodolite"):
        assert torch.equal(train(None), train(tmp_path))
    found = events(tmp_path, "probe_failed")
    by_probe = {name: [event for event in found if event.detail["probe"] == name] for name in ("loss", "validation")}
    assert {name: len(those) for name, those in by_probe.items()} == {"loss": 0, "validation": 3}
    assert by_probe["validation"][-1].detail["given_up"] is True
    assert len([record for record in caplog.records if "'validation'" in record.message]) == 1


def test_a_full_disk_is_told_once_and_ends_nothing(run, tmp_path, caplog, monkeypatch):
    class Full:
        def __getattr__(self, name):
            def write(*args, **options):
                raise RunError("the disk is full")

            return write

    monitor = monitor_of(run, tmp_path)
    monkeypatch.setattr(monitor._observer.recorder, "_writer", Full())
    with caplog.at_level(logging.WARNING, logger="theodolite"):
        for batch in monitor(run.batches):
            plain(run, batch)
        monitor.close()
    assert len([record for record in caplog.records if "cannot be written" in record.message]) == 1


def test_warnings_that_are_errors_break_nothing(run, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        watched(run, tmp_path)
    assert not events(tmp_path, "probe_failed")
    assert Run(tmp_path / "run").num_steps == 4


def test_a_loss_of_other_inputs_is_not_recorded(run, tmp_path):
    def body(run, batch):
        return plain(run, (batch[0] + 1, batch[1]))

    watched(run, tmp_path, body)
    assert "loss" not in Run(tmp_path / "run").names
    assert "promise" not in Run(tmp_path / "run").names
    assert len(events(tmp_path, "probe_failed")) == 3
    assert "other inputs" in events(tmp_path, "probe_failed")[0].detail["message"]


def test_nothing_is_kept_alive(run, tmp_path):
    seen = []

    def body(run, batch):
        output = run.model(batch[0])
        seen.append(weakref.ref(output))
        run.optimizer.zero_grad()
        functional.cross_entropy(output, batch[1]).backward()
        run.optimizer.step()

    monitor = monitor_of(run, tmp_path)
    for index, batch in enumerate(monitor(run.batches)):
        body(run, batch)
        if index:
            assert seen[index - 1]() is None
    assert monitor._observer.tape.calls == []
    monitor.close()


# --- batches of all kinds

Pair = namedtuple("Pair", ["x", "y"])


class Encoding(UserDict):
    """Like the one of transformers: attributes are items."""

    def __getattr__(self, name):
        return self.data[name]


class Bag:
    def __init__(self, x, y):
        self.x, self.y, self.name = x, y, "bag"


@pytest.mark.parametrize(
    ("pack", "unpack"),
    [
        (lambda x, y: (x, y), lambda b: (b[0], b[1])),
        (lambda x, y: {"x": x, "y": y, "n": 3, "none": None, "ids": [1, 2]}, lambda b: (b["x"], b["y"])),
        (Pair, lambda b: (b.x, b.y)),
        (lambda x, y: Encoding(x=x, y=y), lambda b: (b.x, b["y"])),
        (Bag, lambda b: (b.x, b.y)),
        (lambda x, y: [(x, {"deep": y}), None, "text"], lambda b: (b[0][0], b[0][1]["deep"])),
        (lambda x, y: (x.numpy(), y.numpy()), lambda b: (torch.from_numpy(b[0]), torch.from_numpy(b[1]))),
    ],
    ids=["tuple", "dict", "named tuple", "user dict", "object", "nested", "arrays"],
)
def test_batches_of_all_kinds(run, tmp_path, pack, unpack):
    run.loss = lambda model, batch: classify(model, unpack(batch))
    run.batches = [pack(torch.randn(5, 6), torch.randint(0, 3, (5,))) for _ in range(6)]
    losses = watched(run, tmp_path)
    record = Run(tmp_path / "run")
    assert not events(tmp_path, "probe_failed")
    assert record.series("loss").values.tolist() == [float(loss) for loss in losses]
    assert np.allclose(record.series("own_loss_before").values, record.series("loss").values, rtol=1e-6)
    copy = kept(run.batches[0])
    for leaf in leaves_of(copy):
        leaf[:] = 0
    assert all(leaf.any() for leaf in leaves_of(run.batches[0])[:1])


@pytest.mark.parametrize("batch", [3, None, "text", object()])
def test_batches_without_data(tmp_path, batch):
    model = nn.Linear(3, 1)
    run = made(model, flat_data())
    run.loss = lambda model, batch: model(torch.ones(2, 3)).square().mean()
    run.batches = [batch] * 20
    losses = watched(run, tmp_path)
    assert Run(tmp_path / "run").series("loss").values.tolist() == [float(loss) for loss in losses]
    assert not events(tmp_path, "probe_failed")


def test_packed_sequences_keep_their_batch_sizes():
    packed = pack_sequence([torch.ones(3), torch.ones(2)])
    doubled = mapped(packed, lambda leaf: leaf * 2)
    assert doubled.batch_sizes.tolist() == packed.batch_sizes.tolist()
    assert doubled.data.tolist() == [2.0] * 5


def test_the_sample_is_a_uniform_choice():
    counts = np.zeros(40)
    for seed in range(400):
        held = Held(torch.device("cpu"), seed)
        for index in range(40):
            held.arrive(torch.full((256, 1), float(index)))
        assert len(held.sample) == 8  # 2048 examples
        counts[[int(batch[0, 0]) for batch in held.sample]] += 1
    # Each of 40 is chosen with probability 1/5: 80 ± 8 in 400.
    assert np.abs(counts - 80).max() < 8 * 4.2
    assert not held.is_whole


def test_a_batch_is_held_once_however_often_it_passes():
    held = Held(torch.device("cpu"), 0)
    batch = (torch.randn(4, 2), torch.randn(4))
    for _ in range(50):
        held.arrive(batch)
    assert len(held.sample) == len(held.reference) == 1
    assert held.is_whole
    assert held.is_complete
    batch[0].add_(1)
    held.arrive(batch)
    assert len(held.sample) == 2


def test_losses_in_memory_are_thinned():
    recorder = Recorder(create_autospec(RunWriter, instance=True))
    for step in range(1, 20_001):
        recorder.add(step, {"loss": float(step)})
    seen = recorder.losses
    assert len(seen) < 4096
    assert np.array_equal(seen.steps, seen.values)
    assert seen.steps[-1] > 19_990


# --- processes

SCRIPT = """
import os, signal, sys, torch
from torch import nn
from theodolite import Monitor
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), 0.01)
def loss(model, batch): return (model(batch) ** 2).mean()
monitor = Monitor(model, optimizer, loss, run=sys.argv[1], budget={budget})
for step, batch in enumerate(monitor(torch.randn(8, 4) for _ in range(10**6)), 1):
    optimizer.zero_grad(); loss(model, batch).backward(); optimizer.step()
    {end}
"""


def script(tmp_path, end, *, budget=0.5, options=()):
    file = tmp_path / "train.py"
    file.write_text(textwrap.dedent(SCRIPT).format(budget=budget, end=end))
    return subprocess.run(
        [sys.executable, *options, str(file), str(tmp_path / "run")],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_killed_training_leaves_its_committed_steps(tmp_path):
    done = script(tmp_path, "if step == 60: import time; time.sleep(0.3)\n    if step == 62: os.kill(os.getpid(), 9)")
    assert done.returncode == -signal.SIGKILL
    record = Run(tmp_path / "run")
    assert len(record.series("loss")) >= 30
    assert not events(tmp_path, "stop")


def test_a_script_that_ends_without_closing_is_complete_and_silent(tmp_path):
    done = script(tmp_path, "if step == 20: break", options=("-W", "error"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert events(tmp_path, "stop")[0].step == 20
    assert not events(tmp_path, "probe_failed")


def test_a_script_that_ends_in_an_exception_is_not_complete(tmp_path):
    done = script(tmp_path, "if step == 20: raise ValueError('mine')")
    assert done.returncode == 1
    assert "mine" in done.stderr
    assert not events(tmp_path, "stop")
    assert Run(tmp_path / "run").num_steps == 20


def test_a_progress_bar_is_drawn_on_a_terminal_only(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("theodolite.monitor.loop._REFRESH_SECONDS", 0.0)
    threads = {thread.name for thread in __import__("threading").enumerate()}
    watched(run, tmp_path)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr("theodolite.monitor.loop._is_terminal", lambda: True)
    watched(made(mlp(), flat_data()), tmp_path)
    assert "measuring" in capsys.readouterr().err
    assert {thread.name for thread in __import__("threading").enumerate()} == threads


def test_the_start_method_of_processes_stays_free():
    code = """
import sys, multiprocessing, theodolite.monitor.loop as loop
loop._is_terminal = lambda: True
class Nobody:
    def arrive(self, batch, seconds): ...
    def leave(self): ...
    def pause(self): ...
    def headline(self): return ""
list(loop.Watched(Nobody(), [1, 2]))
multiprocessing.set_start_method("spawn")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, done.stderr
