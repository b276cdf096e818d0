"""What would help? Cures tried on branches of the run, beside the plain continuation, on the same batches."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from torch import nn

from theodolite.monitor import cures
from theodolite.monitor.corrected import corrected_path
from theodolite.monitor.cures import LARGER_BATCH, PLAIN, Cure, LeftOut
from theodolite.monitor.ground import REACH, Ground, usual_norm
from theodolite.monitor.restarts import spoilt
from theodolite.monitor.survey import Surveyed
from theodolite.monitor.trials import Control, Pace, continued, controlled, failing_softly, pace_of, tried
from theodolite.objective import Objective
from theodolite.objective.sources import ModelSource
from theodolite.records import Remedy, Status, Trials
from theodolite.records.words import several

_FEWEST_STEPS, _USEFUL_STEPS, _MOST_STEPS = 10, 12, 200

_MOST_SEEDS = 6
"""Of three values the error is itself uncertain by half; of six by a third."""

_AGAIN_STEPS = 60
"""Before a loss blew up branches are so long that they come to what the run did."""

_CORRECTED, _ADAM, _FRESH = "curvature-corrected steps", "Adam", "fresh start"
_BATCH = f"batch × {LARGER_BATCH}"

_CORRECTED_SHARE = 0.25
"""Share of the time for curvature-corrected steps: they take as much as they are given."""

_FRESH_LENGTH = 3.0
"""A fresh start is followed for at most so many times the steps of the other branches."""

_PRICES = {_BATCH: float(LARGER_BATCH), _ADAM: 2.0, _FRESH: _FRESH_LENGTH}
"""What dear cures cost, in plain branches; Adam's rate is chosen on three more orders."""

_FRESH_ANYWAY = 0.5
"""Where so large a share of the parameters has no gradient, a fresh start is more likely to help than Adam."""

_CORRECTED_LEAST = 20.0
"""Curvature-corrected steps take at least about so many evaluations of J: one space of 5 products, and its move."""


def try_remedies(
    ground: Ground, surveyed: Surveyed, seconds: float, *, grad_norms: Sequence[float] | np.ndarray = ()
) -> Trials:
    """Continue the run on branches under each cure, and plainly.

    Plain and cured branches see the same batches under the same randomness, in several orders. What is likely to help,
    by the survey, is tried first; what the time does not allow is left out and told.

    Args:
        ground: Where the run stands.
        surveyed: The survey there.
        seconds: How long the trials may take together; it sets their length and number.
        grad_norms: Recorded gradient norms of the run up to here: clipping is tried if they or those of the plain
            branches vary.

    Returns:
        The cures by their gain, best first; empty if the loss is not finite here.

    Cost: ``seconds``, but at least a few steps.
    """
    if surveyed.record.status is Status.NONFINITE:
        return Trials()
    deadline = time.perf_counter() + seconds
    notes: list[str] = []
    pace = pace_of(ground)
    cheap = _cheap(ground, surveyed, notes)
    dear = _dear(ground, surveyed, notes)
    left = deadline - time.perf_counter()
    steps = _affordable(ground, pace, len(cheap), dear, seconds=left)
    pace = replace(pace, seeds=_orders(pace, steps, len(cheap), dear, seconds=left))
    if pace.cost(pace.seeds * steps, pace.seeds) > deadline - time.perf_counter():
        return Trials(notes=(*notes, f"no cure was tried: {steps} plain steps would take more than {seconds:.3g} s"))
    control, plain = controlled(ground, pace, steps, deadline)
    usual, ahead = (cures.clipping(norms, ground.clip) for norms in (grad_norms, plain.grad_norms))
    clip = (usual or ahead) if ground.is_past else (ahead or usual)
    first = [*spoilt(ground, surveyed), *([clip] if clip is not None else [])]
    remedies = list(tried(control, [*first, *cheap], notes))
    path = np.zeros(0)
    for index, name in enumerate(dear):
        with failing_softly(name, notes):
            if name == _CORRECTED:
                found, path = _corrected(control, _spare(control, dear[index + 1 :]), notes)
                remedies.extend(found)
            else:
                remedies.extend(_TRIERS[name](control, notes))
    return Trials(tuple(sorted(remedies, key=_worst)), plain, path, tuple(notes))


