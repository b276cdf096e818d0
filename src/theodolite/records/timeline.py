"""What limited progress when: a verdict for each window of a run."""

from dataclasses import dataclass

from theodolite.records.estimates import MISSING, Estimate


@dataclass(frozen=True)
class Window:
    """A stretch of a run, from one step to another.

    Attributes:
        first: The step it begins after.
        last: The step it ends with.
        obstacle: What limited progress in it: one of ``OBSTACLES``, or "undetermined".
        fallen: Share of the excess loss that went while the age of the run doubled, in this window.
        why: The number that decided, in words.
    """

    first: int
    last: int
    obstacle: str
    fallen: Estimate = MISSING
    why: str = ""

    def __str__(self) -> str:
        """Steps, obstacle, reason."""
        return f"{self.first}–{self.last}: {self.obstacle}" + (f" ({self.why})" if self.why else "")
