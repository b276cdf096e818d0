"""Does anything stand between the start of a training and its end, on the straight line?

What to see. For nets of sigmoid, rectified linear and maxout units the loss falls along the straight line from the
initialisation to the solution without a single rise: flat at first (the smaller the initial weights, the flatter),
steep before the middle, and rising slowly beyond the solution. So does the loss on data to validate with, until it
turns
where the net begins to know its data by heart. Whatever makes these trainings long is no wall to be gone around.

    python examples/straight_line.py [picture.png]

The digits of 8 × 8 pixels always; MNIST too where THEODOLITE_DATA names a folder that has it.
Source: Goodfellow, Vinyals & Saxe 2015, figures 1 to 3. Takes a few seconds.
"""

import torch
from torch import Tensor, nn

from theodolite.problems.networks import initialise
from theodolite.problems.recipe import Data
from theodolite.records.lines import Line

BEYOND = 0.9


class Maxout(nn.Module):
    """The largest of each three inputs in turn."""

    def forward(self, inputs: Tensor) -> Tensor:
        """A third as many outputs."""
        return inputs.unflatten(-1, (-1, 3)).amax(-1)


NETS = {"sigmoid": (nn.Sigmoid, 1, 1.0, 0.5), "ReLU": (nn.ReLU, 1, 1.0, 0.02), "maxout": (Maxout, 3, 0.25, 0.02)}
"""Of each net the activation, how many inputs it takes a unit, the gain of the first weights, the rate of training."""


def started(name: str, inputs: int, source: torch.Generator) -> nn.Module:
    """A net with two layers of sixty-four units, before training."""
    activation, pieces, gain, _ = NETS[name]
    with torch.random.fork_rng(devices=[]):
        first, second, last = nn.Linear(inputs, 64 * pieces), nn.Linear(64, 64 * pieces), nn.Linear(64, 10)
    model = nn.Sequential(first, activation(), second, activation(), last)
    initialise(model, source, gain=gain)
    return model


def travelled(make: Callable[[int, torch.Generator], nn.Module], data: Data, steps: int, size: int) -> Line:
    """Train a net, and look back along the line from its start to its end."""
