"""Is the forecast of a gradient step that of the dense Hessian, and the real step the real one?"""

import math

import numpy as np
import pytest
import torch

from families import BY_NAME
from linalg.spectra import SPECTRA, tensor
from objective.oracle import oracle_of
from theodolite.errors import SettingError, ShapeError
from theodolite.landscape.steps import directional_curvature, gradient_step
from theodolite.linalg import dense
from theodolite.objective import Objective
from theodolite.records import Eigenpairs, Status

types = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
DIAGONAL = torch.tensor([4.0, -1.0, 2.0], dtype=torch.float64)
ONES = dense(torch.ones(3, 3, dtype=torch.float64))


def quadratic(diagonal=DIAGONAL, dtype=torch.float64) -> Objective:
    return Objective.from_function(
        lambda t: 0.5 * (diagonal.to(t) * t**2).sum(), torch.ones(len(diagonal), dtype=dtype)
    )


@pytest.mark.parametrize("spectrum", SPECTRA, ids=lambda spectrum: spectrum.name)
@types
def test_the_terms_sum_to_the_curvature(spectrum, dtype, generator):
    A = tensor(spectrum.matrix(n=60), dtype)
    d = 1e3 * torch.randn(60, generator=generator(), dtype=dtype)
    found = directional_curvature(dense(A), d)
    exact = float(d.double() @ A.double() @ d.double() / (d.double() @ d.double()))
    scale = float(np.abs(found.eigenvalues).max())
    assert abs(found.value - exact) <= found.curvature.error
    assert abs(found.remainder) <= found.curvature.error
    assert found.squared_cosines.sum() == pytest.approx(1.0, abs=1e-6)
    assert found.curvature.error <= 1e-5 * scale
    np.testing.assert_allclose(found.eigenvalues, np.linalg.eigvalsh(A.double().numpy()), atol=1e-5 * scale)
    assert found.products == 61


def test_some_eigenpairs_leave_a_remainder(generator):
    A = tensor(SPECTRA[4].matrix(n=40))
    values, Q = np.linalg.eigh(A.numpy())
    d = torch.randn(40, generator=generator(), dtype=torch.float64)
    some = Eigenpairs(values[-3:], Q[:, -3:], np.zeros(3), Status.CONVERGED, 0)
    found = directional_curvature(dense(A), d, some)
    cosines = (Q.T @ d.numpy()) ** 2 / float(d @ d)
    np.testing.assert_allclose(found.terms, (values * cosines)[-3:], rtol=1e-12)
    assert found.remainder == pytest.approx((values * cosines)[:-3].sum(), rel=1e-10)
    assert found.products == 1
    alone = directional_curvature(dense(A), d, dense_limit=39)
    assert len(alone.terms) == 0
    assert alone.remainder == alone.value


def test_curvature_along_an_eigenvector_and_edges():
    found = directional_curvature(dense(torch.diag(DIAGONAL)), np.array([0.0, -7.0, 0.0]))
    assert found.value == -1.0
    assert found.terms.tolist() == [-1.0, 0.0, 0.0]
    assert directional_curvature(dense(torch.zeros(2, 2)), torch.ones(2)).value == 0.0
    single = directional_curvature(dense(torch.tensor([[-3.0]])), torch.tensor([5.0]))
    assert (single.value, single.terms.tolist()) == (-3.0, [-3.0])
    broken = directional_curvature(dense(torch.full((2, 2), math.nan)), torch.ones(2))
    assert broken.status is Status.NONFINITE
    assert len(broken.terms) == 0


@types
def test_a_quadratic_is_forecast_exactly(dtype, generator):
    J = quadratic(dtype=dtype)
    g = DIAGONAL
    gg, gHg = float(g @ g), float(g @ (DIAGONAL * g))
    found = gradient_step(J, step=0.1, generator=generator())
    rel = 1e-6 if dtype is torch.float32 else 1e-13
    assert found.value == 2.5
    assert found.squared_norm == pytest.approx(gg, rel=rel)
    assert found.curvature.value == pytest.approx(gHg, rel=rel)
    assert abs(found.curvature.value - gHg) <= found.curvature.error
    assert found.optimal_step == pytest.approx(gg / gHg, rel=rel)
    assert abs(found.largest_eigenvalue.value - 4) <= found.largest_eigenvalue.error + 1e-12
    given = found.given
    assert given.first_order == pytest.approx(2.5 - 0.1 * gg, rel=rel)
    assert given.second_order.value == pytest.approx(given.real, rel=1e-5)
    assert given.worst_case.value == pytest.approx((0.1 - 0.005 * 4) * gg, rel=1e-2)
    assert given.improvement >= given.worst_case.value - given.worst_case.error - given.rounding
    assert not given.is_uphill
    assert found.status is Status.CONVERGED


