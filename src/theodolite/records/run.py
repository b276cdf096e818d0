"""What does a stored run say: metadata, series, arrays, events, results, snapshots. Reads, never writes."""

import difflib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from theodolite.errors import RunError
from theodolite.records import snapshots
from theodolite.records.connection import TABLE_QUERY, Source
from theodolite.records.encoding import array_from, loads
from theodolite.records.folder import is_locked
from theodolite.records.results import Series
from theodolite.records.schema import DATABASE, FORMAT, SERIES_NAMES, TABLES

_POINT = np.dtype([("id", "<i8"), ("step", "<i8"), ("value", "<f8")])


@dataclass(frozen=True)
class Event:
    """Something that happened during a run.

    Attributes:
        step: The optimizer step at which it did.
        time: Seconds since 1970, UTC.
        kind: "start", "stop", "nonfinite", "skipped_step", "probe_failed", "exception", "note", or another word.
        detail: What else was said.
    """

    step: int
    time: float
    kind: str
    detail: Mapping[str, Any]


class Run:
    """A run on disk.

    Every call reads anew: it sees what the writer committed last, from any thread, also after a kill and from a
    read-only folder.

    Example:
        >>> Run("runs/first").series("loss").values[-1]  # doctest: +SKIP
        0.31
    """

    def __init__(self, path: str | Path) -> None:
        """Open a run.

        Args:
            path: Its folder, or the ``run.db`` inside.

        Raises:
            RunError: If there is no run, or one of a newer major format.
        """
        given = Path(path).absolute()
        if not given.exists():
            raise RunError(f"a run must exist; {path} does not. `theodolite ls` lists the runs of a folder.")
        self._file = given / DATABASE if given.is_dir() else given
        self._source = Source(self._file)
        with self._source.reading() as connection:
            _check_tables(self._file, connection)
            _check_format(self._file, _metadata(connection).get("format"))

    def __repr__(self) -> str:
        """The call that opens it."""
        return f"Run({str(self.path)!r})"

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self._file.parent

    @property
    def metadata(self) -> dict[str, Any]:
        """What is known of the process, the machine and the training, by key."""
        with self._source.reading() as connection:
            return _metadata(connection)

    @property
    def num_steps(self) -> int:
        """The largest step of which anything was recorded; 0 if nothing was."""
        tables = ("scalars", "arrays", "events", "snapshots")
        with self._source.reading() as connection:
            return max(int(_one(connection, f"SELECT max(step) FROM {table}") or 0) for table in tables)

    @property
    def names(self) -> tuple[str, ...]:
        """Every series that was recorded, in order of first appearance."""
        with self._source.reading() as connection:
            return _names(_layouts(connection))

    def series(self, name: str) -> Series:
        """One quantity over training.

        Args:
            name: A recorded series, or one of ``docs/format.md``.

        Returns:
            Ascending steps with their values; of several values at a step the last. Empty if it was not recorded.

        Raises:
            RunError: If there is no such series, or the run is damaged.
        """
        with self._reading_layouts() as (connection, layouts):
            _check_names([name], layouts)
            return _read(connection, layouts, [name])[0]

    def frame(self, names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
        """Several series on common steps, as a table to export.

        Args:
            names: Which series; all that were recorded if None.

        Returns:
            Arrays of equal length by name, NaN where nothing was recorded; "step" first.

        Raises:
            RunError: If there is no such series, or the run is damaged.
        """
        with self._reading_layouts() as (connection, layouts):
            wanted = list(dict.fromkeys(_names(layouts) if names is None else names))
            _check_names(wanted, layouts)
            columns = _read(connection, layouts, wanted)
        steps = np.unique(np.concatenate([np.empty(0, np.int64), *(column.steps for column in columns)]))
        table = {"step": steps}
        for column in columns:
            table[column.name] = np.full(len(steps), np.nan)
            table[column.name][np.searchsorted(steps, column.steps)] = column.values
        return table

    def array(self, name: str, step: int | None = None) -> np.ndarray:
        """An array that belongs to a step.

        Args:
            name: What it is.
            step: The last array at or before this step; the last of all if None.

        Returns:
            The array.

        Raises:
            RunError: If none was recorded until then, or the run is damaged.
        """
        query = (
            "SELECT dtype, shape, value FROM arrays WHERE name = ? AND step <= ? ORDER BY step DESC, id DESC LIMIT 1"
        )
        with self._source.reading() as connection:
            row = connection.execute(query, (name, 2**63 - 1 if step is None else int(step))).fetchone()
            if row is not None:
                return array_from(row[0], loads(row[1]), row[2])
            known = [found for (found,) in connection.execute("SELECT DISTINCT name FROM arrays ORDER BY name")]
        when = "" if step is None else f" at or before step {step}"
        raise RunError(f"an array must have been recorded to be read; {name!r} was not{when}. Recorded are: {known}.")

    def array_steps(self, name: str) -> np.ndarray:
        """The steps, ascending, at which an array was recorded; empty if it never was."""
        with self._source.reading() as connection:
            query = "SELECT DISTINCT step FROM arrays WHERE name = ? ORDER BY step"
            return np.array([step for (step,) in connection.execute(query, (name,))], dtype=np.int64)

    @property
    def array_names(self) -> tuple[str, ...]:
        """Every array that was recorded, by name."""
        with self._source.reading() as connection:
            return tuple(name for (name,) in connection.execute("SELECT DISTINCT name FROM arrays ORDER BY name"))

    def events(self, kind: str | None = None) -> tuple[Event, ...]:
        """What happened, in order of recording.

        Args:
            kind: Only events of this kind.

        Returns:
            The events.
        """
        query = "SELECT step, time, kind, detail FROM events WHERE ?1 IS NULL OR kind = ?1 ORDER BY id"
        with self._source.reading() as connection:
            rows = connection.execute(query, (kind,)).fetchall()
            return tuple(Event(int(step), float(time), found, loads(detail)) for step, time, found, detail in rows)

    def result(self, kind: str) -> Any:
        """The last result of a class.

        Args:
            kind: Name of the class: "Diagnosis", "Line", ...

        Returns:
            The record; None if there is none.

        Raises:
            RunError: If it was written by a newer version, or the run is damaged.
        """
        with self._source.reading() as connection:
            text = _one(connection, "SELECT record FROM results WHERE kind = ? ORDER BY id DESC LIMIT 1", kind)
            return None if text is None else loads(text)

    def results(self, kind: str) -> tuple[Any, ...]:
        """Every result of a class, in order of recording; see ``result``."""
        with self._source.reading() as connection:
            query = "SELECT record FROM results WHERE kind = ? ORDER BY id"
            return tuple(loads(text) for (text,) in connection.execute(query, (kind,)).fetchall())

    @property
    def snapshot_steps(self) -> tuple[int, ...]:
        """The steps, ascending, of which a snapshot was taken and kept."""
        query = "SELECT step, file, max(id) FROM snapshots GROUP BY step ORDER BY step"  # file: that of the last row
        with self._source.reading() as connection:
            return tuple(int(step) for step, file, _ in connection.execute(query).fetchall() if file)

    def snapshot(self, step: int) -> dict[str, np.ndarray]:
        """The parameters of a step.

        Args:
            step: One of ``snapshot_steps``.

        Returns:
            Arrays by name; bfloat16 as float32.

        Raises:
            RunError: If there is no such snapshot, or its file is not the one that was written.
        """
        file, sha256, _ = self._snapshot_row(step)
        return snapshots.read(self.path, file, sha256)

    def stored_snapshot(self, step: int) -> snapshots.Stored:
        """The parameters of a step, checked now, to be read in pieces without holding them; see ``snapshot``."""
        file, sha256, _ = self._snapshot_row(step)
        return snapshots.stored(self.path, file, sha256)

    def snapshot_dtypes(self, step: int) -> dict[str, str]:
        """By tensor name, the dtypes in the snapshot of a step that NumPy does not have."""
        dtype = self._snapshot_row(step)[2]
        return {} if dtype is None else dict(loads(dtype))

    @property
    def is_complete(self) -> bool:
        """Whether the training came to its end and said so."""
        return bool(self.events("stop"))

    @property
    def is_live(self) -> bool:
        """Whether a living process is writing it."""
        return is_locked(self.path)

    def _snapshot_row(self, step: int) -> tuple[str, str, str | None]:
        query = "SELECT file, sha256, dtype FROM snapshots WHERE step = ? ORDER BY id DESC LIMIT 1"
        with self._source.reading() as connection:
            row = connection.execute(query, (int(step),)).fetchone()
        if row is None or not row[0]:
            kept = self.snapshot_steps
            what = "none was" if row is None else "it was let go"
            raise RunError(f"a snapshot must have been taken to be read; of step {step} {what}. There are: {kept}.")
        return str(row[0]), str(row[1]), row[2]

    @contextmanager
    def _reading_layouts(self) -> Iterator[tuple[sqlite3.Connection, dict[int, list[str]]]]:
        with self._source.reading() as connection:
            yield connection, _layouts(connection)


def list_runs(folder: str | Path) -> tuple[Path, ...]:
    """The runs inside a folder, at any depth.

    Args:
        folder: Where to look; a run's own folder gives itself.

    Returns:
        Their folders, sorted; hidden folders are skipped, and runs inside runs.

    Raises:
        RunError: If there is no such folder.
    """
    top = Path(folder)
    if not top.is_dir():
        raise RunError(f"runs must lie in a folder; {top} is none. Give the folder that holds them.")
    found: list[Path] = []
    waiting = [top]
    while waiting:
        here = waiting.pop()
        if (here / DATABASE).is_file():
            found.append(here)
            continue
        try:
            waiting += [path for path in here.iterdir() if _may_hold_runs(path)]
        except OSError:  # a folder that may not be read holds nothing that could be opened
            continue
    return tuple(sorted(found))


def _may_hold_runs(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not path.name.startswith(".")


def _one(connection: sqlite3.Connection, query: str, *values: object) -> Any:
    row = connection.execute(query, values).fetchone()
    return None if row is None else row[0]


def _metadata(connection: sqlite3.Connection) -> dict[str, Any]:
    rows = connection.execute("SELECT key, value FROM metadata ORDER BY rowid").fetchall()
    return {key: loads(text) for key, text in rows}


def _check_tables(file: Path, connection: sqlite3.Connection) -> None:
    found = {name for (name,) in connection.execute(TABLE_QUERY)}
    if not found:
        raise RunError(f"a run must have tables; {file} has none yet. If its writer has just started, try again.")
    if missing := sorted(set(TABLES) - found):
        raise RunError(f"a run must have the tables {missing}; {file} has not. Is it a run of theodolite?")


def _check_format(file: Path, version: Any) -> None:
    if not isinstance(version, dict) or type(version.get("major")) is not int:
        raise RunError(f"a run must name its format in its metadata; {file} says {version!r}. Is it a run?")
    if version["major"] > FORMAT[0]:
        raise RunError(
            f"a run must have format {FORMAT[0]} or less to be read here; {file} has {version['major']}. "
            "It was written by a newer theodolite: pip install --upgrade theodolite."
        )


def _layouts(connection: sqlite3.Connection) -> dict[int, list[str]]:
    return {number: loads(names) for number, names in connection.execute("SELECT id, names FROM layout ORDER BY id")}


def _names(layouts: Mapping[int, list[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for names in layouts.values() for name in names))


def _check_names(names: Iterable[str], layouts: Mapping[int, list[str]]) -> None:
    known = {*_names(layouts), *SERIES_NAMES}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), sorted(known), n=3, cutoff=0.5)
            hint = f"The nearest are: {', '.join(near)}." if near else f"Recorded are: {', '.join(_names(layouts))}."
            raise RunError(f"a series must be recorded or documented; {name!r} is neither. {hint}")


def _read(connection: sqlite3.Connection, layouts: Mapping[int, list[str]], names: list[str]) -> list[Series]:
    """The series of some names, in one pass over the rows."""
    found: dict[str, list[np.ndarray]] = {name: [np.empty(0, _POINT)] for name in names}
    for layout, columns in layouts.items():
        wanted = [(columns.index(name), name) for name in names if name in columns]
        if wanted:
            first, last = min(wanted)[0], max(wanted)[0]
            numbers, steps, values = _rows(connection, layout, first, last - first + 1)
            for column, name in wanted:
                points = np.empty(len(steps), _POINT)
                points["id"], points["step"], points["value"] = numbers, steps, values[:, column - first]
                found[name].append(points)
    return [_in_order(name, np.concatenate(parts)) for name, parts in found.items()]


def _rows(
    connection: sqlite3.Connection, layout: int, first: int, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number, step and some adjacent values of every row of a layout."""
    query = "SELECT id, step, substr(value, ?, ?) FROM scalars WHERE layout = ? ORDER BY id"
    rows = connection.execute(query, (8 * first + 1, 8 * count, layout)).fetchall()
    if any(type(value) is not bytes or len(value) != 8 * count for _, _, value in rows):
        raise RunError("a row of series must have 8 bytes for each name of its layout; one has not. Restore a copy.")
    values = np.frombuffer(b"".join(value for _, _, value in rows), "<f8").reshape(len(rows), count)
    numbers = np.array([(number, step) for number, step, _ in rows], dtype=np.int64).reshape(len(rows), 2)
    return numbers[:, 0], numbers[:, 1], values


def _in_order(name: str, points: np.ndarray) -> Series:
    """Ascending steps; of several points at a step the one that was written last."""
    points = points[np.lexsort((points["id"], points["step"]))]
    is_last = np.ones(len(points), dtype=bool)
    is_last[:-1] = points["step"][1:] != points["step"][:-1]
    return Series(name, points["step"][is_last].astype(np.int64), points["value"][is_last].astype(np.float64))
