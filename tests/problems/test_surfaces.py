"""Are the surfaces those that the theory speaks of: its values, gradients and curvatures, in both types?"""

import numpy as np
import pytest
import torch

from theodolite.errors import ObjectiveError, ShapeError
from theodolite.problems.surfaces import (
    deep_linear_surface,
    product_surface,
    quadratic_surface,
    spin_glass_surface,
)
from theodolite.theory.deep_linear import mode_strength, optimal_rate
from theodolite.theory.linear_saddles import saddle_families, saddle_loss, saddle_spectrum, saddle_weights
from theodolite.theory.linear_starts import decoupled_weights, orthogonal_matrix
from theodolite.theory.products import product_gradient, product_hessian, product_value
from theodolite.theory.quadratic import quadratic_descent
from theodolite.theory.spin_glass import draw_spin_glass, newton_spin_glass, sphere_points, tangent_basis


def hessian(objective):
    """All of it, from products of the objective."""
    return torch.stack([objective.hvp(axis) for axis in torch.eye(objective.dimension, dtype=objective.dtype)])


def double(values):
    return torch.tensor(values, dtype=torch.float64)


def descended(objective, rate, steps):
    theta = objective.point()
    for _ in range(steps):
        theta = theta - rate * objective.gradient(theta)
    return theta


def test_quadratic():
    rng = np.random.default_rng(0)
    H, g = rng.normal(size=(5, 5)), rng.normal(size=5)
    H = H + H.T
    start = rng.normal(size=5)
    surface = quadratic_surface(H, double(start), gradient=g)
    assert surface.value() == pytest.approx(g @ start + 0.5 * start @ H @ start)
    np.testing.assert_allclose(surface.gradient(), g + H @ start)
    np.testing.assert_allclose(hessian(surface), H, atol=1e-14)
    values, vectors = np.linalg.eigh(H)
    moved = quadratic_descent(values, vectors, g + H @ start, step=0.03, steps=[40])[0]
    np.testing.assert_allclose(descended(surface, 0.03, 40), start + moved, rtol=1e-10)
    assert quadratic_surface([[2.0]], torch.tensor([3.0])).value() == 9.0


@pytest.mark.parametrize("weights", [[0.5], [1.5, -0.5], [0.9, 1.1, 0.0, 2.0], [0.0] * 3], ids=str)
def test_product(weights):
    surface = product_surface(double(weights), x=-1.5, target=0.4)
    assert surface.value() == pytest.approx(product_value(weights, x=-1.5, target=0.4))
    np.testing.assert_allclose(surface.gradient(), product_gradient(weights, x=-1.5, target=0.4), atol=1e-14)
    if len(weights) > 1:
        np.testing.assert_allclose(hessian(surface), product_hessian(weights, x=-1.5, target=0.4), atol=1e-14)


def test_deep_linear_is_the_sum_of_squares_of_its_data():
    rng = np.random.default_rng(1)
    X, Y = rng.normal(size=(4, 30)), rng.normal(size=(3, 30))
    weights = [rng.normal(size=shape) for shape in ((5, 4), (2, 5), (3, 2))]
    surface = deep_linear_surface([double(w) for w in weights], Y @ X.T, covariance=X @ X.T)
    best = Y @ np.linalg.pinv(X)
    W = weights[2] @ weights[1] @ weights[0]
    expected = 0.5 * np.sum((Y - W @ X) ** 2) - 0.5 * np.sum((Y - best @ X) ** 2)
    assert surface.value() == pytest.approx(expected)
    assert surface.dimension == 20 + 10 + 6
    slope = surface.gradient().numpy()
    np.testing.assert_allclose(slope[-6:].reshape(3, 2), (W @ X - Y) @ (weights[1] @ weights[0] @ X).T, rtol=1e-10)
    np.testing.assert_allclose(slope[:20].reshape(5, 4), (weights[2] @ weights[1]).T @ (W @ X - Y) @ X.T, rtol=1e-10)


def test_deep_linear_with_fewer_examples_than_inputs():
    rng = np.random.default_rng(2)
    X, Y = rng.normal(size=(6, 3)), rng.normal(size=(2, 3))
    surface = deep_linear_surface([double(Y @ np.linalg.pinv(X))], Y @ X.T, covariance=X @ X.T)
    assert surface.value() == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(surface.gradient(), 0, atol=1e-10)


