"""Do the pictures of lines, ways and curves hold what was measured, and say what they leave out?"""

import numpy as np
import pytest

from theodolite.plots import (
    Absent,
    charts_line,
    marks_components,
    marks_curve,
    marks_line,
    marks_projection,
    marks_shares,
    marks_winding,
)
from theodolite.plots.marks import Band, Bars, Curve, Label, Marks, Points, Span, Way
from theodolite.records.lines import Along
from theodolite.records.planes import Track


def layers(chart, kind):
    return [layer for layer in chart.layers if isinstance(layer, kind)]


# Lines


def test_a_line_shows_every_loss_with_its_band_and_other_quantities_apart(made):
    chart, accuracy = charts_line(made["line"]())
    assert [(curve.name, curve.role) for curve in layers(chart, Curve)] == [
        ("loss", "main"), ("validation loss", "second"),
    ]  # fmt: skip
    np.testing.assert_allclose(layers(chart, Band)[1].high, made["line"]().others[0].values + 0.05)
    assert [(span.low, span.high) for span in layers(chart, Span)] == [(-0.25, 0.0), (1.0, 1.25)]
    assert accuracy.y.label == "accuracy"
    assert accuracy.x == chart.x
    assert accuracy.takeaway == "From 0 at start to 1 at end."


def test_a_line_says_whether_it_is_convex_and_names_both_barriers(made):
    chart = marks_line(made["line"]())
    assert "and is convex there" in chart.takeaway
    alpha = made["line"]().positions
    bump = made["line"](losses=np.sin(np.pi * alpha) ** 2 + 2 * (1 - alpha), start="net a", end="net b", others=())
    told = marks_line(bump)
    assert "convex" not in told.takeaway
    # Above the chord 2(1 − α): sin² = 1 at ½. Above the start, 2: sin²(3π/8) − ¾ at ⅜.
    assert told.notes[1].startswith("Barrier: 0.1 above the higher end (Goodfellow et al. 2015), 1 above the chord")
    assert told.title.endswith("from net a to net b")


def test_a_line_tells_its_length_its_method_and_a_preview(made):
    notes = marks_line(made["line"](method="bfloat16 preview")).notes
    assert any("lie 5 apart in θ" in note for note in notes)
    assert "A preview, not exact. How J was evaluated: bfloat16 preview." in notes


def test_values_of_any_curve_that_are_not_finite_are_counted(made):
    line = made["line"]()
    broken = line.others[0].values.copy()
    broken[:2] = np.nan
    chart = marks_line(made["line"](others=(Along("validation loss", broken, broken),)))
    marks = layers(chart, Marks)
    assert [(mark.name, mark.count) for mark in marks] == [("validation loss", 2)]
    assert any("a validation loss that is not finite: 2; marked at the top edge" in note for note in chart.notes)


def test_a_way_is_drawn_on_a_line_at_its_own_loss(made):
    track = Track(
        "trajectory", np.array([0.0, 0.5, 1.0]), np.zeros(3), np.array([0.0, 2.0, 0.0]), np.array([0.0, 4.0, 5.0]),
        np.array([9.0, 4.0, 0.0]), np.array([0, 5, 10]),
    )  # fmt: skip
    chart = marks_line(made["line"](), track=track)
    way = layers(chart, Way)[0]
    np.testing.assert_array_equal(way.y, track.losses)
    np.testing.assert_allclose(way.nearness, [1, 0.5, 1])
    assert way.texts[1] == "step 5, J 4, 2 off the line"
    assert chart.y.limits[1] >= 9
    assert any("of its distance from the start lies off the line" in note for note in chart.notes)


@pytest.mark.parametrize("scale", ["linear", "log", "symlog"])
def test_the_scale_may_be_chosen(made, scale):
    assert marks_line(made["line"](), scale=scale).y.scale == scale


