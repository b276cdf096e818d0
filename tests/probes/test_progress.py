"""Is each term of the progress budget its closed form, and do they add up?"""

import numpy as np
import pytest
import torch
from torch import nn

from families import BY_NAME
from probes.again import Again
from theodolite.objective import Objective
from theodolite.probes.look import look
from theodolite.probes.progress import progress


class Point(nn.Module):
    def __init__(self, start):
        super().__init__()
        self.theta = nn.Parameter(start.clone())

    def forward(self):
        return self.theta


class Bowl:
    """½ θᵀAθ − mean(x)·θ + c Σθ³: each batch x tilts the bowl its own way."""

    def __init__(self, seed=0, n=6, cubic=0.0):
        self.source = torch.Generator().manual_seed(seed)
        root = self.draw(n, n)
        self.A, self.cubic, self.start = root @ root.T / n, cubic, self.draw(n)
        self.model = Point(self.start)

    def draw(self, *shape):
        return torch.randn(*shape, generator=self.source, dtype=torch.float64)

    def loss(self, model, batch):
        theta = model()
        return theta @ self.A @ theta / 2 - batch.mean(0) @ theta + self.cubic * (theta**3).sum()

    def gradient(self, batch):
        return self.A @ self.start - batch.mean(0) + 3 * self.cubic * self.start**2

    def over(self, batches):
        return Objective(self.model, self.loss, Again(batches))


@pytest.mark.parametrize("cubic", [0.0, 0.3])
@pytest.mark.parametrize("sizes", [(8, 8, 8), (9, 2, 5), (7,)])
def test_each_term_is_its_closed_form(cubic, sizes):
    bowl = Bowl(cubic=cubic)
    own, batches = bowl.draw(4, 6), [bowl.draw(size, 6) for size in sizes]
    step = 0.1 * bowl.draw(6)
    found = progress(bowl.over([own]), bowl.over(batches), bowl.start, bowl.start + step)
    weights = np.array(sizes) / sum(sizes)
    slopes = np.array([float(bowl.gradient(batch) @ step) for batch in batches])
    promise, G_step = -float(bowl.gradient(own) @ step), float(weights @ slopes)
    hessian = bowl.A + 6 * cubic * torch.diag(bowl.start)
    bend = float(step @ hessian @ step)
    remainder = cubic * float((step**3).sum())
    truth = {
        "promise": promise,
        "noise": G_step + promise,
        "curvature": bend / 2,
        "higher_order": remainder,
        "delivered": -G_step - bend / 2 - remainder,
        "best_scale": -G_step / bend if bend > 0 else np.inf,
    }
    for name, value in truth.items():
        assert getattr(found, name).value == pytest.approx(value, rel=1e-9, abs=1e-12), name
    scatter = np.sqrt((weights**2) @ (slopes - G_step) ** 2 * len(sizes) / (len(sizes) - 1)) if len(sizes) > 1 else 0.0
    assert found.noise.error == pytest.approx(scatter, rel=1e-9)
    assert found.promise.error == 0.0
    assert found.curvature.error == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("name", ["mlp", "conv batchnorm train", "lstm", "causal attention, tied", "transformer"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_budget_adds_up_exactly(name, dtype):
    problem = BY_NAME[name](dtype)
    reference = Objective(problem.model, problem.loss, problem.data)
    before = reference.point()
    after = before - 0.5 * reference.gradient()
    found = progress(Objective(problem.model, problem.loss, problem.batches[0]), reference, before, after)
    rest = found.promise.value - found.noise.value - found.curvature.value - found.higher_order.value
    assert rest == pytest.approx(found.delivered.value, rel=1e-12, abs=1e-15)
    truth = reference.value(before) - reference.value(after)
    assert found.delivered.value == pytest.approx(truth, rel=1e-12, abs=1e-15)
    assert found.reference_loss.value == pytest.approx(reference.value(before), rel=1e-6)


def test_where_nothing_bends_back_the_step_may_grow_for_ever():
    bowl = Bowl()
    bowl.A = -torch.eye(6, dtype=torch.float64)
    found = progress(bowl.over([bowl.draw(4, 6)]), bowl.over([bowl.draw(4, 6)]), bowl.start, bowl.start * 1.1)
    assert found.best_scale.value == np.inf


def test_what_is_not_finite_stays_so_and_raises_nothing():
    bowl = Bowl()
    found = progress(bowl.over([bowl.draw(4, 6)]), bowl.over([bowl.draw(4, 6)]), bowl.start, bowl.start * torch.inf)
    assert not found.delivered.is_finite
    assert set(found.scalars()) >= {"promise", "promise_error", "delivered", "higher_order_error"}


def test_a_look_is_the_loss_before_and_after():
    bowl = Bowl()
    batch, after = bowl.draw(5, 6), bowl.start + 0.1
    found = look(bowl.over([batch]), bowl.start, after, name="own")
    truth = [float(bowl.loss(lambda theta=theta: theta, batch)) for theta in (bowl.start, after)]
    assert list(found.values()) == pytest.approx(truth, rel=1e-12)
    assert list(found) == ["own_loss_before", "own_loss_after"]
