"""How is a run written while it happens: from one process, so that a kill at any moment leaves a readable run."""

import math
import operator
import struct
import threading
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, SupportsFloat

import numpy as np

from theodolite.errors import RunError
from theodolite.records import snapshots
from theodolite.records.database import Database
from theodolite.records.encoding import check_dtype, dumps
from theodolite.records.folder import claim
from theodolite.records.process import facts, filesystem_type, is_network, redact
from theodolite.records.schema import DATABASE


class RunWriter:
    """Writes one run into one folder.

    Rows are committed together, at the first call that comes 0.25 s after the last commit: a kill loses at most the
    rows since then. Safe to call from several threads. In a forked child every method does nothing.

    Example:
        >>> with RunWriter("runs/first") as writer:  # doctest: +SKIP
        ...     writer.scalars(1, {"loss": 2.3, "learning_rate": 0.1})
    """

    def __init__(
        self, path: str | Path, *, metadata: Mapping[str, object] | None = None, durable: bool = False
    ) -> None:
        """Start a run; an earlier one in the same folder is moved aside.

        Args:
            path: The run's folder. A finished or dead run there is renamed to ``<path>.1``, ``<path>.2``, ...
            metadata: Facts to keep beside those of the process: versions, hardware, optimizer.
            durable: Commit at every call, and survive a loss of power (about 0.3 ms a call on a fast disk).

        Raises:
            RunError: If a living process writes there, if the folder holds other files, or if it can not be written.
        """
        self._path = Path(path).absolute()
        checked = _metadata_rows(metadata or {})
        kind = filesystem_type(self._path)
        lock, previous = claim(self._path)
        mode = "truncate" if is_network(kind) else "wal"
        self._database = Database(self._path / DATABASE, lock, journal_mode=mode, durable=durable)
        self._layouts: dict[tuple[str, ...], tuple[int, struct.Struct]] = {}
        self._mutex = threading.Lock()
        self._finalizer = weakref.finalize(self, self._database.close)
        own: dict[str, object] = facts() | {
            "filesystem": kind,
            "journal_mode": self._database.journal_mode,
            "durable": durable,
            "previous": previous.name if previous else None,
        }
        own.pop("format")
        self._add_metadata(_metadata_rows(own) | checked)

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self._path

    @property
    def dropped(self) -> int:
        """How many rows were given up because the disk failed for too long."""
        return self._database.dropped

    def scalars(self, step: int, values: Mapping[str, SupportsFloat]) -> None:
        """Record one value each of some series.

        Args:
            step: Optimizer step, from 0.
            values: Value by name of the series; NaN and infinities are kept.

        Raises:
            RunError: If a value is no number, the run is closed, or the disk fails.
        """
        if self._database.is_foreign or not values:
            return
        number = _step(step)
        names = tuple(values)
        layout, packer = self._layouts.get(names) or self._new_layout(names)
        try:
            data = packer.pack(*values.values())
        except (struct.error, TypeError, ValueError, OverflowError) as error:
            raise RunError(f"the values of series must be numbers; {dict(values)!r:.200} holds others.") from error
        self._database.add("scalars", (number, layout, time.time(), data), size=len(data) + 100)

    def array(self, name: str, step: int, array: np.ndarray) -> None:
        """Record an array that belongs to a step.

        Args:
            name: What it is.
            step: Optimizer step, from 0.
            array: Booleans, integers, floats, complex numbers or strings.

        Raises:
            RunError: If the array can not be stored, the run is closed, or the disk fails.
        """
        if self._database.is_foreign:
            return
        array = np.asarray(array)
        check_dtype(array.dtype)
        data = array.astype(array.dtype.newbyteorder("<"), copy=False)
        row = (_text(name), _step(step), data.dtype.str, dumps(list(data.shape)), data.tobytes(order="C"))
        self._database.add("arrays", row, size=data.nbytes + 100)

    def result(self, record: object, step: int | None = None) -> None:
        """Record a result and commit; the last one of each class counts.

        Args:
            record: A record of ``encoding.RECORDS``.
            step: The step that it belongs to, if any.

        Raises:
            RunError: If the record can not be stored, the run is closed, or the disk fails.
        """
        if self._database.is_foreign:
            return
        text = dumps(record)
        if not text.startswith('{"$record":'):
            raise RunError(f"a result must be a record of encoding.RECORDS; a {type(record).__name__} came. Add it.")
        row = (type(record).__name__, None if step is None else _step(step), text)
        self._database.add("results", row, size=len(text), within=0.0)

    def event(self, kind: str, step: int, detail: Mapping[str, object] | None = None) -> None:
        """Record that something happened.

        Args:
            kind: One of ``schema.EVENT_KINDS``, or another word.
            step: Optimizer step, from 0.
            detail: What else is to be said, as JSON can hold it.

        Raises:
            RunError: If the detail can not be stored, the run is closed, or the disk fails.
        """
        if self._database.is_foreign:
            return
        text = dumps(_plain(dict(detail or {})))
        self._database.add("events", (_step(step), time.time(), _text(kind), text), size=len(text) + 100)

    def update_metadata(self, mapping: Mapping[str, object]) -> None:
        """Add or replace metadata, and commit.

        Args:
            mapping: Values by key; tuples become lists.

        Raises:
            RunError: If a value can not be stored, the run is closed, or the disk fails.
        """
        if not self._database.is_foreign:
            self._add_metadata(_metadata_rows(mapping))

    def snapshot(
        self, step: int, tensors: Mapping[str, np.ndarray], *, dtype_names: Mapping[str, str] | None = None
    ) -> None:
        """Keep parameters as ``snapshots/step-<step>.safetensors``, and commit.

        The file is whole or absent after a kill; a second snapshot of a step replaces the first.

        Args:
            step: Optimizer step after which the parameters stood so; 0 is the start.
            tensors: Arrays by name, in dtypes of NumPy.
            dtype_names: By name, the dtype of a tensor where NumPy has none ("bfloat16"). Of such an array that is
                float32 two bytes a number are kept if that loses nothing.

        Raises:
            RunError: If a tensor can not be stored, the run is closed, or the disk fails.
        """
        self.snapshots({step: tensors}, dtype_names=dtype_names)

    def snapshots(
        self, kept: Mapping[int, Mapping[str, np.ndarray]], *, dtype_names: Mapping[str, str] | None = None
    ) -> None:
        """Keep parameters of several steps like ``snapshot``, and commit once.

        Args:
            kept: Arrays by name, by step.
            dtype_names: As for ``snapshot``, the same at each step.

        Raises:
            RunError: If a tensor can not be stored, the run is closed, or the disk fails.
        """
        if self._database.is_foreign:
            return
        halves = [key for key, item in (dtype_names or {}).items() if item == "bfloat16"]
        names = None if dtype_names is None else dumps({_text(key): _text(item) for key, item in dtype_names.items()})
        files = {snapshots.file_name(_step(step)): tensors for step, tensors in kept.items()}
        self._database.commit()
        written = snapshots.write_together(self._path, files, halves)
        for step, (file, (sha256, size)) in zip(kept, written.items(), strict=True):
            self._database.add("snapshots", (_step(step), file, sha256, size, names), within=math.inf)
        self._database.commit()

    def drop_snapshot(self, step: int) -> None:
        """Let a snapshot go, and commit: a row without a file says so before the file is deleted.

        A snapshot that was never taken, or is gone, is no fault.

        Args:
            step: Its step.

        Raises:
            RunError: If the run is closed, or the disk fails.
        """
        if self._database.is_foreign:
            return
        self._database.add("snapshots", (_step(step), "", "", 0, None), within=0.0)
        snapshots.remove(self._path, snapshots.file_name(_step(step)))

    def commit(self) -> None:
        """Write the waiting rows now; they survive a kill from here on.

        Raises:
            RunError: If the disk fails; what was committed before stays readable.
        """
        self._database.commit()

    def close(self) -> None:
        """Commit and let others write; a second call does nothing.

        Raises:
            RunError: If the last rows can not be written, unless an earlier call has said so already.
        """
        self._database.close()

    def __enter__(self) -> Self:
        """The writer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the run."""
        self.close()

    def _new_layout(self, names: tuple[str, ...]) -> tuple[int, struct.Struct]:
        text = dumps([_text(name) for name in names])
        with self._mutex:
            if names not in self._layouts:
                number = len(self._layouts) + 1
                # Not to be committed before the row that needs it: an error would lose that row.
                self._database.add("layout", (number, text), size=len(text), within=math.inf)
                self._layouts[names] = number, struct.Struct(f"<{len(names)}d")
        return self._layouts[names]

    def _add_metadata(self, rows: Mapping[str, str]) -> None:
        for key, text in rows.items():
            self._database.add("metadata", (key, text), size=len(text), within=math.inf)
        self._database.commit()


