"""Which problems are there, and how is one found by its name?"""

import difflib

from theodolite.errors import SettingError
from theodolite.problems.cliffs import CLIFFS
from theodolite.problems.conditioning import ILL_CONDITIONED
from theodolite.problems.dead import DEAD
from theodolite.problems.far_minima import FAR_MINIMA
from theodolite.problems.healthy import HEALTHY
from theodolite.problems.minima import LOCAL_MINIMA
from theodolite.problems.noise import NOISY
from theodolite.problems.overfitting import OVERFITTING
from theodolite.problems.plateaus import PLATEAUS
from theodolite.problems.problem import Problem
from theodolite.problems.saddles import SADDLES
from theodolite.problems.step_sizes import TOO_LARGE, TOO_SMALL
from theodolite.problems.winding import NONLOCAL

PROBLEMS: tuple[Problem, ...] = (
    *HEALTHY,
    *TOO_SMALL,
    *TOO_LARGE,
    *ILL_CONDITIONED,
    *NOISY,
    *SADDLES,
    *LOCAL_MINIMA,
    *PLATEAUS,
    *CLIFFS,
    *FAR_MINIMA,
    *NONLOCAL,
    *OVERFITTING,
    *DEAD,
)
"""All problems; each planted one is followed by its clean twin."""


def problem(name: str) -> Problem:
    """The problem of a name.

    Args:
        name: As in ``PROBLEMS``.

    Returns:
        The problem.

    Raises:
        SettingError: If there is none of this name.
    """
    names = [candidate.name for candidate in PROBLEMS]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or names
        raise SettingError(f"name must be that of a problem, got {name!r}. Perhaps one of {', '.join(near)}.")
    return PROBLEMS[names.index(name)]
