"""Does the picture of an obstacle say what was measured, what it leaves out, and what is missing?"""

import io
import math
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

import synthetic
from theodolite.plots import plot_chart, svg_chart
from theodolite.plots.cliffs import marks_spikes, marks_wall
from theodolite.plots.ends import marks_ends
from theodolite.plots.figures import figure_diagnosis
from theodolite.plots.layers import marks_dead_layers, marks_depth
from theodolite.plots.marks import Absent, Axis, Bars, Chart, Curve, Field, Label, Level, Points, Way
from theodolite.plots.moves import marks_branches, marks_scalings, marks_terms
from theodolite.plots.obstacles import charts_obstacle
from theodolite.plots.paths import marks_generalization, marks_norm, marks_off_line, marks_trend
from theodolite.plots.planes import below, marks_plane
from theodolite.plots.scales import levels, shades, things, ticks
from theodolite.plots.sections import marks_barrier, marks_rays, marks_walls
from theodolite.records import Continuation, Estimate, Ray, Remedy, Rescaled, Survey, Trail, Trials, WhatIf
from theodolite.records.obstacles import OBSTACLES, Status
from theodolite.records.planes import Layers, Plane, Section, Sections, Track
from theodolite.records.run import Run

EVERY = (*OBSTACLES, "undetermined")


class Recorded(Run):
    """A run on disk whose results are given."""

    def __init__(self, run: Run, *results: object) -> None:
        super().__init__(run.path)
        self._results = results

    def results(self, kind: str) -> tuple:
        return tuple(one for one in self._results if type(one).__name__ == kind)

    def result(self, kind: str) -> object:
        return next(reversed(self.results(kind)), None)


@pytest.fixture
def recorded(runs):
    """A function from results to a run."""
    return lambda *results: Recorded(runs["healthy"], *results)


def layers(chart, kind):
    assert isinstance(chart, Chart), chart
    return [layer for layer in chart.layers if isinstance(layer, kind)]


def bowl(name="saddle_point", *, scale=1.0, tracks=()) -> Plane:
    x, y = np.linspace(-1, 1, 21), np.linspace(-2, 2, 41)
    return Plane(
        x, y, 1 + scale * (x[None] ** 2 + 0 * y[:, None]) + 0 * y[:, None], name=name, origin="here", tracks=tracks
    )


def track(name="the run", *, outside=(3.0, 0.0)) -> Track:
    off = np.array(outside)
    foot = np.array([0.5, 0.0])
    return Track(name, foot, np.zeros(2), off, np.hypot(foot, off), np.array([2.0, 1.0]), np.array([4, 8]))


WORDS = {"title": "Plane.", "takeaway": "It is.", "reading": "So."}


def test_a_plane_tells_what_lies_outside_and_how_far_the_surface_is_from_the_path():
    chart = marks_plane(bowl(tracks=(track(),)), **WORDS)
    share = math.sqrt(9 / (9 + 0.25))
    assert f"The run: {round(100 * share)}\u00a0% of its distance from here lies outside the plane" in chart.notes[0]
    assert "differs from the surface below them by up to 0.75" in chart.notes[0]  # 2 at the point, 1 + 0.5² below it
    way = layers(chart, Way)[0]
    np.testing.assert_allclose(way.nearness, [1 - 3 / math.hypot(3, 0.5), 1.0])
    assert way.texts[0] == "step 4, 3 outside the plane, J 2, on the surface 1.25"


def test_a_path_on_the_plane_has_nothing_outside():
    chart = marks_plane(bowl(tracks=(track(outside=(0.0, 0.0)),)), **WORDS)
    assert "nothing of its distance" in chart.notes[0]


def test_between_grid_points_the_surface_is_bilinear_and_beyond_unknown():
    x, y = np.array([0.0, 1.0, 3.0]), np.array([0.0, 2.0])
    plane = Plane(x, y, 1 + 2 * x[None] + 3 * y[:, None] + x[None] * y[:, None])
    at = np.array([0.25, 2.5, 3.0, 3.1]), np.array([0.5, 1.0, 2.0, 0.0])
    found = below(plane, Track("p", *at, np.zeros(4), np.ones(4)))
    np.testing.assert_allclose(found[:3], (1 + 2 * at[0] + 3 * at[1] + at[0] * at[1])[:3])
    assert np.isnan(found[3])


