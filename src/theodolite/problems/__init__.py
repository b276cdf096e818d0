"""What we plant: trainings whose obstacle is known, each with a clean twin that lacks the planted cause only."""

from theodolite.problems.problem import Batches, Problem, Training, train
from theodolite.problems.zoo import PROBLEMS, problem

__all__ = ["PROBLEMS", "Batches", "Problem", "Training", "problem", "train"]
