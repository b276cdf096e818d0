"""Points of a flat evaluated one by one, as the oracle of the engine, and a way of it that is chosen by hand."""

import numpy as np
import torch

from theodolite.landscape.flats import Flat, Surface
from theodolite.landscape.ways import Way, batch_losses
from theodolite.objective import Objective

GRID = np.stack(np.meshgrid(np.linspace(-1, 1, 3), np.linspace(-1, 1, 4)), -1).reshape(-1, 2)


def objective_of(problem) -> Objective:
    return Objective(problem.model, problem.loss, problem.data)


def flat_of(objective: Objective, count: int, generator) -> Flat:
    theta = objective.point()
    ways = torch.randn(count, len(theta), generator=generator, dtype=torch.float64) * 0.1
    return Flat(theta, tuple(ways.to(theta)))


def one_by_one(objective: Objective, flat: Flat, rows) -> np.ndarray:
    """The oracle: each point formed in float64, and put in place by itself."""
    ways = torch.stack(flat.directions).double()
    points = [flat.origin.double() + torch.tensor(row, dtype=torch.float64) @ ways for row in rows]
    return np.array([objective.value(point) for point in points])


def by(objective: Objective, flat: Flat, rows, way: Way):
    return batch_losses(Surface(objective.source, objective.seed, flat), np.asarray(rows), way=way)


def means(found) -> np.ndarray:
    return found.losses @ found.counts / found.counts.sum()