def test_what_is_not_finite_is_hatched_and_counted_in_every_drawing():
    plane = bowl()
    plane.losses[3, 4], plane.losses[5, 6] = np.nan, np.inf
    chart = marks_plane(plane, **WORDS)
    assert any("2 of 861 points of the plane have a loss that is not finite: hatched" in note for note in chart.notes)
    assert np.isnan(layers(chart, Field)[0].z).sum() == 2
    assert 'fill="url(#unknown-plane_saddle_point)"' in svg_chart(chart)
    plot_chart(chart).figure.savefig(io.BytesIO(), format="png", dpi=30)


def test_walls_do_not_take_the_shades_from_the_rest():
    plane = bowl()
    plane.losses[:, 0] = 1e3
    chart = marks_plane(replace(plane, losses=plane.losses - 1.5), **WORDS)
    assert layers(chart, Field)[0].scale.limits[1] < 2
    assert any(note.startswith("The last shade stands for every value above") for note in chart.notes)


@pytest.mark.parametrize("losses", [np.full((5, 5), 2.0), np.full((5, 5), np.nan), np.zeros((5, 5))])
def test_a_flat_or_unknown_plane_can_be_drawn(losses):
    side = np.linspace(-1, 1, 5)
    chart = marks_plane(Plane(side, side, losses), **WORDS)
    plot_chart(chart).figure.savefig(io.BytesIO(), format="png", dpi=30)
    ElementTree.fromstring(svg_chart(chart))


def test_shades_cut_a_scale_into_equal_parts():
    scale = Axis("J", "", "log", (1.0, 100.0))
    np.testing.assert_allclose(levels(scale, 2), [1.0, 10.0, 100.0])
    values = np.array([-5.0, 0.5, 1.0, 9.0, 11.0, 1e9, np.nan, np.inf])
    assert shades(scale, values, 2).tolist() == [0, 0, 0, 0, 1, 1, -1, -1]


def test_an_axis_of_things_has_their_names():
    assert ticks(things("layer", ("a", "b"))) == ([0.0, 1.0], ["a", "b"])
    assert len(ticks(things("layer", tuple("abcdefghijklmnopqrstuvwxyz")))[0]) <= 12


SURVEY = Survey(
    3000,
    batch=1.0,
    noise_scale=Estimate(9.0, 1.0),
    steps=16,
    promise=Estimate(10.0, 1.0),
    noise=Estimate(6.0, 0.5),
    curvature=Estimate(3.0, 0.4),
    higher_order=Estimate(-1.0, 0.1),
    delivered=Estimate(2.0, 0.3),
    rescaled=Rescaled(
        (0.1, 1.0, 10.0, 100.0), tuple(map(Estimate, (0.2, 1.0, 4.0, -900.0), (0.1, 0.1, 0.1, 0.1))), Estimate(2.0)
    ),
    what_ifs=(WhatIf("curvature-corrected", Estimate(40.0, 1.0)), WhatIf("noise-free gradient", Estimate(-0.5, 0.1))),
    rays=(
        Ray("outward", np.array([0.0, 1.0, 2.0, 4.0]), np.array([1.0, 0.99, 0.9, 0.5]), np.zeros(4)),
        Ray("growing weights", np.array([0.0, 1.0, 2.0, 4.0]), np.array([1.0, 1.0, 1.01, np.inf]), np.zeros(4)),
    ),
)


def test_the_terms_step_down_from_the_promise_to_what_arrived(recorded):
    bars = layers(marks_terms(recorded(SURVEY)), Bars)
    ends = [float(bar.base[0] + bar.height[0]) for bar in bars]
    assert ends == [10.0, 4.0, 1.0, 2.0, 2.0]  # the last loss ends where "delivered" does
    takeaway = marks_terms(recorded(SURVEY)).takeaway
    assert "60\u00a0% of what a step promises is lost to noise, 20\u00a0% arrives" in takeaway


