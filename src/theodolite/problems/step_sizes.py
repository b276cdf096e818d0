"""Trainings whose direction is fine and whose step is not: too small, too large.

The step is the rate times what else scales it: a schedule, a clipping, the denominator of an adaptive optimizer.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adagrad, Adam, AdamW, RMSprop

from theodolite.problems.architectures import Attentive, Drawn, Recurrent, convolutional
from theodolite.problems.cliffs import clipped
from theodolite.problems.datasets import breast_cancer, wine
from theodolite.problems.digits import (
    NUM_CLASSES,
    NUM_COMPONENTS,
    NUM_TRAINING,
    SIDE,
    digits,
    labelled_components,
    mislabelled_components,
)
from theodolite.problems.healthy import MOMENTUM, SHAPE, bowl
from theodolite.problems.networks import cross_entropy, half_square
from theodolite.problems.problem import Problem
from theodolite.problems.recipe import Data, FunctionLoss, Optimize, Pairing, Perceptron, Recipe, Start, adam, sgd

MISLABELLED_FLOOR = 1.2542901522964552
"""Minimum of the cross-entropy of a linear classifier of ``mislabelled_components``; a test finds it by L-BFGS."""

SQUARES_FLOOR = 0.18669400643800563
"""Minimum of linear least squares on ``labelled_components``; a test finds it by QR."""

WINE_FLOOR = 0.04787067305938491
"""Minimum of linear least squares on ``labelled_wine``; a test finds it by QR."""

LINEAR = Perceptron((NUM_COMPONENTS, NUM_CLASSES))
"""A linear model of the components."""


CONVOLUTIONAL = Drawn(partial(convolutional, SIDE, (8, 12), NUM_CLASSES, nn.Tanh))
RECURRENT = Drawn(partial(Recurrent, SIDE, 24, NUM_CLASSES))
ATTENTIVE = Drawn(partial(Attentive, SIDE, 16, NUM_CLASSES))
"""Networks that see a digit as an image, as a sequence of rows, and as a set of rows."""


@dataclass(frozen=True)
class Scheduled:
    """An optimizer whose learning rate changes after each step.

    Attributes:
        optimizer: Makes the optimizer.
        change: The next rate from the last one.
    """

    optimizer: Optimize
    change: Callable[[float], float]

    def __call__(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer; it holds its schedule itself, so that any loop keeps to it."""
        optimizer = self.optimizer(parameters)
        optimizer.register_step_post_hook(self._advance)
        return optimizer

    def _advance(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        for group in optimizer.param_groups:
            group["lr"] = self.change(group["lr"])


def fallen(rate: float, *, factor: float, least: float) -> float:
    """A rate that falls by a factor each step, to a least one.

    Args:
        rate: The last rate.
        factor: Below 1.
        least: Where it ends.

    Returns:
        The next rate.
    """
    return max(rate * factor, least)


def risen(rate: float, *, factor: float = 1.0, summand: float = 0.0, most: float = math.inf) -> float:
    """A rate that rises by a factor or a summand each step, to a greatest one.

    Args:
        rate: The last rate.
        factor: At least 1.
        summand: At least 0.
        most: Where it ends.

    Returns:
        The next rate.
    """
    return min(rate * factor + summand, most)


def double_valley(theta: Tensor) -> Tensor:
    """Σ log cosh θ; curvature 1 at the bottom, straight walls.

    Args:
        theta: The point.

    Returns:
        The value.
    """
    size = theta.abs()
    return (size + torch.log1p(torch.exp(-2.0 * size)) - torch.log(torch.tensor(2.0, dtype=theta.dtype))).sum()


def circles() -> Data:
    """Points about two circles of radius 1 and ½, scattered by 0.1, and on which one they are: AUTOTRAINER's Circle.

    Returns:
        400 examples to train on.
    """
    generator = torch.Generator().manual_seed(0)
    angle, targets = 2.0 * math.pi * torch.rand(400, generator=generator), torch.arange(400) % 2
    points = torch.stack([angle.cos(), angle.sin()], 1) * (1.0 - 0.5 * targets)[:, None]
    return Data((points + 0.1 * torch.randn(400, 2, generator=generator), targets))


def labelled_wine(*, standardised: bool = True) -> Data:
    """The wines, and growers as rows of zeros with a one.

    Args:
        standardised: As in ``wine``.

    Returns:
        133 examples to train on.
    """
    inputs, targets = wine(standardised=standardised).training
    return Data((inputs, functional.one_hot(targets).float()))


_SGD = Recipe(Perceptron(SHAPE), sgd(0.5), cross_entropy, digits)
_ADAM = Recipe(Perceptron(SHAPE, nn.ReLU, gain=1.4), adam(3e-3), cross_entropy, digits)
_BOWL = Recipe(Start((3.0, -2.0, 1.0, 2.0)), sgd(0.3), FunctionLoss(bowl), steps=200)
_CIRCLES = Recipe(Perceptron((2, 32, 32, 2)), sgd(0.03, momentum=0.9), cross_entropy, circles, size=32, steps=300)
_ATTENTION = Recipe(ATTENTIVE, partial(AdamW, lr=0.01), cross_entropy, digits, size=32, steps=600)
_IMAGES = Recipe(CONVOLUTIONAL, partial(AdamW, lr=0.01), cross_entropy, digits, size=32, steps=400)
_ROWS = Recipe(RECURRENT, adam(0.005), cross_entropy, digits, size=32, steps=300)
_CLIPPED = replace(_ROWS, optimizer=clipped(sgd(0.1), 10.0), steps=600)
_CELLS = Recipe(Perceptron((30, 16, 2)), adam(3e-3), cross_entropy, breast_cancer, size=32, steps=400)
_WARM, _COLD = (Scheduled(adam(5e-9), partial(risen, summand=by, most=0.005)) for by in (1.7e-4, 5e-9))
_ACCUMULATED = replace(MOMENTUM, optimizer=partial(Adagrad, lr=0.05))
_FULL = partial(Adagrad, lr=0.05, initial_accumulator_value=1e6)
TOO_SMALL: tuple[Problem, ...] = (
    *Pairing(replace(_SGD, optimizer=sgd(5e-5)), _SGD).problems(
        "small-step-digits",
        "step_too_small",
        title="Digits with a learning rate of 5e-5 where 0.5 is good",
        truth="Step times λmax is far below 1, and the same direction, far longer, gains far more.",
        cure="learning rate 0.5",
        family="small-rate",
    ),
    *Pairing(replace(_BOWL, optimizer=sgd(3e-5)), _BOWL).problems(
        "small-step-bowl",
        "step_too_small",
        title="A bowl descended with a learning rate of 3e-5 where 0.3 is good",
        truth="The error shrinks by 1 − 3e-5 λ a step with 1 ≤ λ ≤ 4; with 0.25 it would all but vanish at once.",
        cure="learning rate 0.3",
        family="small-rate",
    ),
    *Pairing(replace(_CIRCLES, optimizer=sgd(1e-6, momentum=0.9)), _CIRCLES).problems(
        "small-step-circles",
        "step_too_small",
        title="AUTOTRAINER's slow convergence: two circles, momentum, a learning rate of 1e-6 where 0.03 is good",
        truth="Step times λmax is far below 1, and the same direction, far longer, gains far more.",
        cure="learning rate 0.03",
        family="small-rate",
    ),
    *Pairing(replace(_ADAM, optimizer=adam(3e-7)), _ADAM).problems(
        "small-step-digits-adam",
        "step_too_small",
        title="Digits under Adam with a learning rate of 3e-7 where 3e-3 is good",
        truth="The last step, a thousand times longer, gains hundreds of times more.",
        cure="learning rate 3e-3",
        family="small-rate-adaptive",
    ),
    *Pairing(replace(_ATTENTION, optimizer=partial(AdamW, lr=1e-6)), _ATTENTION).problems(
        "small-step-transformer",
        "step_too_small",
        title="A transformer on digits under AdamW with a learning rate of 1e-6 where 0.01 is good",
        truth="The last step, a thousand times longer, gains hundreds of times more.",
        cure="learning rate 0.01",
        family="small-rate-adaptive",
    ),
    *Pairing(
        replace(MOMENTUM, optimizer=Scheduled(sgd(0.1, momentum=0.9), partial(fallen, factor=0.9, least=1e-5))),
        MOMENTUM,
    ).problems(
        "small-step-decayed",
        "step_too_small",
        title="Digits with a learning rate that falls by a tenth each step, from 0.1 to 1e-5",
        truth="It is at 1e-5 after 88 of 300 steps; a thousand times longer steps gain hundreds of times more.",
        cure="the learning rate stays",
        family="decayed-rate",
    ),
    *Pairing(
        replace(_IMAGES, optimizer=Scheduled(partial(AdamW, lr=0.01), partial(fallen, factor=0.9, least=1e-7))),
        _IMAGES,
    ).problems(
        "small-step-decayed-conv",
        "step_too_small",
        title="A convolutional net on digits under AdamW with a rate that falls by a tenth a step to 1e-7",
        truth="It is at 1e-7 after 110 of 400 steps; a thousand times longer steps gain hundreds of times more.",
        cure="the learning rate stays",
        family="decayed-rate",
    ),
    *Pairing(replace(_ROWS, optimizer=_COLD), replace(_ROWS, optimizer=_WARM)).problems(
        "small-step-warm-up",
        "step_too_small",
        title="A recurrent net under Adam whose warm-up would take a million steps",
        truth="At the end the rate is 1.5e-6 of the 5e-3 it is to reach; far longer steps gain far more.",
        cure="a warm-up of thirty steps",
        family="endless-warm-up",
    ),
    *Pairing(replace(_CLIPPED, optimizer=clipped(sgd(0.1), 1e-3)), _CLIPPED).problems(
        "small-step-clipped",
        "step_too_small",
        title="A recurrent net whose gradients are clipped to the norm 0.001",
        truth="Each step has the length 1e-4, whatever the gradient; far longer ones gain far more.",
        cure="clipping at the norm 10, which it hardly reaches",
        family="tight-clipping",
    ),
    *Pairing(replace(_CELLS, optimizer=partial(Adam, lr=3e-3, eps=100.0)), _CELLS).problems(
        "small-step-epsilon",
        "step_too_small",
        title="Tumours under Adam with ε = 100 in the denominator",
        truth="The denominator is ε, so that the step is momentum with the rate 3e-5.",
        cure="ε = 1e-8",
        family="large-epsilon",
    ),
    *Pairing(replace(_ACCUMULATED, optimizer=_FULL), _ACCUMULATED).problems(
        "small-step-adagrad",
        "step_too_small",
        title="Digits under Adagrad whose accumulators hold a million, as after an outlier",
        truth="Every rate is 0.05 / 1000 and can only fall.",
        cure="accumulators start at 0",
        family="full-accumulator",
    ),
)
"""Trainings whose steps are a thousand times shorter than good ones, or more, by the end at least."""


_CONVEX = Recipe(
    LINEAR, sgd(1.0), cross_entropy, mislabelled_components, size=NUM_TRAINING, steps=300, floor=MISLABELLED_FLOOR
)
_CONVEX_ADAM = replace(_CONVEX, optimizer=adam(0.02), size=250)
_CONVEX_MOMENTUM = replace(_CONVEX, optimizer=sgd(1.0, momentum=0.9))
_SQUARES = Recipe(LINEAR, sgd(0.1), half_square, labelled_components, size=NUM_TRAINING, steps=200, floor=SQUARES_FLOOR)
_WINE = Recipe(
    Perceptron((13, 3), gain=0.01), sgd(0.3), half_square, labelled_wine, size=NUM_TRAINING, steps=200, floor=WINE_FLOOR
)
_WINE_RMSPROP = replace(_WINE, optimizer=partial(RMSprop, lr=1e-3), steps=400)
_HINGES = Recipe(Perceptron((NUM_COMPONENTS, 16, NUM_CLASSES), nn.ReLU, gain=1.4), sgd(0.1), half_square)
_EXPLODING = replace(_HINGES, data=labelled_components, steps=200)
_RANGE, _HELD = (Scheduled(sgd(0.005, momentum=0.9), partial(risen, factor=1.02, most=most)) for most in (10.0, 0.1))
_VALLEY = Recipe(Start((3.0, -2.0, 1.0)), sgd(0.5), FunctionLoss(double_valley), steps=200)
_IMAGES_MOMENTUM = replace(_IMAGES, optimizer=sgd(0.1, momentum=0.9))
TOO_LARGE: tuple[Problem, ...] = (
    *Pairing(replace(_SGD, optimizer=sgd(5.0)), _SGD).problems(
        "large-step-digits",
        "step_too_large",
        title="Digits with a learning rate of 5 where 0.5 is good",
        truth="The loss on all data stands above that of the start, where λmax times the rate is far above 2.",
        cure="learning rate 0.5",
        family="large-rate",
    ),
    *Pairing(replace(_CONVEX, optimizer=sgd(30.0)), _CONVEX).problems(
        "large-step-linear",
        "step_too_large",
        title="A convex classifier of digits with the full gradient and a learning rate of 30",
        truth="λmax at the only minimum is 0.205: beyond a rate of 9.7 no descent can settle there.",
        cure="learning rate 1",
        family="large-rate",
    ),
    *Pairing(replace(_VALLEY, optimizer=sgd(6.0)), _VALLEY).problems(
        "large-step-valley",
        "step_too_large",
        title="A valley with straight walls, jumped across for ever",
        truth="θ − 6 tanh θ has the attracting cycle θ = ±2.98: the loss stays at 6.88.",
        cure="learning rate 0.5",
        family="large-rate",
    ),
    *Pairing(replace(_CONVEX_MOMENTUM, optimizer=sgd(40.0, momentum=0.9)), _CONVEX_MOMENTUM).problems(
        "large-step-momentum",
        "step_too_large",
        title="A convex classifier of digits under momentum with a learning rate of 40",
        truth="With momentum 0.9 a minimum holds only rates below 2 (1 + 0.9) / λmax = 18.5.",
        cure="learning rate 1",
        family="large-rate-momentum",
    ),
    *Pairing(replace(_IMAGES_MOMENTUM, optimizer=sgd(3.0, momentum=0.9)), _IMAGES_MOMENTUM).problems(
        "large-step-conv",
        "step_too_large",
        title="A convolutional net on digits under momentum with a learning rate of 3 where 0.1 is good",
        truth="The loss stands far above that of the start; a shorter step gains where this one loses.",
        cure="learning rate 0.1",
        family="large-rate-momentum",
    ),
    *Pairing(replace(_CIRCLES, optimizer=sgd(1.0, momentum=0.9)), _CIRCLES).problems(
        "large-step-circles",
        "step_too_large",
        title="AUTOTRAINER's oscillating loss: two circles under momentum with a learning rate of 1",
        truth="The loss goes up and down above that of the start; a shorter step gains where this one loses.",
        cure="learning rate 0.03",
        family="large-rate-momentum",
    ),
    *Pairing(replace(_CONVEX_ADAM, optimizer=adam(2.0)), _CONVEX_ADAM).problems(
        "large-step-linear-adam",
        "step_too_large",
        title="A convex classifier of digits under Adam with a learning rate of 2",
        truth="The problem is convex and its minimum known; the last step, a tenth as long, gains more.",
        cure="learning rate 0.02",
        family="large-rate-adaptive",
    ),
    *Pairing(replace(_ROWS, optimizer=adam(0.3)), _ROWS).problems(
        "large-step-recurrent",
        "step_too_large",
        title="A recurrent net on digits under Adam with a learning rate of 0.3 where 0.005 is good",
        truth="The loss stands above that of the start; a shorter step gains where this one loses.",
        cure="learning rate 0.005",
        family="large-rate-adaptive",
    ),
    *Pairing(replace(_ATTENTION, optimizer=partial(AdamW, lr=0.1)), _ATTENTION).problems(
        "large-step-transformer",
        "step_too_large",
        title="A transformer on digits under AdamW with a learning rate of 0.1 where 0.01 is good",
        truth="A shorter step gains where this one loses.",
        cure="learning rate 0.01",
        family="large-rate-adaptive",
    ),
    *Pairing(replace(_WINE_RMSPROP, optimizer=partial(RMSprop, lr=0.3)), _WINE_RMSPROP).problems(
        "large-step-rmsprop",
        "step_too_large",
        title="Least squares on wines under RMSprop with a learning rate of 0.3",
        truth="The steps keep their length about the only minimum, and jump across it.",
        cure="learning rate 0.001",
        family="large-rate-adaptive",
    ),
    *Pairing(replace(_SQUARES, optimizer=sgd(3.0)), _SQUARES).problems(
        "large-step-diverges",
        "step_too_large",
        title="Least squares on digits that diverges to infinity",
        truth="The Hessian is the identity, so a rate of 3 doubles the error in each step.",
        cure="learning rate 0.1",
        family="growing-error",
    ),
    *Pairing(replace(_WINE, optimizer=sgd(0.425)), _WINE).problems(
        "large-step-beyond",
        "step_too_large",
        title="Least squares on wines with a rate 1.5 % beyond what is stable",
        truth="λmax is 4.777: along its eigenvector the error grows by 1 − 0.425 λmax = −1.03 a step.",
        cure="learning rate 0.3",
        family="growing-error",
    ),
    *Pairing(replace(_EXPLODING, optimizer=sgd(2.0)), _EXPLODING).problems(
        "large-step-explodes",
        "step_too_large",
        title="AUTOTRAINER's exploding gradient: a ReLU net with squared errors and a learning rate of 2",
        truth="The loss grows step by step until it is not a number; λmax of the start allows rates far below 1.",
        cure="learning rate 0.1",
        family="growing-error",
    ),
    *Pairing(replace(MOMENTUM, optimizer=_RANGE), replace(MOMENTUM, optimizer=_HELD)).problems(
        "large-step-rising",
        "step_too_large",
        title="Digits with a learning rate that rises by 2 % each step, and is not held",
        truth="Once λmax times the rate is beyond what momentum allows, the loss rises again, to the end.",
        cure="the rate is held at 0.1",
        family="rising-rate",
    ),
)
"""Trainings with a learning rate several times beyond what is stable."""
