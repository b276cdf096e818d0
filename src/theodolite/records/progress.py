"""Where did the promise of one step go: the progress budget."""

from dataclasses import dataclass, fields

from theodolite.records.estimates import MISSING, Estimate


@dataclass(frozen=True)
class Progress:
    """delivered = promise − noise − curvature − higher_order, in loss, for one step Δθ that was really taken.

    With g the gradient of the step's own batch, and G, H gradient and Hessian of the reference sample:

    Attributes:
        promise: −g·Δθ, what the batch gradient promised.
        noise: (G−g)·Δθ, what was lost because the batch is not the reference sample.
        curvature: ½ Δθ·HΔθ, what bending took.
        higher_order: The rest.
        delivered: J(θ) − J(θ+Δθ), what arrived.
        reference_loss: J(θ) before the step.
        best_scale: −G·Δθ / Δθ·HΔθ, the factor by which the step should have been longer; inf if the curvature is ≤ 0.

    Errors are standard errors over the batches of the reference sample, with the rounding of the loss.
    Source: the Taylor identity J(θ)−J(θ+Δθ) = −g·Δθ − (G−g)·Δθ − ½Δθ·HΔθ − remainder.
    """

    promise: Estimate = MISSING
    noise: Estimate = MISSING
    curvature: Estimate = MISSING
    higher_order: Estimate = MISSING
    delivered: Estimate = MISSING
    reference_loss: Estimate = MISSING
    best_scale: Estimate = MISSING

    def scalars(self) -> dict[str, float]:
        """Each value by its series name, and each error by that name with ``_error``."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        values = {name: estimate.value for name, estimate in parts.items()}
        return values | {f"{name}_error": estimate.error for name, estimate in parts.items()}
