"""How does it look? A record goes in, a picture (data) comes out; matplotlib, plotly or SVG draws it. No torch."""

from theodolite.plots.alike import alike
from theodolite.plots.axes import figure_run, plot_chart
from theodolite.plots.curves import marks_curve
from theodolite.plots.figures import Picture, figure_diagnosis, figure_multiples
from theodolite.plots.gallery import MARKS, charts
from theodolite.plots.lines import charts_line, marks_line
from theodolite.plots.marks import Absent, Chart, Scene
from theodolite.plots.obstacles import charts_obstacle
from theodolite.plots.pictures import Interactive, describe, figure, save_figure
from theodolite.plots.planes import marks_plane
from theodolite.plots.searches import marks_searches
from theodolite.plots.space import plot_scene
from theodolite.plots.spectra import marks_density
from theodolite.plots.surfaces import scene_plane, scene_projection
from theodolite.plots.svg import svg_chart
from theodolite.plots.trajectories import marks_components, marks_projection, marks_shares, marks_winding

__all__ = [
    "MARKS",
    "Absent",
    "Chart",
    "Interactive",
    "Picture",
    "Scene",
    "alike",
    "charts",
    "charts_line",
    "charts_obstacle",
    "describe",
    "figure",
    "figure_diagnosis",
    "figure_multiples",
    "figure_run",
    "marks_components",
    "marks_curve",
    "marks_density",
    "marks_line",
    "marks_plane",
    "marks_projection",
    "marks_searches",
    "marks_shares",
    "marks_winding",
    "plot_chart",
    "plot_scene",
    "save_figure",
    "scene_plane",
    "scene_projection",
    "svg_chart",
]
