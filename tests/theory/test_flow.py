"""Do closed forms of gradient flow, with inertia and noise, solve their equations?"""

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp

from theodolite.errors import SettingError
from theodolite.theory.descent import Descent, escape_steps, expected_squares, mode_rates, stationary_losses
from theodolite.theory.flow import escape_times, expected_flow_squares, flow_rates, stationary_flow_losses

MODES = np.array([2.0, 0.0, -0.7, 1e-9])


@pytest.mark.parametrize("mass", [0.0, 0.05, 1.0, 10.0])
def test_paths_without_noise_against_an_integrator(mass):
    times = np.array([0.0, 0.5, 3.0])
    found = expected_flow_squares(MODES, 0.4, times=times, mass=mass)
    for column, curvature in enumerate(MODES):

        def slope(_, state, curvature=curvature):
            x, v = state
            return [v, (-curvature * x - v) / mass] if mass else [-curvature * x, 0.0]

        path = solve_ivp(slope, (0, 3), [0.4, 0.0], t_eval=times, rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(found[:, column], path.y[0] ** 2, rtol=1e-8)


@pytest.mark.parametrize("mass", [0.0, 0.3, 2.0])
def test_noise_against_the_integral_of_the_response(mass):
    """E[x²] from rest is s² ∫ h(t)², h the answer to a push: a velocity 1/m, or a jump by 1 without inertia."""
    curvature, strength, time = 1.3, 0.7, 2.5
    roots = np.roots([mass, 1.0, curvature]) if mass else np.array([-curvature])

    def response(t):
        if not mass:
            return np.exp(-curvature * t)
        return np.real((np.exp(roots[0] * t) - np.exp(roots[1] * t)) / (roots[0] - roots[1]) / mass)

    expected = strength * quad(lambda t: response(t) ** 2, 0, time)[0]
    found = expected_flow_squares([curvature], 0.0, times=[time], mass=mass, noise=strength)
    assert found[0, 0] == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("mass", [0.0, 0.3, 2.0])
def test_noise_settles_at_equipartition_whatever_the_mass(mass):
    found = 0.5 * MODES[:1] * expected_flow_squares(MODES[:1], 3.0, times=[80.0], mass=mass, noise=0.9)[0]
    np.testing.assert_allclose(stationary_flow_losses(MODES[:1], 0.9), found, rtol=1e-10)


def test_stationary_losses_at_the_edges():
    np.testing.assert_array_equal(stationary_flow_losses([0.0, -1.0, 1.0], 4.0), [np.inf, np.inf, 1.0])
    np.testing.assert_array_equal(stationary_flow_losses([0.0, -1.0], 0.0), [0.0, 0.0])


@pytest.mark.parametrize("mass", [1e-8, 0.1, 0.25, 5.0])
def test_rates_are_roots_and_the_slowest(mass):
    curvature = np.array([-2.0, 0.5, 1.0, 3.0])
    found = flow_rates(curvature, mass=mass)
    np.testing.assert_allclose(mass * found**2 + found + curvature, 0, atol=1e-12)
    for rate, value in zip(found, curvature, strict=True):
        assert rate.real == pytest.approx(np.roots([mass, 1.0, value]).real.max(), rel=1e-6)
    np.testing.assert_allclose(flow_rates(curvature), -curvature)


def test_small_steps_approach_the_flow():
    """Rates, losses and squares of descent differ from those of the flow by the next order of the step."""
    for step, tolerance in ((1e-2, 2e-2), (1e-4, 2e-4)):
        for beta in (0.0, 0.9):
            method = Descent(step * (1 - beta) ** 2, momentum=beta)
            mass = method.step * (1 + beta) / (2 * (1 - beta) ** 2)
            tick = method.step / (1 - beta)
            log_rate = np.log(mode_rates(method, [1.0, -1.0])) / tick
            np.testing.assert_allclose(log_rate, flow_rates([1.0, -1.0], mass=mass).real, rtol=tolerance)
            noise = method.step / (1 - beta)  # s² for σ² = 1
            settled = stationary_losses(method, [1.0], 1.0)
            np.testing.assert_allclose(settled, stationary_flow_losses([1.0], noise), rtol=tolerance)
            steps = round(1.0 / tick)
            np.testing.assert_allclose(
                expected_squares(method, [1.0, -1.0], 0.5, steps=[steps], noise=1.0),
                expected_flow_squares([1.0, -1.0], 0.5, times=[steps * tick], mass=mass, noise=noise),
                rtol=20 * tolerance,
            )


@pytest.mark.parametrize("noise", [0.0, 1e-4])
def test_escape_times_are_when_the_square_is_away(noise):
    offsets = np.array([1e-9, -1e-4, 0.5])
    times = escape_times(-0.6, offsets, radius=2.0, noise=noise)
    for offset, time in zip(offsets, times, strict=True):
        found = expected_flow_squares([-0.6], offset, times=[time], noise=noise)
        assert found[0, 0] == pytest.approx(4.0, rel=1e-9)


def test_escape_at_the_edges_and_as_a_limit_of_descent():
    assert escape_times(-1.0, 0.0, radius=1.0) == np.inf
    assert escape_times(-1.0, 0.0, radius=1.0, noise=1e-3) < 5
    assert escape_times(-1.0, 3.0, radius=1.0) == 0
    steps = escape_steps(Descent(1e-4), -0.6, 1e-5, radius=1.0)
    assert 1e-4 * steps == pytest.approx(float(escape_times(-0.6, 1e-5, radius=1.0)), rel=1e-3)
    # Only the logarithm of the offset counts.
    assert np.ptp(np.diff(escape_times(-0.6, 10.0 ** -np.arange(9), radius=10.0))) < 1e-12


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: flow_rates([np.inf]), "eigenvalues must be finite"),
        (lambda: flow_rates([1.0], mass=-1.0), "mass must be finite and in .*, got -1.0"),
        (lambda: expected_flow_squares([1.0], 1.0, times=[-1.0]), "times must be finite and in"),
        (lambda: expected_flow_squares([1.0], 1.0, times=[1.0], noise=-1.0), "noise must be"),
        (lambda: escape_times(0.0, 1.0, radius=1.0), "eigenvalue must be negative, got 0.0"),
        (lambda: escape_times(-1.0, 1.0, radius=-1.0), "radius must be finite and positive"),
    ],
)
def test_mistakes_are_told(ask, message):
    with pytest.raises(SettingError, match=message):
        ask()
