"""The door for people: ``theodolite COMMAND``. Nothing heavy is imported before a command needs it."""

from theodolite.cli.door import main

__all__ = ["main"]
