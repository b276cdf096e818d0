"""Do matplotlib and SVG draw every chart, without a warning or a trace?"""

import io
import re
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

import synthetic
from theodolite.plots import charts, figure_run, plot_chart, svg_chart
from theodolite.plots.marks import Axis, Chart, Label, Level, Points


@pytest.mark.parametrize("kind", synthetic.KINDS)
def test_matplotlib_draws_every_run(runs, kind):
    before = dict(mpl.rcParams)
    figure = figure_run(runs[kind])
    figure.savefig(io.BytesIO(), format="png", dpi=30)
    assert dict(mpl.rcParams) == before


def test_axes_are_used_where_given(runs):
    ax = Figure().add_subplot()
    assert plot_chart(charts(runs["healthy"])[0], ax=ax) is ax
    assert ax.get_ylabel() == "share of the promise"
    assert len(ax.patches) == 4 * 60


@pytest.mark.parametrize("kind", synthetic.KINDS)
def test_svg_is_well_formed_small_and_without_numbers_that_are_none(runs, kind):
    for chart in charts(runs[kind]):
        text = svg_chart(chart)
        root = ElementTree.fromstring(text)
        assert root.tag.endswith("svg")
        assert len(text) < 60_000
        drawn = [
            value for one in root.iter() for key, value in one.attrib.items() if key in {"d", "x", "y", "transform"}
        ]
        assert not any("nan" in value or "inf" in value for value in drawn)
        assert "<script" not in text


def test_svg_escapes_words():
    hostile = '</svg><script>alert("x")</script>'
    chart = Chart(
        "c", hostile, hostile, hostile, Axis(hostile), Axis(hostile), (Level(hostile, 0.5), Label(hostile, 0.5, 0.5))
    )
    assert "<script" not in svg_chart(chart)
    ElementTree.fromstring(svg_chart(chart))


def test_svg_leaves_out_the_bars_of_points_that_are_not_there():
    y, error = np.asarray([1.0, np.nan, np.inf, 2.0]), np.asarray([0.1, 0.2, 0.3, np.nan])
    points = Points("p", np.arange(4.0), y, error)
    text = svg_chart(Chart("c", "t", "", "", Axis("x", "", "linear", (0.0, 3.0)), Axis("y"), (points,)))
    assert "nan" not in text
    assert re.search(r'd="(M[^"]*V[^"]*)" style="stroke', text)[1].count("V") == 1
