"""Each rule: present where its obstacle is, absent where it is not, undetermined where nobody looked."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.diagnosis.conftest import came, estimate, gains, line, moves, remedy, steady
from theodolite.diagnosis import Evidence, History, judge
from theodolite.diagnosis.rules import RULES
from theodolite.records import MISSING, OBSTACLES, Known, Status, Survey, Verdict

AT_SADDLE = {"smallest": estimate(-1.0, 0.01), "what_ifs": moves(0.001, 0.2), "escape": 0.05, "grad_norm": 0.01}
AT_MINIMUM = {"smallest": estimate(0.1, 0.01), "what_ifs": moves(0.0001, 0.0), "grad_norm": 1e-4}
AT_MINIMUM |= {"corrected": (0.5, 0.499)}
NOISY = {"noise_share": estimate(0.9, 0.05), "noise_scale": estimate(5000.0, 100.0)}
PLANTED: dict[str, dict[str, Any]] = {
    "none": {"fallen": 0.3},
    "step_too_small": {"rescaled": gains(1e-6, 3e-6, 1e-5, 1e-4, 1e-1 * 0.01), "what_ifs": moves(0.2, 0.001)}
    | {"rescaled": gains(1e-4, 3e-4, 1e-3, 1e-2, 5e-2)},
    "step_too_large": {"own_uphill": estimate(0.6, 0.1), "remedies": (remedy("step × 0.1", 0.3),)},
    "gradient_noise": NOISY | {"remedies": (remedy("batch × 8", 0.2), remedy("step × 0.1", 0.2))},
    "saddle_point": AT_SADDLE,
    "local_minimum": AT_MINIMUM,
    "plateau": {"flatness": 1e-4, "what_ifs": moves(0.0, 0.0), "smallest": estimate(0.0, 1e-6)},
    "dead_units": {"dead_worst": 0.9, "dead_fraction": 0.5, "blocked": 0.5},
    "ill_conditioning": {"corrected": (0.3, 0.1, 0.02)},
    "cliff": {"plain": steady(spike=40.0), "remedies": (remedy("clipping", 0.2), remedy("step × 0.1", 0.1))},
    "no_minimum": {"rays": (line("growing weights", 0.02, 0.005, 0.0, cosine=0.6),), "loss": estimate(0.02, 0.001)},
    "nonlocal_structure": {"known": (Known("points at random", estimate(0.4), 8.0, 0.05, 0.3, 0.0),)},
    "overfitting": {"trail": came((2.3, 0.8, 0.6, 0.9, 1.2), turn=0.4)},
}
"""What must change in healthy evidence for each obstacle to be there."""


@pytest.mark.parametrize("obstacle", PLANTED)
def test_planted_evidence_is_present_and_named(obstacle: str, evidence: Any) -> None:
    """The rule sees its obstacle, and the judge names it first."""
    diagnosis = judge(evidence(**PLANTED[obstacle]))
    assert diagnosis.findings[obstacle].verdict is Verdict.PRESENT, diagnosis.findings[obstacle]
    assert diagnosis.obstacle == obstacle
    assert diagnosis.findings[obstacle].evidence
    assert max(diagnosis.probabilities, key=lambda name: diagnosis.probabilities[name]) == obstacle


@pytest.mark.parametrize("obstacle", [name for name in RULES if name != "none"])
def test_healthy_evidence_is_absent(obstacle: str, evidence: Any) -> None:
    """The clean twin of each is silent, and says what it looked at."""
    finding = judge(evidence(fallen=0.3)).findings[obstacle]
    assert finding.verdict is Verdict.ABSENT, finding
    assert math.isfinite(finding.threshold)
    assert finding.meaning


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_missing_evidence_is_undetermined(obstacle: str) -> None:
    """Nobody looked: no verdict, and the sentence that says what would settle it."""
    finding = judge(Evidence(History(5))).findings[obstacle]
    assert finding.verdict is Verdict.UNDETERMINED
    assert finding.missing


@pytest.mark.parametrize("obstacle", [name for name in OBSTACLES if name != "none"])
def test_an_empty_survey_is_undetermined(obstacle: str) -> None:
    """A survey that ran out of time before it measured anything denies nothing."""
    diagnosis = judge(Evidence(History(1000, start=estimate(2.3), later=estimate(2.3)), Survey(1000)))
    assert diagnosis.findings[obstacle].verdict is Verdict.UNDETERMINED
    assert diagnosis.obstacle == "undetermined"


def test_progress_beats_every_ill(evidence: Any) -> None:
    """Everybody is a little ill: while the loss falls at a useful rate, the rest is secondary."""
    diagnosis = judge(evidence(**PLANTED["ill_conditioning"] | {"fallen": 0.4}))
    assert diagnosis.obstacle == "none"
    assert diagnosis.secondary == ("ill_conditioning",)


def test_the_floor_is_arrival(evidence: Any) -> None:
    """At its floor a run has arrived, however slow it has become."""
    arrived = {"loss": estimate(0.005, 0.001), **AT_MINIMUM}
    assert judge(evidence(plain=steady(level=0.005), **arrived)).obstacle == "none"
    thrown = judge(evidence(plain=steady(level=0.5), **arrived))
    assert thrown.findings["none"].verdict is Verdict.ABSENT  # it touched the floor by accident


def test_greater_effect_is_named_first(evidence: Any) -> None:
    """Of two obstacles the one whose removal gains more."""
    both = PLANTED["gradient_noise"] | AT_SADDLE | {"what_ifs": moves(0.001, 0.4)}
    diagnosis = judge(evidence(**both))
    assert diagnosis.obstacle == "saddle_point"
    assert diagnosis.secondary == ("gradient_noise",)


def test_divergence_is_a_step_too_large() -> None:
    """A loss that grows step by step until it is not finite."""
    past = History(100, estimate(2.0), nonfinite=10, first_nonfinite=90, rise=1e6)
    assert judge(Evidence(past, Survey(100, Status.NONFINITE))).obstacle == "step_too_large"


def test_a_sudden_nan_is_undetermined() -> None:
    """Without growth before it, nobody can say what made it."""
    past = History(100, estimate(2.0), nonfinite=10, first_nonfinite=90, rise=1.0)
    diagnosis = judge(Evidence(past, Survey(100, Status.NONFINITE)))
    assert diagnosis.obstacle == "undetermined"
    assert diagnosis.findings["none"].verdict is Verdict.ABSENT


def test_noise_is_told_from_a_long_step(evidence: Any) -> None:
    """Where a larger batch gains as much as a shorter step, it is noise; where it gains nothing, it is the step."""
    uphill = NOISY | {"own_uphill": estimate(0.6, 0.1)}
    noise = evidence(**uphill, remedies=(remedy("batch × 8", 0.2), remedy("step × 0.1", 0.2)))
    assert judge(noise).obstacle == "gradient_noise"
    step = evidence(own_uphill=estimate(0.6, 0.1), remedies=(remedy("batch × 8", 0.0), remedy("step × 0.1", 0.2)))
    assert judge(step).obstacle == "step_too_large"


def test_a_zero_unit_at_a_saddle_is_not_dead(evidence: Any) -> None:
    """Weights that all start at zero: units are silent, but negative curvature brings them back."""
    zero = AT_SADDLE | {"dead_worst": 1.0, "dead_fraction": 1.0, "blocked": 0.99, "revived": 0.9}
    diagnosis = judge(evidence(**zero))
    assert diagnosis.obstacle == "saddle_point"
    assert diagnosis.findings["dead_units"].verdict is Verdict.ABSENT


def test_a_sign_within_its_error_is_no_saddle(evidence: Any) -> None:
    """λmin below zero by less than its residual claims nothing."""
    unsure = AT_SADDLE | {"smallest": estimate(-0.01, 0.02)}
    assert judge(evidence(**unsure)).findings["saddle_point"].verdict is not Verdict.PRESENT


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_probabilities_sum_to_one(obstacle: str, evidence: Any) -> None:
    """A probability for each obstacle; calibrated on the zoo, and said so."""
    diagnosis = judge(evidence(**PLANTED.get(obstacle, {})))
    assert set(diagnosis.probabilities) == set(OBSTACLES)
    assert math.isclose(sum(diagnosis.probabilities.values()), 1.0)
    assert diagnosis.calibrated


def test_unknown_errors_claim_nothing(evidence: Any) -> None:
    """A gain whose error is unknown is never "beyond its error"."""
    assert not MISSING.is_above(-1.0)
    assert judge(evidence(noise_share=MISSING)).findings["gradient_noise"].verdict is not Verdict.PRESENT


def test_a_slow_sure_fall_that_nothing_beats_is_progress(evidence: Any) -> None:
    """A language model whose least loss is unknown: 5 % a doubling, and no move gains a twentieth."""
    well = {"what_ifs": moves(0.01, 0.001), "remedies": (remedy("batch × 8", 0.001),)}
    assert judge(evidence(fallen=0.05, **well)).obstacle == "none"
    assert judge(evidence(fallen=0.05, **well | {"what_ifs": moves(0.2, 0.001)})).obstacle == "undetermined"
    assert judge(evidence(fallen=0.01, **well)).obstacle != "none"


def test_a_loss_above_its_start_is_no_progress(evidence: Any) -> None:
    """However fast it comes down from a spike."""
    diagnosis = judge(evidence(fallen=0.5, loss=estimate(30.0, 0.1)))
    assert diagnosis.findings["none"].verdict is Verdict.ABSENT


def test_a_trend_that_the_survey_denies_is_unsure(evidence: Any) -> None:
    """Losses of single examples scatter widely: where the survey's loss has not fallen, their trend is not believed."""
    well = evidence(fallen=0.3)
    denied = replace(well, history=replace(well.history, earlier=estimate(0.3)))
    assert judge(denied).findings["none"].verdict is not Verdict.PRESENT