def test_scalings_mark_the_real_step_and_leave_out_no_word_of_the_cut(recorded):
    chart = marks_scalings(recorded(SURVEY), is_corrected=True)
    assert [(p.x.tolist(), p.y.tolist()) for p in layers(chart, Points)] == [([1.0], [1.0])]
    assert "The real step gains 1; 10 times it gains 4; a corrected step gains 40." in chart.takeaway
    assert any("100 times and more: the loss rises beyond the axis" in note for note in chart.notes)
    assert {curve.name for curve in layers(chart, Curve)} == {"scaled step", "corrected step", "gradient step"}


def test_branches_have_the_plain_one_at_zero_and_divergence_at_the_edge(recorded):
    tried = [("step × 10", 0.5), ("step × 0.1", -0.2), ("step × 1000", -math.inf), ("batch × 8", 9.0)]
    remedies = tuple(Remedy(name, Estimate(gain, 0.01), Estimate(0.1), 50, 3) for name, gain in tried)
    chart = marks_branches(recorded(Trials(remedies)))
    assert layers(chart, Points)[0].x.tolist() == [0.1, 1.0, 10.0]
    assert "10 times the step gains 0.5 more in 50 steps" in chart.takeaway
    assert any("minus infinity" in note for note in chart.notes)


def test_a_spoilt_run_shows_where_branches_end(recorded):
    """From here shorter steps alone are finite, from the start they end low; clipping is a line."""
    endless, plain = Estimate(math.inf), Estimate(math.nan)
    ends = {"step × 0.1": (0.2, 0.4), "step × 10": (math.nan, 3.0), "clipping": (8.0, 10.0)}
    ends |= {"from its start, step × 0.1": (0.02, 0.04), "from its start again": (5.0, 5.0)}
    remedies = tuple(Remedy(name, endless, plain, 60, 2, ends=at) for name, at in ends.items())
    blown_up = replace(SURVEY, status=Status.NONFINITE, loss=Estimate(0.5, 0.01))
    chart = marks_ends(recorded(Trials(remedies), blown_up))
    here, begun = layers(chart, Points)
    assert (here.x.tolist(), here.y.tolist()) == ([0.1], pytest.approx([0.3]))
    assert (begun.x.tolist(), begun.y.tolist()) == ([0.1, 1.0], pytest.approx([0.03, 5.0]))
    assert {level.name: level.value for level in layers(chart, Level)} == {"before": 0.5, "clipped": 9.0}
    assert "the run diverges; with steps × 0.1, from its start, it comes to 0.03" in chart.takeaway
    assert any("2 infinite values" in note for note in chart.notes)  # the plain one, and ten times as long
    assert "Branches of 60 steps" in chart.notes[0]
    assert (
        charts_obstacle(recorded(Trials(remedies), blown_up), synthetic.diagnosis("step_too_large"))[0].name == "ends"
    )
    assert isinstance(marks_ends(recorded(blown_up)), Absent)


def test_a_trend_has_the_slope_that_was_judged(runs):
    finding = replace(synthetic.diagnosis("none").findings["none"], statistic=Estimate(0.75, 0.01))
    judged = replace(synthetic.diagnosis("none"), findings=type(synthetic.diagnosis().findings)((finding,)))
    line = layers(marks_trend(runs["healthy"], judged), Curve)[-1]
    assert line.name == "trend"
    slope = np.diff(np.log(line.y)) / np.diff(np.log(line.x))
    assert slope[0] == pytest.approx(-2.0)  # three quarters gone whenever the age doubles


