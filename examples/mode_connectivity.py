"""Two nets that learnt the same digits: is there a wall between them?

What to see. Two perceptrons start from two seeds and end in two places. On the straight line between them the loss
climbs by 1.1, to that of a guess among three digits (ln 3). Most of that wall is a matter of names: with the hidden
units of the second net put in the order of the first one's, its function is the same, and a seventh of the wall is
left. A curve with a single bend needs no new order: it leaves 5 % of the wall or less.

    python examples/mode_connectivity.py [picture.png]

Sources: Garipov et al. 2018 (the curve); Ainsworth, Hayase & Srinivasa 2023 (the order). Takes a few seconds.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from theodolite import Objective, line
from theodolite.landscape.alignment import align
from theodolite.landscape.curves import connect
from theodolite.landscape.hidden_units import hidden_units
from theodolite.plots import marks_line, plot_chart
from theodolite.problems.digits import digits
from theodolite.problems.networks import cross_entropy, initialise, perceptron
from theodolite.records.lines import Along, Line

DATA = digits().training


def trained(seed: int, steps: int = 300) -> Objective:
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


def main(picture: str = "mode_connectivity.png", steps: int = 300) -> dict[str, float]:
    """Draw the three ways between two nets, and return the barrier on each."""
    first, second = trained(0, steps), trained(1, steps)
    a, b = first.point(), second.point()
    aligned = align(first, a, b, hidden_units(first.source.model))
    curve = connect(first, a, b, generator=torch.Generator().manual_seed(0))
    ordered = line(first, a, aligned.point, points=len(curve.positions), extend=0)

    others = (
        Along("loss, net 2 in net 1's order", ordered.losses, ordered.errors),
        Along("loss on the curve", curve.losses, curve.errors),
    )
    unknown = np.full_like(curve.straight, np.nan)
    ways = Line(curve.positions, curve.straight, unknown, "net 1", "net 2", others=others)
    figure = plot_chart(marks_line(ways, scale="linear")).figure
    figure.savefig(Path(picture), dpi=150)

    barriers = {"straight": curve.barrier_before, "aligned": ordered.barrier, "curve": curve.barrier}
    for way, barrier in barriers.items():
        print(f"{way:>8}: barrier {barrier:.4f}, {barrier / curve.barrier_before:.0%} of the straight line's")
    print(f"distance between the nets: {aligned.distance_before:.1f}, in the same order {aligned.distance:.1f}")
    return barriers


if __name__ == "__main__":
    main(*sys.argv[1:2])
