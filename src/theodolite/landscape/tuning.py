"""Which way of evaluating J is the fastest here, and does it give the same J?"""

import logging
from dataclasses import dataclass, replace
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from theodolite.landscape.first_layer import first_layer
from theodolite.landscape.flats import Surface
from theodolite.landscape.ways import BatchLosses, Way, batch_losses
from theodolite.objective.isolation import isolated
from theodolite.objective.sources import Source

_LOG = logging.getLogger(__name__)

FEW = 8
"""Fewer points are evaluated the plain way: trying others would cost more than it saves."""

_SHARE = 0.25
"""Share of the time of all points, the plain way, that trying may take."""

_GAIN = 0.92
"""A way must take less than this share of the best one's time: smaller gains are not told from noise."""

_SLOW = 1.2
"""Where pieces take this many times the best time, smaller ones are not tried."""

_SLACK = 64
"""Values of one J found in two ways differ by so many roundings; batch statistics differ by far more."""

_HALF = 1e-4
"""Types with greater roundings are of half precision, where rounding would hide a batch statistic."""

_COARSE = 1e-2
"""Greatest relative error of a preview."""

_TINY = np.finfo(np.float64).tiny

_SIZES = (128, 32, 64, 8, 256)
"""Examples at a time that may fit a cache."""


@dataclass(frozen=True)
class Choice:
    """A way, and what was found out in choosing it.

    Attributes:
        way: The way.
        remark: How well it agrees with others, or why another was left out.
        points: For so many points or fewer it is the choice: more would pay for trying further ways.
        passes: How many times all points are gone through, for data that are not held as a whole; 1 where not tried.
    """

    way: Way
    remark: str = ""
    points: float = 0
    passes: int = 1

    def __str__(self) -> str:
        """Both in words."""
        return f"{self.way}; {self.remark}" if self.remark else str(self.way)


def untried(source: Source, *, preview: bool) -> Choice:
    """The plain way, without trying any.

    Args:
        source: Where J comes from.
        preview: Whether a forward pass in bfloat16 will do.

    Returns:
        The way.
    """
    dtype = source.params.dtype
    if preview and dtype != torch.float32:
        return Choice(Way(), f"bfloat16 preview left out: θ is {str(dtype).removeprefix('torch.')}")
    return Choice(Way(is_preview=preview))


def chosen(surface: Surface, rows: Float[np.ndarray, "points directions"], *, preview: bool) -> Choice:
    """The fastest of some ways, each tried at two of the points, where it must give the J of the plain way.

    Args:
        surface: J, and the flat.
        rows: All points to come.
        preview: Whether a forward pass in bfloat16 will do.

    Returns:
        The way; the plain one where J is not finite at the two points, or the model draws at random or keeps state.

    Cost: three points the plain way, and about the time of a quarter of all of them.
    """
    source = surface.source
    first = untried(source, preview=preview)
    if torch.finfo(source.params.dtype).eps > _HALF:
        return replace(first, points=np.inf)
    contest = _Contest(surface, rows)
    if contest.best.is_guarded or not np.all(np.isfinite(contest.values)):
        way = replace(contest.best, is_preview=first.way.is_preview)
        return replace(first, way=way, points=np.inf, passes=contest.passes)
    remark = contest.preview() if first.way.is_preview else first.remark
    for change in _changes(surface):
        contest.offer(change)
    return Choice(contest.best, remark, contest.points, contest.passes)


def _changes(surface: Surface) -> list[dict[str, Any]]:
    """What may make a way faster, the greatest gain first; a convolution that comes first rarely carries much."""
    source = surface.source
    with isolated(source.modules, source.params.tensors, seed=surface.seed):
        count, term = next(iter(source.terms()))
        layer = first_layer(source.model, term)
    # Greater than the cache of a CPU are most batches; on other devices small pieces only leave units idle.
    sizes = [{"size": size} for size in _SIZES if size < count and source.params.device.type == "cpu"]
    if not layer or source.model is None:
        return sizes
    is_linear = isinstance(source.model.get_submodule(layer), nn.Linear)
    return [{"layer": layer}, *sizes] if is_linear else [*sizes, {"layer": layer}]


