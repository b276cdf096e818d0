"""How much longer does a training take with a monitor at its defaults? Rounds with and without, in turn.

    OMP_NUM_THREADS=1 python benchmarks/overhead.py [--steps 400] [--rounds 3] [--only mlp,...]

Time is the process's own (CPU) time, on one thread, so that other programs on the machine disturb it least. A round
trains the same steps plain and watched, in changing order; the overhead is the median over rounds of the ratio. Writes
benchmarks/results/overhead.md.
"""

import argparse
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from theodolite import Monitor, Run

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
    Case("tiny mlp, 32 wide, batch 32", lambda: mlp(32), lambda: vectors(32), 5.0),
    Case("mlp, 256 wide, batch 256", lambda: mlp(256), lambda: vectors(256)),
    Case("convolutions with batch norm", convnet, images),
    Case("lstm", Recurrent, tokens),
    Case("transformer, adamw, dropout", Transformer, tokens),
)


def trained(case: Case, steps: int, folder: Path | None) -> float:
    """CPU seconds of a training."""
    torch.manual_seed(0)
    model = case.model()
    adaptive = isinstance(model, Transformer)
    optimizer = (
        torch.optim.AdamW(model.parameters(), 1e-3) if adaptive else torch.optim.SGD(model.parameters(), 0.01, 0.9)
    )
    pool = [case.batch() for _ in range(32)]
    fresh = ((x.clone(), y.clone()) for x, y in (pool[index % 32] for index in range(steps)))
    monitor = Monitor(model, optimizer, classify, run=folder) if folder is not None else None
    started = time.process_time()
    for batch in fresh if monitor is None else monitor(fresh):
        optimizer.zero_grad()
        classify(model, batch).backward()
        optimizer.step()
    seconds = time.process_time() - started
    if monitor is not None:
        monitor.close()
        shutil.rmtree(folder.with_name("last"), ignore_errors=True)
        folder.rename(folder.with_name("last"))
    return seconds


def counts(record: Run) -> str:
    """How often what was measured."""
    names = {"loss": "loss", "norms": "update_norm", "look": "own_loss_after", "budget": "promise"}
    names |= {"layers": "noise_scale", "curvature": "largest_eigenvalue"}
    return ", ".join(f"{len(record.series(key))} {name}" for name, key in names.items() if key in record.names)


def measured(case: Case, steps: int, rounds: int) -> str:
    """One row of the table."""
    steps = int(steps * case.steps)
    ratios, plain = [], []
    trained(case, 20, None)
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder) / "run"
        for index in range(rounds):
            order = (None, where) if index % 2 else (where, None)
            seconds = {place is not None: trained(case, steps, place) for place in order}
            ratios.append(seconds[True] / seconds[False] - 1)
            plain.append(seconds[False] / steps)
        kept = Run(where.with_name("last"))
        told = kept.series("seconds_measuring").values[-1] / kept.series("seconds_training").values[-1]
        what = counts(kept)
    step = statistics.median(plain) * 1e3
    spread = " … ".join(f"{100 * value:.1f}" for value in (min(ratios), max(ratios)))
    overhead = 100 * statistics.median(ratios)
    return f"| {case.name} | {step:.2f} | {steps} | **{overhead:.1f}** | {spread} | {100 * told:.1f} | {what} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400)
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
        f"time, {rounds} rounds with and without a monitor in turn"
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
