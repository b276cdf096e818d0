"""Does anything stand between the start of a training and its end, on the straight line?

What to see. For nets of sigmoid, rectified linear and maxout units the loss falls along the straight line from the
initialisation to the solution without a single rise: flat at first (the smaller the initial weights, the flatter),
steep before the middle, and rising slowly beyond the solution. So does the loss on data to validate with, until it
turns where the net begins to know its data by heart. Whatever makes these trainings long is no wall.

    python examples/straight_line.py [picture.png]

The digits of 8 × 8 pixels always; MNIST too where THEODOLITE_DATA names a folder that has it.
Source: Goodfellow, Vinyals & Saxe 2015, figures 1 to 3. Takes a few seconds.
"""

import sys
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from theodolite import Objective, line, save_figure
from theodolite.plots import figure_multiples, marks_line
from theodolite.problems.datasets import is_there, mnist
from theodolite.problems.digits import digits
from theodolite.problems.networks import cross_entropy, initialise
from theodolite.problems.recipe import Data
from theodolite.records.lines import Line


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


def travelled(name: str, data: Data, steps: int, size: int) -> Line:
    """Train a net with momentum on batches of a hundred, and look along the line from its start to its end."""
    (inputs, targets), held = [(inputs.flatten(1), targets) for inputs, targets in (data.training, data.validation)]
    source = torch.Generator().manual_seed(0)
    model = started(name, inputs.shape[1], source)
    objective = Objective(model, cross_entropy, (inputs, targets))
    validation = {"validation loss": Objective(model, cross_entropy, held)}
    start = objective.point()
    optimizer = torch.optim.SGD(model.parameters(), lr=NETS[name][-1], momentum=0.9)
    for _ in range(steps):
        rows = torch.randint(len(targets), (100,), generator=source)
        optimizer.zero_grad()
        cross_entropy(model, (inputs[rows], targets[rows])).backward()
        optimizer.step()
    return line(objective, start, objective.point(), points=size, extend=0.9, others=validation)


def after_start(whole: Line) -> Line:
    """A line without what lies before its start, where the loss is high and nothing was asked."""
    kept = whole.positions >= 0
    others = tuple(replace(one, values=one.values[kept], errors=one.errors[kept]) for one in whole.others)
    parts = {part: getattr(whole, part)[kept] for part in ("positions", "losses", "errors")}
    return replace(whole, others=others, **parts)


def main(picture: str = "straight_line.png", steps: int = 600, size: int = 57) -> dict[str, dict[str, float]]:
    """Draw the lines; of each return barrier, loss a tenth on the way, and loss at the end, over that at the start."""
    data = {"digits": digits()} | ({"MNIST": mnist(2000)} if is_there("mnist") else {})
    lines = {f"{name}, {of}": after_start(travelled(name, data[of], steps, size)) for of in data for name in NETS}
    save_figure(figure_multiples({name: marks_line(one, scale="linear") for name, one in lines.items()}), picture)
    if "MNIST" not in data:
        print("MNIST is left out: it is not in a folder that THEODOLITE_DATA names.")
    found = {}
    for name, one in lines.items():
        first, tenth, last = np.interp((0, 0.1, 1), one.positions, one.losses)
        found[name] = {"barrier": one.barrier / first, "tenth": float(tenth / first), "end": float(last / first)}
        told = ", ".join(f"{what} {value:.3f}" for what, value in found[name].items())
        print(f"{name:>16}, in units of the loss at the start: {told}")
    return found


if __name__ == "__main__":
    main(*sys.argv[1:2])
