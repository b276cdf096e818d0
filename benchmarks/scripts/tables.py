"""Tables: linear regression, a net on columns of all scales, recommendations, separable classes."""

from functools import partial
from typing import Any

import torch
from sklearn.datasets import load_diabetes
from torch import Tensor, nn

from scripts.case import Case, Training, classify, loader, regress
from theodolite.problems import datasets


def diabetes(*, lr: float = 0.03, scale: float = 1.0, offset: float = 0.0) -> Training:
    """Linear regression on ten standardised columns, the first times ``scale``, all moved by ``offset``; SGD."""
    torch.manual_seed(21)
    loaded = load_diabetes()
    inputs = torch.tensor(loaded.data, dtype=torch.float64)
    targets = torch.tensor(loaded.target, dtype=torch.float64)
    inputs, targets = (inputs - inputs.mean(0)) / inputs.std(0), (targets - targets.mean()) / targets.std()
    floor = (targets - inputs @ torch.linalg.lstsq(inputs, targets).solution).square().mean().item()
    inputs[:, 0] *= scale
    model = nn.Linear(10, 1)
    batches = loader((inputs + offset).float(), targets.float(), batch=32)
    return Training(model, torch.optim.SGD(model.parameters(), lr=lr), regress, batches, 600, floor=floor)


def houses(*, lr: float = 1e-3, raw: bool = False) -> Training:
    """Prices from eight columns that look like California's, two hidden layers; Adam."""
    torch.manual_seed(22)
    hidden = torch.randn(5000, 8)
    price = hidden[:, 0] + 0.5 * torch.sin(2 * hidden[:, 6]) * hidden[:, 7] + 0.3 * hidden[:, 1].abs()
    price = price + 0.3 * torch.randn(5000)  # noise of variance 0.09 is the floor
    centre = torch.tensor([3.9, 28.6, 5.4, 1.1, 1425.0, 3.1, 35.6, -119.6])
    spread = torch.tensor([1.9, 12.6, 2.5, 0.5, 1132.0, 10.4, 2.1, 2.0])
    model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    batches = loader(centre + spread * hidden if raw else hidden, price, batch=128)
    return Training(model, torch.optim.Adam(model.parameters(), lr=lr), regress, batches, 40, floor=0.09)


class Factors(nn.Module):
    """A vector a user, a vector an item, and their product."""

    def __init__(self, users: int, items: int, std: float) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(users, 8), nn.Embedding(items, 8)
        nn.init.normal_(self.users.weight, std=std)
        nn.init.normal_(self.items.weight, std=std)

    def forward(self, pairs: Tensor) -> Tensor:
        return (self.users(pairs[:, 0]) * self.items(pairs[:, 1])).sum(-1)


def rate(model: nn.Module, batch: Any) -> Tensor:
    pairs, ratings = batch
    return nn.functional.mse_loss(model(pairs), ratings)


def movies(*, std: float = 0.1) -> Training:
    """Matrix factorisation of ratings, less their mean; Adam."""
    torch.manual_seed(23)
    users, items = torch.randn(200, 4), torch.randn(300, 4)
    pairs = torch.stack([torch.randint(200, (20000,)), torch.randint(300, (20000,))], -1)
    ratings = 0.5 * (users[pairs[:, 0]] * items[pairs[:, 1]]).sum(-1) + 0.3 * torch.randn(20000)
    model = Factors(200, 300, std)
    batches = loader(pairs, ratings, batch=256)
    return Training(model, torch.optim.Adam(model.parameters(), lr=1e-2), rate, batches, 18, floor=0.09)


def wine() -> Training:
    """Softmax regression on three growers that planes tell apart, all rows at once, no decay; SGD."""
    torch.manual_seed(24)
    inputs, targets = datasets.wine().training
    model = nn.Linear(13, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    return Training(model, optimizer, classify, loader(inputs, targets, batch=len(inputs)), 4000)


CASES = (
    Case("diabetes", diabetes, "d2l, linear-regression-concise"),
    Case("diabetes-scaled", partial(diabetes, lr=1e-7, scale=1000.0), "d2l, linear-regression-concise",
         "ill_conditioning", (), "one column × 1000, the rate as large as it bears"),
    Case("diabetes-offset", partial(diabetes, lr=1e-6, offset=100.0), "d2l, linear-regression-concise",
         "ill_conditioning", (), "columns moved by 100, the rate as large as it bears"),
    Case("houses", houses, "keras.io and scikit-learn, California housing"),
    Case("houses-hot", partial(houses, lr=1.0), "keras.io and scikit-learn, California housing", "step_too_large",
         ("dead_units", "plateau", "cliff"), "learning rate × 1000"),
    Case("houses-raw", partial(houses, raw=True), "keras.io and scikit-learn, California housing",
         "ill_conditioning", ("step_too_large",), "columns not standardised"),
    Case("movies", movies, "matrix factorisation for MovieLens"),
    Case("movies-zero", partial(movies, std=0.0), "matrix factorisation for MovieLens", "saddle_point",
         ("plateau",), "all factors zero at first"),
    Case("wine-separable", wine, "softmax regression on a table", "no_minimum", (), "separable, without decay"),
)  # fmt: skip
