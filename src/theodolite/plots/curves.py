"""What does the loss look like along a curve between two solutions, beside the straight line?"""

import numpy as np

from theodolite.plots.marks import Chart, Label, Layer, Role, ScaleName
from theodolite.plots.reading import error_band, notes_of, thinned_curve, unplaced
from theodolite.plots.scales import fit, number
from theodolite.records.trajectories import Curve

_KINDS = {"bezier": "Bézier curve", "polygon": "polygon"}
_ROUNDING = 1e-6


def marks_curve(curve: Curve, *, scale: ScaleName | None = None) -> Chart:
    """Loss along a curve between two points and along the straight line between them.

    Args:
        curve: The measurement.
        scale: Scale of the loss; the default is logarithmic where it spans more than a factor of 30.

    Returns:
        The chart.
    """
    t, loss, straight = (np.asarray(one) for one in (curve.positions, curve.losses, curve.straight))
    kind = _KINDS.get(curve.kind, curve.kind)
    edges = (*unplaced(kind, t, loss), *unplaced("straight line", t, straight))
    band = error_band(kind, t, loss, np.asarray(curve.errors), role=Role.MAIN)
    layers: list[Layer] = [
        thinned_curve("straight line", t, straight, Role.SECOND),
        *band,
        thinned_curve(kind, t, loss, Role.MAIN),
        *_tops(curve),
    ]
    known = "The band is one standard error over batches." if band else "One batch only: the error is unknown."
    return Chart(
        "curve",
        f"Loss between {curve.start} and {curve.end}: a curve and the straight line",
        _takeaway(curve, kind),
        "Both lines join the same two points. If the curve stays low where the straight line rises, the two lie in one "
        "connected valley, and the barrier was only that of the straight way.",
        fit(f"position t between {curve.start} (0) and {curve.end} (1)", "", [t], scale="linear", pad=0.01),
        fit("loss J(θ)", "", [loss, straight], scale=scale),
        (*layers, *edges),
        (
            f"{t.size} points. {known} The curve is {number(curve.length, 3)} long, the straight line "
            f"{number(curve.displacement, 3)}; it was fitted to be low, so a lower one may exist.",
            *((curve.method[:1].upper() + curve.method[1:] + ".",) if curve.method else ()),
            *notes_of(edges),
            *curve.notes,
        ),
    )


def _tops(curve: Curve) -> tuple[Label, ...]:
    found = []
    for losses, height in ((curve.straight, curve.barrier_before), (curve.losses, curve.barrier)):
        if np.isfinite(height) and height > _ROUNDING * float(np.abs(losses).max()):
            top = int(np.argmax(losses))
            found.append(Label(f"barrier {number(height, 2)}", float(curve.positions[top]), float(losses[top])))
    return tuple(found)


def _takeaway(curve: Curve, kind: str) -> str:
    before, after = curve.barrier_before, curve.barrier
    if not np.isfinite(after):
        return f"The loss is not finite everywhere on the {kind}."
    left = f"a barrier of {number(after, 2)} is left on the {kind}"
    if not after > _ROUNDING * float(np.abs(curve.losses).max()):
        left = f"the {kind} never rises above its higher end"
    if not np.isfinite(before):
        return f"The loss is not finite everywhere on the straight line; {left}."
    if before <= _ROUNDING * float(np.abs(curve.straight).max()):
        return f"The straight line has no barrier; {left}."
    return f"The straight line has a barrier of {number(before, 2)}; {left}."