def test_a_null_direction_revives_nothing(evidence: Any) -> None:
    """An eigenvalue of zero has any direction for its own: dead units stay dead."""
    flat = PLANTED["dead_units"] | {"revived": 0.9, "smallest": estimate(-1e-11, 1e-7)}
    assert judge(evidence(**flat)).obstacle == "dead_units"


AGAIN, SHORTER = "from its start again", "from its start, step × 0.01"
KILLED = PLANTED["dead_units"] | {"own_uphill": estimate(0.0)}


def test_units_that_long_steps_killed_are_the_steps_doing(evidence: Any) -> None:
    """From the start, shorter steps get far and the run's own come to nothing again: the units are secondary."""
    tried = (remedy(SHORTER, 0.4), remedy(AGAIN, 0.0), remedy("step × 0.1", 0.0))
    diagnosis = judge(evidence(**KILLED, remedies=tried))
    assert (diagnosis.obstacle, diagnosis.secondary) == ("step_too_large", ("dead_units",))
    assert "80 %" in diagnosis.findings["step_too_large"].evidence[0]
    diverged = replace(remedy(AGAIN, 0.0), gain=estimate(-math.inf))
    assert judge(evidence(**KILLED, remedies=(tried[0], diverged))).obstacle == "step_too_large"


@pytest.mark.parametrize(
    "tried",
    [
        (remedy(SHORTER, 0.0), remedy(AGAIN, 0.0)),  # dead from the start
        (remedy(SHORTER, 0.4), remedy(AGAIN, 0.4)),  # something else killed them on the way
        (remedy(SHORTER, 0.4), remedy(AGAIN, 0.0), remedy("step × 0.1", 0.3)),  # shorter steps help from here as well
        (remedy(SHORTER, 0.4),),  # nobody tried the run's own
    ],
)
def test_dead_units_are_not_blamed_on_steps_that_did_not_kill_them(tried: Any, evidence: Any) -> None:
    """Each of the conditions on its own spares the steps."""
    assert judge(evidence(**KILLED, remedies=tried)).obstacle == "dead_units"


