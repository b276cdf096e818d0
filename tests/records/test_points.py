"""Do the records of a point count and sum what they hold as they say?"""

import math

import numpy as np
import pytest

from theodolite.errors import SettingError
from theodolite.records import Estimate, Inertia, Status
from theodolite.records.points import (
    CriticalPoint,
    DirectionalCurvature,
    NewtonPath,
    StepForecast,
    StepPrediction,
    Taylor,
    inertia_of,
)

EXPONENTIAL = Taylor(np.ones(7))


def test_a_prediction_is_a_partial_sum():
    for order in range(7):
        expected = sum(0.5**k / math.factorial(k) for k in range(order + 1))
        assert EXPONENTIAL.predict(0.5, order) == pytest.approx(expected, rel=1e-15)
    assert EXPONENTIAL.predict(0.5) == EXPONENTIAL.predict(0.5, order=6)
    assert EXPONENTIAL.predict(0.0) == 1.0
    assert EXPONENTIAL.order == 6


def test_the_order_that_a_step_needs():
    assert [EXPONENTIAL.order_within(s, math.exp(s), 0.1) for s in (1e-3, 0.5, 1.0, 2.0)] == [1, 2, 3, 4]
    assert EXPONENTIAL.order_within(20.0, math.exp(20.0), 0.1) is None
    assert EXPONENTIAL.order_within(0.0, 1.0, 0.1) == 0
    assert EXPONENTIAL.order_within(1.0, math.exp(1.0), 0.1, atol=10.0) == 0
    assert EXPONENTIAL.order_within(1.0, math.nan, 0.1) is None


def test_an_accident_of_a_low_order_does_not_count():
    """4 − 3s + 2s² − 2s³ at s = 1: the constant and the slope say 1 = J, order 2 says 3, order 3 is right again."""
    series = Taylor(np.array([4.0, -3.0, 4.0, -12.0]))
    assert series.predict(1.0, 1) == 1.0
    assert series.order_within(1.0, 1.0, 0.01) == 3


def test_missing_orders_are_not_used():
    series = Taylor(np.array([1.0, 1.0, math.nan, math.nan]), Status.BREAKDOWN, "no second derivative")
    assert series.predict(0.1, 1) == 1.1
    assert math.isnan(series.predict(0.1))
    assert series.order_within(0.1, 1.1, 0.1) == 1
    assert series.order_within(1.0, 9.0, 0.1) is None
    assert Taylor(np.array([math.nan])).order_within(1.0, 1.0, 0.1) is None


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: EXPONENTIAL.predict(1.0, 7), "between 0 and 6, got 7"),
        (lambda: EXPONENTIAL.predict(1.0, -1), "got -1"),
        (lambda: EXPONENTIAL.order_within(1.0, 1.0, -0.1), "must not be negative, got rtol=-0.1 and atol=0.0. 0 asks"),
        (lambda: EXPONENTIAL.order_within(1.0, 1.0, math.nan), "got rtol=nan"),
    ],
)
def test_mistakes_are_told(ask, message):
    with pytest.raises(SettingError, match=message):
        ask()


def point(values, errors, norms=()) -> CriticalPoint:
    return CriticalPoint(
        kind="degenerate",
        point=np.zeros(len(values)),
        value=0.0,
        gradient_norm=0.0,
        distance=0.0,
        tolerance=1e-8,
        criterion="",
        flatness=math.nan,
        eigenvalues=np.array(values, float),
        errors=np.array(errors, float),
        is_complete=True,
        status=Status.CONVERGED,
        products=0,
        method="dense",
        gradient_norms=np.array(norms, float),
    )


def test_signs_are_counted_beyond_their_errors_only():
    found = point([-2, -0.1, 0, 0.1, 3], [0.5] * 5, [3, 2, 1])
    assert (found.index, found.num_zero, found.num_positive) == (1, 3, 1)
    assert found.inertia == inertia_of(found.eigenvalues, found.errors) == Inertia(negative=1, zero=3, positive=1)
    assert (found.smallest, found.largest) == (Estimate(-2.0, 0.5), Estimate(3.0, 0.5))
    assert found.iterations == 2
    nothing = point([], [])
    assert (nothing.index, nothing.num_zero, nothing.num_positive, nothing.iterations) == (0, 0, 0, 0)
    assert not nothing.smallest.is_finite
    assert point([-1.0], [math.inf]).num_zero == 1