def test_no_step_along_g_is_better_than_the_optimal_one():
    found = gradient_step(quadratic())
    best = found.optimal.real
    assert found.given is None
    for factor in (0.5, 0.9, 1.1, 2.0):
        assert gradient_step(quadratic(), step=factor * found.optimal_step).given.real > best


def test_a_step_that_is_too_long_goes_uphill():
    bowl = quadratic(torch.tensor([4.0], dtype=torch.float64))
    assert not gradient_step(bowl, step=0.499).given.is_uphill
    uphill = gradient_step(bowl, step=0.501).given
    assert uphill.is_uphill
    assert uphill.worst_case.value < 0
    assert uphill.second_order.value == pytest.approx(uphill.real)
    cliff = Objective.from_function(lambda t: (-(t**2)).sum() + 1e300 * torch.relu(t[0] - 2) ** 9, torch.ones(1))
    assert gradient_step(cliff, step=1e30).given.is_uphill  # infinite


def test_without_positive_curvature_every_length_improves():
    for diagonal in ([-1.0, -2.0], [1.0, -1.0], [0.0, 0.0]):
        found = gradient_step(quadratic(torch.tensor(diagonal, dtype=torch.float64)), step=0.1)
        assert not found.has_positive_curvature
        assert found.optimal_step == math.inf
        assert found.optimal is None
        assert found.given.second_order.value <= found.given.first_order
    slope = Objective.from_function(lambda t: t.sum(), torch.ones(2))
    assert gradient_step(slope, step=1.0).given.real == 0.0


def test_at_a_critical_point_there_is_nothing_to_gain():
    found = gradient_step(quadratic(), torch.zeros(3), 1.0)
    assert (found.squared_norm, found.optimal_step, found.given.improvement) == (0.0, math.inf, 0.0)
    assert not found.given.is_uphill


@pytest.mark.parametrize("name", ["mlp", "three batches", "causal attention, tied"])
def test_a_network_against_the_dense_hessian(name, generator):
    """The error of the second order is of the third: it falls eightfold when the step is halved."""
    problem, truth = BY_NAME[name](torch.float64), oracle_of(BY_NAME[name])
    objective = Objective(problem.model, problem.loss, problem.data)
    g, H = truth.gradient(truth.point), truth.hessian(truth.point)
    found = gradient_step(objective, generator=generator())
    assert found.curvature.value == pytest.approx(float(g @ H @ g), rel=1e-9)
    top = float(torch.linalg.eigvalsh(H)[-1])
    assert abs(found.largest_eigenvalue.value - top) <= found.largest_eigenvalue.error
    errors = []
    for step in (0.02, 0.01):
        given = gradient_step(objective, step=step, rtol=1, max_products=3, generator=generator()).given
        assert given.real == pytest.approx(truth.number(truth.point - step * g), rel=1e-12)
        errors.append(abs(given.second_order.value - given.real))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(3, abs=0.3)


def test_what_is_not_finite_is_told():
    broken = Objective.from_function(lambda t: t.sum() * math.nan, torch.ones(2))
    found = gradient_step(broken, step=1.0)
    assert found.status is Status.NONFINITE
    assert not found.has_positive_curvature
    assert math.isnan(found.largest_eigenvalue.value)


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (
            lambda op: directional_curvature(op, torch.ones(2)),
            ShapeError,
            r"direction must have shape \(3,\), got \(2,",
        ),
        (lambda op: directional_curvature(op, torch.zeros(3)), SettingError, "not zero, got a vector of norm 0"),
        (lambda op: directional_curvature(op, torch.tensor([1, math.nan, 0])), SettingError, "norm nan"),
        (
            lambda op: directional_curvature(
                op, torch.ones(3), Eigenpairs(np.ones(2), np.eye(2), np.zeros(2), Status.CONVERGED, 0)
            ),
            ShapeError,
            r"eigenvectors must have shape \(3, 2\), got \(2, 2\). Pass the eigenpairs of this operator",
        ),
        (lambda op: directional_curvature(op @ ONES, torch.ones(3)), SettingError, "the operator must be symmetric"),
        (lambda op: directional_curvature(op, torch.ones(3), dense_limit=-1), SettingError, "dense_limit must be at"),
        (lambda op: gradient_step(quadratic(), rtol=-1), SettingError, "rtol must be finite and not negative, got -1"),
        (lambda op: gradient_step(quadratic(), rtol=math.nan), SettingError, "rtol must be finite and .* got nan"),
        (lambda op: gradient_step(quadratic(), step=0.0), SettingError, "step must be positive and finite, got 0.0"),
        (lambda op: gradient_step(quadratic(), step=math.inf), SettingError, "got inf"),
        (lambda op: gradient_step(quadratic(), torch.ones(2)), ShapeError, "at must have shape"),
        (lambda op: gradient_step(quadratic(), max_products=0), SettingError, "max_products must be at least 1"),
    ],
)
def test_mistakes_are_told(ask, error, message):
    with pytest.raises(error, match=message):
        ask(dense(torch.diag(DIAGONAL)))