def test_a_schedule_that_has_died_is_a_step_too_small(evidence: Any) -> None:
    """Steps that are lost to rounding promise nothing; as long ones as the run once had gain."""
    still = {"rescaled": gains(0.0, 0.0, 0.0, 0.0, 0.0), "what_ifs": moves(0.2, 0.001)}
    still |= {"sharpness": estimate(2e-12, 1e-14), "own_uphill": estimate(0.0)}
    once = remedy("step × 4e+11", 0.3, fallen=0.0)
    finding = judge(evidence(**still, remedies=(once,))).findings["step_too_small"]
    assert finding.verdict is Verdict.PRESENT
    assert finding.evidence == ("step × 4e+11 gains 60 % ± 0 % of the excess loss on a branch",)
    assert judge(evidence(**still, remedies=(remedy("step × 4e+11", 0.0, fallen=0.0),))).obstacle != "step_too_small"


def test_an_enormous_first_loss_is_no_floor(evidence: Any) -> None:
    """One feature in other units: of 5e4 nearly all is gone after a moment, and the run has stood since."""
    way = replace(came((5e4,) + (0.5,) * 19), losses=np.array([5e4] + [0.5] * 19))
    stood = evidence(trail=way, corrected=(0.3, 0.1, 0.02), remedies=(remedy("curvature-corrected steps", 0.45),))
    stood = replace(stood, history=replace(stood.history, start=estimate(5e4)))
    assert judge(stood).obstacle == "ill_conditioning"
    arrived = replace(stood, trials=replace(stood.trials, remedies=(remedy("curvature-corrected steps", 0.01),)))
    assert judge(arrived).obstacle == "none"


