"""Where a point of training lies: the loss along lines, its Taylor series, what a step gives, critical points."""

from theodolite.landscape.critical_points import classify
from theodolite.landscape.lines import line
from theodolite.landscape.planes import plane
from theodolite.landscape.searches import find_critical_point, newton
from theodolite.landscape.series import taylor, taylor_order
from theodolite.landscape.steps import directional_curvature, gradient_step

__all__ = [
    "classify",
    "directional_curvature",
    "find_critical_point",
    "gradient_step",
    "line",
    "newton",
    "plane",
    "taylor",
    "taylor_order",
]
