"""Do probabilities mean what they say? Against counts by hand, and cases drawn with known rates."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from theodolite.diagnosis.calibration import CONFIDENCE, PATTERNS, confidences, pattern, probabilities
from theodolite.errors import SettingError
from theodolite.records import OBSTACLES, UNDETERMINED, Finding, Findings, Verdict


def findings(present: Iterable[str] = (), undetermined: Iterable[str] = ()) -> Findings:
    """Findings on every obstacle; those not named are absent."""

    def verdict(name: str) -> Verdict:
        if name in present:
            return Verdict.PRESENT
        return Verdict.UNDETERMINED if name in undetermined else Verdict.ABSENT

    return Findings(tuple(Finding(name, verdict(name)) for name in OBSTACLES))


@dataclass(frozen=True)
class Told:
    """A case as calibration sees it."""

    family: str
    obstacle: str
    verdict: str
    pattern: str
    secondary: tuple[str, ...] = ()


KINDS = [
    (["none"], [], "none", "none alone"),
    (["none", "cliff"], [], "none", "none beside others"),
    (["cliff"], [], "cliff", "one alone"),
    (["cliff", "plateau"], [], "cliff", "one of several"),
    (["none", "overfitting"], [], "overfitting", "one alone"),  # the loss falls, and is not the point
    (["cliff"], ["none"], "cliff", "without a trend"),
    (["cliff", "plateau"], ["none"], "cliff", "without a trend"),
    (["cliff"], ["none"], UNDETERMINED, "undetermined"),
    ([], [], UNDETERMINED, "undetermined"),
]


@pytest.mark.parametrize(("present", "undetermined", "obstacle", "expected"), KINDS)
def test_the_kind_of_a_verdict(present, undetermined, obstacle, expected):
    assert pattern(findings(present, undetermined), obstacle) == expected


def test_all_kinds_occur():
    assert {kind[-1] for kind in KINDS} == set(PATTERNS)


@pytest.mark.parametrize(("present", "undetermined", "obstacle", "kind"), KINDS)
@pytest.mark.parametrize("counts", [None, (0, 0), (19, 20), (0, 20)])
def test_probabilities_sum_to_one_and_the_named_has_its_share(present, undetermined, obstacle, kind, counts):
    table = {} if counts is None else {kind: counts}
    right, total = counts or (0, 0)
    found = probabilities(findings(present, undetermined), obstacle, table)
    assert list(found) == list(OBSTACLES)
    assert sum(found.values()) == pytest.approx(1, abs=1e-12)
    assert min(found.values()) > 0
    if obstacle != UNDETERMINED:
        assert found[obstacle] == pytest.approx((right + 1) / (total + 2))


def test_without_counts_a_named_obstacle_has_one_half():
    assert probabilities(findings(["cliff"]), "cliff", {})["cliff"] == 0.5


def test_the_rest_is_shared_by_what_was_found():
    found = probabilities(findings(["cliff", "plateau"], ["saddle_point"]), "cliff", {})
    weights = np.array([1.0, 0.1, *[0.01] * 10])
    others = [found["plateau"], found["saddle_point"], *(found[n] for n in OBSTACLES if found[n] < 0.01)]
    np.testing.assert_allclose(others, 0.5 * weights / weights.sum(), rtol=1e-12)


def test_present_obstacles_share_what_an_open_verdict_leaves_them():
    found = probabilities(findings(["cliff", "plateau"]), UNDETERMINED, {"undetermined": (8, 10)})
    assert found["cliff"] == found["plateau"] == pytest.approx(9 / 12 / 2)


def test_where_nothing_is_present_all_share_by_what_was_found():
    found = probabilities(findings([], OBSTACLES), UNDETERMINED, {"undetermined": (8, 10)})
    np.testing.assert_allclose(list(found.values()), 1 / 13)


def test_a_missing_finding_is_undetermined_and_not_absent():
    full = findings(["cliff"], ["plateau"])
    partial = Findings(tuple(one for one in full if one.obstacle != "plateau"))
    assert probabilities(partial, "cliff", {}) == probabilities(full, "cliff", {})
    assert pattern(Findings((Finding("cliff", Verdict.PRESENT),)), "cliff") == "without a trend"


def test_counts_by_pattern_and_family():
    cases = [
        Told("a", "cliff", "cliff", "one alone"),
        Told("a", "none", "cliff", "one alone"),
        Told("b", "none", "none", "none alone"),
        Told("b", "plateau", UNDETERMINED, "undetermined", ("cliff", "plateau")),
        Told("c", "none", UNDETERMINED, "undetermined", ("cliff",)),
        Told("c", "none", UNDETERMINED, "undetermined"),  # nothing was said that could be right
    ]
    assert confidences(cases) == {"none alone": (1, 1), "one alone": (1, 2), "undetermined": (1, 2)}
    assert confidences(cases, without="a") == {"none alone": (1, 1), "undetermined": (1, 2)}
    assert confidences(cases, without="b") == {"one alone": (1, 2), "undetermined": (0, 1)}
    assert confidences([]) == {}


def test_the_counts_of_all_are_those_without_a_family_and_of_it():
    draw = np.random.default_rng(0)
    names = [name for name in PATTERNS if name != "undetermined"]
    cases = [
        Told(str(draw.integers(5)), str(draw.choice(OBSTACLES[:3])), str(draw.choice(OBSTACLES[:3])), str(kind))
        for kind in draw.choice(names, 200)
    ]
    whole = confidences(cases)
    for family in "01234":
        own = confidences(case for case in cases if case.family == family)
        rest = confidences(cases, without=family)
        for kind, counts in whole.items():
            assert tuple(np.add(own.get(kind, (0, 0)), rest.get(kind, (0, 0)))) == counts


def test_counted_rates_are_calibrated_on_new_cases_and_one_half_is_not():
    draw = np.random.default_rng(3)
    rates = {"one alone": 0.95, "one of several": 0.7, "without a trend": 0.6}
    found = {kind: findings(*KINDS[place][:2]) for place, kind in ((2, "one alone"), (3, "one of several"))}
    found["without a trend"] = findings(["cliff"], ["none"])

    def cases(count: int) -> list[Told]:
        kinds = draw.choice(list(rates), count)
        return [Told("f", "cliff" if draw.random() < rates[kind] else "none", "cliff", str(kind)) for kind in kinds]

    table, fresh = confidences(cases(1500)), cases(1500)

    def error(counts: dict[str, tuple[int, int]]) -> float:
        sums = {kind: [0.0, 0.0] for kind in rates}
        for case in fresh:
            sums[case.pattern][0] += probabilities(found[case.pattern], "cliff", counts)["cliff"]
            sums[case.pattern][1] += case.obstacle == "cliff"
        return sum(abs(told - true) for told, true in sums.values()) / len(fresh)

    # Two independent samples of 500 a kind: a standard deviation of a difference of at most 0.03.
    assert error(table) < 0.06 < error({})


def test_the_shipped_table_can_be_used():
    assert set(CONFIDENCE) <= set(PATTERNS)
    assert all(0 <= right <= total for right, total in CONFIDENCE.values())
    assert sum(probabilities(findings(["none"]), "none").values()) == pytest.approx(1)


def test_what_is_no_obstacle_is_refused():
    for ask in (pattern, probabilities):
        with pytest.raises(SettingError, match=r"obstacle must be one of .* got 'saddle'. Correct the spelling"):
            ask(findings(), "saddle")


def test_impossible_counts_are_refused():
    with pytest.raises(SettingError, match=r"0 <= right <= total, got 3 of 2. Take those of confidences\(\)"):
        probabilities(findings(["cliff"]), "cliff", {"one alone": (3, 2)})


def test_an_unknown_pattern_is_refused():
    known = Told("a", "cliff", "cliff", "one alone")
    with pytest.raises(SettingError, match=r"pattern must be one of .* got ''. Take what pattern\(\) returns"):
        confidences([replace(known, pattern="")])
