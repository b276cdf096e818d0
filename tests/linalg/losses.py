"""Losses of labels, on one small classifier: the rows of the tables on which Fisher information is tested."""

import torch
from torch import nn
from torch.nn import functional

from families import mlp
from theodolite.objective import Objective

LOSSES = {
    "cross entropy": functional.cross_entropy,
    "label smoothing": lambda z, y: functional.cross_entropy(z, y, label_smoothing=0.1),
    "class weights": lambda z, y: functional.cross_entropy(z, y, weight=torch.tensor([1.0, 2.0, 5.0]).double()),
    "ignored": lambda z, y: functional.cross_entropy(z, y.masked_fill(torch.arange(len(y)) == 1, -100)),
    "summed": lambda z, y: functional.cross_entropy(z, y, reduction="sum"),
    "squared": lambda z, y: functional.mse_loss(z, functional.one_hot(y, 3).double()),
    "logits": lambda z, y: functional.binary_cross_entropy_with_logits(z, functional.one_hot(y, 3).double()),
}


def labelled(loss, seed=0):
    torch.manual_seed(seed)
    model = mlp().double()
    model[2] = nn.Linear(4, 3).double()
    batch = (torch.randn(12, 3).double(), torch.randint(0, 3, (12,)))
    return Objective(model, lambda m, b: loss(m(b[0]), b[1]), batch)
