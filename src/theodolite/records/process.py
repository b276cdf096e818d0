"""Who writes this run: the process, its command without secrets, and the file system under it."""

import datetime as dt
import importlib.metadata
import os
import platform
import re
import socket
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from theodolite.records.schema import FORMAT

HIDDEN = "***"
"""What stands where a secret stood."""

# fmt: off
_SECRET_WORDS = frozenset({
    "auth", "authorization", "bearer", "cookie", "credential", "credentials", "dsn", "key", "keys", "pass",
    "passphrase", "passwd", "password", "passwords", "pat", "pw", "pwd", "secret", "secrets", "token", "tokens",
})
# fmt: on
_SECRET_PART = re.compile(r"(?i)api_?-?key|access_?-?key|secret|passw|credential|(?:access|auth|api|hf)_?-?token$")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_ASSIGNMENT = re.compile(r"(?s)([-+]*[\w.:/@-]+)=(.*)")
_NAME = re.compile(r"""([\w.-]+)["']?\s*[:=]\s*["']?""")
_VALUE = re.compile(r"""[^\s"',;&}]+""")
_URL_LOGIN = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^\s/?#]+@")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}")
_SHAPES = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{16,}|sk-[\w-]{16,}|gh[opusr]_\w{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|"
    r"xox[abprs]-[\w-]{10,}|(?:AKIA|ASIA)[0-9A-Z]{16}|AIza[\w-]{30,}|npm_\w{16,}|pypi-[\w-]{16,}|"
    r"dapi[0-9a-f]{32}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*)"
)

# fmt: off
_NETWORK_TYPES = frozenset({
    "9p", "acfs", "afs", "beegfs", "beegfs_nodev", "ceph", "cifs", "coda", "davfs", "gfs", "gfs2", "glusterfs",
    "gpfs", "lustre", "mmfs", "ncpfs", "nfs", "nfs3", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb", "smb2",
    "smb3", "smbfs", "virtiofs", "wekafs", "vboxsf", "vmhgfs",
})
# fmt: on
_LOCAL_FUSE = frozenset({"fuseblk", "fuse.exfat", "fuse.ntfs", "fuse.ntfs-3g", "fuse.ext2", "fuse.fuse-overlayfs"})
_MOUNTS = Path("/proc/mounts")


def facts() -> dict[str, object]:
    """What the metadata of every run says of the process that writes it."""
    return {
        "format": {"major": FORMAT[0], "minor": FORMAT[1]},
        "created": dt.datetime.now(dt.UTC).isoformat(),
        "theodolite": _package_version(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "sqlite": sqlite3.sqlite_version,
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "pid": os.getpid(),
        "command": redact(sys.argv),
    }


def _package_version() -> str | None:
    try:
        return importlib.metadata.version("theodolite")
    except importlib.metadata.PackageNotFoundError:
        return None


def redact(arguments: Sequence[str]) -> list[str]:
    """A command line without its secrets.

    Hides values of options and assignments whose name has a secret's word in it (``--api-key X``, ``token=X``),
    logins in URLs, and strings that have the shape of a known kind of key.

    Args:
        arguments: The command line, as ``sys.argv``.

    Returns:
        As many strings, with ``***`` for secrets.
    """
    safe: list[str] = []
    hide_next = False
    for argument in map(str, arguments):
        is_option = argument.startswith("-") and not _is_number(argument)
        if hide_next and not argument.startswith("--"):
            safe.append(HIDDEN)
            hide_next = False
            continue
        hide_next = is_option and "=" not in argument and _is_secret_name(argument)
        safe.append(_redact_one(argument))
    return safe


def _redact_one(argument: str) -> str:
    assignment = _ASSIGNMENT.fullmatch(argument)
    if assignment and _is_secret(assignment[1], assignment[2]) and "://" not in assignment[1]:
        return f"{assignment[1]}={HIDDEN}"
    argument = _URL_LOGIN.sub(rf"\1{HIDDEN}@", argument)
    argument = _BEARER.sub(rf"\1 {HIDDEN}", argument)
    return _SHAPES.sub(HIDDEN, _hide_values(argument))


def _hide_values(text: str) -> str:
    """Hide what follows a secret's name inside a longer string: JSON, queries of URLs, lists of settings."""
    parts, done = [], 0
    for match in _NAME.finditer(text):
        value = _VALUE.match(text, match.end())
        if match.start() >= done and value and _is_secret(match[1], value[0]):
            parts += [text[done : match.end()], HIDDEN]
            done = value.end()
    return "".join(parts) + text[done:]


def _is_secret(name: str, value: str) -> bool:
    return _is_secret_name(name) and not (name.lower().endswith(("tokens", "keys")) and _is_number(value))


def _is_secret_name(name: str) -> bool:
    words = {word.lower() for word in _WORD.findall(name.replace("_", " "))}
    counts = {"num", "max", "min", "n", "count", "per"} & words
    return not counts and (not words.isdisjoint(_SECRET_WORDS) or bool(_SECRET_PART.search(name)))


def _is_number(text: str) -> bool:
    return bool(re.fullmatch(r"[-+]?[\d._]+(?:[eE][-+]?\d+)?[kKmMbB]?", text))


def filesystem_type(path: Path, mounts: Path = _MOUNTS) -> str:
    """Type of the file system that holds a path.

    Args:
        path: A file or folder; it need not exist.
        mounts: The list of mounts, in the form of Linux.

    Returns:
        The type as the system names it ("ext4", "nfs4"); "" where it can not be told.
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return "unc" if str(path).startswith("\\\\") else ""
    real = Path(os.path.realpath(path))
    best, kind = -1, ""
    for line in lines:
        parts = line.split(" ")
        if len(parts) < 3:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), parts[1]))
        if real.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), parts[2]
    return kind


def is_network(kind: str) -> bool:
    """Whether SQLite's write-ahead log is unsafe on a type of file system (no memory shared between machines)."""
    kind = kind.lower()
    return kind in _NETWORK_TYPES or kind == "unc" or (kind.startswith("fuse") and kind not in _LOCAL_FUSE)
