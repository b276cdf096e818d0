"""Trainings whose loss falls while the loss on other examples has turned up: they learn by heart."""

from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from theodolite.problems.datasets import breast_cancer, cifar10, shakespeare
from theodolite.problems.digits import NUM_CLASSES, NUM_PIXELS, digits
from theodolite.problems.healthy import Convolutional, Transformer, adamw, next_character
from theodolite.problems.networks import Pair, cross_entropy, half_square
from theodolite.problems.problem import Problem
from theodolite.problems.recipe import Data, Pairing, Perceptron, Recipe, adam, sgd

NUM_COEFFICIENTS = 20
"""Of the polynomial; its degree is one less."""

NUM_COMPONENTS = 10
"""Of the tumours' 30 measurements, whitened."""

WAVE_FLOOR = 0.04624360874793132
"""Least squares of the polynomial on 2,000 points of ``noisy_wave``; a test finds it by QR."""

FEW_POINTS_FLOOR = 0.013120611547912124
"""The same on 24 points."""

TUMOURS_FLOOR = 0.1468069991998594
"""Least squares of the tumours' components; a test finds it by QR."""

_PIECE = 48  # characters that the transformer sees at once


def some_digits(count: int, share: float = 0.0) -> Data:
    """The first digits to train on, with wrong labels among them.

    Args:
        count: How many to train on.
        share: Share of the labels to train on that are drawn anew.

    Returns:
        The examples to train on, and the others' 297 with their true labels.
    """
    data = digits()
    generator = torch.Generator().manual_seed(1)
    inputs, targets = (part[:count] for part in data.training)
    drawn = torch.randint(NUM_CLASSES, targets.shape, generator=generator)
    wrong = torch.rand(targets.shape, generator=generator) < share
    return Data((inputs, torch.where(wrong, drawn, targets)), data.validation)


def noisy_wave(count: int, *, noise: float = 0.3) -> Data:
    """Points of sin 3x with noise, as Legendre's polynomials of x, each of mean square 1 on [−1, 1].

    Args:
        count: Points to train on.
        noise: Standard deviation.

    Returns:
        Those, and 500 points to validate with.
    """
    generator = torch.Generator().manual_seed(0)
    x = 2.0 * torch.rand(count + 500, generator=generator, dtype=torch.float64) - 1.0
    y = torch.sin(3.0 * x) + noise * torch.randn(x.shape, generator=generator, dtype=torch.float64)
    norms = np.sqrt(2.0 * np.arange(NUM_COEFFICIENTS) + 1.0)
    powers = torch.from_numpy(norms * np.polynomial.legendre.legvander(x.numpy(), NUM_COEFFICIENTS - 1)).float()
    targets = y.float().unsqueeze(1)
    return Data((powers[:count], targets[:count]), (powers[count:], targets[count:]))


def padded_tumours(extra: int) -> Data:
    """Ten whitened principal components of the tumours, beside columns that hold nothing but noise; targets −1 and 1.

    Args:
        extra: How many columns of noise.

    Returns:
        426 examples to train on and 143 to validate with.
    """
    data, generator = breast_cancer(), torch.Generator().manual_seed(1)
    assert data.validation is not None
    inputs = data.training[0]
    _, strengths, axes = torch.linalg.svd(inputs, full_matrices=False)
    whitener = len(inputs) ** 0.5 * axes[:NUM_COMPONENTS].T / strengths[:NUM_COMPONENTS]
    parts = (data.training, data.validation)
    return Data(*(_padded(inputs @ whitener, targets, extra, generator) for inputs, targets in parts))


def _padded(inputs: Tensor, targets: Tensor, extra: int, generator: torch.Generator) -> Pair:
    noise = torch.randn(len(inputs), extra, generator=generator)
    return torch.cat([inputs, noise], 1), 2.0 * targets.float().unsqueeze(1) - 1.0


_NUM_EXTRA = 600
_ALL = 10_000  # a batch of all examples
_DIGITS = Recipe(
    Perceptron((NUM_PIXELS, 256, NUM_CLASSES), nn.ReLU, gain=1.4),
    adam(5e-3),
    cross_entropy,
    partial(some_digits, 1500),
    steps=300,
)
_WAVE = Recipe(
    Perceptron((NUM_COEFFICIENTS, 1), gain=0.1, bias=False),
    sgd(0.02, momentum=0.9),
    half_square,
    partial(noisy_wave, 2000),
    size=_ALL,
    steps=600,
    floor=WAVE_FLOOR,
)
_TUMOURS = Recipe(
    Perceptron((NUM_COMPONENTS, 1), gain=0.1),
    sgd(0.01, momentum=0.9),
    half_square,
    partial(padded_tumours, 0),
    size=_ALL,
    floor=TUMOURS_FLOOR,
)
_PICTURES = Recipe(
    Convolutional(3, 32, channels=16, norm="group"),
    adamw(3e-3),
    cross_entropy,
    partial(cifar10, 5000, validation=500),
    size=128,
    steps=100,
)
_TEXT = Recipe(
    partial(Transformer, 32, _PIECE),
    adamw(1e-2),
    next_character,
    partial(shakespeare, 1000, _PIECE, validation=60),
    size=20,
    steps=120,
)
OVERFITTING: tuple[Problem, ...] = (
    *Pairing(replace(_DIGITS, data=partial(some_digits, 300, 0.4)), _DIGITS).problems(
        "overfit-digits",
        "overfitting",
        title="A wide network learns 300 digits by heart, 40 % of them with wrong labels, under Adam",
        truth="The training loss falls below the entropy of the labels; the loss on other digits has passed its least.",
        cure="five times as many digits, with right labels",
    ),
    *Pairing(replace(_WAVE, data=partial(noisy_wave, 24), floor=FEW_POINTS_FLOOR), _WAVE).problems(
        "overfit-wave",
        "overfitting",
        title="A polynomial with 20 coefficients through 24 noisy points, with momentum",
        truth="The loss on the points nears its least value, known by QR; the loss between them grows all the while.",
        cure="2,000 points",
    ),
    *Pairing(
        replace(
            _TUMOURS,
            model=Perceptron((NUM_COMPONENTS + _NUM_EXTRA, 1), gain=0.1),
            data=partial(padded_tumours, _NUM_EXTRA),
            floor=0.0,
        ),
        _TUMOURS,
    ).problems(
        "overfit-tumours",
        "overfitting",
        title="Least squares on tumours with 600 columns of noise",
        truth="With more columns than examples every target can be met exactly; what is learnt of the noise is of no "
        "use for other tumours, whose loss grows.",
        cure="no columns of noise",
    ),
    *Pairing(replace(_PICTURES, data=partial(cifar10, 200, validation=500)), _PICTURES).problems(
        "overfit-cifar",
        "overfitting",
        title="Convolutions learn 200 pictures by heart, under AdamW",
        truth="The training loss falls towards 0; the loss on other pictures has passed its least, and grows.",
        cure="5,000 pictures",
        needs="cifar10",
    ),
    *Pairing(replace(_TEXT, data=partial(shakespeare, 40, _PIECE, validation=60)), _TEXT).problems(
        "overfit-shakespeare",
        "overfitting",
        title="A small GPT learns a page of Shakespeare by heart, under AdamW",
        truth="The training loss falls towards 0; on other pages the loss has passed its least, and more than doubled.",
        cure="twenty-five pages",
        needs="shakespeare",
    ),
)
"""Trainings that go on after the loss on other examples has turned up."""
