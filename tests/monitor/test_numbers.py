"""Is every number in the record that of the run: the loss of the loop to the last bit, the rest as recomputed?"""

import numpy as np
import pytest
import torch
from torch import nn

from monitor.bits import monitored, named, seeded
from monitor.trainings import FAMILIES, FOUR, LOOPS, MORE, classify, flat_data, made
from theodolite import Monitor, Run

SKIPS = {"scaler with a skipped step", "accumulation", "early break", "continue", "several steps", "nonfinite"}
"""Rows whose losses are not one a step: tested where loops are."""
APART = {
    "modes switched",
    "rmsprop, batches and outputs in place",
    "family spectral norm",
    "family stateful",
    "family loss module",
}
"""The first returns another number than its loss; the others change their state in the body, before it is repeated."""

ROWS = [row for row in (*FOUR, *LOOPS) if row.name not in SKIPS | APART]
SLOW = [row for row in (*MORE, *FAMILIES) if row.name not in SKIPS | APART]

pytestmark = pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*:UserWarning")


def recorded(row, folder, budget=None):
    with seeded():
        run = row.build()
        losses = []
        with monitored(folder, budget=budget)(run) as monitor:
            for batch in monitor(run.batches):
                losses.append(float(run.body(run, batch)))
    return losses, Run(folder / "run")


@pytest.mark.parametrize("row", named(ROWS, slow=SLOW))
def test_the_recorded_loss_is_that_of_the_loop_to_the_last_bit(row, tmp_path, monkeypatch):
    monkeypatch.setattr("theodolite.monitor.measurements.LANCZOS_PRODUCTS", 2)
    losses, record = recorded(row, tmp_path)
    assert record.series("loss").values.tolist() == losses
    if row.name not in {"compiled in place", "python state", "spectral norm"}:  # their state moves in the body
        # Repeated under the same randomness; kernels may differ in the order of their sums.
        rtol = 2e-3 if row.name == "autocast" else 1e-5
        assert np.allclose(record.series("own_loss_before").values, losses, rtol=rtol)


class Step:
    """One step of a double-precision model, with everything recomputed by plain autograd."""

    def __init__(self, run, batch):
        self.batch, self.before = batch, self.point(run)
        run.optimizer.zero_grad()
        loss = classify(run.model, batch)
        loss.backward()
        self.loss = float(loss.detach())
        self.grad = torch.cat([p.grad.reshape(-1) for p in run.model.parameters()])
        self.rate = run.optimizer.param_groups[0]["lr"]
        run.optimizer.step()
        self.after = self.point(run)

    @staticmethod
    def point(run):
        return torch.cat([p.detach().reshape(-1) for p in run.model.parameters()])


def smooth():
    return nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3)).double()


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    """A record, and the steps of the run it is of."""
    folder = tmp_path_factory.mktemp("numbers")
    with seeded():
        run = made(smooth(), flat_data(36))
        run.batches = [(x.double(), y) for x, y in run.batches]
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(run.optimizer, 6)
        validation = (torch.randn(5, 6).double(), torch.randint(0, 3, (5,)))
        steps = []
        monitor = Monitor(
            run.model, run.optimizer, classify, run=folder / "run", budget=None, validation=validation, seed=1
        )
        with monitor:
            for batch in monitor(run.batches):
                steps.append(Step(run, batch))
                scheduler.step()
    return run.model, steps, Run(folder / "run"), validation


def loss_at(model, theta, batch):
    parts = dict(zip(dict(model.named_parameters()), theta.split([p.numel() for p in model.parameters()]), strict=True))
    shaped = {name: parts[name].reshape(p.shape) for name, p in model.named_parameters()}
    return nn.functional.cross_entropy(torch.func.functional_call(model, shaped, (batch[0],)), batch[1])


def reference(steps):
    """The monitor's reference sample: the first four batches."""
    return torch.cat([s.batch[0] for s in steps[:4]]), torch.cat([s.batch[1] for s in steps[:4]])


def hessian_of(J, theta):
    return torch.autograd.functional.hessian(J, theta)


def series(record, name, steps):
    found = record.series(name)
    return found.values, [steps[step - 1] for step in found.steps]


def test_norms_rates_and_angles(lived):
    _, steps, record, _ = lived
    truths = {
        "loss": lambda s: s.loss,
        "learning_rate": lambda s: s.rate,
        "grad_norm": lambda s: float(s.grad.norm()),
        "update_norm": lambda s: float((s.after - s.before).norm()),
        "param_norm": lambda s: float(s.before.norm()),
    }
    for name, truth in truths.items():
        assert record.series(name).steps.tolist() == [1, 2, 3, 4, 5, 6], name
        assert np.allclose(record.series(name).values, [truth(s) for s in steps], rtol=1e-12), name
    assert len(set(record.series("learning_rate").values)) == 6
    moves = [s.after - s.before for s in steps]
    cosines = [float(a @ b / a.norm() / b.norm()) for a, b in zip(moves[1:], moves[:-1], strict=True)]
    assert record.series("update_cosine").steps.tolist() == [2, 3, 4, 5, 6]
    assert np.allclose(record.series("update_cosine").values, cosines, rtol=1e-10)


