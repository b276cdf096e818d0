"""Is the metric of an optimizer the one in which it walks, and does the real one diverge just beyond its limit?"""

import math
from inspect import unwrap

import numpy as np
import pytest
import torch
from torch import nn, optim

from families import regression
from theodolite.errors import SettingError, ShapeError
from theodolite.linalg.eigenvalues import largest_eigenvalues
from theodolite.linalg.matrices import dense
from theodolite.linalg.metric import Metric, optimizer_metric, preconditioned
from theodolite.objective import Objective

FROZEN = 1 - 1e-15  # a second moment that stands still


def bowl(theta: torch.Tensor, H: torch.Tensor) -> torch.Tensor:
    return 0.5 * theta @ H @ theta


def matrix(n: int, generator: torch.Generator) -> torch.Tensor:
    M = torch.randn(n, n, generator=generator, dtype=torch.float64)
    return M @ M.T / n + 0.1 * torch.eye(n, dtype=torch.float64)


def freeze(optimizer: optim.Optimizer, tensor: torch.Tensor, scale: torch.Tensor) -> None:
    """Give the optimizer the state of a long training whose preconditioner no longer moves."""
    zero = torch.zeros_like(tensor)
    steps = torch.tensor(1e8)
    state = {"step": steps, "exp_avg": zero.clone(), "momentum_buffer": zero.clone()}
    if isinstance(optimizer, (optim.Adam, optim.NAdam)):
        # 1 − β₂ᵗ at t = 1e8: what torch divides by
        state["exp_avg_sq"] = scale**2 * (1 - optimizer.param_groups[0]["betas"][1] ** 1e8)
        state["max_exp_avg_sq"] = state["exp_avg_sq"].clone()
        state["mu_product"] = torch.tensor(0.0)
    elif isinstance(optimizer, optim.Adamax):
        state["exp_inf"] = scale.clone()
    elif isinstance(optimizer, optim.RMSprop):
        state["square_avg"], state["grad_avg"] = scale**2 + 0.25, torch.full_like(scale, 0.5)
        if not optimizer.param_groups[0]["centered"]:
            state["square_avg"] = scale**2
    elif isinstance(optimizer, optim.Adagrad):
        state["sum"] = scale**2
    if not isinstance(optimizer, optim.SGD):
        optimizer.state[tensor] = state


WALKS = {
    "sgd": (lambda p: optim.SGD(p, lr=0.1), 2),
    "heavy ball": (lambda p: optim.SGD(p, lr=0.1, momentum=0.9), 3.8),
    "dampened": (lambda p: optim.SGD(p, lr=0.1, momentum=0.8, dampening=0.5), 2 * 1.8 / 0.5),
    "nesterov": (lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True), 2 * 1.9 / 2.8),
    "adam": (lambda p: optim.Adam(p, lr=0.1, betas=(0.9, FROZEN)), 38),
    "adam without averaging": (lambda p: optim.Adam(p, lr=0.1, betas=(0.0, FROZEN)), 2),
    "amsgrad": (lambda p: optim.Adam(p, lr=0.1, betas=(0.8, FROZEN), amsgrad=True), 18),
    "adamw": (lambda p: optim.AdamW(p, lr=torch.tensor(0.1), betas=(0.5, FROZEN), weight_decay=0.0, foreach=False), 6),
    "adamax": (lambda p: optim.Adamax(p, lr=0.1, betas=(0.9, FROZEN)), 38),
    "nadam": (lambda p: optim.NAdam(p, lr=0.1, betas=(0.9, FROZEN)), 2 * 1.9 / (0.1 * 2.8)),
    "rmsprop": (lambda p: optim.RMSprop(p, lr=0.1, alpha=FROZEN), 2),
    "rmsprop with momentum": (lambda p: optim.RMSprop(p, lr=0.1, alpha=FROZEN, momentum=0.9), 3.8),
    "rmsprop centered": (lambda p: optim.RMSprop(p, lr=0.1, alpha=FROZEN, centered=True), 2),
}


@pytest.mark.parametrize("name", WALKS)
@pytest.mark.parametrize("n", [1, 4])
def test_the_real_optimizer_diverges_just_beyond_the_limit(name, n, generator):
    """Stretch H until λmax(D^½HD^½) stands just below or above the limit, and let torch walk."""
    make, limit = WALKS[name]
    grown = {}
    for factor in (0.98, 1.02):
        H = matrix(n, generator(n))
        theta = torch.linspace(1e-6, 2e-6, n, dtype=torch.float64)  # so small that what grows leaves v alone
        objective = Objective.from_function(lambda t, H=H: bowl(t, H), theta)
        (leaf,) = objective.params.tensors
        optimizer = make([leaf])
        freeze(optimizer, leaf, torch.linspace(1, 2, n, dtype=torch.float64))
        metric = optimizer_metric(objective, optimizer)
        assert metric.stability_limit == pytest.approx(limit, rel=1e-5)
        sharpness = largest_eigenvalues(preconditioned(dense(H), metric), rtol=1e-6, generator=generator()).values[0]
        H *= factor * metric.stability_limit / sharpness
        for _ in range(1000):
            leaf.grad = H @ leaf.detach()
            optimizer.step()
            if leaf.abs().max() > 1e-3:
                break
        grown[factor] = float(leaf.detach().abs().max())
    assert grown[0.98] < 1e-6
    assert grown[1.02] > 1e-3


