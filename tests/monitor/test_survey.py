"""The survey at the end: its numbers against closed forms, its limits told, the run untouched."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from theodolite import Monitor, Run, diagnose
from theodolite.records import Status, Survey


class Point(nn.Module):
    """A point x in the plane."""

    def __init__(self, *start: float) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.tensor(start, dtype=torch.float64))


def watched(
    model: nn.Module, loss: object, run: Path, *, rate: float, steps: int = 30, batch: object = None
) -> Monitor:
    """A plain training by gradient descent on one and the same batch."""
    optimizer = torch.optim.SGD(model.parameters(), rate)
    monitor = Monitor(model, optimizer, loss, run=run, budget=None)  # type: ignore[arg-type]
    for item in monitor([batch] * steps):
        optimizer.zero_grad()
        loss(model, item).backward()  # type: ignore[operator]
        optimizer.step()
    return monitor


def survey_of(monitor: Monitor) -> Survey:
    """Diagnose and close, and read the survey back."""
    monitor.diagnose(seconds=30)
    monitor.close()
    found = Run(monitor.run).result("Survey")
    assert isinstance(found, Survey)
    return found


def test_a_bowl_is_surveyed_exactly(tmp_path: Path) -> None:
    """½(x² + 4y²): both eigenvalues, the gradient, and the exact budget of plain steps."""
    curvatures = torch.tensor([1.0, 4.0], dtype=torch.float64)
    model = Point(1.0, 1.0)
    found = survey_of(watched(model, lambda m, _: 0.5 * (curvatures * m.x**2).sum(), tmp_path / "r", rate=0.1, steps=3))
    x = np.array([0.9**3, 0.6**3])
    assert found.loss.value == pytest.approx(0.5 * (x[0] ** 2 + 4 * x[1] ** 2), rel=1e-9)
    assert found.grad_norm == pytest.approx(np.hypot(x[0], 4 * x[1]), rel=1e-9)
    assert found.largest.value == pytest.approx(4.0, rel=1e-6)
    assert found.smallest.value == pytest.approx(1.0, rel=1e-6)
    steps = np.array([0.9, 0.6])[None] ** np.arange(found.steps)[:, None] * x
    gradients = steps * np.array([1.0, 4.0])
    assert found.promise.value == pytest.approx(float((0.1 * gradients**2).sum(1).mean()), rel=1e-6)
    assert found.noise.value == pytest.approx(0.0, abs=1e-12)
    bent = 0.5 * (np.array([1.0, 4.0]) * (0.1 * gradients) ** 2).sum(1).mean()
    assert found.curvature.value == pytest.approx(float(bent), rel=1e-6)
    assert found.delivered.value == pytest.approx(found.promise.value - found.curvature.value, rel=1e-6)
    newton = found.what_if("curvature-corrected").gain.value
    assert newton == pytest.approx(found.loss.value, rel=1e-6)
    assert found.notes == ()


def test_a_saddle_is_seen(tmp_path: Path) -> None:
    """½x² − ½y² + ¼y⁴ near the origin: λmin = −1, critical, and the way down gains ½s² − ¼s⁴."""

    def loss(model: Point, _: object) -> Tensor:
        return 0.25 + 0.5 * model.x[0] ** 2 - 0.5 * model.x[1] ** 2 + 0.25 * model.x[1] ** 4

    monitor = watched(Point(1.0, 1e-9), loss, tmp_path / "r", rate=0.1, steps=60)
    diagnosis = monitor.diagnose(seconds=30)
    found = Run(monitor.run).result("Survey")
    assert diagnosis.obstacle == "saddle_point"
    assert found.smallest.value == pytest.approx(-1.0, abs=1e-3)
    assert found.escape < 0.1
    move = found.what_if("negative curvature")
    assert 0.4 < move.length < 1.1  # the quadratic model is within a factor two up to s = 1
    assert move.gain.value == pytest.approx(move.length**2 / 2 - move.length**4 / 4, rel=1e-3)
    assert any(remedy.name == "move along negative curvature" and remedy.helped for remedy in diagnosis.remedies)


def test_the_record_alone_gives_the_same_judgement(tmp_path: Path) -> None:
    """What ``monitor.diagnose`` says, ``diagnose(Run(...))`` says after the model is gone."""
    monitor = watched(Point(1.0, 1.0), lambda m, _: (m.x**2).sum(), tmp_path / "r", rate=1e-6)
    live = monitor.diagnose(seconds=30)
    monitor.close()
    stored = diagnose(Run(tmp_path / "r"))
    assert live.obstacle == stored.obstacle == "step_too_small"
    assert live.probabilities == stored.probabilities
    assert str(live) == str(stored)


def test_a_loss_that_is_not_finite_is_told(tmp_path: Path) -> None:
    """Diverged: the survey says so, and looks at the last point before; the verdict is a step too large."""
    monitor = watched(Point(1.0, 1.0), lambda m, _: (m.x**2).sum() + 1, tmp_path / "r", rate=50.0, steps=100)
    diagnosis = monitor.diagnose(seconds=5)
    found = Run(monitor.run).result("Survey")
    assert found.status is Status.NONFINITE
    assert found.step < 100
    assert any("surveyed at step" in note for note in found.notes)
    assert not Run(monitor.run).events("probe_failed")  # a number that overflows is no failure, and warns of nothing
    assert diagnosis.obstacle == "step_too_large"
    cured = {remedy.name: remedy for remedy in diagnosis.remedies}
    assert cured["step × 0.01"].helped
    assert not cured["step × 10"].helped


def test_a_loss_that_has_blown_up_is_as_good_as_infinite(tmp_path: Path) -> None:
    """|1 − 2η| = 3: after 24 steps J is 10²³ times what it was, and finite."""
    monitor = watched(Point(1.0, 1.0), lambda m, _: (m.x**2).sum() + 1, tmp_path / "r", rate=2.0, steps=24)
    diagnosis = monitor.diagnose(seconds=4)
    found = Run(monitor.run).result("Survey")
    assert found.status is Status.NONFINITE
    assert found.step < 5
    assert any("ended at a loss of" in note for note in found.notes)
    assert diagnosis.obstacle == "step_too_large"
    assert "blown up" in str(diagnosis)


class Sudden(nn.Module):
    """A deep rectifier net on digits of its own; a step beyond what is stable carries it to infinity at once."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (8, 64, 64, 1)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        return self.layers[-1](x)[:, 0]


