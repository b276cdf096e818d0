"""Which way did the run come? Copies of the parameters, thinned evenly over its steps, and what stands there."""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from theodolite.objective import Objective, Params
from theodolite.probes.samples import rounding_of, weighted_mean
from theodolite.probes.terrain import turned
from theodolite.records import MISSING, Trail

_MOST_POINTS = 32
_MOST_BYTES = 128 * 2**20
_FEWEST_POINTS = 4


class Buffers:
    """The floating-point buffers of a model, such as the running statistics of a normalisation."""

    def __init__(self, model: nn.Module) -> None:
        """Look at a model."""
        self._model = model

    def copy(self) -> dict[str, Tensor]:
        """Copies on the CPU."""
        named = self._model.named_buffers()
        return {name: part.detach().cpu().clone() for name, part in named if part.is_floating_point()}

    def place(self, values: dict[str, Tensor]) -> None:
        """Write copies back."""
        with torch.no_grad():
            for name, part in self._model.named_buffers():
                if name in values:
                    part.copy_(values[name])


class Points:
    """Copies of θ on the CPU, at most 32 of them, as evenly spaced in steps as doubling strides allow.

    When they are full every other one is let go, and the stride doubles: at any time there are 16 to 32, the first of
    them the start.
    """

    def __init__(self, params: Params, model: nn.Module) -> None:
        """Keep nothing yet; nothing ever, where four copies would take more than 128 MiB."""
        self._params, self._buffers = params, Buffers(model)
        size = sum(tensor.nbytes for tensor in params.tensors)
        self._most = min(_MOST_POINTS, _MOST_BYTES // max(1, size))
        self._stride = 1
        self.next = 0 if self._most >= _FEWEST_POINTS else math.inf
        self.steps: list[int] = []
        self.thetas: list[Tensor] = []
        self.buffers: list[dict[str, Tensor]] = []

    def pass_by(self, step: int) -> None:
        """Keep where the run stands, which is due at step ``next``; points that are not finite are not kept."""
        theta = self._params.point().cpu()
        if bool(torch.isfinite(theta).all()):
            self.steps.append(step)
            self.thetas.append(theta)
            self.buffers.append(self._buffers.copy())
        if len(self.steps) >= self._most:
            self.steps, self.thetas, self.buffers = self.steps[::2], self.thetas[::2], self.buffers[::2]
            self._stride *= 2
        self.next = step - step % self._stride + self._stride

    def at(self, share: float) -> Tensor | None:
        """The point nearest to a share of the steps so far; None without points."""
        if not self.steps:
            return None
        wanted = share * self.steps[-1]
        return self.thetas[min(range(len(self.steps)), key=lambda index: abs(self.steps[index] - wanted))]


def trail(
    points: Points,
    judge: Objective,
    theta: Float[Tensor, "params"],
    step: int,
    *,
    validation: Objective | None = None,
    buffers: Buffers | None = None,
    most: int = _MOST_POINTS,
) -> Trail:
    """What stands at the points that a run came through.

    Args:
        points: The copies of θ.
        judge: J of the held examples.
        theta: Where the run stands now, shape (n,).
        step: The step there.
        validation: Loss of the validation data in at least two batches, if there are any.
        buffers: Those of the model that the validation runs, to be set to what they were at each point.
        most: Look at so many points at most, evenly chosen.

    Returns:
        The trail; its last point is the present one.

    Cost: one forward pass over the held examples a point, and one over the validation data.
    """
    before = [place for place, at in enumerate(points.steps) if at < step]
    if len(before) > max(2, most):
        before = [before[place] for place in np.linspace(0, len(before) - 1, max(2, most)).round().astype(int)]
    thetas = [points.thetas[place].to(theta) for place in before] + [theta]
    counts, here = judge.batch_values(theta)
    base = weighted_mean(counts, here).value
    rounding = rounding_of(base, judge.dtype)
    changes = [weighted_mean(counts, judge.batch_values(at)[1] - here, rounding=rounding) for at in thetas]
    stack = torch.stack(thetas)
    gram = torch.cdist(stack.double(), stack.double(), compute_mode="donot_use_mm_for_euclid_dist")
    seen, turn, place = np.zeros(0), MISSING, 0
    if validation is not None:
        present = buffers.copy() if buffers is not None else {}
        held = [points.buffers[place] for place in before] + [present]
        measured = []
        for at, values_then in zip(thetas, held, strict=True):
            if buffers is not None:
                buffers.place(values_then)
            measured.append(validation.batch_values(at))
        sizes, values = measured[0][0], np.stack([losses for _, losses in measured])
        seen = values @ sizes / sizes.sum()
        turn, place = turned(sizes, values)
    steps = np.array([points.steps[place] for place in before] + [step])
    return Trail(
        steps=steps,
        losses=np.array([base + change.value for change in changes]),
        errors=np.array([change.error for change in changes]),
        distances=gram.cpu().numpy(),
        norms=torch.linalg.vector_norm(stack, dim=1, dtype=torch.float64).cpu().numpy(),
        validation=seen,
        turn=turn,
        turned_at=int(steps[place]),
    )
