"""Is a loop that does not zero its gradients told, and no other?"""

import warnings

import pytest
import torch
from torch import nn

from theodolite import Monitor, diagnose
from theodolite.records import Run

STEPS = 24


def zero_before(optimizer, model):
    optimizer.zero_grad()


def zero_in_place(optimizer, model):
    optimizer.zero_grad(set_to_none=False)


def zero_data(optimizer, model):
    for tensor in model.parameters():
        if tensor.grad is not None:
            tensor.grad.data.zero_()


def never(optimizer, model):
    """What is tested."""


def clip(model):
    nn.utils.clip_grad_norm_(model.parameters(), 0.1)


def nothing(model):
    """No clipping."""


def trained(
    place, zero, *, shorten=nothing, passes=1, rate=1e-3, make=torch.optim.SGD, dtype=torch.float32, after=False
):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1)).to(dtype)
    batches = [(torch.randn(16, 6, dtype=dtype), torch.randn(16, 1, dtype=dtype)) for _ in range(STEPS)]
    loss = lambda model, batch: ((model(batch[0]) - batch[1]) ** 2).mean()  # noqa: E731
    optimizer = make(model.parameters(), lr=rate)
    monitor = Monitor(model, optimizer, loss, run=place)
    for batch in monitor(batches):
        if not after:
            zero(optimizer, model)
        for _ in range(passes):
            loss(model, batch).backward()
        shorten(model)
        optimizer.step()
        if after:
            zero(optimizer, model)
    assert not [tensor for tensor in model.parameters() if tensor._backward_hooks]
    monitor.close()
    return any("not zeroed" in event.detail.get("text", "") for event in Run(place).events("note"))


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adam])
@pytest.mark.parametrize("shorten", [nothing, clip])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_who_never_zeroes_is_told(tmp_path, make, shorten, dtype):
    assert trained(tmp_path / "run", never, shorten=shorten, make=make, dtype=dtype)


@pytest.mark.parametrize("zero", [zero_before, zero_in_place, zero_data])
@pytest.mark.parametrize("shorten", [nothing, clip])
@pytest.mark.parametrize("after", [False, True])
def test_who_zeroes_in_any_way_is_not(tmp_path, zero, shorten, after):
    assert not trained(tmp_path / "run", zero, shorten=shorten, after=after)


def test_accumulation_is_no_neglect(tmp_path):
    assert not trained(tmp_path / "run", zero_before, passes=3)


def test_a_model_is_copied_and_saved_meanwhile_without_a_word(tmp_path):
    model = nn.Linear(6, 8)
    monitor = Monitor(model, torch.optim.SGD(model.parameters(), lr=0.1), lambda m, b: m(b).sum(), run=tmp_path / "run")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.save(model, tmp_path / "model.pt")
    assert not torch.load(tmp_path / "model.pt", weights_only=False).weight._backward_hooks
    monitor.close()
    assert not model.bias._backward_hooks


def test_the_verdict_is_that_steps_are_too_long(tmp_path):
    assert trained(tmp_path / "run", never, rate=0.5)
    found = diagnose(tmp_path / "run")
    assert "not zeroed" in found.notes[0]
    assert found.findings["none"].verdict.name == "ABSENT"


def test_hooks_of_others_on_the_optimizer_go_on(tmp_path):
    """Also those that were registered later, and those of a second monitor: none is removed while they are called."""
    model = nn.Linear(6, 8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    loss = lambda model, batch: model(batch).square().mean()  # noqa: E731
    monitors = [Monitor(model, optimizer, loss, run=tmp_path / name) for name in ("first", "second")]
    steps = []
    optimizer.register_step_post_hook(lambda *_: steps.append(1))
    optimizer.register_step_pre_hook(lambda *_: steps.append(1))
    for batch in monitors[0](torch.randn(40, 4, 6)):
        optimizer.zero_grad()
        loss(model, batch).backward()
        optimizer.step()
    assert len(steps) == 80
    for monitor in monitors:
        monitor.close()
    assert len(optimizer._optimizer_step_post_hooks) == 1
    assert len(optimizer._optimizer_step_pre_hooks) == 1


def test_nothing_of_it_ends_a_training(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr("theodolite.monitor.zeroing._is_kept", fail)
    assert not trained(tmp_path / "run", never)


def test_a_part_of_the_model_that_is_not_stepped_is_noted(tmp_path):
    model = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model[1].parameters(), lr=0.01)
    with Monitor(model, optimizer, lambda m, b: m(b).square().mean(), run=tmp_path / "run"):
        pass
    assert "steps 9 of 65 trainable parameters" in diagnose(tmp_path / "run").notes[0]


def test_a_loop_without_a_step_is_told(tmp_path):
    model = nn.Linear(6, 8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    monitor = Monitor(model, optimizer, lambda m, b: m(b).square().mean(), run=tmp_path / "run")
    for batch in monitor(torch.randn(8, 4, 6)):
        model(batch).square().mean().backward()
    found = monitor.diagnose(seconds=5)
    monitor.close()
    assert found.obstacle == "undetermined"
    assert "optimizer.step()" in found.findings["none"].missing
