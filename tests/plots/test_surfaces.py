"""Is a plane the plane that was measured: its values, units and dots; and does a way fly at its own height over it?"""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from theodolite.errors import SettingError
from theodolite.plots import (
    Absent,
    alike,
    marks_line,
    marks_plane,
    plot_chart,
    plot_scene,
    scene_plane,
    scene_projection,
)
from theodolite.plots.marks import Dots, Field, Label, Way
from theodolite.plots.planes import below
from theodolite.plots.plotly_charts import plotly_chart
from theodolite.plots.plotly_scenes import plotly_scene
from theodolite.plots.space import _relief
from theodolite.plots.svg import svg_chart


def layers(chart, kind):
    return [layer for layer in chart.layers if isinstance(layer, kind)]


# What a plane tells


def test_the_field_holds_every_value_in_its_place(made):
    plane = made["plane"]()
    field = layers(marks_plane(plane), Field)[0]
    np.testing.assert_array_equal(field.z, plane.losses)
    # A cell is where its coordinates say: J = 1 + a² + 4 b².
    for row, b in enumerate(field.y):
        np.testing.assert_array_equal(field.z[row], 1 + field.x**2 + 4 * b**2)


def test_a_plane_has_words_of_its_own(made):
    chart = marks_plane(made["plane"]())
    assert chart.title == "The loss on a plane through end"
    assert chart.takeaway == "The loss is 1 at end; nothing on this plane is lower. It runs from 1 to 9."
    shifted = marks_plane(made["plane"](losses=made["plane"]().losses + 3 * made["plane"]().x[None]))
    assert "it is least at (−1.5, 0)" in shifted.takeaway  # a² + 3a is least at −3/2
    empty = made["plane"](losses=np.full((5, 9), np.nan))
    assert marks_plane(empty).takeaway == "The loss is finite nowhere on this plane."


def test_axes_count_the_direction_or_theta(made):
    plane = made["plane"](lengths=(4.0, 0.5))
    multiples, theta = marks_plane(plane), marks_plane(plane, unit="theta")
    assert multiples.x.title == "first direction (unit: its length 4)"
    assert multiples.x.limits == (-2, 2)
    assert theta.x.title == "distance along first direction (θ)"
    assert theta.x.limits == (-8, 8)
    np.testing.assert_array_equal(layers(theta, Way)[0].y, 0.5 * layers(multiples, Way)[0].y)
    assert marks_plane(made["plane"](x_name="from the start to here")).x.title == "distance from the start to here (θ)"
    # On ±8 by ±0.5 the upright axis is stretched 16 times.
    assert any("16 times as long on the upright axis" in note for note in multiples.notes)


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_the_scale_of_the_shades_may_be_chosen(made, scale):
    assert layers(marks_plane(made["plane"](), scale=scale), Field)[0].scale.scale == scale
    assert scene_plane(made["plane"](), scale=scale).z.scale == scale


def test_the_words_are_true_of_planes_that_are_level_or_lie_beside_their_origin(made):
    level = marks_plane(made["plane"](losses=np.full((5, 9), 3.0)))
    assert level.takeaway == "The loss is 3 at end; nothing on this plane is lower. It runs from 3 to 3."
    beside = marks_plane(made["plane"](x=np.linspace(1, 2, 9)))
    assert beside.takeaway == "The loss is least at (1.5, 0). It runs from 1 to 9."
    assert layers(beside, Label) == []
    assert [label.text for label in layers(level, Label)] == ["end"]
    empty = plot_chart(marks_plane(made["plane"](losses=np.full((5, 9), np.nan))))
    assert len(empty.figure.axes) == 1  # no bar of shades that stand for nothing


def test_interpolated_points_are_told_from_evaluated_ones(made):
    measured = np.zeros((5, 9), bool)
    measured[::2, ::4] = True
    chart = marks_plane(made["plane"](measured=measured, interpolation_error=0.013))
    dots = layers(chart, Dots)[0]
    assert set(zip(dots.x, dots.y, strict=True)) == {(x, y) for x in (-2.0, 0.0, 2.0) for y in (-1.0, 0.0, 1.0)}
    assert any("at 9 of 45 points (dots)" in note and "wrong by 0.013 at most" in note for note in chart.notes)
    assert layers(marks_plane(made["plane"](measured=np.ones((5, 9), bool))), Dots) == []
    assert not any("shades say little" in note for note in chart.notes)
    coarse = marks_plane(made["plane"](measured=measured, interpolation_error=1.5))
    assert any("wrong by 1.5 at most" in note and "least, 1, shades say little" in note for note in coarse.notes)
    losses = made["plane"]().losses.copy()
    losses[1, 1] = -5.0  # interpolated: no place that was seen
    told = marks_plane(made["plane"](losses=losses, measured=measured)).takeaway
    assert "nothing on this plane is lower. It runs from 1 to" in told
    assert "least at (" in marks_plane(made["plane"](losses=losses)).takeaway
    figure = plotly_chart(chart)
    assert next(trace for trace in figure["data"] if trace["name"] == "evaluated")["x"] == dots.x.tolist()
    assert "h.01" in svg_chart(chart)


