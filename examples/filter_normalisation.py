"""Does a picture change where the function does not?

What to see. The same net twice: in the second the first layer's weights are ten times as large and the next layer's ten
times smaller, which a net of rectifiers does not notice. Along a plain random direction one looks sharp and the other
flat. With the direction rescaled to each filter's length, both pictures are one.

    python examples/filter_normalisation.py [picture.png]

Source: Li et al. 2018, section 4. Takes a few seconds.
"""

import sys
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from trajectory_3d import DATA, trained

from theodolite import Objective, line, random_direction, save_figure
from theodolite.plots import figure_multiples, marks_line
from theodolite.problems.networks import cross_entropy
from theodolite.records.lines import Line

FACTOR = 10.0
KINDS: dict[str, Literal["filter"] | None] = {"plain": None, "by filters": "filter"}


def rescaled(objective: Objective, theta: Tensor) -> Tensor:
    """The same function: the first layer times ten, the weights of the second by ten."""
    first_weight, first_bias, second_weight, second_bias = objective.params.unflatten(theta)
    return objective.params.flatten((FACTOR * first_weight, FACTOR * first_bias, second_weight / FACTOR, second_bias))


def main(picture: str = "filter_normalisation.png", steps: int = 300, size: int = 31) -> dict[str, float]:
    """Draw the four lines; return how far the pictures of one function lie apart, plain and by filters."""
    single, _ = trained(steps)
    objective = Objective(single.source.model.double(), cross_entropy, (DATA[0].double(), DATA[1]))
    theta = objective.point()
    lines: dict[str, Line] = {}
    for name, point in {"as trained": theta, "rescaled": rescaled(objective, theta)}.items():
        for kind, normalize in KINDS.items():
            source = torch.Generator().manual_seed(0)
            way = random_direction(objective, at=point, generator=source, normalize=normalize)
            way = way if normalize else 3 * way / way.norm()
            around = (point - way, point + way)
            lines[f"{kind}, {name}"] = line(objective, *around, points=size, extend=0, labels=("−1", "+1"))
    pictures = {name: marks_line(one, scale="linear") for name, one in lines.items()}
    save_figure(figure_multiples(pictures, columns=2), picture)

    found = {
        "loss of the two nets apart": abs(objective.value(theta) - objective.value(rescaled(objective, theta))),
        "plain pictures apart": apart(lines["plain, as trained"], lines["plain, rescaled"]),
        "pictures by filters apart": apart(lines["by filters, as trained"], lines["by filters, rescaled"]),
    }
    for what, value in found.items():
        print(f"{what}: {value:.3g}")
    return found


def apart(one: Line, other: Line) -> float:
    """Greatest difference of the losses, as a share of the range."""
    return float(np.abs(one.losses - other.losses).max() / np.ptp(one.losses))


if __name__ == "__main__":
    main(*sys.argv[1:2])
