"""Runs that look like real ones, written with the real writer, for tests of pictures and pages."""

import math
from pathlib import Path

import numpy as np

from theodolite.records.diagnosis import Diagnosis, Finding, Findings, Remedy
from theodolite.records.estimates import MISSING, Estimate
from theodolite.records.lines import Line
from theodolite.records.obstacles import OBSTACLES, Verdict
from theodolite.records.writer import RunWriter

SGD = {
    "optimizer": {"name": "SGD", "lr": 0.05, "momentum": 0, "weight_decay": 0.0},
    "batch_size": 64,
    "torch": "2.13.0",
    "device": "cpu",
    "parameters": 85_002,
}


def healthy(path: Path, *, steps: int = 3000, every: int = 12, metadata: dict | None = None) -> Path:
    """A run whose loss falls like a power of the step."""
    rng = np.random.default_rng(0)
    with RunWriter(path, metadata=SGD | (metadata or {})) as writer:
        writer.event("start", 0)
        for step in range(1, steps + 1):
            mean = 2.3 * (1 + step / 60) ** -0.7 + 0.03
            loss = mean * math.exp(rng.normal(0, 0.18))
            writer.scalars(
                step, {"loss": loss, "learning_rate": 0.05, "seconds_training": 0.002 * step,
                       "seconds_measuring": 0.0001 * step}
            )  # fmt: skip
            if step % every == 1 or every == 1:
                measured(writer, step, mean, rng)
        writer.result(straight_line(barrier=0.0))
        writer.event("stop", steps)
    return path


def measured(writer: RunWriter, step: int, mean: float, rng: np.random.Generator, *, noise: float = 0.25) -> None:
    """Every scheduled series at one step; the budget adds up exactly."""
    promise = 0.01 * mean * math.exp(rng.normal(0, 0.2))
    lost = {
        "noise": promise * rng.normal(noise, 0.2),
        "curvature": promise * rng.normal(0.2, 0.05),
        "higher_order": promise * rng.normal(-0.02, 0.03),
    }
    delivered = promise - sum(lost.values())
    terms = {"promise": promise, "delivered": delivered} | lost
    best = float(rng.choice([math.inf, 2.4 * math.exp(rng.normal(0, 0.3))], p=[0.04, 0.96]))
    largest = 40 * (1 - math.exp(-step / 400)) + rng.normal(0, 1.0)
    writer.scalars(step, terms | {f"{name}_error": 0.15 * promise for name in terms})
    writer.scalars(
        step,
        {
            "grad_norm": math.sqrt(promise / 0.05), "update_norm": 0.05 * math.sqrt(promise / 0.05),
            "update_cosine": float(np.clip(rng.normal(0.1, 0.2), -1, 1)), "reference_loss": mean,
            "own_loss_before": mean, "own_loss_after": mean - promise * 0.8, "fresh_loss_before": mean,
            "fresh_loss_after": mean - delivered, "step_scale": 0.05, "best_step": 0.05 * best, "best_scale": best,
            "largest_eigenvalue": largest, "largest_residual": 0.02 * abs(largest),
            "smallest_eigenvalue": -3 * math.exp(-step / 900) + rng.normal(0, 0.1), "smallest_residual": 0.2,
            "noise_scale": 90 * math.exp(rng.normal(0, 0.3) + step / 3000), "noise_scale_error": 25.0,
            "dead_fraction": 0.02, "validation_loss": mean * 1.05 + 0.02, "validation_error": 0.03 * mean,
        },
    )  # fmt: skip


def straight_line(*, barrier: float) -> Line:
    """A line from 2.3 to 0.1 with a bump of a given height above the start."""
    alpha = np.linspace(-0.25, 1.25, 61)
    losses = 0.1 + 2.2 * (1 - alpha) ** 2 + (barrier + 1.2) * np.exp(-(((alpha - 0.4) / 0.12) ** 2)) * (barrier > 0)
    return Line(alpha, losses, 0.03 * losses + 0.01, "start", "end")


