"""Which tables stand on the page: the data of a chart, the facts of a run, its events?"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from theodolite.plots.marks import (
    Band,
    Bars,
    Chart,
    Curve,
    Dots,
    Field,
    Label,
    Layer,
    Level,
    Marks,
    Points,
    Span,
    Way,
    Whiskers,
)
from theodolite.plots.scales import number
from theodolite.records.run import Event, Run

MOST_ROWS = 24
"""A table longer than a screen is not read; the whole is exported, not printed."""


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes:
        caption: What it holds, and how it was thinned.
        columns: Names of the columns.
        rows: Rows of texts.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def chart_tables(chart: Chart) -> tuple[Table, ...]:
    """The data of a chart: one table for all layers that share their positions.

    Args:
        chart: The chart.

    Returns:
        Tables of at most 24 rows.
    """
    names = chart.x.names
    groups: dict[bytes, list[tuple[np.ndarray, str, list[str], np.ndarray]]] = {}
    for layer in chart.layers:
        column = _column(layer)
        if column is not None and column[0].size:
            groups.setdefault(column[0].tobytes(), []).append(column)
    return tuple(_table(chart.x.label, group, names) for group in groups.values())


def _column(layer: Layer) -> tuple[np.ndarray, str, list[str], np.ndarray] | None:
    column: tuple[np.ndarray, str, list[str], np.ndarray] | None = None
    match layer:
        case Curve():
            column = layer.x, layer.name, [number(y) for y in layer.y.tolist()], layer.y
        case Points():
            column = layer.x, layer.name, _with_errors(layer.y, layer.error), layer.y
        case Bars():
            column = layer.x, layer.name, _with_errors(layer.height, layer.error), layer.height
        case Marks():
            column = layer.x, "not drawn at its place", [layer.reason] * int(layer.x.size), np.zeros(layer.x.size)
        case Way():
            column = layer.x, layer.name, list(layer.texts), layer.y
        case Field():
            column = _middle(layer)
        case Band() | Whiskers() | Level() | Span() | Label() | Dots():
            pass
    return column


def _middle(layer: Field) -> tuple[np.ndarray, str, list[str], np.ndarray]:
    """The row of a field that is nearest to 0."""
    at = int(np.argmin(np.abs(layer.y)))
    row = layer.z[at]
    return layer.x, f"{layer.name} at {number(float(layer.y[at]))} on the other axis", list(map(number, row)), row


def _with_errors(y: np.ndarray, error: np.ndarray) -> list[str]:
    return [
        f"{number(a)} ± {number(b, 2)}" if math.isfinite(b) else number(a)
        for a, b in zip(y.tolist(), error.tolist(), strict=True)
    ]


def _table(
    label: str, group: list[tuple[np.ndarray, str, list[str], np.ndarray]], names: tuple[str, ...] = ()
) -> Table:
    x, _, _, first = group[0]
    kept = _kept(first)
    heads = [names[round(at)] if names else number(at, 6) for at in x.tolist()]
    rows = tuple((heads[i], *(texts[i] for _, _, texts, _ in group)) for i in kept)
    caption = ("One row." if x.size == 1 else f"All {x.size} rows.") if kept.size == x.size else (
        f"{kept.size} of the {x.size} rows behind the picture: evenly spaced, with the least and the greatest."
    )  # fmt: skip
    return Table(caption, (label, *(name for _, name, _, _ in group)), rows)


def _kept(values: np.ndarray) -> np.ndarray:
    if values.size <= MOST_ROWS:
        return np.arange(values.size)
    even = np.linspace(0, values.size - 1, MOST_ROWS - 2).round().astype(int)
    finite = np.flatnonzero(np.isfinite(values))
    extremes = [finite[np.argmin(values[finite])], finite[np.argmax(values[finite])]] if finite.size else []
    return np.unique(np.concatenate([even, np.asarray(extremes, dtype=int)]))


_FACTS = {
    "model": "model", "dimension": "parameters", "dtype": "precision", "optimizer": "optimizer",
    "hyperparameters": "its settings", "batch_size": "batch size", "created": "started", "command": "command",
    "device": "device", "device_name": "hardware", "threads": "threads", "cpus": "processors", "platform": "system",
    "host": "machine", "torch": "PyTorch", "numpy": "NumPy", "python": "Python", "sqlite": "SQLite",
    "theodolite": "Theodolite", "floor": "least loss known", "budget": "budget of measuring", "seed": "seed",
    "validated": "validation data", "snapshot_bytes": "room for snapshots",
}  # fmt: skip
_HIDDEN = (
    "format", "pid", "layers", "unit_layers", "name", "filesystem", "journal_mode", "durable", "previous",
    "params_outside_optimizer", "num_params_outside_model",
)  # fmt: skip


def facts(run: Run) -> tuple[tuple[str, str], ...]:
    """What is known of a run: length, cost of measuring, versions, hardware, optimizer, command.

    Args:
        run: The run.

    Returns:
        Pairs of label and text.
    """
    metadata = run.metadata
    ended = "ended" if run.is_complete else "unfinished: no end was recorded"
    found = [("steps", f"{run.num_steps}"), ("state", ended), *_cost(run)]
    for key in (*(known for known in _FACTS if known in metadata), *(key for key in metadata if key not in _FACTS)):
        if key not in _HIDDEN and metadata[key] is not None:
            found += [
                (label, text) for label, text in _flat(_FACTS.get(key, key.replace("_", " ")), metadata[key]) if text
            ]
    return tuple(found)


def _cost(run: Run) -> list[tuple[str, str]]:
    training, measuring = (run.series(name).values for name in ("seconds_training", "seconds_measuring"))
    if not (len(training) and len(measuring)):
        return []
    total = float(training[-1] + measuring[-1])
    share = f" ({number(100 * float(measuring[-1]) / total, 2)} % of the time)" if total > 0 else ""
    return [("training took", f"{number(float(training[-1]), 3)} s"),
            ("measuring took", f"{number(float(measuring[-1]), 3)} s{share}")]  # fmt: skip


def _flat(label: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        yield label, _settings(value)
    elif label == "command" and isinstance(value, list):
        yield label, " ".join(map(str, value))
    elif label == "room for snapshots":
        yield label, f"{number(value / 2**20, 3)} MiB"
    elif label == "budget of measuring":
        yield label, f"{number(100 * value, 3)} % of the training time"
    elif label == "started":
        yield label, str(value).partition(".")[0].replace("T", " ") + " UTC"
    else:
        yield label, _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bool | None):
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int) and abs(value) >= 10_000:
        return f"{value:,}".replace(",", "\u202f")
    if isinstance(value, float):
        return number(value, 6)
    if isinstance(value, list | tuple):
        return ("; " if any(isinstance(item, Mapping) for item in value) else ", ").join(map(_text, value))
    return _settings(value) if isinstance(value, Mapping) else str(value)


def _settings(group: Mapping[Any, Any]) -> str:
    """Names with values; what is switched off is not named."""
    kept = {key: item for key, item in group.items() if item is not None and item is not False}
    return ", ".join(_text(item) if key == "name" else f"{_spaced(key)} {_text(item)}" for key, item in kept.items())


def _spaced(key: Any) -> str:
    return str(key).replace("_", " ")


_EVENT_WORDS = {
    "start": "started", "stop": "ended", "nonfinite": "not finite", "skipped_step": "step skipped",
    "probe_failed": "a measurement failed", "exception": "exception", "note": "note",
}  # fmt: skip


def event_table(events: tuple[Event, ...]) -> Table:
    """What happened, the first 100 events.

    Args:
        events: The events of a run.

    Returns:
        A table of step, what, detail.
    """
    most = 100
    rows = tuple(
        (str(event.step), _EVENT_WORDS.get(event.kind, event.kind),
         ", ".join(f"{key}: {_text(item)}" for key, item in event.detail.items()))
        for event in events[:most]
    )  # fmt: skip
    caption = f"The first {most} of {len(events)} events." if len(events) > most else f"{len(events)} events."
    return Table(caption, ("step", "what", "detail"), rows)
