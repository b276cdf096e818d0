"""Are problems built as they say: exact batches, the same bits twice, no trace in the global generator, with twins?"""

import itertools
import random
from collections import Counter

import pytest
import torch

from theodolite.errors import SettingError
from theodolite.problems import PROBLEMS, Batches, Problem, problem, train
from theodolite.problems.datasets import is_there
from theodolite.problems.demo import DEFAULT, DEMOS, demo
from theodolite.records.obstacles import OBSTACLES

DEMO_PROBLEMS = tuple({ill.name: ill for shown in DEMOS for ill in (shown.ill, shown.clean)}.values())
ALL = [
    pytest.param(
        ill,
        id=ill.name,
        marks=pytest.mark.skipif(bool(ill.needs) and not is_there(ill.needs), reason=f"no {ill.needs}"),
    )
    for ill in dict.fromkeys((*PROBLEMS, *DEMO_PROBLEMS))
]


def parameters(training):
    return [part.detach().clone() for part in training.model.parameters()]


def test_names_are_unique_and_found():
    names = [ill.name for ill in PROBLEMS]
    assert len(set(names)) == len(names)
    assert all(problem(name).name == name for name in names)


def test_every_planted_problem_has_one_twin():
    planted = {ill.name for ill in PROBLEMS if ill.obstacle != "none"}
    assert Counter(ill.twin_of for ill in PROBLEMS if ill.twin) == Counter(planted)
    assert {ill.obstacle for ill in PROBLEMS} == set(OBSTACLES)


@pytest.mark.parametrize("ill", PROBLEMS, ids=lambda ill: ill.name)
def test_a_twin_has_the_steps_and_the_floor_of_its_problem(ill):
    if ill.twin:
        planted = problem(ill.twin_of)
        assert (ill.steps, ill.obstacle, ill.family) == (planted.steps, "none", planted.family)
        # What makes a minimum, or a loss that new data share, also makes it lie elsewhere.
        assert ill.floor == planted.floor or planted.obstacle in ("no_minimum", "overfitting")


@pytest.mark.parametrize("ill", ALL)
def test_building_is_repeatable_and_leaves_no_trace(ill):
    torch_state, python_state = torch.get_rng_state(), random.getstate()
    first, second = ill.build(3), ill.build(3)
    assert all(torch.equal(a, b) for a, b in zip(parameters(first), parameters(second), strict=True))
    for one, other in itertools.islice(zip(first.batches, second.batches, strict=True), 3):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert first.floor == ill.floor
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert random.getstate() == python_state


@pytest.mark.parametrize("ill", ALL)
def test_seeds_differ(ill):
    first, second = ill.build(0), ill.build(1)
    same_weights = all(torch.equal(a, b) for a, b in zip(parameters(first), parameters(second), strict=True))
    one, other = next(iter(first.batches)), next(iter(second.batches))
    same_batch = len(one[0]) == len(other[0]) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    # The mean of the images is reached from one start and in one way when each batch is all of them.
    assert not (same_weights and same_batch) or ill.name == "noise-mean-twin"


@pytest.mark.parametrize("ill", ALL)
def test_the_batches_number_the_steps(ill):
    assert sum(1 for _ in ill.build(0).batches) == ill.steps


def test_training_moves_no_global_generator_and_repeats():
    state = torch.get_rng_state()
    first, second = problem("healthy-digits").build(0), problem("healthy-digits").build(0)
    assert train(first) == train(second)
    assert torch.equal(torch.get_rng_state(), state)


def test_batches_draw_without_replacement_and_again_the_same():
    inputs = torch.arange(10.0)[:, None]
    batches = Batches(inputs, inputs, size=3, steps=7, seed=0)
    passes = [[tuple(batch[0].flatten().tolist()) for batch in batches] for _ in range(2)]
    assert passes[0] == passes[1]
    assert len(batches) == len(passes[0]) == 7
    for epoch in (passes[0][:3], passes[0][3:6]):  # 10 examples make 3 full batches
        assert len({value for batch in epoch for value in batch}) == 9
    assert passes[0][:3] != passes[0][3:6]


def test_a_batch_of_all_is_the_data_itself():
    inputs = torch.arange(4.0)[:, None]
    assert all(batch[0] is inputs for batch in Batches(inputs, inputs, size=9, steps=2, seed=0))


@pytest.mark.parametrize(("size", "steps"), [(0, 1), (1, 0)])
def test_empty_batches_are_refused(size, steps):
    with pytest.raises(SettingError, match="must be at least 1"):
        Batches(torch.zeros(1), torch.zeros(1), size, steps, 0)


def test_an_unknown_name_is_answered_with_near_ones():
    with pytest.raises(SettingError, match="got 'sadle-digits'. Perhaps one of saddle-digits"):
        problem("sadle-digits")


def test_an_unknown_obstacle_is_refused():
    with pytest.raises(SettingError, match="obstacle must be one of"):
        Problem("x", "boogeyman", "", "", problem("healthy-digits").build, 1)


def test_an_ill_twin_is_refused():
    with pytest.raises(SettingError, match="clean twin must have the obstacle 'none'"):
        Problem("x", "plateau", "", "", problem("healthy-digits").build, 1, twin_of="y")


def test_there_is_a_demo_of_each_obstacle_that_is_planted():
    assert {shown.obstacle for shown in DEMOS} == {ill.obstacle for ill in PROBLEMS}
    assert demo().obstacle == DEFAULT
    assert all(shown.ill.obstacle == shown.obstacle and shown.clean.obstacle == "none" for shown in DEMOS)


def test_an_unknown_demo_is_refused():
    with pytest.raises(SettingError, match="got 'boogeyman'. One of none"):
        demo("boogeyman")


@pytest.mark.slow
@pytest.mark.parametrize("shown", DEMOS, ids=lambda shown: shown.obstacle)
def test_a_demo_is_held_by_its_obstacle_and_its_twin_is_not(shown, surface, seed):
    ends = []
    for ill in (shown.ill, shown.clean):
        training = ill.build(seed)
        start = surface(training).value()
        train(training)
        ends.append((surface(training).value() - ill.floor) / (start - ill.floor))
    assert ends[1] < 0.1 or shown.obstacle == "overfitting"
    assert ends[0] > 0.2 or shown.obstacle in ("none", "no_minimum", "overfitting", "ill_conditioning")
