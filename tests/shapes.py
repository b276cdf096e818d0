"""The type checker that tests put on every function of the package: beartype, with three hints read as we mean them."""

import random
from collections.abc import Callable
from typing import Annotated, Protocol, Self

import beartype._check.code.codemain as beartype_code
from beartype import BeartypeConf, FrozenDict, beartype
from beartype.vale import Is

# Beartype looks at one item of a list, drawn from Python's global generator: it would move what we promise not to.
beartype_code.getrandbits = random.Random(0).getrandbits

ANYTHING = Annotated[object, Is[lambda _: True]]  # Any itself is not allowed inside a union that beartype rewrites


def checked(function: Callable) -> Callable:
    """Check arguments and result of a function at each call."""
    # A protocol is an interface for type checkers. Asking at run time would read its properties, which may cost much.
    protocols = {kind for kind in Protocol.__subclasses__() if kind.__module__.startswith("theodolite")}
    # Self is known only to a decorator of the whole class.
    overrides = FrozenDict(dict.fromkeys(protocols | {Self}, ANYTHING))
    # An int is welcome where a float is asked for.
    return beartype(function, conf=BeartypeConf(is_pep484_tower=True, hint_overrides=overrides))
