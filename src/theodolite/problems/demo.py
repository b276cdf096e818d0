"""What does ``theodolite demo`` train: real digits, and on purpose into an obstacle."""

from dataclasses import dataclass, replace

from torch import nn

from theodolite.errors import SettingError
from theodolite.problems.critical_points import ONE_ARC_TOO_FAR, REGISTRATION
from theodolite.problems.digits import NUM_CLASSES, NUM_PIXELS, digits
from theodolite.problems.networks import cross_entropy
from theodolite.problems.problem import Problem
from theodolite.problems.recipe import Pairing, Perceptron, Recipe, sgd

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


_TITLE = "Handwritten digits"
_SHAPE = (NUM_PIXELS, 64, NUM_CLASSES)
_DEPTH = (NUM_PIXELS, *(32,) * 8, NUM_CLASSES)
_TANH = Recipe(Perceptron(_SHAPE), sgd(0.05, momentum=0.9), cross_entropy, digits, steps=800)
_RELU = replace(_TANH, model=Perceptron(_SHAPE, nn.ReLU, gain=1.4, offset=0.5))
_PLAIN = replace(_TANH, optimizer=sgd(0.2))
_DEEP = replace(_TANH, model=Perceptron(_DEPTH), size=500, steps=400)
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
)
"""One demonstration for each obstacle that the first rules know."""
