"""How is a verdict said in words?"""

import math
from collections.abc import Mapping
from types import MappingProxyType

from theodolite.records import Estimate, Finding, Remedy
from theodolite.records.words import several

NAMES: Mapping[str, str] = MappingProxyType(
    {
        "none": "nothing stands in the way",
        "step_too_small": "the step is too small",
        "step_too_large": "the step is too large",
        "ill_conditioning": "no single step size fits",
        "gradient_noise": "the batch gradient is mostly noise",
        "saddle_point": "a saddle point",
        "local_minimum": "a local minimum",
        "plateau": "a plateau",
        "cliff": "a cliff",
        "no_minimum": "there is no minimum to arrive at",
        "nonlocal_structure": "local information misleads",
        "overfitting": "the training loss is no longer the point",
        "dead_units": "dead units",
        "undetermined": "undetermined",
    }
)
"""Each obstacle in plain words."""

EXPLANATIONS: Mapping[str, str] = MappingProxyType(
    {
        "none": "Nothing that is judged stands in the way of this training.",
        "step_too_small": "The direction of the steps is fine; their length is not. Longer steps gain many times more.",
        "step_too_large": "Steps overshoot: shorter ones would gain more.",
        "gradient_noise": "Steps help their own batch and little else: the gradient of one batch is mostly noise.",
        "saddle_point": "The gradient has all but vanished, but this is no minimum: there is a direction of negative "
        "curvature, and following it gains.",
        "local_minimum": "No move along gradient or curvature gains anything: the training sits at a minimum above the "
        "floor.",
        "plateau": "Gradient and curvature have vanished: there is nothing here that a local method could follow.",
        "dead_units": "Units of a hidden layer are zero on every example and get no gradient: they cannot come back by "
        "themselves.",
        "ill_conditioning": "No single step size fits: what is short enough for the steep directions hardly moves "
        "along the others. Steps corrected for curvature gain many times more.",
        "cliff": "The loss has walls: single gradients explode, and throw the run back.",
        "no_minimum": "There is no minimum to arrive at: the loss falls for ever, ever more slowly.",
        "nonlocal_structure": "Local information misleads: a better place is known, and neither slope nor curvature "
        "leads there.",
        "overfitting": "The training loss falls on while the validation loss has turned up: it is no longer the point.",
        "undetermined": "The evidence names no obstacle.",
    }
)
"""What each verdict means."""


NOT_ZEROED = "gradients are not zeroed"
"""How evidence begins where the loop does not zero its gradients: steps are too long, whatever the rate."""

_ZERO_THEM = (
    "The learning rate need not be at fault: call optimizer.zero_grad() before every backward pass, and train again. "
    "Branches zero them already: what other steps gain there says little about the loop as it is."
)
"""What to do then, instead of shorter steps."""

_WHOLE = 0.995
"""From here on a share of 100 % would be written with a power of ten."""

_MANY = 10.0
"""From ten times the whole on per cents are hard to read."""

_TOO_MANY = 1e5
"""From here on all the digits of a multiple are hard to read."""


def number(estimate: Estimate) -> str:
    """An estimate in three significant digits, with its error if it is known."""
    if not math.isfinite(estimate.value):
        return "not measured" if math.isnan(estimate.value) else f"{estimate.value:+}".strip("+")
    error = f" ± {estimate.error:.1g}" if math.isfinite(estimate.error) and estimate.error > 0 else ""
    return f"{estimate.value:.3g}{error}"


def percent(value: float, digits: int = 3) -> str:
    """A share in per cent, or as a multiple where it is many times the whole; "?" if it is not known.

    Args:
        value: The share.
        digits: Significant digits; an error needs no more than two.

    Returns:
        It in words.
    """
    if not math.isfinite(value):
        return "?"
    if abs(value) < _MANY:
        return f"{100 * value:.0f} %" if abs(value) >= _WHOLE else f"{100 * value:.{digits}g} %"
    return f"{value:.0f} times" if abs(value) < _TOO_MANY else f"{value:.2g} times"


def _sentence(text: str) -> str:
    """A text with a capital, unless it begins with a symbol such as λ, and a full stop."""
    return (text[:1].upper() if text[:1].isascii() else text[:1]) + text[1:] + "."


def summary(obstacle: str, finding: Finding | None, secondary: tuple[str, ...], helpful: Remedy | None = None) -> str:
    """The verdict in a few sentences.

    Args:
        obstacle: The obstacle, or "undetermined".
        finding: The finding on it; None if undetermined.
        secondary: Other obstacles that are present.
        helpful: A cure worth naming although no obstacle is.

    Returns:
        Sentences, filled with the finding's numbers.
    """
    why = "" if finding is None or not finding.evidence else finding.evidence[0]
    parts = [EXPLANATIONS.get(obstacle, NAMES.get(obstacle, obstacle))]
    if why.startswith(NOT_ZEROED):
        parts = [_sentence(why), _ZERO_THEM]
    elif why:
        parts.append(_sentence(why))
    if secondary:
        parts.append("Also present: " + ", ".join(NAMES[name] for name in secondary) + ".")
    if helpful is not None:
        parts.append(
            f"It could fall faster: {helpful.name} gained {number(helpful.gain)} over going on plainly, "
            f"which gained {number(helpful.baseline)}, in {several(helpful.steps, 'step')}."
        )
    return " ".join(parts)
