"""Two solutions and a random point: is there a wall between, and is there one on the way to a solution?

What to see. Left: between the ends of two trainings from two seeds the loss has one bump, fifty times as high as either
end; both ends lie in a bowl of the line. Right: from a point with every parameter drawn from N(0, 1), where the loss is
eighty times that of a guess (ln 10), it falls to the solution all the way, convex, without another minimum. The wall is
a matter of two solutions, not of the way to one.

    python examples/barrier.py [picture.png]

Source: Goodfellow, Vinyals & Saxe 2015, figure 5. Takes a few seconds.
"""

import sys

import numpy as np
import torch
from torch import nn

from theodolite import Objective, line, save_figure
from theodolite.plots import figure_multiples, marks_line
from theodolite.problems.digits import digits
from theodolite.problems.networks import cross_entropy, initialise, perceptron
from theodolite.records.lines import Line

DATA = digits().training


def trained(seed: int, steps: int) -> Objective:
    """The loss of a net at the end of its training by Adam on batches of a hundred."""
    source = torch.Generator().manual_seed(seed)
    model = perceptron((64, 64, 64, 10), nn.ReLU)
    initialise(model, source, gain=2**0.5)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for _ in range(steps):
        rows = torch.randint(len(DATA[0]), (100,), generator=source)
        optimizer.zero_grad()
        cross_entropy(model, (DATA[0][rows], DATA[1][rows])).backward()
        optimizer.step()
    return Objective(model, cross_entropy, DATA)


def num_peaks(way: Line) -> int:
    """Number of points between the ends that are higher than both neighbours."""
    loss = way.losses[(way.positions >= 0) & (way.positions <= 1)]
    return int(np.sum((loss[1:-1] > loss[:-2]) & (loss[1:-1] > loss[2:])))


def main(picture: str = "barrier.png", steps: int = 300, size: int = 71) -> dict[str, float]:
    """Draw both lines, and return the peaks on each and how high the wall is beside its ends."""
    objective, other = trained(0, steps), trained(1, steps)
    solution = objective.point()
    anywhere = torch.randn(solution.shape, generator=torch.Generator().manual_seed(2))
    between = line(objective, solution, other.point(), points=size, extend=0.4, labels=("net 1", "net 2"))
    fall = line(objective, anywhere, solution, points=size, extend=0.4, labels=("N(0, 1)", "net 1"))
    panels = {
        "From one solution to another": marks_line(between, scale="linear"),
        "From a random point to a solution": marks_line(fall, scale="linear"),
    }
    save_figure(figure_multiples(panels), picture)

    higher = max(objective.value(), objective.value(other.point()))
    found = {
        "barrier between solutions": between.barrier,
        "barrier / loss at its higher end": between.barrier / higher,
        "peaks between solutions": num_peaks(between),
        "barrier from the random point": fall.barrier,
        "peaks from the random point": num_peaks(fall),
        "is monotone from the random point": fall.is_monotone,
        "is convex from the random point": fall.is_convex,
    }
    for what, value in found.items():
        print(f"{what}: {value:.3g}")
    return found


if __name__ == "__main__":
    main(*sys.argv[1:2])