def test_a_steady_fall_with_nothing_in_its_way_is_progress(evidence: Any) -> None:
    """Of 0.4 that have gone, 0.1 went while the age doubled; of the 1.9 that are left nobody knows what may go."""
    slow = {"loss": estimate(1.9, 0.001), "what_ifs": moves(0.2, 0.001), "fallen": 0.06, "corrected": (1.9, 1.9)}
    assert judge(evidence(**slow)).obstacle == "undetermined"  # too little has gone so far
    later = evidence(**slow | {"loss": estimate(1.7, 0.001)})
    assert judge(later).obstacle == "none"
    assert judge(evidence(**slow | {"loss": estimate(1.7, 0.001), "fallen": 0.02})).obstacle == "undetermined"
    assert judge(evidence(**slow | {"loss": estimate(0.9, 0.001), "fallen": 0.05})).obstacle == "none"  # most is gone
    likely = remedy("batch × 8", 0.5)
    unsure = slow | {"loss": estimate(1.7, 0.001), "noise_share": estimate(0.55, 0.1), "noise_scale": estimate(900.0)}
    unsure["remedies"] = (replace(likely, gain=estimate(0.3, 0.1)),)
    assert judge(evidence(**unsure)).obstacle != "none"


def test_a_minimum_has_walls_that_were_seen(evidence: Any) -> None:
    """Curvature within its error tells no minimum from anything else."""
    blurred = AT_MINIMUM | {"smallest": estimate(-0.0008, 0.006), "largest": estimate(5e-8, 0.004)}
    finding = judge(evidence(**blurred)).findings["local_minimum"]
    assert finding.verdict is Verdict.UNDETERMINED
    assert "walls" in finding.missing


def test_a_schedule_that_has_all_but_died_is_a_step_too_small(evidence: Any) -> None:
    """A few parameters near zero still move: their slope promises nothing of what all of them would gain."""
    rescaled = replace(gains(0.0, 0.0, 0.0, 0.0, 1e-7), slope=estimate(1e-14))
    still = {"rescaled": rescaled, "what_ifs": moves(0.2, 0.001), "sharpness": estimate(2e-12, 1e-14)}
    once = remedy("step × 4e+08", 0.3, fallen=0.0)
    assert judge(evidence(**still, remedies=(once,))).obstacle == "step_too_small"
    moving = still | {"rescaled": replace(gains(0.0, 0.0, 1e-14, 1e-13, 1e-12), slope=estimate(1e-14))}
    assert judge(evidence(**moving, remedies=(once,))).obstacle != "step_too_small"  # a far jump, not these steps


ALONG = "move along negative curvature"


def test_a_saddle_is_told_by_where_its_way_leads(evidence: Any) -> None:
    """One step along λmin gains little at all-zero weights; plain steps from there gain all."""
    zero = AT_SADDLE | {"what_ifs": moves(0.0, 0.002), "escape": 0.0}
    assert judge(evidence(**zero)).findings["saddle_point"].verdict is Verdict.ABSENT
    out = (remedy(ALONG, 0.4), remedy("step × 10", 0.0))
    assert judge(evidence(**zero, remedies=out)).obstacle == "saddle_point"
    longer = (remedy(ALONG, 0.4), remedy("step × 10", 0.39))
    assert judge(evidence(**zero, remedies=longer)).findings["saddle_point"].verdict is Verdict.ABSENT


