"""Trainings that no single step size fits: some directions curve a thousand or a million times as much as others.

In each, plant and twin, the learning rate is near the best one that is stable, so that the rate is not to blame.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW

from theodolite.problems.datasets import breast_cancer
from theodolite.problems.digits import NUM_CLASSES, NUM_COMPONENTS, NUM_TRAINING, labelled_components
from theodolite.problems.networks import cross_entropy, half_square
from theodolite.problems.problem import Problem
from theodolite.problems.recipe import Data, FunctionLoss, Optimize, Pairing, Perceptron, Recipe, Start, adam, sgd
from theodolite.problems.step_sizes import LINEAR, SQUARES_FLOOR, WINE_FLOOR, labelled_wine

CELLS_FLOOR = 0.1755292064567971
"""Minimum of the cross-entropy of a linear classifier of ``cells``; a test finds it by Newton's method."""

POWERS_FLOOR = 8.27868148697613e-12
"""Minimum of linear least squares on ``powers``; a test finds it in the orthonormal basis."""

NUM_BEADS = 200
"""Beads of a string."""

DEGREE = 9
"""Degree of the polynomials."""


@dataclass(frozen=True)
class Quadratic:
    """½ Σ λ (Qᵀθ)²: the eigenvalues of its Hessian are λ, its eigenvectors the columns of Q; its floor is 0.

    Attributes:
        curvatures: λ.
        axes: Q, orthogonal, as rows of numbers; None for the axes of coordinates.
    """

    curvatures: tuple[float, ...]
    axes: tuple[tuple[float, ...], ...] | None = None

    def __call__(self, theta: Tensor) -> Tensor:
        """The value."""
        curvatures = torch.tensor(self.curvatures, dtype=theta.dtype, device=theta.device)
        if self.axes is not None:
            theta = theta @ torch.tensor(self.axes, dtype=theta.dtype, device=theta.device)
        return 0.5 * (curvatures * theta.square()).sum()


def string(theta: Tensor, *, tie: float = 0.0) -> Tensor:
    """½ Σ (θᵢ − θᵢ₋₁)² + ½ tie Σ θᵢ²: beads on a string with fixed ends, each tied to its place.

    The eigenvalues are 2 − 2 cos(kπ / (n + 1)) + tie, k = 1 … n; the floor is 0.

    Args:
        theta: Displacements of the n beads.
        tie: Stiffness of the ties.

    Returns:
        The value.
    """
    return 0.5 * functional.pad(theta, (1, 1)).diff().square().sum() + 0.5 * tie * theta.square().sum()


