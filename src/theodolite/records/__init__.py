"""What was measured: results as values, and the run store. Knows NumPy, never torch."""

from theodolite.records.archive import load, save
from theodolite.records.diagnosis import Continuation, Diagnosis, Finding, Findings, Remedy, Trials
from theodolite.records.estimates import MISSING, Estimate
from theodolite.records.lines import Along, Evaluations, Line
from theodolite.records.obstacles import OBSTACLES, UNDETERMINED, Status, Verdict
from theodolite.records.planes import Layers, Plane, Section, Sections, Track
from theodolite.records.points import (
    CriticalPoint,
    DirectionalCurvature,
    NewtonPath,
    StepForecast,
    StepPrediction,
    Taylor,
)
from theodolite.records.progress import Progress
from theodolite.records.results import Eigenpairs, ProductCheck, Series
from theodolite.records.run import Event, Run, list_runs
from theodolite.records.searches import Search
from theodolite.records.solutions import GradientConditioning, Inertia, Solution
from theodolite.records.spectra import DiagonalEstimate, NormEstimate, SpectralDensity, TraceEstimate
from theodolite.records.survey import Rescaled, Survey, WhatIf
from theodolite.records.terrain import Known, Ray, Trail
from theodolite.records.timeline import Passage, Passages, Window
from theodolite.records.trajectories import Components, Curve, Projection, Winding
from theodolite.records.writer import RunWriter

__all__ = [
    "MISSING",
    "OBSTACLES",
    "UNDETERMINED",
    "Along",
    "Components",
    "Continuation",
    "CriticalPoint",
    "Curve",
    "Diagnosis",
    "DiagonalEstimate",
    "DirectionalCurvature",
    "Eigenpairs",
    "Estimate",
    "Evaluations",
    "Event",
    "Finding",
    "Findings",
    "GradientConditioning",
    "Inertia",
    "Known",
    "Layers",
    "Line",
    "NewtonPath",
    "NormEstimate",
    "Passage",
    "Passages",
    "Plane",
    "ProductCheck",
    "Progress",
    "Projection",
    "Ray",
    "Remedy",
    "Rescaled",
    "Run",
    "RunWriter",
    "Search",
    "Section",
    "Sections",
    "Series",
    "Solution",
    "SpectralDensity",
    "Status",
    "StepForecast",
    "StepPrediction",
    "Survey",
    "Taylor",
    "TraceEstimate",
    "Track",
    "Trail",
    "Trials",
    "Verdict",
    "WhatIf",
    "Winding",
    "Window",
    "list_runs",
    "load",
    "save",
]
