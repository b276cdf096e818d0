"""Steps against NumPy's dense algebra, and laws that hold for every symmetric matrix."""

import numpy as np
import pytest
import torch

from theodolite.errors import SettingError, ShapeError
from theodolite.linalg import dense, krylov_space, saddle_free_step
from theodolite.optim import (
    ball_noise,
    bounded_newton_step,
    damped_newton_step,
    natural_step,
    seen_from,
    way_down,
    whole_space,
    widened_space,
)
from theodolite.records.obstacles import Status

SIZE = 12
SEEDS = range(3)


def problem(seed, values=None):
    """A symmetric matrix of given eigenvalues in random axes, and a gradient."""
    draw = np.random.default_rng(seed)
    Q, _ = np.linalg.qr(draw.normal(size=(SIZE, SIZE)))
    spectrum = draw.normal(size=SIZE) if values is None else np.asarray(values, float)
    return torch.tensor(Q * spectrum @ Q.T), torch.tensor(draw.normal(size=SIZE))


def absolute(A):
    values, V = np.linalg.eigh(A.numpy())
    return V * np.abs(values) @ V.T


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("damping", [0.0, 1e-2, 1.0])
def test_exact_saddle_free_step(seed, damping):
    A, g = problem(seed)
    expected = -np.linalg.solve(absolute(A) + damping * np.eye(SIZE), g.numpy())
    assert np.allclose(saddle_free_step(whole_space(dense(A), g), damping), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("damping", [0.0, 1e-2, 1.0])
def test_krylov_space_of_full_size_gives_the_exact_step(seed, damping):
    A, g = problem(seed)
    exact = saddle_free_step(whole_space(dense(A), g), damping)
    assert torch.allclose(saddle_free_step(krylov_space(dense(A), g, SIZE), damping), exact, rtol=0, atol=1e-8)


@pytest.mark.parametrize("seed", SEEDS)
def test_saddle_free_is_newton_where_curvature_is_positive(seed):
    A, g = problem(seed, np.linspace(0.5, 3.0, SIZE))
    space = whole_space(dense(A), g)
    newton = -np.linalg.solve(A.numpy(), g.numpy())
    assert np.allclose(damped_newton_step(space), newton, rtol=0, atol=1e-8)
    assert np.allclose(saddle_free_step(space), newton, rtol=0, atol=1e-8)


def test_saddle_free_is_not_newton_where_curvature_is_negative():
    """The biased twin of the test above: with one eigenvalue below zero the two must part."""
    A, g = problem(0, [-0.5, *np.linspace(0.5, 3.0, SIZE - 1)])
    space = whole_space(dense(A), g)
    assert (damped_newton_step(space) - saddle_free_step(space)).norm() > 0.1


@pytest.mark.parametrize("seed", SEEDS)
def test_the_lemma(seed):
    """|xᵀAx| ≤ xᵀ|A|x, with equality along each axis of A."""
    A, x = problem(seed)
    form, bound = float(x @ A @ x), float(x.numpy() @ absolute(A) @ x.numpy())
    assert abs(form) <= bound * (1 + 1e-12)
    _, V = np.linalg.eigh(A.numpy())
    for v in V.T:
        assert abs(abs(v @ A.numpy() @ v) - v @ absolute(A) @ v) < 1e-12


@pytest.mark.parametrize("seed", SEEDS)
def test_damped_newton_step(seed):
    A, g = problem(seed)
    expected = -np.linalg.solve(A.numpy() + 0.3 * np.eye(SIZE), g.numpy())
    assert np.allclose(damped_newton_step(whole_space(dense(A), g), 0.3), expected, rtol=0, atol=1e-8)


def test_an_axis_without_curvature_is_left_out():
    space = whole_space(dense(torch.diag(torch.tensor([2.0, 0.0]))), torch.tensor([4.0, 1.0]))
    assert damped_newton_step(space).tolist() == [-2.0, 0.0]


def test_steps_are_told_to_be_nan_where_curvature_is():
    space = whole_space(dense(torch.full((2, 2), torch.nan)), torch.ones(2))
    assert space.status is Status.NONFINITE
    assert damped_newton_step(space).isnan().all()
    assert way_down(space) is None
    with pytest.raises(SettingError, match="damping must be finite"):
        damped_newton_step(space, -1.0)


def test_the_way_down_is_downhill():
    A = dense(torch.diag(torch.tensor([1.0, -2.0, -1.0])))
    for slope in (3.0, -3.0):
        way = way_down(whole_space(A, torch.tensor([1.0, slope, 1.0])))
        assert way.abs().tolist() == [0.0, 1.0, 0.0]
        assert float(way[1]) * slope < 0
    assert way_down(whole_space(dense(torch.eye(2)), torch.ones(2))) is None
    assert way_down(whole_space(dense(torch.zeros(2, 2)), torch.ones(2))) is None


@pytest.mark.parametrize("seed", SEEDS)
def test_a_widened_space_is_rayleigh_ritz_on_the_span(seed):
    A, g = problem(seed)
    u = problem(seed + 100)[1]
    wide = widened_space(krylov_space(dense(A), g, 4), dense(A), u)
    basis, _ = np.linalg.qr(np.stack([*(np.linalg.matrix_power(A.numpy(), k) @ g.numpy() for k in range(4)), u], 1))
    projected = basis.T @ A.numpy() @ basis
    values, W = np.linalg.eigh(projected)
    assert np.allclose(wide.values, values, atol=1e-8)
    absolute_step = -basis @ (W / np.abs(values)) @ W.T @ basis.T @ g.numpy()
    assert np.allclose(saddle_free_step(wide), absolute_step, atol=1e-7)
    true = np.linalg.norm(A.numpy() @ wide.vectors.numpy() - wide.vectors.numpy() * wide.values, axis=0)
    assert (true <= wide.residuals * (1 + 1e-8) + 1e-10).all()
    assert wide.products == 5


def test_what_does_not_widen_a_space():
    A, g = problem(0)
    space = krylov_space(dense(A), g, 4)
    for direction in (torch.zeros(SIZE), g, torch.full((SIZE,), torch.inf)):
        assert widened_space(space, dense(A), direction.to(g)) is space
    whole = whole_space(dense(A), g)
    assert widened_space(whole, dense(A), g) is whole


def test_a_space_is_seen_from_another_gradient():
    A, g = problem(1)
    h = problem(2)[1]
    seen = seen_from(whole_space(dense(A), g), h)
    assert torch.allclose(saddle_free_step(seen), saddle_free_step(whole_space(dense(A), h)), atol=1e-10)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("radius", [0.1, 1.0, 1e3])
def test_bounded_step(seed, radius):
    """Inside the ball Newton's; on the sphere as long as it may be; never worse than the Cauchy point."""
    A, g = problem(seed, np.linspace(0.5, 3.0, SIZE))
    step = bounded_newton_step(dense(A), g, radius, rtol=1e-12)
    newton = -np.linalg.solve(A.numpy(), g.numpy())
    if np.linalg.norm(newton) < radius:
        assert np.allclose(step.vector, newton, atol=1e-8)
        assert not step.is_bound
    else:
        assert step.is_bound
        assert abs(float(step.vector.norm()) - radius) < 1e-10 * radius
    assert step.status is Status.CONVERGED
    assert abs(step.gain - gain(A, g, step.vector)) < 1e-10 * step.gain
    assert step.gain >= gain(A, g, cauchy(A, g, radius)) * (1 - 1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_bounded_step_goes_to_the_sphere_where_curvature_is_negative(seed):
    A, g = problem(seed, -np.linspace(0.5, 3.0, SIZE))
    step = bounded_newton_step(dense(A), g, 2.0)
    assert step.is_bound
    assert step.products == 1
    assert torch.allclose(step.vector, -2.0 * g / g.norm())


def gain(A, g, s):
    return -float(g @ s + 0.5 * s @ A @ s)


def cauchy(A, g, radius):
    curvature, norm = float(g @ A @ g), float(g.norm())
    length = radius / norm if curvature <= 0 else min(radius / norm, norm**2 / curvature)
    return -length * g


def test_bounded_step_of_nothing():
    A = dense(torch.eye(2))
    still = bounded_newton_step(A, torch.zeros(2), 1.0)
    assert still.vector.tolist() == [0.0, 0.0]
    assert (still.gain, still.products) == (0.0, 0)
    lost = bounded_newton_step(dense(torch.full((2, 2), torch.nan)), torch.ones(2), 1.0)
    assert lost.status is Status.NONFINITE
    short = bounded_newton_step(dense(torch.diag(torch.arange(1.0, 9.0))), torch.ones(8), 1e3, max_products=2)
    assert short.status is Status.BUDGET
    for radius in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(SettingError, match="radius must be positive and finite"):
            bounded_newton_step(A, torch.ones(2), radius)
    with pytest.raises(ShapeError, match="gradient must have shape"):
        bounded_newton_step(A, torch.ones(3), 1.0)


@pytest.mark.parametrize("seed", SEEDS)
def test_natural_step(seed):
    A, g = problem(seed, np.linspace(0.0, 3.0, SIZE))
    expected = -np.linalg.solve(A.numpy() + 0.1 * np.eye(SIZE), g.numpy())
    assert np.allclose(natural_step(dense(A), g, 0.1, rtol=1e-10), expected, atol=1e-7)


def test_natural_step_that_is_lost():
    assert natural_step(dense(torch.full((2, 2), torch.nan)), torch.ones(2), 0.1).isnan().all()
    with pytest.raises(SettingError, match="b must be finite"):
        natural_step(dense(torch.eye(2)), torch.tensor([1.0, torch.nan]), 0.1)


def test_noise_is_uniform_in_the_ball():
    """‖x‖ⁿ/rⁿ is uniform on [0, 1], and the mean is zero: z-bounds of 4 from the known variances."""
    draws = torch.stack([ball_noise(3, 2.0, seed) for seed in range(2000)])
    shares = (draws.norm(dim=1) / 2.0) ** 3
    assert float(shares.max()) <= 1
    assert is_uniform(shares)
    variance = 2.0**2 / 5  # r²/(n + 2) for each coordinate
    assert bool((draws.mean(0).abs() < 4 * (variance / 2000) ** 0.5).all())


def test_noise_of_the_sphere_would_be_noticed():
    """The biased twin: a radius drawn uniformly crowds the centre."""
    radii = torch.rand(2000, generator=torch.Generator().manual_seed(0))
    assert not is_uniform(radii**3)


def is_uniform(shares):
    return abs(float(shares.mean()) - 0.5) < 4 * (1 / 12 / len(shares)) ** 0.5


def test_noise_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    assert torch.equal(ball_noise(5, 1.0, 7), ball_noise(5, 1.0, 7))
    assert not torch.equal(ball_noise(5, 1.0, 7), ball_noise(5, 1.0, 8))
    assert torch.equal(torch.get_rng_state(), before)
