"""Where does a value lie on an axis, and which values get a tick?"""

import math
from collections.abc import Iterable

import numpy as np

from theodolite.plots.marks import Axis, ScaleName

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_LOG_RATIO = 30.0  # beyond a factor of 30 a linear axis hides the small values
_HUGE = 1e300  # the ends of an axis and their difference stay finite
_SYMLOG_RATIO = 100.0
_MOST_NAMES = 12
_SYMLOG_DECADES = 4.0  # each side of a symlog axis shows at most so many decades, or the linear part vanishes


def forward(axis: Axis, values: np.ndarray | float) -> np.ndarray:
    """Values in the coordinates in which the axis is even.

    log: log₁₀ y. symlog: y/t within ±t, sign(y)·(1 + log₁₀|y|/t) beyond, with t the threshold.

    Args:
        axis: The axis.
        values: Values in data.

    Returns:
        Their places; NaN for a value ≤ 0 on a log axis.
    """
    y = np.asarray(values, dtype=np.float64)
    if axis.scale == "linear":
        return y
    with np.errstate(divide="ignore", invalid="ignore"):
        if axis.scale == "log":
            return np.where(y > 0, np.log10(np.where(y > 0, y, 1.0)), np.nan)
        size = np.abs(y) / axis.threshold
        return np.where(size <= 1, y / axis.threshold, np.sign(y) * (1 + np.log10(np.where(size > 1, size, 1.0))))


def backward(axis: Axis, places: np.ndarray | float) -> np.ndarray:
    """Values at places in even coordinates: the inverse of :func:`forward`."""
    u = np.asarray(places, dtype=np.float64)
    if axis.scale == "linear":
        return u
    if axis.scale == "log":
        return np.power(10.0, u)
    beyond = axis.threshold * np.sign(u) * np.power(10.0, np.maximum(np.abs(u), 1.0) - 1)
    return np.where(np.abs(u) <= 1, u * axis.threshold, beyond)


def fraction(axis: Axis, values: np.ndarray | float) -> np.ndarray:
    """Where values lie between the lower (0) and the upper (1) end of the axis."""
    low, high = forward(axis, np.asarray(axis.limits))
    return np.asarray((forward(axis, values) - low) / ((high - low) or 1.0))


def fit(
    label: str,
    unit: str,
    values: Iterable[np.ndarray],
    *,
    scale: ScaleName | None = None,
    threshold: float | None = None,
    pad: float = 0.06,
) -> Axis:
    """An axis that holds all finite values.

    Args:
        label: Quantity and symbol.
        unit: Its unit.
        values: What must fit; values that are not finite are passed over.
        scale: The scale; see :func:`choose_scale` for the default.
        threshold: Half the width of the linear part of a symlog axis; by default the power of ten below the median.
        pad: Share of the axis left free at both ends.

    Returns:
        The axis with its limits.
    """
    joined = np.concatenate([np.ravel(np.asarray(part, dtype=np.float64)) for part in values] or [np.zeros(0)])
    finite = np.clip(joined[np.isfinite(joined)], -_HUGE, _HUGE)
    chosen = scale or choose_scale(finite)
    kept = finite[finite > 0] if chosen == "log" else finite
    if kept.size == 0:
        return Axis(label, unit, chosen, (0.1, 10.0) if chosen == "log" else (-1.0, 1.0))
    bare = Axis(label, unit, chosen, (float(kept.min()), float(kept.max())), threshold or _threshold(kept))
    low, high = forward(bare, np.asarray(bare.limits))
    least = {"log": 0.3, "symlog": 0.5, "linear": max(1e-3 * abs(low), 1e-12)}[chosen]
    room = max((high - low) * pad, 0.0 if high - low > least else least)
    least_place = -307.5 if chosen == "log" else -np.inf  # below that, powers of ten lose their digits
    ends = backward(bare, np.asarray([max(low - room, least_place), high + room]))
    return Axis(label, unit, chosen, (float(ends[0]), float(ends[1])), bare.threshold)


def things(label: str, names: tuple[str, ...]) -> Axis:
    """An axis of named things, one beside the other.

    Args:
        label: What they are.
        names: Their names.

    Returns:
        The axis; the first one lies at 0.
    """
    return Axis(label, limits=(-0.6, max(len(names), 1) - 0.4), names=names)


def levels(scale: Axis, count: int) -> np.ndarray:
    """Values that cut a scale into equal parts, both ends among them.

    Args:
        scale: The scale.
        count: How many parts.

    Returns:
        count + 1 values, ascending.
    """
    low, high = forward(scale, np.asarray(scale.limits))
    return backward(scale, np.linspace(low, high, count + 1))


