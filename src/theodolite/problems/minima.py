"""Trainings in a local minimum that is not the lowest: the slope is gone, and there is no way down nearby."""

import math
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from theodolite.problems.architectures import Fixed
from theodolite.problems.digits import NUM_TRAINING, digits, displaced_images
from theodolite.problems.networks import Displacement, Pair, half_square, perceptron
from theodolite.problems.problem import Problem
from theodolite.problems.recipe import Data, FunctionLoss, Pairing, Recipe, Start, adam, sgd
from theodolite.problems.saddles import ridge

LOWER_WELL = 0.15525622983211224
"""Minus the least value of ¼ (x² − 1)² + 0.15 x; a test finds it among the roots of x³ − x + 0.15."""

GROUND_STATE = 1.7777872051472092
"""Minus the least value of the coupled spins before it is added; a test tries all 1,024 patterns of signs."""

XOR_FLOOR = 0.06043645064268485
"""The least loss of two tanh units on XOR with decay; a test finds it from a hundred starts."""

CLUSTERS_FLOOR = 0.58383761681432
"""The least negative log-likelihood of the mixture, with one centre on each cluster; a test finds it by Newton."""

ROBUST_FLOOR = 0.22341538244078565
"""The least robust loss of a line, through three quarters of the points; a test finds it by a scan."""

DECAY = 0.01
"""Weight decay of the two units, in the loss: it makes every minimum finite and strict."""

CLUSTERS = (0, 3, 4)
"""The digits of the mixture."""

NUM_AXES = 5
"""Principal components of the digits of the mixture."""

VARIANCE = 0.1
"""Of each Gaussian of the mixture, along each axis."""

NUM_SPINS = 10

GROUND_SIGNS = (1.0, -1.0, -1.0, 1.0, 1.0, -1.0, -1.0, 1.0, 1.0, -1.0)
"""Signs of the spins in the lowest minimum."""

TRAPPED_SIGNS = (1.0, 1.0, 1.0, 1.0, 1.0, -1.0, -1.0, 1.0, -1.0, 1.0)
"""Signs of the spins in one of the highest minima."""


def tilted_ridge(theta: Tensor) -> Tensor:
    """The ridge plus 0.15 x: the well on the right is now higher; 0 at the bottom of the left one.

    Args:
        theta: The point (x, y).

    Returns:
        The value.
    """
    return ridge(theta) + 0.15 * theta[0] + LOWER_WELL


def wave(theta: Tensor) -> Tensor:
    """Half the mean of (sin wx − sin 5x)² over 65 points x from −π to π: one sine unit, many minima in w.

    Args:
        theta: The frequency w.

    Returns:
        The value.
    """
    x = torch.linspace(-math.pi, math.pi, 65, dtype=theta.dtype, device=theta.device)
    return 0.5 * (torch.sin(theta[0] * x) - torch.sin(5.0 * x)).square().mean()


def echoes(theta: Tensor) -> Tensor:
    """Half the sum of squares between two pulses of heights 1 and 0.5, at a and b, and the same at −1 and 1.

    A pulse is exp(−2 (x − a)²), at 81 points x from −4 to 4.

    Args:
        theta: The places a and b.

    Returns:
        The value.
    """
    x = torch.linspace(-4.0, 4.0, 81, dtype=theta.dtype, device=theta.device)

    def pulse(place: Tensor | float) -> Tensor:
        return torch.exp(-2.0 * (x - place).square())

    return 0.5 * (pulse(theta[0]) + 0.5 * pulse(theta[1]) - pulse(-1.0) - 0.5 * pulse(1.0)).square().sum()


def couplings(size: int = NUM_SPINS) -> Tensor:
    """Symmetric Gaussian couplings of variance 1/n and no self-coupling, always the same, in float64.

    Args:
        size: Number of spins n.

    Returns:
        The matrix, shape (n, n).
    """
    drawn = torch.randn(size, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64).triu(1)
    return (drawn + drawn.T) / math.sqrt(size)


@dataclass(frozen=True, eq=False)
class SoftSpins:
    """Σ ¼ (θᵢ² − 1)² − 0.15 θᵀJθ, less its least value: spins of any size in a glass, with hundreds of minima."""

    glass: Tensor

    def __call__(self, theta: Tensor) -> Tensor:
        """The value."""
        wells = 0.25 * (theta.square() - 1.0).square().sum()
        value: Tensor = wells - 0.15 * theta @ (self.glass.to(theta) @ theta) + GROUND_STATE
        return value


