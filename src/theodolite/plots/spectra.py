"""How are the eigenvalues of the curvature spread?"""

import numpy as np

from theodolite.plots.marks import Absent, Axis, Band, Chart, Curve, Label, Layer, Role, ScaleName
from theodolite.plots.scales import fit, number
from theodolite.records.spectra import SpectralDensity

_DECADES = 6
"""Below its greatest value by so many decades, a density is the tail of the kernel and no eigenvalue."""


def marks_density(density: SpectralDensity, *, scale: ScaleName | None = None) -> Chart | Absent:
    """The density of eigenvalues, smoothed, with its standard error and both ends.

    Args:
        density: The measurement.
        scale: Scale of the density; logarithmic by default, or a few great eigenvalues would not be seen.

    Returns:
        The chart, or what is missing.
    """
    title = "How the eigenvalues are spread"
    if not density.probes:
        return Absent("density", title, "No product was finite: there is no density here. Look at the point itself.")
    at, values, errors = density.grid, density.values, density.errors
    up = _height(values, scale or "log")
    low = up.limits[0]
    band = Band("density", at, np.maximum(values - errors, low), np.maximum(values + errors, low))
    ends: list[Layer] = [
        Label(f"{number(end, 3)}", end, max(float(np.interp(end, at, values)), low))
        for end in (density.smallest.value, density.largest.value)
    ]
    probes = "exact" if density.is_exact else f"{density.probes} random directions of {density.nodes.shape[1]} nodes"
    return Chart(
        "density",
        title,
        f"The eigenvalues reach from {number(density.smallest.value, 3)} to {number(density.largest.value, 3)}.",
        "The area over a stretch is the share of eigenvalues in it. A spike at 0 is flat directions; what lies to the "
        "left of 0 leads down; the few to the far right limit the step size.",
        fit("eigenvalue λ", "", [at], scale="linear", pad=0.01),
        up,
        (*(() if density.is_exact else (band,)), Curve("density", at, _cut(values, low), Role.MAIN, at.size), *ends),
        (
            f"n = {density.dimension}; {probes}; a Gaussian kernel of width {number(density.width, 2)}. "
            + ("" if density.is_exact else "The band is one standard error over the directions."),
            f"How products were made: {density.method}.",
        ),
    )


def _height(values: np.ndarray, scale: ScaleName) -> Axis:
    high = float(values.max())
    if scale != "log":
        return fit("density", "", [values, np.zeros(1)], scale=scale)
    return fit("density", "", [np.asarray([high * 10.0**-_DECADES, high])], scale="log", pad=0.02)


def _cut(values: np.ndarray, low: float) -> np.ndarray:
    """What lies below the axis is no line along its edge."""
    return np.where(values >= low, values, np.nan)