def check_the_last_step(objective: Objective, optimizer: optim.Optimizer, steps: int) -> None:
    """A step is D times what the walk feeds it: for optimizers without momentum, D times the gradient."""
    leaf = objective.params.tensors[0]
    for _ in range(steps):
        optimizer.zero_grad()
        (leaf**2).sum().backward()
        before, g = leaf.detach().clone(), leaf.grad.clone()
        optimizer.step()
    metric = optimizer_metric(objective, optimizer)
    torch.testing.assert_close(metric.scale * g, before - leaf.detach(), rtol=1e-10, atol=0)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: optim.SGD(p, lr=0.01),
        lambda p: optim.Adam(p, lr=0.01, betas=(0.0, 0.9), eps=1e-2),
        lambda p: optim.AdamW(p, lr=0.01, betas=(0.0, 0.9), amsgrad=True, weight_decay=0),
        lambda p: optim.Adamax(p, lr=0.01, betas=(0.0, 0.9)),
        lambda p: optim.RMSprop(p, lr=0.01, eps=1e-2),
        lambda p: optim.RMSprop(p, lr=0.01, centered=True),
        lambda p: optim.Adagrad(p, lr=0.01, lr_decay=0.5),
    ],
)
def test_without_averaging_a_step_is_the_scale_times_the_gradient(make):
    """To the last bit of bias correction, ε and decay: torch's own step is the oracle."""
    objective = Objective.from_function(lambda t: (t**2).sum(), torch.tensor([1.0, -3.0, 1e-3], dtype=torch.float64))
    optimizer = make(list(objective.params.tensors))
    check_the_last_step(objective, optimizer, steps=3)
    assert optimizer_metric(objective, optimizer).stability_limit == pytest.approx(2)


@pytest.mark.parametrize("steps", [1, 4])
def test_adam_moves_by_its_average_over_the_preconditioner(steps):
    objective = Objective.from_function(lambda t: (t**2).sum(), torch.tensor([1.0, -3.0], dtype=torch.float64))
    (leaf,) = objective.params.tensors
    optimizer = optim.Adam([leaf], lr=0.1, betas=(0.9, 0.99))
    for _ in range(steps):
        optimizer.zero_grad()
        (leaf**2).sum().backward()
        before = leaf.detach().clone()
        optimizer.step()
    expected = optimizer_metric(objective, optimizer).scale * optimizer.state[leaf]["exp_avg"]
    torch.testing.assert_close(before - leaf.detach(), expected, rtol=1e-10, atol=0)


def test_nadam_in_the_middle_of_its_schedule():
    """At step t its momentum is not yet β₁: the limit is that of the weights it uses then."""
    metric, grown = None, {}
    for factor in (0.97, 1.03):
        objective = Objective.from_function(lambda t: (t**2).sum(), torch.tensor([1e-6], dtype=torch.float64))
        (leaf,) = objective.params.tensors
        optimizer = optim.NAdam([leaf], lr=0.1, betas=(0.9, FROZEN), momentum_decay=0.0)  # μ stays at β₁/2
        freeze(optimizer, leaf, torch.ones(1, dtype=torch.float64))
        metric = optimizer_metric(objective, optimizer)
        curvature = factor * metric.stability_limit / float(metric.scale)
        for _ in range(600):
            leaf.grad = curvature * leaf.detach()
            optimizer.step()
            if leaf.abs() > 1e-3:
                break
        grown[factor] = abs(float(leaf.detach()))
    assert grown[0.97] < 1e-6 < 1e-3 < grown[1.03]
    assert metric.stability_limit != pytest.approx(2 * 1.9 / (0.1 * 2.8), rel=0.1)


def two_groups() -> tuple[nn.Module, Objective]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
        data = (torch.randn(8, 3, dtype=torch.float64), torch.randn(8, 2, dtype=torch.float64))
    return model, Objective(model, regression, data)


def test_groups_map_by_identity_in_any_order():
    model, objective = two_groups()
    optimizer = optim.SGD(
        [{"params": list(model[2].parameters()), "lr": 0.3}, {"params": list(model[0].parameters()), "momentum": 0.5}],
        lr=0.1,
    )
    metric = optimizer_metric(objective, optimizer)
    assert metric.scale.tolist() == [0.1] * 16 + [0.3] * 10
    assert metric.stability_limit == 2  # the least of 2 and 3
    assert metric.optimizer == "SGD"


