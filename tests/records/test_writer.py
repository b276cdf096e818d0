"""What is written is read: series, arrays, events, results, snapshots, metadata."""

import json
import math
import os
import sqlite3
import subprocess
import sys
import threading

import numpy as np
import pytest
import safetensors.torch
import torch

import theodolite.records.writer as writer_module
from theodolite.errors import RunError
from theodolite.records import OBSTACLES, Diagnosis, Estimate, Event, Findings, Line, Run, RunWriter, Series, list_runs
from theodolite.records.schema import SERIES_NAMES


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs" / "first"


def test_series_return_to_the_bit(folder):
    values = [1.5, math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308]
    with RunWriter(folder) as writer:
        for step, value in enumerate(values, start=1):
            writer.scalars(step, {"loss": value, "learning_rate": np.float32(0.5)})
    series = Run(folder).series("loss")
    assert series.values.tobytes() == np.array(values).tobytes()
    assert series.steps.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert series.steps.dtype == np.int64
    assert Run(folder).names == ("loss", "learning_rate")
    assert Run(folder).num_steps == 7


def test_the_last_row_of_a_step_counts_whatever_its_layout(folder):
    with RunWriter(folder) as writer:
        writer.scalars(5, {"loss": 1.0, "x": 1.0})
        writer.scalars(2, {"x": 2.0})
        writer.scalars(5, {"x": 3.0, "loss": 4.0})
        writer.scalars(5, {"loss": 5.0})
        writer.scalars(7, {"x": 6.0})
        writer.scalars(8, {})
    run = Run(folder)
    assert (run.series("loss").steps.tolist(), run.series("loss").values.tolist()) == ([5], [5.0])
    np.testing.assert_array_equal(run.series("x").steps, [2, 5, 7])
    np.testing.assert_array_equal(run.series("x").values, [2.0, 3.0, 6.0])
    frame = run.frame()
    assert list(frame) == ["step", "loss", "x"]
    np.testing.assert_array_equal(frame["step"], [2, 5, 7])
    np.testing.assert_array_equal(frame["loss"], [np.nan, 5.0, np.nan])
    np.testing.assert_array_equal(run.frame(["x"])["x"], [2.0, 3.0, 6.0])
    assert [len(column) for column in run.frame([]).values()] == [0]


def test_a_documented_series_may_be_empty_and_an_unknown_one_is_refused(folder):
    with RunWriter(folder) as writer:
        writer.scalars(1, {"loss": 1.0, "my_metric": 2.0})
    run = Run(folder)
    for name in set(SERIES_NAMES) - {"loss"}:
        assert isinstance(run.series(name), Series)
        assert len(run.series(name)) == 0
    with pytest.raises(RunError, match=r"my_metrik.*nearest are: my_metric"):
        run.series("my_metrik")
    with pytest.raises(RunError, match="Recorded are: loss, my_metric"):
        run.frame(["loss", "@@@@"])


def test_an_empty_run_is_a_run(folder):
    RunWriter(folder).close()
    run = Run(folder)
    assert (run.num_steps, run.names, run.events(), run.snapshot_steps) == (0, (), (), ())
    assert (run.array_names, run.result("Line"), run.results("Line")) == ((), None, ())
    assert not run.is_complete
    assert not run.is_live
    assert run.array_steps("layer_grad_norm").shape == (0,)
    assert list(run.frame()) == ["step"]


@pytest.mark.parametrize(
    "array",
    [
        np.array(1.5, np.float32),
        np.arange(6, dtype=">i4").reshape(2, 3).T,
        np.zeros((0, 3)),
        np.array(["weight", "bias"]),
        np.array([True, False]),
        np.array(1 + 2j),
    ],
)
def test_arrays_return(folder, array):
    with RunWriter(folder) as writer:
        writer.array("thing", 3, array)
    found = Run(folder).array("thing")
    np.testing.assert_array_equal(found, array)
    assert found.shape == np.shape(array)
    assert found.dtype == np.asarray(array).dtype.newbyteorder("=")


