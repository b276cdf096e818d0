"""What was measured: results as values, and the run store. Knows NumPy, never torch."""

from theodolite.records.diagnosis import Diagnosis, Finding, Findings, Remedy, Trials
from theodolite.records.estimates import MISSING, Estimate
from theodolite.records.obstacles import OBSTACLES, UNDETERMINED, Status, Verdict
from theodolite.records.points import (
    CriticalPoint,
    DirectionalCurvature,
    NewtonPath,
    StepForecast,
    StepPrediction,
    Taylor,
)
from theodolite.records.progress import Progress
from theodolite.records.results import Eigenpairs, Line, ProductCheck, Series
from theodolite.records.run import Event, Run, list_runs
from theodolite.records.solutions import GradientConditioning, Inertia, Solution
from theodolite.records.spectra import DiagonalEstimate, NormEstimate, SpectralDensity, TraceEstimate
from theodolite.records.survey import Rescaled, Survey, WhatIf
from theodolite.records.writer import RunWriter

__all__ = [
    "MISSING",
    "OBSTACLES",
    "UNDETERMINED",
    "CriticalPoint",
    "Diagnosis",
    "DiagonalEstimate",
    "DirectionalCurvature",
    "Eigenpairs",
    "Estimate",
    "Event",
    "Finding",
    "Findings",
    "GradientConditioning",
    "Inertia",
    "Line",
    "NewtonPath",
    "NormEstimate",
    "ProductCheck",
    "Progress",
    "Remedy",
    "Rescaled",
    "Run",
    "RunWriter",
    "Series",
    "Solution",
    "SpectralDensity",
    "Status",
    "StepForecast",
    "StepPrediction",
    "Survey",
    "Taylor",
    "TraceEstimate",
    "Trials",
    "Verdict",
    "WhatIf",
    "list_runs",
]
