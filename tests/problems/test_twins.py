"""Is the clean twin of a planted training well at its end: still falling at a useful rate, or at its floor?"""

import numpy as np
import pytest

from theodolite.problems.dead import DEAD
from theodolite.problems.minima import LOCAL_MINIMA
from theodolite.problems.plateaus import PLATEAUS
from theodolite.problems.saddles import SADDLES

ALL = (*SADDLES, *LOCAL_MINIMA, *PLATEAUS, *DEAD)
SLOW = {
    "saddle-transformer-twin",
    "saddle-recurrent-zero-twin",
    "plateau-depth-twin",
    "plateau-digits-stack-8-twin",
    "plateau-digits-stack-12-twin",
    "plateau-softmax-twin",
    "plateau-memory-twin",
    "dead-channels-twin",
    "dead-recurrent-twin",
}
TWINS = [pytest.param(ill.name, marks=pytest.mark.slow if ill.name in SLOW else ()) for ill in ALL if ill.twin]
TRIALS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))]


@pytest.mark.parametrize("trial", TRIALS)
@pytest.mark.parametrize("name", TWINS)
def test_the_excess_of_a_twin_falls_by_a_fifth_while_its_age_doubles(trained, name, trial):
    run = trained(name, trial)
    window = max(1, len(run.losses) // 10)
    half = np.mean(run.losses[len(run.losses) // 2 - window : len(run.losses) // 2]) - run.problem.floor
    end = np.mean(run.losses[-window:]) - run.problem.floor
    assert end < max(0.8 * half, 1e-3 * run.first_excess)
    assert run.excess < 0.1 * run.first_excess


@pytest.mark.parametrize("obstacle", ["saddle_point", "local_minimum", "plateau", "dead_units"])
def test_four_families_and_several_optimizers_have_the_obstacle(obstacle):
    planted = [ill for ill in ALL if ill.obstacle == obstacle]
    assert len({ill.family for ill in planted}) >= 4
    assert len({type(ill.build(0).optimizer) for ill in planted}) >= 2