def test_an_array_is_the_last_at_or_before_a_step(folder):
    with RunWriter(folder) as writer:
        for step, value in [(10, 1), (30, 3), (20, 2), (20, 4)]:
            writer.array("layer_grad_norm", step, np.array([value]))
    run = Run(folder)
    assert [run.array("layer_grad_norm", step).item() for step in (10, 19, 20, 29, 99)] == [1, 1, 4, 4, 3]
    assert run.array("layer_grad_norm").item() == 3
    assert run.array_steps("layer_grad_norm").tolist() == [10, 20, 30]
    with pytest.raises(RunError, match="at or before step 9"):
        run.array("layer_grad_norm", 9)
    with pytest.raises(RunError, match=r"'nothing' was not\. Recorded are: \['layer_grad_norm'\]"):
        run.array("nothing")


def test_events_return_in_order(folder):
    with RunWriter(folder) as writer:
        writer.event("start", 0)
        writer.event("nonfinite", 4, {"what": "loss", "value": math.nan, "shape": (2, 3)})
        writer.event("stop", 9)
    run = Run(folder)
    assert [event.kind for event in run.events()] == ["start", "nonfinite", "stop"]
    (event,) = run.events("nonfinite")
    assert isinstance(event, Event)
    assert (event.step, event.detail["what"], event.detail["shape"]) == (4, "loss", [2, 3])
    assert math.isnan(event.detail["value"])
    assert run.is_complete
    assert run.num_steps == 9


def test_the_last_result_of_a_kind_counts(folder):
    line = Line(np.array([0.0, 1.0]), np.array([2.0, 1.0]), np.array([np.nan, 0.1]))
    with RunWriter(folder) as writer:
        writer.result(Diagnosis("undetermined", {}, Findings(())))
        writer.result(line, step=3)
        writer.result(Diagnosis("plateau", dict.fromkeys(OBSTACLES, 0.1), Findings(())))
        with pytest.raises(RunError, match=r"record of encoding\.RECORDS"):
            writer.result({"loss": 1.0})
    run = Run(folder)
    assert run.result("Diagnosis").obstacle == "plateau"
    assert [record.obstacle for record in run.results("Diagnosis")] == ["undetermined", "plateau"]
    np.testing.assert_array_equal(run.result("Line").errors, line.errors)
    assert run.result("Evidence") is None


def test_snapshots_return(folder):
    tensors = {
        "weight": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "scale": np.array(2.5),
        "": np.array([True]),
        "__metadata__": np.zeros((0, 2)),
        "=x": np.array([1], np.float16),
        "big": np.array([1.0], ">f8"),
        "层/θ.0": np.array([1], np.uint8),
    }
    with RunWriter(folder) as writer:
        writer.snapshot(12, tensors, dtype_names={"weight": "bfloat16"})
        writer.snapshot(0, {"weight": np.zeros(1)})
        writer.snapshot(0, {"weight": np.ones(1)})
        with pytest.raises(RunError, match="'weight' is object"):
            writer.snapshot(1, {"weight": np.array([None])})
    run = Run(folder)
    assert run.snapshot_steps == (0, 12)
    found = run.snapshot(12)
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(found[name], tensor)
        assert found[name].shape == tensor.shape
        assert found[name].dtype == tensor.dtype.newbyteorder("=")
    assert run.snapshot(0)["weight"].item() == 1.0
    assert run.snapshot_dtypes(12) == {"weight": "bfloat16"}
    assert run.snapshot_dtypes(0) == {}
    assert sorted(path.name for path in (folder / "snapshots").iterdir()) == [
        "step-00000000.safetensors",
        "step-00000012.safetensors",
    ]


