"""Does every planted training end far above its twin, and every healthy one near its floor? In float64."""

import pytest

from theodolite.problems import PROBLEMS, train

GENTLE = ("overfitting", "no_minimum")
"""Obstacles of trainings whose loss falls: their ends are held against those of their twins in files of their own."""

_QUICK = 200
"""Rows of longer trainings are slow ones: there are two hundred."""


def rows(wanted):
    """Problems that need no file, whose loss tells whether they are ill."""
    loud = {ill.name for ill in PROBLEMS if ill.obstacle not in ("none", *GENTLE)}
    return [
        pytest.param(ill.name, marks=pytest.mark.slow if ill.steps > _QUICK else ())
        for ill in PROBLEMS
        if wanted(ill) and not ill.needs and (ill.name in loud or ill.twin_of in loud)
    ]


@pytest.mark.parametrize("name", rows(lambda ill: ill.twin))
def test_a_clean_training_gets_near_its_floor(trained, name, seed):
    run = trained(name, seed)
    assert run.excess < 0.1 * run.first_excess


@pytest.mark.parametrize("name", rows(lambda ill: not ill.twin))
def test_a_planted_training_ends_far_above_its_twin(trained, name, seed):
    assert trained(name, seed).excess > 4 * trained(f"{name}-twin", seed).excess + 0.01


def test_training_goes_on_after_nan():
    training = next(ill for ill in PROBLEMS if ill.name == "large-step-diverges").build(0)
    assert len(train(training)) == 200