def test_own_and_fresh_losses(lived):
    model, steps, record, _ = lived
    for when, at in (("before", "before"), ("after", "after")):
        own, which = series(record, f"own_loss_{when}", steps)
        assert np.allclose(own, [float(loss_at(model, getattr(s, at), s.batch)) for s in which], rtol=1e-12)
        fresh, which = series(record, f"fresh_loss_{when}", steps)
        nexts = [steps[steps.index(s) + 1].batch for s in which]
        truth = [float(loss_at(model, getattr(s, at), batch)) for s, batch in zip(which, nexts, strict=True)]
        assert len(fresh) == 5
        assert np.allclose(fresh, truth, rtol=1e-12)


def test_the_budget_against_dense_derivatives(lived):
    model, steps, record, _ = lived
    for name in ("promise", "noise", "curvature", "higher_order", "delivered", "best_scale", "reference_loss"):
        values, which = series(record, name, steps)
        assert len(values) >= 2
        for value, step in zip(values, which, strict=True):
            J = lambda theta: loss_at(model, theta, reference(steps))  # noqa: E731
            G = torch.func.grad(J)(step.before)
            H = hessian_of(J, step.before)
            move = step.after - step.before
            bend = move @ H @ move
            truth = {
                "promise": -step.grad @ move,
                "noise": (G - step.grad) @ move,
                "curvature": bend / 2,
                "delivered": J(step.before) - J(step.after),
                "higher_order": -G @ move - bend / 2 - J(step.before) + J(step.after),
                "best_scale": -G @ move / bend if bend > 0 else torch.tensor(torch.inf),
                "reference_loss": J(step.before),
            }[name]
            assert value == pytest.approx(float(truth), rel=1e-8, abs=1e-13), name


def test_curvature_against_the_dense_hessian(lived):
    model, steps, record, _ = lived
    for name, index in (("largest", -1), ("smallest", 0)):
        values, which = series(record, f"{name}_eigenvalue", steps)
        errors = record.series(f"{name}_residual").values
        assert len(values) >= 2
        for value, error, step in zip(values, errors, which, strict=True):
            H = hessian_of(lambda theta: loss_at(model, theta, reference(steps)), step.before)
            truth = torch.linalg.eigvalsh(H)
            # A residual promises an eigenvalue that near; that it is the outermost, Lanczos shows to a few per cent.
            assert float((truth - value).abs().min()) <= error + 1e-9
            assert truth[0] - 1e-9 <= value <= truth[-1] + 1e-9
            assert abs(value - truth[index]) <= 0.05 * truth.abs().max()
    values, which = series(record, "gradient_curvature", steps)
    best, scale = record.series("best_step").values, record.series("step_scale").values
    for value, longest, taken, step in zip(values, best, scale, which, strict=True):
        J = lambda theta: loss_at(model, theta, reference(steps))  # noqa: E731
        G, H = torch.func.grad(J)(step.before), hessian_of(J, step.before)
        truth = float(G @ H @ G / (G @ G))
        assert value == pytest.approx(truth, rel=1e-9)
        assert longest == pytest.approx(1 / truth if truth > 0 else np.inf, rel=1e-9)
        assert taken == pytest.approx(float((step.after - step.before).norm() / step.grad.norm()), rel=1e-9)


def test_layers_and_noise(lived):
    model, steps, record, _ = lived
    names = record.metadata["layers"]
    assert names == [name for name, _ in model.named_parameters()]
    last = steps[5]
    sizes = [p.numel() for p in model.parameters()]
    G = torch.func.grad(lambda theta: loss_at(model, theta, reference(steps)))(last.before)
    assert np.allclose(record.array("layer_grad_norm", 6), [float(part.norm()) for part in G.split(sizes)], rtol=1e-9)
    move = (last.after - last.before).split(sizes)
    assert np.allclose(record.array("layer_update_norm", 6), [float(part.norm()) for part in move], rtol=1e-9)
    gradients = torch.stack(
        [torch.func.grad(lambda t, s=s: loss_at(model, t, s.batch))(last.before) for s in steps[:4]]
    )
    mean = gradients.mean(0)
    variance = float(((gradients - mean) ** 2).sum() / 3)
    signal = float(mean @ mean) - variance / 4
    truth = 6 * variance / signal if signal > 0 else np.inf
    assert record.series("noise_scale").values[-1] == pytest.approx(truth, rel=1e-8)


def test_validation_is_measured_in_eval_mode(tmp_path):
    with seeded():
        run = made(nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3)), flat_data())
        held = (torch.randn(7, 6), torch.randint(0, 3, (7,)))
        truth = []
        with monitored(tmp_path, validation=held)(run) as monitor:
            for batch in monitor(run.batches):
                run.body(run, batch)
                run.model.eval()
                with torch.no_grad():
                    truth.append(float(classify(run.model, held)))
                run.model.train()
    assert np.allclose(Run(tmp_path / "run").series("validation_loss").values, truth, rtol=1e-6)