def exclusive_or(theta: Tensor) -> Tensor:
    """Half the mean square of two tanh units on XOR plus ½ · 0.01 · ‖θ‖², the decay that makes every minimum finite.

    Args:
        theta: Two rows of inner weights, two inner biases, two outer weights, the outer bias.

    Returns:
        The value.
    """
    corners = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]], dtype=theta.dtype, device=theta.device)
    units = torch.tanh(corners @ theta[:4].view(2, 2).T + theta[4:6])
    errors = units @ theta[6:8] + theta[8] - corners.prod(1)
    return 0.5 * errors.square().mean() + 0.5 * DECAY * theta.square().sum()


def leading_components() -> Data:
    """The digits 0, 3 and 4 in five principal components, and their classes from 0 to 2.

    Returns:
        The examples to train on.
    """
    inputs, targets = digits().training
    chosen = torch.isin(targets, torch.tensor(CLUSTERS))
    centred = inputs[chosen] - inputs[chosen].mean(0)
    _, _, right = torch.linalg.svd(centred, full_matrices=False)
    return Data((centred @ right[:NUM_AXES].T, torch.searchsorted(torch.tensor(CLUSTERS), targets[chosen])))


class Mixture(nn.Module):
    """Three round Gaussians of fixed variance and equal weight: minus log-likelihoods, times the variance."""

    def __init__(self, start: Tensor) -> None:
        """Start at centres, shape (3, axes)."""
        super().__init__()
        self.centres = nn.Parameter(start.detach().clone())

    def forward(self, inputs: Tensor) -> Tensor:
        """One number for each example."""
        distances = (inputs[:, None] - self.centres).square().sum(-1)
        return VARIANCE * (math.log(len(CLUSTERS)) - torch.logsumexp(-0.5 * distances / VARIANCE, 1))


@dataclass(frozen=True)
class Centres:
    """Centres that start near means of clusters.

    Attributes:
        weights: For each centre, the share of each cluster's mean in its start.
        noise: Standard deviation of what a seed adds to each coordinate.
    """

    weights: tuple[tuple[float, ...], ...]
    noise: float = 0.2

    def __call__(self, generator: torch.Generator) -> nn.Module:
        """The mixture at its start."""
        inputs, classes = leading_components().training
        means = torch.stack([inputs[classes == cluster].mean(0) for cluster in range(len(CLUSTERS))])
        start = torch.tensor(self.weights) @ means
        return Mixture(start + self.noise * torch.randn(start.shape, generator=generator))


def mean_output(model: nn.Module, batch: Pair) -> Tensor:
    """The mean over examples of what the model gives.

    Args:
        model: Gives the loss of each example.
        batch: Inputs, and targets that are not used.

    Returns:
        A scalar tensor.
    """
    outputs: Tensor = model(batch[0])
    return outputs.mean()


def two_lines() -> Data:
    """Sixty points: three of four near the line 1 + x, the others near −1 − x.

    Returns:
        The examples.
    """
    x = torch.linspace(-1.0, 1.0, 60)
    few = torch.arange(60) % 4 == 0
    noise = 0.05 * torch.randn(60, generator=torch.Generator().manual_seed(0))
    return Data((x[:, None], (torch.where(few, -1.0 - x, 1.0 + x) + noise)[:, None]))


def bounded(model: nn.Module, batch: Pair) -> Tensor:
    """The mean of 1 − exp(−e²/2c²) with c = 0.3: Welsch's loss, for which far points do not count.

    Args:
        model: Gives a number for each example.
        batch: Inputs and targets.

    Returns:
        A scalar tensor.
    """
    errors: Tensor = model(batch[0]) - batch[1]
    return -torch.expm1(-errors.square() / (2.0 * 0.3**2)).mean()


REGISTRATION = Recipe(
    Start((1.7, 2.3), Displacement),
    sgd(0.05),
    half_square,
    partial(displaced_images, 3, 1, 2),
    size=NUM_TRAINING,
    steps=300,
)
"""Images of the digit 3 are to be laid over copies that were moved by one row and two columns."""

ONE_ARC_TOO_FAR = Start((4.3, 2.3), Displacement)
"""Where the upper arc of the 3 comes to lie on the lower one."""

