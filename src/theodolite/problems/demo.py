"""What does ``theodolite demo`` train: real digits, and on purpose into an obstacle."""

from dataclasses import dataclass, replace

from torch import nn

from theodolite.errors import SettingError
from theodolite.problems.cliffs import CLIFFS
from theodolite.problems.conditioning import ILL_CONDITIONED
from theodolite.problems.digits import NUM_CLASSES, NUM_PIXELS, digits
from theodolite.problems.far_minima import FAR_MINIMA
from theodolite.problems.minima import ONE_ARC_TOO_FAR, REGISTRATION
from theodolite.problems.networks import cross_entropy
from theodolite.problems.overfitting import OVERFITTING
from theodolite.problems.problem import Problem
from theodolite.problems.recipe import Pairing, Perceptron, Recipe, sgd
from theodolite.problems.winding import NONLOCAL

DEFAULT = "saddle_point"
"""The one that surprises: a loss that lies flat like a minimum or a plateau, and has a way down."""


@dataclass(frozen=True)
class Demo:
    """A training on digits for people to watch.

    Attributes:
        obstacle: What was planted; ``none`` for a healthy training.
        ill: The training with the obstacle.
        clean: The same training without it; for ``none`` the same.
        planted: What was planted, in words; told only after the diagnosis.
    """

    obstacle: str
    ill: Problem
    clean: Problem
    planted: str


def demo(obstacle: str = DEFAULT) -> Demo:
    """The demonstration of an obstacle.

    Args:
        obstacle: One of those in ``DEMOS``.

    Returns:
        What to train, and what to tell afterwards.

    Raises:
        SettingError: If there is none of this obstacle.
    """
    names = [candidate.obstacle for candidate in DEMOS]
    if obstacle not in names:
        raise SettingError(f"obstacle must be one that is demonstrated, got {obstacle!r}. One of {', '.join(names)}.")
    return DEMOS[names.index(obstacle)]


def _demo(obstacle: str, plant: Recipe, clean: Recipe, planted: str) -> Demo:
    """A demonstration from its two recipes."""
    ill, twin = Pairing(plant, clean).problems(f"demo-{obstacle}", obstacle, title=_TITLE, truth=planted, cure=_TITLE)
    return Demo(obstacle, ill, twin, planted)


def _from_zoo(problems: tuple[Problem, ...], name: str, planted: str) -> Demo:
    """A demonstration from a problem of the zoo and its twin."""
    found = {problem.name: problem for problem in problems}
    return Demo(found[name].obstacle, found[name], found[f"{name}-twin"], planted)


_TITLE = "Handwritten digits"
_SHAPE = (NUM_PIXELS, 64, NUM_CLASSES)
_DEPTH = (NUM_PIXELS, *(32,) * 8, NUM_CLASSES)
_TANH = Recipe(Perceptron(_SHAPE), sgd(0.05, momentum=0.9), cross_entropy, digits, steps=800)
_RELU = replace(_TANH, model=Perceptron(_SHAPE, nn.ReLU, gain=1.4, offset=0.5))
_PLAIN = replace(_TANH, optimizer=sgd(0.2))
_DEEP = replace(_TANH, model=Perceptron(_DEPTH), size=500, steps=80)
_HEALTHY = Problem("demo-none", "none", _TITLE, "Nothing was planted.", _TANH.build, _TANH.steps, _TANH.floor)

DEMOS: tuple[Demo, ...] = (
    Demo("none", _HEALTHY, _HEALTHY, "Nothing was planted: this training is healthy."),
    _demo(
        "step_too_small",
        replace(_PLAIN, optimizer=sgd(2e-5)),
        _PLAIN,
        "The learning rate was 0.00002 where 0.2 is good.",
    ),
    _demo(
        "step_too_large",
        replace(_PLAIN, optimizer=sgd(5.0)),
        _PLAIN,
        "The learning rate was 5 where 0.2 is good.",
    ),
    _demo(
        "gradient_noise",
        replace(_PLAIN, size=1),
        replace(_PLAIN, size=128),
        "Each batch held a single digit, at a learning rate that suits batches of 128.",
    ),
    _demo(
        "saddle_point",
        replace(_TANH, model=Perceptron(_SHAPE, gain=0.0)),
        _TANH,
        "All weights started at exactly 0. That is no minimum but a saddle: by symmetry every weight's gradient is 0 "
        "there, although the loss falls to both sides along many directions.",
    ),
    _demo(
        "local_minimum",
        replace(REGISTRATION, model=ONE_ARC_TOO_FAR, steps=600),
        replace(REGISTRATION, steps=600),
        "A layer learns how far images of the digit 3 were moved, and started one arc too far: the upper arc lies on "
        "the lower one, and every small move makes the match worse.",
    ),
    _demo(
        "plateau",
        replace(_DEEP, model=Perceptron(_DEPTH, nn.Sigmoid)),
        _DEEP,
        "Eight sigmoid layers: each shrinks the gradient on its way down, until nothing of it is left.",
    ),
    _demo(
        "dead_units",
        replace(_RELU, model=Perceptron(_SHAPE, nn.ReLU, gain=1.4, offset=-20.0)),
        _RELU,
        "The hidden biases started at −20, so that no ReLU unit is active on any digit.",
    ),
    _from_zoo(
        ILL_CONDITIONED,
        "conditioning-wine-net",
        "The columns of the wines differ in size by a thousand: a step that is short enough for the large ones hardly "
        "moves the weights of the small ones.",
    ),
    _from_zoo(
        CLIFFS,
        "cliff-ink",
        "The rate of ink is an exponential of the weights: a step that is a little too bold meets a gradient many "
        "times the usual one, and is thrown back.",
    ),
    _from_zoo(
        FAR_MINIMA,
        "far-digits",
        "A plane separates the digits 0 and 1: longer weights always fit a little better, and no weights fit best.",
    ),
    _from_zoo(
        NONLOCAL,
        "winding-images",
        "The way down follows the image of a 3 round and round: every step goes downhill, and hardly any goes nearer.",
    ),
    _from_zoo(
        OVERFITTING,
        "overfit-digits",
        "A wide network learns 300 digits by heart, 40 % of them with wrong labels: the validation loss turns up.",
    ),
)
"""One demonstration for each obstacle."""
