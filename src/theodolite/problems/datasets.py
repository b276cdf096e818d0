"""Which real data can a problem be made of, beside the digits?

Two tables that come with scikit-learn, and pictures and text from the folder that ``THEODOLITE_DATA`` names. Nothing is
downloaded. Which examples come first is decided once and for all, whatever the seed.
"""

import gzip
import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from theodolite import _checks
from theodolite.errors import DataError, SettingError
from theodolite.problems.recipe import Data

FILES: dict[str, tuple[str, ...]] = {
    "mnist": (
        "mnist/train-images-idx3-ubyte.gz",
        "mnist/train-labels-idx1-ubyte.gz",
        "mnist/t10k-images-idx3-ubyte.gz",
        "mnist/t10k-labels-idx1-ubyte.gz",
    ),
    "cifar10": ("cifar10/cifar10-train-subset.npz", "cifar10/cifar10-test-subset.npz"),
    "shakespeare": ("tinyshakespeare/input.txt",),
}
"""Which files of the data folder a data set consists of; its names are those that ``Problem.needs`` may have."""

VARIABLE = "THEODOLITE_DATA"
"""The environment variable that names the data folder."""

NUM_CHARACTERS = 65
"""Different characters in the text of Shakespeare."""

_SPLIT = 0.75  # share of a table's rows to train on
_LEVELS = 255.0  # pixels are bytes
_BYTES = 0x08  # what an IDX file calls unsigned bytes


def is_there(name: str) -> bool:
    """Whether a data set can be read here.

    Args:
        name: One of ``FILES``, or "" for none, which is always there.

    Returns:
        Whether the data folder is named and holds all its files.

    Raises:
        SettingError: If there is no such data set.
    """
    if name and name not in FILES:
        raise SettingError(f"name must be one of {', '.join(FILES)}, or empty, got {name!r}. Correct the spelling.")
    folder = os.environ.get(VARIABLE)
    return not name or (bool(folder) and all((Path(str(folder)) / file).is_file() for file in FILES[name]))


def wine(*, standardised: bool = True) -> Data:
    """178 wines by 13 chemical measurements, and which of 3 growers each is from.

    Args:
        standardised: Whether each column has mean 0 and variance 1 over the rows to train on; raw columns have
            standard deviations from 0.1 to 300.

    Returns:
        133 examples to train on and 45 to validate with.
    """
    return _table(_checks.require("sklearn.datasets", extra="data").load_wine(), standardised)


def breast_cancer(*, standardised: bool = True) -> Data:
    """569 tumours by 30 measurements of their cells, and whether each is benign (1) or malignant (0).

    Args:
        standardised: Whether each column has mean 0 and variance 1 over the rows to train on; raw columns have
            standard deviations from 0.003 to 600.

    Returns:
        426 examples to train on and 143 to validate with.
    """
    return _table(_checks.require("sklearn.datasets", extra="data").load_breast_cancer(), standardised)


def mnist(count: int, *, validation: int = 1000) -> Data:
    """The first handwritten digits of MNIST, as pictures of shape (1, 28, 28) with pixels in [0, 1].

    Args:
        count: How many to train on, at most 60,000.
        validation: How many to validate with, at most 10,000; none for 0.

    Returns:
        Pictures and classes.

    Raises:
        DataError: If the files are not there, or hold fewer.
    """
    paths = _paths("mnist")
    parts = [_read_idx(path, size) for path, size in zip(paths, (count, count, validation, validation), strict=True)]
    images = [torch.from_numpy(part).unsqueeze(1).float() / _LEVELS for part in parts[::2]]
    labels = [torch.from_numpy(part).long() for part in parts[1::2]]
    return Data((images[0], labels[0]), (images[1], labels[1]) if validation else None)


def cifar10(count: int, *, validation: int = 1000) -> Data:
    """The first pictures of a subset of CIFAR-10, of shape (3, 32, 32) with pixels in [0, 1], and their ten classes.

    Args:
        count: How many to train on, at most 5,000.
        validation: How many to validate with, at most 1,000; none for 0.

    Returns:
        Pictures and classes.

    Raises:
        DataError: If the files are not there, or hold fewer.
    """
    training, test = _paths("cifar10")
    return Data(_read_pictures(training, count), _read_pictures(test, validation) if validation else None)


