"""Do the charts, taken as data, say what the run says?"""

from itertools import pairwise

import numpy as np
import pytest

import synthetic
from theodolite.plots import MARKS, Absent, Chart, charts, marks_line
from theodolite.plots.budget import marks_budget
from theodolite.plots.curvature import is_plain_sgd, marks_dead_units, marks_eigenvalues, marks_noise_scale
from theodolite.plots.labels import end_labels
from theodolite.plots.lines import marks_straight
from theodolite.plots.losses import marks_gradient, marks_loss
from theodolite.plots.marks import Axis, Band, Bars, Curve, Label, Level, Marks, Points, Span, Whiskers
from theodolite.plots.progress import marks_fresh, marks_progress
from theodolite.plots.steps import marks_best_scale, marks_step_size
from theodolite.records.lines import Line
from theodolite.records.run import Run
from theodolite.records.writer import RunWriter


def layers(chart, kind):
    assert isinstance(chart, Chart), chart
    return [layer for layer in chart.layers if isinstance(layer, kind)]


def write(path, rows):
    with RunWriter(path, metadata=synthetic.SGD) as writer:
        for step, values in rows:
            writer.scalars(step, values)
    return Run(path)


@pytest.mark.parametrize("kind", synthetic.KINDS)
def test_every_run_has_every_chart_with_words(runs, kind):
    every = charts(runs[kind])
    assert len(every) == len(MARKS)
    assert len({chart.name for chart in every}) == len(every)
    for chart in every:
        words = chart.reason if isinstance(chart, Absent) else f"{chart.takeaway} {chart.reading}"
        assert "nan" not in words.lower().split()
        assert words.endswith(".")


def test_an_empty_run_says_what_is_missing_and_how_to_get_it(runs):
    for chart in charts(runs["empty"]):
        assert isinstance(chart, Absent)
        assert "onitor" in chart.reason
    budget = marks_budget(runs["empty"])
    assert isinstance(budget, Absent)
    assert "Not measured in this run: promise, delivered, noise, curvature, higher_order." in budget.reason


def test_the_parts_of_the_budget_add_up_to_the_promise(runs):
    bars = layers(marks_budget(runs["healthy"]), Bars)
    assert [one.name for one in bars] == ["delivered", "noise", "curvature", "higher order"]
    np.testing.assert_allclose(sum(one.height for one in bars), 1.0, rtol=1e-9)
    assert len(bars[0].x) == 60
    whiskers = layers(marks_budget(runs["healthy"]), Whiskers)[0]
    np.testing.assert_array_equal(whiskers.y, bars[0].height)
    np.testing.assert_array_equal(whiskers.error, bars[0].error)
    assert np.all(whiskers.error > 0)


def test_negative_parts_hang_below_zero_and_do_not_overlap(runs):
    bars = layers(marks_budget(runs["stuck"]), Bars)
    for window in range(bars[0].x.size):
        spans = sorted(tuple(sorted((float(b.base[window]), float(b.base[window] + b.height[window])))) for b in bars)
        for (_, end), (start, _) in pairwise(spans):
            assert start >= end - 1e-9


def test_windows_beyond_the_axis_are_marked_and_counted(runs):
    chart = marks_budget(runs["stuck"])
    marks = layers(chart, Marks)
    assert {mark.edge for mark in marks} == {"top", "bottom"}
    assert any("8 windows beyond the axis" in note for note in chart.notes)
    assert "times the promise was lost to noise" in chart.takeaway


def test_a_window_without_a_promise_has_no_shares(tmp_path):
    terms = {"promise": -1.0, "delivered": -1.0, "noise": 0.0, "curvature": 0.0, "higher_order": 0.0}
    chart = marks_budget(write(tmp_path / "run", [(1, terms), (2, {**terms, "promise": float("nan")})]))
    assert layers(chart, Bars)[0].x.size == 0
    assert {mark.count for mark in layers(chart, Marks)} == {1}
    assert len(layers(chart, Marks)) == 2
    assert chart.takeaway.endswith("promised no progress at all.")


def test_one_step_has_its_own_error(runs):
    bars = layers(marks_budget(runs["single"]), Bars)
    promise = runs["single"].series("promise").values[0]
    error = runs["single"].series("delivered_error").values[0]
    np.testing.assert_allclose(bars[0].error, [error / promise])
    assert marks_budget(runs["single"]).notes[0] == "1 measured step in 1 window."


def test_the_loss_keeps_extremes_and_counts_what_is_not_finite(runs):
    run = runs["broken"]
    loss = run.series("loss").values
    chart = marks_loss(run)
    raw = layers(chart, Curve)[0]
    assert np.nanmax(raw.y) == loss[np.isfinite(loss)].max()
    assert np.nanmin(raw.y) == loss[np.isfinite(loss)].min()
    assert np.isnan(raw.y).any(), "the line must be interrupted where the loss is not finite"
    mine = [mark for mark in layers(chart, Marks) if mark.name == "mini-batch loss"]
    assert sum(mark.count for mark in mine) == np.sum(~np.isfinite(loss)) == 102
    assert chart.y.scale == "log"
    assert "102 values are not finite, the first at step 299" in chart.takeaway


def test_a_long_loss_is_thinned_and_says_so(runs):
    chart = marks_loss(runs["healthy"])
    raw = layers(chart, Curve)[0]
    assert raw.x.size <= 1200 < raw.total == 3000
    assert any("of 3000 values drawn" in note for note in chart.notes)


