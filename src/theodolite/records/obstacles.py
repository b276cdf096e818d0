"""Which obstacles are there, and what can be said of each?

The names are part of the public contract: programs compare against these strings.
"""

from enum import StrEnum

OBSTACLES: tuple[str, ...] = (
    "none",
    "step_too_small",
    "step_too_large",
    "ill_conditioning",
    "gradient_noise",
    "saddle_point",
    "local_minimum",
    "plateau",
    "cliff",
    "no_minimum",
    "nonlocal_structure",
    "overfitting",
    "dead_units",
)
"""The thirteen obstacles, ``none`` first."""

UNDETERMINED = "undetermined"
"""The answer when the evidence names none of them."""


class Verdict(StrEnum):
    """What the evidence says of one obstacle."""

    PRESENT = "present"
    ABSENT = "absent"
    UNDETERMINED = "undetermined"


class Status(StrEnum):
    """How an algorithm ended."""

    CONVERGED = "converged"
    """It did what was asked: the tolerance is met, as far as rounding permits; where none was given, a sample is whole,
    or an iteration exact."""
    BUDGET = "budget"
    """The budget ran out before the tolerance was met or the result was exact; the error says how far it came."""
    BREAKDOWN = "breakdown"
    """The method cannot go on, for example on an exhausted Krylov space; results hold as far as their errors say."""
    NONFINITE = "nonfinite"
    """A value that is not finite was met; nothing after it is claimed."""
