"""The packages that promise to say why a training is stuck: how each is asked, and what its words mean in ours.

Each is given one plain training loop, as its README shows it, at its defaults. What it says, gravest first, is taken in
its own words; each word means every obstacle that it may fairly be read as, and is right if one of them is the truth.
Notes that a package itself calls informational are no alarm.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peers.candidates import optional
from torch import Tensor, nn

from theodolite.problems import Training

Says = Callable[[Training, Path], list[str]]
"""Trains to the end under the package, with a folder for its files, and returns its words, gravest first."""

EPOCHS = 30
"""Parts into which a run is cut for what wants a curve by epochs."""

LAST = 0.25
"""The share of the run, at its end, over which what is said at every step is counted."""

DIVERGED = ("step_too_large", "cliff")
STUCK = ("plateau", "saddle_point", "local_minimum")
"""What "plateau" and "underfitting" may be read as."""


@dataclass(frozen=True)
class Doctor:
    """A package and how it is asked.

    Attributes:
        name: What it is called.
        module: What is imported.
        distribution: What is installed.
        asked: How its words are got, in a phrase.
        says: How they are got.
        means: Each of its words, and the obstacles that it may be read as.
    """

    name: str
    module: str
    distribution: str
    asked: str
    says: Says = field(repr=False)
    means: Mapping[str, tuple[str, ...]] = field(repr=False)


@dataclass(frozen=True)
class Step:
    """What a loop knows at a step."""

    number: int
    batch: Any
    loss: float


def nothing(step: Step) -> None:
    """Do nothing."""


def loop(training: Training, graded: Callable[[Step], object] = nothing, stepped: Callable[[Step], object] = nothing):
    """A plain loop; ``graded`` is called between backward and step, ``stepped`` after it."""
    for number, batch in enumerate(training.batches):
        training.optimizer.zero_grad()
        loss = training.loss(training.model, batch)
        loss.backward()
        step = Step(number, batch, float(loss.detach()))
        graded(step)
        training.optimizer.step()
        stepped(step)


def ordered(words: Sequence[str]) -> list[str]:
    """Without repetition."""
    return list(dict.fromkeys(words))


def rate(training: Training) -> float:
    return float(training.optimizer.param_groups[0]["lr"])


def held_loss(training: Training) -> float:
    """Loss on validation data, or on all training data where there are none."""
    with torch.no_grad():
        batch = training.data if training.validation is None else training.validation
        return float(training.loss(training.model, batch))


def torchmortem(training: Training, folder: Path) -> list[str]:
    package = optional("torchmortem")
    with package.Autopsy(training.model, optimizer=training.optimizer) as autopsy:
        loop(training, stepped=lambda step: autopsy.step(loss=step.loss))
    findings = [one for one in autopsy.get_report().findings if one.severity.name != "INFO"]
    # A stable sort keeps the package's own order among findings of one severity.
    findings.sort(key=lambda one: -int(one.severity))
    return ordered([one.title.split(" in ")[0] for one in findings])


def training_doctor(training: Training, folder: Path) -> list[str]:
    doctor = optional("training_doctor").Doctor()
    every = max(1, len(training.batches) // EPOCHS)

    def log(step: Step) -> None:
        grads = [tensor.grad for tensor in training.model.parameters() if tensor.grad is not None]
        told = {"loss": step.loss, "lr": rate(training), "grad_norm": float(nn.utils.get_total_norm(grads))}
        if training.validation is not None and step.number % every == 0:
            told["eval_loss"] = held_loss(training)
        doctor.log(step=step.number, **told)

    loop(training, graded=log)
    gravity = {"critical": 0, "warning": 1}
    found = [one for one in doctor.diagnoses if one.severity.value in gravity]
    found.sort(key=lambda one: (gravity[one.severity.value], -one.confidence))
    return ordered([one.problem for one in found])


def traintools(training: Training, folder: Path) -> list[str]:
    """Gradient health at every step, noise scale and dormant units every 200, as the quick start has them."""
    package, callbacks = optional("traintools"), optional("traintools.callbacks.pytorch")
    health, last = package.GradientHealthMonitor(), (1 - LAST) * len(training.batches)

    def loss_of(output: Tensor, targets: Tensor) -> Tensor:
        return training.loss(lambda *_: output, (torch.zeros(len(targets)), targets))

    tracker = callbacks.TraintoolsTracker(training.model, loss_of, earlyguard=False, verbose=False)
    kinds = ("non-finite", "vanished", "very large", "ratio is high", "ratio is tiny")
    seen: Counter[str] = Counter()

    def graded(step: Step) -> None:
        warnings = health.inspect(training.model, step=step.number, lr=rate(training)).warnings
        if step.number >= last:
            seen.update({kind for kind in kinds if any(kind in warning for warning in warnings)})

    loop(training, graded, lambda step: tracker.step(step=step.number, inputs=step.batch[0], targets=step.batch[1]))
    words = [kind for kind in kinds[:3] if 2 * seen[kind] >= LAST * len(training.batches)]
    plastic, noise = tracker.plasticity_history.results, tracker.gns_history.results
    words += ["critical layers"] if plastic and plastic[-1].critical_layers else []
    words += ["under-batched"] if noise and noise[-1].regime == "under-batched" else []
    return words + [kind for kind in kinds[3:] if 2 * seen[kind] >= LAST * len(training.batches)]


def torchdiag(training: Training, folder: Path) -> list[str]:
    """The two checks, once at the end, on all training data."""
    package = optional("torchdiag")
    loop(training)
    training.optimizer.zero_grad()
    training.loss(training.model, training.data).backward()
    grads = {str(layer["status"]) for layer in package.check_gradients(training.model).values()}
    shares = [layer["dead_pct"] for layer in package.check_dead_neurons(training.model, training.data[0]).values()]
    words = ["dead neurons, critical"] if max(shares, default=0) > 50 else []
    words += [status for status in ("EXPLODE", "VANISH") if status in grads]
    return words + (["dead neurons, warning"] if 20 < max(shares, default=0) <= 50 else [])


def sk_autod(training: Training, folder: Path) -> list[str]:
    losses: list[float] = []
    curves: tuple[list[float], list[float]] = ([], [])
    every = max(1, len(training.batches) // EPOCHS)

    def stepped(step: Step) -> None:
        losses.append(step.loss)
        if len(losses) == every:
            curves[0].append(math.fsum(losses) / every)
            curves[1].append(held_loss(training))
            losses.clear()

    loop(training, stepped=stepped)
    return ordered([one.detector_name for one in optional("sk_autod").diagnose(*curves).findings])


def trainscope(training: Training, folder: Path) -> list[str]:
    """What its post-mortem says: which signal came first, and whether the loss exploded."""
    package, report = optional("trainscope"), optional("trainscope.report")
    config = package.TrainScopeConfig(run_dir=str(folder), run_name="run")
    scope = package.TrainScope(training.model, training.optimizer, config=config).attach()
    loop(training, graded=lambda step: scope.step(step.loss, batch_index=step.number))
    scope.detach()
    told = asyncio.run(report.build_run_report(folder / "run"))["signal_signature"]
    exploded = ["explosion"] if told["explosion_step"] is not None else []
    return exploded + [f"{signal} first" for signal in [told["first"]] if signal]


def neuraldbg(training: Training, folder: Path) -> list[str]:
    """The events of its open core: the states that are not healthy at the end, the most confident first."""
    package = optional("neuraldbg")
    with package.NeuralDbg(training.model) as debugger:

        def graded(step: Step) -> None:
            debugger.record_loss(step.loss)
            debugger.step = step.number + 1

        loop(training, graded)
        events = list(debugger.get_events())
    latest = {(event.event_type, event.layer_name): event for event in events}
    ill = [event for event in latest.values() if event.to_state not in ("healthy", "normal", "stable")]
    ill.sort(key=lambda event: -event.confidence)
    return ordered([event.to_state for event in ill])


DOCTORS: tuple[Doctor, ...] = (
    Doctor(
        "torchmortem",
        "torchmortem",
        "torchmortem",
        "findings of its report, critical ones before warnings",
        torchmortem,
        {
            "Vanishing gradients detected": ("plateau",),
            "Gradient stalling": ("plateau", "saddle_point"),
            "Exploding gradients detected": DIVERGED,
            "Activation saturation": ("plateau",),
            "Dead units": ("dead_units",),
            "Update ratio too low": ("step_too_small",),
            "Update ratio too high": ("step_too_large",),
            "High gradient noise (low SNR)": ("gradient_noise",),
            "Weight norm explosion": ("no_minimum", "step_too_large"),
            "Stagnant weight norms": ("step_too_small", "plateau"),
            "Inter-layer weight norm imbalance": ("ill_conditioning",),
            "Training divergence detected": DIVERGED,
            "Loss plateau detected": STUCK,
            "Rank collapse": ("dead_units", "saddle_point"),
        },
    ),
    Doctor(
        "training-doctor",
        "training_doctor",
        "training-doctor",
        "all diagnoses of the run, by severity and confidence; loss, rate, gradient norm, validation loss are logged",
        training_doctor,
        {
            "Learning rate likely too high": DIVERGED,
            "Learning rate may be too low": ("step_too_small",),
            "Training plateau detected": (*STUCK, "gradient_noise"),  # its text: often a batch that is too small
            "Early training plateau": STUCK,
            "Overfitting detected": ("overfitting",),
            "Gradient instability detected": (*DIVERGED, "gradient_noise"),
        },
    ),
    Doctor(
        "traintools",
        "traintools",
        "traintools",
        "gradient health at half of the last quarter's steps or more, last plasticity and noise scale; no TrainGuard",
        traintools,
        {
            "non-finite": DIVERGED,
            "vanished": ("plateau", "saddle_point"),
            "very large": DIVERGED,
            "critical layers": ("dead_units",),
            "under-batched": ("gradient_noise",),
            "ratio is high": ("step_too_large",),
            "ratio is tiny": ("step_too_small", "plateau"),
        },
    ),
    Doctor(
        "torchdiag",
        "torchdiag",
        "torchdiag",
        "gradients and dead neurons, checked once at the end",
        torchdiag,
        {
            "dead neurons, critical": ("dead_units",),
            "dead neurons, warning": ("dead_units",),
            "EXPLODE": DIVERGED,
            "VANISH": ("plateau", "saddle_point"),
        },
    ),
    Doctor(
        "sk-autod",
        "sk_autod",
        "sk-autod",
        f"findings on {EPOCHS} points of training and validation loss (on training data where there are no others)",
        sk_autod,
        {
            "Classic overfitting": ("overfitting",),
            "Missed early stopping": ("overfitting",),
            "Exploding gradient": DIVERGED,
            "LR too high": ("step_too_large",),
            "LR too low": ("step_too_small",),
            "Underfitting": STUCK,
            "Dying ReLU proxy": ("dead_units",),
            "Noisy training": ("gradient_noise",),
            "Label noise floor": ("gradient_noise", "local_minimum"),
        },
    ),
    Doctor(
        "trainscope",
        "trainscope",
        "trainscope",
        "the signal that its post-mortem report puts first, an exploded loss before it",
        trainscope,
        {
            "explosion": DIVERGED,
            "loss first": DIVERGED,
            "grad_norm first": (*DIVERGED, "gradient_noise"),
            "kurtosis first": ("dead_units", "plateau"),
        },
    ),
    Doctor(
        "NeuralDBG",
        "neuraldbg",
        "neuraldbg",
        "states of its open core that are not healthy at the end, by confidence; its reasoning engine is not on PyPI",
        neuraldbg,
        {
            "vanishing": ("plateau", "saddle_point"),
            "exploding": DIVERGED,
            "saturated": ("plateau",),
            "dead": ("dead_units",),
            "loss_plateau": STUCK,
            "loss_spike": DIVERGED,
            "diverging": DIVERGED,
            "nan_detected": DIVERGED,
            "inf_detected": DIVERGED,
        },
    ),
)
