"""How much longer does a training take with a monitor at its defaults? Rounds with and without, in turn.

    OMP_NUM_THREADS=1 python benchmarks/overhead.py [--steps 300] [--rounds 5] [--only mlp,...]

Time is the process's own (CPU) time, on one thread, so that other programs on the machine disturb it least. A round
trains the same steps plain and watched, thirty of each in turn; the overhead is the median over rounds of the ratio.
Writes benchmarks/results/overhead.md.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from theodolite import Monitor, Run

EPOCH = 30
"""Steps between two turns: machines change their mind within a second."""

RESULT = Path(__file__).parent / "results" / "overhead.md"


@dataclass(frozen=True)
class Case:
    name: str
    model: Callable[[], nn.Module]
    batch: Callable[[], tuple[Tensor, Tensor]]
    steps: float = 1.0
    """Share of the steps that are asked for."""


def classify(model: nn.Module, batch: Any) -> Tensor:
    output = model(batch[0])
    return functional.cross_entropy(output.flatten(0, -2), batch[1].flatten())


def mlp(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(784, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10))


def convnet() -> nn.Module:
    parts: list[nn.Module] = []
    for before, after in ((3, 16), (16, 32), (32, 64)):
        parts += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.core, self.read = nn.Embedding(64, 64), nn.LSTM(64, 128, batch_first=True), nn.Linear(128, 64)

    def forward(self, ids: Tensor) -> Tensor:
        return self.read(self.core(self.embed(ids))[0])


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(128, 4, 512, dropout=0.1, batch_first=True, norm_first=True)
        self.embed, self.read = nn.Embedding(64, 128), nn.Linear(128, 64)
        self.core = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, ids: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1])
        return self.read(self.core(self.embed(ids), mask=mask, is_causal=True))


def vectors(count: int) -> tuple[Tensor, Tensor]:
    return torch.randn(count, 784), torch.randint(0, 10, (count,))


def images() -> tuple[Tensor, Tensor]:
    return torch.randn(64, 3, 32, 32), torch.randint(0, 10, (64,))


def tokens() -> tuple[Tensor, Tensor]:
    ids = torch.randint(0, 64, (16, 65))
    return ids[:, :-1], ids[:, 1:]


CASES = (
    Case("tiny mlp, 32 wide, batch 32", lambda: mlp(32), lambda: vectors(32), 20.0),
    Case("mlp, 256 wide, batch 256", lambda: mlp(256), lambda: vectors(256), 5.0),
    Case("convolutions with batch norm", convnet, images, 2.5),
    Case("lstm", Recurrent, tokens, 2.5),
    Case("transformer, adamw, dropout", Transformer, tokens, 0.7),
)


def training(case: Case, steps: int, folder: Path | None) -> Iterator[None]:
    """A training in epochs of some steps, which stops after each."""
    torch.manual_seed(0)
    model = case.model()
    adaptive = isinstance(model, Transformer)
    optimizer = (
        torch.optim.AdamW(model.parameters(), 1e-3) if adaptive else torch.optim.SGD(model.parameters(), 0.01, 0.9)
    )
    pool = [case.batch() for _ in range(EPOCH)]
    monitor = Monitor(model, optimizer, classify, run=folder) if folder is not None else None
    for _ in range(steps // EPOCH):
        fresh = ((x.clone(), y.clone()) for x, y in pool)
        for batch in fresh if monitor is None else monitor(fresh):
            optimizer.zero_grad()
            classify(model, batch).backward()
            optimizer.step()
        yield  # not within the loop: the monitor would take the other training's time for this one's
    if monitor is not None:
        monitor.close()


def round_of(case: Case, steps: int, folder: Path) -> tuple[float, float]:
    """CPU seconds of a plain and of a watched training, both alive, epoch by epoch in turn."""
    runs = training(case, steps, None), training(case, steps, folder)
    seconds = [0.0, 0.0]
    for epoch in range(steps // EPOCH):
        for which in (0, 1) if epoch % 2 else (1, 0):
            started = time.process_time()
            next(runs[which])
            seconds[which] += time.process_time() - started
    for run in runs:
        next(run, None)
    return seconds[0], seconds[1]


def counts(record: Run) -> str:
    """How often what was measured."""
    names = {"loss": "loss", "norms": "update_norm", "look": "own_loss_after", "budget": "promise"}
    names |= {"layers": "noise_scale", "curvature": "largest_eigenvalue"}
    return ", ".join(f"{len(record.series(key))} {name}" for name, key in names.items() if key in record.names)


def measured(case: Case, steps: int, rounds: int) -> str:
    """One row of the table."""
    steps = int(steps * case.steps)
    ratios, plain = [], []
    for _ in training(case, EPOCH, None):
        pass
    with tempfile.TemporaryDirectory() as folder:
        for index in range(rounds):
            without, watched = round_of(case, steps, Path(folder) / str(index))
            ratios.append(watched / without - 1)
            plain.append(without / steps)
        kept = Run(Path(folder) / "0")
        told = kept.series("seconds_measuring").values[-1] / kept.series("seconds_training").values[-1]
        what = counts(kept)
    step = statistics.median(plain) * 1e3
    spread = " … ".join(f"{100 * value:.1f}" for value in (min(ratios), max(ratios)))
    overhead = 100 * statistics.median(ratios)
    return f"| {case.name} | {step:.2f} | {steps} | **{overhead:.1f}** | {spread} | {100 * told:.1f} | {what} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = [case for case in CASES if options.only in case.name]
    rows = []
    for case in chosen:
        rows.append(measured(case, options.steps, options.rounds))
        print(rows[-1], flush=True)
    if len(chosen) == len(CASES):
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(page(rows, options.rounds), encoding="utf-8")
        print(RESULT)


def page(rows: list[str], rounds: int) -> str:
    environment = (
        f"{datetime.now(UTC):%Y-%m-%d}, torch {torch.__version__}, Python {platform.python_version()}, one thread of "
        f"{platform.processor() or platform.machine()} ({os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}), CPU "
        f"time, {rounds} rounds, thirty steps with and thirty without a monitor in turn"
    )
    head = (
        "| training | plain step, ms | steps | overhead, % | least … greatest, % | as it tells itself, % | measured |"
    )
    return "\n".join(
        [
            "# Overhead of a monitor at its defaults (`budget=0.05`)",
            "",
            environment,
            "",
            head,
            "|---" * 7 + "|",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    main()
