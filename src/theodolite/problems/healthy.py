"""Trainings without an obstacle: a useful rate for their age, or at the floor."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from theodolite.problems.datasets import NUM_CHARACTERS, cifar10, mnist, shakespeare, wine
from theodolite.problems.digits import (
    NUM_CLASSES,
    NUM_COMPONENTS,
    NUM_PIXELS,
    NUM_TRAINING,
    digits,
    labelled_components,
    mislabelled_components,
)
from theodolite.problems.networks import Pair, cross_entropy, half_square
from theodolite.problems.problem import Problem
from theodolite.problems.recipe import Data, FunctionLoss, Optimize, Perceptron, Recipe, Start, adam, sgd

SHAPE = (NUM_PIXELS, 24, NUM_CLASSES)
"""1,810 parameters: few enough that tests form the whole Hessian."""

MOMENTUM = Recipe(
    model=Perceptron(SHAPE),
    optimizer=sgd(0.1, momentum=0.9),
    loss=cross_entropy,
    data=digits,
    steps=300,
)
"""A healthy training, from which many planted problems differ in one ingredient."""

LEAST_SQUARES_FLOOR = 0.18669400643800563
"""Minimum of linear least squares on ``labelled_components``; a test finds it by QR."""

NOISY_LABELS_FLOOR = 1.2542901522964552
"""Minimum of the cross-entropy of a linear classifier of ``mislabelled_components``; a test finds it by L-BFGS."""


def bowl(theta: Tensor) -> Tensor:
    """½ Σ λ θ² with λ from 1 to 4: its floor is 0.

    Args:
        theta: The point.

    Returns:
        The value.
    """
    return 0.5 * (torch.linspace(1.0, 4.0, len(theta), dtype=theta.dtype) * theta.square()).sum()


@dataclass(frozen=True)
class Convolutional:
    """How a convolutional network of two layers of stride 2 is made.

    Attributes:
        inputs: Channels of the pictures.
        side: Pixels a side, a multiple of 4.
        channels: Of the first layer; the second has twice as many.
        norm: ``batch``, ``group`` (of four channels) or ``none``.
    """

    inputs: int
    side: int
    channels: int = 8
    norm: str = "none"

    def __call__(self, generator: torch.Generator) -> nn.Module:
        """The network, initialised from a generator."""
        wide, cells = 2 * self.channels, (self.side // 4) ** 2
        # Constructors of layers draw from the global generator; it is put back.
        with torch.random.fork_rng(devices=[]):
            model = nn.Sequential(
                nn.Conv2d(self.inputs, self.channels, 3, stride=2, padding=1),
                self._norm(self.channels),
                nn.ReLU(),
                nn.Conv2d(self.channels, wide, 3, stride=2, padding=1),
                self._norm(wide),
                nn.ReLU(),
                nn.Flatten(),
                nn.Linear(wide * cells, NUM_CLASSES),
            )
        he_initialise(model, generator)
        return model

    def _norm(self, channels: int) -> nn.Module:
        if self.norm == "none":
            return nn.Identity()
        return nn.BatchNorm2d(channels) if self.norm == "batch" else nn.GroupNorm(channels // 4, channels)


def he_initialise(model: nn.Module, generator: torch.Generator) -> None:
    """Draw each matrix of weights from N(0, 2/fan-in); biases become 0, gains of norms stay 1.

    Args:
        model: The network; changed in place.
        generator: Where the randomness comes from.
    """
    with torch.no_grad():
        for part in model.parameters():
            if part.ndim > 1:
                part.normal_(0.0, math.sqrt(2.0 / part[0].numel()), generator=generator)
        for name, part in model.named_parameters():
            if name.endswith("bias"):
                part.zero_()


class Speller(nn.Module):
    """A recurrent network of characters: an embedding, an LSTM, a linear readout."""

    def __init__(self, width: int, generator: torch.Generator) -> None:
        """Draw the weights from N(0, 1/width)."""
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            self.embedding = nn.Embedding(NUM_CHARACTERS, width)
            self.cell = nn.LSTM(width, width, batch_first=True)
            self.readout = nn.Linear(width, NUM_CHARACTERS)
        _draw(self, 1 / math.sqrt(width), generator)

    def forward(self, characters: Tensor) -> Tensor:
        """Logits of the next character at each place, shape (batch, length, characters)."""
        logits: Tensor = self.readout(self.cell(self.embedding(characters))[0])
        return logits


class Transformer(nn.Module):
    """A small GPT: two blocks of causal attention and two-layer networks, with layer norms before them."""

    def __init__(self, width: int, length: int, generator: torch.Generator) -> None:
        """Draw the weights from N(0, 0.08²)."""
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            self.embedding = nn.Embedding(NUM_CHARACTERS, width)
            self.places = nn.Embedding(length, width)
            self.blocks = nn.Sequential(*(Block(width, num_heads=2) for _ in range(2)))
            self.norm = nn.LayerNorm(width)
            self.readout = nn.Linear(width, NUM_CHARACTERS)
        _draw(self, 0.08, generator)

    def forward(self, characters: Tensor) -> Tensor:
        """Logits of the next character at each place, shape (batch, length, characters)."""
        places = torch.arange(characters.shape[1], device=characters.device)
        logits: Tensor = self.readout(self.norm(self.blocks(self.embedding(characters) + self.places(places))))
        return logits


class Block(nn.Module):
    """Causal attention and a network of two layers, each beside an identity."""

    def __init__(self, width: int, num_heads: int) -> None:
        """Make the layers; their weights are to be drawn."""
        super().__init__()
        self.num_heads = num_heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.mixing = nn.Linear(width, 3 * width)
        self.joining = nn.Linear(width, width)
        self.thinking = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, stream: Tensor) -> Tensor:
        """The stream of shape (batch, length, width), a little changed."""
        parts = self.mixing(self.norms[0](stream)).chunk(3, dim=-1)
        query, key, value = (part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in parts)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        stream = stream + self.joining(mixed.transpose(1, 2).flatten(2))
        changed: Tensor = stream + self.thinking(self.norms[1](stream))
        return changed


def next_character(model: nn.Module, batch: Pair) -> Tensor:
    """Mean cross-entropy of the next character in nats.

    Args:
        model: Gives logits at each place.
        batch: Characters, and the characters one ahead.

    Returns:
        A scalar tensor.
    """
    inputs, targets = batch
    return functional.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())


def _draw(model: nn.Module, spread: float, generator: torch.Generator) -> None:
    """Draw matrices from N(0, spread²); biases become 0, gains of norms stay 1."""
    with torch.no_grad():
        for name, part in model.named_parameters():
            if part.ndim > 1:
                part.normal_(0.0, spread, generator=generator)
            elif "bias" in name:
                part.zero_()


def scheduled(optimize: Optimize, steps: int) -> Optimize:
    """An optimizer whose learning rate falls to 0 like half a cosine wave.

    Args:
        optimize: Makes the optimizer, with the greatest rate.
        steps: After how many steps the rate is 0.

    Returns:
        What makes the scheduled optimizer.
    """
    return partial(_scheduled, optimize, steps)


def _scheduled(optimize: Optimize, steps: int, parameters: Any) -> torch.optim.Optimizer:
    optimizer = optimize(parameters)
    (group,) = optimizer.param_groups
    rates = [0.5 * group["lr"] * (1.0 + math.cos(math.pi * step / steps)) for step in range(1, steps + 1)]
    optimizer.register_step_post_hook(partial(_next_rate, iter(rates)))
    return optimizer


def _next_rate(rates: Iterator[float], optimizer: torch.optim.Optimizer, *_: object) -> None:
    (group,) = optimizer.param_groups
    group["lr"] = next(rates, 0.0)


def rmsprop(rate: float) -> Optimize:
    """RMSprop as PyTorch has it.

    Args:
        rate: Learning rate.

    Returns:
        What makes the optimizer.
    """
    return partial(torch.optim.RMSprop, lr=rate)


def adamw(rate: float) -> Optimize:
    """Adam with its usual moments and a decoupled weight decay of 0.01.

    Args:
        rate: Learning rate.

    Returns:
        What makes the optimizer.
    """
    return partial(torch.optim.AdamW, lr=rate)


def autoencoded() -> Data:
    """The digits as their own targets.

    Returns:
        The same split as ``digits``.
    """
    data = digits()
    assert data.validation is not None
    (training, _), (validation, _) = data.training, data.validation
    return Data((training, training), (validation, validation))


def _forgetful(generator: torch.Generator) -> nn.Module:
    """A ReLU network that drops a fifth of its hidden units; the masks come from the global generator, as ever."""
    model = Perceptron((NUM_PIXELS, 64, NUM_CLASSES), nn.ReLU, gain=1.4)(generator)
    return nn.Sequential(*model.children()).insert(2, nn.Dropout(0.2))


def few_digits() -> Data:
    """The first 300 of the digits to train on.

    Returns:
        300 examples to train on, and all that there are to validate with.
    """
    data = digits()
    inputs, targets = data.training
    return Data((inputs[:300], targets[:300]), data.validation)


_FALLS = "Nothing planted: the loss on all data falls by more than a fifth while the number of steps doubles"
_LINEAR = Perceptron((NUM_COMPONENTS, NUM_CLASSES))
_ADAPTIVE = Recipe(Perceptron(SHAPE, nn.ReLU, gain=1.4), adam(3e-3), cross_entropy, digits)
_ARRIVED = Recipe(Start((3.0, -2.0, 1.0, 2.0)), sgd(0.3), FunctionLoss(bowl), steps=200)
_SQUARES = Recipe(
    _LINEAR, sgd(0.1), half_square, labelled_components, size=NUM_TRAINING, steps=200, floor=LEAST_SQUARES_FLOOR
)
_LABELS = Recipe(
    _LINEAR,
    sgd(0.5, momentum=0.9),
    cross_entropy,
    mislabelled_components,
    size=NUM_TRAINING,
    steps=300,
    floor=NOISY_LABELS_FLOOR,
)
_CODER = Recipe(Perceptron((NUM_PIXELS, 32, NUM_PIXELS)), adamw(3e-3), half_square, autoencoded)
_FORGETFUL = replace(MOMENTUM, model=_forgetful)
_WINE = Recipe(Perceptron((13, 16, 3)), rmsprop(1e-3), cross_entropy, wine, size=16, steps=150)
_SMALL = Recipe(Perceptron(SHAPE), sgd(0.05), cross_entropy, digits, size=8)
_MILD = Recipe(Perceptron((NUM_PIXELS, 48, NUM_CLASSES)), adam(2e-3), cross_entropy, few_digits, size=32, steps=200)
_COSINE = replace(_MILD, optimizer=scheduled(adam(5e-3), 300), steps=300)
_MNIST = Recipe(
    Convolutional(1, 28, norm="batch"), sgd(0.02, momentum=0.9), cross_entropy, partial(mnist, 2000), steps=150
)
_CIFAR = Recipe(
    Convolutional(3, 32, channels=16, norm="group"),
    adamw(3e-3),
    cross_entropy,
    partial(cifar10, 5000, validation=500),
    size=128,
    steps=150,
)
_LSTM = Recipe(partial(Speller, 48), adam(1e-2), next_character, partial(shakespeare, 100, 40, validation=0), size=25)
_GPT = replace(_LSTM, model=partial(Transformer, 32, 40), optimizer=adamw(5e-3), steps=200)


def _healthy(name: str, title: str, recipe: Recipe, *, truth: str = f"{_FALLS}.", needs: str = "") -> Problem:
    return Problem(name, "none", title, truth, recipe.build, recipe.steps, recipe.floor, needs=needs)


HEALTHY: tuple[Problem, ...] = (
    _healthy("healthy-digits", "A small tanh network on digits, SGD with momentum", MOMENTUM),
    _healthy("healthy-digits-adam", "A small ReLU network on digits, Adam", _ADAPTIVE),
    _healthy(
        "healthy-arrived",
        "A bowl whose bottom has been reached",
        _ARRIVED,
        truth="Nothing planted: the error shrinks by max|1 − 0.3 λ| = 0.7 a step, to the floor 0.",
    ),
    _healthy(
        "healthy-squares",
        "Linear least squares on digits that have arrived",
        _SQUARES,
        truth="Nothing planted: the Hessian is the identity, the error shrinks by 0.9 a step to the known floor.",
    ),
    _healthy(
        "healthy-labels",
        "A convex classifier of digits with wrong labels that has arrived, with momentum",
        _LABELS,
        truth="Nothing planted: the minimum is known and reached; it is above 0 because labels are wrong.",
    ),
    _healthy(
        "healthy-cosine", "A network on 300 digits whose learning rate falls like half a cosine wave, Adam", _COSINE
    ),
    _healthy("healthy-coder", "An autoencoder of digits, AdamW", _CODER),
    _healthy("healthy-dropout", "A network on digits with dropout, SGD with momentum", _FORGETFUL),
    _healthy("healthy-wine", "A small network on wines, RMSprop", _WINE),
    _healthy("healthy-small-batches", "Digits eight at a time: noisy, and falling", _SMALL),
    _healthy(
        "healthy-mild",
        "A network on 300 digits, which it learns faster than it learns others",
        _MILD,
        truth=f"{_FALLS}; the validation loss is above it, and has not turned.",
    ),
    _healthy("healthy-mnist", "Convolutions with batch norm on MNIST, SGD with momentum", _MNIST, needs="mnist"),
    _healthy("healthy-cifar", "Convolutions with group norm on CIFAR, AdamW", _CIFAR, needs="cifar10"),
    _healthy("healthy-lstm", "An LSTM learns a speech of Shakespeare, Adam", _LSTM, needs="shakespeare"),
    _healthy("healthy-gpt", "A small GPT learns a speech of Shakespeare, AdamW", _GPT, needs="shakespeare"),
)
"""The healthy trainings."""