def stuck(path: Path) -> Path:
    """A run that the noise of its gradient holds; late windows have no promise to split."""
    rng = np.random.default_rng(1)
    with RunWriter(path, metadata=SGD | {"optimizer": {"name": "Adam", "lr": 0.01}}) as writer:
        for step in range(1, 801):
            writer.scalars(step, {"loss": 0.9 + 1.4 * math.exp(-step / 60) + rng.normal(0, 0.15)})
            if step % 5 == 0:
                measured(writer, step, 0.9, rng, noise=0.9 if step < 700 else 6.0)
        writer.result(straight_line(barrier=0.6))
    return path


def broken(path: Path) -> Path:
    """A run that spikes and ends in values that are not finite."""
    rng = np.random.default_rng(2)
    with RunWriter(path, metadata=SGD) as writer:
        for step in range(1, 401):
            spike = 10.0 ** (2 * (step % 97 == 0))
            loss = 2.0 * math.exp(-step / 200) * spike if step < 300 else math.nan
            writer.scalars(
                step, {"loss": math.inf if step == 299 else loss, "grad_norm": spike * 0.5 + rng.normal() ** 2}
            )
            if step % 10 == 0:
                measured(writer, step, loss, rng)
        writer.event("nonfinite", 299, {"what": "loss"})
    return path


def single(path: Path) -> Path:
    """A run of one step."""
    rng = np.random.default_rng(3)
    with RunWriter(path) as writer:
        writer.scalars(1, {"loss": 2.3})
        measured(writer, 1, 2.3, rng)
    return path


def empty(path: Path) -> Path:
    """A run of which nothing was recorded."""
    with RunWriter(path):
        pass
    return path


KINDS = {"healthy": healthy, "stuck": stuck, "broken": broken, "single": single, "empty": empty}


def diagnosis(obstacle: str = "gradient_noise", *, words: str = "") -> Diagnosis:
    """A diagnosis with every kind of finding; ``words`` is put into every text."""
    findings = tuple(_finding(name, name == obstacle, words) for name in OBSTACLES)
    rest = 0.3 / (len(OBSTACLES) - 1)
    remedies = (
        Remedy(f"batch × 8{words}", Estimate(0.084, 0.011, 4), Estimate(0.02, 0.004, 4), 60, 4),
        Remedy("learning rate ÷ 4", Estimate(0.031, 0.009, 4), Estimate(0.02, 0.004, 4), 60, 4),
        Remedy("learning rate × 2", Estimate(-0.045, 0.02, 4), Estimate(0.02, 0.004, 4), 60, 4),
        Remedy("momentum 0.9", MISSING, Estimate(0.02, 0.004, 4), 60, 4, f"diverged on every branch{words}"),
    )
    return Diagnosis(
        obstacle, {name: 0.7 if name == obstacle else rest for name in OBSTACLES}, Findings(findings), remedies,
        f"Most of what a mini-batch gradient promises is noise: 78 ± 4 % of it does not reach fresh data.{words}",
        ("step_too_large",), False, f"runs/first{words}", (f"Thresholds are provisional.{words}",),
    )  # fmt: skip


def _finding(name: str, is_main: bool, words: str) -> Finding:
    if is_main:
        return Finding(
            name, Verdict.PRESENT, Estimate(0.78, 0.04, 40), 0.5, f"share of the promise lost to noise{words}",
            Estimate(0.084, 0.011, 4),
            (f"Noise takes 78 ± 4 % of the promise over the last quarter.{words}",
             "A batch eight times as large gains 0.084 ± 0.011 in 60 steps."),
            "", "budget", f"McCandlish et al. 2018{words}",
        )  # fmt: skip
    if name in {"cliff", "no_minimum", "nonlocal_structure", "overfitting", "ill_conditioning"}:
        return Finding(name, Verdict.UNDETERMINED, missing=f"No rule judges this yet.{words}")
    return Finding(
        name, Verdict.ABSENT, Estimate(0.11, 0.03, 40), 0.5, "how much of the excess loss this holds", MISSING,
        ("The statistic stays below its threshold by many of its errors.",), "", "loss", "Goodfellow 2015",
    )  # fmt: skip
