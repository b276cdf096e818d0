"""Where did a training go: its components, its distance from a straight line, how it winds?"""

import numpy as np

from theodolite.plots.marks import Absent, Bars, Chart, Curve, Label, Layer, Level, Points, Role, Way
from theodolite.plots.planes import share
from theodolite.plots.reading import measured, notes_of, scattered, unplaced
from theodolite.plots.scales import fit, number, percent, things
from theodolite.records.trajectories import Components, Projection, Winding

_MOST = 10
"""Components drawn as bars; of a training's, those after the tenth hold next to nothing."""
_ARC = 200
"""Points on the half circle of a random walk: more than one to a pixel's turn."""


def marks_shares(components: Components) -> Chart:
    """Share of the variance of a trajectory that each principal component holds, beside those of a random walk.

    Args:
        components: The measurement.

    Returns:
        The chart.
    """
    shares = np.asarray(components.shares)[:_MOST]
    places = np.arange(shares.size, dtype=np.float64)
    walk = 6 / (np.pi * (places + 1)) ** 2
    names = tuple(f"{place + 1}" for place in range(shares.size))
    unknown = np.full(shares.size, np.nan)
    held = float(shares[:2].sum())
    return Chart(
        "shares",
        "How flat the trajectory is",
        f"The first two components hold {percent(held)} of the variance of the trajectory.",
        "One bar a principal component. The squares are a random walk of many even moves in many dimensions, 6/(π k)²: "
        "what is near them tells nothing of the loss.",
        things("principal component", names),
        fit("share of the variance", "", [np.concatenate([shares, walk, [0.0]])], scale="linear"),
        (
            Bars("share", places, np.full(shares.size, 0.7), np.zeros(shares.size), shares, unknown),
            Points("random walk", places, walk, unknown, Role.SECOND, is_joined=False),
        ),
        (
            f"{components.steps.size} points of the trajectory; {shares.size} of {components.shares.size} components "
            f"drawn, which hold {percent(float(shares.sum()))}.",
            "Source of the random walk: Antognini & Sohl-Dickstein 2018. Of uneven moves the first component of a "
            "walk holds more, up to all: random_walk_like has the moves of this way.",
        ),
    )


def marks_components(components: Components) -> Chart | Absent:
    """The trajectory in the plane of its first two principal components.

    Args:
        components: The measurement.

    Returns:
        The chart, or what is missing.
    """
    title = "The trajectory in its first two components"
    at = np.asarray(components.coordinates)
    if at.shape[0] < 2 or at.shape[1] < 2:
        return Absent(
            "components", title, "Too few points: two components need three points of a trajectory. Keep more of them."
        )
    x, y = at[:, 0], at[:, 1]
    far = np.divide(
        components.outside, components.distances, out=np.zeros(x.size), where=np.asarray(components.distances) > 0
    )
    total = float(np.sum(np.square(components.distances)))
    off = float(np.sum(np.square(components.outside)) + np.sum(np.square(at[:, 2:])))
    outside = share(float(np.sqrt(off / total))).capitalize() if total > 0 else "Nothing"
    return Chart(
        "components",
        title,
        f"The first component holds {percent(float(components.shares[0]))} of the variance, the second "
        f"{percent(float(components.shares[1]))}.",
        "The flattest picture that there is of the way. Even a random walk draws smooth arcs here: a curve is no sign "
        "of a valley.",
        fit("along the first component", "θ", [x], scale="linear"),
        fit("along the second component", "θ", [y], scale="linear"),
        (
            Way("trajectory", x, y, np.clip(1 - far, 0, 1), _texts(components.steps, components.losses)),
            Label(f"step {int(components.steps[0])}", float(x[0]), float(y[0])),
            Label(f"step {int(components.steps[-1])}", float(x[-1]), float(y[-1])),
        ),
        (
            f"{outside} of the distance from {components.origin} lies outside these two components. "
            "Points are drawn smaller the farther they lie outside the components that were kept.",
        ),
    )  # fmt: skip


def _texts(steps: np.ndarray, losses: np.ndarray) -> tuple[str, ...]:
    known = losses.tolist() if losses.size else [None] * steps.size
    return tuple(
        f"step {step}" if loss is None else f"step {step}, J {number(loss)}"
        for step, loss in zip(steps.tolist(), known, strict=True)
    )


