"""What was found where the training stands now: the deep probe at the end of a run."""

import math
from dataclasses import dataclass

from theodolite.records.estimates import MISSING, Estimate
from theodolite.records.obstacles import Status
from theodolite.records.terrain import Known, Ray


@dataclass(frozen=True)
class WhatIf:
    """A move that could be made from here, and what it would gain: evaluated, not only predicted.

    Attributes:
        name: What the move is.
        gain: J here minus J there, on held-out examples, in loss.
        length: ‖move‖.
        predicted: What the second-order model of the other half of the sample predicts.
    """

    name: str
    gain: Estimate = MISSING
    length: float = float("nan")
    predicted: float = float("nan")


@dataclass(frozen=True)
class Rescaled:
    """Real steps of the run, made longer and shorter.

    Attributes:
        factors: By how much the steps were scaled, ascending.
        gains: Mean gain at each factor, in loss.
        slope: Mean of −G·Δθ, the gain a factor 1 would bring if J were straight.
    """

    factors: tuple[float, ...] = ()
    gains: tuple[Estimate, ...] = ()
    slope: Estimate = MISSING

    def at(self, factor: float) -> Estimate:
        """Gain at a factor; missing if it was not tried."""
        return self.gains[self.factors.index(factor)] if factor in self.factors else MISSING


@dataclass(frozen=True)
class Survey:
    """Everything local that was measured at one point θ of a run.

    Moves are cross-validated: a direction and its length come from one half of the held examples, its gain is measured
    on the other. Steps of the run itself, which trains on all of them, are judged on all of them. Where the run always
    sees one and the same batch, both halves are that batch and errors are rounding only.

    Attributes:
        step: The optimizer step.
        status: NONFINITE if J or its gradient is not finite here; nothing else is then measured.
        examples: Number of held examples.
        loss: J of the held examples.
        param_norm: ‖θ‖.
        grad_norm: ‖G‖ on the first half.
        noise_scale: Gradient noise scale, in examples.
        batch: Examples in one step of the run.
        largest: λmax; its error is the residual bound.
        smallest: λmin; its error is the residual bound.
        gradient_curvature: GᵀHG/GᵀG.
        steps: How many plain steps were followed on a branch.
        promise: Mean promise of a step, −g·Δθ.
        noise: Mean loss of it to noise, (G−g)·Δθ.
        curvature: Mean loss of it to curvature, ½Δθ·HΔθ.
        higher_order: Mean loss of it to the rest.
        delivered: Mean of what arrived, J(θ)−J(θ+Δθ).
        noise_share: Noise over promise, over the same steps: the share of the promise that is lost to noise.
        own_uphill: Share of steps that raised the loss of their own batch.
        own_gain: Mean fall of the loss of their own batch.
        cosine: Mean cosine between successive steps.
        rescaled: The same steps, longer and shorter.
        what_ifs: Other moves.
        escape: ‖G‖ / (|λmin|·s): slope against negative curvature over the length s on which the quadratic model
            holds; well below 1 means that the point is critical for the scale of H. NaN if λmin is not negative.
        flatness: Largest change of J to second order when the weights change by three tenths, in loss.
        depth_ratio: Least of the matrices' gradient scales, root mean square over batches, times ‖weights‖, over the
            greatest of them and of the vectors', which count as one an entry at least.
        dead_fraction: Share of hidden units that are zero on every example.
        dead_worst: That share in the worst layer.
        dead_layer: Name of that layer.
        blocked: Share of parameters whose gradient is exactly zero on every batch.
        silent_rectifiers: Share of the rectifiers, in layers or in the loss, that hand on zero only.
        revived: Weight, in [0, 1], of those parameters in the direction of most negative curvature: above zero, second
            order brings them back.
        saturated: Share of sigmoid and tanh units that are saturated on every example; NaN where there are none.
        gain_ratio: (gᵀ|H|g)(gᵀ|H|⁻¹g)/(gᵀg)²: what correcting for curvature gains over the best single step size, by
            the quadratic model.
        condition_number: That of the part of the spectrum that carries the gradient.
        sharpness: Largest eigenvalue of the Hessian in the metric in which the optimizer walks.
        stable_sharpness: The sharpness beyond which its steps diverge on a quadratic; NaN if unknown.
        rays: J far along some straight lines.
        known: Better points that are known.
        blank: J with the last matrix, and the parameters after it, at zero: a model that knows nothing; NaN if there
            is none.
        notes: What could not be measured, and why.
    """

    step: int
    status: Status = Status.CONVERGED
    examples: int = 0
    loss: Estimate = MISSING
    param_norm: float = float("nan")
    grad_norm: float = float("nan")
    noise_scale: Estimate = MISSING
    batch: float = float("nan")
    largest: Estimate = MISSING
    smallest: Estimate = MISSING
    gradient_curvature: float = float("nan")
    steps: int = 0
    promise: Estimate = MISSING
    noise: Estimate = MISSING
    curvature: Estimate = MISSING
    higher_order: Estimate = MISSING
    delivered: Estimate = MISSING
    noise_share: Estimate = MISSING
    own_uphill: Estimate = MISSING
    own_gain: Estimate = MISSING
    cosine: Estimate = MISSING
    rescaled: Rescaled = Rescaled()
    what_ifs: tuple[WhatIf, ...] = ()
    escape: float = float("nan")
    flatness: float = float("nan")
    depth_ratio: float = float("nan")
    dead_fraction: float = float("nan")
    dead_worst: float = float("nan")
    dead_layer: str = ""
    blocked: float = float("nan")
    silent_rectifiers: float = float("nan")
    revived: float = float("nan")
    saturated: float = float("nan")
    gain_ratio: Estimate = MISSING
    condition_number: Estimate = MISSING
    sharpness: Estimate = MISSING
    stable_sharpness: float = float("nan")
    rays: tuple[Ray, ...] = ()
    known: tuple[Known, ...] = ()
    blank: float = float("nan")
    notes: tuple[str, ...] = ()

    def scalars(self) -> dict[str, float]:
        """What a survey adds to the series of its run at its step: by series name, measured values only."""
        budget = ("promise", "noise", "curvature", "higher_order", "delivered")
        parts = {name: getattr(self, name) for name in (*budget, "noise_scale")}
        values = {name: estimate.value for name, estimate in parts.items()}
        values |= {f"{name}_error": estimate.error for name, estimate in parts.items()}
        for name, end in (("largest", self.largest), ("smallest", self.smallest)):
            values |= {f"{name}_eigenvalue": end.value, f"{name}_residual": end.error}
        values |= {"gradient_curvature": self.gradient_curvature, "dead_fraction": self.dead_fraction}
        return {name: value for name, value in values.items() if not math.isnan(value)}

    def ray(self, name: str) -> Ray | None:
        """One of the rays; None if it was not followed."""
        return next((ray for ray in self.rays if ray.name == name), None)

    def what_if(self, name: str) -> WhatIf:
        """One of the moves; without a gain if it was not tried."""
        return next((move for move in self.what_ifs if move.name == name), WhatIf(name))
