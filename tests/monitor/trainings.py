"""Trainings, each with and without a monitor: the rows of the tables of identity and behaviour.

A row builds everything anew from one seed at every call: model, optimizer, loss, loader, and the body of its loop.
"""

import copy
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations
from torch.optim import swa_utils
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, Dataset, TensorDataset

import families


@dataclass
class Training:
    """One training: ``body`` is what the user's loop does with a batch."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    loss: Callable[[nn.Module, Any], Tensor]
    batches: Iterable[Any]
    body: Callable[["Training", Any], Tensor | None] = None  # type: ignore[assignment]
    extras: dict[str, Any] = field(default_factory=dict)
    """Whatever else must come out bit by bit: schedulers, scalers, averages, counters."""
    epochs: int = 2
    validation: Any = None
    seen: list[Any] = field(default_factory=list)
    count: int = 0


@dataclass(frozen=True)
class Row:
    name: str
    build: Callable[[], Training]
    ends: str = "normally"


def classify(model, batch):
    return functional.cross_entropy(model(batch[0]), batch[1])


def plain(run: Training, batch: Any) -> Tensor:
    run.optimizer.zero_grad()
    loss = run.loss(run.model, batch)
    loss.backward()
    run.optimizer.step()
    return loss.detach()


def flat_data(count=24, features=6, classes=3) -> TensorDataset:
    return TensorDataset(torch.randn(count, features), torch.randint(0, classes, (count,)))


def image_data(count=16) -> TensorDataset:
    return TensorDataset(torch.randn(count, 1, 6, 6), torch.randint(0, 3, (count,)))


def token_data(count=12, length=5, words=7) -> TensorDataset:
    ids = torch.randint(0, words, (count, length))
    return TensorDataset(ids, ids.roll(-1, 1))


def mlp(dropout=0.3, width=8) -> nn.Module:
    return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 3))


def convnet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout2d(0.2), nn.Flatten(), nn.Linear(64, 3)
    )


class Language(nn.Module):
    """A word model around a core, its table tied to its read-out if asked."""

    def __init__(self, core: nn.Module, *, tied=False):
        super().__init__()
        self.embed, self.core, self.read = nn.Embedding(7, 8), core, nn.Linear(8, 7, bias=False)
        if tied:
            self.read.weight = self.embed.weight

    def forward(self, ids):
        hidden = self.core(self.embed(ids))
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        return self.read(hidden).transpose(1, 2)


def encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True, activation="gelu")
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def made(model, data, optimizer=None, *, size=6, loader=None, **rest) -> Training:
    optimizer = optimizer or (lambda p: torch.optim.SGD(p, 0.05, momentum=0.9))
    batches = DataLoader(data, size, shuffle=True, **(loader or {}))
    run = Training(model, optimizer(model.parameters()), classify, batches, plain)
    for name, value in rest.items():
        setattr(run, name, value)
    return run


def adamw(params):
    return torch.optim.AdamW(params, 1e-2)


class Counting(nn.Module):
    """Counts, remembers, caches, and draws from a generator of its own and from Python's and NumPy's."""

    def __init__(self):
        super().__init__()
        self.core = mlp()
        self.calls, self.table, self.last = 0, Counter(), None
        self.history: list[float] = []
        self.generator = torch.Generator().manual_seed(3)
        self.register_buffer("ema", torch.zeros(3))

    def forward(self, x):
        self.calls += 1
        self.table["train" if self.training else "eval"] += 1
        if random.random() < 0.3:
            x = x * 1.1
        x = x + torch.randn(x.shape, generator=self.generator) * 0.1 * np.random.rand()  # noqa: NPY002
        y = self.core(x) * (1 + 0.01 * self.calls)
        with torch.no_grad():
            self.ema.mul_(0.9).add_(y.mean(0), alpha=0.1)
        self.last = y.detach()
        self.history.append(float(y.detach().sum()))
        return y + self.ema


class Augmented(Dataset):
    """Draws from Python, NumPy and torch for every example."""

    def __init__(self):
        self.x, self.y = torch.randn(24, 6), torch.randint(0, 3, (24,))

    def __len__(self):
        return 24

    def __getitem__(self, index):
        shift = random.random() + float(np.random.rand())  # noqa: NPY002
        return self.x[index] + 0.1 * torch.randn(6) + shift, self.y[index]


def autocast_run() -> Training:
    def body(run, batch):
        run.optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = run.loss(run.model, batch)
        loss.backward()
        run.optimizer.step()
        return loss.detach()

    return made(mlp(), flat_data(), adamw, body=body)


def scaler_run() -> Training:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**14, growth_interval=3)

    def body(run, batch):
        run.count += 1
        run.optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = run.loss(run.model, batch)
        scaler.scale(loss * (1e38 if run.count == 3 else 1.0)).backward()
        scaler.unscale_(run.optimizer)
        nn.utils.clip_grad_norm_(run.model.parameters(), 1.0)
        scaler.step(run.optimizer)
        scaler.update()
        return loss.detach()

    return made(mlp(), flat_data(), body=body, extras={"scaler": scaler})


def accumulation_run() -> Training:
    def body(run, batch):
        loss = run.loss(run.model, batch)
        (loss / 3).backward()
        run.count += 1
        if run.count % 3 == 0:
            nn.utils.clip_grad_norm_(run.model.parameters(), 0.5)
            run.optimizer.step()
            run.optimizer.zero_grad(set_to_none=run.count % 2 == 0)
        return loss.detach()

    return made(mlp(), flat_data(), body=body)


def scheduler_run(kind: str) -> Training:
    model = mlp()
    groups = [{"params": model[0].parameters(), "lr": 0.01}, {"params": model[3].parameters(), "weight_decay": 0.1}]
    run = made(model, flat_data(), lambda _: torch.optim.AdamW(groups, lr=0.02))
    schedulers = {
        "onecycle": lambda: torch.optim.lr_scheduler.OneCycleLR(run.optimizer, 0.1, total_steps=20),
        "plateau": lambda: torch.optim.lr_scheduler.ReduceLROnPlateau(run.optimizer, patience=0),
        "cosine": lambda: torch.optim.lr_scheduler.CosineAnnealingLR(run.optimizer, 5),
    }
    scheduler = schedulers[kind]()

    def body(run, batch):
        loss = plain(run, batch)
        scheduler.step(loss) if kind == "plateau" else scheduler.step()
        return loss

    run.body, run.extras = body, {"scheduler": scheduler}
    return run


def lbfgs_run() -> Training:
    def body(run, batch):
        def closure():
            run.optimizer.zero_grad()
            loss = run.loss(run.model, batch)
            loss.backward()
            return loss

        return run.optimizer.step(closure).detach()

    return made(mlp(), flat_data(), lambda p: torch.optim.LBFGS(p, 0.1, max_iter=3), body=body)


def average_run() -> Training:
    run = made(convnet(), image_data())
    average = swa_utils.AveragedModel(run.model, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.9))
    copies: list[nn.Module] = []

    def body(run, batch):
        loss = plain(run, batch)
        average.update_parameters(run.model)
        copies[:] = [copy.deepcopy(run.model)]
        copies[0](batch[0])  # the copy is used, in train mode
        return loss

    run.body, run.extras = body, {"average": average, "copies": copies}
    return run


def hooks_run() -> Training:
    run = made(mlp(), flat_data())
    run.model[0].register_forward_hook(lambda module, inputs, output: output * 1.5)
    run.model[0].weight.register_hook(lambda grad: grad * 0.5)
    run.model[3].register_full_backward_hook(lambda module, grads, outputs: None)
    run.model.register_forward_pre_hook(lambda module, inputs: (inputs[0] + 0.1,))
    run.optimizer.register_step_pre_hook(lambda *_: None)
    return run


def frozen_run() -> Training:
    model = mlp()
    model[0].weight.requires_grad_(False)
    return made(model, flat_data(), lambda p: torch.optim.Adam([q for q in p if q.requires_grad], 0.01))


def thawing_run() -> Training:
    def body(run, batch):
        run.count += 1
        if run.count == 3:
            run.model[0].requires_grad_(False)
        if run.count == 6:
            run.model[0].requires_grad_(True)
        return plain(run, batch)

    return made(mlp(), flat_data(), body=body)


def compiled_run(*, in_place: bool) -> Training:
    run = made(mlp(), flat_data())
    if in_place:
        run.model.compile(backend="eager")
    else:
        run.model = torch.compile(run.model, backend="eager")
    return run


def in_place_run() -> Training:
    def loss(model, batch):
        x, y = batch
        x.mul_(1.1).add_(0.01)
        logits = model(x)
        logits /= 2.0
        return functional.cross_entropy(logits, y)

    data = [(torch.randn(6, 6), torch.randint(0, 3, (6,))) for _ in range(4)]
    run = Training(mlp(), None, loss, data, plain)
    run.optimizer, run.extras = torch.optim.RMSprop(run.model.parameters(), 1e-2), {"data": data}
    return run


def early_break_run() -> Training:
    def body(run, batch):
        run.count += 1
        loss = plain(run, batch)
        return None if run.count % 3 == 0 else loss

    return made(mlp(), flat_data(), body=body, epochs=3)


def switching_run() -> Training:
    """Evaluates in the body, in eval mode, and leaves that mode on until the next body."""

    def body(run, batch):
        run.model.train()
        loss = plain(run, batch)
        run.model.eval()
        with torch.no_grad():
            return loss + run.loss(run.model, batch)

    return made(convnet(), image_data(), body=body)


class Keeping:
    """A loss with a state of its own: it counts, smooths, and draws."""

    def __init__(self):
        self.calls, self.mean, self.log = 0, torch.zeros(()), []

    def __call__(self, model, batch):
        self.calls += 1
        x = batch[0] + 0.05 * torch.randn_like(batch[0])
        value = functional.cross_entropy(model(x), batch[1])
        self.mean = 0.9 * self.mean + 0.1 * value.detach()
        self.log.append(float(value.detach()))
        return value


def loss_state_run() -> Training:
    run = made(mlp(), flat_data())
    run.loss = Keeping()
    run.extras = {"loss": run.loss.__dict__}
    return run


class Methodical(nn.Module):
    """A model that is trained through a method of its own, never through its call."""

    def __init__(self):
        super().__init__()
        self.core = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 3))
        self.calls = 0

    def compute_loss(self, batch):
        self.calls += 1
        return functional.cross_entropy(self.core(batch[0]), batch[1])


def method_run() -> Training:
    return made(Methodical(), flat_data(), loss=lambda model, batch: model.compute_loss(batch))


def checkpoint_run(*, reentrant: bool) -> Training:
    class Saving(nn.Module):
        def __init__(self):
            super().__init__()
            self.core = mlp()

        def forward(self, x):
            return checkpoint(self.core, x.requires_grad_(), use_reentrant=reentrant)

    return made(Saving(), flat_data())


def several_steps_run() -> Training:
    def body(run, batch):
        plain(run, batch)
        return plain(run, batch)

    return made(mlp(), flat_data(), body=body)


def skipping_run() -> Training:
    def body(run, batch):
        run.count += 1
        return torch.zeros(()) if run.count % 2 else plain(run, batch)

    return made(mlp(), flat_data(), body=body)


def nonfinite_run() -> Training:
    def body(run, batch):
        run.count += 1
        if run.count == 3:
            with torch.no_grad():
                run.model[0].weight[0, 0] = float("inf")
        return plain(run, batch)

    data = flat_data()
    data.tensors[0][3, 1] = float("nan")
    return made(mlp(), data, body=body)


def generator_batches() -> Training:
    def stream():
        for _ in range(4):
            yield {"x": torch.randn(5, 6), "y": torch.randint(0, 3, (5,)), "note": None, "n": 5}

    class Endless:
        def __iter__(self):
            return stream()

    def loss(model, batch):
        return functional.cross_entropy(model(batch["x"]), batch["y"])

    run = Training(mlp(), None, loss, Endless(), plain)
    run.optimizer = torch.optim.NAdam(run.model.parameters(), 1e-2)
    return run


def two_workers() -> Training:
    generator = torch.Generator().manual_seed(5)
    return made(mlp(), Augmented(), loader={"num_workers": 2, "generator": generator}, extras={"generator": generator})


def own_generator() -> Training:
    generator = torch.Generator().manual_seed(5)
    return made(mlp(), Augmented(), loader={"generator": generator}, extras={"generator": generator})


def family_run(family) -> Training:
    problem = family(torch.float32)
    run = Training(problem.model, None, problem.loss, problem.batches * 2, plain)
    params = [p for p in problem.model.parameters() if p.requires_grad]
    run.optimizer = (torch.optim.SGD if family.name.startswith("sparse") else torch.optim.Adam)(params, 1e-2)
    if isinstance(problem.loss, nn.Module):
        run.extras = {"loss": problem.loss}
    return run


FOUR = (
    Row("mlp dropout", lambda: made(mlp(), flat_data(), adamw)),
    Row("conv batchnorm", lambda: made(convnet(), image_data(), validation=image_data(4).tensors)),
    Row("lstm", lambda: made(Language(nn.LSTM(8, 8, 2, batch_first=True, dropout=0.2)), token_data(), size=4)),
    Row("transformer adamw", lambda: made(Language(encoder()), token_data(), adamw, size=4)),
)

LOOPS = (
    Row("python state", lambda: made(Counting(), flat_data())),
    Row("workers", two_workers),
    Row("scaler with a skipped step", scaler_run),
    Row("accumulation", accumulation_run),
    Row("rmsprop, batches and outputs in place", in_place_run),
    Row("lbfgs", lbfgs_run),
    Row("averages and copies", average_run),
    Row("user hooks", hooks_run),
    Row("thawing", thawing_run),
    Row("compiled in place", lambda: compiled_run(in_place=True)),
    Row("early break", early_break_run),
    Row("modes switched", switching_run),
    Row("loss with state", loss_state_run),
    Row("loss by a method", method_run),
)

MORE = (
    Row("gru", lambda: made(Language(nn.GRU(8, 8, batch_first=True)), token_data(), size=4)),
    Row("tied", lambda: made(Language(nn.Identity(), tied=True), token_data(), adamw, size=4)),
    Row(
        "spectral norm",
        lambda: made(nn.Sequential(parametrizations.spectral_norm(nn.Linear(6, 8)), nn.Linear(8, 3)), flat_data()),
    ),
    Row("own generator", own_generator),
    Row("autocast", autocast_run),
    Row("onecycle", lambda: scheduler_run("onecycle")),
    Row("plateau", lambda: scheduler_run("plateau")),
    Row("cosine", lambda: scheduler_run("cosine")),
    Row("checkpoint", lambda: checkpoint_run(reentrant=False)),
    Row("checkpoint, reentrant", lambda: checkpoint_run(reentrant=True)),
    Row("frozen", frozen_run),
    Row("compiled", lambda: compiled_run(in_place=False)),
    Row("several steps", several_steps_run),
    Row("continue", skipping_run),
    Row("nonfinite", nonfinite_run),
    Row("generator batches", generator_batches),
)

FAMILIES = tuple(Row(f"family {family.name}", lambda family=family: family_run(family)) for family in families.FAMILIES)
