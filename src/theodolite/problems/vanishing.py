"""Trainings whose gradient has vanished: plateaus of saturated units, and units that are dead."""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from theodolite.problems.digits import NUM_CLASSES, NUM_PIXELS, NUM_TRAINING, digits, one_hot_digits
from theodolite.problems.healthy import SHAPE
from theodolite.problems.networks import Pair, cross_entropy
from theodolite.problems.problem import Problem
from theodolite.problems.recipe import FunctionLoss, Pairing, Perceptron, Recipe, Start, adam, sgd

STACK = (NUM_PIXELS, *(10,) * 6, NUM_CLASSES)
"""Six hidden layers of ten units: 1,310 parameters."""


def sigmoid_square(model: nn.Module, batch: Pair) -> Tensor:
    """Half the squared distance of sigmoid outputs to their targets, the mean over examples.

    Args:
        model: Gives what goes into the sigmoids.
        batch: Inputs and targets between 0 and 1.

    Returns:
        A scalar tensor.
    """
    inputs, targets = batch
    return 0.5 * (torch.sigmoid(model(inputs)) - targets).square().sum(1).mean()


def sigmoid_unit(theta: Tensor) -> Tensor:
    """Half the mean of (σ(wx + b) − σ(2x))² over nine points x from −1 to 1.

    Args:
        theta: The weight w and the bias b.

    Returns:
        The value.
    """
    x = torch.linspace(-1.0, 1.0, 9, dtype=theta.dtype)
    return 0.5 * (torch.sigmoid(theta[0] * x + theta[1]) - torch.sigmoid(2.0 * x)).square().mean()


def relu_unit(theta: Tensor) -> Tensor:
    """Half the mean of (a max(wx + b, 0) − max(x, 0))² over seventeen points x from −1 to 1.

    Args:
        theta: The outer weight a, the inner weight w and the bias b.

    Returns:
        The value.
    """
    x = torch.linspace(-1.0, 1.0, 17, dtype=theta.dtype)
    return 0.5 * (theta[0] * functional.relu(theta[1] * x + theta[2]) - functional.relu(x)).square().mean()


_STACK = Recipe(Perceptron(STACK), sgd(0.03, momentum=0.9), cross_entropy, digits, size=NUM_TRAINING, steps=300)
_OUTPUTS = Recipe(Perceptron(SHAPE), sgd(0.1, momentum=0.9), sigmoid_square, one_hot_digits)
_SIGMOID = Recipe(Start((0.5, 0.5)), sgd(1.0, momentum=0.9), FunctionLoss(sigmoid_unit), steps=300)
PLATEAUS: tuple[Problem, ...] = (
    *Pairing(replace(_STACK, model=Perceptron(STACK, nn.Sigmoid)), _STACK).problems(
        "plateau-digits-stack",
        "plateau",
        title="Six sigmoid layers on digits: the gradient vanishes on its way down",
        truth="At the start the gradient of the first layer is below 1e-3 of that of the last; at the end the whole "
        "gradient is below 2e-4, and no curvature is negative beyond 2e-3 of the largest.",
        cure="tanh in place of the sigmoid",
    ),
    *Pairing(replace(_OUTPUTS, model=Perceptron(SHAPE, offset=16.0, offset_layer=1)), _OUTPUTS).problems(
        "plateau-digits-outputs",
        "plateau",
        title="Sigmoid outputs on digits that all start saturated at 1",
        truth="σ′(16) is 1e-7: gradient and all eigenvalues of the Hessian are as small.",
        cure="output biases start at 0",
    ),
    *Pairing(replace(_SIGMOID, model=Start((0.5, -18.0))), _SIGMOID).problems(
        "plateau-unit",
        "plateau",
        title="One sigmoid _SIGMOID, saturated",
        truth="The slope is σ′(−18) = 1.5e-8 times the error, the curvature as small.",
        cure="a start where the sigmoid is steep",
    ),
)
"""Trainings where neither slope nor curvature is left."""


_ALIVE = Perceptron(SHAPE, nn.ReLU, gain=1.4, offset=0.5)  # without the 0.5, a fifth of the units may die in training
_WIDE = Recipe(_ALIVE, sgd(0.05, momentum=0.9), cross_entropy, digits, steps=300)
_WIDTHS = (NUM_PIXELS, 20, 20, NUM_CLASSES)
_DEEP = Recipe(Perceptron(_WIDTHS, nn.ReLU, gain=1.4), adam(3e-3), cross_entropy, digits)
_RELU = Recipe(Start((0.5, 0.5, 0.2)), sgd(0.1, momentum=0.9), FunctionLoss(relu_unit), steps=400)
DEAD: tuple[Problem, ...] = (
    *Pairing(replace(_WIDE, model=replace(_ALIVE, offset=-20.0)), _WIDE).problems(
        "dead-digits",
        "dead_units",
        title="A ReLU network on digits whose hidden biases start at −20",
        truth="No hidden unit is active on any example, its gradient is exactly 0, and the loss stays at ln 10.",
        cure="hidden biases start at 0.5",
    ),
    *Pairing(replace(_WIDE, model=replace(_ALIVE, offset=-20.0, offset_share=23 / 24)), _WIDE).problems(
        "dead-digits-most",
        "dead_units",
        title="A ReLU network on digits of whose 24 hidden units 23 are dead",
        truth="23 units are inactive on every example; one is left for ten classes, and may die too.",
        cure="hidden biases start at 0.5",
    ),
    *Pairing(replace(_DEEP, model=Perceptron(_WIDTHS, nn.ReLU, 1.4, offset=-20.0, offset_layer=1)), _DEEP).problems(
        "dead-digits-adam",
        "dead_units",
        title="Two ReLU layers on digits, the second one dead, under Adam",
        truth="No unit of the second layer is active on any example, so that nothing below it learns.",
        cure="hidden biases start at 0",
    ),
    *Pairing(replace(_RELU, model=Start((0.5, 0.5, -5.0))), _RELU).problems(
        "dead-unit",
        "dead_units",
        title="One ReLU unit whose bias starts at −5",
        truth="It is inactive on every example: the gradient is exactly 0.",
        cure="its bias starts at 0.2",
    ),
)
"""Trainings in which units of a layer are inactive on every example."""
