"""Who answers the questions of a search? J: its value, its slope, its curvature along a vector."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float

from theodolite.errors import ObjectiveError, SettingError
from theodolite.objective import Objective

Vector = Float[np.ndarray, "params"]


class Oracle(Protocol):
    """What can be asked of J at a point, which is a float64 vector."""

    @property
    def is_smooth(self) -> bool:
        """Whether it knows gradients and products with the Hessian."""
        ...

    def value(self, point: Vector) -> float:
        """J."""
        ...

    def gradient(self, point: Vector) -> tuple[float, Vector]:
        """J and its gradient."""
        ...

    def product(self, point: Vector, vector: Vector) -> Vector:
        """The Hessian at the point times a vector."""
        ...


class FromFunction:
    """A function of one array, of which only values are known."""

    @property
    def is_smooth(self) -> bool:
        """No."""
        return False

    def __init__(self, function: Callable[[Vector], float]) -> None:
        self._function = function

    def value(self, point: Vector) -> float:
        """J, of a copy of the point: what the function does to it does no harm."""
        value = np.asarray(self._function(point.copy()), dtype=np.float64)
        if value.size != 1:
            raise ObjectiveError(f"the function must give one number, got shape {value.shape}. Return J(θ) alone.")
        return float(value.reshape(()))

    def gradient(self, point: Vector) -> tuple[float, Vector]:
        """None."""
        raise SettingError("a method with gradients must have an Objective; got a function. Make one of it.")

    def product(self, point: Vector, vector: Vector) -> Vector:
        """None either."""
        raise SettingError("a method with curvature must have an Objective; got a function. Make one of it.")


class FromObjective:
    """An objective; points are rounded to its type."""

    @property
    def is_smooth(self) -> bool:
        """Yes."""
        return True

    def __init__(self, objective: Objective) -> None:
        self._objective = objective

    def value(self, point: Vector) -> float:
        """J."""
        return self._objective.value(self._tensor(point))

    def gradient(self, point: Vector) -> tuple[float, Vector]:
        """J and its gradient, by one backward pass after a forward one each."""
        theta = self._tensor(point)
        return self._objective.value(theta), _array(self._objective.gradient(theta))

    def product(self, point: Vector, vector: Vector) -> Vector:
        """The Hessian at the point times a vector."""
        return _array(self._objective.hvp(self._tensor(vector), self._tensor(point)))

    def _tensor(self, point: Vector) -> torch.Tensor:
        theta: torch.Tensor = torch.from_numpy(np.ascontiguousarray(point))
        return theta.to(dtype=self._objective.dtype, device=self._objective.device)


def _array(tensor: torch.Tensor) -> Vector:
    return np.asarray(tensor.detach().cpu().double().numpy())