def test_a_trap_may_bend_down_where_that_leads_nowhere(evidence: Any) -> None:
    """Of little use is negative curvature that was followed in vain while new parameters get much farther."""
    bent = AT_MINIMUM | {"smallest": estimate(-0.2, 0.001)}
    fresh, in_vain = remedy("fresh start", 0.3), remedy(ALONG, 0.0)
    assert judge(evidence(**bent, remedies=(fresh, in_vain))).obstacle == "local_minimum"
    for tried in ((fresh,), (in_vain,), (fresh, remedy(ALONG, 0.1))):
        assert judge(evidence(**bent, remedies=tried)).findings["local_minimum"].verdict is Verdict.ABSENT


def test_longer_steps_must_gain_many_times_on_a_branch_too(evidence: Any) -> None:
    """A steady convex fall with three times the gain at ten times the step is a matter of tuning."""
    unsure = {"rescaled": gains(1e-4, 3e-4, 1e-3, 0.0, 0.0), "what_ifs": moves(0.2, 0.001)}
    slightly = evidence(**unsure, remedies=(remedy("step × 10", 0.06, fallen=0.03),))
    assert judge(slightly).findings["step_too_small"].verdict is not Verdict.PRESENT
    many = evidence(**unsure, remedies=(remedy("step × 10", 0.06, fallen=0.003),))
    assert many.remedies[0].gain.value == slightly.remedies[0].gain.value
    assert judge(many).findings["step_too_small"].verdict is Verdict.PRESENT


def test_gradients_that_are_kept_spoil_a_run_that_does_not_fall(evidence: Any) -> None:
    """Neglect is named as steps far too long, unless the loss falls all the same."""
    stalled = replace(evidence(), keeps_gradients=True, notes=("gradients are not zeroed",))
    stalled = replace(stalled, history=replace(stalled.history, fallen=estimate(0.01, 0.001)))
    judged = judge(stalled)
    assert judged.obstacle == "step_too_large"
    assert "not zeroed" in judged.findings["step_too_large"].evidence[0]
    assert judged.notes[0] == "gradients are not zeroed"
    falls = replace(stalled, history=replace(stalled.history, fallen=estimate(0.5, 0.01)))
    assert judge(falls).obstacle != "step_too_large"


def test_a_minimum_is_still(evidence: Any) -> None:
    """Where curvature-corrected steps go on down, a point whose single moves gain nothing is a valley, no minimum."""
    assert judge(evidence(**AT_MINIMUM)).obstacle == "local_minimum"
    moving = judge(evidence(**AT_MINIMUM | {"corrected": (0.49, 0.48, 0.47)})).findings["local_minimum"]
    assert moving.verdict is Verdict.ABSENT
    assert "go on down" in moving.evidence[0]


def test_noise_is_not_what_limits_where_longer_steps_gain_more(evidence: Any) -> None:
    """A step three times as long would make noise worse: where it gains twice as much, steps are short."""
    batch = remedy("batch × 8", 0.03)
    noisy = evidence(**NOISY, remedies=(batch, remedy("step × 3", 0.05)))
    assert noisy.remedies[1].gain.value < 2 * batch.gain.value
    assert judge(noisy).findings["gradient_noise"].verdict is Verdict.PRESENT
    short = judge(evidence(**NOISY, remedies=(remedy("step × 3", 0.2), batch))).findings["gradient_noise"]
    assert short.verdict is Verdict.ABSENT
    assert "longer steps gain" in short.evidence[0]


def test_a_fall_that_has_not_slowed_down_is_progress(evidence: Any) -> None:
    """As much in the last doubling as in the one before is as well as a loss in the logarithm of the step can do."""
    slow = {"loss": estimate(1.5, 0.001), "what_ifs": moves(0.1, 0.001), "fallen": 0.05, "corrected": (1.5, 1.49)}
    held = came((1.0,) * 17)
    ages = np.maximum(np.linspace(0, 1, 17), 1e-3)
    going, stalled = (
        replace(held, losses=1.5 - 0.05 * np.log2(np.minimum(ages, until) / until)) for until in (1.0, 0.5)
    )
    assert judge(evidence(**slow, trail=going)).obstacle == "none"
    assert judge(evidence(**slow, trail=stalled)).obstacle == "undetermined"


