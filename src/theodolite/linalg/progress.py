"""How does a person see that a long computation goes on?"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

_PATIENCE = 2.0
"""Seconds before a bar appears: what is over by then needs none."""


@contextmanager
def progress(total: int, what: str) -> Iterator[Any]:
    """A bar on a terminal, with the time left, for what takes more than two seconds; nothing anywhere else.

    Args:
        total: Steps to go.
        what: What they are for.

    Yields:
        The bar; ``update(n)`` moves it by n steps.
    """
    with tqdm(total=total, desc=what, disable=None, delay=_PATIENCE, leave=False) as bar:
        yield bar
