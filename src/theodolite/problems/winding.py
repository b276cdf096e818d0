"""Trainings misled by local information: valleys that wind, and the wrong side of a mountain.

Each step does about what a step from there can do; the better point lies across a barrier.
"""

import math
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from theodolite.problems.digits import SIDE, digits
from theodolite.problems.networks import Function, Pair
from theodolite.problems.problem import Problem
from theodolite.problems.recipe import Data, FunctionLoss, Pairing, Recipe, Start, adam, sgd

_ROUNDING = 10.0

FREQUENCY = 3.0
"""Radians that the corkscrew turns for each unit that it descends."""


@dataclass(frozen=True)
class Corkscrew:
    """½|(x, y) − (cos kz, sin kz)|² + h(z): a valley along a helix of radius 1 about the z axis.

    The height h(z) = s (√(c² + z²) − c) falls with the slope s to 0 at the origin, where c = 10 rounds it off.

    Attributes:
        frequency: k; 0 makes the valley straight.
        slope: s.
    """

    frequency: float
    slope: float = 1.0

    def __call__(self, theta: Tensor) -> Tensor:
        """The value at (x, y, z)."""
        angle = self.frequency * theta[2]
        axis = torch.stack([torch.cos(angle), torch.sin(angle)])
        return 0.5 * (theta[:2] - axis).square().sum() + self.slope * _height(theta[2])


def follow(model: nn.Module, batch: Pair) -> Tensor:
    """½‖w − S(z)m‖² + 0.8 h(z): 64 pixels w are to show the image m, moved by z columns on the torus.

    While z falls, the image goes round: again a valley that winds, in 65 dimensions.

    Args:
        model: Holds the pixels and z.
        batch: The image m as a row, and anything.

    Returns:
        A scalar tensor.
    """
    theta = model(batch[0])
    gap = theta[:-1].view(SIDE, SIDE) - moved(batch[0].view(SIDE, SIDE), theta[-1])
    loss: Tensor = 0.5 * gap.square().sum() + 0.8 * _height(theta[-1])
    return loss


@dataclass(frozen=True)
class OnTheImage:
    """A start in the valley of moving images, where the pixels show the image.

    Attributes:
        columns: How far the image is moved.
        spread: Standard deviation of what a seed adds to each pixel.
    """

    columns: float
    spread: float = 0.05

    def __call__(self, generator: torch.Generator) -> nn.Module:
        """The module at its start."""
        pixels = moved(mean_image(), torch.tensor(self.columns)).flatten()
        pixels = pixels + self.spread * torch.randn(pixels.shape, generator=generator)
        return Function(torch.cat([pixels, torch.tensor([self.columns])]))


def mean_image() -> Tensor:
    """The mean of the images of the digit 3.

    Returns:
        Pixels of shape (8, 8).
    """
    inputs, targets = digits().training
    return inputs[targets == 3].mean(0).view(SIDE, SIDE)


def one_image(*, flat: bool = False) -> Data:
    """The mean image of the digit 3 as the only example.

    Args:
        flat: Whether it is replaced by its mean, which looks the same wherever it is moved: the valley is straight.

    Returns:
        One row of 64 pixels, and nothing.
    """
    row = mean_image().view(1, -1)
    return Data((row.mean().expand_as(row) if flat else row, torch.zeros(1, 1)))


def moved(image: Tensor, columns: Tensor) -> Tensor:
    """An image moved to the right on the torus.

    Args:
        image: Pixels of shape (8, 8).
        columns: How far; a scalar.

    Returns:
        Pixels of shape (8, 8).
    """
    frequencies = torch.arange(SIDE // 2 + 1, dtype=image.dtype, device=image.device)
    # The highest frequency has only a real part, as in ``networks.Displacement``.
    phase = torch.polar(torch.ones_like(frequencies), -2.0 * math.pi / SIDE * frequencies * columns)
    result: Tensor = torch.fft.irfft(torch.fft.rfft(image) * phase, n=SIDE)
    return result


def mountain(theta: Tensor) -> Tensor:
    """½ (1 + 1/(1 + ln(1 + eˣ))) (1 − exp(−½(x + 3)²)) + ½|y|²: a well at −3, a ridge at 0, a plain that falls to ½.

    Args:
        theta: The point (x, y).

    Returns:
        The value.
    """
    x, y = theta[0], theta[1:]
    plain = 0.5 * (1.0 + 1.0 / (1.0 + functional.softplus(x)))
    value: Tensor = plain * (1.0 - torch.exp(-0.5 * (x + 3.0).square())) + 0.5 * y.square().sum()
    return value


def pole(theta: Tensor) -> Tensor:
    """Half the mean of (a/(x − p) − 1/(x + ½))² over 33 points x from 0 to 1.

    Args:
        theta: The strength a and the place p of the pole.

    Returns:
        The value; infinite where the pole lies on a point.
    """
    x = torch.linspace(0.0, 1.0, 33, dtype=theta.dtype)
    return 0.5 * (theta[0] / (x - theta[1]) - 1.0 / (x + 0.5)).square().mean()


def _height(z: Tensor) -> Tensor:
    """√(c² + z²) − c."""
    return torch.sqrt(_ROUNDING**2 + z.square()) - _ROUNDING


_CORKSCREW = Recipe(Start((1.0, 0.0, 80.0), spread=0.02), sgd(0.15), FunctionLoss(Corkscrew(0.0)), steps=800)
_IMAGES = Recipe(OnTheImage(100.0), sgd(0.2), follow, partial(one_image, flat=True), steps=800)
_MOUNTAIN = Recipe(Start((-1.0, 1.0, -1.0)), sgd(0.05, momentum=0.9), FunctionLoss(mountain))
_POLE = Recipe(Start((2.0, -2.0), spread=0.02), adam(0.05), FunctionLoss(pole), steps=600)
NONLOCAL: tuple[Problem, ...] = (
    *Pairing(replace(_CORKSCREW, loss=FunctionLoss(Corkscrew(FREQUENCY))), _CORKSCREW).problems(
        "winding-corkscrew",
        "nonlocal_structure",
        title="A valley that winds about the straight way down",
        truth="Across the barriers between the turns of the valley lie better points; no step within a turn gains more "
        "than a hundredth of what is to be gained.",
        cure="a straight valley of the same fall",
    ),
    *Pairing(replace(_IMAGES, data=one_image), _IMAGES).problems(
        "winding-images",
        "nonlocal_structure",
        title="Pixels that have to follow the image of a 3 round and round",
        truth="Better points lie across a barrier, eight columns on at the same pixels; no step this side of it gains "
        "more than a hundredth of what is to be gained.",
        cure="an image that looks the same wherever it is",
    ),
    *Pairing(replace(_MOUNTAIN, model=Start((0.6, 1.0, -1.0))), _MOUNTAIN).problems(
        "winding-mountain",
        "nonlocal_structure",
        title="The wrong side of a mountain, with momentum",
        truth="On this side the loss falls for ever and stays above ½; on the other side of a ridge it is 0, and "
        "descent leads away from there.",
        cure="a start on the other side",
    ),
    *Pairing(replace(_POLE, model=Start((-1.0, 2.0), spread=0.02)), _POLE).problems(
        "winding-pole",
        "nonlocal_structure",
        title="A pole on the wrong side of the points to be fitted, under Adam",
        truth="On this side the fit is at best a constant, at p = ∞, with the loss 0.0691; at a = 1, p = −½ it is "
        "exact, and on the way the loss is infinite wherever the pole crosses a point.",
        cure="a pole that starts on the other side",
    ),
)
"""Trainings whose local information is good for small steps, and leads astray."""
