"""One living writer a folder; nothing that was there is lost or touched."""

import errno
import json
import os
import socket
import sqlite3
import subprocess
import sys
import time

import pytest

import theodolite.records.folder as folder_module
from theodolite.errors import RunError
from theodolite.records import Run, RunWriter

WRITER = "import sys, time; from theodolite.records import RunWriter\nw = RunWriter(sys.argv[1])\n"


def record(folder, value):
    with RunWriter(folder) as writer:
        writer.scalars(1, {"loss": value})


def test_the_newest_run_lives_at_the_plain_path(tmp_path, caplog):
    folder = tmp_path / "first"
    for value in (1.0, 2.0, 3.0):
        record(folder, value)
        (folder / "report.html").write_text(str(value))
    values = {path.name: Run(path).series("loss").values.item() for path in tmp_path.iterdir()}
    assert values == {"first": 3.0, "first.1": 1.0, "first.2": 2.0}
    assert (tmp_path / "first.2" / "report.html").read_text() == "2.0"
    assert Run(folder).metadata["previous"] == "first.2"
    assert "moved to" in caplog.text


def test_the_lowest_free_number_is_taken(tmp_path):
    (tmp_path / "first.1").write_text("somebody else's")
    (tmp_path / "first.2").symlink_to("nowhere")
    record(tmp_path / "first", 1.0)
    record(tmp_path / "first", 2.0)
    assert Run(tmp_path / "first").metadata["previous"] == "first.3"
    assert (tmp_path / "first.1").read_text() == "somebody else's"


def test_a_linked_folder_is_moved_by_its_link(tmp_path):
    record(tmp_path / "real", 1.0)
    (tmp_path / "latest").symlink_to(tmp_path / "real")
    record(tmp_path / "latest", 2.0)
    assert Run(tmp_path / "real").series("loss").values.item() == 1.0
    assert Run(tmp_path / "latest.1").series("loss").values.item() == 1.0
    assert Run(tmp_path / "latest").series("loss").values.item() == 2.0


def test_a_killed_run_is_moved_with_its_log(tmp_path):
    folder = tmp_path / "first"
    script = WRITER + "w.scalars(1, {'loss': 5.0}); w.commit(); import os; os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", script, str(folder)], check=False)
    assert not Run(folder).is_live
    record(folder, 6.0)
    assert Run(tmp_path / "first.1").series("loss").values.item() == 5.0


def test_a_living_writer_is_not_disturbed(tmp_path):
    folder = tmp_path / "first"
    with RunWriter(folder) as writer:
        with pytest.raises(RunError, match=rf"living process {os.getpid()} on .*monitor\.close"):
            RunWriter(folder)
        writer.scalars(1, {"loss": 1.0})
    assert Run(folder).series("loss").values.item() == 1.0
    assert not (tmp_path / "first.1").exists()


def test_a_writer_of_another_process_is_not_disturbed(tmp_path):
    folder = tmp_path / "first"
    script = WRITER + "print('ready', flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        process.stdout.readline()
        assert Run(folder).is_live
        with pytest.raises(RunError, match=f"living process {process.pid}"):
            RunWriter(folder)
        assert json.loads((folder / "lock").read_text()) == {"pid": process.pid, "host": socket.gethostname()}
        process.kill()
        process.wait()
        assert not Run(folder).is_live
    record(folder, 1.0)


