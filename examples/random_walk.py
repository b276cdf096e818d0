"""A walk that knows nothing: what does the 3-D view of a training show of a random walk?

What to see. 1,000 steps into random directions, and step 900 taken for the solution. Seen from the straight line to it,
the walk in D = 1,000 dimensions draws a half circle as clean as a law: with k steps of √D each, of T to the solution,
progress is α = k√(D/T) and the distance from the line β = √(D k (1 − k/T)). From the solution on it goes straight up.
In two dimensions it is a scribble. So an arc over the line is no sign of an obstacle that was gone around, and a
training that stays below the half circle has known where to go.

    python examples/random_walk.py [picture.png]

Source: Goodfellow, Vinyals & Saxe 2015, appendix, figure 11 (there also D = 100,000). Takes a few seconds.
"""

import sys
from dataclasses import replace

import numpy as np
import torch

from theodolite import project, save_figure
from theodolite.landscape.walks import random_walk
from theodolite.plots import Chart, figure_multiples, marks_projection
from theodolite.plots.marks import Curve, Role, Way
from theodolite.records.trajectories import Projection

STEPS, SOLUTION = 1000, 900


def walked(dimension: int, seed: int = 0) -> Projection:
    """A walk of steps as long as those of Gaussians are on average, √D, beside the line to its solution."""
    source = torch.Generator().manual_seed(seed)
    walk = random_walk(torch.zeros(dimension), np.full(STEPS, dimension**0.5), generator=source)
    return project(walk, walk.point(0), walk.point(SOLUTION))


def formula(dimension: int) -> tuple[np.ndarray, np.ndarray]:
    """α and β of each step where the dimension is large; after the solution only β grows."""
    k = np.arange(STEPS + 1)
    alpha = np.minimum(k, SOLUTION) * np.sqrt(dimension / SOLUTION)
    before = dimension * k * (1 - k / SOLUTION)
    return alpha, np.sqrt(np.where(k < SOLUTION, before, dimension * (k - SOLUTION)))


def drawn(walk: Projection, dimension: int) -> Chart:
    """Every tenth point of the walk, and the formula over it."""
    few = slice(None, None, 10)
    seen = replace(walk, steps=walk.steps[few], progress=walk.progress[few], residuals=walk.residuals[few])
    chart = marks_projection(seen)
    assert isinstance(chart, Chart)
    told = f"The line is {walk.length:.3g} long, by the formula {np.sqrt(dimension * SOLUTION):.3g}."
    ways = tuple(replace(layer, name="walk") for layer in chart.layers if isinstance(layer, Way))
    return replace(chart, takeaway=told, layers=(*ways, Curve("formula", *formula(dimension), Role.SECOND)))


def main(picture: str = "random_walk.png", dimensions: tuple[int, ...] = (2, 10, 1000)) -> dict[int, dict[str, float]]:
    """Draw the walks, and return the line's length, the peak and the end of each in units of the formula's."""
    walks = {dimension: walked(dimension) for dimension in dimensions}
    panels = {f"D = {dimension:,}": drawn(walk, dimension) for dimension, walk in walks.items()}
    save_figure(figure_multiples(panels), picture)

    found = {}
    for dimension, walk in walks.items():
        length = np.sqrt(dimension * SOLUTION)
        peak, end = length / 2, np.sqrt(dimension * (STEPS - SOLUTION))
        found[dimension] = {
            "length": walk.length / length,
            "peak": float(walk.residuals[:SOLUTION].max() / peak),
            "end": float(walk.residuals[-1] / end),
        }
        shares = ", ".join(f"{what} {share:.3f}" for what, share in found[dimension].items())
        print(f"D = {dimension:>7,}, in units of the formula: {shares}")
    return found


if __name__ == "__main__":
    main(*sys.argv[1:2])
