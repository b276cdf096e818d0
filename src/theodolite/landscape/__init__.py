"""Where training went: the loss along lines and planes, trajectories, curves between solutions, critical points."""

from theodolite.landscape.alignment import align
from theodolite.landscape.critical_points import classify
from theodolite.landscape.curves import Descent, connect
from theodolite.landscape.directions import (
    eigen_directions,
    gradient_direction,
    orthogonal_pair,
    orthogonalised,
    random_direction,
    three_points,
)
from theodolite.landscape.evaluation import evaluate
from theodolite.landscape.hidden_units import attention_heads, hidden_units
from theodolite.landscape.lines import line
from theodolite.landscape.planes import plane
from theodolite.landscape.points import point_of
from theodolite.landscape.projections import pca_plane, principal_components, project
from theodolite.landscape.searches import find_critical_point, newton
from theodolite.landscape.series import taylor, taylor_order
from theodolite.landscape.steps import directional_curvature, gradient_step
from theodolite.landscape.symmetries import Symmetry, tied
from theodolite.landscape.tracks import track
from theodolite.landscape.trajectories import Trajectory
from theodolite.landscape.walks import random_walk_like, winding

__all__ = [
    "Descent",
    "Symmetry",
    "Trajectory",
    "align",
    "attention_heads",
    "classify",
    "connect",
    "directional_curvature",
    "eigen_directions",
    "evaluate",
    "find_critical_point",
    "gradient_direction",
    "gradient_step",
    "hidden_units",
    "line",
    "newton",
    "orthogonal_pair",
    "orthogonalised",
    "pca_plane",
    "plane",
    "point_of",
    "principal_components",
    "project",
    "random_direction",
    "random_walk_like",
    "taylor",
    "taylor_order",
    "three_points",
    "tied",
    "track",
    "winding",
]
