"""Who may write into a run's folder: one living process; what was there before is moved aside, never overwritten."""

import errno
import importlib
import importlib.util
import json
import logging
import os
import socket
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from theodolite.errors import RunError
from theodolite.records.connection import is_run
from theodolite.records.schema import DATABASE, LOCK

_fcntl: ModuleType | None = importlib.import_module("fcntl") if importlib.util.find_spec("fcntl") else None
_log = logging.getLogger(__name__)
_STALE = 300.0
"""Seconds without a change after which a writer on another machine counts as dead, where locks do not work."""


class FolderLock:
    """The right to write into a run's folder, held until it is released or the process ends."""

    def __init__(self, file: Path, descriptor: int) -> None:
        """Take over an open, locked file."""
        self._file = file
        self._descriptor: int | None = descriptor
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())

    def release(self) -> None:
        """Let others write."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
        self.forget()

    def forget(self) -> None:
        """Close the file and leave the lock to whoever shares it: what a forked child must do."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def claim(folder: Path) -> tuple[FolderLock, Path | None]:
    """Make a folder ready for a new run.

    Args:
        folder: Where the run is to live. An earlier run there is moved to ``<folder>.1``, ``.2``, ...

    Returns:
        The lock on the folder, and where the earlier run went.

    Raises:
        RunError: If a living process writes there, if the folder holds other files, or if it can not be made.
    """
    previous: Path | None = None
    try:
        while True:
            _check_place(folder)
            folder.mkdir(parents=True, exist_ok=True)
            lock = _checked_lock(folder)
            if lock is None:  # moved aside by another writer between our two looks
                continue
            if not (folder / DATABASE).exists() or is_run(folder / DATABASE) is None:
                return lock, previous
            previous = _move_aside(folder)
            lock.release()
    except OSError as error:
        raise RunError(f"the folder of a run must be writable; {folder} is not: {error}. Choose another.") from error


def is_locked(folder: Path) -> bool:
    """Whether a living process writes into a folder; False if that can not be told."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        free = _try_lock(descriptor, shared=True)
        return _is_owner_alive(folder / DATABASE, _owner(descriptor)) if free is None else not free
    finally:
        os.close(descriptor)


def _check_place(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise RunError(f"a run must be a folder; {folder} is a file. Choose another path.")


def _checked_lock(folder: Path) -> FolderLock | None:
    """The lock on a folder that may hold a run; None if the folder was moved aside meanwhile."""
    try:
        if not (folder / LOCK).exists():
            _check_unlocked(folder)
        return _acquire(folder / LOCK)
    except FileNotFoundError:
        if folder.exists():
            raise
        return None


def _check_unlocked(folder: Path) -> None:
    """Refuse the folder of others before a lock is put into it; a run that another writer begins meanwhile is none."""
    try:
        _check_content(folder)
    except RunError:
        if not (folder / LOCK).exists():
            raise


def _check_content(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    if DATABASE not in names and names - {LOCK}:
        raise RunError(
            f"a run must start in an empty folder or that of an earlier run; {folder} holds other files "
            f"({', '.join(sorted(names)[:3])}). Nothing was touched: choose another path."
        )
    if DATABASE in names and is_run(folder / DATABASE) is False:
        raise RunError(
            f"a run must not replace the files of others; {folder / DATABASE} is no run of theodolite. "
            "Nothing was touched: choose another path."
        )


def _acquire(file: Path) -> FolderLock | None:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        owner = _owner(descriptor)
        free = _try_lock(descriptor, shared=False)
        if free is None:
            free = not _is_owner_alive(file.with_name(DATABASE), owner)
        if not free:
            raise RunError(
                f"a run must have one writer; {file.parent} is being written by the living process "
                f"{owner.get('pid', '?')} on {owner.get('host', '?')}. "
                "Close that writer (monitor.close()) or choose another path."
            )
        if _is_same(file, descriptor):
            _check_content(file.parent)  # only now does nobody else write there
            lock = FolderLock(file, descriptor)
            descriptor = -1
            return lock
        return None
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _try_lock(descriptor: int, *, shared: bool) -> bool | None:
    """Whether the file could be locked; None if the system has no such locks."""
    if _fcntl is None:
        return None
    kind = _fcntl.LOCK_SH if shared else _fcntl.LOCK_EX
    for _ in range(1 if shared else 10):  # a reader that looks whether we live holds the lock for a moment
        try:
            _fcntl.flock(descriptor, kind | _fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}:
                return None
            time.sleep(0 if shared else 0.01)
        else:
            return True
    return False


def _owner(descriptor: int) -> dict[str, Any]:
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        owner = json.loads(os.read(descriptor, 4096) or b"{}")
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _is_owner_alive(database: Path, owner: dict[str, Any]) -> bool:
    if not isinstance(owner.get("pid"), int) or owner["pid"] <= 0:
        return False
    if owner.get("host") != socket.gethostname() or os.name != "posix":  # elsewhere os.kill would really kill
        return database.exists() and time.time() - database.stat().st_mtime < _STALE
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _is_same(file: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(file.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _move_aside(folder: Path) -> Path:
    if Path.cwd().is_relative_to(folder.resolve()):
        raise RunError(f"an earlier run must be moved aside; {folder} is the current folder. Choose another path.")
    number = 1
    while os.path.lexists(target := folder.with_name(f"{folder.name}.{number}")):
        number += 1
    folder.rename(target)
    _log.warning("%s held an earlier run; it was moved to %s", folder, target)
    return target
