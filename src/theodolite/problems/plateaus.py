"""Trainings on a plateau: neither slope nor curvature is left, in saturated units or across depth and time."""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from theodolite.problems.architectures import Drawn, Orthogonal, Recurrent, convolutional
from theodolite.problems.digits import (
    NUM_CLASSES,
    NUM_PIXELS,
    NUM_TRAINING,
    SIDE,
    digits,
    labelled_components,
    one_hot_digits,
)
from theodolite.problems.healthy import SHAPE
from theodolite.problems.networks import Pair, cross_entropy, half_square, linear_layers
from theodolite.problems.problem import Problem
from theodolite.problems.recipe import Data, FunctionLoss, Pairing, Perceptron, Recipe, Start, adam, sgd

STACK = (NUM_PIXELS, *(10,) * 6, NUM_CLASSES)
"""Six hidden layers of ten units: 1,310 parameters."""

DEPTH = 1000
"""Hidden layers of the deepest net, as in Sussillo and Abbott 2014."""

WIDTH = 12
"""Its units in each."""

DELAY = 60
"""Steps for which the recurrent net is to remember its cue."""

CELLS = 16
"""Its units."""


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


def softmax_square(model: nn.Module, batch: Pair) -> Tensor:
    """Half the squared distance of softmax outputs to their targets, the mean over examples: half of Brier's score.

    Args:
        model: Gives one logit a class.
        batch: Inputs, and classes as rows of zeros with a one.

    Returns:
        A scalar tensor.
    """
    inputs, targets = batch
    return 0.5 * (torch.softmax(model(inputs), 1) - targets).square().sum(1).mean()


def sigmoid_unit(theta: Tensor) -> Tensor:
    """Half the mean of (σ(wx + b) − σ(2x))² over nine points x from −1 to 1.

    Args:
        theta: The weight w and the bias b.

    Returns:
        The value.
    """
    x = torch.linspace(-1.0, 1.0, 9, dtype=theta.dtype, device=theta.device)
    return 0.5 * (torch.sigmoid(theta[0] * x + theta[1]) - torch.sigmoid(2.0 * x)).square().mean()


def narrow_well(theta: Tensor) -> Tensor:
    """1 − exp(−½‖θ‖²): flat but for a well as wide as 1.

    Args:
        theta: The point.

    Returns:
        The value.
    """
    return 1.0 - torch.exp(-0.5 * theta.square().sum())


def small_components() -> Data:
    """Twelve whitened principal components of the digits, times 0.05: tanh is nearly linear on them; and three of them.

    Returns:
        1,500 examples to train on.
    """
    components = labelled_components().training[0][:, :WIDTH]
    return Data((0.05 * components, components[:, :3].clone()))


def delayed_cue() -> Data:
    """Sequences of one signal: a cue of ±1 comes first, zeros follow, and the cue is the target.

    Returns:
        128 examples.
    """
    cues = torch.tensor([1.0, -1.0]).repeat(64)[:, None]
    return Data((torch.cat([cues, torch.zeros(len(cues), DELAY - 1)], 1), cues.clone()))


def wrong_class(model: nn.Module) -> None:
    """Start the output bias of the first class at 30.

    Args:
        model: A classifier; changed in place.
    """
    linear_layers(model)[-1].bias[0] = 30.0


def orthogonal_memory(model: nn.Module) -> None:
    """Make the recurrent matrix a rotation by quarter turns in planes: a permutation with signs, which forgets nothing.

    Args:
        model: A recurrent net; changed in place.
    """
    around = linear_layers(model)[1].weight
    around.copy_(torch.eye(len(around)).roll(1, 0))


def leaky_memory(model: nn.Module) -> None:
    """The same, times 0.5: each step halves what is remembered.

    Args:
        model: A recurrent net; changed in place.
    """
    orthogonal_memory(model)
    linear_layers(model)[1].weight.mul_(0.5)