def test_a_snapshot_that_is_let_go_leaves_no_file(folder):
    with RunWriter(folder) as writer:
        for step in (0, 1, 2):
            writer.snapshot(step, {"weight": np.full(3, step)})
        writer.drop_snapshot(1)
        writer.drop_snapshot(7)  # never taken: no fault
        run = Run(folder)
        assert run.snapshot_steps == (0, 2)
        with pytest.raises(RunError, match=r"step 1 it was let go\. There are: \(0, 2\)"):
            run.snapshot(1)
        assert len(list((folder / "snapshots").iterdir())) == 2
        writer.snapshot(1, {"weight": np.full(3, 9)})
    assert run.snapshot_steps == (0, 1, 2)
    assert run.snapshot(1)["weight"].tolist() == [9, 9, 9]


def test_bfloat16_takes_two_bytes_where_that_loses_nothing(folder):
    exact, more = np.array([1.0, -0.0, 3.140625, np.inf, 1e-40], np.float32), np.array([np.pi], np.float32)
    exact[-1] = np.array([1 << 16], np.uint32).view(np.float32)[0]  # a subnormal bfloat16
    with RunWriter(folder) as writer:
        names = dict.fromkeys(("exact", "more", "scalar"), "bfloat16")
        scalar = np.array(2.0, np.float32)
        writer.snapshot(0, {"exact": exact, "more": more, "scalar": scalar, "wide": exact}, dtype_names=names)
    run = Run(folder)
    found, stored = run.snapshot(0), run.stored_snapshot(0)
    assert found["exact"].tobytes() == exact.tobytes()
    assert (found["more"], found["scalar"]) == (more, scalar)
    assert found["scalar"].shape == ()
    dtypes = {name: span.dtype for name, span in stored.spans.items()}
    assert dtypes == {"exact": "BF16", "more": "F32", "scalar": "BF16", "wide": "F32"}
    theirs = safetensors.torch.load_file(stored.path)
    assert theirs["exact"].dtype is torch.bfloat16
    assert theirs["exact"].float().numpy().tobytes() == exact.tobytes()


@pytest.mark.parametrize("dtype", ["?", "u1", "i1", "u2", "i2", "f2", "u4", "i4", "f4", "u8", "i8", "f8", ">f4"])
def test_pieces_are_pieces(folder, dtype):
    array = (np.arange(24) % 5).astype(dtype).reshape(4, 6)
    with RunWriter(folder) as writer:
        writer.snapshot(3, {"a": np.ones(3, np.float32), "__metadata__": array.T, "": np.zeros((0, 2))})
    stored = Run(folder).stored_snapshot(3)
    assert {name: span.count for name, span in stored.spans.items()} == {"a": 3, "__metadata__": 24, "": 0}
    for first, count in ((0, 24), (5, 7), (23, 1), (24, 0)):
        piece = stored.piece("__metadata__", first, count)
        np.testing.assert_array_equal(piece, array.T.reshape(-1)[first : first + count].astype(float))
    theirs = safetensors.torch.load_file(stored.path)
    np.testing.assert_array_equal(theirs["=__metadata__"].double().numpy(), array.T.astype(float))
    stored.path.write_bytes(stored.path.read_bytes()[:-30])
    with pytest.raises(RunError, match="it was cut"):
        [stored.piece(name, 0, span.count) for name, span in stored.spans.items()]
    with pytest.raises(RunError, match="damaged"):
        Run(folder).stored_snapshot(3)
    stored.path.unlink()
    with pytest.raises(RunError, match="must be there"):
        stored.piece("a", 0, 1)


def test_a_damaged_or_missing_snapshot_is_refused(folder):
    with RunWriter(folder) as writer:
        writer.snapshot(1, {"weight": np.zeros(9)})
    run = Run(folder)
    file = folder / "snapshots" / "step-00000001.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(RunError, match="damaged"):
        run.snapshot(1)
    file.unlink()
    with pytest.raises(RunError, match="must be there"):
        run.snapshot(1)
    with pytest.raises(RunError, match=r"step 7 none was\. There are: \(1,\)"):
        run.snapshot(7)


