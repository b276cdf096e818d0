"""Is the straight line as free for a net with a memory, which learns to go on with Shakespeare?

What to see. At the start the loss is that of a guess among 65 characters, ln 65 = 4.17. From there it falls along the
straight line to the solution, almost evenly and then ever more slowly, on the text to train on and on text to validate
with: no wall in between. On the latter it turns a little before the end. Beyond the solution both rise.

    THEODOLITE_DATA=<folder with tinyshakespeare/input.txt> python examples/straight_line_lstm.py [picture.png]

Source: Goodfellow, Vinyals & Saxe 2015, figure 8 (there words, and a larger net). Takes half a minute.
"""

import sys

import torch
from torch import Tensor, nn
from torch.nn import functional

from theodolite import Objective, line, save_figure
from theodolite.errors import DataError
from theodolite.plots import marks_line
from theodolite.problems.architectures import Drawn
from theodolite.problems.datasets import NUM_CHARACTERS, shakespeare
from theodolite.problems.networks import Pair


class Writer(nn.Module):
    """Says of each character of a text which one will follow."""

    def __init__(self, width: int) -> None:
        """Make the layers: an embedding, a layer of LSTM cells, a linear one."""
        super().__init__()
        self.embed = nn.Embedding(NUM_CHARACTERS, 32)
        self.remember = nn.LSTM(32, width, batch_first=True)
        self.outward = nn.Linear(width, NUM_CHARACTERS)

    def forward(self, characters: Tensor) -> Tensor:
        """One logit for each character that may follow, after each one of the text."""
        states, _ = self.remember(self.embed(characters))
        return self.outward(states)


def next_character(model: nn.Module, batch: Pair) -> Tensor:
    """Mean cross-entropy a character, in nats."""
    characters, following = batch
    return functional.cross_entropy(model(characters).flatten(0, 1), following.flatten())


def main(picture: str = "straight_line_lstm.png", steps: int = 600, size: int = 43) -> dict[str, float]:
    """Draw the line, and return the loss at its start, where it is least, and the barrier."""
    data = shakespeare(6000, 50, validation=200)
    assert data.validation is not None
    source = torch.Generator().manual_seed(0)
    model = Drawn(lambda: Writer(96), gain=0.5)(source)
    objective = Objective(model, next_character, tuple(part[::30] for part in data.training))
    held = {"validation loss": Objective(model, next_character, data.validation)}
    start = objective.point()
    optimizer = torch.optim.SGD(model.parameters(), lr=2.0, momentum=0.9)
    for _ in range(steps):
        rows = torch.randint(len(data.training[0]), (20,), generator=source)
        optimizer.zero_grad()
        next_character(model, (data.training[0][rows], data.training[1][rows])).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        optimizer.step()
    way = line(objective, start, objective.point(), points=size, extend=0.25, others=held)
    save_figure(marks_line(way, scale="linear"), picture)

    found = {
        "loss at the start": objective.value(start),
        "loss at the end": objective.value(),
        "position of the least loss": float(way.positions[way.losses.argmin()]),
        "barrier": way.barrier,
    }
    for what, value in found.items():
        print(f"{what}: {value:.3f}")
    return found


if __name__ == "__main__":
    try:
        main(*sys.argv[1:2])
    except DataError as missing:
        sys.exit(str(missing))
