"""Where a point of training lies: the loss along lines."""

from theodolite.landscape.lines import line

__all__ = ["line"]