def test_a_snapshot_outside_its_folder_is_refused(folder, tmp_path):
    RunWriter(folder).close()
    (tmp_path / "secret").write_bytes(b"secret")
    with sqlite3.connect(folder / "run.db") as connection:
        connection.execute("INSERT INTO snapshots VALUES (1, 1, '../../secret', '', 6, NULL)")
    connection.close()
    with pytest.raises(RunError, match="must lie in snapshots/"):
        Run(folder).snapshot(1)


def test_metadata_says_who_wrote(folder, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--lr=0.1", "--api-key", "s3cr3t", "--wandb_token=s3cr3t"])
    with RunWriter(folder, metadata={"torch": "2.13", "betas": (0.9, math.nan), "path": folder}) as writer:
        writer.update_metadata({"layers": ["a", "b"], "torch": "2.14"})
    found = Run(folder).metadata
    assert found["format"] == {"major": 1, "minor": 0}
    assert found["command"] == ["train.py", "--lr=0.1", "--api-key", "***", "--wandb_token=***"]
    assert (found["torch"], found["layers"], found["path"]) == ("2.14", ["a", "b"], str(folder))
    assert found["betas"][0] == 0.9
    assert math.isnan(found["betas"][1])
    assert found["pid"] == os.getpid()
    assert found["previous"] is None
    assert {"created", "theodolite", "python", "numpy", "sqlite", "platform", "host", "cpus", "durable"} <= set(found)
    assert b"s3cr3t" not in (folder / "run.db").read_bytes()
    connection = sqlite3.connect(folder / "run.db")
    for (text,) in connection.execute("SELECT value FROM metadata"):
        json.loads(text, parse_constant=pytest.fail)
    connection.close()


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda w: w.scalars(-1, {"loss": 1.0}), "at least 0"),
        (lambda w: w.scalars(2**63, {"loss": 1.0}), "below 2"),
        (lambda w: w.scalars(1, {"\ud800": 1.0}), "valid Unicode"),
        (lambda w: w.array("x", 1, np.array([None])), "dtype object"),
        (lambda w: w.event("note", 1, {"x": object()}), "must be JSON"),
        (lambda w: w.update_metadata({"x": object()}), "metadata 'x'"),
        (lambda w: w.update_metadata({"format": 2}), "left to the writer"),
    ],
)
def test_what_can_not_be_written_is_refused_and_the_rest_goes_on(folder, call, match):
    with RunWriter(folder) as writer:
        writer.scalars(1, {"loss": 1.0})
        with pytest.raises(RunError, match=match):
            call(writer)
        writer.scalars(2, {"loss": 2.0})
    assert Run(folder).series("loss").values.tolist() == [1.0, 2.0]


def test_wrong_types_are_refused_without_a_checker(folder):
    """In a process of its own: here each annotation is checked, so the code would never see them."""
    script = """
import sys
from theodolite.errors import RunError
from theodolite.records import Run, RunWriter
calls = {
    "whole number": lambda: writer.scalars(1.5, {"loss": 1.0}),
    "must be numbers": lambda: writer.scalars(1, {"loss": "high"}),
    "must be a string": lambda: writer.scalars(1, {3: 1.0}),
    "a name must be a string": lambda: writer.event(None, 1),
}
with RunWriter(sys.argv[1]) as writer:
    for words, call in calls.items():
        try:
            call()
        except RunError as error:
            assert words in str(error), error
        else:
            raise AssertionError(words)
    writer.scalars(2, {"loss": 2.0})
assert Run(sys.argv[1]).series("loss").values.tolist() == [2.0]
"""
    subprocess.run([sys.executable, "-c", script, str(folder)], check=True)


def test_bad_metadata_touches_nothing(folder):
    with pytest.raises(RunError, match="metadata 'x'"):
        RunWriter(folder, metadata={"x": object()})
    assert not folder.exists()