class _Clock:
    """Times of points, read when their losses are there."""

    def __init__(self, device: torch.device) -> None:
        # On a CPU that others use too, time on the wall tells of them.
        self.now = process_time if device.type == "cpu" else perf_counter
        self._last = self.now()
        self.laps: list[float] = []

    def __call__(self, losses: Tensor) -> None:
        """Hear of one point; reading a loss waits for the device."""
        losses[-1].item()
        now = self.now()
        self.laps.append(now - self._last)
        self._last = now


class _Contest:
    """Ways of evaluating J in turn at the same two points, and the best so far."""

    def __init__(self, surface: Surface, rows: Float[np.ndarray, "points directions"]) -> None:
        """Let the plain way set the values and the time."""
        self._surface = surface
        self._slack = _SLACK * torch.finfo(surface.source.params.dtype).eps
        by_distance = np.argsort(np.linalg.norm(rows, axis=1), kind="stable")
        # Where J is finite anywhere, it is so near the origin.
        self._rows = rows[by_distance[[0, len(rows) // 2]]]
        self._slow: list[int] = []
        self.passes = 0
        found, self._time = self._tried(Way())
        self.best, self.values = found.way, _means(found)
        self.points, self._many = np.inf, len(rows)
        self._left = _SHARE * len(rows) * self._time

    def _tried(self, way: Way) -> tuple[BatchLosses, float]:
        """Losses at the two points, and the least time of a point; the first lap, which sets up, does not count."""
        clock = _Clock(self._surface.source.params.device)
        found = batch_losses(self._surface, self._rows[[0, 0, 1]], way=way, note=clock)
        laps = clock.laps[len(clock.laps) % 3 :]  # a way that was given up half-way has left some
        blocks = np.array(laps).reshape(-1, 3)
        self.passes = self.passes or len(blocks)
        return found, float(blocks[:, 1:].min(1).sum())

    def offer(self, change: dict[str, Any]) -> None:
        """Change the best way if that agrees and is faster; nothing is tried when the time for it is spent."""
        way = replace(self.best, **change)
        if "size" in change and any(way.size < slow for slow in self._slow):
            return
        if self._left < 3 * self._time:
            self.points = self._many
            return
        now = _Clock(self._surface.source.params.device).now
        begun = now()
        try:
            self._compete(way, is_cut="size" in change)
        except Exception as error:  # noqa: BLE001 - whatever a model raises on a piece of a graph's adjacency, say
            _LOG.debug("evaluating J %s was left out: %s", way, error)
        self._left -= now() - begun

    def _compete(self, way: Way, *, is_cut: bool) -> None:
        """Take a way if it agrees and is faster."""
        full = replace(way, is_preview=False)
        if way.is_preview and not self._agrees(batch_losses(self._surface, self._rows, way=full), full):
            return
        found, seconds = self._tried(way)
        if is_cut and seconds > _SLOW * self._time:
            self._slow.append(way.size)
        if seconds < _GAIN * self._time and (way.is_preview or self._agrees(found, full)):
            self.best, self._time = way, seconds

    def _agrees(self, found: BatchLosses, way: Way) -> bool:
        """Whether a way was gone as asked, and gave the J of the plain one."""
        return found.way == way and bool(np.all(np.abs(_means(found) - self.values) <= self._slack * abs(self.values)))

    def preview(self) -> str:
        """Take the preview if it is near enough and faster.

        Returns:
            How near it is, or why it was left out.
        """
        way = replace(self.best, is_preview=True)
        try:
            found, seconds = self._tried(way)
        except RuntimeError as refusal:  # an operation that is not there in bfloat16
            return f"bfloat16 preview left out: {str(refusal).partition(chr(10))[0]}"
        error = float(np.abs(_means(found) - self.values).max() / max(np.abs(self.values).max(), _TINY))
        if not error <= _COARSE:
            return f"bfloat16 preview left out: off by {error:.0%} of J at two points"
        if seconds > self._time:
            return f"bfloat16 preview left out: {seconds / self._time:.1f} times the time of full precision"
        self.best, self._time = way, seconds
        return f"off by {error:.1g} of J at two points"


def _means(found: BatchLosses) -> Float[np.ndarray, "points"]:
    """J at the first and the last point."""
    with np.errstate(invalid="ignore"):
        means: np.ndarray = found.losses[[0, -1]] @ found.counts / found.counts.sum()
    return means