def marks_projection(projection: Projection) -> Chart | Absent:
    """How far along a straight line a training was, and how far beside it.

    Args:
        projection: The measurement.

    Returns:
        The chart, or what is missing.
    """
    title = f"How far the way lies off the straight line from {projection.start} to {projection.end}"
    along, beside = np.asarray(projection.progress), np.asarray(projection.residuals)
    if along.size < 2:
        return Absent("projection", title, "Too few points: a way has two at least. Keep more of the trajectory.")
    arc = _arc(projection)
    return Chart(
        "projection",
        title,
        beside_line(projection),
        "Across: progress along the line. Up: distance from it, whichever way. A random walk of many dimensions "
        "between the same ends draws the half circle; a training that knows where to go stays below it.",
        fit("progress α along the line", "θ", [along, *(one.x for one in arc)], scale="linear"),
        fit("distance β from the line", "θ", [beside, np.zeros(1), *(one.y for one in arc)], scale="linear"),
        (
            *arc,
            Way("trajectory", along, beside, np.ones(along.size), _texts(projection.steps, projection.losses)),
            Label(f"step {int(projection.steps[0])}", float(along[0]), float(beside[0])),
            Label(f"step {int(projection.steps[-1])}", float(along[-1]), float(beside[-1])),
        ),
        (
            "β has no direction: two points of equal β may lie on opposite sides of the line. "
            "Source: Goodfellow, Vinyals & Saxe 2015, sections 5 and 6.",
            *projection.notes,
        ),
    )


def beside_line(projection: Projection) -> str:
    """How far off the line the way went at most, in a sentence.

    Args:
        projection: The measurement.

    Returns:
        The sentence.
    """
    beside = np.asarray(projection.residuals)
    top = int(np.argmax(np.where(np.isfinite(beside), beside, -np.inf)))
    share = projection.share_on_line
    length = f", of a length of {number(projection.length, 3)}" if np.isfinite(projection.length) else ""
    least = f"; at worst {percent(share)} of its distance from the start is progress" if np.isfinite(share) else ""
    return (
        f"The way lies at most {number(float(beside[top]), 3)} off the line, at step {int(projection.steps[top])}"
        f"{length}{least}."
    )


def _arc(projection: Projection) -> tuple[Curve, ...]:
    """The half circle over the line: β² = α(L − α) (bridge of a random walk, many dimensions)."""
    if not np.isfinite(projection.length) or projection.length <= 0:
        return ()
    turn = np.linspace(0, np.pi, _ARC)
    half = projection.length / 2
    return (Curve("a random walk", half * (1 - np.cos(turn)), half * np.sin(turn), Role.MUTED, _ARC),)


def marks_winding(winding: Winding) -> Chart | Absent:
    """How the successive moves of a trajectory turn, and whether the straight way to its end goes downhill.

    Args:
        winding: The measurement.

    Returns:
        The chart, or what is missing.
    """
    title = "How the way winds"
    steps = np.asarray(winding.steps, dtype=np.float64)
    cosines, descents = np.asarray(winding.cosines), np.asarray(winding.descents)
    if steps.size < 3:
        return Absent("winding", title, "Too few points: an angle needs three. Keep more of the trajectory.")
    layers: list[Layer] = [Level("", 0.0), *scattered("between moves", steps[1:-1], cosines, role=Role.MAIN)]
    edges = unplaced("between moves", steps[1:-1], cosines)
    if descents.size:
        layers.append(
            measured("downhill · to the end", steps[:-1], descents, np.full(descents.size, np.nan), role=Role.SECOND)
        )
        edges += unplaced("downhill · to the end", steps[:-1], descents)
    return Chart(
        "winding",
        title,
        _winds(winding),
        "Cosines. Between moves: 1 is straight on, 0 a right angle, −1 back. Downhill · to the end: above 0 the "
        "straight way to the last point goes downhill from there.",
        fit("step", "", [steps], scale="linear", pad=0.02),
        fit("cosine", "", [np.asarray([-1.0, 1.0])], scale="linear"),
        (*layers, *edges),
        (
            f"{steps.size} points were kept of the way: between them it may wind more, so that its length is a lower "
            "bound.",
            *notes_of(edges),
        ),
    )  # fmt: skip


def _winds(winding: Winding) -> str:
    told = f"The way is {number(winding.ratio, 3)} times as long as the straight line between its ends"
    if not np.isfinite(winding.ratio):
        told = f"The way of length {number(winding.path_length, 3)} comes back to where it began"
    share = winding.descent_fraction
    downhill = f"; at {percent(share)} of its points the straight way on goes downhill" if np.isfinite(share) else ""
    return f"{told}{downhill}."
