"""Trainings in the manner of well-known public scripts, whole and broken on purpose, with what an expert expects.

Each file holds one family: how a script builds its model, data and optimizer, then the table of its cases. A case that
is broken differs from its whole twin in what ``broken`` says and in nothing else.
"""

from scripts import science, tables, text, vision
from scripts.case import Case, Training

CASES: dict[str, Case] = {case.name: case for family in (vision, text, tables, science) for case in family.CASES}
"""Every case by name; a script's whole twin bears the script's name alone."""

__all__ = ["CASES", "Case", "Training"]
