"""How do pictures of several runs become comparable: on common axes, under one scale of shades?"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from theodolite.plots.marks import Absent, Axis, Chart, Field, Layer, Scene

Drawn = Chart | Scene | Absent


def alike(pictures: Mapping[str, Drawn]) -> dict[str, Drawn]:
    """Pictures of one kind with axes of the same scale and limits.

    Where scales differ, a logarithmic one gives way to the linear one: zero and negative values have a place there.

    Args:
        pictures: Name to picture.

    Returns:
        The same with common axes; what cannot be drawn stays as it is.
    """
    charts = [one for one in pictures.values() if isinstance(one, Chart)]
    scenes = [one for one in pictures.values() if isinstance(one, Scene)]
    fields = [layer.scale for one in charts for layer in one.layers if isinstance(layer, Field)]
    x, y = (_common([getattr(one, which) for one in (*charts, *scenes)]) for which in ("x", "y"))
    shade, height = _common(fields), _common([one.z for one in scenes])
    found: dict[str, Drawn] = {}
    for name, one in pictures.items():
        if isinstance(one, Chart):
            found[name] = replace(one, x=x, y=y, layers=tuple(_shaded(layer, shade) for layer in one.layers))
        else:
            found[name] = replace(one, x=x, y=y, z=height) if isinstance(one, Scene) else one
    return found


def _common(axes: Sequence[Axis]) -> Axis:
    """An axis that holds all of some axes; with the label of the first."""
    if not axes:
        return Axis("")
    scales = {axis.scale for axis in axes}
    scale = axes[0].scale if len(scales) == 1 else "linear" if "symlog" not in scales else "symlog"
    limits = min(axis.limits[0] for axis in axes), max(axis.limits[1] for axis in axes)
    names = max((axis.names for axis in axes), key=len)
    return replace(axes[0], scale=scale, limits=limits, threshold=min(axis.threshold for axis in axes), names=names)


def _shaded(layer: Layer, scale: Axis) -> Layer:
    return replace(layer, scale=scale) if isinstance(layer, Field) else layer
