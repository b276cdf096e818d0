"""Which functions do searches measure themselves on? Standard ones, whose least value is published.

Each is a function of one tensor, so that an objective of it has exact gradients; ``STANDARD`` says where it is least.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from theodolite.errors import SettingError
from theodolite.objective import Objective


@dataclass(frozen=True)
class Standard:
    """A function with a published least value.

    Attributes:
        function: J of a tensor of shape (n,).
        bounds: The box in which it is usually searched, the same in every direction.
        value: Its least value; where that grows with n, its share of each direction.
        point: A coordinate of the point where it is least, or all of them.
        dimension: n; 0 where any will do.
        is_sum: Whether the least value is ``value`` times n.
        source: Where it is from.
    """

    function: Callable[[Tensor], Tensor]
    bounds: tuple[float, float]
    value: float
    point: tuple[float, ...]
    dimension: int
    source: str
    is_sum: bool = False

    def least(self, dimension: int) -> tuple[np.ndarray, float]:
        """Where it is least, and how small.

        Args:
            dimension: n.

        Returns:
            θ and J.

        Raises:
            SettingError: If it is not defined for so many directions.
        """
        if dimension < 1 or self.dimension not in {0, dimension}:
            raise SettingError(f"n must be {self.dimension or 'at least 1'}, got {dimension}.")
        point = np.array(self.point if len(self.point) > 1 else self.point * dimension)
        return point, self.value * (dimension if self.is_sum else 1)

    def objective(self, start: Tensor) -> Objective:
        """J as an objective.

        Args:
            start: θ, shape (n,).

        Returns:
            The objective.

        Raises:
            SettingError: If it is not defined for so many directions.
        """
        self.least(start.numel())
        return Objective.from_function(self.function, start)


def sphere(x: Tensor) -> Tensor:
    """Σ xᵢ²."""
    return (x**2).sum()


def rosenbrock(x: Tensor) -> Tensor:
    """Σ 100 (xᵢ₊₁ − xᵢ²)² + (1 − xᵢ)²: a bent valley."""
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def rastrigin(x: Tensor) -> Tensor:
    """10 n + Σ xᵢ² − 10 cos 2πxᵢ: about 10ⁿ minima."""
    return 10 * x.numel() + (x**2 - 10 * torch.cos(2 * math.pi * x)).sum()


def ackley(x: Tensor) -> Tensor:
    """A funnel in a nearly flat outside, with ripples."""
    bowl = torch.exp(-0.2 * torch.sqrt((x**2).mean() + 1e-300))
    return -20 * bowl - torch.exp(torch.cos(2 * math.pi * x).mean()) + 20 + math.e


def griewank(x: Tensor) -> Tensor:
    """1 + Σ xᵢ²/4000 − Π cos(xᵢ/√i)."""
    root = torch.arange(1, x.numel() + 1, dtype=x.dtype, device=x.device).sqrt()
    return 1 + (x**2).sum() / 4000 - torch.cos(x / root).prod()


def styblinski_tang(x: Tensor) -> Tensor:
    """½ Σ xᵢ⁴ − 16xᵢ² + 5xᵢ: 2ⁿ minima."""
    return 0.5 * (x**4 - 16 * x**2 + 5 * x).sum()


def branin(x: Tensor) -> Tensor:
    """Three equal minima in the plane; searched here in a square that holds the usual rectangle."""
    a, b = x[0], x[1]
    valley = b - 5.1 / (4 * math.pi**2) * a**2 + 5 / math.pi * a - 6
    return valley**2 + 10 * (1 - 1 / (8 * math.pi)) * torch.cos(a) + 10


def himmelblau(x: Tensor) -> Tensor:
    """Four equal minima in the plane."""
    return (x[0] ** 2 + x[1] - 11) ** 2 + (x[0] + x[1] ** 2 - 7) ** 2


_HARTMANN_A = (
    (10, 3, 17, 3.5, 1.7, 8),
    (0.05, 10, 17, 0.1, 8, 14),
    (3, 3.5, 1.7, 10, 17, 8),
    (17, 8, 0.05, 10, 0.1, 14),
)
_HARTMANN_P = (
    (0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886),
    (0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991),
    (0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650),
    (0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381),
)


def hartmann(x: Tensor) -> Tensor:
    """Four wells of different depth in six directions."""
    scales, places = (torch.tensor(table, dtype=x.dtype, device=x.device) for table in (_HARTMANN_A, _HARTMANN_P))
    depths = torch.tensor((1.0, 1.2, 3.0, 3.2), dtype=x.dtype, device=x.device)
    return -(depths * torch.exp(-(scales * (x - places) ** 2).sum(1))).sum()


STANDARD: Mapping[str, Standard] = MappingProxyType(
    {
        "sphere": Standard(sphere, (-5.0, 5.0), 0.0, (0.0,), 0, "De Jong 1975"),
        "rosenbrock": Standard(rosenbrock, (-5.0, 10.0), 0.0, (1.0,), 0, "Rosenbrock 1960"),
        "rastrigin": Standard(rastrigin, (-5.12, 5.12), 0.0, (0.0,), 0, "Rastrigin 1974"),
        "ackley": Standard(ackley, (-32.768, 32.768), 0.0, (0.0,), 0, "Ackley 1987"),
        "griewank": Standard(griewank, (-600.0, 600.0), 0.0, (0.0,), 0, "Griewank 1981"),
        "styblinski_tang": Standard(
            styblinski_tang, (-5.0, 5.0), -39.16616570377142, (-2.9035340,), 0, "Styblinski & Tang 1990", is_sum=True
        ),
        "branin": Standard(branin, (-5.0, 15.0), 0.39788735772973816, (math.pi, 2.275), 2, "Branin 1972"),
        "himmelblau": Standard(himmelblau, (-5.0, 5.0), 0.0, (3.0, 2.0), 2, "Himmelblau 1972"),
        "hartmann": Standard(
            hartmann,
            (0.0, 1.0),
            -3.322368011415515,
            (0.20168952, 0.15001069, 0.47687398, 0.27533243, 0.31165162, 0.65730054),
            6,
            "Hartmann 1973; optimum of Surjanovic & Bingham's library",
        ),
    }
)
"""Name -> function."""
