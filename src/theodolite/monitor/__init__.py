"""What is seen while training, without touching it."""

from theodolite.monitor.monitor import Monitor

__all__ = ["Monitor"]
