"""The synthetic runs, one of each kind for the whole session; and one record of each kind that has a picture."""

from dataclasses import replace

import numpy as np
import pytest

import synthetic
from theodolite.records.lines import Along, Line
from theodolite.records.planes import Plane, Track
from theodolite.records.run import Run
from theodolite.records.trajectories import Components, Curve, Projection, Winding


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("runs")
    return {kind: Run(write(folder / kind)) for kind, write in synthetic.KINDS.items()}


def bowl():
    """J = 1 + a² + 4 b² on a plane, with a way that ends at the origin and begins 3 off the plane."""
    x, y = np.linspace(-2, 2, 9), np.linspace(-1, 1, 5)
    at = np.array([1.0, 0.5, 0.0]), np.array([0.5, 0.25, 0.0])
    off = np.array([3.0, 1.0, 0.0])
    losses = 1 + at[0] ** 2 + 4 * at[1] ** 2 + off**2
    track = Track("trajectory", *at, off, np.hypot(off, np.hypot(*at)), losses, np.array([0, 10, 20]))
    names = {"name": "test", "origin": "end", "x_name": "first direction", "y_name": "second direction"}
    return Plane(x, y, 1 + x[None] ** 2 + 4 * y[:, None] ** 2, tracks=(track,), **names)


def straight():
    """J = (1 − α)² from −0.25 to 1.25, with a validation loss above it and an accuracy."""
    alpha = np.linspace(-0.25, 1.25, 13)
    loss, unknown = (1 - alpha) ** 2, np.full(13, np.nan)
    others = (Along("validation loss", loss + 0.1, 0.05 + 0 * loss), Along("accuracy", np.clip(alpha, 0, 1), unknown))
    return Line(alpha, loss, 0.02 + 0 * loss, length=5.0, others=others, method="in place")


def arc():
    """A half circle of radius 2 over a line of length 4, on J = 1 + β²/4 + (4 − α)."""
    turn = np.linspace(np.pi, 0, 9)
    along, beside = 2 + 2 * np.cos(turn), 2 * np.sin(turn)
    offsets, rows = np.linspace(-3, 3, 13), np.arange(1, 8)
    surface = 5 - along[rows][:, None] + offsets[None] ** 2 / 4
    losses = 5 - along + beside**2 / 4
    return Projection(np.arange(9) * 10, along, beside, losses, 4.0, offsets, surface, rows, method="in place")


def components():
    """Four points in three components."""
    at = np.array([[3.0, 0.0, 0.0], [2.0, 1.0, 0.0], [1.0, 1.0, 0.5], [0.0, 0.0, 0.0]])
    off = np.array([0.1, 0.1, 0.0, 0.0])
    distances, losses = np.sqrt((at**2).sum(1) + off**2), np.array([3.0, 2.0, 1.0, 0.5])
    return Components(np.arange(4), at, np.array([0.8, 0.15, 0.05]), off, distances, losses)


def winding():
    return Winding(np.array([0, 1, 3, 9]), 4.0, 2.0, np.array([0.5, -0.2]), np.array([0.1, 0.2, -0.3]))


def bezier():
    """A curve that stays at 1 where the straight line rises to 2."""
    t = np.linspace(0, 1, 11)
    low, high = np.ones(11), 1 + 4 * t * (1 - t)
    return Curve("bezier", t, low, 0.01 * low, high, np.zeros((1, 3)), 3.0, 2.5, method="Adam, 5 steps")


MADE = {
    "line": straight, "plane": bowl, "projection": arc, "components": components, "winding": winding, "curve": bezier
}  # fmt: skip


@pytest.fixture
def made():
    """Name of a kind of record -> what makes one, with any of its fields changed."""
    return {kind: lambda make=make, **changes: replace(make(), **changes) for kind, make in MADE.items()}