@pytest.mark.slow
def test_below_the_least_limit_of_mixed_groups_all_is_stable(generator):
    """For heavy balls of different momentum and dampening: no root leaves the unit disk."""
    source = generator(5)
    for _ in range(300):
        n = 4
        S = matrix(n, source)
        B = torch.rand(n, generator=source, dtype=torch.float64) * 0.99
        C = torch.rand(n, generator=source, dtype=torch.float64).clamp(min=0.05)
        limit = float((2 * (1 + B) / C).min())
        S *= 0.999 * limit / float(torch.linalg.eigvalsh(S)[-1])
        # θ' = θ − S m', m' = Bm + Cθ in the metric
        top = torch.cat([torch.eye(n) - S @ torch.diag(C), -S @ torch.diag(B)], 1)
        whole = torch.cat([top, torch.cat([torch.diag(C), torch.diag(B)], 1)])
        assert float(torch.linalg.eigvals(whole).abs().max()) < 1


def test_a_parameter_without_gradient_does_not_move():
    model, objective = two_groups()
    optimizer = optim.Adam(model.parameters())
    for parameter in model[2].parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    scale = optimizer_metric(objective, optimizer).scale
    assert (scale[:16] == 0).all()
    assert (scale[16:] > 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_preconditioned_operator_is_the_dense_one(dtype, generator):
    """To its stated error, even where the scales span nine orders of magnitude."""
    H = matrix(30, generator(2))
    d = torch.logspace(-8, 1, 30, dtype=torch.float64)
    expected = d.sqrt()[:, None] * H * d.sqrt()
    op = preconditioned(dense(H.to(dtype)), Metric(d.to(dtype), 2.0, "by hand"))
    found = op.to_dense().double()
    size = float(torch.linalg.matrix_norm(expected, 2))
    assert float(torch.linalg.matrix_norm(found - expected, 2)) <= 4 * op.relative_error * size
    values = largest_eigenvalues(op, 2, generator=generator(), rtol=1e-5).values
    np.testing.assert_allclose(values, torch.linalg.eigvalsh(expected).numpy()[::-1][:2], rtol=1e-5)
    assert op.dtype is dtype


def test_half_of_the_scale_is_half_of_the_sharpness(generator):
    H = matrix(6, generator(1))
    metrics = [Metric(c * torch.ones(6), 2.0, "x") for c in (1.0, 0.5)]
    sharpness = [
        float(largest_eigenvalues(preconditioned(dense(H), metric), generator=generator()).values[0])
        for metric in metrics
    ]
    assert sharpness[1] == pytest.approx(sharpness[0] / 2, rel=1e-3)
    assert sharpness[0] == pytest.approx(float(torch.linalg.eigvalsh(H)[-1]), rel=1e-3)
    assert math.isfinite(sharpness[0])


class Odd(optim.SGD):
    """A subclass may step as it likes."""


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: optim.Adadelta(m.parameters()), "one of Adagrad, Adam, AdamW, .*SGD, got a Adadelta"),
        (lambda m: Odd(m.parameters(), lr=0.1), "got a Odd"),
        (lambda m: optim.Adam(m.parameters()), "must have taken a step .* optimizer.step\\(\\) once before"),
        (lambda m: optim.SGD(m[0].parameters(), lr=0.1), r"lacks 2.weight, 2.bias \(2 in all\)"),
        (lambda m: optim.SGD(m.parameters(), lr=0.1, maximize=True), "must descend, got maximize=True"),
    ],
)
def test_mistakes_are_told(make, message):
    model, objective = two_groups()
    with pytest.raises(SettingError, match=message):
        optimizer_metric(objective, make(model))


def test_in_words():
    metric = Metric(torch.tensor([0.25, 4.0]), 38.0, "Adam")
    assert str(metric) == repr(metric) == "Metric(Adam: 2 scales from 0.25 to 4, stability limit 38)"
    assert len(repr(Metric(torch.ones(10**5), 2.0, "SGD"))) < 100


def test_a_vector_is_no_metric():
    with pytest.raises(SettingError, match=r"^metric must be a Metric, got a Tensor. Take optimizer_metric\(objective"):
        unwrap(preconditioned)(dense(torch.eye(2)), torch.ones(2))
    with pytest.raises(SettingError, match="^objective must be an Objective, got a Linear"):
        unwrap(optimizer_metric)(torch.nn.Linear(1, 1), None)


def test_a_metric_must_fit():
    op = dense(torch.eye(3))
    with pytest.raises(ShapeError, match="the size 3 of the operator, got \\(2,\\)"):
        preconditioned(op, Metric(torch.ones(2), 2.0, "x"))
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(SettingError, match="finite and not negative"):
            preconditioned(op, Metric(torch.tensor([1.0, bad, 1.0]), 2.0, "x"))
