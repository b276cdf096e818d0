"""Does the package keep the rules of the house, and would the check notice if it did not?

The tables are those of ``docs/architecture.md``.
"""

from pathlib import Path

import pytest

import architecture
from architecture import DOOR

PACKAGE = Path(__file__).parents[1] / "src" / "theodolite"

GROUND = {"errors", "_checks"}
TABLE = {
    "errors": set(),
    "_checks": {"errors"},
    "records": GROUND,
    "plots": GROUND | {"records"},
    "diagnosis": GROUND | {"records"},
    "pages": GROUND | {"records", "plots", "diagnosis"},
    "theory": GROUND | {"records"},
    "objective": GROUND | {"records"},
    "linalg": GROUND | {"records", "objective"},
    "landscape": GROUND | {"records", "objective", "linalg"},
    "optim": GROUND | {"records", "objective", "linalg"},
    "search": GROUND | {"records", "objective", "linalg"},
    "probes": GROUND | {"records", "objective", "linalg", "landscape"},
    "monitor": GROUND | {"records", "objective", "linalg", "landscape", "probes", "diagnosis"},
    "problems": GROUND | {"records", "objective", "theory"},
}
TABLE["cli"] = set(TABLE) | {DOOR}
TABLE["__main__"] = {"cli"}
TABLE[DOOR] = set(TABLE) - {"__main__"}
"""Room -> the rooms it may import."""

TORCH_ROOMS = {"objective", "linalg", "landscape", "optim", "search", "probes", "monitor", "problems"}
NUMPY_ROOMS = {"records", "plots", "diagnosis", "pages", "theory"}
OWNERS = {
    "torch": TORCH_ROOMS | {"cli"},
    "scipy": {"diagnosis", "theory", "linalg", "landscape", "probes", "problems", "objective", "search"},
    "matplotlib": {"plots"},
    "plotly": {"plots"},
    "jinja2": {"pages"},
    "click": {"cli"},
    "cma": set(),  # through _checks.require only
    "optuna": set(),
    "tqdm": {"linalg", "monitor", "cli"},
    "sklearn": set(),  # through _checks.require only
    "pooch": set(),
    "beartype": set(),
}
"""Heavy package -> the rooms that may import it."""


@pytest.fixture(scope="module")
def house():
    return architecture.read_package(PACKAGE)


def test_rooms_import_along_the_table_only(house):
    assert architecture.forbidden_edges(house, TABLE) == []


def test_no_cycles(house):
    assert architecture.room_cycles(house) + architecture.file_cycles(house) == []


def test_no_late_imports(house):
    assert architecture.late_imports(house, {"cli", "_checks", DOOR}) == []


def test_stored_runs_are_read_without_torch(house):
    assert architecture.reaches(house, NUMPY_ROOMS | {DOOR, "errors", "_checks"}, "torch") == []


@pytest.mark.parametrize("package", ["torch", "matplotlib", "plotly", "scipy"])
def test_the_command_line_starts_light(house, package):
    assert architecture.reaches(house, {"cli", "__main__"}, package, with_late=False) == []


def test_records_know_numpy_only(house):
    for package in ("scipy", "matplotlib", "plotly"):
        assert architecture.reaches(house, {"records"}, package) == []


def test_heavy_packages_stay_in_their_rooms(house):
    assert architecture.strangers(house, OWNERS) == []


def test_files_stay_short(house):
    assert architecture.long_files(house) == []


def test_only_the_door_for_people_prints(house):
    assert architecture.prints(house, {"cli"}) == []


def test_what_a_room_shows_states_arguments_and_returns(house):
    assert architecture.thin_docstrings(house, {"cli"}) == []  # a command's docstring is its help


def test_the_table_is_the_one_in_the_documents():
    text = (PACKAGE.parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:4] for line in text.splitlines() if line.startswith("| `")]
    written = {name.strip(" `"): row[2] for row in rows for name in row[0].split(",")}
    assert set(written) == set(TABLE) - {DOOR, "__main__"}
    for room in NUMPY_ROOMS | TORCH_ROOMS:
        rooms = {word.strip() for word in written[room].split(";")[0].split(",")}
        assert rooms - {"errors", "_checks"} == TABLE[room] - GROUND, room


# The tester, tested: each rule finds a violation that is planted, and stays silent on the clean twin.

