"""Did a step help its own batch, and a batch that it had not seen?"""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from theodolite.objective import Objective


def look(
    objective: Objective, before: Float[Tensor, "params"], after: Float[Tensor, "params"], *, name: str
) -> Mapping[str, float]:
    """Loss of one batch before and after a step.

    Args:
        objective: Objective of that batch.
        before: θ before the step, shape (n,).
        after: θ after it, shape (n,).
        name: ``own`` or ``fresh``.

    Returns:
        ``<name>_loss_before`` and ``<name>_loss_after``.

    Cost: two forward passes.
    """
    return {f"{name}_loss_before": objective.value(before), f"{name}_loss_after": objective.value(after)}
