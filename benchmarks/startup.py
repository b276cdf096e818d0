"""How long does it take before anything happens? Seconds of fresh interpreters, the median of five.

Expected on two cores: the door under 0.1 s, a stored run opened under 0.4 s, the command's help under 0.5 s.
"""

import statistics
import subprocess
import sys
import time
from importlib.util import find_spec

CASES = {
    "python alone": "pass",
    "import theodolite": "import theodolite",
    "from theodolite import Run": "from theodolite import Run",
    "from theodolite import Objective (torch)": "from theodolite import Objective",
}


def seconds(command: list[str]) -> float:
    """Median wall time of a command over five runs."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    commands = {name: [sys.executable, "-c", code] for name, code in CASES.items()}
    if find_spec("theodolite.cli"):
        commands["theodolite --help"] = [sys.executable, "-c", "from theodolite.cli import main; main(['--help'])"]
    for name, command in commands.items():
        print(f"{name:45s} {seconds(command):6.3f} s")
