"""Trainings whose direction is fine and whose step is not: too small, too large."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from theodolite.problems.digits import (
    NUM_CLASSES,
    NUM_COMPONENTS,
    NUM_TRAINING,
    digits,
    labelled_components,
    mislabelled_components,
)
from theodolite.problems.healthy import SHAPE, bowl
from theodolite.problems.networks import cross_entropy, half_square
from theodolite.problems.problem import Problem
from theodolite.problems.recipe import FunctionLoss, Pairing, Perceptron, Recipe, Start, adam, sgd

MISLABELLED_FLOOR = 1.2542901522964552
"""Minimum of the cross-entropy of a linear classifier of ``mislabelled_components``; a test finds it by L-BFGS."""

SQUARES_FLOOR = 0.18669400643800563
"""Minimum of linear least squares on ``labelled_components``; a test finds it by QR."""

LINEAR = Perceptron((NUM_COMPONENTS, NUM_CLASSES))
"""A linear model of the components."""


def double_valley(theta: Tensor) -> Tensor:
    """Σ log cosh θ; curvature 1 at the bottom, straight walls.

    Args:
        theta: The point.

    Returns:
        The value.
    """
    size = theta.abs()
    return (size + torch.log1p(torch.exp(-2.0 * size)) - torch.log(torch.tensor(2.0, dtype=theta.dtype))).sum()


_SGD = Recipe(Perceptron(SHAPE), sgd(0.5), cross_entropy, digits)
_ADAM = Recipe(Perceptron(SHAPE, nn.ReLU, gain=1.4), adam(3e-3), cross_entropy, digits)
_BOWL = Recipe(Start((3.0, -2.0, 1.0, 2.0)), sgd(0.3), FunctionLoss(bowl), steps=200)
TOO_SMALL: tuple[Problem, ...] = (
    *Pairing(replace(_SGD, optimizer=sgd(5e-5)), _SGD).problems(
        "small-step-digits",
        "step_too_small",
        title="Digits with a learning rate of 5e-5 where 0.5 is good",
        truth="Step times λmax is far below 1, and the same direction, far longer, gains far more.",
        cure="learning rate 0.5",
    ),
    *Pairing(replace(_ADAM, optimizer=adam(3e-7)), _ADAM).problems(
        "small-step-digits-adam",
        "step_too_small",
        title="Digits under Adam with a learning rate of 3e-7 where 3e-3 is good",
        truth="The last step, a thousand times longer, gains hundreds of times more.",
        cure="learning rate 3e-3",
    ),
    *Pairing(replace(_BOWL, optimizer=sgd(3e-5)), _BOWL).problems(
        "small-step-bowl",
        "step_too_small",
        title="A bowl descended with a learning rate of 3e-5 where 0.3 is good",
        truth="The error shrinks by 1 − 3e-5 λ a step with 1 ≤ λ ≤ 4; with 0.25 it would all but vanish at once.",
        cure="learning rate 0.3",
    ),
)
"""Trainings with a learning rate ten thousand times below a good one."""


_CONVEX = Recipe(
    LINEAR, sgd(1.0), cross_entropy, mislabelled_components, size=NUM_TRAINING, steps=300, floor=MISLABELLED_FLOOR
)
_CONVEX_ADAM = replace(_CONVEX, optimizer=adam(0.02), size=250)
_SQUARES = Recipe(LINEAR, sgd(0.1), half_square, labelled_components, size=NUM_TRAINING, steps=200, floor=SQUARES_FLOOR)
_VALLEY = Recipe(Start((3.0, -2.0, 1.0)), sgd(0.5), FunctionLoss(double_valley), steps=200)
TOO_LARGE: tuple[Problem, ...] = (
    *Pairing(replace(_SGD, optimizer=sgd(5.0)), _SGD).problems(
        "large-step-digits",
        "step_too_large",
        title="Digits with a learning rate of 5 where 0.5 is good",
        truth="The loss on all data stands above that of the start, where λmax times the rate is far above 2.",
        cure="learning rate 0.5",
    ),
    *Pairing(replace(_CONVEX, optimizer=sgd(30.0)), _CONVEX).problems(
        "large-step-linear",
        "step_too_large",
        title="A convex classifier of digits with the full gradient and a learning rate of 30",
        truth="λmax at the only minimum is 0.205: beyond a rate of 9.7 no descent can settle there.",
        cure="learning rate 1",
    ),
    *Pairing(replace(_CONVEX_ADAM, optimizer=adam(2.0)), _CONVEX_ADAM).problems(
        "large-step-linear-adam",
        "step_too_large",
        title="A convex classifier of digits under Adam with a learning rate of 2",
        truth="The problem is convex and its minimum known; the last step, a tenth as long, gains more.",
        cure="learning rate 0.02",
    ),
    *Pairing(replace(_SQUARES, optimizer=sgd(3.0)), _SQUARES).problems(
        "large-step-diverges",
        "step_too_large",
        title="Least squares on digits that diverges to infinity",
        truth="The Hessian is the identity, so a rate of 3 doubles the error in each step.",
        cure="learning rate 0.1",
    ),
    *Pairing(replace(_VALLEY, optimizer=sgd(6.0)), _VALLEY).problems(
        "large-step-valley",
        "step_too_large",
        title="A valley with straight walls, jumped across for ever",
        truth="θ − 6 tanh θ has the attracting cycle θ = ±2.98: the loss stays at 6.88.",
        cure="learning rate 0.5",
    ),
)
"""Trainings with a learning rate several times beyond what is stable."""
