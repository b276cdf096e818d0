"""Functions with published minima, from the starts in the tests of SciPy, pytorch-minimize and torch-optimizer."""

import numpy as np
import pytest
import torch
from torch import nn

from theodolite.optim import DampedNewton, NaturalGradient, SaddleFreeNewton, TrustRegionNewtonCG


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def beale(x):
    a, b = x
    return (1.5 - a + a * b) ** 2 + (2.25 - a + a * b**2) ** 2 + (2.625 - a + a * b**3) ** 2


def hilbert(x):
    """½xᵀHx with Hᵢⱼ = 1/(i + j + 1): the condition number in 6 dimensions is 1.5e7."""
    place = torch.arange(len(x), dtype=x.dtype)
    return 0.5 * x @ (1 / (place[:, None] + place + 1)) @ x


FUNCTIONS = {
    "Rosenbrock of SciPy's tutorial": (rosenbrock, [1.3, 0.7, 0.8, 1.9, 1.2], [1.0] * 5),
    "Rosenbrock of torch-optimizer": (rosenbrock, [-2.0, 2.0], [1.0, 1.0]),
    "Beale of torch-optimizer": (beale, [1.5, 1.5], [3.0, 0.5]),
    "Hilbert's matrix": (hilbert, [1.0] * 6, [0.0] * 6),
}
OPTIMIZERS = {
    "trust region": TrustRegionNewtonCG,
    "saddle-free Newton": SaddleFreeNewton,
    "saddle-free Newton in a Krylov space": lambda p: SaddleFreeNewton(p, products=6),
    "damped Newton": DampedNewton,
}
FAST = {("saddle-free Newton", "Beale of torch-optimizer"), ("saddle-free Newton", "Rosenbrock of torch-optimizer")}


DRAWN = ("damped Newton", "Beale of torch-optimizer")
"""Ends at the saddle (0, 1) instead."""

ROWS = [
    pytest.param(make, *FUNCTIONS[name], id=f"{title}, {name}", marks=[pytest.mark.slow] * ((title, name) not in FAST))
    for title, make in OPTIMIZERS.items()
    for name in FUNCTIONS
    if (title, name) != DRAWN
]


def reached(make, function, start):
    """The point where J is below 1e-14, or that of the sixtieth step."""
    point = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    optimizer = make([point])

    def closure():
        optimizer.zero_grad()
        value = function(point)
        value.backward()
        return value

    for _ in range(60):
        if optimizer.step(closure).item() < 1e-14:
            break
    return point.detach().numpy()


@pytest.mark.parametrize(("make", "function", "start", "end"), ROWS)
def test_minima_are_found(make, function, start, end):
    assert np.allclose(reached(make, function, start), end, rtol=0, atol=1e-3)


@pytest.mark.slow
def test_damped_newton_is_drawn_to_the_saddle_of_beale():
    """At (0, 1) the gradient is zero and the Hessian [[0, 27.75], [27.75, 0]]."""
    name, title = DRAWN
    function, start, _ = FUNCTIONS[title]
    assert np.allclose(reached(OPTIMIZERS[name], function, start), [0, 1], atol=1e-6)


@pytest.mark.slow
def test_the_natural_gradient_fits_a_curve():
    """y = a·exp(bx) from (1, 0), the fit that Gauss-Newton methods are made for: exact data give exact a and b."""

    class Curve(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = (nn.Parameter(torch.tensor(value, dtype=torch.float64)) for value in (1.0, 0.0))

        def forward(self, x):
            return self.a * torch.exp(self.b * x)

    x = torch.linspace(0, 1, 20, dtype=torch.float64)
    model = Curve()
    optimizer = NaturalGradient(model.parameters(), model=model)
    for _ in range(60):
        optimizer.step(lambda: (model(x) - 3 * torch.exp(-2 * x)).square().mean())
    assert model.a.item() == pytest.approx(3, abs=1e-6)
    assert model.b.item() == pytest.approx(-2, abs=1e-6)
