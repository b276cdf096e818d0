"""How does a training look beside the straight line to where it ended?

What to see. Progress along the line, distance from it, and the loss. The way leaves the line and comes back to it, so
the distance is 0 at both ends, and is a quarter of the line's length in between; a random walk would go twice as far
aside. The path lies on the surface: the row through each point passes it at its own distance.

    python examples/trajectory_3d.py [picture.png]

Source: Goodfellow, Vinyals & Saxe 2015, section 5 and figures 13 to 20. Takes half a minute.
"""

import sys

import numpy as np
import torch
from torch import nn

from theodolite import Objective, Trajectory, project, save_figure
from theodolite.problems.digits import digits
from theodolite.problems.networks import cross_entropy, initialise, perceptron

DATA = digits().training


def trained(steps: int) -> tuple[Objective, Trajectory]:
    """The loss of a net, and where gradient descent with batches of a hundred took it: more points early than late."""
    source = torch.Generator().manual_seed(0)
    model = perceptron((64, 64, 10), nn.ReLU)
    initialise(model, source, gain=2**0.5)
    objective = Objective(model, cross_entropy, DATA)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    kept = {int(step) for step in np.geomspace(1, steps, 40)}
    points, steps_of = [objective.point()], [0]
    for step in range(1, steps + 1):
        rows = torch.randint(len(DATA[0]), (100,), generator=source)
        optimizer.zero_grad()
        cross_entropy(model, (DATA[0][rows], DATA[1][rows])).backward()
        optimizer.step()
        if step in kept:
            points.append(objective.point())
            steps_of.append(step)
    return objective, Trajectory.from_points(points, steps_of)


def main(picture: str = "trajectory_3d.png", steps: int = 600, size: int = 41) -> dict[str, float]:
    """Draw the view; return distances at both ends, the share along the line, and how well path and surface agree."""
    objective, path = trained(steps)
    way = project(path, path.point(0), path.point(-1), objective=objective, offsets=size)
    save_figure(way, picture)

    heights = [
        np.interp(way.residuals[row], way.offsets, line) for row, line in zip(way.across, way.surface, strict=True)
    ]
    late = slice(len(way.steps) // 2, None)
    shares = way.progress[late] / np.hypot(way.progress, way.residuals)[late]
    found = {
        "distance at the start, in lengths": float(way.residuals[0] / way.length),
        "distance at the end, in lengths": float(way.residuals[-1] / way.length),
        "greatest distance, in lengths": float(way.residuals.max() / way.length),
        "least share along the line, second half": float(shares.min()),
        "path beside the interpolated surface": float(np.abs(np.array(heights) - way.losses[way.across]).max()),
        "loss at the start": float(way.losses[0]),
        "loss at the end": float(way.losses[-1]),
    }
    for what, value in found.items():
        print(f"{what}: {value:.3g}")
    return found


if __name__ == "__main__":
    main(*sys.argv[1:2])