def shades(scale: Axis, values: np.ndarray, count: int) -> np.ndarray:
    """Which part of a scale each value lies in, from 0; −1 for what is not finite, the nearest part beyond the ends."""
    with np.errstate(invalid="ignore"):
        place = np.floor(np.nan_to_num(fraction(scale, values), nan=0.0, posinf=1.0, neginf=0.0) * count)
    lowest = scale.limits[0]
    inside = np.where(values <= lowest, 0, np.clip(place, 0, count - 1))
    return np.where(np.isfinite(values), inside, -1).astype(np.int64)


def choose_scale(finite: np.ndarray) -> ScaleName:
    """The scale on which most of some values can be seen.

    All positive: log if the greatest is more than 30 times the 10 % quantile. Of both signs: symlog if the greatest
    size is more than 100 times the median one; below that a logarithm would only magnify the scatter about zero.

    Args:
        finite: The values.

    Returns:
        The scale.
    """
    size = np.abs(finite[finite != 0])
    if size.size < 2:
        return "linear"
    if finite.min() > 0:
        return "log" if size.max() > _LOG_RATIO * np.quantile(size, 0.1) else "linear"
    return "symlog" if size.max() > _SYMLOG_RATIO * np.median(size) else "linear"


def _threshold(finite: np.ndarray) -> float:
    size = np.abs(finite[finite != 0])
    if size.size == 0:
        return 1.0
    small = max(float(np.median(size)), float(size.max()) / 10**_SYMLOG_DECADES)
    return float(10.0 ** math.floor(math.log10(small)))


def ticks(axis: Axis, most: int = 7) -> tuple[list[float], list[str]]:
    """Values with a tick and their texts, in ascending order.

    Args:
        axis: The axis.
        most: How many ticks at most, roughly.

    Returns:
        Values and texts.
    """
    if axis.names:
        stride = math.ceil(len(axis.names) / _MOST_NAMES)
        return [float(at) for at in range(0, len(axis.names), stride)], list(axis.names[::stride])
    if axis.scale == "linear":
        values = _even_ticks(*axis.limits, most)
        return values, [number(value) for value in values]
    values = _log_ticks(*axis.limits, most) if axis.scale == "log" else _symlog_ticks(axis, most)
    return values, [power(value) for value in values]


def _even_ticks(low: float, high: float, most: int) -> list[float]:
    if not high > low:
        return [low]
    rough = (high - low) / most
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    stride = max(1, math.ceil((last - first) / most))
    factors = (1, 2, 5) if last - first <= 2 else (1,)
    values = [factor * 10.0**exponent for exponent in range(first, last + 1, stride) for factor in factors]
    return [float(f"{value:.12g}") for value in values if low * 0.999 <= value <= high * 1.001]


def _symlog_ticks(axis: Axis, most: int) -> list[float]:
    low, high = axis.limits
    positive = _log_ticks(axis.threshold, high, max(2, most // 2)) if high > axis.threshold else []
    negative = _log_ticks(axis.threshold, -low, max(2, most // 2)) if -low > axis.threshold else []
    whole = {value for value in positive if _is_power(value)}, {-value for value in negative if _is_power(value)}
    zero = {0.0} if low <= 0 <= high else set()
    return sorted(whole[0] | whole[1] | zero)


def _is_power(value: float) -> bool:
    return abs(math.log10(value) - round(math.log10(value))) < 1e-9


def number(value: float, digits: int = 4) -> str:
    """A number as people read it: true minus sign, powers of ten instead of e-notation."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value + 0.0:.{digits}g}"  # not −0
    if "e" in text and abs(value) < 1e6 and abs(value) >= 1:
        text = f"{float(text):.0f}"
    if "e" in text:
        factor, exponent = text.split("e")
        tail = f"10{str(int(exponent)).translate(_SUPERSCRIPT)}"
        text = tail if factor == "1" else f"{factor}·{tail}"
    return text.replace("-", "−")


def texts_apart(values: np.ndarray) -> list[str]:
    """Numbers in as few digits, two at least, as tell them apart."""
    for digits in range(2, 7):
        texts = [number(float(value), digits) for value in values]
        if len(set(texts)) == len(texts):
            return texts
    return [number(float(value), 6) for value in values]


def percent(share: float) -> str:
    """A share as a percentage of two significant digits, whole ones from 10 % on."""
    return f"{number(round(100 * share), 4) if abs(share) >= 0.1 else number(100 * share, 2)}\u00a0%"


def power(value: float) -> str:
    """A tick of a logarithmic axis: 0.01 to 1000 as they are, others as powers of ten."""
    if value == 0 or 0.01 <= abs(value) < 10_000:
        return number(value)
    exponent = math.floor(math.log10(abs(value)) + 1e-9)
    factor = round(abs(value) / 10.0**exponent)
    tail = f"10{str(exponent).translate(_SUPERSCRIPT)}"
    return ("−" if value < 0 else "") + (tail if factor == 1 else f"{factor}·{tail}")