@pytest.mark.parametrize("learnt", saddle_families(3, 2), ids=str)
def test_saddles_of_the_deep_linear_net(learnt):
    """Loss, gradient and spectrum from the theory, against Hessian products of the objective."""
    s = [3.0, 2.0, 1.0]
    weights = [double(w) for w in saddle_weights(s, 2, learnt)]
    surface = deep_linear_surface(weights, np.diag(s))
    assert surface.value() == pytest.approx(saddle_loss(s, learnt), abs=1e-12)
    np.testing.assert_allclose(surface.gradient(), 0, atol=1e-13)
    np.testing.assert_allclose(torch.linalg.eigvalsh(hessian(surface)), saddle_spectrum(s, 2, learnt), atol=1e-12)


def test_descent_on_the_deep_linear_net_learns_mode_by_mode():
    rng = np.random.default_rng(3)
    U, V = orthogonal_matrix(4, generator=rng), orthogonal_matrix(4, generator=rng)
    s = np.array([3.0, 2.0, 1.0, 0.5])
    start = [double(w) for w in decoupled_weights(U, V, matrices=3, strength=0.05, generator=rng)]
    surface = deep_linear_surface(start, (U * s) @ V.T)
    rate = 0.02 * optimal_rate(3.0, matrices=3)
    theta = descended(surface, rate, 750)
    W1, W2, W3 = theta.view(3, 4, 4).numpy()
    found = np.diag(U.T @ W3 @ W2 @ W1 @ V)
    expected = [float(mode_strength(750 * rate, 0.05, mode, matrices=3)) for mode in s]
    np.testing.assert_allclose(found, expected, rtol=0.01)


@pytest.mark.parametrize("order", [2, 3, 4])
def test_spin_glass(order):
    """Value, tangent gradient everywhere; the tangent Hessian at critical points, and 0 along the radius."""
    glass = draw_spin_glass(6, order, generator=np.random.default_rng(4))
    points = sphere_points(6, 20, generator=np.random.default_rng(5))
    surface = spin_glass_surface(glass, double(points[0]))
    assert surface.value() == pytest.approx(glass.energies(points[:1])[0])
    assert surface.value(double(7 * points[0])) == pytest.approx(surface.value())
    np.testing.assert_allclose(surface.gradient(), glass.tangent_gradients(points[:1])[0], atol=1e-12)
    found = newton_spin_glass(glass, points)
    critical = found.points[found.has_converged][:1]
    there = spin_glass_surface(glass, double(critical[0]))
    H, basis = hessian(there).numpy(), tangent_basis(critical)[0]
    np.testing.assert_allclose(basis.T @ H @ basis, glass.tangent_hessians(critical)[0], atol=1e-8)
    np.testing.assert_allclose(H @ critical[0], 0, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_surfaces_keep_the_type_of_their_start(dtype):
    start = torch.ones(4, dtype=dtype)
    glass = draw_spin_glass(4, generator=np.random.default_rng(6))
    surfaces = [
        quadratic_surface(np.eye(4), start),
        product_surface(start),
        deep_linear_surface([start.view(2, 2)], np.eye(2)),
        spin_glass_surface(glass, start),
    ]
    for surface in surfaces:
        assert surface.gradient().dtype == dtype
        assert surface.hvp(start).dtype == dtype
        assert surface.dimension == 4


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda: quadratic_surface([[1.0, 2.0], [0.0, 1.0]], torch.ones(2)), ShapeError, "hessian must be symmetric"),
        (lambda: quadratic_surface([[1.0]], torch.ones(2)), ShapeError, r"of shape \(2, 2\)"),
        (lambda: quadratic_surface([[1.0]], torch.ones(1), gradient=[1.0, 2.0]), ShapeError, "got .* and"),
        (lambda: product_surface(torch.ones(1, 1)), ObjectiveError, "start must be a floating-point tensor"),
        (lambda: deep_linear_surface([], [[1.0]]), ShapeError, "weights must hold at least one matrix"),
        (lambda: deep_linear_surface([torch.ones(2, 3)], [[1.0]]), ShapeError, "weights and cross must form a chain"),
        (
            lambda: deep_linear_surface([torch.ones(1, 1)], [[1.0]], covariance=[[1.0, 0.0]]),
            ShapeError,
            r"covariance must have shape \(1, 1\), got \(1, 2\)",
        ),
        (
            lambda: spin_glass_surface(draw_spin_glass(3), torch.ones(2)),
            ShapeError,
            r"start must have shape \(3,\), one entry a spin, got \(2,\)",
        ),
    ],
)
def test_mistakes_are_told(ask, error, message):
    with pytest.raises(error, match=message):
        ask()