_WELL = Recipe(Start((-0.6, 1.0, -1.0)), sgd(0.02, momentum=0.9), FunctionLoss(tilted_ridge), steps=300)
_SINE = Recipe(Start((4.8,), spread=0.01), adam(0.02), FunctionLoss(wave), steps=300)
_ECHOES = Recipe(
    Start((-0.6, 0.5)), partial(torch.optim.RMSprop, lr=3e-3, momentum=0.5), FunctionLoss(echoes), steps=300
)
_UNITS = Recipe(
    Start((1.3, -1.2, 1.2, -1.1, 0.7, -0.7, 1.3, -1.3, 1.0), spread=0.1),
    sgd(0.1, momentum=0.9),
    FunctionLoss(exclusive_or),
    steps=300,
    floor=XOR_FLOOR,
)
_SPINS = Recipe(
    Start(GROUND_SIGNS, spread=0.1), sgd(0.05, momentum=0.8), FunctionLoss(SoftSpins(couplings())), steps=200
)
_MIXTURE = Recipe(
    Centres(((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))),
    adam(0.02),
    mean_output,
    leading_components,
    size=NUM_TRAINING,
    steps=300,
    floor=CLUSTERS_FLOOR,
)
_LINES = Recipe(
    Fixed(partial(perceptron, (1, 1), nn.Identity), (0.6, 0.6)),
    partial(torch.optim.AdamW, lr=0.02, weight_decay=0.0),
    bounded,
    two_lines,
    size=60,
    steps=300,
    floor=ROBUST_FLOOR,
)
LOCAL_MINIMA: tuple[Problem, ...] = (
    *Pairing(replace(REGISTRATION, model=ONE_ARC_TOO_FAR), REGISTRATION).problems(
        "minimum-digits",
        "local_minimum",
        title="Images of the digit 3 laid over moved copies, from a start one arc too far",
        truth="One arc lies on the other: the gradient is 0, both eigenvalues are positive, and the loss is 4.97, "
        "where it is 0 at the true displacement.",
        cure="a start near the true displacement",
        family="minimum-registration",
    ),
    *Pairing(replace(_WELL, model=Start((0.6, 1.0, -1.0))), _WELL).problems(
        "minimum-well",
        "local_minimum",
        title="The higher of two wells, with momentum",
        truth="A root of x³ − x + 0.15 = 0 with positive curvature that is not the lowest.",
        cure="a start in the lower well",
    ),
    *Pairing(replace(_SINE, model=Start((2.2,), spread=0.01)), _SINE).problems(
        "minimum-wave",
        "local_minimum",
        title="One sine unit that has locked on to the wrong frequency, under Adam",
        truth="The loss as a function of the one weight has a minimum near 2.4 with the loss 0.41; it is 0 at 5.",
        cure="a start near the right frequency",
    ),
    *Pairing(replace(_ECHOES, model=Start((0.6, -0.5))), _ECHOES).problems(
        "minimum-echoes",
        "local_minimum",
        title="Two pulses, each of which explains the other's echo, under RMSprop",
        truth="The pulse of height 1 sits near 1 and that of 0.5 near −1, where it is the other way round: both "
        "eigenvalues are positive, and the loss is 2.17 where it is 0 with the two exchanged.",
        cure="each pulse starts beside its own echo",
    ),
    *Pairing(
        replace(_UNITS, model=Start((0.6, 1.2, 0.6, -1.2, 1.2, -1.2, -0.8, -0.8, 0.02), spread=0.1)), _UNITS
    ).problems(
        "minimum-xor",
        "local_minimum",
        title="Two tanh units on XOR with weight decay, one corner of which they have given up",
        truth="The least eigenvalue of the Hessian is 0.008, its greatest 1.97; the loss is 0.310, where 0.060 can be "
        "reached by the same net.",
        cure="a start near the solution",
    ),
    *Pairing(replace(_SPINS, model=Start(TRAPPED_SIGNS, spread=0.1)), _SPINS).problems(
        "minimum-glass",
        "local_minimum",
        title="Ten soft spins of a glass, stuck in one of hundreds of minima",
        truth="All eigenvalues are positive; of all 1,024 patterns of signs, the lowest lies far below.",
        cure="a start in the valley of the ground state",
    ),
    *Pairing(replace(_MIXTURE, model=Centres(((0.0, 0.0, 1.0), (0.0, 0.0, 1.0), (0.5, 0.5, 0.0)))), _MIXTURE).problems(
        "minimum-mixture",
        "local_minimum",
        title="A mixture of three Gaussians on the digits 0, 3 and 4, two of which share the fours",
        truth="All eigenvalues are positive, and the loss is 0.917, where it is 0.584 with one centre on each digit.",
        cure="a centre starts on each digit",
    ),
    *Pairing(replace(_LINES, model=Fixed(partial(perceptron, (1, 1), nn.Identity), (-0.8, -0.8))), _LINES).problems(
        "minimum-robust",
        "local_minimum",
        title="A robust line through the fourth of the points that are outliers, under AdamW",
        truth="Far points do not count: both eigenvalues are positive, and the loss is 0.665 where the other line has "
        "0.223.",
        cure="a start near the other line",
    ),
)
"""Trainings that start in the basin of a minimum that is not the lowest."""