def test_an_empty_line_is_no_fault(made):
    nothing = np.zeros(0)
    chart = marks_line(made["line"](positions=nothing, losses=nothing, errors=nothing, others=()))
    assert chart.takeaway.startswith("Too few points")


# Ways


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        (lambda a: 0 * a + 3, "is the same all along the straight line between the start and the end"),
        (lambda a: 0 * a, "is the same all along"),
        (lambda a: a**2, "rises all the way along the straight line from the start to the end"),
        (lambda a: 1 - a, "falls all the way along the straight line, and is convex there"),
        (lambda a: np.cos(6 * a), "does not fall evenly"),
        (lambda a: 1 - a + 9e-7 * (a == 0.125) - 5e-7 * (a == 0), "falls all the way"),
        (lambda a: 4 * a * (1 - a), "A barrier of 1 in loss stands"),
        (lambda a: 1 + 0 * a - 2e-6 * (a == 0.5) + 3e-7 * (a == 0.25), "does not fall evenly"),
        (lambda a: np.where(a < 0.3, np.nan, 1 - a), "is not finite everywhere"),
    ],
)
def test_a_line_is_called_what_it_is(made, losses, words):
    chart = marks_line(made["line"](losses=losses(made["line"]().positions), others=()))
    assert words in chart.takeaway
    assert any("barrier" in label.text for label in layers(chart, Label)) == ("barrier" in chart.takeaway)


def test_the_shares_stand_beside_those_of_a_random_walk(made):
    chart = marks_shares(made["components"]())
    np.testing.assert_array_equal(layers(chart, Bars)[0].height, [0.8, 0.15, 0.05])
    # The eigenvalues of a Brownian bridge's covariance, 1/(πk)², sum to 1/6.
    np.testing.assert_allclose(layers(chart, Points)[0].y, 6 / (np.pi * np.arange(1, 4)) ** 2)
    assert "95\u00a0%" in chart.takeaway
    assert "random_walk_like has the moves of this way" in chart.notes[1]


def test_a_random_walk_has_those_shares_if_its_moves_are_even():
    def shares(walk):
        values = np.linalg.eigvalsh((walk - walk.mean(0)) @ (walk - walk.mean(0)).T)[::-1]
        return values / values.sum()

    moves = np.random.default_rng(0).normal(size=(400, 20_000))
    np.testing.assert_allclose(shares(np.cumsum(moves, 0))[:3], 6 / (np.pi * np.arange(1, 4)) ** 2, rtol=0.03)
    uneven = np.exp(-(((np.arange(50) - 25) / 7) ** 2))  # as of a training: short, long, short
    assert shares(np.cumsum(moves[:50] * uneven[:, None], 0))[0] > 0.8  # which is why the note says so


@pytest.mark.parametrize("kept", [2, 3])
def test_what_lies_outside_two_components_is_told_without_cancellation(made, kept):
    at = made["components"]().coordinates[:, :kept]
    record = made["components"](
        shares=np.ones(kept) / 3,
        coordinates=1e6 * at,
        outside=np.full(4, 1e-3),
        distances=np.linalg.norm(1e6 * at, axis=1),
    )
    told = marks_components(record).notes[0]
    truth = np.sqrt(np.sum(at[:, 2:] ** 2) / np.sum(at**2))
    assert told.startswith("Nothing of the distance" if kept == 2 else f"{100 * truth:.0f}\u00a0% of the distance")


def test_the_components_show_the_way_and_what_lies_outside(made):
    record = made["components"]()
    chart = marks_components(record)
    way = layers(chart, Way)[0]
    np.testing.assert_array_equal(way.x, record.coordinates[:, 0])
    assert way.texts == ("step 0, J 3", "step 1, J 2", "step 2, J 1", "step 3, J 0.5")
    total = np.sum(record.distances**2)
    outside = np.sqrt((total - np.sum(record.coordinates[:, :2] ** 2)) / total)
    assert chart.notes[0].startswith(f"{round(100 * outside)}" if outside >= 0.1 else f"{100 * outside:.2g}")
    assert {label.text for label in layers(chart, Label)} == {"step 0", "step 3"}


