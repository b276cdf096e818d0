"""How to step: optimizers of ``torch.optim`` that know curvature, or shake themselves off where it deceives."""

from theodolite.optim.natural import NaturalGradient
from theodolite.optim.newton import DAMPINGS, DampedNewton, SaddleFreeNewton
from theodolite.optim.perturbed import PerturbedGradientDescent
from theodolite.optim.spaces import seen_from, whole_space, widened_space
from theodolite.optim.steps import (
    BoundedStep,
    ball_noise,
    bounded_newton_step,
    damped_newton_step,
    natural_step,
    predicted_gain,
    reduction_ratio,
    way_down,
)
from theodolite.optim.trust_region import TrustRegionNewtonCG

__all__ = [
    "DAMPINGS",
    "BoundedStep",
    "DampedNewton",
    "NaturalGradient",
    "PerturbedGradientDescent",
    "SaddleFreeNewton",
    "TrustRegionNewtonCG",
    "ball_noise",
    "bounded_newton_step",
    "damped_newton_step",
    "natural_step",
    "predicted_gain",
    "reduction_ratio",
    "seen_from",
    "way_down",
    "whole_space",
    "widened_space",
]
