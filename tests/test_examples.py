"""Are the examples in the docstrings true?"""

import os
import subprocess
import sys

# In a fresh interpreter: doctest does not find functions that the shape checks of the tests have wrapped.
RUN_ALL = """
import doctest, importlib, pkgutil, sys, theodolite
failed = tried = 0
for found in pkgutil.walk_packages(theodolite.__path__, "theodolite."):
    if found.name != "theodolite.__main__":
        result = doctest.testmod(importlib.import_module(found.name))
        failed, tried = failed + result.failed, tried + result.attempted
print(failed, "of", tried, "examples failed")
sys.exit(failed > 0 or tried == 0)
"""


def test_examples_in_docstrings_are_true():
    environment = os.environ | {"MPLBACKEND": "agg"}
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUN_ALL], check=False, capture_output=True, text=True, env=environment
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
