"""Trainings in which units are dead: inactive on every example, with a gradient of exactly zero."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from theodolite.problems.architectures import Drawn, Recurrent, convolutional
from theodolite.problems.digits import NUM_CLASSES, NUM_PIXELS, SIDE, digits, one_hot_digits
from theodolite.problems.healthy import SHAPE
from theodolite.problems.networks import cross_entropy, half_square, linear_layers, perceptron
from theodolite.problems.problem import Problem
from theodolite.problems.recipe import Data, FunctionLoss, Pairing, Perceptron, Recipe, Start, adam, sgd
from theodolite.problems.saddles import centred_images

DEEP = -20.0
"""A bias from which no sum of the other inputs here lifts a unit."""

CODE = 12
"""Units in the middle of the autoencoder."""

CODE_FLOOR = 0.5014012667380106
"""Half the variance of the digits beyond their twelve leading principal components; a test finds it by SVD.

No decoder of twelve numbers that is linear but for a bias does better, and ReLU units with large biases do as well."""


def relu_unit(theta: Tensor) -> Tensor:
    """Half the mean of (a max(wx + b, 0) − max(x, 0))² over seventeen points x from −1 to 1.

    Args:
        theta: The outer weight a, the inner weight w and the bias b.

    Returns:
        The value.
    """
    x = torch.linspace(-1.0, 1.0, 17, dtype=theta.dtype, device=theta.device)
    return 0.5 * (theta[0] * functional.relu(theta[1] * x + theta[2]) - functional.relu(x)).square().mean()


def logarithms() -> Data:
    """The digits with the logarithms of pixels, of which most are black: from −9.2 to 0.

    Returns:
        The same split as ``digits``.
    """
    data = digits()
    assert data.validation is not None
    training, validation = ((torch.log(inputs + 1e-4), targets) for inputs, targets in (data.training, data.validation))
    return Data(training, validation)


def positive_first(model: nn.Module) -> None:
    """Make the first layer's weights positive.

    Args:
        model: The network; changed in place.
    """
    linear_layers(model)[0].weight.abs_()


def leaning_outputs(model: nn.Module) -> None:
    """Make the last layer's weights positive, and start hidden biases at 0.3: all outputs start positive.

    Args:
        model: A network with one hidden layer; changed in place.
    """
    first, last = linear_layers(model)
    first.bias.fill_(0.3)
    last.weight.abs_()


def negative_weights(model: nn.Module) -> None:
    """Make all weights negative.

    Args:
        model: The network; changed in place.
    """
    for layer in linear_layers(model):
        layer.weight.abs_().neg_()


@dataclass(frozen=True)
class SunkChannels:
    """Start the biases of one convolution's first channels so low that these are dead.

    Attributes:
        layer: Which convolution, from 0.
        count: How many of its channels.
    """

    layer: int
    count: int

    def __call__(self, model: nn.Module) -> None:
        """Change a network in place."""
        kernels = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
        bias = kernels[self.layer].bias
        assert bias is not None
        bias[: self.count] = DEEP


def sunk_state(model: nn.Module) -> None:
    """Start the biases of a recurrent net's units so low that these are dead.

    Args:
        model: A recurrent net; changed in place.
    """
    linear_layers(model)[0].bias.fill_(DEEP)


@dataclass(frozen=True)
class LongFirstStep:
    """Adam whose first step has another learning rate than the others.

    Attributes:
        first: Learning rate of the first step.
        rate: Learning rate from then on.
    """

    first: float
    rate: float

    def __call__(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer of the parameters."""
        optimizer = torch.optim.Adam(parameters, lr=self.first)
        optimizer.register_step_post_hook(self._settle)
        return optimizer

    def _settle(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        """Set the rate of the steps to come."""
        for group in optimizer.param_groups:
            group["lr"] = self.rate


_ALIVE = Perceptron(SHAPE, nn.ReLU, gain=1.4, offset=0.5)  # without the 0.5, a fifth of the units may die in training
_WIDE = Recipe(_ALIVE, sgd(0.05, momentum=0.9), cross_entropy, digits, steps=300)
_WIDTHS = (NUM_PIXELS, 20, 20, NUM_CLASSES)
_DEEP = Recipe(Perceptron(_WIDTHS, nn.ReLU, gain=1.4), adam(3e-3), cross_entropy, digits)
_THREE = Perceptron((NUM_PIXELS, 20, 20, 20, NUM_CLASSES), nn.ReLU, gain=1.4, offset=0.5, offset_layer=1)
_MIDDLE = Recipe(_THREE, partial(torch.optim.RMSprop, lr=1e-3), cross_entropy, digits, size=500, steps=400)
_RELU = Recipe(Start((0.5, 0.5, 0.2)), sgd(0.1, momentum=0.9), FunctionLoss(relu_unit), steps=400)
_NET = Drawn(partial(perceptron, SHAPE, nn.ReLU), 1.4)
_FOUR = Drawn(partial(perceptron, (NUM_PIXELS, 24, 24, 24, NUM_CLASSES), nn.ReLU), 1.4)
_SIGNS = Recipe(_FOUR, adam(3e-3), cross_entropy, digits, size=128, steps=300)
_SCALED = Recipe(replace(_NET, change=positive_first), adam(5e-3), cross_entropy, digits, size=128, steps=400)
_STEPPED = Recipe(
    Drawn(partial(perceptron, SHAPE, nn.ReLU), 0.3, leaning_outputs),
    LongFirstStep(2e-3, 2e-3),
    half_square,
    one_hot_digits,
    size=250,
    steps=800,
)
_KERNELS = Drawn(partial(convolutional, SIDE, (8, 8), NUM_CLASSES, nn.ReLU), 1.4)
_CHANNELS = Recipe(_KERNELS, partial(torch.optim.AdamW, lr=5e-3), cross_entropy, digits, size=128, steps=400)
_LOOP = Drawn(partial(Recurrent, SIDE, 24, NUM_CLASSES, nn.ReLU))
_SEQUENCE = Recipe(_LOOP, partial(torch.optim.RMSprop, lr=2e-3), cross_entropy, digits, size=128, steps=400)
_NARROW = Perceptron((NUM_PIXELS, CODE, NUM_PIXELS), nn.ReLU, offset=0.5)
_CODE = Recipe(_NARROW, adam(3e-3), half_square, centred_images, size=250, steps=600, floor=CODE_FLOOR)
DEAD: tuple[Problem, ...] = (
    *Pairing(replace(_WIDE, model=replace(_ALIVE, offset=DEEP)), _WIDE).problems(
        "dead-digits",
        "dead_units",
        title="A ReLU network on digits whose hidden biases start at −20",
        truth="No hidden unit is active on any example, its gradient is exactly 0, and the loss stays at ln 10.",
        cure="hidden biases start at 0.5",
        family="dead-biases",
    ),
    *Pairing(replace(_WIDE, model=replace(_ALIVE, offset=DEEP, offset_share=23 / 24)), _WIDE).problems(
        "dead-digits-most",
        "dead_units",
        title="A ReLU network on digits of whose 24 hidden units 23 are dead",
        truth="23 units are inactive on every example; one is left for ten classes, and may die too.",
        cure="hidden biases start at 0.5",
        family="dead-biases",
    ),
    *Pairing(replace(_DEEP, model=Perceptron(_WIDTHS, nn.ReLU, 1.4, offset=DEEP, offset_layer=1)), _DEEP).problems(
        "dead-digits-adam",
        "dead_units",
        title="Two ReLU layers on digits, the second one dead, under Adam",
        truth="No unit of the second layer is active on any example, so that nothing below it learns.",
        cure="hidden biases start at 0",
        family="dead-layer",
    ),
    *Pairing(replace(_MIDDLE, model=replace(_THREE, offset=DEEP, offset_share=0.95)), _MIDDLE).problems(
        "dead-digits-middle",
        "dead_units",
        title="Three ReLU layers on digits, all but one unit of the middle one dead, under RMSprop",
        truth="19 of the 20 units of the second layer are inactive on every example and have no gradient: all that is "
        "learnt must pass the one that is left.",
        cure="biases of that layer start at 0.5",
        family="dead-layer",
    ),
    *Pairing(replace(_SIGNS, model=replace(_FOUR, change=negative_weights)), _SIGNS).problems(
        "dead-negative-weights",
        "dead_units",
        title="A deep ReLU network on digits whose weights all start negative: AUTOTRAINER's dying ReLU",
        truth="Pixels are not negative, so that no unit of any layer is active; all gradients but that of the output "
        "biases are exactly 0.",
        cure="weights of both signs",
    ),
    *Pairing(replace(_SCALED, data=logarithms), _SCALED).problems(
        "dead-inputs",
        "dead_units",
        title="A ReLU network with positive first weights on the logarithms of pixels, which are strongly negative",
        truth="Every hidden unit's input is negative on every example, so that its gradient is exactly 0.",
        cure="the pixels themselves",
    ),
    *Pairing(replace(_STEPPED, optimizer=LongFirstStep(0.3, 2e-3)), _STEPPED).problems(
        "dead-first-step",
        "dead_units",
        title="A ReLU network on digits that Adam's first step, of rate 0.3, has killed",
        truth="At the start most units are active, and outputs exceed their targets through positive weights: one long "
        "step downhill takes every unit below activity on every example, and no later step has a gradient.",
        cure="a first step as short as the others",
    ),
    *Pairing(replace(_CHANNELS, model=replace(_KERNELS, change=SunkChannels(1, 8))), _CHANNELS).problems(
        "dead-channels",
        "dead_units",
        title="A convolutional net on digits whose second layer of channels is dead, under AdamW",
        truth="No channel of the second layer is active at any pixel of any example; no kernel has a gradient.",
        cure="biases of the channels start at 0",
    ),
    *Pairing(replace(_SEQUENCE, model=replace(_LOOP, change=sunk_state)), _SEQUENCE).problems(
        "dead-recurrent",
        "dead_units",
        title="A recurrent ReLU net on the rows of digits whose state is dead, under RMSprop",
        truth="The state is 0 after every row of every example, and only the output biases have a gradient.",
        cure="biases of the state start at 0",
    ),
    *Pairing(replace(_CODE, model=replace(_NARROW, offset=DEEP, offset_share=11 / 12)), _CODE).problems(
        "dead-code",
        "dead_units",
        title="An autoencoder of digits of whose twelve ReLU code units eleven are dead, under Adam",
        truth="Eleven units are inactive on every example; with one number a code, half the sum of the variances "
        "beyond the first principal component is the least loss: 1.99, where twelve numbers allow 0.50.",
        cure="code biases start at 0.5",
    ),
    *Pairing(replace(_RELU, model=Start((0.5, 0.5, -5.0))), _RELU).problems(
        "dead-unit",
        "dead_units",
        title="One ReLU unit whose bias starts at −5",
        truth="It is inactive on every example: the gradient is exactly 0.",
        cure="its bias starts at 0.2",
        family="dead-biases",
    ),
)
"""Trainings in which units of a layer are inactive on every example."""
