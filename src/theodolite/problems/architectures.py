"""Which networks other than perceptrons are trained: convolutional, recurrent, attentive; how are they initialised?

Nothing here moves a global random generator. Images come as rows of pixels, as the digits do.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from theodolite.problems.networks import linear_layers, perceptron

Change = Callable[[nn.Module], None]
"""Alters a network in place, after its weights were drawn."""


def nothing(model: nn.Module) -> None:
    """Leave a network as it was drawn.

    Args:
        model: The network.
    """


@dataclass(frozen=True)
class Drawn:
    """A network of any kind: its matrices and kernels drawn from N(0, gain² / fan-in), all else 0.

    Attributes:
        make: Makes the network.
        gain: Standard deviation of a unit's input when its layer's inputs have variance 1.
        change: What is done to it then.
    """

    make: Callable[[], nn.Module]
    gain: float = 1.0
    change: Change = nothing

    def __call__(self, generator: torch.Generator) -> nn.Module:
        """The network, initialised from a generator."""
        # Constructors of layers draw from the global generator; it is put back.
        with torch.random.fork_rng(devices=[]):
            model = self.make()
        with torch.no_grad():
            for part in model.parameters():
                if part.ndim > 1:
                    part.normal_(0.0, self.gain / math.sqrt(part[0].numel()), generator=generator)
                else:
                    part.zero_()
            self.change(model)
        return model


@dataclass(frozen=True)
class Orthogonal:
    """A tanh perceptron without biases whose matrices are multiples of orthogonal ones.

    Attributes:
        widths: As in ``Perceptron``.
        gain: The singular value of every matrix but the last.
        readout: The singular value of the last one.
    """

    widths: tuple[int, ...]
    gain: float = 1.0
    readout: float = 1.0

    def __call__(self, generator: torch.Generator) -> nn.Module:
        """The network, initialised from a generator."""
        model = perceptron(self.widths, nn.Tanh, bias=False)
        *inner, last = linear_layers(model)
        for layer in inner:
            nn.init.orthogonal_(layer.weight, self.gain, generator=generator)
        nn.init.orthogonal_(last.weight, self.readout, generator=generator)
        return model


@dataclass(frozen=True)
class Fixed:
    """A network whose parameters start at given numbers, which a seed moves a little.

    Attributes:
        make: Makes the network.
        point: All parameters, one after the other.
        spread: Standard deviation of what a seed adds to each.
    """

    make: Callable[[], nn.Module]
    point: tuple[float, ...]
    spread: float = 0.01

    def __call__(self, generator: torch.Generator) -> nn.Module:
        """The network at its start."""
        with torch.random.fork_rng(devices=[]):
            model = self.make()
        start = torch.tensor(self.point)
        start = start + self.spread * torch.randn(start.shape, generator=generator)
        nn.utils.vector_to_parameters(start, model.parameters())
        return model


def convolutional(side: int, channels: tuple[int, ...], outputs: int, activation: type[nn.Module]) -> nn.Sequential:
    """Kernels of 3 × 3, each layer followed by an activation and a mean over 2 × 2 pixels; then a linear layer.

    Args:
        side: Pixels in a row of the image.
        channels: Number of channels of each convolution.
        outputs: Number of outputs.
        activation: What follows a convolution.

    Returns:
        The network, of images as rows of side² pixels.
    """
    layers: list[nn.Module] = [nn.Unflatten(1, (1, side, side))]
    before = 1
    for after in channels:
        layers += [nn.Conv2d(before, after, 3, padding=1), activation(), nn.AvgPool2d(2)]
        before, side = after, side // 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * side**2, outputs))


class Recurrent(nn.Module):
    """h ← a(W x + b + U h) over a sequence, and a linear layer of the last h."""

    def __init__(self, inputs: int, width: int, outputs: int, activation: type[nn.Module] = nn.Tanh) -> None:
        """Make the layers."""
        super().__init__()
        self.inward = nn.Linear(inputs, width)
        self.around = nn.Linear(width, width, bias=False)
        self.activation = activation()
        self.outward = nn.Linear(width, outputs)
        self._inputs = inputs

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs after the last element of sequences, given as rows that hold one element after the other."""
        driven = self.inward(inputs.unflatten(1, (-1, self._inputs)))
        state = torch.zeros_like(driven[:, 0])
        for drive in driven.unbind(1):
            state = self.activation(drive + self.around(state))
        outputs: Tensor = self.outward(state)
        return outputs


class Attentive(nn.Module):
    """A transformer's block over the rows of an image: attention, then a layer of tanh units, each beside a bypass."""

    def __init__(self, side: int, width: int, outputs: int) -> None:
        """Make the layers."""
        super().__init__()
        self.embed = nn.Linear(side, width)
        self.positions = nn.Parameter(torch.empty(side, width))
        self.attend = nn.Linear(width, 3 * width, bias=False)
        self.widen = nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)
        self.outward = nn.Linear(width, outputs)
        self._side = side

    def forward(self, images: Tensor) -> Tensor:
        """Outputs of images given as rows of pixels."""
        stream = self.embed(images.unflatten(1, (self._side, self._side))) + self.positions
        queries, keys, values = self.attend(stream).chunk(3, dim=-1)
        scores = queries @ keys.transpose(1, 2) / math.sqrt(queries.shape[-1])
        stream = stream + torch.softmax(scores, -1) @ values
        stream = stream + self.narrow(torch.tanh(self.widen(stream)))
        outputs: Tensor = self.outward(stream.mean(1))
        return outputs
