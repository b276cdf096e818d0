"""Four small models of four families, each with one batch of real data where it lies on this machine.

M1 a perceptron, M2 a residual network with group norm, M3 an LSTM, M4 a transformer: 78 thousand to 826 thousand
parameters. Data are looked for in ``THEODOLITE_DATA``, then in ``../shared/data``; without, random numbers take their
place, which ``Case.data`` says.
"""

import gzip
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

FOLDER = Path(os.environ.get("THEODOLITE_DATA") or Path(__file__).parents[2] / "shared" / "data")


class Block(nn.Module):
    """Two 3 x 3 convolutions with group norm, beside a shortcut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.first_norm = nn.GroupNorm(8, after)
        self.second = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.second_norm = nn.GroupNorm(8, after)
        same = stride == 1 and before == after
        self.shortcut = nn.Identity() if same else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.relu(self.first_norm(self.first(x)))
        return functional.relu(self.second_norm(self.second(inner)) + self.shortcut(x))


class Recurrent(nn.Module):
    """Two LSTM layers over characters."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.core = nn.LSTM(width, width, 2, batch_first=True)
        self.read = nn.Linear(width, vocabulary)

    def forward(self, ids: Tensor) -> Tensor:
        return self.read(self.core(self.embed(ids))[0]).flatten(0, 1)


class Attention(nn.Module):
    """Causal attention with several heads, and what follows it in a layer of a transformer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.inputs, self.mix = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.inputs(self.norm(x)).chunk(3, -1)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.mix(mixed.transpose(1, 2).flatten(2))
        return x + self.feed(x)


class Transformer(nn.Module):
    """A GPT over characters."""

    def __init__(self, vocabulary: int, width: int, layers: int, length: int) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.core = nn.Sequential(*(Attention(width, 4) for _ in range(layers)))
        self.norm, self.read = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids) + self.place(torch.arange(ids.shape[1], device=ids.device))
        return self.read(self.norm(self.core(x))).flatten(0, 1)


@dataclass(frozen=True)
class Case:
    """A model at a point, and one batch (x, y) for it."""

    name: str
    model: nn.Module
    batch: tuple[Tensor, Tensor]
    data: str
    kernels: Callable[[], AbstractContextManager] = nullcontext
    """Switches to kernels with a second derivative, as one would do by hand."""


def classify(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Cross entropy of one batch."""
    return functional.cross_entropy(model(batch[0]), batch[1])


def perceptron() -> Case:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))
    return Case("M1 MLP", model, *digits(512))


def residual() -> Case:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.GroupNorm(8, 16), nn.ReLU(),
        Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip
    return Case("M2s ResNet-8, group norm", model, *pictures(32))


def recurrent() -> Case:
    torch.manual_seed(0)
    batch, data = characters(20, 35)
    return Case("M3 LSTM", Recurrent(65, 200), batch, data, partial(torch.backends.mkldnn.flags, enabled=False))


def transformer() -> Case:
    torch.manual_seed(0)
    batch, data = characters(4, 128)
    return Case("M4 GPT", Transformer(65, 128, 4, 128), batch, data, partial(sdpa_kernel, SDPBackend.MATH))


def small(width: int = 20) -> Case:
    """A network of 2,230 parameters, whose dense Hessian is cheap enough to be the truth, and a thousand digits."""
    torch.manual_seed(0)
    (x, y), data = digits(1000)
    x = functional.interpolate(x.reshape(-1, 1, 28, 28), size=(10, 10), mode="area").flatten(1)
    return Case(
        f"MLP 100-{width}-10, tanh", nn.Sequential(nn.Linear(100, width), nn.Tanh(), nn.Linear(width, 10)), (x, y), data
    )


CASES: dict[str, Callable[[], Case]] = {"M1": perceptron, "M2s": residual, "M3": recurrent, "M4": transformer}


def digits_after(steps: int) -> Case:
    """The perceptron on 512 of scikit-learn's digits, after steps of SGD with momentum: A is 60 of them, B 12."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))
    stored = load_digits()
    x = torch.tensor(stored.images[:512, None] / 16, dtype=torch.float32)
    x = functional.interpolate(x, size=(28, 28), mode="bilinear").flatten(1)
    case = Case(f"MLP of M1 after {steps} steps", model, (x, torch.tensor(stored.target[:512])), "scikit-learn digits")
    return trained(case, steps, 0.1, momentum=0.9)


def trained(case: Case, steps: int, rate: float, momentum: float = 0.0) -> Case:
    """The same case after some steps of gradient descent on its whole batch."""
    optimizer = torch.optim.SGD(case.model.parameters(), rate, momentum)
    for _ in range(steps):
        optimizer.zero_grad()
        classify(case.model, case.batch).backward()
        optimizer.step()
    optimizer.zero_grad()
    return case


def digits(count: int) -> tuple[tuple[Tensor, Tensor], str]:
    """MNIST's first test digits."""
    images, labels = FOLDER / "mnist" / "t10k-images-idx3-ubyte.gz", FOLDER / "mnist" / "t10k-labels-idx1-ubyte.gz"
    if not images.exists():
        return (torch.randn(count, 784), torch.randint(10, (count,))), "random"
    pixels = np.frombuffer(gzip.decompress(images.read_bytes()), np.uint8, offset=16).reshape(-1, 784)[:count]
    classes = np.frombuffer(gzip.decompress(labels.read_bytes()), np.uint8, offset=8)[:count]
    return ((torch.tensor(pixels) / 255 - 0.1307) / 0.3081, torch.tensor(classes, dtype=torch.int64)), "MNIST"


def pictures(count: int) -> tuple[tuple[Tensor, Tensor], str]:
    """CIFAR-10."""
    path = FOLDER / "cifar10" / "cifar10-test-subset.npz"
    if not path.exists():
        return (torch.randn(count, 3, 32, 32), torch.randint(10, (count,))), "random"
    with np.load(path) as stored:
        images, labels = torch.tensor(stored["images"][:count]), torch.tensor(stored["labels"][:count])
    return ((images.permute(0, 3, 1, 2).contiguous() / 255 - 0.47) / 0.25, labels.long()), "CIFAR-10"


def characters(rows: int, length: int) -> tuple[tuple[Tensor, Tensor], str]:
    """Shakespeare, letter by letter."""
    path = FOLDER / "tinyshakespeare" / "input.txt"
    if not path.exists():
        ids, data = torch.randint(65, (rows, length + 1)), "random"
    else:
        text, data = path.read_text(encoding="utf-8"), "Tiny Shakespeare"
        place = {letter: index for index, letter in enumerate(sorted(set(text)))}
        codes = torch.tensor([place[letter] for letter in text[: rows * (length + 1)]])
        ids = codes.reshape(rows, length + 1)
    return (ids[:, :-1].contiguous(), ids[:, 1:].flatten().contiguous()), data