def test_a_deep_net_that_overshoots_is_not_taken_for_a_cliff(tmp_path: Path) -> None:
    """Its loss goes to infinity within four steps, as at a wall; clipping does not save it, shorter steps do."""
    torch.manual_seed(0)
    model, x = Sudden(), torch.randn(256, 8)
    y = torch.sin(x[:, 0]) + x[:, 1]
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    monitor = Monitor(model, optimizer, lambda m, b: ((m(b[0]) - b[1]) ** 2).mean(), run=tmp_path / "r")
    batches = [(x[i : i + 32], y[i : i + 32]) for i in range(0, 256, 32)]
    for step, (inputs, targets) in enumerate(monitor(batches * 12)):
        for group in optimizer.param_groups:
            group["lr"] = 0.05 if step < 64 else 4.0
        optimizer.zero_grad()
        ((model(inputs) - targets) ** 2).mean().backward()
        optimizer.step()
    diagnosis = monitor.diagnose(seconds=5)
    assert diagnosis.obstacle == "step_too_large"
    assert diagnosis.findings["cliff"].verdict == "absent"
    assert diagnosis.remedies[0].ends
    assert "with it J comes to" in str(diagnosis)


def test_clipping_shortens_steps_and_with_them_the_sharpness(tmp_path: Path) -> None:
    """Of a gradient of norm 8 clipped at 0.01 a step is 800 times shorter, and so far from what is unstable."""
    model = Point(2.0, 0.0)
    optimizer = torch.optim.SGD(model.parameters(), 0.4)
    monitor = Monitor(model, optimizer, lambda m, _: (2 * m.x**2).sum(), run=tmp_path / "r", budget=None)
    for _ in monitor([None] * 20):
        optimizer.zero_grad()
        (2 * model.x**2).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.01)
        optimizer.step()
    found = survey_of(monitor)
    norm = 4 * float(model.x[0].detach())
    assert found.stable_sharpness == 2.0
    assert found.sharpness.value == pytest.approx(0.4 * 4 * 0.01 / norm, rel=0.02)


def test_weights_without_a_gradient_are_held_against_a_bias_that_has_one(tmp_path: Path) -> None:
    """Tiny weights in four layers: all have lost their gradient alike, and only the last bias shows it."""
    torch.manual_seed(0)
    layers = [nn.Linear(6, 6) for _ in range(4)]
    model, x = nn.Sequential(*layers), torch.randn(32, 6)
    for layer in layers:
        nn.init.normal_(layer.weight, std=1e-3)
        nn.init.zeros_(layer.bias)
    usual = nn.Sequential(*(nn.Linear(6, 6) for _ in range(4)))
    for name, net, is_deep in (("tiny", model, True), ("usual", usual, False)):
        found = survey_of(watched(net, lambda m, _: ((m(x) - 1) ** 2).mean(), tmp_path / name, rate=1e-3, steps=3))
        assert (found.depth_ratio < 1e-3) == is_deep


def test_no_time_is_told_not_hidden(tmp_path: Path) -> None:
    """With no time at all, what was left out stands in the notes, and nothing is absent for lack of looking."""
    monitor = watched(Point(1.0, 1.0), lambda m, _: (m.x**2).sum(), tmp_path / "r", rate=0.01)
    diagnosis = monitor.diagnose(seconds=0.0)
    assert any("time was used up" in note for note in diagnosis.notes)
    assert diagnosis.findings["saddle_point"].verdict == "undetermined"


def test_before_the_first_batch_nothing_is_claimed(tmp_path: Path) -> None:
    """A diagnosis of nothing."""
    model = Point(1.0)
    monitor = Monitor(model, torch.optim.SGD(model.parameters(), 0.1), lambda m, _: (m.x**2).sum(), run=tmp_path / "r")
    diagnosis = monitor.diagnose()
    assert diagnosis.obstacle == "undetermined"
    assert any("no batch" in note for note in diagnosis.notes)


def test_a_model_that_cannot_be_copied_is_still_surveyed(tmp_path: Path) -> None:
    """Branches need a copy; without one the rest of the survey stands, and the notes say why."""

    class Uncopyable(Point):
        def __deepcopy__(self, memo: object) -> "Uncopyable":
            raise TypeError("not to be copied")

    found = survey_of(watched(Uncopyable(1.0, 1.0), lambda m, _: (m.x**2).sum(), tmp_path / "r", rate=0.01))
    assert found.largest.value == pytest.approx(2.0, rel=1e-6)
    assert found.steps == 0
    assert any("not to be copied" in note for note in found.notes)
