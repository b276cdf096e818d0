"""Is there a way of low loss between two points, where the straight line climbs?

A barrier on the straight line need not be one on other ways: curves around it are looked for. What is not answered:
whether there is none when none was found.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theodolite.errors import SettingError
from theodolite.landscape.batch_norm import batchwise, check_choice, evaluated, notes_of_statistics, recomputed
from theodolite.landscape.evaluation import evaluate
from theodolite.landscape.points import point_of
from theodolite.linalg.progress import progress
from theodolite.linalg.randomness import source
from theodolite.linalg.settings import check_count, check_tolerance
from theodolite.objective import Objective
from theodolite.records.lines import Evaluations
from theodolite.records.trajectories import Curve

Weights = Callable[[Float[np.ndarray, "points"], int], Float[np.ndarray, "points controls"]]
"""Weights of the control points at positions t, for so many bends; each row sums to 1."""

_CHECKS = 6
"""So many times on its way J is looked at along the whole curve: at 21 points, a seventh of what 300 steps cost."""

_NODES = 64
"""Gauss-Legendre nodes for the length of a Bézier curve; its speed is the root of a polynomial."""

_GOLDEN = (math.sqrt(5) - 1) / 2
"""Each t is this far from the last, modulo 1: any few in a row are spread evenly, and each is uniform by itself."""

_ROUNDING = 1e-6
"""A straight line that climbs by less than this share of its greatest loss has nothing to go around."""


@dataclass(frozen=True)
class Descent:
    """How the bends of a curve go downhill: Adam, its rate falling to 0 over the second half.

    Attributes:
        steps: Batch gradients at most.
        learning_rate: In root mean squares of the difference of neighbouring control points at the start. A tenth was
            best or near on digits, for one to three bends; with thrice that, polygons of three bends diverge.
        tolerance: The search ends when the barrier is at most this share of that on the straight line.
        points: How many positions t from 0 to 1 the result has, both ends among them.
    """

    steps: int = 300
    learning_rate: float = 0.1
    tolerance: float = 0.05
    points: int = 21


def connect(  # noqa: PLR0913  # two points, what curve, how to search, and with which statistics
    objective: Objective,
    a: object,
    b: object,
    *,
    kind: str = "bezier",
    bends: int = 1,
    descent: Descent | None = None,
    batch_norm: Literal["recomputed"] | None = None,
    generator: torch.Generator | None = None,
) -> Curve:
    """A curve of low loss from a to b: E J(φ(t)), t ~ U(0, 1), is minimised over the bends of φ.

    φ(t) = Σₖ wₖ(t)·cₖ with c₀ = a and the last one b, which stay; w are Bernstein's polynomials ("bezier") or hats
    ("polygon"). The bends start evenly on the straight line. Each batch meets a t of its own and pulls at bend k by
    wₖ(t)·∇J(φ(t)). Of all curves looked at on the way, the straight line among them, the one of the lowest barrier is
    the result.

    Args:
        objective: J(θ).
        a: Start of the curve: a vector of shape (n,), or tensors by name.
        b: End of the curve, likewise.
        kind: "bezier" or "polygon".
        bends: Control points between a and b.
        descent: How long and how far to search; None is ``Descent()``.
        batch_norm: "recomputed" lets every point that is looked at have its own statistics of batch normalisation, and
            gradients those of their batch, as training has; None keeps the mode and the statistics of the model.
        generator: Source of t; give one for a repeatable result.

    Returns:
        J on the curve and on the straight line at the same t; ``notes`` say if the search fell short.

    Raises:
        SettingError: If a setting lies outside what it may be, a state lacks a parameter, or the model has no batch
            normalisation whose statistics could be recomputed.
        ShapeError: If an end has another shape than θ.

    Cost: at most ``steps`` batch gradients, and 8 × ``points`` + 1 passes over the data; with recomputed statistics
    nearly twice as many.
    Limits: J between the ``points`` is not seen. Where ∇J has no part across the straight line, as on a mirror plane,
    the bends stay on it. Of AutoNEB (Draxler 2018) a polygon leaves out the projection across the path, the springs,
    and the insertion of pivots where J is high; on digits the projection did not lower the barrier.
    Source: Garipov et al. 2018, section 3. Deviations: (1) t moves on by the golden ratio from a random start, which
    leaves a hundredth of the error of independent ones on a quadratic; (2) the lowest curve, not the last, is returned.

    Example:
        >>> ring = Objective.from_function(lambda x: (x @ x - 1) ** 2 + 0.1 * (x[1] - 1) ** 2, torch.ones(2))
        >>> a, b, source = torch.tensor([-1.0, 0.1]), torch.tensor([1.0, 0.1]), torch.Generator().manual_seed(0)
        >>> curve = connect(ring, a, b, generator=source)
        >>> curve.barrier < 0.1 * curve.barrier_before
        True
    """
    settings = descent or Descent()
    _check(kind, bends, settings)
    if batch_norm is not None:
        check_choice(objective, batch_norm, choices=("recomputed",))
    here, there = point_of(objective, a, "a"), point_of(objective, b, "b")
    positions = np.linspace(0, 1, settings.points)
    weights = _KINDS[kind](positions, bends)
    start = _evenly(here, there, bends)
    task = _Task(objective, _KINDS[kind], settings, batch_norm is not None)
    straight = task.looked_at(torch.stack([here, there]), np.stack([1 - positions, positions], 1))
    best = _Found(start, straight, 0, _obstacles(straight.losses))
    if not best.notes:
        best = _lowest(task, best, _descended(task, start, generator=source(generator)), weights=weights)
    return Curve(
        kind=kind,
        positions=positions,
        losses=best.seen.losses,
        errors=best.seen.errors,
        straight=straight.losses,
        bends=best.controls[1:-1].cpu().numpy(),
        length=_length(kind, best.controls),
        displacement=_distance(here, there),
        method=f"Adam, {best.taken} of at most {settings.steps} steps; J {best.seen.method}",
        notes=(*best.notes, *notes_of_statistics(objective, choice=batch_norm)),
    )


def bernstein(positions: Float[np.ndarray, "points"], bends: int) -> Float[np.ndarray, "points controls"]:
    """Weights of the control points of a Bézier curve: C(d, k) tᵏ(1 − t)ᵈ⁻ᵏ, of degree d = bends + 1.

    Args:
        positions: t, from 0 to 1.
        bends: Control points between the ends.

    Returns:
        A row for each t, a column for each control point.
    """
    degree = bends + 1
    t = np.asarray(positions, np.float64)
    return np.stack([math.comb(degree, k) * t**k * (1 - t) ** (degree - k) for k in range(degree + 1)], 1)


def hats(positions: Float[np.ndarray, "points"], bends: int) -> Float[np.ndarray, "points controls"]:
    """Weights of the corners of a polygon that it passes at t = k/(bends + 1): max(0, 1 − |t·(bends + 1) − k|).

    Args:
        positions: t, from 0 to 1.
        bends: Corners between the ends.

    Returns:
        A row for each t, a column for each corner.
    """
    pieces = bends + 1
    return np.maximum(0.0, 1.0 - np.abs(np.asarray(positions, np.float64)[:, None] * pieces - np.arange(pieces + 1)))


_KINDS: dict[str, Weights] = {"bezier": bernstein, "polygon": hats}


@dataclass(frozen=True, eq=False)
class _Found:
    """The lowest curve that was looked at.

    Attributes:
        controls: Its control points.
        seen: J on it.
        taken: Steps that the search took.
        notes: What went otherwise than it should.
    """

    controls: Float[Tensor, "controls params"]
    seen: Evaluations
    taken: int
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Stage:
    """A curve on the way down.

    Attributes:
        taken: Steps so far.
        left_out: How many of them had a gradient that was not finite.
        controls: The control points.
    """

    taken: int
    left_out: int
    controls: Float[Tensor, "controls params"]


@dataclass(frozen=True, eq=False)
class _Task:
    """What is searched for, and how J is seen.

    Attributes:
        objective: J(θ).
        weigh: The kind of curve.
        descent: How long and how far to search.
        is_recomputed: Whether statistics of batch normalisation are those of the point, or of the batch in a gradient.
    """

    objective: Objective
    weigh: Weights
    descent: Descent
    is_recomputed: bool = False

    def looked_at(self, controls: Tensor, weights: Float[np.ndarray, "points controls"]) -> Evaluations:
        """J on a curve, from zero, so that both ends are met to the bit."""
        if not self.is_recomputed:
            return evaluate(self.objective, torch.zeros_like(controls[0]), tuple(controls), weights)
        points = (self.point(controls, row) for row in weights)
        return evaluated(self.objective, ((theta, recomputed(self.objective, theta)) for theta in points))

    def point(self, controls: Tensor, row: Float[np.ndarray, "controls"]) -> Float[Tensor, "params"]:
        """A point of the curve, in the type of θ."""
        return (torch.from_numpy(row).to(controls) @ controls).to(self.objective.dtype)

    def training(self) -> AbstractContextManager[None]:
        """How gradients are taken."""
        return batchwise(self.objective.source.model) if self.is_recomputed else nullcontext()

    def gradients(self, theta: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Number of examples and gradient of one batch after the other, each where θ is when it is asked for."""
        while True:
            batches = self.objective.batch_gradients(theta)
            while True:
                with self.training():
                    found = next(batches, None)
                if found is None:
                    break
                yield found

    def steepness(self, start: Tensor) -> float:
        """Size of the gradient half way, by which gradients are divided: Adam's ε is for gradients of size 1."""
        with self.training():
            size = _root_mean_square(self.objective.gradient((start[0] + start[-1]) / 2))
        return size if 0 < size < math.inf else 1.0