CLEAN = {
    "__init__.py": '"""Door."""\n',
    "low/__init__.py": "from toy.low.noun import Noun\n",
    "low/noun.py": "import numpy as np\nclass Noun: ...\n",
    "high/__init__.py": "",
    "high/verb.py": "from toy.low import Noun\nimport torch\n",
    "cli.py": "def main():\n    from toy.high.verb import Noun\n    print(Noun)\n",
}
TOY = {"low": set(), "high": {"low"}, "cli": {"low", "high"}, DOOR: set()}


def plant(folder: Path, changes: dict[str, str] | None = None) -> dict[str, architecture.Source]:
    """A toy package with some files replaced."""
    files = CLEAN | (changes or {})
    for name, text in files.items():
        path = folder / "toy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return architecture.read_package(folder / "toy")


def violations(toy: dict[str, architecture.Source]) -> dict[str, list[str]]:
    return {
        "edges": architecture.forbidden_edges(toy, TOY),
        "rooms": architecture.room_cycles(toy),
        "files": architecture.file_cycles(toy),
        "late": architecture.late_imports(toy, {"cli"}),
        "torch": architecture.reaches(toy, {"low", "cli"}, "torch", with_late=False),
        "strangers": architecture.strangers(toy, {"torch": {"high"}}),
        "long": architecture.long_files(toy, limit=10),
        "prints": architecture.prints(toy, {"cli"}),
        "docs": architecture.thin_docstrings(toy, {"cli"}),
    }


def test_a_clean_tree_is_silent(tmp_path):
    assert all(found == [] for found in violations(plant(tmp_path)).values())


@pytest.mark.parametrize(
    ("rule", "name", "text", "words"),
    [
        ("edges", "low/noun.py", "from toy.high import verb\n", "low must not import high"),
        ("edges", "low/noun.py", "from ..high.verb import x\n", "low must not import high"),
        (
            "edges",
            "low/noun.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import toy.high\n",
            "must not",
        ),
        ("edges", "low/noun.py", "try:\n    import toy.high.verb\nexcept ImportError:\n    pass\n", "must not"),
        ("edges", "low/noun.py", "from toy import high\n", "low must not import high"),
        ("edges", "low/noun.py", "from toy import __version__\n", "low must not import (door)"),
        ("edges", "attic.py", "", "'attic' is not in the table"),
        ("rooms", "low/noun.py", "import toy.high.verb\n", "high <-> low"),
        ("files", "low/noun.py", "from toy.low import Noun\n", "toy.low <-> toy.low.noun"),
        ("files", "low/noun.py", "from . import Noun\n", "toy.low <-> toy.low.noun"),
        ("late", "low/noun.py", "def f():\n    import json\n", "toy.low.noun:2: late import of json"),
        ("late", "low/noun.py", "class A:\n    def f(self):\n        from os import path\n", "late import of os.path"),
        (
            "late",
            "low/noun.py",
            "import importlib\ndef f():\n    importlib.import_module('json')\n",
            "importlib.import_module",
        ),
        ("torch", "low/noun.py", "import torch.nn\n", "toy.low loads torch through toy.low.noun:1"),
        ("torch", "low/noun.py", "from toy.high.verb import x\n", "toy.low.noun loads torch through toy.high.verb:2"),
        ("torch", "cli.py", "from toy.high import verb\n", "toy.cli loads torch"),
        ("strangers", "low/noun.py", "from torch import nn\n", "torch belongs to high"),
        ("long", "low/noun.py", "x = 1\n" * 11, "11 lines, at most 10"),
        ("prints", "low/noun.py", "def f():\n    print(1)\n", "toy.low.noun:2: print"),
        ("docs", "prose.py", 'def f(x: int) -> int:\n    """The same."""\n', "f: docstring lacks Args, Returns"),
        ("docs", "low/noun.py", 'def Noun(x: int) -> None:\n    """The same."""\n', "Noun: docstring lacks Args"),
    ],
)
def test_a_planted_violation_is_found(tmp_path, rule, name, text, words):
    found = violations(plant(tmp_path, {name: text}))[rule]
    assert any(words in line for line in found), found


def test_a_package_that_loads_torch_taints_its_files(tmp_path):
    toy = plant(tmp_path, {"low/__init__.py": "import torch\n"})
    assert "toy.low.noun loads torch through toy.low:1" in architecture.reaches(toy, {"low"}, "torch")


def test_types_alone_make_no_file_cycle(tmp_path):
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from toy.low import Noun\n"
    assert architecture.file_cycles(plant(tmp_path, {"low/noun.py": text})) == []