def test_what_would_gain_little_is_not_in_the_way(evidence: Any) -> None:
    """Batches of a healthy run are noisy; where averaging gains a fiftieth of the excess, the fall stands."""
    slow = {
        "loss": estimate(1.5, 0.001),
        "what_ifs": moves(0.1, 0.001),
        "fallen": 0.1,
        "corrected": (1.5, 1.49),
    } | NOISY
    little = judge(evidence(**slow, remedies=(remedy("batch × 8", 0.06),)))
    assert little.obstacle == "none"
    assert little.secondary == ("gradient_noise",)
    assert judge(evidence(**slow, remedies=(remedy("batch × 8", 0.4),))).obstacle != "none"


def test_spare_units_are_no_obstacle(evidence: Any) -> None:
    """Half of a layer is zero, and bringing it back gains nothing: capacity is not what the run lacks."""
    half = {"dead_worst": 0.6, "dead_fraction": 0.3, "blocked": 0.3}
    assert judge(evidence(**half)).obstacle == "dead_units"
    idle, useful = remedy("dead units re-initialised", 0.0), remedy("dead units re-initialised", 0.1)
    found = judge(evidence(**half, remedies=(idle,))).findings["dead_units"]
    assert found.verdict is Verdict.ABSENT
    assert "gain nothing" in found.evidence[-1]
    assert judge(evidence(**half, remedies=(useful,))).obstacle == "dead_units"
    anew = replace(remedy("fresh start", 0.3), steps=900)
    assert judge(evidence(**half, remedies=(idle, anew))).obstacle == "dead_units"
    assert judge(evidence(**half | {"dead_worst": 1.0}, remedies=(idle,))).obstacle == "dead_units"


def test_a_saddle_whose_slope_is_slight_is_told_by_where_its_way_leads(evidence: Any) -> None:
    """Weight decay or a batch leave some slope; no length of step gains by it, and the way down gains much."""
    slope = {"smallest": estimate(-0.01, 1e-4), "what_ifs": moves(0.001, 0.001), "escape": 3.0}
    no_use = remedy("step × 10", 0.002)
    assert judge(evidence(**slope, remedies=(remedy(ALONG, 0.02), no_use))).obstacle == "saddle_point"
    for share in (0.005, 0.009):  # less than a fiftieth of the excess; not many times what a step gains
        steps = remedy("step × 10", 0.0 if share < 0.006 else 0.002)
        found = judge(evidence(**slope, remedies=(remedy(ALONG, share), steps)))
        assert found.findings["saddle_point"].verdict is Verdict.ABSENT
    steep = slope | {"what_ifs": moves(0.1, 0.001)}
    assert judge(evidence(**steep, remedies=(remedy(ALONG, 0.02), no_use))).obstacle != "saddle_point"


def test_no_minimum_has_a_way_down(evidence: Any) -> None:
    """Slightly negative curvature counts for nothing, until following it leads down."""
    slight = AT_MINIMUM | {"smallest": estimate(-0.015, 1e-4)}
    assert judge(evidence(**slight)).obstacle == "local_minimum"
    down = judge(evidence(**slight, remedies=(remedy(ALONG, 0.03), remedy("step × 10", 0.0))))
    assert down.findings["local_minimum"].verdict is Verdict.ABSENT


def test_longer_steps_are_told_on_a_short_branch(evidence: Any) -> None:
    """A hundredth of the excess in a fiftieth of the age of the run is half of it while that doubles."""
    scattered = gains(1e-6, 3e-6, 1e-5, 1e-4, 1e-3)
    unsure = tuple(replace(gain, error=1.0) for gain in scattered.gains)
    short = {"rescaled": replace(scattered, gains=unsure), "what_ifs": moves(0.001, 0.0)}
    short["rescaled"] = replace(short["rescaled"], slope=estimate(1e-4))
    for steps, verdict in ((20, Verdict.PRESENT), (200, Verdict.ABSENT)):
        tried = replace(remedy("step × 10", 0.006, fallen=6e-5), steps=steps)
        assert judge(evidence(**short, remedies=(tried,))).findings["step_too_small"].verdict is verdict


