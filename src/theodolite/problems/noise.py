"""Trainings whose batch gradient is mostly noise; the twin has larger batches, and nothing else."""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from theodolite.problems.architectures import Drawn
from theodolite.problems.conditioning import cells
from theodolite.problems.digits import NUM_PIXELS, NUM_TRAINING, digits, images, mislabelled_components
from theodolite.problems.healthy import SHAPE
from theodolite.problems.networks import cross_entropy, half_square
from theodolite.problems.problem import Problem
from theodolite.problems.recipe import Data, Pairing, Perceptron, Recipe, Start, adam, sgd
from theodolite.problems.step_sizes import ATTENTIVE, LINEAR, MISLABELLED_FLOOR, RECURRENT

IMAGES_FLOOR = 2.342631017361111
"""Half the variance of the images about their mean, summed over pixels; a test computes it."""

HEAVY_FLOOR = 5.366437084366614
"""Minimum of linear least squares on ``heavy_tails``; a test finds it by QR."""

MISLABELLED_CELLS_FLOOR = 0.6465405641448914
"""Minimum of the cross-entropy of a linear classifier of ``mislabelled_cells``; a test finds it by Newton's method."""

RATINGS_FLOOR = 0.39828285371194977
"""Least half mean square of ``ratings`` less a matrix of rank 2; a test finds it by singular values."""

NUM_ROWS, NUM_COLUMNS, RANK = 30, 20, 2


def heavy_tails() -> Data:
    """A linear function of 20 normal inputs, with errors of Student's distribution with 3 degrees of freedom.

    Their variance is finite, their fourth moment is not.

    Returns:
        1,000 examples to train on.
    """
    generator = torch.Generator().manual_seed(0)
    inputs, weights, errors = (torch.randn(*shape, generator=generator) for shape in ((1000, 20), (20, 1), (1000, 4)))
    student = errors[:, :1] / errors[:, 1:].square().mean(1, keepdim=True).sqrt()
    return Data((inputs, inputs @ weights + 2.0 * student))


def mislabelled_cells() -> Data:
    """Four measurements of the tumours, of which 30 % have the wrong class.

    Returns:
        426 examples to train on.
    """
    inputs, targets = cells().training
    wrong = torch.rand(len(targets), generator=torch.Generator().manual_seed(0)) < 0.3
    return Data((inputs, torch.where(wrong, 1 - targets, targets)))


def ratings() -> Data:
    """Every entry of a 30 × 20 matrix of rank 2 plus noise of variance 1, with its row and its column.

    Returns:
        600 examples to train on.
    """
    # No seed of a training: its factors would start at the truth.
    generator = torch.Generator().manual_seed(2015)
    left, right, noise = (
        torch.randn(*shape, generator=generator)
        for shape in ((NUM_ROWS, RANK), (NUM_COLUMNS, RANK), (NUM_ROWS, NUM_COLUMNS))
    )
    places = torch.cartesian_prod(torch.arange(NUM_ROWS), torch.arange(NUM_COLUMNS))
    return Data((places, (left @ right.T + noise).reshape(-1, 1)))


class Factors(nn.Module):
    """An entry of a matrix as the product of a row's factors and a column's: uᵢ · vⱼ."""

    def __init__(self) -> None:
        """Make both tables."""
        super().__init__()
        self.left = nn.Parameter(torch.zeros(NUM_ROWS, RANK))
        self.right = nn.Parameter(torch.zeros(NUM_COLUMNS, RANK))

    def forward(self, places: Tensor) -> Tensor:
        """The entries at pairs of row and column."""
        return (self.left[places[:, 0]] * self.right[places[:, 1]]).sum(1, keepdim=True)