def trail(validation=()) -> Trail:
    """A quarter circle of radius 2 around (2, 0), from the origin to (2, 2)."""
    angle = np.linspace(math.pi, math.pi / 2, 9)
    at = np.stack([2 + 2 * np.cos(angle), 2 * np.sin(angle)], 1)
    apart = np.linalg.norm(at[:, None] - at[None], axis=2)
    return Trail(
        np.arange(9) * 10,
        np.geomspace(1.0, 1e-3, 9),
        np.full(9, 1e-5),
        apart,
        np.linalg.norm(at, axis=1),
        np.array(validation, dtype=float),
        Estimate(0.4, 0.05) if len(validation) else Estimate(math.nan),
        30,
    )


def test_the_distance_from_the_line_is_that_of_the_arc(recorded):
    chart = marks_off_line(recorded(trail()))
    points = layers(chart, Points)[0]
    sagitta = (2 - math.sqrt(2)) / (2 * math.sqrt(2))
    assert points.y.max() == pytest.approx(sagitta, rel=1e-9)
    assert points.x[[0, -1]] == pytest.approx([0.0, 1.0])


def test_norms_along_a_ray_are_exact(recorded):
    """Outward goes on from (2, 2) along the chord of the second half; its norms by Pythagoras."""
    came = trail()
    half, end = np.array([2 - math.sqrt(2), math.sqrt(2)]), np.array([2.0, 2.0])
    way = (end - half) / np.linalg.norm(end - half)
    expected = [np.linalg.norm(end + s * way) for s in (0.0, 1.0, 2.0, 4.0)]
    chart = marks_norm(recorded(replace(came, steps=np.array([0, 1, 2, 3, 40, 50, 60, 79, 80])), SURVEY))
    points = {one.name: one for one in layers(chart, Points)}
    np.testing.assert_allclose(points["on, outward"].x, expected, rtol=1e-9)
    np.testing.assert_allclose(points["all weights grown"].x, np.linalg.norm(end) + np.array([0.0, 1.0, 2.0]))
    assert any("infinite value" in note for note in chart.notes)


def test_the_turn_of_the_validation_loss_is_marked(recorded):
    seen = [1.0, 0.8, 0.6, 0.5, 0.6, 0.7, 0.8, 0.9, 0.9]
    chart = marks_generalization(recorded(trail(seen)))
    assert "least at step 30 and has risen by 0.4 ± 0.05" in chart.takeaway
    assert [(label.x, label.y) for label in layers(chart, Label)] == [(30.0, 0.5)]


def test_validation_from_the_series_alone(recorded):
    assert "was not measured" in marks_generalization(recorded()).takeaway


def line_of(function, name="line", low=-2.0, high=2.0, target=math.nan, tracks=()) -> Section:
    x = np.concatenate([np.linspace(low, 0, 21)[:-1], np.linspace(0, high, 21)])
    return Section(name, x, function(x), np.full(x.size, np.nan), target, tracks)


def test_walls_are_told_with_what_lies_behind(recorded):
    well = line_of(lambda x: 1 + x**2, "steep")
    behind = line_of(lambda x: 1 + np.where(x < 1, np.abs(x), 1 - 3 * (x - 1)), "out", target=2.0)
    found = marks_walls(recorded(Sections("local_minimum", "here", (well, behind))))
    assert "behind a wall of 1 along “out” it is lower by 2" in found.takeaway
    closed = marks_walls(recorded(Sections("local_minimum", "here", (well,))))
    assert "nowhere on them is it lower" in closed.takeaway
    slope = marks_walls(recorded(Sections("local_minimum", "here", (line_of(lambda x: 1 - x, "down"),))))
    assert "Along 1 of 2 ways the loss falls at once, most along “down”, by 2" in slope.takeaway


def test_rays_say_how_far_it_is_flat(recorded):
    assert (
        "within a twentieth of its height above the floor up to a distance of 1."
        in marks_rays(recorded(SURVEY)).takeaway
    )


def test_depth_and_dead_units_by_layer(recorded):
    found = Layers(
        7, ("a", "b", "c"), np.array([1e-6, 0.0, 1.0]), ("b", "c"), np.array([0.25, 1.0]), np.array([8.0, 4.0]), 99
    )
    chart = marks_depth(recorded(found))
    assert chart.takeaway == "The gradient of a is 10⁻⁶ of that of c."
    assert any("value ≤ 0" in note for note in chart.notes)
    dead = marks_dead_layers(recorded(found))
    assert dead.takeaway == "4 of 4 units that lead into c are zero on all 99 examples."
    assert [label.text for label in layers(dead, Label)] == ["2 of 8", "4 of 4"]


