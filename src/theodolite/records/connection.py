"""How is a run's database read without ever touching it: while it is written, after a kill, from a read-only folder."""

import contextlib
import shutil
import sqlite3
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from theodolite.errors import RunError
from theodolite.records.schema import TABLES

_MAGIC = b"SQLite format 3\x00"
_COMPANIONS = ("-wal", "-journal")
_SECONDS = 5.0
# The first byte of the codes by which SQLite says that it may not write the files beside a database that it reads.
_NO_ACCESS = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PROTOCOL})

TABLE_QUERY = "SELECT name FROM sqlite_master WHERE type = 'table' AND sql LIKE 'CREATE TABLE%'"


class Source:
    """A run.db that somebody else may be writing.

    Every reading opens the file anew, so that it works from any thread and sees what was committed last.
    """

    def __init__(self, file: Path) -> None:
        """Name the file; nothing is opened yet."""
        self.file = file
        self._copy: tuple[tuple[int, ...], Path] | None = None

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A read-only connection with one consistent view of the tables.

        Yields:
            The connection; it is closed at the end.

        Raises:
            RunError: If the file is absent, is no database, or is damaged.
        """
        try:
            with closing(self._connect()) as connection:
                yield connection
        except RunError:
            raise
        except sqlite3.Error as error:
            raise RunError(self._explain(error)) from error
        except (OSError, ValueError, TypeError, LookupError, OverflowError) as error:
            raise RunError(f"{self.file} must be readable and whole; it is not: {error}. Restore a copy.") from error

    def _connect(self) -> sqlite3.Connection:
        if not self.file.is_file():
            raise RunError(
                f"a run must have the file {self.file}; there is none. Give the folder that RunWriter wrote."
            )
        try:
            return _open(self.file, "mode=ro")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _NO_ACCESS:
                raise
        return _open(self._copied(), "mode=rw") if self._left_over() else _open(self.file, "immutable=1")

    def _left_over(self) -> list[Path]:
        beside = [self.file.with_name(self.file.name + suffix) for suffix in _COMPANIONS]
        return [path for path in beside if path.is_file() and path.stat().st_size > 0]

    def _copied(self) -> Path:
        # A killed writer's log must be replayed, which needs a folder that may be written.
        paths = [self.file, *self._left_over()]
        stamp = tuple(number for path in paths for number in (path.stat().st_mtime_ns, path.stat().st_size))
        if self._copy is None or self._copy[0] != stamp:
            folder = Path(tempfile.mkdtemp(prefix="theodolite-"))
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            for path in paths:
                shutil.copyfile(path, folder / path.name)
            self._copy = (stamp, folder / self.file.name)
        return self._copy[1]

    def _explain(self, error: sqlite3.Error) -> str:
        if not has_magic(self.file):
            return f"{self.file} must be an SQLite database; it is none ({error}). Is it a run of theodolite?"
        if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
            return f"{self.file} must not be locked while it is read; it was for {_SECONDS:g} s. Try again."
        return f"{self.file} must be a whole SQLite database; it is damaged or cut short ({error}). Restore a copy."


def _open(file: Path, how: str) -> sqlite3.Connection:
    uri = f"{file.absolute().as_uri()}?{how}"
    connection = sqlite3.connect(uri, uri=True, timeout=_SECONDS, isolation_level=None)
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if _is_cut(file):  # asked while we hold the file: nobody extends it now
            raise RunError(f"{file} must be whole; its end is cut off. Restore a copy.")
    except BaseException:
        connection.close()
        raise
    return connection


def _is_cut(file: Path) -> bool:
    """Whether pages are missing at the end: SQLite would read zeros there, and call them values."""
    with file.open("rb") as opened:
        header = opened.read(100)
    page = int.from_bytes(header[16:18], "big")
    page = 65536 if page == 1 else page
    if page == 0:  # an empty file: no table is missing that was ever there
        return False
    is_counted = header[24:28] == header[92:96]  # else a version before 3.7 wrote it last, without a count
    size = file.stat().st_size
    needed = max(-(-size // page), int.from_bytes(header[28:32], "big") if is_counted else 0)
    if size >= needed * page:
        return False
    log = file.with_name(file.name + "-wal")
    data = log.read_bytes() if log.is_file() else b""
    logged = {int.from_bytes(data[at : at + 4], "big") for at in range(32, len(data), page + 24)}
    return any(number not in logged for number in range(size // page + 1, needed + 1))


def has_magic(file: Path) -> bool:
    """Whether a file begins as every SQLite database does."""
    try:
        with file.open("rb") as opened:
            return opened.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def is_run(file: Path) -> bool | None:
    """Whether a database is a run's; None if it holds nothing yet. A damaged database counts as a run's."""
    if file.stat().st_size == 0:
        return None
    if not has_magic(file):
        return False
    try:
        with Source(file).reading() as connection:
            tables = {name for (name,) in connection.execute(TABLE_QUERY)}
    except RunError:
        return True
    return bool(tables & set(TABLES)) if tables else None
