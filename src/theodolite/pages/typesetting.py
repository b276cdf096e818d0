"""How are sentences and measured numbers set: as a reader of print expects them, with the line never broken in one?"""

import math
import re

from theodolite.plots.scales import number
from theodolite.records.estimates import Estimate

_POWER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?e[+-]?\d+\b")
_MINUS = re.compile(r"(?<![\w.)\]-])-(?=\d)")
_TIED = re.compile(r"(?<=\S) ([±×÷=]) (?=\S)|(?<=\d) (%)")
_TINY = 1e-6


def typeset(text: str) -> str:
    """A sentence with true minus signs, powers of ten instead of e-notation, and errors tied to their values.

    Args:
        text: Words with numbers as Python prints them.

    Returns:
        The same words.

    Example:
        >>> typeset("it loses -3.5 at 2.86e+03 and 1e-06")
        'it loses −3.5 at 2860 and 10⁻⁶'
    """
    found = _POWER.sub(lambda power: number(float(power[0]), 3), text)
    return _TIED.sub(_tied, _MINUS.sub("−", found))


def _tied(found: re.Match[str]) -> str:
    """A sign between two numbers stays with both, a percent sign with its number."""
    return f"\u00a0{found[1]}\u00a0" if found[1] else f"\u00a0{found[2]}"


def sentence(text: str) -> str:
    """A text, typeset, that begins with a capital, unless it begins with a symbol, and ends with a full stop.

    Args:
        text: The text.

    Returns:
        The sentence; nothing of nothing.
    """
    if not text:
        return ""
    first = text[0].upper() if text[0].isascii() and (text[1:2].islower() or text[1:2] == " ") else text[0]
    return typeset(first + text[1:] + ("" if text[-1] in ".?!)" else "."))


def measured(estimate: Estimate, *, is_signed: bool = False) -> str:
    """A value with its error.

    An error that is unknown, nothing, or below a millionth of the value is not told: it is rounding, not scatter.

    Args:
        estimate: The value.
        is_signed: Whether a gain has its plus sign.

    Returns:
        The value in three digits, its error in two; nothing of a value that is not finite.
    """
    if not estimate.is_finite:
        return ""
    sign = "+" if is_signed and estimate.value > 0 else ""
    is_known = math.isfinite(estimate.error) and estimate.error > _TINY * abs(estimate.value)
    error = f"\u00a0±\u00a0{number(estimate.error, 2)}" if is_known else ""
    return f"{sign}{number(estimate.value, 3)}{error}"