def _metadata_rows(mapping: Mapping[str, object]) -> dict[str, str]:
    if "format" in mapping:
        raise RunError("the metadata key 'format' must be left to the writer; choose another name.")
    rows: dict[str, str] = {}
    for key, value in mapping.items():
        try:
            rows[_text(key)] = dumps(
                _plain(redact(value) if key == "command" and isinstance(value, (list, tuple)) else value)
            )
        except RunError as error:
            raise RunError(f"metadata {key!r}: {error}") from error
    return rows


def _plain(value: object) -> Any:
    """The same with lists for tuples and strings for paths, as other languages expect it."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if type(value) in {list, tuple}:
        return [_plain(item) for item in value]  # type: ignore[attr-defined]
    return str(value) if isinstance(value, Path) else value


def _step(step: object) -> int:
    try:
        number = operator.index(step)  # type: ignore[arg-type]
    except TypeError as error:
        raise RunError(f"a step must be a whole number; {step!r} came. Count optimizer steps.") from error
    if not 0 <= number < 2**63:
        raise RunError(f"a step must be at least 0 and below 2⁶³; {number} came. Count optimizer steps.")
    return number


def _text(text: object) -> str:
    if not isinstance(text, str):
        raise RunError(f"a name must be a string; {text!r} came.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RunError(f"a name must be valid Unicode; {text!r} is not.") from error
    return str(text)