def test_a_preview_and_oblique_directions_are_told(made):
    chart = marks_plane(made["plane"](method="bfloat16 preview", cosine=-0.3))
    assert chart.title.endswith(", a preview")
    assert "A preview, not exact. How J was evaluated: bfloat16 preview." in chart.notes
    assert any("not orthogonal (cosine −0.3)" in note for note in chart.notes)
    assert scene_plane(made["plane"](method="bfloat16 preview")).title.endswith(", a preview")
    assert not any("orthogonal" in note for note in marks_plane(made["plane"](cosine=1e-4)).notes)


def test_what_is_not_finite_is_hatched_and_a_hole(made):
    losses = made["plane"]().losses.copy()
    losses[0, 0], losses[1, 1] = np.nan, np.inf
    plane = made["plane"](losses=losses)
    chart, scene = marks_plane(plane), scene_plane(plane)
    assert np.isnan(layers(chart, Field)[0].z).sum() == 2
    assert np.isnan(scene.surfaces[0].z).sum() == 2
    assert any("2 of 45 points of the plane have a loss that is not finite" in note for note in chart.notes)
    assert any("2 of 45 points of the plane have a loss that is not finite" in note for note in scene.notes)
    surface = plotly_scene(scene)["data"][0]
    assert surface["z"][0][0] is None
    assert surface["z"][1][1] is None
    assert surface["connectgaps"] is False


# Heights


def test_a_way_on_the_plane_lies_on_the_surface_and_elsewhere_the_gap_is_shown(made):
    plane = made["plane"]()
    flight = scene_plane(plane).flights[0]
    np.testing.assert_array_equal(flight.z, plane.tracks[0].losses)
    # Off the plane by 3, 1, 0, J is higher by 9, 1, 0 than on the surface; grid points, so that nothing interpolates.
    # (½, ¼) lies between rows: 4 b² is ½ there on the straight line from 0 to 1, and ¼ in truth.
    np.testing.assert_allclose(flight.z - flight.foot, [9, 1 - 0.25, 0])
    assert flight.z[2] == flight.foot[2]
    assert flight.texts[0].startswith("step 0, 3 outside the plane, J 12, on the surface 3")


def test_the_surface_below_a_point_is_exact_for_bilinear_losses(made):
    x, y = made["plane"]().x, made["plane"]().y
    plane = made["plane"](losses=1 + 2 * x[None] - y[:, None] + 3 * x[None] * y[:, None])
    track = plane.tracks[0]
    np.testing.assert_allclose(below(plane, track), 1 + 2 * track.x - track.y + 3 * track.x * track.y, rtol=1e-14)


def test_a_way_of_unknown_loss_is_drawn_on_the_surface_and_the_note_says_so(made):
    plane = made["plane"]()
    track = plane.tracks[0]
    scene = scene_plane(replace(plane, tracks=(replace(track, losses=np.zeros(0)),)))
    np.testing.assert_array_equal(scene.flights[0].z, scene.flights[0].foot)
    assert any("was not measured: drawn on the surface" in note for note in scene.notes)


def test_plotly_draws_stems_where_there_is_a_gap(made):
    _, stems, way = plotly_scene(scene_plane(made["plane"](), scale="linear"))["data"]
    assert stems["z"][:3] == [3.0, 12.0, None]  # 1 + 1 + 4·¼ on the surface, and 9 more off it
    assert len(stems["z"]) == 9
    assert [text.split(",")[0] for text in way["customdata"]] == ["step 0", "step 10", "step 20"]
    json.dumps(plotly_scene(scene_plane(made["plane"]())), allow_nan=False)


# The view of a projection


