"""Branches: they go on exactly as the run would, and leave it as it is."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from theodolite.monitor.branch import Branch
from theodolite.monitor.tape import Precision, Repeat

OPTIMIZERS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "sgd": lambda m: torch.optim.SGD(m.parameters(), 0.1, momentum=0.9),
    "adamw": lambda m: torch.optim.AdamW(m.parameters(), 1e-2),
    "rmsprop": lambda m: torch.optim.RMSprop(m.parameters(), 1e-2),
    "lbfgs": lambda m: torch.optim.LBFGS(m.parameters(), 0.1),
    "groups": lambda m: torch.optim.SGD([{"params": m[0].parameters(), "lr": 1.0}, {"params": m[2].parameters()}], 0.1),
}


def training(name: str) -> tuple[nn.Module, torch.optim.Optimizer, list[Repeat]]:
    """A small net, its optimizer and four batches."""
    source = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.copy_(torch.randn(tensor.shape, generator=source) / 2)
    batches = [torch.randn(6, 4, generator=source) for _ in range(4)]
    return model, OPTIMIZERS[name](model), [Repeat(batch, None, Precision()) for batch in batches]


def loss(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    """Distance of the outputs from the first inputs."""
    return ((model(batch) - batch[:, :2]) ** 2).mean()


def plain_step(model: nn.Module, optimizer: torch.optim.Optimizer, batch: torch.Tensor) -> None:
    """What the user's loop does."""

    def closure() -> float:
        optimizer.zero_grad()
        value = loss(model, batch)
        value.backward()
        return float(value.detach())

    optimizer.step(closure)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_branch_goes_on_as_the_run_would(name: str) -> None:
    """After some steps, with state in the optimizer, branch and run take bitwise the same steps."""
    model, optimizer, items = training(name)
    for item in items[:2]:
        plain_step(model, optimizer, item.batch)
    branch = Branch(model, optimizer, loss, [n for n, _ in model.named_parameters()])
    before = copy.deepcopy(model.state_dict())
    for item in items:
        branch.step([item], seed=0)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    for item in items:
        plain_step(model, optimizer, item.batch)
    here = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    assert torch.equal(branch.params.point(), here)


def test_hooks_and_schedulers_stay_with_the_run() -> None:
    """A branch's steps fire no hook of the run's optimizer and move no scheduler."""
    model, optimizer, items = training("sgd")
    fired = []
    optimizer.register_step_post_hook(lambda *_: fired.append(1))
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    branch = Branch(model, optimizer, loss, [n for n, _ in model.named_parameters()])
    branch.scale_step(10.0)
    branch.step(items, seed=0)
    assert fired == []
    assert scheduler.last_epoch == 0
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert branch.optimizer.param_groups[0]["lr"] == 1.0


def test_a_larger_batch_is_the_mean_gradient() -> None:
    """One step on several batches is a step on their mean."""
    model, optimizer, items = training("sgd")
    branch = Branch(model, optimizer, loss, [n for n, _ in model.named_parameters()])
    branch.step(items, seed=0)
    plain_step(model, optimizer, torch.cat([item.batch for item in items]))
    here = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    assert torch.allclose(branch.params.point(), here, atol=1e-6)


def test_no_random_state_moves() -> None:
    """Dropout on a branch draws from a pinned state."""
    model, _, items = training("sgd")
    net = nn.Sequential(model, nn.Dropout(0.5))
    branch = Branch(net, torch.optim.SGD(net.parameters(), 0.1), loss, [n for n, _ in net.named_parameters()])
    state = torch.get_rng_state()
    branch.step(items[:1], seed=3)
    assert torch.equal(state, torch.get_rng_state())


def test_modules_that_the_loss_reaches_are_left_alone() -> None:
    """A generator's branch runs a discriminator with BatchNorm: its statistics and gradients stay as they are."""
    model, optimizer, items = training("sgd")
    judge = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    judge(torch.randn(8, 2)).sum().backward()
    before = copy.deepcopy(judge.state_dict())
    grads = [p.grad.clone() for p in judge.parameters() if p.grad is not None]
    branch = Branch(
        model,
        optimizer,
        lambda m, b: nn.functional.softplus(-judge(m(b))).mean(),
        [n for n, _ in model.named_parameters()],
    )
    start = branch.params.point()
    branch.step(items, seed=0)
    assert not torch.equal(start, branch.params.point())
    assert all(torch.equal(before[key], value) for key, value in judge.state_dict().items())
    assert all(torch.equal(a, p.grad) for a, p in zip(grads, judge.parameters(), strict=True) if p.grad is not None)


def test_gradients_are_clipped_as_loops_clip_them() -> None:
    """The same steps as ``clip_grad_norm_`` before each, to rounding; norms are told as they were before."""
    model, optimizer, items = training("sgd")
    branch = Branch(model, optimizer, loss, [n for n, _ in model.named_parameters()], clip=0.05)
    for item in items:
        branch.step([item], seed=0)
        optimizer.zero_grad()
        loss(model, item.batch).backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 0.05)
        optimizer.step()
        assert branch.stride is not None
        assert branch.stride.read()[1] == pytest.approx(float(norm), rel=1e-5)
    here = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    assert torch.allclose(branch.params.point(), here, atol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_each_step_is_reported(name: str, dtype: torch.dtype) -> None:
    """Loss of its own batches before it, norm of their mean gradient, length of the move; LBFGS at its first look."""
    model, _, items = training(name)
    model.to(dtype)
    optimizer = OPTIMIZERS[name](model)
    items = [Repeat(item.batch.to(dtype), None, Precision()) for item in items]
    branch = Branch(model, optimizer, loss, [n for n, _ in model.named_parameters()])
    before = branch.params.point()
    assert branch.stride is None
    branch.step(items[:2], seed=0)
    assert branch.stride is not None
    told = branch.stride.read()
    value = sum(loss(model, item.batch) for item in items[:2]) / 2
    gradient = torch.cat([g.reshape(-1) for g in torch.autograd.grad(value, list(model.parameters()))])
    moved = (branch.params.point().double() - before.double()).norm()
    rtol = 2e-2 if dtype == torch.bfloat16 else 1e-4
    assert told == pytest.approx((float(value.detach()), float(gradient.double().norm()), float(moved)), rel=rtol)


def test_a_parameter_without_a_gradient_is_no_obstacle() -> None:
    """Zero gradient norm, zero move; and a clipped branch stays finite."""
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    branch = Branch(model, optimizer, lambda m, b: (0 * m(b)).sum(), ["weight", "bias"], clip=1.0)
    branch.step([Repeat(torch.ones(1, 2), None, Precision())], seed=0)
    assert branch.stride is not None
    assert branch.stride.read() == (0.0, 0.0, 0.0)
    assert bool(torch.isfinite(branch.params.point()).all())
