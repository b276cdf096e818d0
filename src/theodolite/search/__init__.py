"""How is the least J found by asking for it, and what does that cost?"""

from theodolite.search.exhaustive import grid_size
from theodolite.search.minimize import METHODS, minimize

__all__ = ["METHODS", "grid_size", "minimize"]
