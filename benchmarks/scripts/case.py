"""What is a case? A script that builds a training, what was broken in it, and what an expert expects to be told."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

Loss = Callable[[nn.Module, Any], Tensor]


@dataclass(frozen=True)
class Training:
    """All that the loop of a script needs."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    loss: Loss
    batches: Iterable[Any]  # of one epoch
    epochs: int
    validation: Iterable[Any] | None = None
    floor: float = 0.0
    clip: float | None = None  # greatest gradient norm
    schedule: torch.optim.lr_scheduler.LRScheduler | None = None  # steps with each batch


@dataclass(frozen=True)
class Case:
    """A training and the verdicts on it: the one that is expected, and others that an expert would let pass."""

    name: str
    make: Callable[[], Training]
    like: str  # the public script whose manner it has
    expected: str = "none"
    accepted: tuple[str, ...] = ()
    broken: str = ""


def loader(*tensors: Tensor, batch: int = 64) -> DataLoader[Any]:
    """Shuffled batches, as scripts make them; the last, smaller one is left out."""
    return DataLoader(TensorDataset(*tensors), batch, shuffle=True, drop_last=len(tensors[0]) > batch)


def classify(model: nn.Module, batch: Any) -> Tensor:
    inputs, targets = batch
    return nn.functional.cross_entropy(model(inputs), targets)


def regress(model: nn.Module, batch: Any) -> Tensor:
    inputs, targets = batch
    return nn.functional.mse_loss(model(inputs).squeeze(-1), targets)


def entropy(share: float, classes: int) -> float:
    """The least mean loss on labels that ``spoil`` gives, where the true ones are certain."""
    drawn = share / classes
    kept = 1 - share + drawn
    return -kept * math.log(kept) - (classes - 1) * drawn * math.log(drawn) if share else 0.0


def spoil(labels: Tensor, share: float, classes: int) -> Tensor:
    """Labels, a share of which was drawn anew at random."""
    drawn = torch.randint(classes, labels.shape)
    return torch.where(torch.rand(labels.shape) < share, drawn, labels)
