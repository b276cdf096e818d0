"""What does each layer do: its gradient over depth, its dead units?"""

import numpy as np

from theodolite.plots.marks import Absent, Bars, Chart, Label, Points, Role
from theodolite.plots.reading import notes_of, unplaced
from theodolite.plots.scales import fit, number, things
from theodolite.records.planes import Layers
from theodolite.records.run import Run

_NO_LAYERS = "Not measured in this run: its layers at the end. monitor.diagnose() looks at them for this verdict."
_FEW_LAYERS = "There are fewer than two layers of weights."
_NO_UNITS = "No layer has hidden units that could be watched."


def marks_depth(run: Run) -> Chart | Absent:
    """How strongly the loss depends on each layer, from the input to the output.

    Args:
        run: The run.

    Returns:
        The chart, or what is missing.
    """
    title = "The gradient of each layer"
    found: Layers | None = run.result("Layers")
    if found is None or len(found.weights) < 2:
        return Absent("depth", title, _NO_LAYERS if found is None else _FEW_LAYERS)
    scale = np.asarray(found.gradients)
    x = np.arange(scale.size, dtype=np.float64)
    edges = unplaced("gradient", x, scale, is_log=True)
    shown = np.isfinite(scale) & (scale > 0)
    takeaway = "At most one layer has a gradient."
    if shown.sum() > 1:
        low, high = (int(pick(np.where(shown, scale, np.nan))) for pick in (np.nanargmin, np.nanargmax))
        ratio = number(float(scale[low] / scale[high]), 2)
        takeaway = f"The gradient of {found.weights[low]} is {ratio} of that of {found.weights[high]}."
    return Chart(
        "depth",
        title,
        takeaway,
        "By how much the loss would change if a layer changed by its own size, judged by its gradient. A fall by many "
        "decades towards the input means that the first layers do not learn.",
        things("layer, from input to output", found.weights),
        fit("gradient × size of the weights", "loss", [scale[shown]], scale="log"),
        (Points("layers", x[shown], scale[shown], np.full(int(shown.sum()), np.nan), Role.MAIN), *edges),
        (f"Root mean square over batches of {found.examples} examples; matrices only, no biases.", *notes_of(edges)),
    )  # fmt: skip


def marks_dead_layers(run: Run) -> Chart | Absent:
    """The share of dead units of each layer.

    Args:
        run: The run.

    Returns:
        The chart, or what is missing.
    """
    title = "Dead units of each layer"
    found: Layers | None = run.result("Layers")
    if found is None or not found.units:
        return Absent("dead_layers", title, _NO_LAYERS if found is None else _NO_UNITS)
    x = np.arange(len(found.units), dtype=np.float64)
    share, size = np.asarray(found.dead), np.asarray(found.counts)
    worst = int(np.argmax(share))
    names = tuple(f"into {name}" for name in found.units)
    count = f"{round(float(share[worst] * size[worst]))} of {int(size[worst])}"
    labels = [
        Label(f"{round(float(s * n))} of {int(n)}", float(at), float(s))
        for at, s, n in zip(x, share, size, strict=True)
    ]
    return Chart(
        "dead_layers",
        title,
        f"{count} units that lead into {found.units[worst]} are zero on all {found.examples} examples.",
        "A unit that is zero on every example gets no gradient and cannot come back by itself; a layer of which all "
        "are dead cuts the net in two.",
        things("layer of units", names),
        fit("share of units that are dead", "", [np.array([0.0, 1.0])], scale="linear"),
        (Bars("dead", x, np.full(x.size, 0.7), np.zeros(x.size), share, np.full(x.size, np.nan), Role.SECOND), *labels),
        (f"Counted on {found.examples} held examples at step {found.step}: a unit may still wake on others.",),
    )  # fmt: skip
