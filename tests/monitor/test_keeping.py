"""Are parameters kept evenly in the logarithm of the step, within the limit of bytes, as they were?"""

import gc
import math
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from monitor.bits import monitored
from monitor.trainings import flat_data, made, mlp
from theodolite import Monitor, Run
from theodolite.errors import SettingError
from theodolite.monitor import keeping as module
from theodolite.monitor.keeping import Keeping, least_needed
from theodolite.objective import trainable
from theodolite.records import RunWriter


def counting(values=64, dtype=torch.float32):
    """A model whose parameters tell the step."""
    model = nn.Linear(values, 1, bias=False, dtype=dtype)
    with torch.no_grad():
        model.weight.zero_()
    return model, trainable(model)


def kept(folder, steps, *, limit=2**28, dtype=None, writes=lambda step: True, values=64):
    """Let θ = step pass by; write where that is affordable."""
    model, params = counting(values)
    with RunWriter(folder) as writer:
        keeping = Keeping(writer, params, limit=limit, dtype=dtype)
        for step in range(steps + 1):
            with torch.no_grad():
                model.weight.fill_(step)
            if keeping.is_copy_due(step):
                keeping.copy(step)
            if keeping.is_due(step) and writes(step):
                keeping.write(step)
        keeping.end(steps)
    run = Run(folder)
    assert run.snapshot_steps == tuple(keeping.steps)
    assert {p.name for p in (folder / "snapshots").iterdir()} == {f"step-{s:08d}.safetensors" for s in keeping.steps}
    return run


def spread(steps):
    """Gaps in log₂ of the step."""
    return np.diff(np.log2(1 + np.array(steps)))


@pytest.mark.parametrize("is_written", [True, False], ids=["at once", "at the end"])
def test_eight_a_doubling_without_a_limit(tmp_path, is_written):
    steps = Run(kept(tmp_path / "run", 3000, writes=lambda step: is_written).path).snapshot_steps
    assert steps[:12] == tuple(range(12))
    assert steps[-1] == 3000
    late = spread([step for step in steps if step > 300])[:-1]
    assert 0.125 <= late.mean() < 0.125 + 1 / 700  # steps are whole: the next one is rounded up
    assert late.max() < 0.125 + 1 / 200


@pytest.mark.parametrize("most", [2, 3, 7, 20])
@pytest.mark.parametrize("is_written", [True, False], ids=["at once", "at the end"])
def test_the_limit_holds_at_every_moment_and_leaves_an_even_spread(tmp_path, most, is_written):
    size, sizes = 64 * 4 + 160 + len("weight"), []
    folder = tmp_path / "run"

    def writes(step):
        held = [file.stat().st_size for file in (folder / "snapshots").glob("*.safetensors")]
        sizes.append(sum(held))
        return is_written

    run = kept(folder, 3000, limit=most * size, writes=writes)
    steps = run.snapshot_steps
    assert (steps[0], steps[-1], len(steps)) == (0, 3000, most)
    assert max(sizes, default=0) <= most * size
    even = math.log2(3001) / (most - 1)
    assert spread(steps).max() < 2 * even
    for step in steps:
        assert np.array_equal(run.snapshot(step)["weight"], np.full((1, 64), step, np.float32))


def test_one_fits_or_none(tmp_path):
    assert kept(tmp_path / "one", 9, limit=500).snapshot_steps == (9,)
    params = counting()[1]
    with RunWriter(tmp_path / "none") as writer:
        keeping = Keeping(writer, params, limit=100)
        assert not keeping.is_due(0)
        assert not keeping.is_copy_due(0)
        keeping.end(3)
    assert Run(tmp_path / "none").snapshot_steps == ()


def test_the_least_needed_is_the_one_in_the_narrowest_place():
    steps = [0, 1, 8, 9, 10, 100]
    brute = min(range(1, 5), key=lambda k: np.log1p(steps[k + 1]) - np.log1p(steps[k - 1]))
    assert least_needed(steps, steps) == steps[brute] == 9
    assert least_needed(steps, [1, 8]) == 8
    assert least_needed([0, 5], [0]) == 0
    assert least_needed([0, 5, 9], [0, 5, 9]) == 5


def test_what_waits_stays_within_its_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_WAITING_BYTES", 5 * 256)
    run = kept(tmp_path / "run", 500, writes=lambda step: step == 0)
    assert len(run.snapshot_steps) == 6  # the start, and five that waited
    assert (run.snapshot_steps[0], run.snapshot_steps[-1]) == (0, 500)
    for step in run.snapshot_steps:
        assert run.snapshot(step)["weight"][0, 0] == step


