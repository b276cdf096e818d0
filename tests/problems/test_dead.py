"""Are the dead units dead: inactive on every example, with a gradient of exactly zero?"""

import numpy as np
import pytest
import torch

from theodolite.problems.dead import CODE, CODE_FLOOR, DEAD
from theodolite.problems.saddles import centred_images

SPARED = {
    "dead-digits": 0.1,
    "dead-digits-most": 0.1,
    "dead-digits-adam": 0.25,
    "dead-digits-middle": 0.3,
    "dead-negative-weights": 0.3,
    "dead-inputs": 0.05,
    "dead-first-step": 0.2,
    "dead-channels": 0.15,
    "dead-recurrent": 0.15,
    "dead-code": 0.05,
}
"""What share of a layer may be dead in the clean twin: training kills some units of any rectifier net."""

SLOW = {"dead-channels", "dead-recurrent"}
TRIALS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3, 4))]

SHARES = {
    "dead-digits": (1.0,),
    "dead-digits-most": (23 / 24,),
    "dead-digits-adam": (0.0, 1.0),
    "dead-digits-middle": (0.0, 0.95, 0.0),
    "dead-negative-weights": (1.0, 1.0, 1.0),
    "dead-inputs": (1.0,),
    "dead-first-step": (1.0,),
    "dead-channels": (0.0, 1.0),
    "dead-recurrent": (1.0,) * 8,
    "dead-code": (11 / 12,),
}
"""What share of each layer's units is at least dead, layer by layer, or row by row of a sequence."""

LIMITS = {
    "dead-digits": 2.29,
    "dead-digits-most": 1.2,
    "dead-digits-adam": 2.29,
    "dead-digits-middle": 1.3,
    "dead-negative-weights": 2.29,
    "dead-inputs": 2.29,
    "dead-first-step": 0.44,
    "dead-channels": 2.29,
    "dead-recurrent": 2.29,
    "dead-code": 1.98,
}
"""How low the loss has not come."""


def activities(training):
    """What each rectifier gives on all examples, in the order in which they are run."""
    seen = []
    rectifiers = [module for module in training.model.modules() if isinstance(module, torch.nn.ReLU)]
    handles = [module.register_forward_hook(lambda _, __, output: seen.append(output)) for module in rectifiers]
    training.model.zero_grad()
    training.loss(training.model, training.data).backward()
    for handle in handles:
        handle.remove()
    return [output.detach() for output in seen]


def dead(activity):
    """Which units or channels are zero on every example and at every pixel."""
    return ~(activity.flatten(2) if activity.ndim > 2 else activity[:, :, None]).gt(0).any(2).any(0)


@pytest.mark.parametrize("trial", TRIALS)
@pytest.mark.parametrize(("name", "shares"), SHARES.items())
def test_dead_units_are_inactive_on_every_example(trained, name, shares, trial):
    run = trained(name, trial)
    found = [float(dead(activity).double().mean()) for activity in activities(run.training)]
    assert len(found) == len(shares)
    assert all(share >= least - 1e-6 for share, least in zip(found, shares, strict=True))
    assert run.after.value() > LIMITS[name]


@pytest.mark.parametrize("trial", TRIALS)
@pytest.mark.parametrize("name", SHARES)
def test_what_leads_to_dead_units_has_no_gradient(trained, name, trial):
    training = trained(name, trial).training
    layers = [part for part in training.model.modules() if isinstance(part, torch.nn.Linear | torch.nn.Conv2d)]
    for layer, activity in zip(layers[:-1], activities(training), strict=False):
        still = dead(activity)
        assert float(layer.weight.grad[still].abs().sum()) == 0
        if layer.bias is not None:
            assert float(layer.bias.grad[still].abs().sum()) == 0


@pytest.mark.parametrize("trial", TRIALS)
def test_a_dead_unit_never_moves(trained, trial):
    run = trained("dead-unit", trial)
    assert torch.equal(run.after.theta, run.before.theta)
    assert float(run.after.gradient().norm()) == 0


@pytest.mark.parametrize("trial", TRIALS)
def test_units_that_the_first_step_kills_were_alive(trained, trial):
    ill = next(ill for ill in DEAD if ill.name == "dead-first-step")
    training = ill.build(trial)
    assert float(dead(activities(training)[0]).double().mean()) < 0.1
    batch = next(iter(training.batches))
    training.optimizer.zero_grad()
    training.loss(training.model, batch).backward()
    training.optimizer.step()
    assert bool(dead(activities(training)[0]).all())
    assert training.optimizer.param_groups[0]["lr"] == 2e-3
    # Only the output biases are left to learn: the mean of the targets.
    spread = training.data[1].double().var(0, correction=0).sum()
    assert trained("dead-first-step", trial).after.value() == pytest.approx(0.5 * float(spread), abs=1e-3)


@pytest.mark.parametrize("trial", TRIALS)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in SHARES]
)
def test_a_clean_twin_has_few_dead_units(trained, name, trial):
    found = [float(dead(activity).double().mean()) for activity in activities(trained(f"{name}-twin", trial).training)]
    assert max(found) <= SPARED[name]


def test_the_floor_of_the_autoencoder_and_what_one_number_allows(trained):
    inputs = centred_images().training[0].double().numpy()
    spread = np.linalg.svd(inputs, compute_uv=False) ** 2 / len(inputs)
    assert 0.5 * spread[CODE:].sum() == pytest.approx(CODE_FLOOR, rel=1e-6)
    assert trained("dead-code", 0).after.value() > 0.5 * spread[1:].sum() - 1e-9
