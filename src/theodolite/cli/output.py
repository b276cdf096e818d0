"""How do commands speak: columns, strict JSON, whole files."""

import contextlib
import json
import math
import os
import sys
import tempfile
import webbrowser
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from theodolite.records import Diagnosis, Run


def bold(text: str) -> str:
    """Text in bold on a terminal that wants style (NO_COLOR and TERM=dumb do not); elsewhere as it is."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stdout.isatty()
    return text if plain else click.style(text, bold=True)


def page(diagnosis: "Diagnosis") -> str:
    """The page of a diagnosis, its headline in bold.

    Args:
        diagnosis: The diagnosis.

    Returns:
        Lines.
    """
    headline, _, rest = str(diagnosis).partition("\n")
    return f"{bold(headline)}\n{rest}"


def columns(rows: Iterable[Sequence[str]], *, right: Iterable[int] = (), indent: str = "") -> str:
    """Rows of texts as aligned columns.

    Args:
        rows: Texts; all rows have the same number.
        right: Which columns are aligned to the right, from 0.
        indent: What each line begins with.

    Returns:
        Lines.
    """
    table, numbers = [list(row) for row in rows], set(right)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = (
        "  ".join(
            text.rjust(width) if place in numbers else text.ljust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    )
    return "\n".join(f"{indent}{line}".rstrip() for line in lines)


def number(value: float | None) -> str:
    """A number in four significant digits; "–" where there is none."""
    return "–" if value is None else f"{value:.4g}"


def as_json(value: object) -> str:
    """A value as strict JSON: NaN is null, infinities are the strings "Infinity" and "-Infinity".

    Args:
        value: Records, arrays, containers, numbers, texts.

    Returns:
        JSON with an indent of two.
    """
    return json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float):
        return _plain_float(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):  # NumPy's arrays and scalars, without importing NumPy
        return _plain(value.tolist())
    return [_plain(item) for item in value] if isinstance(value, Iterable) and not isinstance(value, str) else value


def _plain_float(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return float(value) if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")


def write_file(path: Path, content: bytes) -> None:
    """Put a file in place whole: a reader finds the old one or the new one.

    Args:
        path: Where; missing folders are made.
        content: What.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def open_page(path: Path) -> None:
    """Show a page in the browser; where there is none, say so."""
    if not webbrowser.open(path.absolute().as_uri()):
        click.echo(f"No browser could be started: open {path} yourself.", err=True)


def state(run: "Run") -> str:
    """Whether a run is being written, came to its end, or did not.

    Args:
        run: The run.

    Returns:
        "live", "complete" or "interrupted".
    """
    if run.is_live:
        return "live"
    return "complete" if run.is_complete and not run.events("exception") else "interrupted"
