"""What did a search for the least J find, and what did it cost?"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from theodolite.records.obstacles import Status


@dataclass(frozen=True, eq=False)
class Search:
    """A search for the least value of J, evaluation by evaluation.

    Costs are counted in *forward passes*: J costs one, J with its gradient four, a product with the Hessian six.

    Attributes:
        method: Its name.
        value: Least finite J found; NaN if there was none.
        point: θ there.
        values: J at each point that was asked, in order; what is not finite is kept.
        costs: Forward passes spent when each was known.
        seconds: Wall time when each was known; what was answered from a file keeps the time of its first answer.
        status: CONVERGED if the target was reached or the method has no more to ask; BUDGET if that ran out; BREAKDOWN
            if the method gave up, or J has not the form that it needs.
        spent: Forward passes spent in all.
        points: θ of each evaluation; no rows if they would not have fitted into memory.
        start: θ that the search began from.
        target: The value at which it was to stop; −inf for none.
        budget: Forward passes that it was allowed.
        seed: Seed of all randomness.
        settings: What was set of the method.
        library: What did the work, and its version.
        notes: How it ended, and what was left out.
    """

    method: str
    value: float
    point: Float[np.ndarray, "params"]
    values: Float[np.ndarray, "evaluations"]
    costs: Float[np.ndarray, "evaluations"]
    seconds: Float[np.ndarray, "evaluations"]
    status: Status
    spent: float
    points: Float[np.ndarray, "kept params"]
    start: Float[np.ndarray, "params"]
    target: float = float("-inf")
    budget: int = 0
    seed: int = 0
    settings: dict[str, float] = field(default_factory=dict)
    library: str = ""
    notes: tuple[str, ...] = ()

    @property
    def dimension(self) -> int:
        """n, the number of entries of θ."""
        return int(self.point.size)

    @property
    def evaluations(self) -> int:
        """How many times J was asked for, with its gradient or without."""
        return int(self.values.size)

    @property
    def best(self) -> Float[np.ndarray, "evaluations"]:
        """Least finite J so far after each evaluation; NaN before the first finite one."""
        finite = np.where(np.isfinite(self.values), self.values, np.inf)
        least = np.minimum.accumulate(finite) if finite.size else finite
        return np.where(np.isfinite(least), least, np.nan)

    def cost_to_reach(self, value: float) -> float:
        """Forward passes until J was at most this; infinite if it never was."""
        reached = np.flatnonzero(self.best <= value)
        return float(self.costs[reached[0]]) if reached.size else float("inf")