def rotation(size: int) -> tuple[tuple[float, ...], ...]:
    """An orthogonal matrix, from the QR decomposition of a normal one; always the same.

    Args:
        size: Its number of rows.

    Returns:
        Its rows.
    """
    normal = torch.randn(size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return tuple(map(tuple, torch.linalg.qr(normal)[0].tolist()))


def cells(*, standardised: bool = True) -> Data:
    """Four measurements of the tumours, hardly correlated: texture, area, smoothness, symmetry; and the class.

    Args:
        standardised: As in ``breast_cancer``; raw, the variance of the area is 10⁸ times that of smoothness.

    Returns:
        426 examples to train on.
    """
    inputs, targets = breast_cancer(standardised=standardised).training
    return Data((inputs[:, [1, 3, 4, 8]].contiguous(), targets))


def measured_wine(*, standardised: bool = True) -> Data:
    """The wines for a network: raw columns are divided by one number, the standard deviation of all entries.

    Args:
        standardised: As in ``wine``.

    Returns:
        133 examples to train on.
    """
    inputs, targets = labelled_wine(standardised=standardised).training
    return Data((inputs if standardised else inputs / inputs.std(correction=0), targets))


def powers(*, orthonormal: bool = False) -> Data:
    """One turn of a sine at 65 points x from 0 to 1, to be fitted by a polynomial of degree 9.

    Args:
        orthonormal: Whether the inputs are polynomials orthonormal over the points, rather than x, x² … x⁹.

    Returns:
        65 examples to train on.
    """
    x = torch.linspace(0.0, 1.0, 65, dtype=torch.float64)
    inputs = torch.stack([x**power for power in range(DEGREE + 1)], 1)
    if orthonormal:
        inputs = math.sqrt(len(x)) * torch.linalg.qr(inputs)[0]
    return Data((inputs[:, 1:].float(), torch.sin(2.0 * math.pi * x)[:, None].float()))


def shifted_components(shift: float) -> Data:
    """The whitened components of the digits, all moved by a number.

    Args:
        shift: The number; their covariance stays the identity, their second moment does not.

    Returns:
        1,500 examples to train on.
    """
    inputs, targets = labelled_components().training
    return Data((inputs + shift, targets))


def stretched_components(ratio: float) -> Data:
    """The whitened components of the digits with standard deviations that fall from 1 to 1 / ratio.

    Args:
        ratio: Of the greatest to the least.

    Returns:
        1,500 examples to train on.
    """
    inputs, targets = labelled_components().training
    return Data((inputs * torch.logspace(0.0, -math.log10(ratio), NUM_COMPONENTS), targets))


def _spread(count: int, decades: float) -> tuple[float, ...]:
    """Curvatures from 1 down over a number of decades, equally spaced in their logarithm."""
    return tuple(np.logspace(0.0, -decades, count).tolist())


def _bowl(
    curvatures: tuple[float, ...], heights: Sequence[float], optimizer: Optimize, *, turn: bool = False
) -> Recipe:
    """A quadratic from whose start each eigenvector's share of the way down is given."""
    axes = rotation(len(curvatures)) if turn else None
    start = np.sqrt(2.0 * np.array(heights) / np.array(curvatures))
    point = tuple((start if axes is None else np.array(axes) @ start).tolist())
    return Recipe(Start(point, spread=1e-3), optimizer, FunctionLoss(Quadratic(curvatures, axes)), steps=400)


_FEW = (0.05,) * 21 + (1.0, 1.0)
_MANY = tuple(np.linspace(0.0, 0.2, 43).tolist()[1:])
_BEND = tuple((9.0 * np.sin(math.pi * np.arange(1, NUM_BEADS + 1) / (NUM_BEADS + 1))).tolist())
_ADAMW = partial(AdamW, lr=1.0, weight_decay=0.0)
_TURNED = tuple(np.linspace(0.0, 0.2, 31).tolist()[1:])
_STRING = Recipe(Start(_BEND, spread=0.01), sgd(0.49), FunctionLoss(string), steps=400)
_WINE = Recipe(
    Perceptron((13, 3), gain=1e-3), sgd(0.4), half_square, labelled_wine, size=NUM_TRAINING, floor=WINE_FLOOR
)
_CELLS = Recipe(
    Perceptron((4, 2), gain=1e-4), sgd(4.0, momentum=0.9), cross_entropy, cells, size=NUM_TRAINING, floor=CELLS_FLOOR
)
_WINE_NET = Recipe(Perceptron((13, 12, 3)), sgd(0.1), half_square, measured_wine, size=NUM_TRAINING)
_POWERS = Recipe(
    Perceptron((DEGREE, 1), gain=0.01), sgd(1.0), half_square, powers, size=NUM_TRAINING, floor=POWERS_FLOOR
)
_SHIFTED = Recipe(
    replace(LINEAR, gain=1e-3),
    adam(1e-3),
    half_square,
    partial(shifted_components, 0.0),
    size=NUM_TRAINING,
    steps=300,
    floor=SQUARES_FLOOR,
)
_DEEP = Recipe(
    Perceptron((NUM_COMPONENTS, 20, NUM_CLASSES), nn.Identity),
    sgd(0.35),
    half_square,
    partial(stretched_components, 1.0),
    size=NUM_TRAINING,
    steps=300,
    floor=SQUARES_FLOOR,
)
ILL_CONDITIONED: tuple[Problem, ...] = (
    *Pairing(
        _bowl((1.0,) * 20 + (3e-4, 1e-6, 1e-6), _FEW, sgd(1.9)), _bowl((1.0,) * 20 + (0.3, 0.1, 0.1), _FEW, sgd(1.9))
    ).problems(
        "conditioning-few",
        "ill_conditioning",
        title="A bowl with three slow directions beside twenty fast ones",
        truth="λ is 1 twenty times, 3e-4, and 1e-6 twice, where nearly all of the excess is; rates beyond 2 diverge.",
        cure="the slow directions have λ = 0.3 and 0.1",
        family="few-slow-directions",
    ),
    *Pairing(
        _bowl(_spread(42, 7), _MANY, sgd(3.0, momentum=0.9)), _bowl(_spread(42, 1), _MANY, sgd(3.0, momentum=0.9))
    ).problems(
        "conditioning-many",
        "ill_conditioning",
        title="A bowl with curvatures over seven decades, under momentum",
        truth="κ is 10⁷, and the greatest heights lie along the least curvatures; momentum holds rates below 3.8 only.",
        cure="curvatures over one decade",
        family="many-slow-directions",
    ),
    *Pairing(_STRING, replace(_STRING, loss=FunctionLoss(partial(string, tie=1.0)), optimizer=sgd(0.33))).problems(
        "conditioning-string",
        "ill_conditioning",
        title="A string of 200 beads, bent over its whole length",
        truth="The eigenvalues are 2 − 2 cos(kπ/201): κ is 16,000, and the bend is the slowest direction.",
        cure="each bead is tied to its place, so that κ is below 5",
        family="many-slow-directions",
    ),
    *Pairing(replace(_WINE, optimizer=sgd(2.9e-6), data=partial(labelled_wine, standardised=False)), _WINE).problems(
        "conditioning-wine",
        "ill_conditioning",
        title="Least squares on wines with raw columns",
        truth="λmax is 6.6e5 for the sake of one column, λmin 1.4e-3; Newton's step is exact and reaches the floor.",
        cure="standardised columns",
        family="unscaled-inputs",
    ),
    *Pairing(
        replace(_CELLS, optimizer=sgd(1.5e-5, momentum=0.9), data=partial(cells, standardised=False)), _CELLS
    ).problems(
        "conditioning-cells",
        "ill_conditioning",
        title="A convex classifier of tumours with raw columns, under momentum",
        truth="The area is counted in thousands, smoothness in hundredths; Newton's steps reach the known minimum, "
        "which is the same whatever the units.",
        cure="standardised columns",
        family="unscaled-inputs",
    ),
    *Pairing(replace(_WINE_NET, data=partial(measured_wine, standardised=False)), _WINE_NET).problems(
        "conditioning-wine-net",
        "ill_conditioning",
        title="A tanh network on wines whose columns differ in size by a thousand",
        truth="λmax times the rate is near 2; damped Newton steps gain many times what gradient steps of any rate do.",
        cure="standardised columns",
        family="unscaled-inputs-network",
    ),
    *Pairing(_POWERS, replace(_POWERS, data=partial(powers, orthonormal=True))).problems(
        "conditioning-powers",
        "ill_conditioning",
        title="A polynomial of degree 9 fitted by descent in the coefficients of 1, x … x⁹",
        truth="The Hessian is a Gram matrix of powers with κ = 10¹³; in an orthonormal basis it is the identity.",
        cure="orthonormal polynomials",
        family="collinear-features",
    ),
    *Pairing(replace(_SHIFTED, data=partial(shifted_components, 100.0)), _SHIFTED).problems(
        "conditioning-shifted",
        "ill_conditioning",
        title="Least squares on inputs far from 0, under Adam",
        truth="The mean of the inputs makes one λ 2e5 and another 5e-6 where all would be 1, not along the axes.",
        cure="inputs of mean 0",
        family="uncentred-inputs",
    ),
    *Pairing(replace(_DEEP, data=partial(stretched_components, 1e4)), _DEEP).problems(
        "conditioning-deep-linear",
        "ill_conditioning",
        title="A linear net of two layers on inputs with variances over eight decades",
        truth="λmax times the rate is near 2, and what is left to learn lies in the small inputs.",
        cure="whitened inputs",
        family="deep-linear",
    ),
    *Pairing(_bowl(_spread(30, 6), _TURNED, _ADAMW, turn=True), _bowl(_spread(30, 6), _TURNED, _ADAMW)).problems(
        "conditioning-rotated",
        "ill_conditioning",
        title="A bowl of condition 10⁶ at an angle to the axes, under AdamW",
        truth="No diagonal preconditioner brings κ below 1,000; along the axes 1/λ would bring it to 1.",
        cure="the same bowl along the axes, where AdamW's denominator undoes the condition",
        family="rotated",
    ),
)
"""Trainings near the best rate that are held by the ratio of their curvatures."""