def test_validation_has_a_band(runs):
    assert [band.name for band in layers(marks_loss(runs["healthy"]), Band)] == ["validation"]


def test_gradient_spikes_are_named(runs):
    assert "the greatest is" in marks_gradient(runs["broken"]).takeaway


def test_an_infinite_best_size_is_marked_at_the_top(runs):
    values = runs["healthy"].series("best_scale").values
    chart = marks_best_scale(runs["healthy"])
    marks = layers(chart, Marks)
    assert [mark.count for mark in marks] == [np.isinf(values).sum()]
    assert {level.value for level in layers(chart, Level)} == {1.0, 0.5}
    assert chart.y.scale == "log"


@pytest.mark.parametrize(
    ("factor", "words"),
    [(4.0, "4 times as long"), (0.1, "10 times too long"), (1.0, "about right"), (-2.0, "uphill"),
     (float("inf"), "nothing limits its size")],
)  # fmt: skip
def test_the_best_size_in_words(tmp_path, factor, words):
    chart = marks_best_scale(write(tmp_path / "run", [(step, {"best_scale": factor}) for step in (1, 2, 3)]))
    assert words in chart.takeaway


def test_steps_at_different_times_are_compared_where_both_were_measured(tmp_path):
    rows = [(1, {"best_step": 1.0}), (2, {"step_scale": 0.1, "best_step": 0.5}), (3, {"step_scale": 0.1})]
    assert "5 times" in marks_step_size(write(tmp_path / "run", rows)).takeaway


def test_fresh_and_own_gains_are_apart(runs):
    assert "nothing of that carries over" in marks_fresh(runs["stuck"]).takeaway
    assert "makes the loss worse" in marks_progress(runs["stuck"]).takeaway


def test_stability_is_drawn_for_plain_gradient_descent_only(runs):
    names = [curve.name for curve in layers(marks_eigenvalues(runs["healthy"]), Curve)]
    assert "2 ÷ step" in names
    assert "2 ÷ step" not in [curve.name for curve in layers(marks_eigenvalues(runs["stuck"]), Curve)]
    assert not is_plain_sgd(runs["single"])


def test_a_stability_level_far_away_is_told_instead(tmp_path):
    values = {"largest_eigenvalue": 0.5, "smallest_eigenvalue": 0.0, "step_scale": 1e-3}
    chart = marks_eigenvalues(write(tmp_path / "run", [(1, values), (2, values)]))
    assert layers(chart, Curve) == []
    assert chart.y.limits[1] < 1
    assert any("4000 times the largest eigenvalue" in note for note in chart.notes)


def test_an_early_measurement_is_not_called_late(tmp_path):
    rows = [(20, {"dead_fraction": 0.1, "best_scale": 3.0}), (500, {"loss": 1.0})]
    run = write(tmp_path / "run", rows)
    assert marks_best_scale(run).takeaway == "At step 20 the step could typically have been 3 times as long."
    assert marks_dead_units(run).takeaway.startswith("At step 20, 10\u00a0%")


def test_windows_are_those_of_the_run_not_of_the_measurements(tmp_path):
    terms = {"promise": 1.0, "delivered": 0.5, "noise": 0.5, "curvature": 0.0, "higher_order": 0.0}
    run = write(tmp_path / "run", [(10, terms), (300, terms), (600, {"loss": 1.0})])
    bars = layers(marks_budget(run), Bars)[0]
    np.testing.assert_allclose(bars.width, 10.0)
    np.testing.assert_allclose(bars.x, [5.5, 295.5])


def test_few_eigenvalues_have_error_bars(runs):
    points = layers(marks_eigenvalues(runs["broken"]), Points)
    assert len(points) == 2
    np.testing.assert_allclose(points[1].error, 0.2)


def test_the_batch_size_is_a_level_of_the_noise_scale(runs):
    assert [level.value for level in layers(marks_noise_scale(runs["healthy"]), Level)] == [64.0]


def test_the_line_names_ends_barrier_and_what_is_extrapolated(runs):
    chart = marks_straight(runs["stuck"])
    texts = [label.text for label in layers(chart, Label)]
    assert texts[0].startswith("start 2.3")
    assert texts[1].startswith("end 0.1")
    assert texts[2].startswith("barrier 0.39")
    assert [(span.low, span.high) for span in layers(chart, Span)] == [(-0.25, 0.0), (1.0, 1.25)]
    assert len(layers(chart, Band)) == 1
    assert "falls all the way" in marks_straight(runs["healthy"]).takeaway


def test_a_line_that_is_not_finite_is_marked():
    alpha = np.linspace(0, 1, 5)
    chart = marks_line(Line(alpha, np.asarray([2.0, np.nan, np.inf, 1.0, 0.5]), np.full(5, np.nan)))
    assert layers(chart, Marks)[0].count == 2
    assert "not finite" in chart.takeaway
    assert any("the error is unknown" in note for note in chart.notes)


def test_labels_at_the_ends_do_not_overlap():
    lines = tuple(Level(f"level {value}", value) for value in (0.5, 0.5, 0.51, 0.99, 1.0))
    labels = end_labels(Chart("c", "t", "", "", Axis("x"), Axis("y"), lines))
    assert np.all(np.diff([label.place for label in labels]) >= 0.075 - 1e-9)
    assert max(label.place for label in labels) <= 1.0
