"""What a reader does with files that are cut short or damaged: a valid prefix or a plain error, and soon."""

import random
import time

import numpy as np
import pytest

from theodolite.errors import RunError
from theodolite.records import Run, RunWriter


def read_all(folder):
    """What a run says, or None if it is refused; the only exception that may come is RunError."""
    try:
        run = Run(folder)
        values = run.series("loss").values.tolist()
        run.metadata, run.events(), run.result("Line")
        array = run.array("x") if run.array_names else None
    except RunError:
        return None
    return values, array


@pytest.fixture
def sample(tmp_path):
    """The files of a run that was killed with half of its rows in the log."""
    folder = tmp_path / "sample"
    writer = RunWriter(folder)
    for step in range(60):
        writer.scalars(step, {"loss": step, **{f"series_{i}": 0.0 for i in range(20)}})
        if step == 30:
            writer.array("x", 1, np.arange(500.0))
            writer.event("note", 1)
            writer.commit()
            writer._database._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    writer.commit()
    files = {name: (folder / name).read_bytes() for name in ("run.db", "run.db-wal")}
    writer.close()
    return files


def lay_out(folder, files):
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def test_a_truncated_file_gives_a_prefix_or_an_error(tmp_path, sample):
    complete, refused = list(range(60)), 0
    assert read_all(lay_out(tmp_path / "cut", sample))[0] == complete
    for name, data in sample.items():
        for length in [*range(0, len(data), 512), 1, 15, 17, 99, len(data) - 1]:
            start = time.monotonic()
            found = read_all(lay_out(tmp_path / "cut", sample | {name: data[:length]}))
            assert time.monotonic() - start < 2
            refused += found is None
            if found is not None:
                values, array = found
                assert name == "run.db-wal" or values == complete, (name, length)  # what was cut is in the log
                assert values == complete[: len(values)], (name, length)
                np.testing.assert_array_equal(array, np.arange(500.0))
    assert refused > 10


def test_a_truncated_file_without_a_log_is_refused(tmp_path):
    with RunWriter(tmp_path / "first") as writer:
        for step in range(100):
            writer.scalars(step, {f"series_{i}": step for i in range(20)})
        writer.array("x", 1, np.arange(5000.0))
    data = (tmp_path / "first" / "run.db").read_bytes()
    for length in [*range(0, len(data), 512), len(data) - 1]:
        assert read_all(lay_out(tmp_path / "cut", {"run.db": data[:length]})) is None


@pytest.mark.parametrize("seed", range(2))
def test_damaged_bytes_never_hang_or_leak(tmp_path, sample, seed):
    generator = random.Random(seed)
    for _ in range(60):
        files = {name: bytearray(data) for name, data in sample.items()}
        for _ in range(generator.choice([1, 10, 200])):
            data = generator.choice(list(files.values()))
            data[generator.randrange(len(data))] = generator.randrange(256)
        start = time.monotonic()
        read_all(lay_out(tmp_path / "bad", files))
        assert time.monotonic() - start < 2