def _lowest(task: _Task, straight: _Found, stages: Iterator[_Stage], *, weights: np.ndarray) -> _Found:
    """The lowest of the curves on the way down; where one is low enough, the last."""
    descent, best, notes = task.descent, straight, straight.notes
    aim, taken = descent.tolerance * _height(straight.seen.losses), 0
    with progress(descent.steps, "curve (at most)") as bar:
        for stage in stages:
            bar.update(stage.taken - taken)
            taken, notes = stage.taken, _left_out(stage)
            seen = task.looked_at(stage.controls, weights)
            if _height(seen.losses) < _height(best.seen.losses):
                best = _Found(stage.controls, seen, taken, notes)
            if _height(best.seen.losses) <= aim:
                return best
    return replace(best, taken=taken, notes=(*notes, *_short(best is straight, descent)))


def _descended(task: _Task, start: Tensor, *, generator: torch.Generator) -> Iterator[_Stage]:
    """The curve after each sixth of the steps."""
    controls, steps = start.clone(), task.descent.steps
    bends = controls[1:-1]
    rate = task.descent.learning_rate * _root_mean_square(start[1] - start[0])
    optimizer = torch.optim.Adam([bends], lr=rate)
    theta, steepness = task.objective.at(start[0]), task.steepness(start)
    mean = float(np.mean(task.objective.batch_values(start[0])[0]))
    first, left_out = float(torch.rand((), generator=generator, dtype=torch.float64)), 0

    def move(step: int) -> Tensor:
        # In place: the next batch is asked for at this very vector.
        t = np.array([(first + step * _GOLDEN) % 1.0])
        weights = torch.from_numpy(task.weigh(t, len(bends))[0]).to(controls)
        theta.copy_(weights @ controls)
        return weights[1:-1, None]

    pull = move(0)
    for step, (count, gradient) in enumerate(islice(task.gradients(theta), steps), 1):
        if bool(gradient.isfinite().all()):
            bends.grad = pull * gradient.to(bends) * (count / mean / steepness)
            optimizer.step()
        else:
            left_out += 1
        optimizer.param_groups[0]["lr"] = rate * min(1.0, 2.0 * (1.0 - step / steps))
        if step % math.ceil(steps / _CHECKS) == 0 or step == steps:
            yield _Stage(step, left_out, controls.clone())
        pull = move(step)


