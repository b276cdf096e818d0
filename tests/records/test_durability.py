"""What survives: kills at random moments, full disks, forks, folders that may not be written."""

import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from theodolite.errors import RunError
from theodolite.records import Run, RunWriter

ACKNOWLEDGING = """
import os, sys
from theodolite.records import RunWriter
import theodolite.records.writer as module
if sys.argv[2] == "truncate":
    module.filesystem_type = lambda path: "nfs4"
writer = RunWriter(sys.argv[1], durable=sys.argv[2] == "durable")
names = [f"series_{i}" for i in range(20)]
step = 0
while True:
    for _ in range(step % 7 + 1):
        step += 1
        writer.scalars(step, {name: step + index for index, name in enumerate(names)})
        if step % 50 == 0:
            writer.snapshot(step, {"weight": __import__("numpy").full(100, step)})
    writer.commit()
    os.write(1, b"%d\\n" % step)
"""


def kill_once(folder, mode, seconds):
    """Kill a writer at some moment, and check that everything it had acknowledged is there and whole."""
    command = [sys.executable, "-c", ACKNOWLEDGING, str(folder), mode]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        first = process.stdout.readline()
        timer = threading.Timer(seconds, process.kill)
        timer.start()
        acknowledged = (first + process.stdout.read()).split(b"\n")[:-1]  # a last line without its end was not sent
        process.wait()
        timer.join()
    assert process.returncode == -signal.SIGKILL
    run = Run(folder)
    steps = run.series("series_7").steps
    assert np.array_equal(steps, np.arange(1, len(steps) + 1))
    assert len(steps) >= int(acknowledged[-1])
    assert np.array_equal(run.series("series_7").values, steps + 7.0)
    assert not run.is_live
    assert not run.is_complete
    for step in run.snapshot_steps:
        assert np.array_equal(run.snapshot(step)["weight"], np.full(100, step))
    connection = sqlite3.connect(folder / "run.db")
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    return int(acknowledged[-1])


@pytest.mark.parametrize(("mode", "trial"), [("normal", 0), ("normal", 1), ("durable", 0), ("truncate", 0)])
def test_a_kill_loses_nothing_acknowledged(tmp_path, mode, trial):
    assert kill_once(tmp_path / "first", mode, random.Random().uniform(0.02, 0.5)) > 0


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["normal", "durable", "truncate"])
@pytest.mark.parametrize("trial", range(8))
def test_many_kills_lose_nothing_acknowledged(tmp_path, mode, trial):
    assert kill_once(tmp_path / "first", mode, random.Random().uniform(0.0, 1.5)) > 0


def test_a_killed_run_opens_without_its_index_of_the_log(tmp_path):
    kill_once(tmp_path / "first", "normal", 0.1)
    steps = Run(tmp_path / "first").num_steps
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("run.db", "run.db-wal"):
        shutil.copyfile(tmp_path / "first" / name, copy / name)
    assert Run(copy).num_steps == steps


UNPRIVILEGED = """
import os, sys
from theodolite.records import Run
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
try:
    open(os.path.join(sys.argv[1], "x"), "w")
except OSError:
    pass
else:
    raise AssertionError("the folder can be written")
run = Run(sys.argv[1])
print(run.num_steps, len(run.series("series_7")), run.is_live)
"""


