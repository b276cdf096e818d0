"""Evidence made by hand, in which every number is healthy until a test changes it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from theodolite.diagnosis import Evidence, History
from theodolite.records import Continuation, Estimate, Ray, Remedy, Rescaled, Survey, Trail, Trials, WhatIf

FACTORS = (0.1, 0.3, 1.0, 10.0, 100.0)


def estimate(value: float, error: float = 0.0) -> Estimate:
    """A value with an error, of ten measurements."""
    return Estimate(value, error, 10)


def gains(*values: float) -> Rescaled:
    """Real steps and their gains at the factors above; the slope is that of the real step."""
    return Rescaled(FACTORS, tuple(estimate(value) for value in values), estimate(values[2]))


def moves(gradient: float, escape: float, kick: float = 0.0) -> tuple[WhatIf, ...]:
    """What-ifs with these gains."""
    named = {"noise-free gradient": gradient, "curvature-corrected": gradient, "negative curvature": escape}
    found = tuple(WhatIf(name, estimate(gain), 1.0, gain) for name, gain in named.items())
    return (*found, WhatIf("random kick", estimate(kick), 1.0))


def remedy(name: str, gain: float, fallen: float = 0.05) -> Remedy:
    """A cure that was tried for a hundred steps."""
    return Remedy(name, estimate(gain), estimate(fallen), 100, 3)


def line(name: str, *losses: float, cosine: float = 0.1) -> Ray:
    """A ray with these losses at lengths 0, 1, 2, ..."""
    return Ray(name, np.arange(float(len(losses))), np.array(losses), np.zeros(len(losses)), cosine)


HEALTHY = Survey(
    step=1000,
    examples=1000,
    loss=estimate(0.5, 0.001),
    param_norm=10.0,
    grad_norm=1.0,
    noise_scale=estimate(10.0, 1.0),
    batch=64.0,
    largest=estimate(2.0, 0.01),
    smallest=estimate(-0.1, 0.01),
    gradient_curvature=1.0,
    steps=16,
    promise=estimate(0.02),
    noise=estimate(0.004),
    curvature=estimate(0.004),
    higher_order=estimate(0.0),
    delivered=estimate(0.012),
    noise_share=estimate(0.2, 0.02),
    own_uphill=estimate(0.0),
    own_gain=estimate(0.016),
    rescaled=gains(0.0015, 0.005, 0.012, 0.01, -1.0),
    what_ifs=moves(0.05, 0.005),
    escape=5.0,
    flatness=1.0,
    depth_ratio=0.3,
    dead_fraction=0.02,
    dead_worst=0.05,
    dead_layer="2",
    blocked=0.0,
    silent_rectifiers=0.0,
    revived=0.0,
    gain_ratio=estimate(10.0, 1.0),
    condition_number=estimate(300.0, 10.0),
    sharpness=estimate(0.2, 0.01),
    stable_sharpness=2.0,
    rays=(line("outward", 0.5, 0.4, 3.0), line("growing weights", 0.5, 0.45, 9.0)),
)


def came(validation: tuple[float, ...] = (2.3, 0.8, 0.7, 0.7, 0.7), turn: float = 0.0) -> Trail:
    """A way straight from the start, with the validation loss at its points and how far it has turned up."""
    steps = np.linspace(0, 1000, len(validation)).astype(int)
    apart = np.abs(steps[:, None] - steps[None, :]) / 100.0
    losses = np.linspace(2.3, 0.5, len(validation))
    held_out = np.array(validation)
    errors, norms = np.zeros(len(validation)), np.full(len(validation), 10.0)
    return Trail(steps, losses, errors, apart, norms, held_out, estimate(turn, 0.01), int(steps[held_out.argmin()]))


def steady(spike: float = 1.0, steps: int = 60, level: float = 0.5) -> Continuation:
    """Plain steps at one level of the loss whose gradient norms are alike but for one."""
    norms = np.ones((3, steps))
    norms[:, steps // 2] = spike
    return Continuation(np.full((3, steps), level), norms, np.ones((3, steps)))


STEADY, WAY = steady(), came()


@pytest.fixture
def evidence() -> Any:
    """A maker of evidence: healthy survey and a stalled history, with changes to the survey by keyword."""

    def make(
        *,
        fallen: float = 0.0,
        remedies: tuple[Remedy, ...] = (),
        plain: Continuation = STEADY,
        corrected: tuple[float, ...] = (0.45, 0.42),
        trail: Trail = WAY,
        **changes: Any,
    ) -> Evidence:
        past = History(1000, start=estimate(2.3), later=estimate(0.5), fallen=estimate(fallen, 0.01), spike=2.0)
        trials = Trials(remedies or (remedy("step × 0.1", -0.01, fallen=0.05),), plain, np.array(corrected))
        return Evidence(past, replace(HEALTHY, **changes), trials, trail=trail, is_validated=True)

    return make
