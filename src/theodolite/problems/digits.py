"""The real data: 1,797 handwritten digits of 8 × 8 pixels (scikit-learn's copy of UCI's optical digits)."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from theodolite import _checks
from theodolite.problems.networks import Pair
from theodolite.problems.recipe import Data

SIDE = 8
NUM_PIXELS = SIDE**2
NUM_CLASSES = 10
NUM_TRAINING = 1500
"""Examples to train on; the other 297 are for validation."""

NUM_COMPONENTS = 20
"""Principal components, where a well-conditioned input is wanted; they carry 89 % of the variance."""

_LEVELS = 16.0  # pixels count black points in a 4 × 4 cell: 0 to 16


def digits() -> Data:
    """The digits as pixels in [0, 1] and classes, split once and for all at random: the file is ordered by writer.

    Returns:
        1,500 examples to train on and 297 to validate with.
    """
    loaded = _checks.require("sklearn.datasets", extra="demo").load_digits()
    order = torch.randperm(len(loaded.target), generator=torch.Generator().manual_seed(0))
    inputs = torch.tensor(loaded.data, dtype=torch.float32)[order] / _LEVELS
    targets = torch.tensor(loaded.target, dtype=torch.int64)[order]
    training, validation = slice(NUM_TRAINING), slice(NUM_TRAINING, None)
    return Data((inputs[training], targets[training]), (inputs[validation], targets[validation]))


def one_hot_digits() -> Data:
    """The digits with classes as rows of zeros with a one.

    Returns:
        The same split as ``digits``.
    """
    data = digits()
    assert data.validation is not None
    return Data(_one_hot(data.training), _one_hot(data.validation))


def mislabelled_components() -> Data:
    """Twenty whitened principal components of the digits; 30 % of the labels are drawn anew.

    A linear classifier of them is a convex, well-conditioned problem whose minimum is finite and known.

    Returns:
        1,500 examples to train on.
    """
    inputs, targets = digits().training
    return Data((_whitened(inputs, NUM_COMPONENTS), _with_random_labels(targets, 0.3)))


def labelled_components() -> Data:
    """Twenty whitened principal components of the digits, and classes as rows.

    The Hessian of linear least squares on them is the identity.

    Returns:
        1,500 examples to train on.
    """
    inputs, targets = _one_hot(digits().training)
    return Data((_whitened(inputs, NUM_COMPONENTS), targets))


def images() -> Data:
    """The digits as targets of a model that knows nothing of them but their mean: there are no inputs.

    Returns:
        1,500 examples to train on.
    """
    inputs, _ = digits().training
    return Data((torch.zeros(len(inputs), 1), inputs))


def displaced_images(digit: int, rows: int, columns: int) -> Data:
    """Images of one digit, and the same images moved on the torus.

    Args:
        digit: Which digit.
        rows: How far down they are moved.
        columns: How far to the right.

    Returns:
        Pairs of images of shape (8, 8).
    """
    inputs, targets = digits().training
    chosen = inputs[targets == digit].unflatten(1, (SIDE, SIDE))
    return Data((chosen, chosen.roll((rows, columns), (1, 2))))


def _with_random_labels(targets: Tensor, share: float) -> Tensor:
    """Classes of which a share is drawn anew, uniformly; always the same ones."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(NUM_CLASSES, targets.shape, generator=generator)
    return torch.where(torch.rand(targets.shape, generator=generator) < share, drawn, targets)


def _whitened(inputs: Tensor, count: int) -> Tensor:
    """The leading principal components, each of mean 0 and variance 1 over the rows."""
    centred = (inputs - inputs.mean(0)).double()
    left, _, _ = torch.linalg.svd(centred, full_matrices=False)
    components: Tensor = math.sqrt(len(inputs)) * left[:, :count]
    return components.to(inputs.dtype)


def _one_hot(pair: Pair) -> Pair:
    return pair[0], functional.one_hot(pair[1], NUM_CLASSES).float()
