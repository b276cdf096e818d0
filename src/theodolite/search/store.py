"""Where do the answers lie, so that a search that was killed goes on? In one SQLite file, each as it comes."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from jaxtyping import Float

from theodolite.errors import RunError

_FORMAT = "theodolite search 1"
_TABLES = (
    "CREATE TABLE search (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE answers (number INTEGER PRIMARY KEY, question BLOB NOT NULL, seconds REAL NOT NULL, "
    "value BLOB NOT NULL, vector BLOB)",
)


@dataclass(frozen=True, eq=False)
class Answer:
    """An answer to a question.

    Attributes:
        question: Digest of what was asked: the kind and the vectors, to the bit.
        seconds: Wall time of the search when it was known.
        value: J; NaN for a product.
        vector: Gradient or product; None for a value alone.
    """

    question: bytes
    seconds: float
    value: float
    vector: Float[np.ndarray, "params"] | None = None


class Store:
    """Answers in the order in which they were given.

    Each is in the file before the method hears it: a process that is killed loses none that it has used.
    """

    def __init__(self, path: str | Path, about: Mapping[str, Any]) -> None:
        """Open the file of a search, or begin one.

        Args:
            path: The file; its folder is made if need be.
            about: What makes the search what it is: method, settings, seed, start, bounds.

        Raises:
            RunError: If the file is no such file, or of another search.
        """
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._base = sqlite3.connect(self.path, isolation_level=None, timeout=0.0)
        text = json.dumps(dict(about), sort_keys=True)
        try:
            self._open(text)
        except sqlite3.Error as error:
            self.close()
            raise RunError(
                f"{self.path} must be new, or the file of a search that nobody else has open; {error}. Choose another."
            ) from error
        stored = dict(self._base.execute("SELECT name, value FROM search"))["about"]
        if stored != text:
            self.close()
            raise RunError(
                f"{self.path} must hold this search, and holds another: {_differences(stored, text)}. Ask as "
                "before, or choose another path."
            )

    def _open(self, text: str) -> None:
        """Take the file for this process alone; nothing is written to a file that is of something else."""
        self._base.execute("PRAGMA locking_mode=EXCLUSIVE")
        tables = {name for (name,) in self._base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables:
            self._base.execute("PRAGMA journal_mode=WAL")
            for statement in ("BEGIN", *_TABLES):
                self._base.execute(statement)
            self._base.execute("INSERT INTO search VALUES ('format', ?), ('about', ?)", (_FORMAT, text))
            self._base.execute("COMMIT")
        elif not tables >= {"search", "answers"} or self._format() != _FORMAT:
            raise sqlite3.DatabaseError("it is another database")
        self._base.execute("PRAGMA synchronous=NORMAL")

    def _format(self) -> str:
        rows = self._base.execute("SELECT value FROM search WHERE name = 'format'").fetchall()
        return str(rows[0][0]) if rows else ""

    def __enter__(self) -> Self:
        """The store."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    def read(self) -> list[Answer]:
        """All answers, in order."""
        rows = self._base.execute("SELECT question, seconds, value, vector FROM answers ORDER BY number")
        return [
            Answer(
                question,
                seconds,
                float(np.frombuffer(value)[0]),
                None if vector is None else np.frombuffer(vector).copy(),
            )
            for question, seconds, value, vector in rows
        ]

    def write(self, answer: Answer) -> None:
        """Keep one more."""
        vector = None if answer.vector is None else np.ascontiguousarray(answer.vector, dtype=np.float64).tobytes()
        row = (answer.question, answer.seconds, np.float64(answer.value).tobytes(), vector)
        self._base.execute("INSERT INTO answers (question, seconds, value, vector) VALUES (?, ?, ?, ?)", row)


def _differences(stored: str, asked: str) -> str:
    before, now = json.loads(stored), json.loads(asked)
    names = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    told = [f"{name} was {before.get(name)!r} and is {now.get(name)!r}" for name in names]
    return ", ".join(told) or "its format is another"
