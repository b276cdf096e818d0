"""What bends a deep linear net on its way: does it start on a saddle, and end in a basin?

What to see. Ten layers without any nonlinearity, so whatever curves is made by depth alone. The way starts near the
saddle at the origin, where the loss is flat and curves downwards in some direction (λmin < 0), leaves the straight
line to its end two thirds as far as a random walk would, and comes back to it in a basin, where no curvature is
negative beyond rounding. Nonlinear units are not needed for a landscape to look like that of a real net.

    python examples/deep_linear_3d.py [picture.png]

Source: Goodfellow, Vinyals & Saxe 2015, section 6 and figure 22 (there MNIST, wider layers). Takes a few seconds.
"""

import sys

import numpy as np
import torch
from torch import nn

from theodolite import Objective, Trajectory, extreme_eigenvalues, hessian, project, save_figure
from theodolite.problems.digits import labelled_components
from theodolite.problems.networks import half_square, initialise, perceptron

DATA = labelled_components().training
DEPTH = 10


def trained(steps: int, width: int) -> tuple[Objective, Trajectory]:
    """The loss of a deep linear net, and where gradient descent on all examples took it."""
    source = torch.Generator().manual_seed(0)
    model = perceptron((DATA[0].shape[1], *[width] * (DEPTH - 1), DATA[1].shape[1]), nn.Identity, bias=False)
    initialise(model, source, gain=0.8)
    objective = Objective(model, half_square, DATA)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    kept = {int(step) for step in np.geomspace(1, steps, 60)}
    points, steps_of = [objective.point()], [0]
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        half_square(model, DATA).backward()
        optimizer.step()
        if step in kept:
            points.append(objective.point())
            steps_of.append(step)
    return objective, Trajectory.from_points(points, steps_of)


def ends_of_spectrum(objective: Objective, at: torch.Tensor) -> tuple[float, float]:
    """The least and the greatest eigenvalue of the Hessian at a point."""
    with hessian(objective, at) as curvature:
        found = extreme_eigenvalues(curvature, rtol=1e-2, generator=torch.Generator().manual_seed(0))
    return float(found.smallest.values[0]), float(found.largest.values[0])


def main(picture: str = "deep_linear_3d.png", steps: int = 1500, width: int = 64, size: int = 41) -> dict[str, float]:
    """Draw the view; return losses and the ends of the spectrum at the start and the end of the way."""
    objective, path = trained(steps, width)
    way = project(path, path.point(0), path.point(-1), objective=objective, offsets=size)
    save_figure(way, picture)
    found = {}
    for name, place in (("start", 0), ("end", -1)):
        least, greatest = ends_of_spectrum(objective, path.point(place))
        found |= {f"loss at the {name}": float(way.losses[place]), f"least eigenvalue at the {name}": least}
        found[f"greatest eigenvalue at the {name}"] = greatest
    found["greatest distance, in lengths"] = float(way.residuals.max() / way.length)
    for what, value in found.items():
        print(f"{what}: {value:.3g}")
    return found


if __name__ == "__main__":
    main(*sys.argv[1:2])
