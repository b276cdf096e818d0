"""Are the healthy trainings well: does the loss keep falling for their age, or has it arrived; has nothing turned?"""

import numpy as np
import pytest
import torch

from theodolite.problems import healthy, step_sizes
from theodolite.problems.healthy import HEALTHY, Convolutional, Speller, Transformer, scheduled
from theodolite.problems.recipe import sgd

LONG = ("healthy-cifar", "healthy-gpt", "healthy-lstm")
ALL = [pytest.param(ill, id=ill.name, marks=pytest.mark.slow if ill.name in LONG else ()) for ill in HEALTHY]


@pytest.mark.parametrize("ill", ALL)
def test_the_loss_falls_by_a_fifth_as_the_steps_double_or_has_arrived(ill, seed, request, monkeypatch):
    if ill.needs:
        monkeypatch.setenv("THEODOLITE_DATA", str(request.getfixturevalue("data_folder")))
    training = ill.build(seed)
    excess, validation = [], []

    @torch.no_grad()
    def look():
        # Dropout draws from the global generator; the tests put it back.
        with torch.random.fork_rng(devices=[]):
            excess.append(float(training.loss(training.model, training.data)) - ill.floor)
            if training.validation is not None:  # without dropout: the scatter of its masks is no turn
                is_training = training.model.training
                training.model.eval()
                validation.append(float(training.loss(training.model, training.validation)))
                training.model.train(is_training)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for step, batch in enumerate(training.batches):
            if step in (0, ill.steps // 4, ill.steps // 2, 3 * ill.steps // 4):
                look()
            training.optimizer.zero_grad()
            training.loss(training.model, batch).backward()
            training.optimizer.step()
    look()
    arrived = excess[-1] < 1e-4 * excess[0]
    assert arrived or excess[-1] < 0.85 * excess[2]
    assert not validation or validation[-1] < 1.1 * min(validation)


def test_the_floors_are_those_that_were_found():
    assert healthy.LEAST_SQUARES_FLOOR == step_sizes.SQUARES_FLOOR
    assert healthy.NOISY_LABELS_FLOOR == step_sizes.MISLABELLED_FLOOR


def test_the_rate_falls_like_a_cosine():
    part = torch.nn.Parameter(torch.zeros(1))
    optimizer = scheduled(sgd(0.4), 4)([part])
    rates = []
    for _ in range(6):
        rates.append(optimizer.param_groups[0]["lr"])
        part.grad = torch.ones(1)
        optimizer.step()
    np.testing.assert_allclose(
        rates, [0.4, 0.2 * (1 + np.sqrt(0.5)), 0.2, 0.2 * (1 - np.sqrt(0.5)), 0.0, 0.0], atol=1e-12
    )


def test_a_transformer_does_not_look_ahead(generator):
    model = Transformer(16, 8, generator(0))
    text = torch.arange(8)[None]
    other = text.clone()
    other[0, 5] = 40
    first, second = model(text).detach(), model(other).detach()
    torch.testing.assert_close(first[:, :5], second[:, :5])
    assert not torch.allclose(first[:, 5:], second[:, 5:])


@pytest.mark.parametrize("norm", ["none", "batch", "group"])
def test_a_convolutional_network_takes_pictures(norm, generator):
    model = Convolutional(3, 32, norm=norm)(generator(0))
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_networks_leave_the_global_generator_alone(generator):
    before = torch.get_rng_state()
    Speller(8, generator(0))
    Transformer(8, 4, generator(0))
    Convolutional(1, 8)(generator(0))
    assert torch.equal(torch.get_rng_state(), before)