def test_the_lines_across_stand_at_their_progress(made):
    record = made["projection"]()
    scene = scene_projection(record)
    surface = scene.surfaces[0]
    np.testing.assert_array_equal(surface.x[:, 0], record.progress[record.across])
    np.testing.assert_array_equal(surface.y[0], record.offsets)
    np.testing.assert_array_equal(surface.z, record.surface)


def test_the_way_lies_on_its_own_line_across(made):
    """D10: the surface at r = β is J at the point."""
    flight = scene_projection(made["projection"]()).flights[0]
    np.testing.assert_allclose(flight.foot[1:-1], flight.z[1:-1], atol=0.02)  # β²/4 between points ½ apart: ½²/32
    assert np.isnan(flight.foot[[0, -1]]).all()  # no line across was measured there


def test_a_projection_without_its_surface_says_what_is_missing(made):
    nothing = made["projection"](surface=np.zeros((0, 0)), offsets=np.zeros(0), across=np.zeros(0, int))
    assert "Measure both" in scene_projection(nothing).reason
    assert isinstance(scene_projection(made["projection"](losses=np.zeros(0))), Absent)


# Matplotlib


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_matplotlib_draws_every_scene(made, scale):
    losses = made["plane"]().losses.copy()
    losses[0, :3] = np.nan
    for scene in (scene_plane(made["plane"](losses=losses), scale=scale), scene_projection(made["projection"]())):
        ax = plot_scene(scene)
        ax.figure.savefig(io.BytesIO(), format="png", dpi=30)
        assert ax.get_zlabel().startswith("loss J")


def inked(scene):
    """How many pixels of a picture of a scene, without its axes, are not white."""
    ax = plot_scene(scene)
    ax.set_axis_off()
    ax.set_title("", loc="left")
    for text in [*ax.texts]:
        text.remove()
    file = io.BytesIO()
    ax.figure.savefig(file, format="rgba", dpi=30)
    return int((np.frombuffer(file.getvalue(), np.uint8).reshape(-1, 4)[:, :3] < 255).any(1).sum())


def test_holes_are_not_drawn(made):
    plane = made["plane"](tracks=())
    losses = plane.losses.copy()
    losses[:, 3:] = np.nan  # two of eight columns of faces stay
    assert inked(scene_plane(made["plane"](losses=losses, tracks=()))) < 0.6 * inked(scene_plane(plane))


def test_a_scene_needs_axes_in_space(made):
    with pytest.raises(SettingError, match="needs axes in space, got Axes"):
        plot_scene(scene_plane(made["plane"]()), ax=Figure().add_subplot())
    assert plot_scene(Absent("a", "Title", "Reason.")).get_title(loc="left") == "Title"


def test_light_falls_the_same_way_however_the_rows_run():
    x, y = np.meshgrid(np.linspace(0, 1, 4), np.linspace(0, 1, 5))
    z = 0.3 * x + 0.2 * y**2
    bright = _relief(x, y, z)
    np.testing.assert_allclose(_relief(x.T, y.T, z.T), bright.T)
    np.testing.assert_allclose(_relief(x[::-1], y[::-1], z[::-1]), bright[::-1])
    np.testing.assert_array_equal(_relief(x[:1], y[:1], z[:1]), 1)


def test_a_row_of_points_is_no_fault(made):
    plane = made["plane"](y=np.zeros(1), losses=made["plane"]().losses[2:3])
    plot_chart(marks_plane(plane)).figure.savefig(io.BytesIO(), format="png", dpi=30)
    plot_scene(scene_plane(plane)).figure.savefig(io.BytesIO(), format="png", dpi=30)


# Several runs


def test_pictures_of_several_runs_get_common_axes(made):
    low, high = made["plane"](), made["plane"](losses=5 * made["plane"]().losses, x=3 * made["plane"]().x)
    charts = alike({"a": marks_plane(low, scale="linear"), "b": marks_plane(high, scale="linear")})
    fields = [layers(chart, Field)[0].scale.limits for chart in charts.values()]
    assert fields[0] == fields[1]
    assert charts["a"].x.limits == charts["b"].x.limits == (-6, 6)
    scenes = alike({"a": scene_plane(low), "b": scene_plane(high), "c": Absent("c", "T", "None.")})
    assert scenes["a"].z == scenes["b"].z
    assert scenes["c"].reason == "None."


def test_a_logarithmic_axis_gives_way_to_a_linear_one(made):
    charts = alike({"a": marks_line(made["line"](), scale="log"), "b": marks_line(made["line"](), scale="linear")})
    assert {chart.y.scale for chart in charts.values()} == {"linear"}
    assert alike({}) == {}
