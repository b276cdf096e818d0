"""How is it read? One self-contained HTML page per run. Knows no torch."""

from theodolite.pages.page import compose, report

__all__ = ["compose", "report"]
