"""The real data: 1,797 handwritten digits of 8 × 8 pixels (scikit-learn's copy of UCI's optical digits)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from theodolite import _checks
from theodolite.problems.networks import Pair

NUM_PIXELS = 64
NUM_CLASSES = 10
NUM_TRAINING = 1500
"""Examples to train on; the other 297 are for validation."""

_LEVELS = 16.0  # pixels count black points in a 4 × 4 cell: 0 to 16


@dataclass(frozen=True, eq=False)
class Digits:
    """Digits to train on and others to validate with, float32 pixels in [0, 1] and classes."""

    training: Pair
    validation: Pair


def digits() -> Digits:
    """The digits, split once and for all at random: the file is ordered by writer.

    Returns:
        1,500 examples to train on and 297 to validate with.
    """
    loaded = _checks.require("sklearn.datasets", extra="demo").load_digits()
    order = torch.randperm(len(loaded.target), generator=torch.Generator().manual_seed(0))
    inputs = torch.tensor(loaded.data, dtype=torch.float32)[order] / _LEVELS
    targets = torch.tensor(loaded.target, dtype=torch.int64)[order]
    return Digits(
        (inputs[:NUM_TRAINING], targets[:NUM_TRAINING]), (inputs[NUM_TRAINING:], targets[NUM_TRAINING:])
    )


def with_random_labels(pair: Pair, share: float) -> Pair:
    """Give a share of the examples a class at random, always the same ones.

    Args:
        pair: Inputs and classes.
        share: Probability that an example's class is drawn anew, uniformly.

    Returns:
        The same inputs with the new classes.
    """
    inputs, targets = pair
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(NUM_CLASSES, targets.shape, generator=generator)
    return inputs, torch.where(torch.rand(targets.shape, generator=generator) < share, drawn, targets)


def whitened(inputs: Tensor, count: int) -> Tensor:
    """The leading principal components, each of mean 0 and variance 1.

    Args:
        inputs: Examples as rows.
        count: How many components.

    Returns:
        One row an example.
    """
    centred = (inputs - inputs.mean(0)).double()
    left, _, _ = torch.linalg.svd(centred, full_matrices=False)
    return (left[:, :count] * len(inputs) ** 0.5).to(inputs.dtype)


def one_hot(targets: Tensor) -> Tensor:
    """Classes as rows of zeros with a one.

    Args:
        targets: Classes.

    Returns:
        One row an example, float32.
    """
    return functional.one_hot(targets, NUM_CLASSES).float()
