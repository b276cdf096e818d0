"""Pictures: a convolutional net, a residual one, a transformer on patches, and two autoencoders."""

from functools import partial
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from scripts.case import Case, Training, classify, loader
from theodolite.problems import datasets


def convnet(*, scale: float = 1.0, bias: float = 0.0) -> Training:
    """Two convolutions and two layers on MNIST, with dropout; SGD with momentum."""
    torch.manual_seed(1)
    data = datasets.mnist(3000)
    hidden = nn.Linear(16 * 12 * 12, 64)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25),
        nn.Flatten(), hidden, nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 10),
    )  # fmt: skip
    if bias:
        nn.init.constant_(hidden.bias, bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    images, labels = data.training
    return Training(model, optimizer, classify, loader(scale * images, labels), 8)


class Block(nn.Module):
    """Two convolutions with batch normalisation, and a way around them."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        out = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


def resnet(*, lr: float = 0.1, count: int = 3000, epochs: int = 6) -> Training:
    """A narrow residual net on CIFAR-10; SGD with momentum and weight decay, a cosine over 200 epochs."""
    torch.manual_seed(2)
    data = datasets.cifar10(count, validation=500)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        Block(8, 8, 1), Block(8, 16, 2), Block(16, 32, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
    batches = loader((data.training[0] - 0.47) / 0.25, data.training[1])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 200 * len(batches))
    assert data.validation is not None
    validation = [((data.validation[0] - 0.47) / 0.25, data.validation[1])]
    return Training(model, optimizer, classify, batches, epochs, validation, schedule=schedule)


class ViT(nn.Module):
    """A transformer on 16 patches of 2 × 2 pixels, with a class token."""

    def __init__(self, width: int = 32, depth: int = 2) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, width, 2, 2)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(0.02 * torch.randn(1, 17, width))
        layer = nn.TransformerEncoderLayer(width, 4, 64, 0.1, "gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.embed(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), patches], 1) + self.position
        head: Tensor = self.head(self.encoder(tokens)[:, 0])
        return head


def vit(*, lr: float = 1e-3, decay: float = 1.0) -> Training:
    """A small vision transformer on 8 × 8 digits; AdamW, the rate times ``decay`` after each step."""
    torch.manual_seed(3)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 8 - 1
    batches = loader(images[:1400], torch.tensor(digits.target)[:1400])
    model = ViT()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, decay)
    return Training(model, optimizer, classify, batches, 15, schedule=schedule)


class VAE(nn.Module):
    """784 pixels, 128 units, 8 latent Gaussians, and back."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 16))
        self.decode = nn.Sequential(nn.Linear(8, 128), nn.ReLU(), nn.Linear(128, 784))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, logvar = self.encode(x).chunk(2, -1)
        return self.decode(mean + torch.randn_like(mean) * (0.5 * logvar).exp()), mean, logvar


def evidence(model: nn.Module, batch: Any) -> Tensor:
    """Nats an image: what reconstruction costs, and the divergence from the prior."""
    pixels = batch[0].flatten(1)
    logits, mean, logvar = model(pixels)
    cost = nn.functional.binary_cross_entropy_with_logits(logits, pixels, reduction="sum")
    return (cost - 0.5 * (1 + logvar - mean**2 - logvar.exp()).sum()) / len(pixels)


def vae(*, lr: float = 1e-3) -> Training:
    """A variational autoencoder on MNIST; Adam."""
    torch.manual_seed(4)
    model = VAE()
    images, _ = datasets.mnist(4000).training
    return Training(model, torch.optim.Adam(model.parameters(), lr=lr), evidence, loader(images, batch=128), 30)


def reconstruct(model: nn.Module, batch: Any) -> Tensor:
    pixels = batch[0].flatten(1)
    return nn.functional.mse_loss(model(pixels), pixels)


def autoencoder(*, widths: tuple[int, ...] = (128, 32, 128), sigmoid: bool = False, scale: float = 1.0) -> Training:
    """Dense layers on MNIST; Adam, or plain SGD on sigmoids as it was done before; weights times ``scale`` at first."""
    torch.manual_seed(5)
    layers: list[nn.Module] = []
    for inputs, outputs in zip((784, *widths), (*widths, 784), strict=True):
        layers += [nn.Linear(inputs, outputs), nn.Sigmoid() if sigmoid else nn.Tanh()]
    layers[-1] = nn.Sigmoid()
    model = nn.Sequential(*layers)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    parameters = model.parameters()
    optimizer = torch.optim.SGD(parameters, lr=10.0) if sigmoid else torch.optim.Adam(parameters, lr=2e-3)
    images, _ = datasets.mnist(4000).training
    return Training(model, optimizer, reconstruct, loader(images), 16)


CASES = (
    Case("convnet", convnet, "pytorch/examples, mnist"),
    Case("convnet-bytes", partial(convnet, scale=255.0), "pytorch/examples, mnist", "step_too_large",
         ("dead_units", "cliff", "plateau", "ill_conditioning"), "pixels left in 0 … 255"),
    Case("convnet-dead", partial(convnet, bias=-8.0), "pytorch/examples, mnist", "dead_units", ("plateau",),
         "biases of the hidden layer −8"),
    Case("resnet", resnet, "kuangliu/pytorch-cifar"),
    Case("resnet-hot", partial(resnet, lr=10.0), "kuangliu/pytorch-cifar", "step_too_large",
         ("plateau", "cliff", "dead_units"), "learning rate × 100"),
    Case("resnet-few", partial(resnet, count=150, epochs=110), "kuangliu/pytorch-cifar", "overfitting", (),
         "150 examples, no augmentation"),
    Case("vit", vit, "lucidrains/vit-pytorch, on small pictures"),
    Case("vit-hot", partial(vit, lr=0.1), "lucidrains/vit-pytorch, on small pictures", "step_too_large",
         ("plateau", "cliff"), "learning rate × 100"),
    Case("vit-decay", partial(vit, decay=0.93), "lucidrains/vit-pytorch, on small pictures", "step_too_small", (),
         "the rate falls by 7 % a step"),
    Case("vae", vae, "pytorch/examples, vae"),
    Case("vae-slow", partial(vae, lr=1e-6), "pytorch/examples, vae", "step_too_small", (), "learning rate / 1000"),
    Case("autoencoder", autoencoder, "L1aoge/pytorch-beginner, simple autoencoder"),
    Case("autoencoder-sigmoids", partial(autoencoder, widths=(64,) * 9, sigmoid=True),
         "L1aoge/pytorch-beginner, simple autoencoder", "plateau", ("saddle_point", "local_minimum"),
         "nine sigmoid layers, plain SGD"),
    Case("autoencoder-saturated", partial(autoencoder, scale=20.0), "L1aoge/pytorch-beginner, simple autoencoder",
         "plateau", ("step_too_small", "ill_conditioning"), "weights × 20 at first"),
)  # fmt: skip