_NET = Recipe(Perceptron(SHAPE), sgd(0.3), cross_entropy, digits, size=1, steps=800)
_ATTENTION = Recipe(ATTENTIVE, adam(0.02), cross_entropy, digits, size=1, steps=500)
_ROWS = Recipe(RECURRENT, sgd(0.1), cross_entropy, digits, size=1, steps=800)
_LABELS = Recipe(LINEAR, sgd(0.3), cross_entropy, mislabelled_components, size=2, steps=600, floor=MISLABELLED_FLOOR)
_CELLS = Recipe(
    Perceptron((4, 2)),
    partial(AdamW, lr=0.2, weight_decay=1e-4),
    cross_entropy,
    mislabelled_cells,
    size=2,
    floor=MISLABELLED_CELLS_FLOOR,
)
_MEAN = Recipe(Start((0.0,) * NUM_PIXELS), sgd(0.3), half_square, images, size=1, steps=400, floor=IMAGES_FLOOR)
_HEAVY = Recipe(Perceptron((20, 1)), sgd(0.05), half_square, heavy_tails, size=2, steps=400, floor=HEAVY_FLOOR)
_RATINGS = Recipe(
    Drawn(Factors, gain=RANK**0.5), adam(0.15), half_square, ratings, size=2, steps=800, floor=RATINGS_FLOOR
)
NOISY: tuple[Problem, ...] = (
    *Pairing(_NET, replace(_NET, size=128)).problems(
        "noise-digits",
        "gradient_noise",
        title="Digits one at a time, at a learning rate that suits a batch of 128",
        truth="Over all examples, a step on one of them loses on average what the full gradient would gain; "
        "each step is downhill for its own example.",
        cure="batches of 128",
        family="single-examples",
    ),
    *Pairing(_ATTENTION, replace(_ATTENTION, size=64)).problems(
        "noise-transformer",
        "gradient_noise",
        title="A transformer on digits under Adam, one at a time",
        truth="The squared norm of a single example's gradient is on average many times that of the full gradient; "
        "from the end, batches of 64 under the same optimizer gain what single examples do not.",
        cure="batches of 64",
        family="single-examples-adaptive",
    ),
    *Pairing(_ROWS, replace(_ROWS, size=64)).problems(
        "noise-recurrent",
        "gradient_noise",
        title="A recurrent net on digits one at a time, at a learning rate that suits a batch of 64",
        truth="The squared norm of a single example's gradient is on average many times that of the full gradient; "
        "from the end, batches of 64 at the same rate gain what single examples do not.",
        cure="batches of 64",
        family="single-examples",
    ),
    *Pairing(_LABELS, replace(_LABELS, size=NUM_TRAINING)).problems(
        "noise-labels",
        "gradient_noise",
        title="A convex classifier of digits with 30 % wrong labels, two examples at a time",
        truth="The minimum is known; the loss hovers above it, and the average step on two examples gains nothing "
        "where the full gradient gains.",
        cure="all examples in each batch",
        family="label-noise",
    ),
    *Pairing(_CELLS, replace(_CELLS, size=NUM_TRAINING)).problems(
        "noise-labels-adamw",
        "gradient_noise",
        title="A convex classifier of tumours with 30 % wrong labels under AdamW, two at a time",
        truth="The minimum is known; the squared norm of a batch's gradient is on average many times that of the full "
        "gradient, and from the end full batches under the same optimizer gain what two examples do not.",
        cure="all examples in each batch",
        family="label-noise",
    ),
    *Pairing(_MEAN, replace(_MEAN, size=NUM_TRAINING)).problems(
        "noise-mean",
        "gradient_noise",
        title="The mean of the images by stochastic gradient descent, one at a time",
        truth="The Hessian is the identity: the excess hovers at rate / (2 − rate) = 3/17 of half the variance.",
        cure="all examples in each batch",
        family="noisy-mean",
    ),
    *Pairing(_HEAVY, replace(_HEAVY, size=1000)).problems(
        "noise-heavy",
        "gradient_noise",
        title="Least squares whose errors have heavy tails, two examples at a time",
        truth="The minimum is known, and its Hessian near the identity; the average step on two examples gains nothing "
        "where the full gradient gains.",
        cure="all examples in each batch",
        family="heavy-tails",
    ),
    *Pairing(_RATINGS, replace(_RATINGS, size=NUM_ROWS * NUM_COLUMNS)).problems(
        "noise-ratings",
        "gradient_noise",
        title="A noisy matrix of rank 2 factorised under Adam, two entries at a time",
        truth="The best rank-2 matrix is known; the squared norm of a batch's gradient is on average many times that "
        "of the full gradient, and from the end full batches gain what two entries do not.",
        cure="all entries in each batch",
        family="noisy-factors",
    ),
)
"""Trainings whose progress stops where the noise of tiny batches eats it."""