ONE_MORE = """
import os, sqlite3, struct, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(f"PRAGMA journal_mode = {sys.argv[2]}")
connection.execute("PRAGMA cache_size = 1")  # so that changes reach the file before they are committed
(step,) = connection.execute("SELECT max(step) FROM scalars").fetchone()
connection.execute("BEGIN")
row = (step + 1, struct.pack("<20d", *range(20)))
connection.execute("INSERT INTO scalars (step, layout, time, value) VALUES (?, 1, 0, ?)", row)
if sys.argv[2] == "wal":
    connection.execute("COMMIT")
else:
    connection.execute("UPDATE scalars SET time = 1")
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def open_folder():
    """A folder that other users can reach, which those of pytest are not."""
    folder = Path(tempfile.mkdtemp(prefix="theodolite-test-"))
    folder.chmod(0o755)
    yield folder / "first"
    (folder / "first").chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize("state", ["closed", "closed wal", "killed", "killed without index", "killed truncate"])
def test_a_folder_that_may_not_be_written(open_folder, state):
    file = open_folder / "run.db"
    names = [f"series_{i}" for i in range(20)]
    with RunWriter(open_folder) as writer:
        for step in range(1, 301):
            writer.scalars(step, dict.fromkeys(names, 1.0))
    expected = 300
    mode = "truncate" if "truncate" in state else "wal"
    if state.startswith("killed"):
        subprocess.run([sys.executable, "-c", ONE_MORE, str(file), mode], check=False)
        assert file.with_name("run.db-journal" if mode == "truncate" else "run.db-wal").stat().st_size > 0
        expected += mode == "wal"  # the other one was never committed, and must be rolled back
    elif state == "closed wal":
        connection = sqlite3.connect(file)
        connection.execute("PRAGMA journal_mode = wal")
        connection.close()
    if "without" in state:
        file.with_name("run.db-shm").unlink()
    open_folder.chmod(0o555)
    done = subprocess.run(
        [sys.executable, "-c", UNPRIVILEGED, str(open_folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(expected), str(expected), "False"]


def test_a_reader_sees_whole_rows_in_order_while_they_are_written(tmp_path):
    command = [sys.executable, "-c", ACKNOWLEDGING, str(tmp_path / "first"), "normal"]
    seen, end = 0, time.monotonic() + 1.5
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        drain = threading.Thread(target=process.stdout.read)
        drain.start()
        run = Run(tmp_path / "first")
        assert run.is_live
        while time.monotonic() < end:
            frame = run.frame(["series_0", "series_19"])
            count = len(frame["step"])
            assert count >= seen
            assert np.array_equal(frame["step"], np.arange(1, count + 1))
            assert np.array_equal(frame["series_19"], frame["step"] + 19.0)
            seen = count
        process.kill()
        drain.join()
    assert seen > 100
    assert not run.is_live


def test_a_run_is_read_from_other_threads(tmp_path):
    with RunWriter(tmp_path / "first") as writer:
        writer.scalars(1, {"loss": 1.0})
    run, found = Run(tmp_path / "first"), []
    threads = [threading.Thread(target=lambda: found.append(run.series("loss").values.item())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1.0] * 4


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_never_writes(tmp_path):
    folder = tmp_path / "first"
    writer = RunWriter(folder)
    writer.scalars(1, {"loss": 1.0})

    def child():
        writer.scalars(2, {"loss": 2.0, "new": 1.0})
        writer.array("x", 2, np.zeros(1))
        writer.event("note", 2)
        writer.result(None)
        writer.update_metadata({"child": True})
        writer.snapshot(2, {"x": np.zeros(1)})
        writer.commit()
        writer.close()
        os._exit(0)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == 0
    assert Run(folder).is_live
    writer.scalars(3, {"loss": 3.0})
    writer.close()
    run = Run(folder)
    assert run.series("loss").steps.tolist() == [1, 3]
    assert (run.names, run.events(), run.array_names, run.snapshot_steps) == (("loss",), (), (), ())
    assert "child" not in run.metadata


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_drops_the_writer_and_ends_properly_harms_nothing(tmp_path):
    script = """
import gc, os, sys
from theodolite.records import RunWriter
writer = RunWriter(sys.argv[1])
for step in range(100):
    writer.scalars(step, {"loss": 1.0})
    if step % 10 == 5:
        writer._database._connection.execute("BEGIN IMMEDIATE")  # as if another thread were just committing
        pid = os.fork()
        if pid == 0:
            del writer
            gc.collect()
            sys.exit(0)
        os.waitpid(pid, 0)
        writer._database._connection.execute("COMMIT")
writer.close()
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script, str(tmp_path / "first")], check=True)
    assert len(Run(tmp_path / "first").series("loss")) == 100


def test_children_that_outlive_a_killed_writer_do_not_hold_its_folder(tmp_path):
    script = """
import os, sys, time
from theodolite.records import RunWriter
writer = RunWriter(sys.argv[1])
pid = os.fork()
if pid == 0:
    os.close(1)
    time.sleep(5)
    os._exit(0)
print(pid, flush=True)
time.sleep(0.1)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(tmp_path / "first")], stdout=subprocess.PIPE, check=False
    )
    child = int(done.stdout)
    os.kill(child, 0)  # still there
    assert not Run(tmp_path / "first").is_live
    RunWriter(tmp_path / "first").close()
    os.kill(child, signal.SIGKILL)


FULL_DISK = """
import resource, signal, sys
import numpy as np
from theodolite.errors import RunError
from theodolite.records import Run, RunWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
writer = RunWriter(sys.argv[1])
step = acknowledged = 0
try:
    while True:
        step += 1
        writer.scalars(step, {f"series_{i}": step for i in range(50)})
        if step % 10 == 0:
            writer.commit()
            acknowledged = step
