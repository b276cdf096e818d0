"""How do rows reach the disk: buffered, committed together, never by two connections, never by a forked child."""

import contextlib
import json
import os
import sqlite3
import threading
import time
import weakref
from pathlib import Path
from typing import Any

from theodolite.errors import RunError
from theodolite.records import schema
from theodolite.records.folder import FolderLock

INTERVAL = 0.25
"""Longest time, in seconds, between two commits while rows arrive."""
_LARGEST = 500_000_000
"""Bytes of the largest row; SQLite itself stops at 10⁹."""
_PATIENCE = 64_000_000
"""Bytes of rows that wait for a disk that fails; beyond it they are dropped and counted."""


class Database:
    """The one read-write connection of a run.

    Rows wait in memory and are committed in one transaction at the first call that comes ``INTERVAL`` after the last
    commit, or at once if ``durable``. Rows of a commit that failed wait for the next one. In a forked child every
    method does nothing.
    """

    def __init__(self, file: Path, lock: FolderLock, *, journal_mode: str, durable: bool) -> None:
        """Open the file and make its tables.

        Args:
            file: The database; absent, or without tables.
            lock: The right to write; released by ``close``.
            journal_mode: "wal", or "truncate" where no memory can be shared.
            durable: Whether each row must survive a loss of power.

        Raises:
            RunError: If the file can not be made.
        """
        self._pid = os.getpid()
        self._file, self._folder_lock, self._durable = file, lock, durable
        self._mutex = threading.RLock()
        self._pending: dict[str, list[tuple[Any, ...]]] = {table: [] for table in schema.TABLES}
        self._bytes, self._last = 0, time.monotonic()
        self._is_closed = self._has_failed = False
        self.dropped = 0
        try:
            self._connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False, timeout=5.0)
            self.journal_mode = self._prepare(journal_mode)
        except (sqlite3.Error, OSError) as error:
            lock.release()
            raise RunError(f"{file} must be writable; it is not: {error}. Free the disk or choose another.") from error
        _guard_children(self)

    def _prepare(self, journal_mode: str) -> str:
        connection = self._connection
        (mode,) = connection.execute(f"PRAGMA journal_mode = {journal_mode}").fetchone()
        if mode != journal_mode:
            (mode,) = connection.execute("PRAGMA journal_mode = truncate").fetchone()
        # Without a write-ahead log NORMAL can lose the whole file with the power.
        connection.execute(f"PRAGMA synchronous = {'NORMAL' if mode == 'wal' and not self._durable else 'FULL'}")
        connection.execute("PRAGMA journal_size_limit = 16777216")
        connection.execute("BEGIN IMMEDIATE")
        for statement in schema.statements():
            connection.execute(statement)
        version = dict(zip(("major", "minor"), schema.FORMAT, strict=True))
        connection.execute(schema.INSERTS["metadata"], ("format", json.dumps(version)))
        connection.execute("COMMIT")
        return str(mode)

    @property
    def is_foreign(self) -> bool:
        """Whether this process is a forked child of the one that writes."""
        return os.getpid() != self._pid

    def add(self, table: str, row: tuple[Any, ...], *, size: int = 100, within: float | None = None) -> None:
        """Add a row.

        Args:
            table: One of ``schema.TABLES``.
            row: Its values, in the order of ``schema.INSERTS``.
            size: About how many bytes it has.
            within: Commit if the last commit is so many seconds past; ``INTERVAL`` if None, never if infinite.

        Raises:
            RunError: If the run is closed, the row is too large, or the disk fails.
        """
        if self.is_foreign:
            return
        with self._mutex:
            if self._is_closed:
                raise RunError(f"a run must be open while it is written; {self._file.parent} is closed. Start another.")
            if size > _LARGEST:
                raise RunError(f"a row must have at most {_LARGEST} bytes; it has {size}. Store a snapshot instead.")
            self._pending[table].append(row)
            self._bytes += size
            wait = 0.0 if self._durable and within is None else INTERVAL if within is None else within
            if time.monotonic() - self._last >= wait:
                self.commit()

    def commit(self) -> None:
        """Write the waiting rows; they survive a kill of the process from here on.

        Raises:
            RunError: If the disk fails; what was committed before stays, the waiting rows are kept for the next try.
        """
        if self.is_foreign or self._is_closed:
            return
        with self._mutex:
            self._last = time.monotonic()
            if not any(self._pending.values()):
                return
            try:
                self._transact()
            except (sqlite3.Error, OSError) as error:
                self._has_failed = True
                self._drop_excess()
                raise RunError(
                    f"{self._file} must be writable; it is not: {error}. What was committed before stays readable. "
                    "Free the disk, and the waiting rows will be written at the next commit."
                ) from error
            self._has_failed, self._bytes = False, 0
            self._pending = {table: [] for table in schema.TABLES}

    def _transact(self) -> None:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            for table, rows in self._pending.items():
                if rows:
                    connection.executemany(schema.INSERTS[table], rows)
            if self.dropped:
                connection.execute(schema.INSERTS["metadata"], ("dropped", str(self.dropped)))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            raise

    def _drop_excess(self) -> None:
        if self._bytes > _PATIENCE:
            for table in ("scalars", "arrays", "results", "events"):  # a layout must stay: later rows refer to it
                self.dropped += len(self._pending[table])
                self._pending[table] = []
            self._bytes = 0

    def close(self) -> None:
        """Commit, fold the log into the file, and let others write. A second call does nothing.

        Raises:
            RunError: If the last rows can not be written, unless an earlier call has said so already.
        """
        if self.is_foreign or self._is_closed:
            return
        with self._mutex:
            has_failed = self._has_failed
            try:
                self.commit()
            except RunError:
                if not has_failed:
                    raise
            finally:
                self._is_closed = True
                self._fold()
                self._folder_lock.release()

    def _fold(self) -> None:
        # One file that can be read anywhere; while somebody reads, or on a full disk, the log simply stays.
        for statement in ("PRAGMA busy_timeout = 0", "PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA journal_mode = DELETE"):
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute(statement).fetchall()
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def leave_to_parent(self) -> list[sqlite3.Connection]:
        """In a forked child: give up the lock, and hand out the connection so that it is never closed here."""
        self._folder_lock.forget()
        return [self._connection]


def _guard_children(database: Database) -> None:
    # Closing a connection, even by garbage collection, could roll back what the parent is writing: keep it for ever.
    reference = weakref.ref(database)
    kept: list[sqlite3.Connection] = []

    def after_fork() -> None:
        alive = reference()
        if alive is not None:
            kept.extend(alive.leave_to_parent())

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=after_fork)