def test_too_few_points_are_said(made):
    one = made["components"](
        steps=np.zeros(1, int), coordinates=np.zeros((1, 1)), shares=np.ones(1), outside=np.zeros(1),
        distances=np.zeros(1), losses=np.zeros(0),
    )  # fmt: skip
    assert isinstance(marks_components(one), Absent)
    zero, nothing = np.zeros(1), np.zeros(0)
    still = made["projection"](steps=np.zeros(1, int), progress=zero, residuals=zero, losses=nothing)
    assert isinstance(marks_projection(still), Absent)
    assert isinstance(marks_winding(made["winding"](steps=np.arange(2), cosines=np.zeros(0))), Absent)


def test_the_half_circle_is_that_of_a_random_walk_between_the_ends(made):
    chart = marks_projection(made["projection"]())
    arc, way = layers(chart, Curve)[0], layers(chart, Way)[0]
    np.testing.assert_allclose((arc.x - 2) ** 2 + arc.y**2, 4)
    np.testing.assert_allclose((way.x - 2) ** 2 + way.y**2, 4)  # the way of this record is one
    assert "at most 2 off the line, at step 40, of a length of 4" in chart.takeaway


def test_a_walk_of_many_dimensions_draws_the_half_circle():
    """Goodfellow et al. 2015, figure 11: α = k√(D/T), β² = D k (1 − k/T)."""
    random, dimensions, steps = np.random.default_rng(1), 20_000, 60
    walk = np.concatenate([np.zeros((1, dimensions)), np.cumsum(random.normal(size=(steps, dimensions)), 0)])
    length = np.linalg.norm(walk[-1])
    along = walk @ walk[-1] / length
    beside = np.linalg.norm(walk - along[:, None] * walk[-1] / length, axis=1)
    np.testing.assert_allclose((along - length / 2) ** 2 + beside**2, (length / 2) ** 2, rtol=0.05)


def test_a_projection_without_a_length_has_no_half_circle(made):
    assert layers(marks_projection(made["projection"](length=float("nan"))), Curve) == []


def test_the_winding_is_told(made):
    chart = marks_winding(made["winding"]())
    assert "2 times as long" in chart.takeaway
    assert "at 67\u00a0% of its points" in chart.takeaway
    cosines, descents = layers(chart, Points)
    np.testing.assert_array_equal(cosines.x, [1, 3])  # the inner points
    np.testing.assert_array_equal(descents.x, [0, 1, 3])  # each but the last
    closed = marks_winding(made["winding"](displacement=0.0, descents=np.zeros(0)))
    assert "comes back to where it began" in closed.takeaway
    assert "points the straight" not in closed.takeaway


# Curves


def test_a_curve_stands_beside_the_straight_line(made):
    chart = marks_curve(made["curve"]())
    assert {curve.name for curve in layers(chart, Curve)} == {"straight line", "Bézier curve"}
    assert chart.takeaway == "The straight line has a barrier of 1; the Bézier curve never rises above its higher end."
    assert [label.text for label in layers(chart, Label)] == ["barrier 1"]
    assert any("3 long, the straight line 2.5" in note for note in chart.notes)
    assert "Adam, 5 steps." in chart.notes


def test_a_curve_that_is_not_finite_says_so(made):
    line = made["curve"]().straight.copy()
    line[3] = np.inf
    chart = marks_curve(made["curve"](straight=line))
    assert chart.takeaway.startswith("The loss is not finite everywhere on the straight line")
    assert layers(chart, Marks)[0].name == "straight line"
    low = made["curve"]().losses.copy()
    low[0] = np.nan
    assert "everywhere on the polygon" in marks_curve(made["curve"](kind="polygon", losses=low)).takeaway
