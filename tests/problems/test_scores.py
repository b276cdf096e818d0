"""Are verdicts counted rightly? Against hand-made cases, SciPy's intervals and plain loops."""

import math
from collections import Counter

import numpy as np
import pytest
from scipy.stats import binomtest

from theodolite.errors import SettingError
from theodolite.problems.scores import (
    VERDICTS,
    Case,
    Share,
    confusion,
    counted,
    misses,
    overview,
    reliability,
    remedied,
    standings,
)
from theodolite.records import OBSTACLES, UNDETERMINED, Estimate


def case(truth: str, verdict: str, *, name: str = "some", **other) -> Case:
    return Case(name, other.pop("family", name), truth, other.pop("is_twin", False), 0, verdict, **other)


HAND_MADE = [
    case("none", "none", name="well"),
    case("none", "plateau", name="well", is_twin=True),
    case("none", UNDETERMINED, name="ill-twin", family="ill"),
    case("plateau", "plateau", name="ill", family="ill"),
    case("plateau", "dead_units", name="ill", family="ill", secondary=("plateau",)),
    case("plateau", UNDETERMINED, name="ill", family="ill", secondary=("plateau", "cliff")),
    case("plateau", "none", name="ill", family="ill"),
    case("plateau", "dead_units", name="ill", family="ill"),
]


@pytest.mark.parametrize(("right", "total"), [(0, 1), (1, 1), (0, 28), (24, 25), (7, 10), (500, 1000)])
def test_the_interval_is_wilsons(right, total):
    expected = binomtest(right, total).proportion_ci(0.95, method="wilson")
    assert Share(right, total).interval == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert Share(right, total).value == right / total


def test_of_nothing_nothing_is_known():
    nothing = Share(0, 0)
    assert math.isnan(nothing.value)
    assert nothing.interval == (0.0, 1.0)
    assert str(nothing) == "–"
    assert str(Share(23, 25)) == "23 of 25 (92 %, 75 to 98)"


def test_the_confusion_matrix_is_that_of_a_plain_count():
    draw = np.random.default_rng(0)
    cases = [case(str(draw.choice(OBSTACLES)), str(draw.choice(VERDICTS))) for _ in range(500)]
    plain = Counter((one.obstacle, one.verdict) for one in cases)
    found = confusion(cases)
    assert found.shape == (13, 14)
    assert all(
        found[i, j] == plain[row, column] for i, row in enumerate(OBSTACLES) for j, column in enumerate(VERDICTS)
    )
    assert np.trace(found) == counted(cases, lambda one: one.is_right).right
    assert not confusion([]).any()


def test_the_numbers_that_matter_most():
    found = overview(HAND_MADE)
    assert (found.right, found.planted, found.healthy) == (Share(2, 8), Share(1, 5), Share(1, 3))
    assert found.alarms == Share(1, 3)  # undetermined is wrong, but no alarm
    assert found.abstained == Share(2, 8)
    assert overview([]).right == Share(0, 0)


def test_groups_tell_how_they_went_wrong():
    well, ill = standings(HAND_MADE, lambda one: one.family)
    assert (well.name, well.right, well.wrong) == ("well", Share(1, 2), (("plateau", 1),))
    assert (ill.right, ill.listed, ill.undetermined) == (Share(1, 6), 2, 2)
    assert ill.wrong == (("dead_units", 2), ("none", 1))
    assert [one.name for one in standings(HAND_MADE, lambda one: one.obstacle)] == ["none", "plateau"]
    assert standings([], lambda one: one.obstacle) == ()


def test_every_miss_is_told_by_name():
    lines = misses(HAND_MADE)
    assert len(lines) == 6
    assert lines[0] == "well, seed 0: plateau instead of none"
    assert lines[2] == "ill, seed 0: dead_units instead of plateau, which is listed"


