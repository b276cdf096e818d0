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
_SCHEMA = """
CREATE TABLE IF NOT EXISTS search (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS answers (
    number INTEGER PRIMARY KEY, question BLOB NOT NULL, seconds REAL NOT NULL, value BLOB NOT NULL, vector BLOB
);
"""


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
        try:
            self._base = sqlite3.connect(self.path, isolation_level=None)
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=NORMAL")
            self._base.executescript(_SCHEMA)
            known = dict(self._base.execute("SELECT name, value FROM search"))
        except sqlite3.Error as error:
            raise RunError(
                f"{self.path} must be a file of a search, or not be there; {error}. Choose another path."
            ) from error
        text = json.dumps(dict(about), sort_keys=True)
        if not known:
            self._base.execute("BEGIN")
            self._base.execute("INSERT INTO search VALUES ('format', ?)", (_FORMAT,))
            self._base.execute("INSERT INTO search VALUES ('about', ?)", (text,))
            self._base.execute("COMMIT")
        elif known.get("format") != _FORMAT or known.get("about") != text:
            self.close()
            differences = _differences(known.get("about", "{}"), about)
            raise RunError(
                f"{self.path} must hold this search, and holds another: {differences}. Ask as before, or elsewhere."
            )

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


def _differences(text: str, about: Mapping[str, Any]) -> str:
    before, now = json.loads(text), json.loads(json.dumps(dict(about)))
    names = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    told = [f"{name} was {before.get(name)!r} and is {now.get(name)!r}" for name in names]
    return ", ".join(told) or "its format is another"