def test_a_larger_batch_does_not_excuse_long_steps_where_little_is_noise(evidence: Any) -> None:
    """Averaging helps a step that overshoots as well: noise is to blame only where the promise is lost to it."""
    both = (remedy("batch × 8", 0.2), remedy("step × 0.1", 0.3))
    loud = {"own_uphill": estimate(0.6, 0.1), "noise_scale": estimate(500.0, 10.0)}
    assert judge(evidence(**loud, noise_share=estimate(0.1, 0.1), remedies=both)).obstacle == "step_too_large"
    noise = judge(evidence(**loud, noise_share=estimate(0.9, 0.1), remedies=both))
    assert noise.findings["step_too_large"].verdict is Verdict.ABSENT


def test_features_in_other_units_are_in_the_way_though_the_loss_falls(evidence: Any) -> None:
    """Normalised inputs take most of the excess and no step size a tenth of it."""
    cured, step = remedy("inputs normalised", 0.4, fallen=0.03), remedy("step × 3", 0.0, fallen=0.03)
    judged = judge(evidence(fallen=0.25, remedies=(cured, step)))
    assert judged.obstacle == "ill_conditioning"
    assert "normalised" in judged.findings["none"].evidence[0]
    as_good = remedy("step × 3", 0.2, fallen=0.03)
    assert judge(evidence(fallen=0.25, remedies=(cured, as_good))).obstacle == "none"


BENT = {"smallest": estimate(-0.2, 0.01), "gain_ratio": estimate(1.0)}
"""Curvature is negative somewhere, and correcting a step for curvature gains nothing."""


def test_a_way_that_winds_is_nonlocal(evidence: Any) -> None:
    """Many corrected steps follow it; single ones are no better than plain ones. With no step badly conditioned."""
    wound = judge(evidence(**BENT, escape=5.0, corrected=(0.3, 0.1, 0.02)))
    assert wound.obstacle == "nonlocal_structure"
    assert "winds" in wound.findings["nonlocal_structure"].evidence[0]
    assert wound.findings["ill_conditioning"].verdict is Verdict.ABSENT
    for changed in ({"gain_ratio": estimate(3.0)}, {"smallest": estimate(0.1, 0.01)}):
        assert judge(evidence(**BENT | changed, escape=5.0, corrected=(0.3, 0.1, 0.02))).obstacle == "ill_conditioning"


def test_corrected_steps_leave_a_saddle_that_is_nearly_one(evidence: Any) -> None:
    """Little slope, slight negative curvature: a few steps along |H|⁻¹G get out, none of another length does."""
    near = BENT | {"escape": 0.4, "what_ifs": moves(0.001, 0.001), "corrected": (0.5, 0.48, 0.3)}
    near["remedies"] = (remedy("step × 0.1", -0.01, fallen=0.001),)
    assert judge(evidence(**near)).obstacle == "saddle_point"
    assert judge(evidence(**near | {"corrected": (0.5, 0.49)})).findings["saddle_point"].verdict is Verdict.ABSENT
    assert judge(evidence(**near | {"gain_ratio": estimate(9.0)})).findings["saddle_point"].verdict is Verdict.ABSENT


def test_noise_may_drown_a_loss_that_falls(evidence: Any) -> None:
    """Where both ways of averaging it out gain much; a few batches of noise, or one of both alone, say nothing."""
    batch, shorter = remedy("batch × 8", 0.25), remedy("step × 0.1", 0.15)
    drowned = judge(evidence(**NOISY, fallen=0.3, remedies=(batch, shorter)))
    assert drowned.obstacle == "gradient_noise"
    few = NOISY | {"noise_scale": estimate(500.0, 10.0)}
    assert judge(evidence(**few, fallen=0.3, remedies=(batch, shorter))).obstacle == "none"
    for pair in ((remedy("batch × 8", 0.1), shorter), (batch, remedy("step × 0.1", 0.01))):
        assert judge(evidence(**NOISY, fallen=0.3, remedies=pair)).obstacle == "none"


def test_a_start_worse_than_nothing_sets_no_floor(evidence: Any) -> None:
    """A hundredth of a first loss that raw features made huge is a tenth of what a model has that knows nothing."""
    low = AT_MINIMUM | {"loss": estimate(0.02, 1e-4)}
    past = evidence(**low, plain=steady(level=0.02))
    past = replace(past, history=replace(past.history, later=estimate(0.02, 1e-4)))
    assert judge(past).obstacle == "none"
    knowing = replace(past, survey=replace(past.survey, blank=0.2))
    assert judge(knowing).findings["none"].verdict is not Verdict.PRESENT
    better = replace(past, survey=replace(past.survey, blank=0.001))  # a function whose zero is no ignorance
    assert judge(better).obstacle == "none"