def test_a_closed_writer_refuses_and_closes_twice(folder):
    writer = RunWriter(folder)
    writer.close()
    writer.close()
    writer.commit()
    with pytest.raises(RunError, match="is closed"):
        writer.scalars(1, {"loss": 1.0})
    assert writer.path == folder


def test_a_closed_run_is_one_file_and_nobody_holds_it(folder):
    with RunWriter(folder) as writer:
        writer.scalars(1, {"loss": 1.0})
        assert Run(folder).is_live
    assert sorted(path.name for path in folder.iterdir()) == ["lock", "run.db"]
    assert not Run(folder).is_live
    assert (folder / "lock").read_bytes() == b""


def test_a_forgotten_writer_commits_when_it_is_collected(folder):
    writer = RunWriter(folder)
    writer.scalars(1, {"loss": 1.0})
    del writer
    assert Run(folder).series("loss").values.tolist() == [1.0]
    assert not Run(folder).is_live


def test_a_script_that_ends_without_closing_loses_nothing(folder):
    script = (
        "import sys; from theodolite.records import RunWriter\n"
        "w = RunWriter(sys.argv[1])\n"
        "for step in range(10): w.scalars(step, {'loss': step})\n"
        "raise SystemExit('bug')"
    )
    subprocess.run([sys.executable, "-c", script, str(folder)], check=False, capture_output=True)
    assert Run(folder).series("loss").values.tolist() == list(range(10))


def test_rows_are_committed_at_the_latest_after_the_interval(folder, monkeypatch):
    with RunWriter(folder) as writer:
        writer.commit()
        writer.scalars(1, {"loss": 1.0})
        assert len(Run(folder).series("loss")) == 0
        monkeypatch.setattr("theodolite.records.database.INTERVAL", 0.0)
        writer.scalars(2, {"loss": 2.0})
        assert len(Run(folder).series("loss")) == 2


def test_durable_commits_each_row(folder):
    with RunWriter(folder, durable=True) as writer:
        for step in range(1, 4):
            writer.scalars(step, {"loss": 1.0})
            assert len(Run(folder).series("loss")) == step
        assert writer._database._connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_threads_share_a_writer(folder):
    start = threading.Barrier(4)

    def write(thread):
        for step in range(200):
            if step % 20 == 0:
                start.wait(timeout=20)  # all four meet a new set of names at the same moment
            writer.scalars(step, {f"series_{thread}_{step // 20}": step})

    with RunWriter(folder) as writer:
        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(Run(folder).names) == 40
    for thread in range(4):
        for part in range(10):
            steps = list(range(20 * part, 20 * part + 20))
            assert Run(folder).series(f"series_{thread}_{part}").values.tolist() == steps


def test_a_network_file_system_gets_no_write_ahead_log(folder, monkeypatch):
    monkeypatch.setattr(writer_module, "filesystem_type", lambda path: "nfs4")
    with RunWriter(folder) as writer:
        for step in range(3):
            writer.scalars(step, {"loss": step})
            writer.commit()
            assert len(Run(folder).series("loss")) == step + 1
        assert not (folder / "run.db-wal").exists()
    assert Run(folder).metadata["journal_mode"] == "truncate"
    assert Run(folder).metadata["filesystem"] == "nfs4"


def test_list_runs(tmp_path):
    for name in ("b", "a/deep", ".hidden"):
        RunWriter(tmp_path / name).close()
    assert list_runs(tmp_path) == (tmp_path / "a" / "deep", tmp_path / "b")
    assert list_runs(tmp_path / "b") == (tmp_path / "b",)
    assert list_runs(tmp_path / "b" / "..") == list_runs(str(tmp_path / "b" / ".."))
    with pytest.raises(RunError, match="must lie in a folder"):
        list_runs(tmp_path / "nowhere")


def test_records_import_no_torch():
    script = "import theodolite.records, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_estimates_are_results_too(folder):
    with RunWriter(folder) as writer:
        writer.result(Estimate(1.0, math.nan))
    assert Run(folder).result("Estimate").value == 1.0