def _worst(remedy: Remedy) -> tuple[float, float]:
    """To sort by: the greatest gain first, by the least J where gains are infinite, what was not measured last."""
    gain, reached = remedy.gain.value, remedy.reached
    return math.inf if math.isnan(gain) else -gain, math.inf if math.isnan(reached) else reached


def _cheap(ground: Ground, surveyed: Surveyed, notes: list[str]) -> list[Cure]:
    """Cures that cost as much as going on plainly, with those that the survey or the inputs point to first."""
    special: list[Cure] = []
    makers: tuple[tuple[str, Callable[[], Cure | LeftOut | None]], ...] = (
        ("move along negative curvature", lambda: cures.escape(surveyed)),
        ("dead units re-initialised", lambda: cures.revived_units(ground)),
        ("inputs normalised", lambda: cures.normalised_inputs(ground)),
    )
    for name, make in makers:
        with failing_softly(name, notes):
            cure = make()
            if isinstance(cure, Cure):
                special.append(cure)
            elif cure is not None:
                notes.append(str(cure))
    faster = cures.momentum(ground.optimizer)
    return [*special, *cures.scaled_steps(ground), *([faster] if faster is not None else [])]


def _dear(ground: Ground, surveyed: Surveyed, notes: list[str]) -> list[str]:
    """Cures that cost more, the likeliest first."""
    found = surveyed.record
    is_noisy = not found.noise_share.value < 0.5  # unknown noise may be noise
    first = [_BATCH, _CORRECTED] if is_noisy else [_CORRECTED, _BATCH]
    is_stuck = found.blocked > _FRESH_ANYWAY or found.dead_worst > _FRESH_ANYWAY
    names = [*first, *([_FRESH, _ADAM] if is_stuck else [_ADAM, _FRESH])]
    if len(ground.batches) == 1:
        names.remove(_BATCH)
    if not cures.adam(ground):
        names.remove(_ADAM)
    can_restart = False
    with failing_softly(_FRESH, notes):
        fresh = cures.fresh_start(ground)
        can_restart = isinstance(fresh, Cure)
        notes += [str(fresh)] if isinstance(fresh, LeftOut) else []
    if not can_restart:
        names.remove(_FRESH)
    return names


def _costs(cheap: int, dear: Sequence[str]) -> tuple[float, int]:
    """What cures take in one order of the batches: plain branches' worth of steps, and branches."""
    lengths = [_PRICES[name] for name in dear if name != _CORRECTED]
    return 2 + cheap + sum(lengths), 2 + cheap + 2 * len(lengths)


def _orders(pace: Pace, steps: int, cheap: int, dear: Sequence[str], *, seconds: float) -> int:
    """How many orders of the batches the time allows at this length: gains that scatter are told from none by more."""
    work, branches = _costs(cheap, dear)
    each = pace.cost(work * steps, branches)
    if pace.seeds == 1 or not each > 0:
        return pace.seeds
    return int(min(_MOST_SEEDS, max(pace.seeds, (1 - _CORRECTED_SHARE) * seconds / each)))


