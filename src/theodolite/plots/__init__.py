"""How does it look? A record goes in, a chart (data) comes out; matplotlib or SVG draws it. Knows no torch."""

from theodolite.plots.axes import figure_run, plot_chart
from theodolite.plots.figures import figure_diagnosis
from theodolite.plots.gallery import MARKS, charts
from theodolite.plots.lines import marks_line
from theodolite.plots.marks import Absent, Chart
from theodolite.plots.obstacles import charts_obstacle
from theodolite.plots.planes import marks_plane
from theodolite.plots.svg import svg_chart

__all__ = [
    "MARKS",
    "Absent",
    "Chart",
    "charts",
    "charts_obstacle",
    "figure_diagnosis",
    "figure_run",
    "marks_line",
    "marks_plane",
    "plot_chart",
    "svg_chart",
]