_STACK = Recipe(Perceptron(STACK), sgd(0.03, momentum=0.9), cross_entropy, digits, size=NUM_TRAINING, steps=300)
_EIGHT = (NUM_PIXELS, *(16,) * 8, NUM_CLASSES)
_HIGH = replace(_STACK, model=Perceptron(_EIGHT), optimizer=sgd(0.15), steps=500)
_TWELVE = (NUM_PIXELS, *(16,) * 12, NUM_CLASSES)
_TOWER = replace(_STACK, model=Perceptron(_TWELVE), optimizer=partial(torch.optim.AdamW, lr=1e-3), steps=400)
_OUTPUTS = Recipe(Perceptron(SHAPE), sgd(0.1, momentum=0.9), sigmoid_square, one_hot_digits)
_SIGMOID = Recipe(Start((0.5, 0.5)), sgd(1.0, momentum=0.9), FunctionLoss(sigmoid_unit), steps=300)
_HIDDEN = Recipe(Perceptron(SHAPE), sgd(0.1, momentum=0.9), cross_entropy, digits, size=NUM_TRAINING, steps=300)
_KERNELS = Drawn(partial(convolutional, SIDE, (8,), NUM_CLASSES, nn.ReLU), 1.4)
_BRIER = Recipe(_KERNELS, partial(torch.optim.AdamW, lr=5e-3), softmax_square, one_hot_digits, steps=300)
_DEEPEST = Orthogonal((WIDTH, *(WIDTH,) * DEPTH, 3), readout=30.0)
_DEPTH = Recipe(_DEEPEST, sgd(3e-4), half_square, small_components, size=250, steps=40)
_LOOP = Drawn(partial(Recurrent, 1, CELLS, 1), change=orthogonal_memory)
_MEMORY = Recipe(_LOOP, adam(1e-3), half_square, delayed_cue, size=128, steps=200)
_WELL = Recipe(Start((1.0, -1.0, 0.5)), sgd(0.05, momentum=0.9), FunctionLoss(narrow_well), steps=200)
PLATEAUS: tuple[Problem, ...] = (
    *Pairing(replace(_STACK, model=Perceptron(STACK, nn.Sigmoid)), _STACK).problems(
        "plateau-digits-stack",
        "plateau",
        title="Six sigmoid layers on digits: the gradient vanishes on its way down",
        truth="At the start the gradient of the first layer is below 1e-3 of that of the last; at the end the whole "
        "gradient is below 2e-4, and no curvature is negative beyond 2e-3 of the largest.",
        cure="tanh in place of the sigmoid",
        family="plateau-sigmoid-stack",
    ),
    *Pairing(replace(_HIGH, model=Perceptron(_EIGHT, nn.Sigmoid)), _HIGH).problems(
        "plateau-digits-stack-8",
        "plateau",
        title="Eight sigmoid layers on digits under plain descent",
        truth="At the start the gradient of the first layer is below 1e-4 of that of the last; at the end the whole "
        "gradient is below 2e-5, and no curvature is negative beyond 1e-4 of the largest.",
        cure="tanh in place of the sigmoid",
        family="plateau-sigmoid-stack",
    ),
    *Pairing(replace(_TOWER, model=Perceptron(_TWELVE, nn.Sigmoid)), _TOWER).problems(
        "plateau-digits-stack-12",
        "plateau",
        title="Twelve sigmoid layers on digits under AdamW",
        truth="At the start the gradient of the first layer is below 1e-6 of that of the last; at the end the whole "
        "gradient is below 3e-5, and no curvature is negative beyond 3e-5 of the largest.",
        cure="tanh in place of the sigmoid",
        family="plateau-sigmoid-stack",
    ),
    *Pairing(replace(_DEPTH, model=replace(_DEEPEST, gain=0.97)), _DEPTH).problems(
        "plateau-depth",
        "plateau",
        title="A tanh net of a thousand layers whose matrices shrink the signal by 0.97 each",
        truth="What passes all layers is multiplied by 0.97^1000 = 6e-14, forwards and backwards: so small are the "
        "outputs, the gradient and every eigenvalue of the Hessian.",
        cure="matrices of gain 1",
    ),
    *Pairing(replace(_OUTPUTS, model=Perceptron(SHAPE, offset=16.0, offset_layer=1)), _OUTPUTS).problems(
        "plateau-digits-outputs",
        "plateau",
        title="Sigmoid outputs on digits that all start saturated at 1",
        truth="σ′(16) is 1e-7: gradient and all eigenvalues of the Hessian are as small.",
        cure="output biases start at 0",
        family="plateau-saturated-outputs",
    ),
    *Pairing(replace(_BRIER, model=replace(_KERNELS, change=wrong_class)), _BRIER).problems(
        "plateau-softmax",
        "plateau",
        title="A convolutional net on digits, sure of one class for all of them, under squared error and AdamW",
        truth="Softmax gives every other class less than 1e-10, and its derivative is as small: so are gradient and "
        "Hessian, while nine in ten examples are wrong.",
        cure="output biases start at 0",
        family="plateau-saturated-outputs",
    ),
    *Pairing(replace(_SIGMOID, model=Start((0.5, -18.0))), _SIGMOID).problems(
        "plateau-unit",
        "plateau",
        title="One sigmoid unit, saturated",
        truth="The slope is σ′(−18) = 1.5e-8 times the error, the curvature as small.",
        cure="a start where the sigmoid is steep",
        family="plateau-saturated-outputs",
    ),
    *Pairing(replace(_HIDDEN, model=Perceptron(SHAPE, offset=8.0)), _HIDDEN).problems(
        "plateau-digits-hidden",
        "plateau",
        title="A tanh network on digits whose hidden units all start saturated",
        truth="The hidden units are 1 on every example to 1e-3, and their slope 1 − tanh² is as small: the outputs "
        "learn how frequent the classes are, and nothing else is left to follow.",
        cure="hidden biases start at 0",
        family="plateau-saturated-hidden",
    ),
    *Pairing(replace(_MEMORY, model=replace(_LOOP, change=leaky_memory)), _MEMORY).problems(
        "plateau-memory",
        "plateau",
        title="A recurrent net that is to recall a cue of sixty steps ago and forgets half at each, under Adam",
        truth="0.5^59 = 2e-18 of the cue is left in the state, and of the gradient on its way back: the loss stays at "
        "½, that of knowing nothing, and no eigenvalue is negative.",
        cure="a recurrent matrix that forgets nothing",
    ),
    *Pairing(replace(_WELL, model=Start((4.0, -4.0, 2.0), spread=0.02)), _WELL).problems(
        "plateau-well",
        "plateau",
        title="A narrow well in a flat land, six widths away, with momentum",
        truth="The slope is 6 exp(−18) = 9e-8, the curvature 36 exp(−18) = 5e-7.",
        cure="a start inside the well",
    ),
)
"""Trainings where neither slope nor curvature is left."""
