"""Is the straight line as free for a convolutional net, and what do larger initial weights change?

What to see. Three starts of one net of maxout units on small photographs. With small weights the loss is flat at the
start, with large ones it stands high there and falls at once; in all three it falls without a single rise. The source
saw a low wall near the start of a larger net: in nets of this size there is none, with weights of whatever size. On
photographs to validate with the loss turns half way: a thousand to train on are soon known by heart.

    THEODOLITE_DATA=<folder with the CIFAR-10 subset> python examples/straight_line_conv.py [picture.png]

Source: Goodfellow, Vinyals & Saxe 2015, figures 5 to 7 (there a larger net, on all of CIFAR-10). Takes half a minute.
"""

import sys

import torch
from torch import Tensor, nn

from theodolite import Objective, line, save_figure
from theodolite.errors import DataError
from theodolite.plots import figure_multiples, marks_line
from theodolite.problems.architectures import Drawn
from theodolite.problems.datasets import cifar10
from theodolite.problems.networks import cross_entropy
from theodolite.problems.recipe import Data
from theodolite.records.lines import Line

GAINS = (0.25, 1.0, 4.0)
"""Standard deviations of a unit's input where its layer's inputs have variance 1."""


class Maxout(nn.Module):
    """The larger of each two channels in turn."""

    def forward(self, maps: Tensor) -> Tensor:
        """Half as many channels."""
        return maps.unflatten(1, (-1, 2)).amax(2)


def network() -> nn.Module:
    """Three convolutions with strides of two, and a linear layer on the means of the maps."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 16), (16, 24), (24, 32)):
        layers += [nn.Conv2d(inputs, 2 * outputs, 3, stride=2, padding=1), Maxout()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 10))


def travelled(gain: float, data: Data, steps: int, size: int) -> Line:
    """Train a net from one start, and look along the line from there to its end."""
    (pictures, classes), held = data.training, data.validation
    source = torch.Generator().manual_seed(0)
    model = Drawn(network, gain=gain)(source)
    objective = Objective(model, cross_entropy, data.training)
    start = objective.point()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(steps):
        rows = torch.randint(len(classes), (100,), generator=source)
        optimizer.zero_grad()
        cross_entropy(model, (pictures[rows], classes[rows])).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    others = {"validation loss": Objective(model, cross_entropy, held)}
    return line(objective, start, objective.point(), points=size, extend=0.2, others=others)


def main(picture: str = "straight_line_conv.png", steps: int = 800, size: int = 43) -> dict[str, dict[str, float]]:
    """Draw the lines; of each return the barrier and the loss at its end, in units of the loss at its start."""
    data = cifar10(1000, validation=500)
    data = Data(*[(pictures - 0.5, classes) for pictures, classes in (data.training, data.validation)])
    lines = {f"gain {gain:g}": travelled(gain, data, steps, size) for gain in GAINS}
    save_figure(figure_multiples({name: marks_line(one, scale="linear") for name, one in lines.items()}), picture)
    found = {}
    for name, one in lines.items():
        first, last = (float(one.losses[abs(one.positions - at).argmin()]) for at in (0.0, 1.0))
        found[name] = {"barrier": one.barrier / first, "start": first, "end": last / first}
        print(
            f"{name:>9}: barrier {one.barrier / first:.4f}, end {last / first:.3f} of the loss at the start {first:.3f}"
        )
    return found


if __name__ == "__main__":
    try:
        main(*sys.argv[1:2])
    except DataError as missing:
        sys.exit(str(missing))
