"""Trainings thrown back by a wall: for single steps the gradient is many times what it was, and it overshoots far.

On the gentle ground before the wall the learning rate is a good one.
"""

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from theodolite.problems.digits import NUM_CLASSES, NUM_PIXELS, digits
from theodolite.problems.networks import Pair
from theodolite.problems.problem import Problem
from theodolite.problems.recipe import Data, FunctionLoss, Optimize, Pairing, Perceptron, Recipe, Start, sgd

NUM_UPPER = NUM_PIXELS // 2
"""Pixels of the upper half of a digit."""

POISSON_FLOOR = 0.13216507376103817
"""Least half deviance of the linear Poisson model of ``ink``; a test finds it by Newton's method."""


@dataclass(frozen=True)
class Wall:
    """−s x + exp(βx) + ½s|y|² less its least value: a gentle slope to the right, up to an exponential wall.

    Attributes:
        steepness: β; the curvature at the bottom is sβ.
        slope: s.
    """

    steepness: float
    slope: float = 0.01

    def __call__(self, theta: Tensor) -> Tensor:
        """The value at (x, y); 0 at the bottom."""
        x, y = theta[0], theta[1:]
        bottom = math.log(self.slope / self.steepness) / self.steepness
        least = self.slope / self.steepness - self.slope * bottom
        return torch.exp(self.steepness * x) - self.slope * x + 0.5 * self.slope * y.square().sum() - least


@dataclass(frozen=True)
class Echo:
    """½ (w − 1)² + ½ (v − 1)² + ½ (v wᵀ − 1)²: what goes into a linear recurrent unit is to come out T steps later.

    Gentle for |w| < 1, and a wall of power 2T beyond; 0 at w = v = 1, whatever T.

    Attributes:
        length: T.
    """

    length: int

    def __call__(self, theta: Tensor) -> Tensor:
        """The value at (w, v)."""
        echo = theta[1] * theta[0] ** self.length
        return 0.5 * ((theta - 1.0).square().sum() + (echo - 1.0).square())


class Recurrent(nn.Module):
    """A plain recurrent tanh network with a linear readout; its weights are drawn from a generator."""

    def __init__(self, sizes: tuple[int, int, int], gain: float, generator: torch.Generator) -> None:
        """Draw the weights: inputs, units and outputs in number; the gain of the recurrence."""
        super().__init__()
        num_inputs, num_units, num_outputs = sizes
        # Constructors of layers draw from the global generator; it is put back.
        with torch.random.fork_rng(devices=[]):
            self.cell = nn.RNN(num_inputs, num_units, batch_first=True)
            self.readout = nn.Linear(num_units, num_outputs)
        spreads = {"weight_hh": gain / math.sqrt(num_units), "weight_ih": 1.0, "weight": 1 / math.sqrt(num_units)}
        with torch.no_grad():
            for name, part in self.named_parameters():
                spread = spreads.get(name.split(".")[1].removesuffix("_l0"))
                if spread is None:
                    part.zero_()
                else:
                    part.normal_(0.0, spread, generator=generator)

    def forward(self, sequences: Tensor) -> Tensor:
        """Outputs at each place of sequences of shape (batch, length, inputs)."""
        outputs: Tensor = self.readout(self.cell(sequences)[0])
        return outputs


def last_cross_entropy(model: nn.Module, batch: Pair) -> Tensor:
    """Cross-entropy of what a recurrent network says at the end of each sequence of numbers.

    Args:
        model: Gives logits at each place.
        batch: Rows of numbers, read one at a time, and classes.

    Returns:
        A scalar tensor.
    """
    inputs, targets = batch
    return functional.cross_entropy(model(inputs.unsqueeze(2))[:, -1], targets)


