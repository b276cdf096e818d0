"""Trainings whose loss falls for ever because it has no minimum: it lies at infinity."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from theodolite.problems.datasets import breast_cancer, wine
from theodolite.problems.digits import NUM_CLASSES, NUM_PIXELS, NUM_TRAINING, digits
from theodolite.problems.healthy import SHAPE
from theodolite.problems.networks import Pair, cross_entropy
from theodolite.problems.problem import Problem
from theodolite.problems.recipe import Data, FunctionLoss, Optimize, Pairing, Perceptron, Recipe, Start, adam, sgd

NUM_TUMOURS = 150
"""So few that 30 measurements separate them."""

SLOPE_FLOOR = 0.927204601214497
"""Least value of ``Slope(PENALTY)`` in four dimensions; a test finds it by Lambert's W."""

TWO_DIGITS_FLOOR = 0.1303632748672109
"""Least penalised cross-entropy of a linear classifier of ``two_digits``; a test finds it by L-BFGS."""

WINE_FLOOR = 0.20820482400180795
"""Least penalised cross-entropy of a linear classifier of the wines; a test finds it by L-BFGS."""

TUMOUR_FLOOR = 0.22689444491990224
"""Least penalised exponential loss of a linear classifier of ``tumours``; a test finds it by L-BFGS."""


@dataclass(frozen=True)
class Slope:
    """Σ exp(−θ) + ½ε|θ|²: under the gradient's flow exp(−θ) = 1/(t + c), if ε is 0.

    Attributes:
        penalty: ε.
    """

    penalty: float = 0.0

    def __call__(self, theta: Tensor) -> Tensor:
        """The value at θ."""
        return (torch.exp(-theta) + 0.5 * self.penalty * theta.square()).sum()


@dataclass(frozen=True)
class Penalised:
    """A loss plus ½ε|θ|², which has a minimum where the loss has none.

    Attributes:
        loss: As in ``Training``.
        penalty: ε.
    """

    loss: Callable[[nn.Module, Any], Tensor]
    penalty: float

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        """The sum, a scalar tensor."""
        squares = torch.stack([part.square().sum() for part in model.parameters()])
        return self.loss(model, batch) + 0.5 * self.penalty * squares.sum()


def exponential(model: nn.Module, batch: Pair) -> Tensor:
    """The loss of boosting: mean of exp(−margin).

    Args:
        model: Gives one number for each example; its sign is the class.
        batch: Inputs and classes 0 and 1.

    Returns:
        A scalar tensor.
    """
    inputs, targets = batch
    margins: Tensor = (2.0 * targets - 1.0) * model(inputs)[:, 0]
    return torch.exp(-margins).mean()


def brier(model: nn.Module, batch: Pair) -> Tensor:
    """Half the squared distance of the outputs to rows of zeros with a one; its minimum lies at finite weights.

    Args:
        model: Gives one number a class.
        batch: Inputs and classes.

    Returns:
        A scalar tensor.
    """
    inputs, targets = batch
    outputs = model(inputs)
    rows = functional.one_hot(targets, NUM_CLASSES).to(outputs.dtype)
    loss: Tensor = 0.5 * (outputs - rows).square().sum(1).mean()
    return loss


def two_digits() -> Data:
    """The digits 0 and 1, which a plane separates.

    Returns:
        About 300 examples to train on.
    """
    inputs, targets = digits().training
    chosen = targets < 2
    return Data((inputs[chosen], targets[chosen]))


def tumours() -> Data:
    """The first of the tumours to train on, standardised, which a plane separates.

    Returns:
        150 examples to train on.
    """
    inputs, targets = breast_cancer().training
    return Data((inputs[:NUM_TUMOURS], targets[:NUM_TUMOURS]))


def wines() -> Data:
    """The wines to train on, standardised, which planes separate.

    Returns:
        133 examples to train on.
    """
    return Data(wine().training)


def unvalidated() -> Data:
    """The digits to train on.

    Returns:
        1,500 examples to train on.
    """
    return Data(digits().training)


def rmsprop(rate: float) -> Optimize:
    """RMSprop as PyTorch has it.

    Args:
        rate: Learning rate.

    Returns:
        What makes the optimizer.
    """
    return partial(torch.optim.RMSprop, lr=rate)


PENALTY = 0.05
"""What the twins have: the minimum then lies at finite weights, and is reached."""

_SLOPE = Recipe(Start((0.5, -0.5, 1.0, -1.0)), sgd(0.3), FunctionLoss(Slope()), steps=600)
_DIGITS = Recipe(Perceptron((NUM_PIXELS, 2)), sgd(0.3, momentum=0.5), cross_entropy, two_digits, steps=800)
_WINE = Recipe(Perceptron((13, 3)), adam(0.03), cross_entropy, wines, size=200, steps=800)
_TUMOURS = Recipe(Perceptron((30, 1)), rmsprop(0.003), exponential, tumours, size=NUM_TUMOURS, steps=1500)
_NET = Recipe(Perceptron(SHAPE), sgd(0.1, momentum=0.9), cross_entropy, unvalidated, size=NUM_TRAINING // 6, steps=1200)


def _penalised(recipe: Recipe, floor: float) -> Recipe:
    """The same with a penalty, and the floor that this makes."""
    return replace(recipe, loss=Penalised(recipe.loss, PENALTY), floor=floor)


FAR_MINIMA: tuple[Problem, ...] = (
    *Pairing(_SLOPE, replace(_SLOPE, loss=FunctionLoss(Slope(PENALTY)), floor=SLOPE_FLOOR)).problems(
        "far-slope",
        "no_minimum",
        title="A sum of exp(−θ)",
        truth="After t steps with the rate 0.3 each exp(−θ) is close to 1/(0.3 t): gradient and curvature are positive "
        "everywhere, and their limit 0 lies at infinity.",
        cure="a penalty ½ · 0.05 θ²",
    ),
    *Pairing(_DIGITS, _penalised(_DIGITS, TWO_DIGITS_FLOOR)).problems(
        "far-digits",
        "no_minimum",
        title="A linear classifier of the digits 0 and 1, which a plane separates",
        truth="Along the direction of the weights the loss falls towards 0 for ever, the weights growing as its log.",
        cure="a penalty ½ · 0.05 |θ|²",
    ),
    *Pairing(_WINE, _penalised(_WINE, WINE_FLOOR)).problems(
        "far-wine",
        "no_minimum",
        title="A linear classifier of wines, which planes separate, under Adam",
        truth="Along the direction of the weights the loss falls towards 0 for ever.",
        cure="a penalty ½ · 0.05 |θ|²",
    ),
    *Pairing(_TUMOURS, _penalised(_TUMOURS, TUMOUR_FLOOR)).problems(
        "far-tumours",
        "no_minimum",
        title="The exponential loss of boosting on tumours that a plane separates, under RMSprop",
        truth="Along the direction of the weights every exp(−margin) falls towards 0 for ever.",
        cure="a penalty ½ · 0.05 |θ|²",
    ),
    *Pairing(_NET, replace(_NET, loss=brier)).problems(
        "far-net",
        "no_minimum",
        title="A small tanh network on digits, trained far beyond the last mistake",
        truth="Every digit has long been right: the outer weights, made larger, lower the loss towards 0 for ever.",
        cure="the squared error, whose minimum lies at finite weights",
    ),
)
"""Trainings whose loss nears its least value only as the weights go to infinity."""
