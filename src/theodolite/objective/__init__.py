"""J(θ): a deterministic function of one flat vector, measured without leaving a trace."""

from theodolite.objective.data import batches_of, count_examples
from theodolite.objective.objective import MEMORY_LIMIT, Objective
from theodolite.objective.params import Params, trainable

__all__ = ["MEMORY_LIMIT", "Objective", "Params", "batches_of", "count_examples", "trainable"]