def _root_mean_square(vector: Tensor) -> float:
    return float(torch.linalg.vector_norm(vector, dtype=torch.float64)) / math.sqrt(len(vector))


def _distance(here: Tensor, there: Tensor) -> float:
    return float(torch.linalg.vector_norm(there.double() - here.double()))


def _evenly(here: Tensor, there: Tensor, bends: int) -> Float[Tensor, "controls params"]:
    """Control points evenly on the straight line, both ends to the bit; in float32 at least: small steps count."""
    wide = torch.promote_types(here.dtype, torch.float32)
    shares = [k / (bends + 1) for k in range(bends + 2)]
    return torch.stack([(1 - share) * here.to(wide) + share * there.to(wide) for share in shares])


def _length(kind: str, controls: Float[Tensor, "controls params"]) -> float:
    """Length of the curve through its control points."""
    moves = [(end.double() - start.double()) for start, end in pairwise(controls)]
    products = np.array([[float(one @ other) for other in moves] for one in moves])
    if kind == "polygon":
        return float(np.sqrt(np.diagonal(products)).sum())
    nodes, shares = np.polynomial.legendre.leggauss(_NODES)
    # The derivative of a Bézier curve is one of its differences, times its degree.
    slopes = len(moves) * bernstein((nodes + 1) / 2, len(moves) - 2)
    speeds = np.sqrt(np.maximum(np.einsum("ti,ij,tj->t", slopes, products, slopes), 0.0))
    return float(shares @ speeds / 2)


def _height(losses: Float[np.ndarray, "points"]) -> float:
    """Barrier, infinite where a loss is not finite."""
    return float(losses.max() - max(losses[0], losses[-1])) if np.isfinite(losses).all() else math.inf


def _check(kind: str, bends: int, descent: Descent) -> None:
    """Refuse what cannot be worked with."""
    if kind not in _KINDS:
        raise SettingError(f"kind must be one of {', '.join(map(repr, _KINDS))}, got {kind!r}. Take one of them.")
    check_count("bends", bends)
    check_count("steps", descent.steps)
    check_count("points", descent.points, 3)
    check_tolerance("tolerance", descent.tolerance)
    check_tolerance("learning_rate", descent.learning_rate)


def _obstacles(straight: Float[np.ndarray, "points"]) -> tuple[str, ...]:
    """Why there is nothing to search for."""
    if not np.isfinite(straight[[0, -1]]).all():
        return ("J is not finite at an end: no curve was looked for.",)
    if _height(straight) <= _ROUNDING * np.abs(straight).max():
        return ("The straight line has no barrier: no curve was looked for.",)
    return ()


def _left_out(stage: _Stage) -> tuple[str, ...]:
    """How many steps could not be taken."""
    if not stage.left_out:
        return ()
    return (f"Of {stage.taken} gradients, {stage.left_out} were not finite; these steps were left out.",)


def _short(is_straight: bool, descent: Descent) -> tuple[str, ...]:
    """That the search ended above its tolerance."""
    where = "No curve lower than the straight line was found" if is_straight else "The barrier is above its tolerance"
    return (f"{where} after {descent.steps} steps; more steps or bends may find a lower one.",)
