"""Which pictures does a run have, and in which order are they read?"""

from theodolite.plots.budget import marks_budget
from theodolite.plots.curvature import marks_dead_units, marks_eigenvalues, marks_noise_scale
from theodolite.plots.lines import marks_straight
from theodolite.plots.losses import marks_gradient, marks_loss
from theodolite.plots.marks import Absent, Chart
from theodolite.plots.progress import marks_fresh, marks_progress
from theodolite.plots.steps import marks_best_scale, marks_step_size, marks_update
from theodolite.records.run import Run

MARKS = (
    marks_budget,
    marks_progress,
    marks_loss,
    marks_gradient,
    marks_best_scale,
    marks_step_size,
    marks_update,
    marks_fresh,
    marks_noise_scale,
    marks_eigenvalues,
    marks_straight,
    marks_dead_units,
)
"""Each makes one chart of a run, in the order of reading."""


def charts(run: Run) -> tuple[Chart | Absent, ...]:
    """Every chart of a run; one that lacks its series says so.

    Args:
        run: The run.

    Returns:
        The charts in the order of reading.
    """
    return tuple(marks(run) for marks in MARKS)