def test_a_bowl_is_no_plateau_however_deep_the_net(evidence: Any) -> None:
    """A penalty has shrunk all weights: their gradients are nothing beside that of a bias, and curvature is not."""
    shrunk = AT_MINIMUM | {"depth_ratio": 1e-6}
    assert judge(evidence(**shrunk)).obstacle == "local_minimum"
    assert judge(evidence(**shrunk | {"smallest": estimate(0.0, 1e-6)})).obstacle == "plateau"


def test_a_net_that_long_steps_have_killed_is_dead(evidence: Any) -> None:
    """Where next to nothing has a gradient left the units are what is missing; what killed them is told beside it."""
    killed = KILLED | {"dead_worst": 1.0, "blocked": 1.0}
    tried = (remedy(AGAIN, 0.0), remedy(SHORTER, 0.4), remedy("step × 0.1", 0.0))
    judged = judge(evidence(**killed, remedies=tried))
    assert judged.obstacle == "dead_units"
    assert "step_too_large" in judged.secondary
    assert "long steps killed them" in " ".join(judged.findings["dead_units"].evidence)
    half = judge(evidence(**KILLED | {"dead_worst": 0.7, "blocked": 0.6}, remedies=tried))
    assert half.obstacle == "step_too_large"


def test_walls_that_clipping_takes_away_are_no_long_steps(evidence: Any) -> None:
    """Shorter steps from the start do well at walls, too; what clipping gains from here is not to be had by length."""
    wall = {"plain": steady(spike=40.0), "dead_worst": 0.6, "dead_fraction": 0.1}
    again = (remedy(AGAIN, 0.05), remedy(SHORTER, 0.2))
    clipped = judge(evidence(**wall, remedies=(remedy("clipping", 0.2), *again)))
    assert clipped.findings["step_too_large"].verdict is Verdict.ABSENT
    assert clipped.findings["cliff"].verdict is Verdict.PRESENT
    useless = judge(evidence(**wall, remedies=(remedy("clipping", 0.0), *again)))
    assert useless.findings["step_too_large"].verdict is Verdict.PRESENT


def test_conditioning_may_hold_up_a_loss_that_falls(evidence: Any) -> None:
    """A power law falls usefully for ever; ten corrected steps take all of it, the best step size a hundredth."""
    step = remedy("step × 3", 0.0, fallen=0.005)
    stiff = evidence(fallen=0.3, corrected=(0.3, 0.1, 0.02), remedies=(step,))
    judged = judge(stiff)
    assert judged.obstacle == "ill_conditioning"
    assert judged.findings["none"].verdict is Verdict.ABSENT
    usual = evidence(fallen=0.3, corrected=(0.3, 0.1, 0.02), remedies=(remedy("step × 3", 0.0, fallen=0.04),))
    assert judge(usual).obstacle == "none"
    rounded = evidence(corrected=(0.5, 0.48, 0.43), remedies=(remedy("step × 3", 0.0, fallen=0.0003),))
    assert judge(rounded).obstacle == "ill_conditioning"


def test_a_crawling_run_is_young_not_well(evidence: Any) -> None:
    """Steps a thousandth of what is stable: while most of the excess is left any loss falls for its age."""
    rescaled = replace(gains(1e-5, 3e-5, 1e-4, 1e-3, 0.05), slope=estimate(3e-4))
    crawling = {"sharpness": estimate(1e-3), "rescaled": rescaled, "fallen": 0.25}
    crawling |= {"loss": estimate(1.0, 0.001), "corrected": (0.9, 0.8)}
    tried = (remedy("step × 10", 0.2, fallen=0.01),)
    assert judge(evidence(**crawling, remedies=tried)).obstacle == "step_too_small"
    nearer = crawling | {"sharpness": estimate(0.01)}
    assert judge(evidence(**nearer, remedies=tried)).obstacle == "none"
    late = crawling | {"loss": estimate(0.5, 0.001)}
    assert judge(evidence(**late, remedies=tried)).obstacle == "none"
