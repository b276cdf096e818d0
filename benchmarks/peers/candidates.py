"""The words in which every package is asked: how it forms products, and what it estimates with them."""

import importlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from models import Case
from torch import Tensor

Products = Callable[[Any], Any]
"""AV for columns V, or Av for a list of tensors like the parameters."""

Method = Callable[[Case, int], Any]
"""From a case and a seed to whatever is estimated."""

TRACE_PRODUCTS = 96
"""A multiple of two and of three: XTrace and Hutch++ spend it whole."""


@dataclass(frozen=True)
class Candidate:
    """A way to form products: ``open`` takes a case, or what ``prepare`` makes of it, to a function of vectors."""

    name: str
    open: Callable[[Any], Products]
    prepare: Callable[[Case], Any] | None = None
    """What is done once for a model and its data, and not again at another point."""
    takes_lists: bool = False
    is_helped: bool = False
    """Whether kernels with a second derivative are switched on by hand around it."""

    def start(self, case: Case) -> Any:
        return case if self.prepare is None else self.prepare(case)

    def within(self, case: Case) -> AbstractContextManager:
        return case.kernels() if self.is_helped else nullcontext()


@dataclass(frozen=True)
class Kernel:
    """The Gaussian under which every density is compared, and where."""

    grid: np.ndarray
    width: float

    def smooth(self, nodes: Any, weights: Any) -> np.ndarray:
        """Mean over probes, one a row, of Gaussians at the nodes."""
        nodes, weights = np.atleast_2d(np.asarray(nodes, np.float64)), np.atleast_2d(np.asarray(weights, np.float64))
        bells = np.exp(-(((self.grid - nodes[..., None]) / self.width) ** 2) / 2) / (self.width * np.sqrt(2 * np.pi))
        return (weights[..., None] * bells).sum(1).mean(0)


@dataclass(frozen=True)
class Package:
    """A package as it is asked here; what it does not offer is left out."""

    name: str
    distribution: str = ""
    hessian: Candidate | None = None
    ggn: Candidate | None = None
    eigenvalues: Mapping[str, Method] = field(default_factory=dict)
    """The five greatest, descending."""
    densities: Mapping[str, Callable[[Kernel, Case, int], tuple[np.ndarray, np.ndarray | None]]] = field(
        default_factory=dict
    )
    """The density on the kernel's grid, and the standard errors that are stated, if any."""
    traces: Mapping[str, Method] = field(default_factory=dict)
    """A value, and the standard error that is stated, NaN if none."""
    dense: Callable[[int], Mapping[str, Callable[[Case], Tensor]]] = lambda size: {}
    """The whole matrix, of a given size."""
    counters: tuple[tuple[Any, str, Callable[..., int]], ...] = ()
    """Methods through which products go: owner, name, and how many products a call with such arguments forms."""


def optional(name: str) -> Any:
    """A module, or None where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def parameters(case: Case) -> list[Tensor]:
    return list(case.model.parameters())


def size_of(case: Case) -> int:
    return sum(tensor.numel() for tensor in parameters(case))


def parts(case: Case, vector: Tensor) -> list[Tensor]:
    """A flat vector as tensors like the parameters."""
    tensors = parameters(case)
    split = vector.split([tensor.numel() for tensor in tensors])
    return [part.reshape(tensor.shape) for part, tensor in zip(split, tensors, strict=True)]


def flat(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def start_vector(size: int, seed: int) -> np.ndarray:
    """What ARPACK begins with, whoever forms the products."""
    return np.random.default_rng(seed).standard_normal(size).astype(np.float32)