def test_spikes_and_the_wall_of_a_cliff(recorded):
    on = np.ones((1, 30))
    on[0, 20] = 500.0
    chart = marks_spikes(recorded(Trials(plain=Continuation(on, on, on))))
    spikes = next(one for one in layers(chart, Points) if one.name == "spikes")
    assert (spikes.x.tolist(), spikes.y.tolist()) == ([3021.0], [500.0])
    steps = Track(
        "plain steps", np.array([0.0, 1.0]), np.zeros(2), np.zeros(2), np.array([0.0, 1.0]), np.array([1.0, 4.0])
    )
    wall = line_of(lambda x: 1 + 3 * np.maximum(x, 0), low=-0.3, high=1.3, target=1.0, tracks=(steps,))
    told = marks_wall(recorded(Sections("cliff", "before the step", (wall,))))
    assert "raises the loss from 1 to 4" in told.takeaway
    assert any("nothing of their distance" in note for note in told.notes)


def test_a_barrier_is_told(recorded):
    hill = line_of(lambda x: 1 + x - x**2, low=-0.2, high=1.8, target=1.5)
    assert (
        "behind a barrier of 0.25" in marks_barrier(recorded(Sections("nonlocal_structure", "here", (hill,)))).takeaway
    )


HILL = line_of(lambda x: 1 + x**2, target=1.0)
FULL = (
    SURVEY,
    trail([1.0, 0.8, 0.6, 0.5, 0.6, 0.7, 0.8, 0.9, 0.9]),
    *(bowl(name, tracks=(track(),)) for name in ("saddle_point", "ill_conditioning", "nonlocal_structure")),
    *(Sections(name, "here", (HILL,)) for name in ("local_minimum", "cliff", "nonlocal_structure")),
    Layers(7, ("a", "b"), np.array([0.1, 1.0]), ("b",), np.array([0.5]), np.array([8.0]), 99),
)  # fmt: skip


@pytest.mark.parametrize("obstacle", EVERY)
def test_every_obstacle_has_its_picture_with_words_and_what_it_leaves_out(recorded, obstacle):
    run, judged = recorded(*FULL), synthetic.diagnosis(obstacle)
    panels = charts_obstacle(run, judged)
    assert isinstance(panels[0], Chart)
    assert panels[0].notes
    assert len({panel.name for panel in panels}) == len(panels)
    for panel in panels:
        words = panel.reason if isinstance(panel, Absent) else f"{panel.takeaway} {panel.reading}"
        assert words.endswith(".")
        assert "nan" not in words.split()
        ElementTree.fromstring(svg_chart(panel))
    figure_diagnosis(judged, run=run).savefig(io.BytesIO(), format="png", dpi=30)


@pytest.mark.parametrize("obstacle", EVERY)
@pytest.mark.parametrize("kind", synthetic.KINDS)
def test_a_run_without_a_survey_gets_the_nearest_picture_and_says_so(runs, kind, obstacle):
    panels = charts_obstacle(runs[kind], synthetic.diagnosis(obstacle))
    first = panels[0]
    absent = [panel for panel in panels if isinstance(panel, Absent)]
    if isinstance(first, Chart) and obstacle in {"saddle_point", "ill_conditioning", "plateau", "local_minimum"}:
        assert first.notes[0].startswith("In place of “")
        assert absent
    if kind == "empty":
        assert isinstance(first, Absent)
        assert "Not measured in this run" in first.reason


def test_a_picture_of_a_run_on_disk_is_drawn_from_the_diagnosis_alone(runs):
    judged = replace(synthetic.diagnosis("none"), run=str(runs["stuck"].path))
    figure = figure_diagnosis(judged)
    assert figure.axes or figure.subfigs
