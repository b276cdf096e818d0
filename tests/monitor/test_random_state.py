"""Is every global generator brought back, the normal number that NumPy holds in waiting included?"""

import random

import numpy as np
import pytest
import torch

from monitor.bits import seeded
from theodolite.objective.isolation import RandomState, randomness_kept


def drawn():
    return np.random.randn(), np.random.rand(), random.random(), float(torch.rand(()))  # noqa: NPY002


@pytest.fixture(autouse=True)
def kept():
    with seeded():
        yield


@pytest.mark.parametrize("odd", [False, True])
@pytest.mark.parametrize("inside", [0, 1, 2, 3])
def test_what_is_drawn_inside_is_not_missed_outside(odd, inside):
    if odd:
        np.random.randn()  # noqa: NPY002 - a second one waits now
    with seeded():
        if odd:
            np.random.randn()  # noqa: NPY002
        truth = drawn()
    last = RandomState.capture()
    with randomness_kept(last=last):
        for _ in range(inside):
            np.random.randn()  # noqa: NPY002
    assert drawn() == truth


def test_a_state_that_moved_is_not_taken_for_the_last():
    last = RandomState.capture()
    np.random.rand()  # noqa: NPY002
    state = RandomState.capture(last=last)
    truth = drawn()
    state.restore()
    assert drawn() == truth
    last.restore()
    assert drawn() != truth


def test_a_state_that_has_not_moved_is_taken_from_the_last():
    last = RandomState.capture()
    assert RandomState.capture(last=last).numpy is last.numpy


def test_another_generator_of_numpy_is_kept_too():
    usual = np.random.get_bit_generator()
    np.random.set_bit_generator(np.random.MT19937(3))
    try:
        state = RandomState.capture()
        truth = drawn()
        state.restore()
        assert drawn() == truth
    finally:
        np.random.set_bit_generator(usual)
