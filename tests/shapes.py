"""The type checker that tests put on every function of the package: beartype, with PEP 484's reading of two hints."""

from typing import Any, Self

from beartype import BeartypeConf, FrozenDict, beartype

checked = beartype(
    conf=BeartypeConf(
        is_pep484_tower=True,  # an int is welcome where a float is asked for
        hint_overrides=FrozenDict({Self: Any}),  # beartype knows Self only when it decorates the whole class
    )
)
