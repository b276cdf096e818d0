"""Are verdicts, timelines and gains easy to read: no e-notation, no idle digits, no broken plural?"""

import math
from dataclasses import replace

import pytest

import synthetic
from theodolite.pages import report
from theodolite.pages.typesetting import measured, sentence, typeset
from theodolite.pages.verdicts import opening, remedy_rows, window_rows
from theodolite.records.diagnosis import Remedy
from theodolite.records.estimates import MISSING, Estimate
from theodolite.records.obstacles import OBSTACLES, UNDETERMINED
from theodolite.records.timeline import Window


@pytest.mark.parametrize(
    ("plain", "set_"),
    [
        ("", ""),
        ("gain -0.0147 each, -72 times", "gain −0.0147 each, −72 times"),
        ("changes it by 2e+02 times", "changes it by 200 times"),
        ("at 2.86e+03 from here", "at 2860 from here"),
        ("at 3.08e+05 from here", "at 308000 from here"),
        ("stands at 1.15e+17 times", "stands at 1.15·10¹⁷ times"),
        ("λmax = 1.05 ± 1e-06", "λmax\u00a0=\u00a01.05\u00a0±\u00a010⁻⁶"),
        ("off by -1.5e-07", "off by −1.5·10⁻⁷"),
        ("46.7 % ± 1.78 % of it", "46.7\u00a0%\u00a0±\u00a01.78\u00a0% of it"),
        ("step × 3", "step\u00a0×\u00a03"),
        *[(name, name) for name in ("2026-11-25", "mini-batch", "conv-2", "f(x)-1", "1e5x", "v2.1e-3")],
    ],
)  # fmt: skip
def test_numbers_are_set_as_in_print(plain, set_):
    assert typeset(plain) == set_
    assert typeset(set_) == set_


@pytest.mark.parametrize(
    ("text", "told"),
    [("", ""), ("it falls", "It falls."), ("λmin = 3", "λmin\u00a0=\u00a03."), ("Done!", "Done!"), ("x", "x.")],
)
def test_sentences_begin_and_end(text, told):
    assert sentence(text) == told


@pytest.mark.parametrize(
    ("estimate", "told"),
    [
        (Estimate(0.0371, 0.00067), "+0.0371\u00a0±\u00a00.00067"),
        (Estimate(5.31e6, 6.3e-7), "+5.31·10⁶"),
        (Estimate(2.0, 0.0), "+2"),
        (Estimate(2.0, math.nan), "+2"),
        (Estimate(-0.5, 0.1), "−0.5\u00a0±\u00a00.1"),
        (Estimate(0.0, 0.25), "0\u00a0±\u00a00.25"),
        (MISSING, ""),
        (Estimate(math.inf, 0.0), ""),
    ],
)
def test_an_error_is_told_where_there_is_one(estimate, told):
    assert measured(estimate, is_signed=True) == told


def test_neighbours_of_which_the_same_is_said_share_a_row():
    few = "too few progress budgets: raise the budget of the monitor"
    again = "2.85 % of the excess loss went; steps × 30 gain 0.07 each, in steps taken again from step 18"
    windows = (
        Window(5, 9, UNDETERMINED, why=few),
        Window(9, 19, UNDETERMINED, why=few),
        Window(19, 38, "step_too_small", why=again),
        Window(38, 75, "none", why="50 % of the excess loss went"),
        Window(75, 150, UNDETERMINED, why=few),
        Window(150, 300, "plateau"),
    )
    rows = window_rows(windows)
    assert [row.steps for row in rows] == ["5–19", "19–38", "38–75", "75–150", "150–300"]
    assert [row.kind for row in rows] == ["open", "limited", "healthy", "open", "limited"]
    assert [row.limit for row in rows][1:3] == ["step too small", "nothing"]
    assert rows[1].why.endswith("gain 0.07 each.")
    assert rows[1].again == "Measured in steps taken again from step 18."
    assert [row.again for row in rows if row.again] == [rows[1].again]
    assert rows[-1].why == ""
    assert window_rows(()) == ()


def test_the_timeline_stands_on_the_page_where_there_is_one(runs, tmp_path):
    judged = synthetic.diagnosis()
    bare = report(runs["single"], tmp_path / "bare.html", diagnosis=judged).read_text()
    assert 'id="timeline"' not in bare
    told = replace(judged, timeline=(Window(0, 16, "cliff", why="a gradient was -3e+02 times <those>"),))
    text = report(runs["single"], tmp_path / "page.html", diagnosis=told).read_text()
    assert text.count('<th scope="row">0–16</th>') == 1
    assert "A gradient was −300 times &lt;those&gt;." in text


def test_obstacles_that_are_equally_likely_are_not_ranked():
    even = replace(
        synthetic.diagnosis(UNDETERMINED), secondary=(), probabilities=dict.fromkeys(OBSTACLES, 1 / len(OBSTACLES))
    )
    assert opening(even).likely == ()
    assert opening(even).confidence == "All obstacles are about as likely"
    assert opening(replace(even, probabilities={})).confidence == ""
    first = opening(synthetic.diagnosis())
    assert first.likely[0] == ("gradient noise", "70\u00a0%", 70.0)
    assert first.confidence.startswith("70 % sure")


def test_branches_that_diverged_are_told_in_words():
    plain = Estimate(0.02, 0.004, 4)
    worse = Remedy("step × 1000", Estimate(-math.inf, math.nan), plain, 10, 1, "diverged")
    saved = Remedy("clipping", Estimate(math.inf, math.nan), plain, 1, 1)
    rows = remedy_rows(replace(synthetic.diagnosis(), remedies=(worse, saved)))
    assert [row.gain for row in rows] == ["diverged", "the run diverges without it"]
    assert [row.outcome for row in rows] == ["made it worse", "helped"]
    assert rows[0].note == ""
    assert rows[1].steps == "1 step, 1 order of the batches"
    assert not any(row.is_measured for row in rows)
    told = opening(replace(synthetic.diagnosis(), remedies=(worse, saved))).tried
    assert "∞" not in told
