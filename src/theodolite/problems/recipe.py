"""How is a training put together, so that a plant and its twin visibly differ in one ingredient?

A clean twin is ``dataclasses.replace(plant, one_ingredient=...)``.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from theodolite.problems.networks import Function, Pair, initialise, linear_layers, perceptron
from theodolite.problems.problem import Batches, Problem, Training


@dataclass(frozen=True)
class Data:
    """Examples to train on, and others to validate with if there are any."""

    training: Pair
    validation: Pair | None = None


@dataclass(frozen=True)
class Perceptron:
    """How a fully connected network is made and initialised.

    Attributes:
        widths: Number of inputs, of units in each hidden layer, of outputs.
        activation: What stands between two layers.
        gain: As in ``initialise``.
        bias: Whether the layers have biases.
        offset: What the biases of one layer start at.
        offset_layer: Which linear layer that is, from 0.
        offset_share: Share of that layer's units that get the offset, the first ones.
    """

    widths: tuple[int, ...]
    activation: type[nn.Module] = nn.Tanh
    gain: float = 1.0
    bias: bool = True
    offset: float = 0.0
    offset_layer: int = 0
    offset_share: float = 1.0

    def __call__(self, generator: torch.Generator) -> nn.Module:
        """The network, initialised from a generator."""
        model = perceptron(self.widths, self.activation, bias=self.bias)
        initialise(model, generator, gain=self.gain)
        if self.offset:
            layer = linear_layers(model)[self.offset_layer]
            with torch.no_grad():
                layer.bias[: round(self.offset_share * layer.out_features)] = self.offset
        return model


@dataclass(frozen=True)
class Start:
    """The point at which a module of one vector starts.

    Attributes:
        point: The point.
        module: Makes the module from the point.
        spread: Standard deviation of what a seed adds to each coordinate, as a share of that coordinate.
    """

    point: tuple[float, ...]
    module: Callable[[Tensor], nn.Module] = Function
    spread: float = 0.05

    def __call__(self, generator: torch.Generator) -> nn.Module:
        """The module at its start."""
        point = torch.tensor(self.point)
        return self.module(point * (1.0 + self.spread * torch.randn(point.shape, generator=generator)))


@dataclass(frozen=True)
class FunctionLoss:
    """J(θ) = f(θ), whatever the batch."""

    function: Callable[[Tensor], Tensor]

    def __call__(self, model: nn.Module, batch: Pair) -> Tensor:
        """The value at the model's θ."""
        return self.function(model(batch[0]))


Optimize = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
"""Makes an optimizer from the parameters."""


def sgd(rate: float, *, momentum: float = 0.0) -> Optimize:
    """Stochastic gradient descent.

    Args:
        rate: Learning rate.
        momentum: Share of the last step that is kept.

    Returns:
        What makes the optimizer.
    """
    return partial(torch.optim.SGD, lr=rate, momentum=momentum)


def adam(rate: float) -> Optimize:
    """Adam with its usual moments.

    Args:
        rate: Learning rate.

    Returns:
        What makes the optimizer.
    """
    return partial(torch.optim.Adam, lr=rate)


def no_data() -> Data:
    """One empty example, for functions without data.

    Returns:
        Data whose only example holds nothing.
    """
    return Data((torch.zeros(1, 1), torch.zeros(1, 1)))


@dataclass(frozen=True)
class Recipe:
    """The ingredients of a training.

    Attributes:
        model: Makes the initialised network from a generator.
        optimizer: Makes the optimizer from the parameters.
        loss: As in ``Training``.
        data: Reads the data; it does not depend on the seed.
        size: Examples a batch.
        steps: Number of batches.
        floor: The lowest loss that can be reached.
    """

    model: Callable[[torch.Generator], nn.Module]
    optimizer: Optimize
    loss: Callable[[nn.Module, Any], Tensor]
    data: Callable[[], Data] = no_data
    size: int = 64
    steps: int = 400
    floor: float = 0.0

    def build(self, seed: int) -> Training:
        """The training of a seed.

        Args:
            seed: Determines initialisation and order of the batches.

        Returns:
            A fresh training; the same bits for the same seed.
        """
        data = self.data()
        model = self.model(torch.Generator().manual_seed(seed))
        return Training(
            model=model,
            optimizer=self.optimizer(model.parameters()),
            loss=self.loss,
            batches=Batches(*data.training, self.size, self.steps, seed),
            floor=self.floor,
            data=data.training,
            validation=data.validation,
        )


@dataclass(frozen=True)
class Pairing:
    """A planted recipe with its clean twin.

    Attributes:
        plant: The training with the obstacle.
        clean: The same without the planted cause.
    """

    plant: Recipe
    clean: Recipe

    def problems(
        self, name: str, obstacle: str, *, title: str, truth: str, cure: str, family: str = "", needs: str = ""
    ) -> tuple[Problem, Problem]:
        """Both as problems.

        Args:
            name: Name of the planted problem; the twin's is ``name-twin``.
            obstacle: What is planted.
            title: What the planted problem is, in one line.
            truth: Which cause was planted, and what shows that it is the truth.
            cure: What the twin has instead.
            family: As in ``Problem``; the planted problem's name by default.
            needs: As in ``Problem``.

        Returns:
            The planted problem and its twin.
        """
        plant, clean = self.plant, self.clean
        shared = {"family": family or name, "needs": needs}
        return (
            Problem(name, obstacle, title, truth, plant.build, plant.steps, plant.floor, **shared),
            Problem(
                f"{name}-twin",
                "none",
                f"Clean twin: {cure}",
                f"Without the planted cause: {cure}.",
                clean.build,
                clean.steps,
                clean.floor,
                name,
                **shared,
            ),
        )
