"""What was measured: results as values, and the run store. Knows NumPy, never torch."""

from theodolite.records.diagnosis import Diagnosis, Finding, Findings, Remedy, Trials
from theodolite.records.estimates import MISSING, Estimate
from theodolite.records.obstacles import OBSTACLES, UNDETERMINED, Status, Verdict
from theodolite.records.progress import Progress
from theodolite.records.results import Eigenpairs, Line, Series
from theodolite.records.run import Event, Run, list_runs
from theodolite.records.survey import Rescaled, Survey, WhatIf
from theodolite.records.writer import RunWriter

__all__ = [
    "MISSING",
    "OBSTACLES",
    "UNDETERMINED",
    "Diagnosis",
    "Eigenpairs",
    "Estimate",
    "Event",
    "Finding",
    "Findings",
    "Line",
    "Progress",
    "Remedy",
    "Rescaled",
    "Run",
    "RunWriter",
    "Series",
    "Status",
    "Survey",
    "Trials",
    "Verdict",
    "WhatIf",
    "list_runs",
]
