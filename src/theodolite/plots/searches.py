"""How far do searches come, for how many forward passes and how much time?"""

from collections.abc import Mapping

import numpy as np

from theodolite.errors import SettingError
from theodolite.plots.marks import Chart, Curve, Layer, Role, ScaleName
from theodolite.plots.reading import notes_of, thinned_curve, unplaced
from theodolite.plots.scales import fit, number
from theodolite.records.searches import Search

_ROLES = (Role.MAIN, Role.SECOND, Role.THIRD, Role.FOURTH)
_MOST = len(_ROLES)


def charts_search(search: Search, *, scale: ScaleName | None = None) -> tuple[Chart, Chart]:
    """Best value against forward passes, and against time.

    Args:
        search: The search.
        scale: Scale of the values.

    Returns:
        The charts.
    """
    return marks_searches({search.method: search}, scale=scale), marks_searches(
        {search.method: search}, against="seconds", scale=scale
    )


def marks_searches(searches: Mapping[str, Search], *, against: str = "costs", scale: ScaleName | None = None) -> Chart:
    """Best value of several searches, side by side.

    Args:
        searches: By the name that each shall have, four at most.
        against: ``costs`` for forward passes, ``seconds`` for time.
        scale: Scale of the values; the default is logarithmic where they span more than a factor of 30.

    Returns:
        The chart.

    Raises:
        SettingError: If there is none, or there are too many to be told apart.
    """
    if not 1 <= len(searches) <= _MOST:
        raise SettingError(
            f"searches must be 1 to {_MOST}, to be told apart; got {len(searches)}. Draw several pictures."
        )
    if against not in {"costs", "seconds"}:
        raise SettingError(f"against must be 'costs' or 'seconds', got {against!r}. Choose one.")
    layers: list[Layer] = []
    places = {name: np.asarray(getattr(one, against)) for name, one in searches.items()}
    for (name, one), role in zip(searches.items(), _ROLES, strict=False):
        if len(searches) == 1:
            layers.append(_asked(one, places[name]))
        layers.append(thinned_curve(name, places[name], one.best, role))
    edges = tuple(mark for name, one in searches.items() for mark in unplaced(f"J of {name}", places[name], one.values))
    first = next(iter(searches.values()))
    unit = ("forward passes", "") if against == "costs" else ("time", "s")
    drawn = [layer.y for layer in layers if isinstance(layer, Curve)]
    return Chart(
        f"search_{against}",
        f"Best value found against {unit[0]}",
        "; ".join(_told(name, one) for name, one in searches.items()) + ".",
        "Each line is the least J so far. Both axes say what a search buys: a line that goes level has nothing more to "
        "find, or no way to find it.",
        fit(unit[0], unit[1], list(places.values()), scale="log", pad=0.01),
        fit("J(θ)", "", drawn, scale=scale),
        (*layers, *edges),
        (
            f"n = {', '.join(sorted({str(one.dimension) for one in searches.values()}, key=int))}. J counts as one "
            "forward pass, J with its gradient as four, a product with the Hessian as six.",
            *notes_of(edges),
            *(first.notes if len(searches) == 1 else ()),
        ),
    )


def _asked(search: Search, places: np.ndarray) -> Curve:
    """Every value, in the background."""
    return thinned_curve("each value", places, search.values, Role.MUTED, is_thin=True)


def _told(name: str, search: Search) -> str:
    """What one search found."""
    found = "found no finite value" if not np.isfinite(search.value) else f"found {number(search.value, 3)}"
    return f"{name} {found} in {search.spent:.0f} forward passes"
