"""Trainings that sit at a saddle: the slope is gone, and there is a way down."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from theodolite.problems.architectures import Attentive, Drawn, Recurrent, convolutional
from theodolite.problems.datasets import wine
from theodolite.problems.digits import (
    NUM_CLASSES,
    NUM_COMPONENTS,
    NUM_PIXELS,
    NUM_TRAINING,
    SIDE,
    digits,
    labelled_components,
)
from theodolite.problems.healthy import MOMENTUM, SHAPE
from theodolite.problems.networks import cross_entropy, half_square, linear_layers, perceptron
from theodolite.problems.problem import Problem
from theodolite.problems.recipe import Data, FunctionLoss, Pairing, Perceptron, Recipe, Start, sgd

CODE = 3
"""Units in the middle of the autoencoder."""

CODE_FLOOR = 1.3992053240756235
"""Half the variance of the digits beyond their three leading principal components; a test finds it by SVD."""

STAGES_FLOOR = 0.2367220065353421
"""Minimum of linear least squares without a bias on ``labelled_components``; a test finds it by QR."""

MEANS_FLOOR = 0.31105441153267455
"""Half the sum of squares of the singular values of ``class_means`` beyond the third; a test finds it by SVD."""

RANK = 3
"""Rank of the two factors of the class means."""

NUM_LEARNT = 3
"""Modes that the deep linear net has learnt at its start."""

NUM_GROWERS = 3
"""Classes of the wines."""


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


def centred_images() -> Data:
    """The digits less their mean, as inputs and as targets.

    Returns:
        1,500 examples to train on.
    """
    inputs, _ = digits().training
    centred = inputs - inputs.mean(0)
    return Data((centred, centred))


def class_means() -> Tensor:
    """Mean image of each digit less the mean of all, shape (10, 64).

    Returns:
        The matrix that is to be factorised.
    """
    inputs, targets = digits().training
    means = torch.stack([inputs[targets == digit].mean(0) for digit in range(NUM_CLASSES)])
    return means - means.mean(0)


def mean_images() -> Data:
    """The rows of the unit matrix as inputs, the class means as targets.

    Returns:
        Ten examples.
    """
    return Data((torch.eye(NUM_CLASSES), class_means()))


def stage_weights() -> list[Tensor]:
    """Weights of a linear net of three layers that has learnt the three strongest of ten modes.

    With the singular values Σ = YXᵀ = U S Vᵀ the layers are √S Vᵀ, 1 and U √S, with 0 in place of √S where a mode is
    not learnt: J then bends down by s along such a mode, whatever the depth.

    Returns:
        The three matrices, of shapes (10, 20), (10, 10), (10, 10).
    """
    inputs, targets = labelled_components().training
    left, strengths, right = torch.linalg.svd(targets.T @ inputs / len(inputs), full_matrices=False)
    root = torch.where(torch.arange(NUM_CLASSES) < NUM_LEARNT, strengths.sqrt(), 0.0)
    return [root[:, None] * right, torch.eye(NUM_CLASSES), left * root]


def component_weights() -> list[Tensor]:
    """Weights of a linear autoencoder that spans the principal components 1, 2 and 6: not the third.

    Returns:
        The two matrices, of shapes (3, 64), (64, 3).
    """
    inputs, _ = centred_images().training
    _, _, right = torch.linalg.svd(inputs, full_matrices=False)
    chosen = right[[0, 1, 5]]
    return [chosen, chosen.T]


@dataclass(frozen=True)
class LinearAt:
    """A linear net without biases that starts at given matrices.

    Attributes:
        weights: Gives the matrices, from the inputs on.
        noise: Standard deviation of what a seed adds to each weight.
    """

    weights: Callable[[], list[Tensor]]
    noise: float

    def __call__(self, generator: torch.Generator) -> nn.Module:
        """The network at its start."""
        matrices = self.weights()
        model = perceptron((matrices[0].shape[1], *map(len, matrices)), nn.Identity, bias=False)
        with torch.no_grad():
            for layer, matrix in zip(linear_layers(model), matrices, strict=True):
                layer.weight.copy_(matrix + self.noise * torch.randn(matrix.shape, generator=generator))
        return model


def equal_units(model: nn.Module) -> None:
    """Give all hidden units of a net with one hidden layer the weights of the first.

    Args:
        model: The network; changed in place.
    """
    first, last = linear_layers(model)
    first.weight.copy_(first.weight[:1].expand_as(first.weight))
    last.weight.copy_(last.weight[:, :1].expand_as(last.weight))


def one_hot_wine() -> Data:
    """The wines with standardised columns, and classes as rows of zeros with a one.

    Returns:
        133 examples to train on and 45 to validate with.
    """
    data = wine()
    assert data.validation is not None
    training, validation = (
        (inputs, functional.one_hot(targets, NUM_GROWERS).float())
        for inputs, targets in (data.training, data.validation)
    )
    return Data(training, validation)


_NET = Recipe(Perceptron(SHAPE, bias=False), sgd(0.2), cross_entropy, digits, steps=300)
_SCALAR = Recipe(Start((0.5, 0.5)), sgd(0.05), FunctionLoss(scalar_net), steps=200)
_BESIDE = Recipe(Start((0.5, 1.0, -1.0)), sgd(0.01, momentum=0.9), FunctionLoss(ridge), steps=150)
_KERNELS = Drawn(partial(convolutional, SIDE, (8,), NUM_CLASSES, nn.Tanh))
_CONV = Recipe(_KERNELS, sgd(0.3), cross_entropy, digits, steps=300)
_BLOCK = Drawn(partial(Attentive, SIDE, 12, NUM_CLASSES))
_ATTENTION = Recipe(_BLOCK, sgd(0.15), cross_entropy, digits, size=128, steps=1200)
_LOOP = Drawn(partial(Recurrent, SIDE, 24, NUM_CLASSES))
_SEQUENCE = Recipe(
    _LOOP,
    partial(torch.optim.RMSprop, lr=3e-3),
    cross_entropy,
    digits,
    size=250,
    steps=400,
)
_LAYER = Drawn(partial(perceptron, (13, 8, NUM_GROWERS), nn.Tanh))
_UNITS = Recipe(
    _LAYER,
    sgd(0.03, momentum=0.9),
    half_square,
    one_hot_wine,
    size=133,
    steps=300,
)
_STAGES = Recipe(
    Perceptron((NUM_COMPONENTS, *(NUM_CLASSES,) * 3), nn.Identity, gain=0.5, bias=False),
    sgd(0.15),
    half_square,
    labelled_components,
    size=NUM_TRAINING,
    steps=160,
    floor=STAGES_FLOOR,
)
_CODE = Recipe(
    LinearAt(component_weights, 0.1),
    sgd(0.05, momentum=0.9),
    half_square,
    centred_images,
    size=NUM_TRAINING,
    steps=160,
    floor=CODE_FLOOR,
)
_PRODUCT = Perceptron((NUM_CLASSES, RANK, NUM_PIXELS), nn.Identity, bias=False)
_FACTORS = Recipe(
    _PRODUCT,
    sgd(0.08, momentum=0.9),
    half_square,
    mean_images,
    size=NUM_CLASSES,
    steps=200,
    floor=MEANS_FLOOR,
)
SADDLES: tuple[Problem, ...] = (
    *Pairing(replace(_NET, model=Perceptron(SHAPE, gain=1e-7, bias=False)), _NET).problems(
        "saddle-digits",
        "saddle_point",
        title="A tanh network on digits whose weights start at nearly 0",
        truth="The loss stays at ln 10; the gradient is small, and the least eigenvalue of the Hessian is −0.24.",
        cure="weights of the usual size",
        family="saddle-nearly-zero",
    ),
    *Pairing(replace(_CONV, model=replace(_KERNELS, gain=1e-15)), _CONV).problems(
        "saddle-convolutional",
        "saddle_point",
        title="A convolutional net on digits whose kernels start at nearly 0",
        truth="The loss stays at ln 10; the gradient is small, and the Hessian has clearly negative eigenvalues.",
        cure="kernels and weights of the usual size",
        family="saddle-nearly-zero",
    ),
    *Pairing(replace(_ATTENTION, model=replace(_BLOCK, gain=1e-16)), _ATTENTION).problems(
        "saddle-transformer",
        "saddle_point",
        title="A small transformer on the rows of digits whose weights start at nearly 0",
        truth="The loss stays at ln 10; past the residual connections the net is a product of two layers at 0, so that "
        "the Hessian has clearly negative eigenvalues.",
        cure="weights of the usual size",
        family="saddle-nearly-zero",
    ),
    *Pairing(replace(MOMENTUM, model=Perceptron(SHAPE, gain=0.0)), MOMENTUM).problems(
        "saddle-digits-zero",
        "saddle_point",
        title="A tanh network on digits whose weights all start at 0",
        truth="The gradient of every weight is exactly 0 and stays so; the least eigenvalue is −0.24.",
        cure="weights of the usual size",
        family="saddle-all-zero",
    ),
    *Pairing(replace(_SEQUENCE, model=replace(_LOOP, gain=0.0)), _SEQUENCE).problems(
        "saddle-recurrent-zero",
        "saddle_point",
        title="A recurrent net on the rows of digits whose weights all start at 0, under RMSprop",
        truth="The gradient of every weight is exactly 0 and stays so, which no scaling of gradients alters; the "
        "Hessian has clearly negative eigenvalues.",
        cure="weights of the usual size",
        family="saddle-all-zero",
    ),
    *Pairing(replace(_UNITS, model=replace(_LAYER, change=equal_units)), _UNITS).problems(
        "saddle-symmetric",
        "saddle_point",
        title="A tanh network on wines whose hidden units all start alike",
        truth="Units that are alike have equal gradients and stay alike: the run comes to the minimum of a net of one "
        "unit, where the Hessian has negative eigenvalues along differences between units.",
        cure="hidden units that differ",
    ),
    *Pairing(replace(_SCALAR, model=Start((1e-6, 1e-6))), _SCALAR).problems(
        "saddle-product",
        "saddle_point",
        title="Two scalar layers that start at nearly 0",
        truth="½ (ab − 1)² at 0 has the eigenvalues −1 and 1; 1.05^200 is not enough to leave.",
        cure="both weights start at 0.5",
        family="saddle-nearly-zero",
    ),
    *Pairing(replace(_FACTORS, model=replace(_PRODUCT, gain=1e-12)), _FACTORS).problems(
        "saddle-factors",
        "saddle_point",
        title="The mean images of the ten digits as a product of two matrices that start at nearly 0, with momentum",
        truth="At 0 the eigenvalues of the Hessian are ± the singular values of the means over 10, and 0: λmin is "
        "−0.238.",
        cure="factors of the usual size",
    ),
    *Pairing(replace(_STAGES, model=LinearAt(stage_weights, 1e-7)), _STAGES).problems(
        "saddle-stages",
        "saddle_point",
        title="A deep linear net that halts after three of the ten modes of digits",
        truth="The gradient is 0 where three modes are learnt; along the fourth, J bends down by its singular value.",
        cure="random weights",
    ),
    *Pairing(replace(_CODE, model=LinearAt(component_weights, 1e-8)), _CODE).problems(
        "saddle-autoencoder",
        "saddle_point",
        title="A linear autoencoder of digits that spans the principal components 1, 2 and 6, with momentum",
        truth="Every span of principal components is a critical point, and only that of the strongest is no saddle "
        "(Baldi and Hornik 1989): turning the sixth into the third lowers the loss by (λ₃ − λ₆)/2 = 0.161.",
        cure="a start beside the saddle",
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