def _affordable(ground: Ground, pace: Pace, cheap: int, dear: Sequence[str], *, seconds: float) -> int:
    """How many steps a branch takes: with as many of the dear cures as leave branches of a useful length."""
    fewest = _AGAIN_STEPS if ground.is_past else _FEWEST_STEPS
    wanted = min(_MOST_STEPS, max(fewest, ground.step // 5))
    steps = 0
    for count in range(len(dear), -1, -1):
        kept = dear[:count]
        work, branches = _costs(cheap, kept)
        share = 1 - _CORRECTED_SHARE if _CORRECTED in kept else 1.0
        left = share * seconds / pace.seeds - branches * pace.branch
        steps = int(left / (work * pace.step)) if pace.step > 0 else wanted
        if steps >= min(wanted, _USEFUL_STEPS):
            break
    return max(_FEWEST_STEPS, min(wanted, steps))


def _try_larger_batch(control: Control, notes: list[str]) -> Iterator[Remedy]:
    cure = cures.larger_batch(control.ground)
    yield from tried(control, [] if cure is None else [cure], notes)


def _try_adam(control: Control, notes: list[str]) -> Iterator[Remedy]:
    """Adam at the rate that does best on an order of the batches of its own."""
    candidates = cures.adam(control.ground)
    rounds = len(candidates) + control.pace.seeds
    if control.pace.cost(rounds * control.steps, rounds) > control.left:
        notes.append(str(LeftOut(_ADAM, "the time was used up")))
        return
    values = [continued(control.ground, cure, control.steps, control.pace.seeds).value for cure in candidates]
    best = candidates[int(np.argmin([value if math.isfinite(value) else math.inf for value in values]))]
    chosen = "another order of the batches" if control.pace.seeds > 1 else "the same batch, as there is no other"
    note = f"{best.note}: the best of {len(candidates)} on {chosen}"
    yield from tried(control, [replace(best, note=note)], notes)


def _try_fresh_start(control: Control, notes: list[str]) -> Iterator[Remedy]:
    """From new parameters, for as many steps as the run had, or as the time allows."""
    cure, ground, pace = cures.fresh_start(control.ground), control.ground, control.pace
    if isinstance(cure, LeftOut):
        notes.append(str(cure))
        return
    affordable = (control.left / pace.seeds - pace.branch) / pace.step if pace.step > 0 else math.inf
    steps = int(min(max(1, ground.step), _FRESH_LENGTH * control.steps, affordable))
    note = (
        f"{several(steps, 'step')} from new parameters, of {ground.step} that the run has had, against the run after "
        "going on plainly; as the layers initialise themselves, not as the script may have"
    )
    if steps < min(ground.step, control.steps):
        notes.append(str(LeftOut(_FRESH, "the time was used up")))
    else:
        yield from tried(control, [replace(cure, note=note)], notes, steps)


_TRIERS = {_BATCH: _try_larger_batch, _ADAM: _try_adam, _FRESH: _try_fresh_start}


def _spare(control: Control, later: Sequence[str]) -> float:
    """Seconds for curvature-corrected steps: what the cures after it leave, or their share of what is left."""
    pace = control.pace
    work = sum(_PRICES[name] for name in later) * control.steps * pace.seeds
    return max(control.left - pace.cost(work, 2 * pace.seeds * len(later)), _CORRECTED_SHARE * control.left)


def _corrected(control: Control, seconds: float, notes: list[str]) -> tuple[list[Remedy], np.ndarray]:
    """Curvature-corrected steps on all held examples, and J after each."""
    ground, theta = control.ground, control.ground.theta
    if _CORRECTED_LEAST * control.pace.branch > control.left:
        notes.append(str(LeftOut(_CORRECTED, "the time was used up")))
        return [], np.zeros(0)
    radius = REACH * max(float(theta.double().norm()), usual_norm(ground.bench.params))
    whole = ground.split.whole
    path = corrected_path(_without_chance(ground), theta, judge=whole, radius=radius, seconds=seconds)
    count = len(path.products)
    value = float(path.values[-1]) if count else whole.value(theta)
    note = (
        f"of up to {several(max(path.products, default=0), 'product')} each, on all held examples, against "
        f"{several(control.steps, 'plain step')}; {path.ending}"
    )
    cure = Cure(_CORRECTED, PLAIN.prepare, note=note)
    return [control.remedy(cure, [value] * len(control.values), count)], path.values


def _without_chance(ground: Ground) -> Objective:
    """J of the held examples without dropout, in two batches, which makes products cheaper."""
    source, model, precision = ground.split.whole.source, ground.bench.model, ground.precision
    if not isinstance(source, ModelSource):
        return ground.split.whole
    batches = [item.batch for item in source.batches()]
    quiet = {name: False for name, part in model.named_modules() if isinstance(part, nn.modules.dropout._DropoutNd)}
    precision = replace(precision, modes={**precision.modes, **quiet})
    few = ground.bench.grouped(batches, precision, groups=min(2, len(batches)))
    return ground.bench.objective(few, precision)
