"""Trainings whose batch gradient is mostly noise; the twin has larger batches, and nothing else."""

from dataclasses import replace

from theodolite.problems.digits import NUM_PIXELS, NUM_TRAINING, digits, images, mislabelled_components
from theodolite.problems.healthy import SHAPE
from theodolite.problems.networks import cross_entropy, half_square
from theodolite.problems.problem import Problem
from theodolite.problems.recipe import Pairing, Perceptron, Recipe, Start, sgd
from theodolite.problems.step_sizes import LINEAR, MISLABELLED_FLOOR

IMAGES_FLOOR = 2.342631017361111
"""Half the variance of the images about their mean, summed over pixels; a test computes it."""


_NET = Recipe(Perceptron(SHAPE), sgd(0.25), cross_entropy, digits, size=1, steps=600)
_LABELS = Recipe(
    LINEAR,
    sgd(0.3),
    cross_entropy,
    mislabelled_components,
    size=2,
    steps=600,
    floor=MISLABELLED_FLOOR,
)
_MEAN = Recipe(
    Start((0.0,) * NUM_PIXELS),
    sgd(0.3),
    half_square,
    images,
    size=1,
    steps=400,
    floor=IMAGES_FLOOR,
)
NOISY: tuple[Problem, ...] = (
    *Pairing(_NET, replace(_NET, size=128)).problems(
        "noise-digits",
        "gradient_noise",
        title="Digits one at a time, at a learning rate that suits a batch of 128",
        truth="Over all examples, a step on one of them loses on average what the full gradient would gain; "
        "each step is downhill for its own example.",
        cure="batches of 128",
    ),
    *Pairing(_LABELS, replace(_LABELS, size=NUM_TRAINING)).problems(
        "noise-labels",
        "gradient_noise",
        title="A convex classifier of digits with 30 % wrong _LABELS, two examples at a time",
        truth="The minimum is known; the loss hovers above it, and the average step on two examples gains nothing "
        "where the full gradient gains.",
        cure="all examples in each batch",
    ),
    *Pairing(_MEAN, replace(_MEAN, size=NUM_TRAINING)).problems(
        "noise-mean",
        "gradient_noise",
        title="The mean of the images by stochastic gradient descent, one at a time",
        truth="The Hessian is the identity: the excess hovers at rate / (2 − rate) = 3/17 of half the variance.",
        cure="all examples in each batch",
    ),
)
"""Trainings whose progress stops where the noise of tiny batches eats it."""
