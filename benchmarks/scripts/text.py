"""Text and sequences: next characters, sentiment of a bag of words, a sum to be remembered."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from scripts.case import Case, Training, classify, entropy, loader, spoil
from theodolite.problems import datasets


def makemore(*, lr: float = 0.1, batch: int = 32, noise: float = 0.0) -> Training:
    """The next of Shakespeare's characters from the last eight, one hidden layer; SGD."""
    torch.manual_seed(11)
    inputs, targets = datasets.shakespeare(12000, 8).training
    output = nn.Linear(128, datasets.NUM_CHARACTERS)
    with torch.no_grad():
        output.weight *= 0.1
        output.bias *= 0
    model = nn.Sequential(
        nn.Embedding(datasets.NUM_CHARACTERS, 10), nn.Flatten(), nn.Linear(80, 128), nn.Tanh(), output
    )
    labels = spoil(targets[:, -1], noise, datasets.NUM_CHARACTERS)
    floor = entropy(noise, datasets.NUM_CHARACTERS)
    batches, epochs = loader(inputs, labels, batch=batch), 16 if batch > 8 else 1
    return Training(model, torch.optim.SGD(model.parameters(), lr=lr), classify, batches, epochs, floor=floor)


class RNN(nn.Module):
    """An embedding, rectified units in a loop, and a decoder."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.encoder = nn.Embedding(datasets.NUM_CHARACTERS, 32)
        self.rnn = nn.RNN(32, width, nonlinearity="relu", batch_first=True)
        self.decoder = nn.Linear(width, datasets.NUM_CHARACTERS)

    def forward(self, x: Tensor) -> Tensor:
        decoded: Tensor = self.decoder(self.rnn(self.encoder(x))[0])
        return decoded.transpose(1, 2)  # classes second, as the cross-entropy wants them


def language(*, clip: float | None = 0.25, recurrent: float = 1.0) -> Training:
    """A recurrent language model on pieces of 35 characters; SGD with clipping."""
    torch.manual_seed(12)
    inputs, targets = datasets.shakespeare(2000, 35).training
    model = RNN()
    if recurrent != 1.0:
        nn.init.orthogonal_(model.rnn.weight_hh_l0, recurrent)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    return Training(model, optimizer, classify, loader(inputs, targets, batch=20), 12, clip=clip)


class Bag(nn.Module):
    """The mean of the words' vectors, a hidden layer, one logit."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(words, 16)
        self.head = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.words(x))
        return logits.squeeze(-1)


def sentiment_loss(model: nn.Module, batch: Any) -> Tensor:
    inputs, targets = batch
    return nn.functional.binary_cross_entropy_with_logits(model(inputs), targets)


def sentiment(*, count: int = 40000, epochs: int = 3) -> Training:
    """Is a review of 40 words, drawn by Zipf's law, kind? Three words in ten tell; Adam."""
    torch.manual_seed(13)
    words, held = 500, 1000
    frequency = 1 / torch.arange(1.0, words + 1)
    reviews = torch.multinomial(frequency, (count + held) * 40, replacement=True).view(-1, 40)
    mood = torch.randn(words) * (torch.rand(words) < 0.3)
    score = mood[reviews].sum(1)
    chance = torch.sigmoid(score - score.mean())
    labels = torch.bernoulli(chance)
    floor = nn.functional.binary_cross_entropy(chance[:count], labels[:count]).item()  # of who knows the chances
    model = Bag(words)
    batches = loader(reviews[:count], labels[:count], batch=min(64, count // 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    validation = [(reviews[count:], labels[count:])]
    return Training(model, optimizer, sentiment_loss, batches, epochs, validation, floor if count > 1000 else 0.0)


class Adder(nn.Module):
    """A recurrent layer and the sum that it remembers."""

    def __init__(self, layer: nn.RNNBase, width: int) -> None:
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.head(self.layer(x)[0][:, -1])
        return total.squeeze(-1)


def total(model: nn.Module, batch: Any) -> Tensor:
    inputs, targets = batch
    return nn.functional.mse_loss(model(inputs), targets)


def adding(*, length: int = 10, plain: bool = False) -> Training:
    """The adding problem: the sum of two marked numbers; a gated unit with Adam, or a plain one with SGD."""
    torch.manual_seed(14)
    numbers, marks = torch.rand(3000, length), torch.zeros(3000, length)
    half = length // 2
    marks.scatter_(1, torch.randint(half, (3000, 1)), 1.0)
    marks.scatter_(1, half + torch.randint(half, (3000, 1)), 1.0)
    model = Adder(nn.RNN(2, 32, batch_first=True) if plain else nn.GRU(2, 32, batch_first=True), 32)
    if plain:
        optimizer: torch.optim.Optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    else:
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    batches = loader(torch.stack([numbers, marks], -1), (numbers * marks).sum(1), batch=50)
    return Training(model, optimizer, total, batches, 24)


CASES = (
    Case("makemore", makemore, "karpathy/makemore, MLP"),
    Case("makemore-slow", partial(makemore, lr=1e-4), "karpathy/makemore, MLP", "step_too_small", (),
         "learning rate / 1000"),
    Case("makemore-noise", partial(makemore, batch=2, noise=0.7), "karpathy/makemore, MLP", "gradient_noise",
         ("step_too_large",), "two examples a batch, 70 % of the labels at random"),
    Case("language", language, "pytorch/examples, word_language_model, RNN_RELU"),
    Case("language-cliff", partial(language, clip=None, recurrent=1.05),
         "pytorch/examples, word_language_model, RNN_RELU", "cliff", ("step_too_large", "plateau"),
         "no clipping, recurrent weights of gain 1.05"),
    Case("sentiment", sentiment, "keras.io, bag of words for IMDB"),
    Case("sentiment-few", partial(sentiment, count=200, epochs=500), "keras.io, bag of words for IMDB",
         "overfitting", (), "200 examples, 500 epochs"),
    Case("adding", adding, "locuslab/TCN, adding problem"),
    Case("adding-long", partial(adding, length=100, plain=True), "locuslab/TCN, adding problem", "plateau",
         ("saddle_point", "local_minimum", "gradient_noise"), "plain tanh units over 100 steps, SGD"),
)  # fmt: skip