def test_terms_and_their_remainder():
    found = DirectionalCurvature(Estimate(1.5), np.array([4.0, -1.0]), np.array([0.5, 0.25]), Status.CONVERGED, 1, "")
    assert found.terms.tolist() == [2.0, -0.25]
    assert found.remainder == -0.25
    assert found.value == 1.5


def test_what_goes_uphill():
    def step(real, rounding=0.1):
        return StepPrediction(1.0, 2.0, 1.0, Estimate(1.5), real, Estimate(0.5), rounding)

    assert step(1.5).improvement == 0.5
    assert [step(real).is_uphill for real in (1.5, 2.0, 2.05, 2.2, math.nan, math.inf)] == [False] * 3 + [True] * 3


@pytest.mark.parametrize(
    ("value", "error", "answer"), [(1, 0.5, True), (1, 2, False), (-1, 0, False), (1, math.nan, False)]
)
def test_positive_curvature_is_claimed_beyond_its_error_only(value, error, answer):
    forecast = StepForecast(
        1.0, 1.0, Estimate(value, error), Estimate(1.0), math.inf, None, None, Status.CONVERGED, 1, "dense"
    )
    assert forecast.has_positive_curvature is answer


N = 10_000
STEP = StepPrediction(0.5, 2.0, 1.0, Estimate(1.25, 0.01), 1.2346, Estimate(0.5, 0.02), 1e-6)
POINT = point(np.linspace(-1, 3, N), np.full(N, 0.5))
READ = [
    (Taylor(np.array([1.0, -2.5, 6.0])), ["order 0 to 2: 1, -2.5, 6 (converged)"]),
    (
        Taylor(np.array([1.0, math.nan]), Status.BREAKDOWN, "no such derivative"),
        ["order 0 to 1: 1, nan (breakdown: no such derivative)"],
    ),
    (
        DirectionalCurvature(Estimate(1.5, 0.1), np.full(N, 1.0), np.full(N, 1 / N), Status.CONVERGED, 1, "dense"),
        ["curvature 1.5 ± 0.1, of which 10000 known eigenvectors give 1, the rest 0.5 (converged, 1 products, dense)"],
    ),
    (
        DirectionalCurvature(Estimate(1.5, 0.1), np.zeros(0), np.zeros(0), Status.CONVERGED, 1, "dense"),
        ["curvature 1.5 ± 0.1 (converged, 1 products, dense)"],
    ),
    (STEP, ["step 0.5: J 2 → 1.2346; predicted 1 to first order, 1.25 ± 0.01 to second", "a gain of 0.5 ± 0.02"]),
    (
        StepForecast(2.0, 4.0, Estimate(8.0, 0.1), Estimate(3.0, 0.2), 0.5, STEP, STEP, Status.BUDGET, 9, "dense"),
        [
            "J 2, gᵀg 4, gᵀHg 8 ± 0.1, λmax 3 ± 0.2 (budget, 9 products, dense)",
            "\ngiven step 0.5",
            "\noptimal step 0.5",
        ],
    ),
    (
        StepForecast(2.0, 4.0, Estimate(-8.0), Estimate(3.0), math.inf, None, None, Status.CONVERGED, 9, "dense"),
        ["\nno optimal step: gᵀHg is not positive"],
    ),
    (
        POINT,
        [
            "degenerate (converged, 0 products, dense)\n",
            "‖g‖ 0, Newton step 0, critical up to 1e-08",
            "all 10000 eigenvalues, -1 ± 0.5 to 3 ± 0.5: 1250 negative, 2500 zero within their errors, 6250 positive",
        ],
    ),
    (point([], []), ["\nno eigenvalue is known"]),
    (
        NewtonPath(
            np.zeros((2, N)), np.array([3.0, 1.0]), np.ones(2), np.array([2, 0]), 0.1, POINT, Status.CONVERGED, 7, ""
        ),
        [
            "1 Newton steps, damping 0.1 (converged, 7 products): J 3 → 1, ‖g‖ 1 → 1, index 2 → 0\n",
            "\ndegenerate (converged",
        ],
    ),
]


@pytest.mark.parametrize(("record", "phrases"), READ, ids=[type(record).__name__ for record, _ in READ])
def test_a_record_can_be_read(record, phrases):
    text = str(record)
    assert [phrase for phrase in phrases if phrase not in text] == []
    assert len(text) < 600
    assert len(text.splitlines()) <= 4
