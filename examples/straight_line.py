"""Does anything stand between the start of a training and its end, on the straight line?

What to see. For nets of sigmoid, rectified linear and maxout units the loss falls along the straight line from the
initialisation to the solution without a single rise, on data to train on and, to within its noise, on data to validate
with. It is flat at first (the smaller the initial weights, the flatter), steep in the middle, and rises slowly beyond
the solution. Whatever makes these trainings long is no wall that must be gone around.

    python examples/straight_line.py [picture.png]

The digits of 8 × 8 pixels always; MNIST too where THEODOLITE_DATA names a folder that has it.
Source: Goodfellow, Vinyals & Saxe 2015, figures 1 to 3. Takes half a minute.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from theodolite.problems.networks import initialise, perceptron
from theodolite.problems.recipe import Data
from theodolite.records.lines import Line

BEYOND = 0.9
PIECES = 3


class Maxout(nn.Module):
    """The largest of each three inputs in turn."""

    def forward(self, inputs: Tensor) -> Tensor:
        """A third as many outputs."""
        return inputs.unflatten(-1, (-1, PIECES)).amax(-1)


def maxout(inputs: int, source: torch.Generator) -> nn.Module:
    """Two layers of thirty maxout units, every weight drawn from U(−0.05, 0.05)."""
    with torch.random.fork_rng(devices=[]):
        first, second, last = nn.Linear(inputs, 90), nn.Linear(30, 90), nn.Linear(30, 10)
    model = nn.Sequential(first, Maxout(), second, Maxout(), last)
    with torch.no_grad():
        for part in model.parameters():
            part.uniform_(-0.05, 0.05, generator=source) if part.ndim > 1 else part.zero_()
    return model


def plain(activation: type[nn.Module], gain: float) -> Callable[[int, torch.Generator], nn.Module]:
    """A perceptron with two hidden layers of sixty-four units."""

    def made(inputs: int, source: torch.Generator) -> nn.Module:
        model = perceptron((inputs, 64, 64, 10), activation)
        initialise(model, source, gain=gain)
        return model

    return made


NETS = {"sigmoid": plain(nn.Sigmoid, 1.0), "ReLU": plain(nn.ReLU, 1.0), "maxout": maxout}


def travelled(make: Callable[[int, torch.Generator], nn.Module], data: Data, steps: int, size: int) -> Line:
    """Train a net, and look back along the line from its start to its end."""
