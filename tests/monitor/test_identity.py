"""Is a watched training the same, to the bit, as one that nobody watches?"""

import pytest

from monitor.bits import differences, monitored, named, trained
from monitor.trainings import FAMILIES, FOUR, LOOPS, MORE
from theodolite import Run

EXPECTED_FAILURES = {"spectral norm": {"curvature"}}
"""Measurements that some trainings do not permit. Its vectors count as constants in a backward pass and move all the
same, so that products are taken by differences; of that a warning tells, and here warnings are errors."""

TRAINABLE = [row for row in FAMILIES if row.name != "family stateful"]
"""That one keeps the graph of its last pass: it cannot be trained at all."""

pytestmark = pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*:UserWarning")


def failures(folder):
    return {event.detail["probe"]: event.detail for event in Run(folder).events() if event.kind == "probe_failed"}


def compare(row, folder, *, diagnoses):
    plain = trained(row, None)
    watched = trained(row, monitored(folder), diagnoses=diagnoses)
    assert differences(plain, watched) == []
    found = failures(folder / "run")
    assert set(found) == EXPECTED_FAILURES.get(row.name, set()), found


@pytest.mark.parametrize("row", named((*FOUR, *LOOPS), slow=MORE))
def test_a_watched_training_is_the_same_to_the_bit(row, tmp_path, monkeypatch):
    monkeypatch.setattr("theodolite.monitor.measurements.LANCZOS_PRODUCTS", 4)  # the rest in the slow part
    compare(row, tmp_path, diagnoses=False)


@pytest.mark.slow
@pytest.mark.parametrize("row", named((*FOUR, *LOOPS, *MORE, *TRAINABLE)))
def test_a_training_diagnosed_on_the_way_is_the_same_to_the_bit(row, tmp_path):
    compare(row, tmp_path, diagnoses=True)
