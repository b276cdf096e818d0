"""Trainings without an obstacle: a useful rate for their age, or at the floor."""

import torch
from torch import Tensor, nn

from theodolite.problems.digits import NUM_CLASSES, NUM_PIXELS, digits
from theodolite.problems.networks import cross_entropy
from theodolite.problems.problem import Problem
from theodolite.problems.recipe import FunctionLoss, Perceptron, Recipe, Start, adam, sgd

SHAPE = (NUM_PIXELS, 24, NUM_CLASSES)
"""1,810 parameters: few enough that tests form the whole Hessian."""

MOMENTUM = Recipe(
    model=Perceptron(SHAPE),
    optimizer=sgd(0.1, momentum=0.9),
    loss=cross_entropy,
    data=digits,
    steps=300,
)
"""A healthy training, from which many planted problems differ in one ingredient."""


def bowl(theta: Tensor) -> Tensor:
    """½ Σ λ θ² with λ from 1 to 4: its floor is 0.

    Args:
        theta: The point.

    Returns:
        The value.
    """
    return 0.5 * (torch.linspace(1.0, 4.0, len(theta), dtype=theta.dtype) * theta.square()).sum()


_ADAPTIVE = Recipe(
    model=Perceptron(SHAPE, nn.ReLU, gain=1.4),
    optimizer=adam(3e-3),
    loss=cross_entropy,
    data=digits,
)
_ARRIVED = Recipe(
    model=Start((3.0, -2.0, 1.0, 2.0)),
    optimizer=sgd(0.3),
    loss=FunctionLoss(bowl),
    steps=200,
)
_FALLS = "the loss on all data falls to a fifteenth, and still falls"
HEALTHY: tuple[Problem, ...] = (
    Problem(
        "healthy-digits",
        "none",
        "A small tanh network on digits, SGD with momentum",
        f"Nothing planted: {_FALLS}.",
        MOMENTUM.build,
        MOMENTUM.steps,
    ),
    Problem(
        "healthy-digits-adam",
        "none",
        "A small ReLU network on digits, Adam",
        f"Nothing planted: {_FALLS}.",
        _ADAPTIVE.build,
        _ADAPTIVE.steps,
    ),
    Problem(
        "healthy-arrived",
        "none",
        "A bowl whose bottom has been reached",
        "Nothing planted: the error shrinks by max|1 − 0.3 λ| = 0.7 a step, to the floor 0.",
        _ARRIVED.build,
        _ARRIVED.steps,
    ),
)
"""The healthy trainings."""