def test_what_is_large_is_written_at_once_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_WAITING_BYTES", 300)
    run = kept(tmp_path / "run", 40, writes=lambda step: step in {0, 17, 23})
    assert run.snapshot_steps == (0, 17, 23, 40)
    assert [float(run.snapshot(step)["weight"][0, 0]) for step in run.snapshot_steps] == [0, 17, 23, 40]


def test_bfloat16_halves_what_is_kept(tmp_path):
    exact, rounded = (kept(tmp_path / str(d), 300, dtype=d, values=4096) for d in (None, "bfloat16"))
    assert exact.snapshot_steps == rounded.snapshot_steps
    files = [[f.stat().st_size for f in (run.path / "snapshots").iterdir()] for run in (exact, rounded)]
    assert sum(files[1]) < 0.52 * sum(files[0])
    for step in rounded.snapshot_steps:
        truth = torch.full((1, 4096), float(step)).bfloat16().float().numpy()
        assert np.array_equal(rounded.snapshot(step)["weight"], truth)
        assert rounded.snapshot_dtypes(step) == {"weight": "bfloat16"}
    assert exact.snapshot_dtypes(7) == {}


def test_parameters_that_are_bfloat16_stay_exact(tmp_path):
    model, params = counting(dtype=torch.bfloat16)
    with torch.no_grad():
        model.weight.copy_(torch.linspace(-3, 1e4, 64))
    with RunWriter(tmp_path / "run") as writer:
        Keeping(writer, params, limit=1000).end(1)
    stored = Run(tmp_path / "run").snapshot(1)["weight"]
    assert np.array_equal(stored, model.weight.detach().float().numpy())


@pytest.mark.parametrize("settings", [{}, {"snapshot_dtype": "bfloat16"}, {"snapshots": 2500}, {"snapshots": 0}])
def test_a_watched_training_keeps_its_way(tmp_path, settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        run = made(mlp(), flat_data(60))
        points = []
        with monitored(tmp_path, **{"budget": 0.05} | settings)(run) as monitor:
            points.append([p.detach().clone() for p in run.model.parameters()])
            for batch in monitor(run.batches):
                run.body(run, batch)
                points.append([p.detach().clone() for p in run.model.parameters()])
    record, names = Run(tmp_path / "run"), [name for name, _ in run.model.named_parameters()]
    expected = {2500: (0, 10), 0: ()}.get(settings.get("snapshots"), tuple(range(11)))
    assert record.snapshot_steps == expected
    assert not record.events("probe_failed")
    for step in record.snapshot_steps:
        stored = record.snapshot(step)
        assert list(record.metadata["layers"]) == names
        assert set(stored) == set(names)
        for name, point in zip(names, points[step], strict=True):
            truth = point.bfloat16().float() if "snapshot_dtype" in settings else point
            assert np.array_equal(stored[name], truth)


def test_a_run_that_nobody_closes_has_its_way(tmp_path):
    model = nn.Linear(3, 1)
    monitor = Monitor(model, torch.optim.SGD(model.parameters(), 0.1), lambda m, b: m(b).sum(), run=tmp_path / "run")
    optimizer = monitor._observer.optimizer
    for batch in monitor([torch.ones(2, 3)] * 30):
        optimizer.zero_grad()
        model(batch).sum().backward()
        optimizer.step()
    del monitor, optimizer
    gc.collect()
    steps = Run(tmp_path / "run").snapshot_steps
    assert steps[:12] == tuple(range(12))
    assert steps[-1] >= 27


KILLED = """
import sys, torch
from theodolite.monitor.keeping import Keeping
from theodolite.objective import trainable
from theodolite.records import RunWriter
model = torch.nn.Linear(20000, 1, bias=False)
params = trainable(model)
keeping = Keeping(RunWriter(sys.argv[1]), params, limit=12 * 81000)
step = 0
while True:
    with torch.no_grad():
        model.weight.fill_(step)
    if keeping.is_due(step):
        keeping.write(step)
        print(step, flush=True)
    step += 1
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_killed_process_leaves_whole_files(tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        for _ in range(60):  # well beyond the twelve that fit: some were let go
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    run = Run(tmp_path / "run")
    assert 11 <= len(run.snapshot_steps) <= 12
    for step in run.snapshot_steps:
        assert (run.snapshot(step)["weight"] == step).all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"snapshots": -1}, "snapshots must be a number of bytes"),
        ({"snapshots": math.inf}, "snapshots must be a number of bytes"),
        ({"snapshots": math.nan}, "snapshots must be a number of bytes"),
        ({"snapshot_dtype": "float8"}, "snapshot_dtype must be one of"),
    ],
)
def test_settings_that_mean_nothing_are_refused_before_a_folder_is_made(tmp_path, settings, words):
    model = nn.Linear(2, 1)
    with pytest.raises(SettingError, match=words):
        Monitor(model, torch.optim.SGD(model.parameters()), lambda m, b: m(b).sum(), run=tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()