def test_looking_whether_a_run_lives_never_stops_a_writer(tmp_path):
    folder = tmp_path / "first"
    folder.mkdir()
    script = (
        "import sys; from pathlib import Path; from theodolite.records.folder import is_locked\n"
        "print('ready', flush=True)\n"
        "while True: is_locked(Path(sys.argv[1]))"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        for value in range(15):
            record(folder, float(value))
        process.kill()
    assert len(list(tmp_path.iterdir())) == 15


def test_of_many_that_start_at_once_each_gets_a_run_or_is_told(tmp_path):
    folder = tmp_path / "first"
    script = (
        "import sys; from theodolite.records import RunWriter; from theodolite.errors import RunError\n"
        "for _ in range(5):\n"
        "    try:\n"
        "        with RunWriter(sys.argv[1]) as w: w.scalars(1, {'loss': 1.0})\n"
        "        print('written', flush=True)\n"
        "    except RunError as error:\n"
        "        assert 'living process' in str(error), error\n"
    )
    command = [sys.executable, "-c", script, str(folder)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    written = sum(process.communicate()[0].count("written") for process in processes)
    assert [process.returncode for process in processes] == [0, 0, 0]
    runs = list(tmp_path.iterdir())
    assert len(runs) == written
    assert all(Run(path).series("loss").values.tolist() == [1.0] for path in runs)


@pytest.mark.skipif(folder_module._fcntl is None, reason="no file locks here")
def test_a_database_that_its_writer_has_only_begun_is_no_stranger(tmp_path):
    with RunWriter(tmp_path / "first"):
        (tmp_path / "second").mkdir()
        os.link(tmp_path / "first" / "lock", tmp_path / "second" / "lock")  # held by a living process
        (tmp_path / "second" / "run.db").write_bytes(b"half a header")
        with pytest.raises(RunError, match="living process"):
            RunWriter(tmp_path / "second")
    with pytest.raises(RunError, match="is no run of theodolite"):
        RunWriter(tmp_path / "second")
    assert (tmp_path / "second" / "run.db").read_bytes() == b"half a header"


def test_folders_of_others_are_not_touched(tmp_path):
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter.tex").write_text("text")
    with pytest.raises(RunError, match=r"empty folder.*chapter\.tex.*Nothing was touched"):
        RunWriter(folder)
    assert [path.name for path in folder.iterdir()] == ["chapter.tex"]
    file = tmp_path / "file"
    file.write_text("text")
    with pytest.raises(RunError, match="is a file"):
        RunWriter(file)
    with pytest.raises(RunError, match="must be writable"):
        RunWriter(file / "inside")
    assert file.read_text() == "text"


@pytest.mark.parametrize("kind", ["text", "database"])
def test_a_database_of_others_is_not_touched(tmp_path, kind):
    file = tmp_path / "run.db"
    if kind == "text":
        file.write_text("route,distance\nnorth,12\n")
    else:
        connection = sqlite3.connect(file)
        connection.execute("CREATE TABLE marathons (seconds INTEGER)")
        connection.close()
    before = file.read_bytes()
    with pytest.raises(RunError, match="no run of theodolite"):
        RunWriter(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["run.db"]
    assert file.read_bytes() == before


def test_an_empty_folder_and_one_that_was_never_begun_are_used(tmp_path):
    record(tmp_path, 1.0)
    other = tmp_path / "other"
    other.mkdir()
    (other / "lock").touch()
    (other / "run.db").touch()
    record(other, 2.0)
    assert Run(other).series("loss").values.item() == 2.0
    assert Run(other).metadata["previous"] is None


def test_the_current_folder_is_never_moved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record(".", 1.0)
    with pytest.raises(RunError, match="current folder"):
        RunWriter(".")
    assert Run(".").series("loss").values.item() == 1.0


def test_a_damaged_run_is_moved_aside_like_any_other(tmp_path):
    folder = tmp_path / "first"
    record(folder, 1.0)
    os.truncate(folder / "run.db", 3000)
    record(folder, 2.0)
    assert (tmp_path / "first.1" / "run.db").stat().st_size == 3000
    assert Run(folder).series("loss").values.item() == 2.0


@pytest.mark.parametrize("missing", ["module", "support"])
def test_without_file_locks_the_process_decides(tmp_path, monkeypatch, missing):
    class Refusing:
        LOCK_SH = LOCK_EX = LOCK_NB = 1

        @staticmethod
        def flock(descriptor, kind):
            raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(folder_module, "_fcntl", None if missing == "module" else Refusing)
    folder = tmp_path / "first"
    with RunWriter(folder):
        assert Run(folder).is_live
        with pytest.raises(RunError, match="living process"):
            RunWriter(folder)
    assert not Run(folder).is_live
    lock = folder / "lock"
    lock.write_text(json.dumps({"pid": 2**22 + 12345, "host": socket.gethostname()}))  # above the largest pid of Linux
    assert not Run(folder).is_live
    lock.write_text(json.dumps({"pid": 1, "host": "another machine"}))
    assert Run(folder).is_live
    os.utime(folder / "run.db", (time.time() - 3600,) * 2)
    assert not Run(folder).is_live
    for text in ("", "[]", "{", '{"pid": "x"}', '{"pid": -1}'):
        lock.write_text(text)
        assert not Run(folder).is_live
    record(folder, 1.0)
    assert (tmp_path / "first.1").exists()
