"""What is a planted problem, and what does it take to train it?"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from theodolite.errors import SettingError
from theodolite.records.obstacles import OBSTACLES


@dataclass(frozen=True, eq=False)
class Batches:
    """A fixed number of batches, the same in every pass; no global random generator is moved.

    Each epoch is a fresh permutation, cut into full batches: examples are drawn without replacement within an epoch. A
    batch at least as large as the data is the data itself, unshuffled.

    Attributes:
        inputs: All examples, the first dimension counts them.
        targets: What is to be learnt of each.
        size: Examples a batch.
        steps: How many batches a pass has.
        seed: Seed of the order.
    """

    inputs: Tensor
    targets: Tensor
    size: int
    steps: int
    seed: int

    def __post_init__(self) -> None:
        """Refuse a batch or a pass of nothing."""
        if self.size < 1 or self.steps < 1:
            raise SettingError(f"size and steps must be at least 1, got {self.size} and {self.steps}. Ask for more.")

    def __len__(self) -> int:
        """How many batches a pass has."""
        return self.steps

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass, from the same beginning each time."""
        generator = torch.Generator().manual_seed(self.seed)
        count = len(self.inputs)
        order: list[Tensor] = []
        for _ in range(self.steps):
            if self.size >= count:
                yield self.inputs, self.targets
                continue
            if not order:
                # Reversed, so that pop() takes them in order; the last, uneven part of an epoch is left out.
                order = list(torch.randperm(count, generator=generator).split(self.size))[: count // self.size][::-1]
            chosen = order.pop()
            yield self.inputs[chosen], self.targets[chosen]


@dataclass(frozen=True, eq=False)
class Training:
    """All that a training loop needs, at its first step.

    Attributes:
        model: The network, initialised.
        optimizer: Its optimizer, fresh.
        loss: ``loss(model, batch)``, the mean over the batch, a scalar tensor.
        batches: One batch for each step; may be read again, and is then the same.
        floor: The lowest loss that can be reached on the training data, as far as it is known; 0 is always a bound.
        data: All training examples as one batch: J is the loss on it.
        validation: Examples that are not trained on, as one batch; None where there are none.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    loss: Callable[[nn.Module, Any], Tensor]
    batches: Iterable[Any]
    floor: float
    data: Any
    validation: Any | None = None


@dataclass(frozen=True)
class Problem:
    """A training whose obstacle is known, because it was planted; or the clean twin of one.

    Attributes:
        name: Its name, in words joined by hyphens.
        obstacle: One of ``OBSTACLES``; ``none`` for a clean twin.
        title: What it is, in one line.
        truth: Which cause was planted, and what shows that it is the truth.
        build: Makes the training from a seed; the same seed gives the same bits.
        steps: How many steps a training has.
        floor: The lowest loss that can be reached, as in ``Training``.
        twin_of: The problem that this one is the clean twin of; "" if it is none.
        family: The idea of its cause, which plant and twin share; its own name where none is given.
        needs: Name of a data set that must be on the disk, as in ``datasets``; "" if none is needed.
    """

    name: str
    obstacle: str
    title: str
    truth: str
    build: Callable[[int], Training]
    steps: int
    floor: float = 0.0
    twin_of: str = ""
    family: str = ""
    needs: str = ""

    def __post_init__(self) -> None:
        """Refuse an obstacle that is not in the contract, and a twin that is ill; name the family."""
        object.__setattr__(self, "family", self.family or self.twin_of or self.name)
        if self.obstacle not in OBSTACLES:
            raise SettingError(f"obstacle must be one of {OBSTACLES}, got {self.obstacle!r}. Correct the spelling.")
        if self.twin and self.obstacle != "none":
            raise SettingError(
                f"a clean twin must have the obstacle 'none', got {self.obstacle!r}. Change one of them."
            )

    @property
    def twin(self) -> bool:
        """Whether this is a clean twin."""
        return bool(self.twin_of)


def train(training: Training) -> list[float]:
    """Train as any loop would, unwatched.

    Args:
        training: A fresh training; its model is changed.

    Returns:
        The loss of each batch before its step; the run goes on after NaN.
    """
    losses = []
    for batch in training.batches:
        training.optimizer.zero_grad()
        loss = training.loss(training.model, batch)
        loss.backward()
        training.optimizer.step()
        losses.append(float(loss.detach()))
    return losses
