"""Does the front door lead to every public name, and stay light?"""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import theodolite

HOMES = theodolite._HOMES


def loaded_after(code: str) -> set[str]:
    """The top-level packages that a fresh interpreter holds after some code."""
    tail = "; import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    answer = subprocess.run([sys.executable, "-c", code + tail], check=True, capture_output=True, text=True)
    return set(answer.stdout.split())


@pytest.mark.parametrize("name", HOMES)
def test_every_public_name_resolves(name):
    assert getattr(theodolite, name) is getattr(import_module(HOMES[name]), name)


def test_no_public_name_equals_a_room():
    """Importing the room would put the module in the name's place."""
    rooms = {path.stem for path in Path(theodolite.__file__).parent.iterdir()}
    assert rooms.isdisjoint(HOMES)


def test_dir_and_all_are_the_table():
    assert dir(theodolite) == sorted(["__version__", *HOMES])
    assert set(theodolite.__all__) == {"__version__", *HOMES}


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(AttributeError, match="got 'boogeyman'"):
        theodolite.boogeyman


def test_the_door_is_light():
    assert loaded_after("import theodolite").isdisjoint({"torch", "matplotlib", "numpy", "plotly", "scipy"})


def test_stored_runs_open_without_torch():
    names = [name for name in ("Run", "diagnose", "report") if name in HOMES]
    code = f"from theodolite import __version__, {', '.join(names)}".removesuffix(", ")
    assert "torch" not in loaded_after(code)


def test_the_types_see_the_same_names():
    """The re-exports for type checkers and the table name the same homes."""
    tree = ast.parse(Path(theodolite.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {name.name: line.module for line in block.body for name in line.names}
    assert seen == HOMES
