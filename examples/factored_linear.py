"""The smallest deep net, y = w₁w₂x with a loss of (1 − w₁w₂)²: how much of a real net's landscape does it have?

What to see. Left: from the origin to the solution (1, 1) the loss is (1 − α²)², flat at first as that of real nets is,
then steep, then flat again: no wall. Middle: between the two solutions (√5, 1/√5) and (1/√5, √5) stands one, 10.24
(α(1 − α))², highest in the middle with 0.64: solutions are many, and lie on two hyperbolas with a saddle between.
Right: gradient descent from (0.5, −0.2) first comes nearer to the saddle and then turns down, along the negative
curvature: its way is no straight line. On the floor of the valley no curvature is negative, and one is zero, along
the valley.

    python examples/factored_linear.py [picture.png]

Source: Goodfellow, Vinyals & Saxe 2015, figures 9, 10 and 14. Takes a second.
"""

import sys
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from theodolite import Objective, eigen_directions, line, plane, project, save_figure
from theodolite.landscape import Trajectory
from theodolite.landscape.planes import project as onto_plane
from theodolite.plots import figure_multiples, marks_line, marks_plane


def vector(*values: float) -> Tensor:
    """A point of the plane."""
    return torch.tensor(values, dtype=torch.float64)


ORIGIN, FIRST, SECOND = vector(0, 0), vector(1, 0), vector(0, 1)
START = vector(0.5, -0.2)
A = 5**0.5

LOSS = Objective.from_function(lambda w: (1 - w[0] * w[1]) ** 2, ORIGIN)


def descended(steps: int, rate: float = 0.1) -> list[Tensor]:
    """The points of gradient descent, the first one among them."""
    points = [START]
    for _ in range(steps):
        points.append(points[-1] - rate * LOSS.gradient(points[-1]))
    return points


def main(picture: str = "factored_linear.png", size: int = 121, steps: int = 80) -> dict[str, float]:
    """Draw both lines and the map, and return how exact they are, and the curvature at both ends of the way."""
    fall = line(LOSS, ORIGIN, vector(1, 1), points=size, extend=0.5, labels=("origin", "solution"))
    wall = line(LOSS, vector(A, 1 / A), vector(1 / A, A), points=size, extend=0.3, labels=("solution", "its mirror"))
    points = descended(steps)
    ways = {
        "gradient descent": points,
        "straight": [START, points[-1]],
        "chord": [vector(0.6, 1.65), vector(1.65, 0.6)],
    }
    tracks = [onto_plane(ORIGIN, FIRST, SECOND, way, name=name) for name, way in ways.items()]
    tracks = [replace(track, losses=LOSS.values(ways[track.name]).numpy()) for track in tracks]
    ground = plane(LOSS, ORIGIN, FIRST, SECOND, points=(size, size), extent=2.0, names=("w₁", "w₂"))
    bent = "Gradient descent comes near the saddle, turns, and ends in the valley of solutions."
    ground = replace(ground, origin="saddle", tracks=tuple(tracks))
    panels = {
        "Origin to solution: (1 − α²)²": marks_line(fall),
        "Solution to solution: 10.24 (α(1 − α))²": marks_line(wall),
        "The map of (1 − w₁w₂)²": marks_plane(ground, takeaway=bent, scale="linear"),
    }
    save_figure(figure_multiples(panels), picture)

    at, to = fall.positions, wall.positions
    beside = project(Trajectory.from_points(points), START, points[-1])
    first, last = (eigen_directions(LOSS, end).values for end in (points[0], points[-1]))
    found = {
        "error of (1 - a^2)^2": float(np.abs(fall.losses - (1 - at**2) ** 2).max()),
        "error of 10.24 (a(1 - a))^2": float(np.abs(wall.losses - 10.24 * (to * (1 - to)) ** 2).max()),
        "height of the wall": wall.barrier,
        "smallest eigenvalue at the start": float(first[0]),
        "smallest eigenvalue at the end": float(last[0]),
        "largest eigenvalue at the end": float(last[1]),
        "loss at the end": LOSS.value(points[-1]),
        "greatest distance from the straight line": float(beside.residuals.max()),
    }
    for what, value in found.items():
        print(f"{what}: {value:.3g}")
    return found


if __name__ == "__main__":
    main(*sys.argv[1:2])
