"""What many tests need: data on disk, a browser, random numbers that leave the global state alone."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_BESIDE = ROOT.parent / "shared" / "data"

if "THEODOLITE_DATA" not in os.environ and _BESIDE.is_dir():
    os.environ["THEODOLITE_DATA"] = str(_BESIDE)  # before a test module asks at import which data there are


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data sets (``mnist``, ``cifar10``, ...); the test is skipped where there is none."""
    named = os.environ.get("THEODOLITE_DATA")
    folder = Path(named) if named else _BESIDE
    if not folder.is_dir():
        pytest.skip(f"no data at {folder}; set THEODOLITE_DATA to the folder that holds it")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium for pages; the test is skipped where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = [os.environ.get("THEODOLITE_CHROMIUM"), *map(shutil.which, names)]
    path = next((candidate for candidate in found if candidate), None)
    if path is None:
        pytest.skip("no Chromium here; install it, or set THEODOLITE_CHROMIUM to its path")
    return path


@pytest.fixture
def generator() -> Callable:
    """A function from a seed to a torch.Generator: tests never seed the global one."""
    import torch

    return lambda seed=0: torch.Generator().manual_seed(seed)
