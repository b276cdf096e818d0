"""Which networks are trained, how are they initialised, and with which loss?

Nothing here moves a global random generator.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

Pair = tuple[Tensor, Tensor]
"""Inputs and targets of a batch."""


def perceptron(widths: Sequence[int], activation: type[nn.Module], *, bias: bool = True) -> nn.Sequential:
    """A fully connected network; its weights are to be drawn by ``initialise``.

    Args:
        widths: Number of inputs, of units in each hidden layer, of outputs.
        activation: What stands between two layers.
        bias: Whether the layers have biases.

    Returns:
        Linear layers with the activation between them.
    """
    layers: list[nn.Module] = []
    # The constructor of a layer draws weights from the global generator; it is put back. (skip_init would not draw, but
    # its first call loads compilers for three seconds.)
    with torch.random.fork_rng(devices=[]):
        for fan_in, fan_out in pairwise(widths):
            layers += [nn.Linear(fan_in, fan_out, bias=bias), activation()]
    return nn.Sequential(*layers[:-1])


def initialise(model: nn.Module, generator: torch.Generator, *, gain: float = 1.0) -> None:
    """Draw the weights of every linear layer from N(0, gain² / fan-in); biases become 0.

    Args:
        model: The network; changed in place.
        generator: Where the randomness comes from.
        gain: Standard deviation of a unit's input when its layer's inputs have variance 1.
    """
    with torch.no_grad():
        for layer in linear_layers(model):
            layer.weight.normal_(0.0, gain / math.sqrt(layer.in_features), generator=generator)
            if layer.bias is not None:
                layer.bias.zero_()


def linear_layers(model: nn.Module) -> list[nn.Linear]:
    """The linear layers of a network, in order.

    Args:
        model: Any module.

    Returns:
        Its layers.
    """
    return [layer for layer in model.modules() if isinstance(layer, nn.Linear)]


class Function(nn.Module):
    """A function of one vector θ as a network without inputs; its batches hold nothing that matters."""

    def __init__(self, start: Tensor) -> None:
        """Start at a point, which is copied."""
        super().__init__()
        self.theta = nn.Parameter(start.detach().clone())

    def forward(self, inputs: Tensor) -> Tensor:
        """The point θ, whatever the inputs."""
        return self.theta


class Displacement(nn.Module):
    """Moves square images on the torus by two learnt numbers, rows and columns, with Fourier interpolation."""

    def __init__(self, start: Tensor) -> None:
        """Start at a displacement."""
        super().__init__()
        self.shift = nn.Parameter(start.detach().clone())

    def forward(self, images: Tensor) -> Tensor:
        """The images, moved."""
        side = images.shape[-1]
        return self._mover(self.shift[0], side) @ images @ self._mover(self.shift[1], side).T

    @staticmethod
    def _mover(shift: Tensor, side: int) -> Tensor:
        """Matrix that moves a column of pixels: Dirichlet's kernel at i − j − shift; side is even."""
        pixels = torch.arange(side, dtype=shift.dtype, device=shift.device)
        angle = 2.0 * math.pi / side * (pixels[:, None] - pixels[None, :] - shift)
        waves: Tensor = torch.stack([2.0 * torch.cos(k * angle) for k in range(1, side // 2)]).sum(0)
        mover: Tensor = (1.0 + waves + torch.cos(side // 2 * angle)) / side
        return mover


def cross_entropy(model: nn.Module, batch: Pair) -> Tensor:
    """Mean cross-entropy of a classifier in nats.

    Args:
        model: Gives one logit a class.
        batch: Inputs and classes.

    Returns:
        A scalar tensor.
    """
    inputs, targets = batch
    return functional.cross_entropy(model(inputs), targets)


def half_square(model: nn.Module, batch: Pair) -> Tensor:
    """Half the mean over examples of the squared distance between output and target.

    Args:
        model: Gives a vector or an image for each example.
        batch: Inputs and targets of the outputs' shape.

    Returns:
        A scalar tensor.
    """
    inputs, targets = batch
    errors: Tensor = model(inputs) - targets
    return 0.5 * errors.square().flatten(1).sum(1).mean()