def test_remedies_count_where_some_were_tried_and_beat_two_errors():
    cases = [
        case("plateau", "none", tried=3, remedy="Adam", gain=Estimate(1.0, 0.4)),
        case("plateau", "plateau", tried=3, remedy="Adam", gain=Estimate(1.0, 0.6)),
        case("cliff", "cliff", tried=2, remedy="clipping", gain=Estimate(math.inf, math.nan)),
        case("cliff", "cliff", tried=2),
        case("cliff", "cliff"),
        case("none", "none", tried=2, remedy="Adam", gain=Estimate(1.0, 0.0)),
        case("overfitting", "overfitting", tried=2),
    ]
    assert remedied(cases) == Share(2, 5)
    assert overview(cases).cured == Share(2, 4)  # nothing that goes on from there cures overfitting


def told(top: float, *, right: bool) -> Case:
    """A case whose greatest probability is on ``plateau``."""
    rest = (1 - top) / 12
    return case(
        "plateau" if right else "none", "plateau", probabilities={n: top if n == "plateau" else rest for n in OBSTACLES}
    )


def test_a_bin_of_nine_tenths_of_which_eight_are_right_is_off_by_a_tenth():
    found = reliability([told(0.9, right=place < 8) for place in range(10)])
    assert found.error == pytest.approx(0.1)
    assert found.right[8] == Share(8, 10)  # a bin holds its upper edge
    assert found.confidence[8] == pytest.approx(0.9)
    assert np.isnan(np.delete(found.confidence, 8)).all()


def test_every_probability_has_the_bin_that_ends_with_it():
    found = reliability([told(place / 10, right=True) for place in range(2, 11)])
    assert [one.total for one in found.right] == [0, 1, 1, 1, 1, 1, 1, 1, 1, 1]


def test_the_calibration_error_is_that_of_a_plain_loop():
    draw = np.random.default_rng(1)
    tops = draw.uniform(0.1, 1.0, 400)
    cases = [told(top, right=bool(draw.random() < top**2)) for top in tops]
    expected = 0.0
    for low in np.arange(7) / 7:
        inside = [one for one, top in zip(cases, tops, strict=True) if low < top <= low + 1 / 7]
        if inside:
            gap = np.mean([max(one.probabilities.values()) for one in inside]) - np.mean(
                [one.obstacle == "plateau" for one in inside]
            )
            expected += len(inside) / len(cases) * abs(gap)
    assert reliability(cases, 7).error == pytest.approx(expected)


def test_true_probabilities_are_calibrated_and_bolder_ones_are_not():
    draw = np.random.default_rng(2)
    truths = draw.choice([0.55, 0.75, 0.95], 3000)
    hits = draw.random(3000) < truths
    chance = math.sqrt(1000 * 0.25) * 3 / 3000  # Σ √(n p (1 − p)) / n is at most this
    honest = reliability([told(p, right=bool(hit)) for p, hit in zip(truths, hits, strict=True)])
    bold = reliability([told(min(1.0, p + 0.15), right=bool(hit)) for p, hit in zip(truths, hits, strict=True)])
    assert honest.error < 2 * chance < bold.error


def test_what_has_no_probabilities_is_left_out():
    assert math.isnan(reliability([]).error)
    assert math.isnan(reliability(HAND_MADE).error)
    assert sum(one.total for one in reliability([*HAND_MADE, told(0.5, right=True)]).right) == 1


def test_of_equal_probabilities_the_first_is_the_guess():
    assert case("none", UNDETERMINED, probabilities=dict.fromkeys(OBSTACLES, 1 / 13)).guess == "none"
    assert case("none", "none").guess == ""


def test_a_case_has_a_truth_and_a_verdict_of_the_contract():
    with pytest.raises(SettingError, match=r"obstacle must be one of .* got 'undetermined'. Correct the spelling"):
        case(UNDETERMINED, "none")
    with pytest.raises(SettingError, match=r"verdict must be one of .* got 'saddle'. Correct the spelling"):
        case("none", "saddle")


def test_there_is_at_least_one_bin():
    with pytest.raises(SettingError, match=r"bins must be at least 1, got 0. Leave it out for 10"):
        reliability([], 0)