def shakespeare(count: int, length: int, *, validation: int = 100) -> Data:
    """Pieces of Shakespeare's plays as characters, each to be followed by the next one.

    Pieces to train on are cut one after the other from the beginning; those to validate with from the last tenth.

    Args:
        count: How many pieces to train on.
        length: Characters a piece.
        validation: How many pieces to validate with; none for 0.

    Returns:
        Inputs and targets of shape (pieces, length), integers below ``NUM_CHARACTERS``; targets are one ahead.

    Raises:
        DataError: If the file is not there, or too short.
    """
    (path,) = _paths("shakespeare")
    text = np.frombuffer(path.read_bytes(), np.uint8)
    # Each byte's rank among those that occur.
    codes = torch.from_numpy(np.unique(text, return_inverse=True)[1].astype(np.int64))
    border = len(codes) * 9 // 10
    held = _pieces(codes[border:], validation, length, path) if validation else None
    return Data(_pieces(codes[:border], count, length, path), held)


def _paths(name: str) -> list[Path]:
    """The files of a data set, all of which are there."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        raise DataError(
            f"The data set {name!r} must lie in a folder on this machine, got no folder. "
            f"Set {VARIABLE} to the folder that holds {', '.join(FILES[name])}."
        )
    paths = [Path(folder) / file for file in FILES[name]]
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise DataError(
            f"The data set {name!r} must lie in {folder}, got no {', '.join(missing)}. "
            f"Put the files there, or set {VARIABLE} to the folder that holds them."
        )
    return paths


def _table(loaded: object, standardised: bool) -> Data:
    """Columns and classes of a table of scikit-learn, its rows drawn at random into two parts: they come by class."""
    inputs = torch.tensor(loaded.data, dtype=torch.float64)  # type: ignore[attr-defined]
    targets = torch.tensor(loaded.target, dtype=torch.int64)  # type: ignore[attr-defined]
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(0))
    chosen, held = order.tensor_split([int(_SPLIT * len(order))])
    if standardised:
        inputs = (inputs - inputs[chosen].mean(0)) / inputs[chosen].std(0, correction=0)
    inputs = inputs.float()
    return Data((inputs[chosen], targets[chosen]), (inputs[held], targets[held]))


def _read_idx(path: Path, count: int) -> NDArray[np.uint8]:
    """The first entries of a file in IDX format: two zeros, the type, the number of dimensions, their sizes, bytes."""
    with gzip.open(path) as file:
        zeros, kind, num_dims = int.from_bytes(file.read(2)), *file.read(2)
        if zeros != 0 or kind != _BYTES:
            raise DataError(f"{path} must hold bytes in IDX format, got the type {kind}. Fetch the official file.")
        shape = [int.from_bytes(file.read(4)) for _ in range(num_dims)]
        _enough(path, count, shape[0])
        size = count * int(np.prod(shape[1:], dtype=int))
        return np.frombuffer(bytearray(file.read(size)), np.uint8).reshape(count, *shape[1:])


def _read_pictures(path: Path, count: int) -> tuple[Tensor, Tensor]:
    """The first pictures of an archive, channels first, and their classes."""
    with np.load(path) as archive:
        images, labels = archive["images"], archive["labels"]
    _enough(path, count, len(images))
    pictures = torch.from_numpy(images[:count]).permute(0, 3, 1, 2).float() / _LEVELS
    return pictures.contiguous(), torch.from_numpy(labels[:count]).long()


def _pieces(codes: Tensor, count: int, length: int, path: Path) -> tuple[Tensor, Tensor]:
    """Pieces of a text one after the other, and the same one character ahead."""
    _enough(path, count, (len(codes) - 1) // length)
    size = count * length
    return codes[:size].view(count, length), codes[1 : size + 1].view(count, length)


def _enough(path: Path, asked: int, there: int) -> None:
    """Refuse to read more than there is, or less than nothing."""
    if not 0 <= asked <= there:
        raise DataError(f"{path} must hold what is asked for, got {asked} of {there} examples. Ask for fewer.")
