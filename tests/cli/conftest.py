"""How a test speaks to the command line: in this process, or as a stranger from outside."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from theodolite.cli import main


@dataclass(frozen=True)
class Answer:
    """What came back from a command."""

    code: int
    out: str
    err: str


@pytest.fixture
def ask(capsys):
    """A function that runs a command in this process."""

    def run(*words) -> Answer:
        with pytest.raises(SystemExit) as left:
            main([str(word) for word in words])
        told = capsys.readouterr()
        return Answer(left.value.code, told.out, told.err)

    return run


@pytest.fixture(scope="session")
def outside():
    """A function that runs a command, or some code, in a process of its own."""

    def run(*words, code: str | None = None, **settings) -> Answer:
        start = [sys.executable, "-c", code] if code is not None else [sys.executable, "-m", "theodolite"]
        command = [*start, *map(str, words)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=200, **settings)
        return Answer(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def demonstrated(outside, tmp_path_factory) -> tuple[Answer, Path]:
    """The demo, small, from outside: what it printed, and the folder that it ran in."""
    folder = tmp_path_factory.mktemp("demo")
    return outside("demo", "--steps", 60, "--seconds", 1, cwd=folder), folder


@pytest.fixture(scope="session")
def real(demonstrated) -> Path:
    """A small real run."""
    return demonstrated[1] / "runs" / "demo"