def poisson(model: nn.Module, batch: Pair) -> Tensor:
    """Half the deviance of a Poisson model with the rate exp f: mean of exp f − y f − (y − y ln y).

    Args:
        model: Gives f for each example.
        batch: Inputs and what is counted, positive.

    Returns:
        A scalar tensor, at least 0.
    """
    inputs, counts = batch
    logs = model(inputs)
    deviances: Tensor = torch.exp(logs) - counts * logs - counts + counts * torch.log(counts)
    return deviances.mean()


def ink() -> Data:
    """The upper half of each digit, and how many pixels' worth of ink the lower half holds (9.7 on average).

    Returns:
        The same split as ``digits``.
    """
    data = digits()
    assert data.validation is not None
    return Data(_halves(data.training), _halves(data.validation))


def clipped(optimize: Optimize, norm: float) -> Optimize:
    """An optimizer that first shortens the gradient to a norm, where it is longer.

    Args:
        optimize: Makes the optimizer.
        norm: Greatest norm of the gradient.

    Returns:
        What makes the clipping optimizer.
    """
    return partial(_clipped, optimize, norm)


def _clipped(optimize: Optimize, norm: float, parameters: Any) -> torch.optim.Optimizer:
    kept = list(parameters)
    optimizer = optimize(kept)
    optimizer.register_step_pre_hook(partial(_clip, kept, norm))
    return optimizer


def _clip(parameters: list[nn.Parameter], norm: float, *_: object) -> None:
    nn.utils.clip_grad_norm_(parameters, norm)


def _halves(pair: Pair) -> Pair:
    inputs, _ = pair
    return inputs[:, :NUM_UPPER], inputs[:, NUM_UPPER:].sum(1, keepdim=True)


_SLOPE = Recipe(Start((-20.0, 2.0, -1.0, 1.0)), sgd(20.0), FunctionLoss(Wall(1.0)), steps=600)
_ECHO = Recipe(Start((-0.8, 0.5)), sgd(0.02), FunctionLoss(Echo(1)), steps=250)
_INK = Recipe(Perceptron((NUM_UPPER, 1)), sgd(0.08), poisson, ink, steps=600, floor=POISSON_FLOOR)
_PIXELS = Recipe(partial(Recurrent, (1, 24, NUM_CLASSES), 1.5), sgd(0.3), last_cross_entropy, digits, steps=300)
CLIFFS: tuple[Problem, ...] = (
    *Pairing(replace(_SLOPE, loss=FunctionLoss(Wall(40.0))), _SLOPE).problems(
        "cliff-wall",
        "cliff",
        title="A gentle slope that ends at an exponential wall, run into again and again",
        truth="On the slope the gradient is 0.01 for dozens of steps; at the wall it is a hundred times that for one "
        "step, which throws the run back up the slope.",
        cure="a wall forty times less steep",
    ),
    *Pairing(replace(_ECHO, loss=FunctionLoss(Echo(40))), _ECHO).problems(
        "cliff-echo",
        "cliff",
        title="A linear recurrent unit that is to echo its input forty steps later",
        truth="The loss never rises for a hundred steps, until one step carries the weight beyond 1, where a wall of "
        "power 80 throws it out of what numbers can hold.",
        cure="an echo after one step",
    ),
    *Pairing(_INK, replace(_INK, optimizer=clipped(sgd(0.08), 0.2))).problems(
        "cliff-ink",
        "cliff",
        title="Poisson regression of the ink in digits, whose rate is an exponential",
        truth="Where the rate is overestimated the loss is an exponential wall, and one step throws the run far back "
        "to where it is a gentle slope. The problem is convex and its minimum known.",
        cure="the gradient clipped to 0.2",
    ),
    *Pairing(_PIXELS, replace(_PIXELS, optimizer=clipped(sgd(0.3), 0.3))).problems(
        "cliff-pixels",
        "cliff",
        title="A recurrent network with the gain 1.5 reads digits pixel by pixel, 64 steps long",
        truth="Through 64 steps the gradient explodes for single batches, and the step made of it undoes "
        "what was learnt.",
        cure="the gradient clipped to 0.3",
    ),
)
"""Trainings thrown back, or out of all numbers, by walls."""
