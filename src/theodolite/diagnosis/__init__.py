"""What it means: evidence in, verdict out. Knows records, never torch."""

from theodolite.diagnosis.evidence import Evidence, History, gather
from theodolite.diagnosis.judge import diagnose, judge

__all__ = ["Evidence", "History", "diagnose", "gather", "judge"]
