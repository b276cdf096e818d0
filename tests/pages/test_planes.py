"""Is a plane on the page the plane that was measured, as strict JSON, as a table, and in a browser?"""

import json

import numpy as np
import pytest

from theodolite.pages.tables import chart_tables
from theodolite.plots import marks_plane
from theodolite.plots.plotly_charts import plotly_chart
from theodolite.records.planes import Plane, Track


@pytest.fixture
def chart():
    """A saddle with a point that is not finite, the way of a run and a way down."""
    side = np.linspace(-1, 1, 9)
    losses = 2 - side[None] ** 2 + side[:, None] ** 2
    losses[0, 0] = np.nan
    came = Track("the run", np.array([0.5, 0.0]), np.zeros(2), np.array([2.0, 0.0]), np.array([2.1, 0.0]))
    down = Track("way down", np.array([0.0, 0.8]), np.zeros(2), np.zeros(2), np.array([0.0, 0.8]))
    plane = Plane(side, side, losses, name="saddle_point", tracks=(came, down))
    return marks_plane(plane, title="T", takeaway="It falls.", reading="So.")


def test_the_figure_is_strict_json_with_every_value_in_its_place(chart):
    figure = plotly_chart(chart)
    json.dumps(figure, allow_nan=False)
    shaded, crosses = figure["data"][:2]
    assert shaded["type"] == "contour"
    assert shaded["z"][0][0] is None
    assert shaded["z"][4][4] == 2.0
    assert (crosses["x"], crosses["y"]) == ([-1.0], [-1.0])
    assert [trace["name"] for trace in figure["data"][2:]] == ["the run", "way down"]
    sizes = [trace["marker"]["size"] for trace in figure["data"][2:]]
    assert sizes[0][0] < sizes[0][1]  # the first point lies farther outside
    assert figure["layout"]["showlegend"] is True
    assert figure["layout"]["hovermode"] == "closest"


def test_the_table_holds_the_ways_and_the_middle_row(chart):
    columns = {column for table in chart_tables(chart) for column in table.columns}
    assert {"the run", "way down", "loss J at 0 on the other axis"} <= columns
