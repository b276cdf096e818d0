"""How long do the principal components of a trajectory take, how much memory, and how right are they?

    OMP_NUM_THREADS=1 python benchmarks/trajectories.py [--sizes 200000,1000000] [--points 200] [--limit 40]

Each candidate runs in a process of its own, on the same float32 checkpoints in a file that is mapped into memory, and
once from the safetensors files of a run. About three minutes; writes benchmarks/results/trajectories.md.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from sklearn.decomposition import PCA

from theodolite.landscape.projections import pca_plane
from theodolite.landscape.trajectories import Trajectory
from theodolite.records import RunWriter

RESULT = Path(__file__).parent / "results" / "trajectories.md"
CANDIDATES = ("theodolite", "theodolite from a run", "torch.linalg.svd", "sklearn randomized", "sklearn full")

NOTES = """Two principal components of checkpoints of a smooth path with noise, float32. *Seconds*: wall and, in
brackets, processor, of the call alone; ours includes the directions and the distances from the plane. *Extra memory*:
greatest anonymous memory during the call above that before it: pages of mapped files are not counted. *Error*:
1 − |cos| of the worse of both directions against the whole in float64. Peers hold the matrix, we read pieces."""


def points_of(size: int, points: int) -> np.ndarray:
    """A path that bends, with noise: as trainings leave."""
    rng = np.random.default_rng(0)
    t = np.linspace(0, 1, points)
    shape = np.stack([1 - np.exp(-3 * t), t * (1 - t), np.sin(5 * t) / 10, t**3 / 10])
    ways = rng.standard_normal((4, size), np.float32)
    found = rng.standard_normal((points, size), np.float32) * np.float32(0.003)
    found += shape.T.astype(np.float32) @ ways
    return found + rng.standard_normal(size, np.float32)


def directions(name: str, folder: Path, kept: np.ndarray) -> np.ndarray:
    """Two unit directions, a row each."""
    if name.startswith("theodolite"):
        trajectory = Trajectory(folder / "run") if name.endswith("run") else Trajectory.from_points(kept)
        return np.stack([vector.numpy() for vector in list(pca_plane(trajectory))[1:]])
    if name.startswith("sklearn"):
        return PCA(2, svd_solver=name.split()[1], random_state=0).fit(kept).components_
    whole = torch.from_numpy(np.array(kept))
    return torch.linalg.svd(whole - whole.mean(0), full_matrices=False).Vh[:2].numpy()


def resident() -> float:
    """Own memory of this process, in MB, without pages of files."""
    fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(fields["RssAnon"].split()[0]) / 1e3


class Peak(threading.Thread):
    """The greatest resident size while it runs."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.before = self.most = resident()
        self.is_over = False

    def run(self) -> None:
        while not self.is_over:
            self.most = max(self.most, resident())
            time.sleep(0.002)


def one(name: str, folder: Path) -> None:
    """Time one candidate; print seconds, memory, error."""
    kept = np.load(folder / "points.npy", mmap_mode="r")
    kept.sum()  # in the page cache
    directions(name.removesuffix(" from a run"), folder, kept[:4, :2000])  # first calls
    peak = Peak()
    peak.start()
    started, worked = time.perf_counter(), time.process_time()
    found = directions(name, folder, kept)
    seconds, work = time.perf_counter() - started, time.process_time() - worked
    peak.is_over = True
    truth = np.load(folder / "truth.npy")
    cosines = np.abs(np.sum(found.astype(float) * truth, axis=1)) / np.linalg.norm(found.astype(float), axis=1)
    print(seconds, work, peak.most - peak.before, float(np.max(1 - cosines)))


def truth_of(kept: np.ndarray) -> np.ndarray:
    """Both directions in float64, from the whole Gram matrix."""
    centre = kept.mean(0, dtype=float)
    gram = np.zeros((len(kept), len(kept)))
    for first in range(0, kept.shape[1], 8192):
        part = kept[:, first : first + 8192].astype(float) - centre[first : first + 8192]
        gram += part @ part.T
    vectors = np.linalg.eigh(gram)[1][:, :-3:-1]
    rows = sum(np.outer(weights, point - centre) for weights, point in zip(vectors, kept, strict=True))
    return rows / np.linalg.norm(rows, axis=1)[:, None]


def prepared(folder: Path, size: int, points: int) -> None:
    kept = points_of(size, points)
    np.save(folder / "points.npy", kept)
    np.save(folder / "truth.npy", truth_of(kept))
    with RunWriter(folder / "run", metadata={"layers": ["weight", "bias"]}) as writer:
        for step, point in enumerate(kept):
            writer.snapshot(step, {"weight": point[:-1000].reshape(-1, 1000), "bias": point[-1000:]})


def measured(name: str, folder: Path, limit: float) -> tuple[float, ...] | str:
    """One candidate in a process of its own."""
    command = [sys.executable, __file__, "--one", name, "--folder", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return f"not finished in {limit:.0f} s"
    if done.returncode:
        return f"raises {done.stderr.strip().splitlines()[-1][:80]}"
    return tuple(map(float, done.stdout.split()))


def table(size: int, points: int, limit: float) -> list[str]:
    lines = [
        f"\n## {points} points of {size:,} parameters ({4e-6 * size * points:.0f} MB)\n",
        "| | seconds (processor) | processor, times ours | extra memory, MB | error |\n|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepared(folder, size, points)
        rows = {candidate: measured(candidate, folder, limit) for candidate in CANDIDATES}
    ours = rows["theodolite"]
    for candidate, row in rows.items():
        if isinstance(row, str):
            lines.append(f"| {candidate} | {row} | | | |")
        else:
            ratio = f"{row[1] / ours[1]:.1f}" if not isinstance(ours, str) else ""
            lines.append(f"| {candidate} | {row[0]:.2f} ({row[1]:.2f}) | {ratio} | {row[2]:.0f} | {row[3]:.0e} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default="200000,1000000")
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--limit", type=float, default=40.0)
    parser.add_argument("--one")
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    if asked.one:
        one(asked.one, asked.folder)
        return
    lines = [line for size in asked.sizes.split(",") for line in table(int(size), asked.points, asked.limit)]
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    machine = platform.processor() or platform.machine()
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "torch", "scikit-learn"))
    head = (
        f"# Principal components of a trajectory\n\n{datetime.now(UTC):%Y-%m-%d}; {machine}, {os.cpu_count()} cores, "
        f"{threads} threads, load average {os.getloadavg()[0]:.1f}, of which this program is 1; "
        f"Python {platform.python_version()}, {packages}.\n"
    )
    RESULT.write_text("\n".join([head, NOTES, *lines, ""]), encoding="utf-8")
    print(RESULT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
