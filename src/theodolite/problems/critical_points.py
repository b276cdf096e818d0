"""Trainings that sit at a critical point: a saddle with a way down, a local minimum without one."""

import math
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from theodolite.problems.digits import NUM_TRAINING, digits, displaced_images
from theodolite.problems.healthy import MOMENTUM, SHAPE
from theodolite.problems.networks import Displacement, cross_entropy, half_square
from theodolite.problems.problem import Problem
from theodolite.problems.recipe import FunctionLoss, Pairing, Perceptron, Recipe, Start, adam, sgd

LOWER_WELL = 0.15525622983211224
"""Minus the least value of ¼ (x² − 1)² + 0.15 x; a test finds it among the roots of x³ − x + 0.15."""


def scalar_net(theta: Tensor) -> Tensor:
    """½ (ab − 1)²: a linear net of two layers with one unit each; a strict saddle at 0 with λ = ±1.

    Args:
        theta: The two weights a and b.

    Returns:
        The value.
    """
    return 0.5 * (theta.prod() - 1.0).square()


def ridge(theta: Tensor) -> Tensor:
    """¼ (x² − 1)² + ½|y|²: a saddle of index 1 at 0, with λ = −1 and 1, between two wells of depth 0.

    Args:
        theta: The point (x, y).

    Returns:
        The value.
    """
    x, y = theta[0], theta[1:]
    return 0.25 * (x.square() - 1.0).square() + 0.5 * y.square().sum()


def tilted_ridge(theta: Tensor) -> Tensor:
    """The ridge plus 0.15 x: the well on the right is now higher; 0 at the bottom of the left one.

    Args:
        theta: The point (x, y).

    Returns:
        The value.
    """
    return ridge(theta) + 0.15 * theta[0] + LOWER_WELL


def wave(theta: Tensor) -> Tensor:
    """Half the mean of (sin wx − sin 5x)² over 65 points x from −π to π: one sine unit, many minima in w.

    Args:
        theta: The frequency w.

    Returns:
        The value.
    """
    x = torch.linspace(-math.pi, math.pi, 65, dtype=theta.dtype)
    return 0.5 * (torch.sin(theta[0] * x) - torch.sin(5.0 * x)).square().mean()


_NET = Recipe(Perceptron(SHAPE, bias=False), sgd(0.2), cross_entropy, digits, steps=300)
_SCALAR = Recipe(Start((0.5, 0.5)), sgd(0.05), FunctionLoss(scalar_net), steps=200)
_BESIDE = Recipe(Start((0.5, 1.0, -1.0)), sgd(0.01, momentum=0.9), FunctionLoss(ridge), steps=150)
SADDLES: tuple[Problem, ...] = (
    *Pairing(replace(_NET, model=Perceptron(SHAPE, gain=1e-7, bias=False)), _NET).problems(
        "saddle-digits",
        "saddle_point",
        title="A tanh network on digits whose weights start at nearly 0",
        truth="The loss stays at ln 10; the gradient is small, and the least eigenvalue of the Hessian is −0.24.",
        cure="weights of the usual size",
    ),
    *Pairing(replace(MOMENTUM, model=Perceptron(SHAPE, gain=0.0)), MOMENTUM).problems(
        "saddle-digits-zero",
        "saddle_point",
        title="A tanh network on digits whose weights all start at 0",
        truth="The gradient of every weight is exactly 0 and stays so; the least eigenvalue is −0.24.",
        cure="weights of the usual size",
    ),
    *Pairing(replace(_SCALAR, model=Start((1e-6, 1e-6))), _SCALAR).problems(
        "saddle-product",
        "saddle_point",
        title="Two scalar layers that start at nearly 0",
        truth="½ (ab − 1)² at 0 has the eigenvalues −1 and 1; 1.05^200 is not enough to leave.",
        cure="both weights start at 0.5",
    ),
    *Pairing(replace(_BESIDE, model=Start((1e-7, 1.0, -1.0))), _BESIDE).problems(
        "saddle-ridge",
        "saddle_point",
        title="A start on the ridge between two wells, with momentum",
        truth="The run comes down the ridge to the saddle, where one eigenvalue is −1 and the others are 1.",
        cure="a start beside the ridge",
    ),
)
"""Trainings that start so near a saddle that they do not leave it in time."""


REGISTRATION = Recipe(
    Start((1.7, 2.3), Displacement),
    sgd(0.05),
    half_square,
    partial(displaced_images, 3, 1, 2),
    size=NUM_TRAINING,
    steps=300,
)
"""Images of the digit 3 are to be laid over copies that were moved by one row and two columns."""

ONE_ARC_TOO_FAR = Start((4.3, 2.3), Displacement)
"""Where the upper arc of the 3 comes to lie on the lower one."""

_WELL = Recipe(Start((-0.6, 1.0, -1.0)), sgd(0.02, momentum=0.9), FunctionLoss(tilted_ridge), steps=300)
_SINE = Recipe(Start((4.8,), spread=0.01), adam(0.02), FunctionLoss(wave), steps=300)
LOCAL_MINIMA: tuple[Problem, ...] = (
    *Pairing(replace(REGISTRATION, model=ONE_ARC_TOO_FAR), REGISTRATION).problems(
        "minimum-digits",
        "local_minimum",
        title="Images of the digit 3 laid over moved copies, from a start one arc too far",
        truth="One arc lies on the other: the gradient is 0, both eigenvalues are positive, and the loss is 4.97, "
        "where it is 0 at the true displacement.",
        cure="a start near the true displacement",
    ),
    *Pairing(replace(_WELL, model=Start((0.6, 1.0, -1.0))), _WELL).problems(
        "minimum-well",
        "local_minimum",
        title="The higher of two wells, with momentum",
        truth="A root of x³ − x + 0.15 = 0 with positive curvature that is not the lowest.",
        cure="a start in the lower well",
    ),
    *Pairing(replace(_SINE, model=Start((2.2,), spread=0.01)), _SINE).problems(
        "minimum-wave",
        "local_minimum",
        title="One sine unit that has locked on to the wrong frequency, under Adam",
        truth="The loss as a function of the one weight has a minimum near 2.4 with the loss 0.41; it is 0 at 5.",
        cure="a start near the right frequency",
    ),
)
"""Trainings that start in the basin of a minimum that is not the lowest."""