except RunError as error:
    assert "must be writable" in str(error), error
try:
    writer.snapshot(step, {"x": np.zeros(10**6)})
except RunError:
    pass
else:
    raise AssertionError("a snapshot was written on a full disk")
run = Run(sys.argv[1])
assert run.num_steps >= acknowledged > 0
assert run.snapshot_steps == ()
if sys.argv[3] == "freed":
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    writer.commit()
    assert Run(sys.argv[1]).num_steps == step, (Run(sys.argv[1]).num_steps, step)
writer.close()
writer.close()
print(acknowledged, step)
"""


@pytest.mark.parametrize("limit", [200_000, 1_000_000])
@pytest.mark.parametrize("after", ["full", "freed"])
def test_a_full_disk_is_told_and_what_was_written_stays(tmp_path, limit, after):
    folder = tmp_path / "first"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(folder), str(limit), after], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    acknowledged, step = map(int, done.stdout.split())
    found = Run(folder).series("series_49")
    assert len(found) == step if after == "freed" else len(found) >= acknowledged
    assert np.array_equal(found.values, found.steps)
    assert not list(folder.glob("snapshots/*"))
    connection = sqlite3.connect(folder / "run.db")
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_rows_beyond_patience_are_dropped_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("theodolite.records.database._PATIENCE", 1000)
    writer = RunWriter(tmp_path / "first")
    real = writer._database._connection

    class Broken:
        in_transaction = False

        def execute(self, *_):
            raise sqlite3.OperationalError("disk I/O error")

    writer._database._connection = Broken()
    for step in range(20):
        writer.scalars(step, {"loss": step})
    with pytest.raises(RunError, match="disk I/O error"):
        writer.commit()
    assert writer.dropped == 20
    writer._database._connection = real
    writer.scalars(20, {"loss": 20.0})
    writer.close()
    assert Run(tmp_path / "first").series("loss").values.tolist() == [20.0]
    assert Run(tmp_path / "first").metadata["dropped"] == 20


def test_each_call_of_the_disk_may_fail_and_nothing_that_waits_is_lost(tmp_path):
    """The k-th statement fails, for every k: what was refused is written by the next commit that succeeds."""
    for failing in range(1, 25):
        folder = tmp_path / str(failing)
        writer = RunWriter(folder)
        real = writer._database._connection

        class Faulty:
            calls = 0

            def __getattr__(self, name, real=real, failing=failing):
                found = getattr(real, name)
                if name not in {"execute", "executemany"}:
                    return found
                Faulty.calls += 1
                if Faulty.calls == failing:
                    raise sqlite3.OperationalError("database or disk is full")
                return found

        writer._database._connection, errors = Faulty(), 0
        for step in range(6):
            try:
                writer.scalars(step, {f"series_{step // 2}": step, "loss": step})
                writer.commit()
            except RunError:
                errors += 1
        writer.commit()
        writer.close()
        assert errors <= 1
        assert Run(folder).series("loss").values.tolist() == [0, 1, 2, 3, 4, 5]
        assert not Run(folder).is_live


def test_closing_tells_of_a_failure_once(tmp_path):
    writer = RunWriter(tmp_path / "first")
    writer._database._connection.close()
    writer.scalars(1, {"loss": 1.0})
    with pytest.raises(RunError, match="must be writable"):
        writer.close()
    writer.close()
    assert not Run(tmp_path / "first").is_live


def test_a_long_run_is_read_within_a_second(tmp_path):
    values = {f"series_{i}": float(i) for i in range(50)}
    with RunWriter(tmp_path / "first") as writer:
        start = time.process_time()
        for step in range(20_000):
            writer.scalars(step, values)
        writer.commit()
        assert 20_000 / (time.process_time() - start) > 5_000
    assert (tmp_path / "first" / "run.db").stat().st_size / 20_000 <= 600
    start = time.process_time()
    assert len(Run(tmp_path / "first").series("series_49")) == 20_000
    assert time.process_time() - start < 0.5
