"""What stands in a run: its version, its series, its tables. ``docs/format.md`` says the same in words.

Not here: how it is written (``writer``) and read (``run``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

FORMAT = (1, 0)
"""Major and minor version. A reader refuses a greater major one and ignores what a greater minor one adds."""

DATABASE = "run.db"
"""File of the run's tables, inside the run's folder."""

LOCK = "lock"
"""File that the writing process keeps locked."""

SNAPSHOTS = "snapshots"
"""Folder of the snapshots of the parameters."""


@dataclass(frozen=True)
class Quantity:
    """One documented series.

    Attributes:
        name: What programs call it.
        unit: Its unit; "–" for a pure number.
        when: At every step, or where the schedule of the monitor says.
        meaning: What it is.
    """

    name: str
    unit: str
    when: str
    meaning: str


_TERMS = ("promise", "noise", "curvature", "higher_order", "delivered")
_BUDGET = "the progress budget: delivered = promise − noise − curvature − higher_order"
_EACH, _SOME = "every step", "scheduled"

SERIES: tuple[Quantity, ...] = (
    Quantity("loss", "loss", _EACH, "mini-batch loss that the step was made from (before the step)"),
    Quantity("learning_rate", "–", _EACH, "of the first parameter group"),
    Quantity("grad_norm", "loss/θ", _SOME, "‖gradient handed to the optimizer‖₂ (after clipping and unscaling)"),
    Quantity("update_norm", "θ", _SOME, "‖Δθ‖₂ of the step really taken"),
    Quantity("update_cosine", "–", _SOME, "cosine between this update and the one before"),
    Quantity("param_norm", "θ", _SOME, "‖θ‖₂ before the step"),
    Quantity("own_loss_before", "loss", _SOME, "the step's own batch, before the step"),
    Quantity("own_loss_after", "loss", _SOME, "the step's own batch, after the step"),
    Quantity("fresh_loss_before", "loss", _SOME, "the next batch, not yet trained on, before the step"),
    Quantity("fresh_loss_after", "loss", _SOME, "the next batch, not yet trained on, after the step"),
    Quantity("reference_loss", "loss", _SOME, "J of the reference sample before the step"),
    *(Quantity(term, "loss", _SOME, _BUDGET) for term in _TERMS),
    *(Quantity(f"{term}_error", "loss", _SOME, "standard error over the reference batches") for term in _TERMS),
    Quantity("gradient_curvature", "loss/θ²", _SOME, "gᵀHg / gᵀg on the reference sample"),
    Quantity("best_step", "–", _SOME, "gᵀg / gᵀHg: best step along the gradient; inf where the curvature is ≤ 0"),
    Quantity("step_scale", "–", _SOME, "the step really taken in the same unit: ‖Δθ‖ / ‖g‖"),
    Quantity("best_scale", "–", _SOME, "−G·Δθ / Δθ·HΔθ: best factor on the real step; inf where the curvature is ≤ 0"),
    Quantity("largest_eigenvalue", "loss/θ²", _SOME, "upper end of the Hessian's spectrum, reference sample, signed"),
    Quantity("smallest_eigenvalue", "loss/θ²", _SOME, "lower end of the Hessian's spectrum, reference sample, signed"),
    Quantity("largest_residual", "loss/θ²", _SOME, "‖Hv − λv‖ of the largest eigenvalue"),
    Quantity("smallest_residual", "loss/θ²", _SOME, "‖Hv − λv‖ of the smallest eigenvalue"),
    Quantity("noise_scale", "examples", _SOME, "gradient noise scale tr C / ‖G‖²"),
    Quantity("noise_scale_error", "examples", _SOME, "standard error of the noise scale"),
    Quantity(
        "dead_fraction", "–", _SOME, "share of hidden units that are zero on every example of the reference sample"
    ),
    Quantity("validation_loss", "loss", _SOME, "mean over the validation data"),
    Quantity("validation_error", "loss", _SOME, "standard error of the validation loss"),
    Quantity("seconds_training", "s", _EACH, "time spent training so far"),
    Quantity("seconds_measuring", "s", _EACH, "time spent measuring so far"),
)
"""Every series that a monitor writes; a run may hold others."""

SERIES_NAMES: tuple[str, ...] = tuple(quantity.name for quantity in SERIES)

ARRAY_NAMES: tuple[str, ...] = ("layer_grad_norm", "layer_update_norm", "layer_dead_fraction")
"""Every array by step that a monitor writes; a run may hold others."""

EVENT_KINDS: tuple[str, ...] = (
    "start", "stop", "nonfinite", "skipped_step", "probe_failed", "exception", "note",
)  # fmt: skip
"""Every event that a monitor writes; a run may hold others."""

TABLES: Mapping[str, str] = MappingProxyType(
    {
        "metadata": "key TEXT PRIMARY KEY, value TEXT NOT NULL",
        "layout": "id INTEGER PRIMARY KEY, names TEXT NOT NULL",
        "scalars": "id INTEGER PRIMARY KEY, step INTEGER NOT NULL, layout INTEGER NOT NULL, "
        "time REAL NOT NULL, value BLOB NOT NULL",
        "arrays": "id INTEGER PRIMARY KEY, name TEXT NOT NULL, step INTEGER NOT NULL, "
        "dtype TEXT NOT NULL, shape TEXT NOT NULL, value BLOB NOT NULL",
        "results": "id INTEGER PRIMARY KEY, kind TEXT NOT NULL, step INTEGER, record TEXT NOT NULL",
        "events": "id INTEGER PRIMARY KEY, step INTEGER NOT NULL, time REAL NOT NULL, "
        "kind TEXT NOT NULL, detail TEXT NOT NULL",
        "snapshots": "id INTEGER PRIMARY KEY, step INTEGER NOT NULL, file TEXT NOT NULL, "
        "sha256 TEXT NOT NULL, bytes INTEGER NOT NULL, dtype TEXT",
    }
)
"""Columns of each table."""

INDEXES: tuple[str, ...] = (
    "CREATE INDEX arrays_by_step ON arrays (name, step)",
    "CREATE INDEX results_by_kind ON results (kind)",
)

INSERTS: Mapping[str, str] = MappingProxyType(
    {
        "metadata": "INSERT OR REPLACE INTO metadata (key, value) VALUES (?, ?)",
        "layout": "INSERT INTO layout (id, names) VALUES (?, ?)",
        "scalars": "INSERT INTO scalars (step, layout, time, value) VALUES (?, ?, ?, ?)",
        "arrays": "INSERT INTO arrays (name, step, dtype, shape, value) VALUES (?, ?, ?, ?, ?)",
        "results": "INSERT INTO results (kind, step, record) VALUES (?, ?, ?)",
        "events": "INSERT INTO events (step, time, kind, detail) VALUES (?, ?, ?, ?)",
        "snapshots": "INSERT INTO snapshots (step, file, sha256, bytes, dtype) VALUES (?, ?, ?, ?, ?)",
    }
)
"""The statement that adds a row to each table."""


def statements() -> tuple[str, ...]:
    """The statements that make the tables of an empty run."""
    return (*(f"CREATE TABLE {name} ({columns})" for name, columns in TABLES.items()), *INDEXES)
