"""Does a way grow point by point, to the picture that stands still; and is the ground the same in every frame?"""

import json

import numpy as np
import pytest
from PIL import Image

from theodolite.errors import SettingError
from theodolite.plots import marks_line, marks_plane, scene_plane, scene_projection
from theodolite.plots.animations import moments, plotly_animation, until, write_gif
from theodolite.plots.marks import Field, Way
from theodolite.plots.plotly_charts import plotly_chart
from theodolite.records.planes import Track


def pictures(made):
    return [marks_plane(made["plane"]()), scene_plane(made["plane"]()), scene_projection(made["projection"]())]


def test_each_moment_shows_more_and_the_last_one_all(made):
    shown = moments(marks_plane(made["plane"]()))
    assert [moment.count for moment in shown] == [1, 2, 3]
    assert [moment.text for moment in shown] == ["step 0", "step 10", "step 20"]
    many = moments(scene_projection(made["projection"]()), most=4)
    assert (len(many), many[0].count, many[-1].count) == (4, 1, 9)


def test_only_ways_are_cut_and_arrows_stay(made):
    plane = made["plane"]()
    kick = Track("random kick", np.array([0.0, 1.0]), np.zeros(2), np.zeros(2), np.array([0.0, 1.0]))
    chart = marks_plane(made["plane"](tracks=(*plane.tracks, kick)))
    cut = until(chart, 1)
    way, arrow = [layer for layer in cut.layers if isinstance(layer, Way)]
    assert (way.x.size, len(way.texts), arrow.x.size) == (1, 1, 2)
    assert [layer for layer in cut.layers if isinstance(layer, Field)] == [
        layer for layer in chart.layers if isinstance(layer, Field)
    ]


def test_the_last_frame_is_the_still_picture(made):
    for picture in pictures(made):
        figure = plotly_animation(picture)
        json.dumps(figure, allow_nan=False)
        last = figure["frames"][-1]
        assert [figure["data"][place] for place in last["traces"]] == last["data"]
        assert len(figure["layout"]["sliders"][0]["steps"]) == len(figure["frames"])
        assert {button["label"] for button in figure["layout"]["updatemenus"][0]["buttons"]} == {"Play", "Halt"}


def test_frames_hold_the_ways_only(made):
    chart = marks_plane(made["plane"]())
    figure = plotly_animation(chart)
    names = {trace["name"] for frame in figure["frames"] for trace in frame["data"]}
    assert names == {"trajectory"}
    assert figure["data"] == plotly_chart(chart)["data"]


def test_a_way_on_a_line_moves_too(made):
    track = Track(
        "trajectory", np.array([0.0, 1.0]), np.zeros(2), np.zeros(2), np.array([0.0, 1.0]), np.array([1.0, 0.0])
    )
    assert len(plotly_animation(marks_line(made["line"](), track=track))["frames"]) == 2


@pytest.mark.parametrize("kind", [0, 1])
def test_a_gif_grows_on_a_ground_that_stands_still(made, tmp_path, kind):
    path = write_gif(pictures(made)[kind], tmp_path / "way.gif")
    with Image.open(path) as image:
        frames = []
        for place in range(image.n_frames):
            image.seek(place)
            frames.append(np.asarray(image.convert("RGB"), np.int64))
    assert len(frames) >= 3  # frames that are the same are one
    changed = [np.abs(frame - frames[0]).max(2) > 40 for frame in frames]
    shares = [float(one.mean()) for one in changed]
    assert shares[0] == 0
    assert sorted(shares) == shares
    assert shares[-1] < 0.1  # the ground did not move


def test_a_picture_without_a_way_is_refused(made, tmp_path):
    for picture in (marks_line(made["line"]()), scene_plane(made["plane"](tracks=()))):
        with pytest.raises(SettingError, match="needs a way of two points at least"):
            write_gif(picture, tmp_path / "none.gif")
        with pytest.raises(SettingError, match="Project a trajectory onto it"):
            plotly_animation(picture)
