"""Are value, gradient and Hessian those of the sum over couplings, and do descents end where the theory says?"""

import itertools

import numpy as np
import pytest
import torch
from torch.func import grad, jacrev

from theodolite.errors import SettingError, ShapeError
from theodolite.theory.complexity import layer_energy, negative_fraction, threshold_energy
from theodolite.theory.spin_glass import (
    SpinGlass,
    descend_spin_glass,
    draw_spin_glass,
    newton_spin_glass,
    sphere_points,
    symmetrized,
    tangent_basis,
)


def rng(seed=0):
    return np.random.default_rng(seed)


def plain(couplings, w):
    """The Hamiltonian as it is written: a sum over all index tuples."""
    n, H = len(couplings), couplings.ndim
    terms = (couplings[i] * np.prod(w[list(i)]) for i in itertools.product(range(n), repeat=H))
    return sum(terms) / n ** ((H - 1) / 2)


@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_energy_is_the_sum_over_couplings(order, size):
    couplings = rng(order).normal(size=(size,) * order)
    points = sphere_points(size, 3, generator=rng(1))
    glass = symmetrized(couplings)
    assert (glass.size, glass.order) == (size, order)
    np.testing.assert_allclose(glass.energies(points), [plain(couplings, w) for w in points], rtol=1e-12, atol=1e-12)
    for axes in itertools.permutations(range(order)):
        np.testing.assert_allclose(glass.tensor.transpose(axes), glass.tensor, atol=1e-15)


@pytest.mark.parametrize("order", [2, 3, 4])
def test_derivatives_against_autograd(order):
    """G, C2: to 1e-10; on the sphere by the surface that does not depend on the length of w."""
    glass, size = draw_spin_glass(6, order, generator=rng(2)), 6
    points = sphere_points(size, 4, generator=rng(3))
    tensor = torch.tensor(glass.tensor)

    def energy(w):
        value = tensor
        for _ in range(order):
            value = value @ w
        return value

    def on_sphere(w):
        return energy(w * (np.sqrt(size) / torch.linalg.vector_norm(w)))

    bases = tangent_basis(points)
    np.testing.assert_allclose(np.einsum("bi,bi->b", points, glass.gradients(points)), order * glass.energies(points))
    for k, w in enumerate(torch.tensor(points)):
        np.testing.assert_allclose(glass.gradients(points)[k], grad(energy)(w), atol=1e-10)
        np.testing.assert_allclose(glass.hessians(points)[k], jacrev(grad(energy))(w), atol=1e-10)
        np.testing.assert_allclose(glass.tangent_gradients(points)[k], grad(on_sphere)(w), atol=1e-10)
        tangent = bases[k].T @ jacrev(grad(on_sphere))(w).numpy() @ bases[k]
        np.testing.assert_allclose(glass.tangent_hessians(points)[k], tangent, atol=1e-10)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_tangent_bases(size):
    points = np.vstack([sphere_points(size, 5, generator=rng(4)), np.eye(size)[0], -np.eye(size)[0]])
    bases = tangent_basis(points)
    assert bases.shape == (7, size, size - 1)
    for basis, point in zip(bases, points, strict=True):
        np.testing.assert_allclose(basis.T @ basis, np.eye(size - 1), atol=1e-14)
        np.testing.assert_allclose(basis.T @ point, 0, atol=1e-13)


def test_energies_scatter_as_the_size():
    """G, C2: Var L = Λ to 5 %, over 5000 surfaces at one point."""
    point = sphere_points(4, 1, generator=rng(5))
    source = rng(6)
    energies = np.array([draw_spin_glass(4, generator=source).energies(point)[0] for _ in range(5000)])
    assert energies.mean() == pytest.approx(0, abs=4 * np.sqrt(4 / 5000))
    assert energies.var() == pytest.approx(4, rel=0.05)


def test_a_glass_of_order_two_is_a_matrix():
    """Its critical points are eigenvectors, and descent ends in the lowest: E₀ per spin is the least eigenvalue."""
    glass = draw_spin_glass(12, 2, generator=rng(7))
    levels, vectors = np.linalg.eigh(glass.tensor)
    points = np.sqrt(12) * vectors.T
    assert np.abs(glass.tangent_gradients(points)).max() < 1e-12
    np.testing.assert_allclose(glass.energies(points) / 12, levels, atol=1e-13)
    indices = (np.linalg.eigvalsh(glass.tangent_hessians(points)) < 0).sum(1)
    np.testing.assert_array_equal(indices, np.arange(12))
    ends = descend_spin_glass(glass, sphere_points(12, 5, generator=rng(8)), rate=0.1, steps=20000, tolerance=1e-9)
    np.testing.assert_allclose(ends.energies, levels[0], atol=1e-9)


def test_descents_go_down_stay_on_the_sphere_and_tell_how_it_went():
    glass = draw_spin_glass(25, generator=rng(9))
    starts = sphere_points(25, 40, generator=rng(10))
    ends = descend_spin_glass(glass, starts)
    np.testing.assert_allclose(np.sum(ends.points**2, axis=1), 25)
    assert (ends.energies < glass.energies(starts) / 25).all()
    assert ends.has_converged.all()
    assert (ends.gradient_norms < 1e-2).all()
    assert ends.steps.min() > 10
    again = descend_spin_glass(glass, ends.points)
    np.testing.assert_array_equal(again.steps, 0)
    short = descend_spin_glass(glass, starts, steps=3)
    assert not short.has_converged.any()
    assert (short.steps == 3).all()
    one = descend_spin_glass(glass, 100 * starts[:1])  # a start off the sphere is brought to it
    np.testing.assert_allclose(one.points[0], ends.points[0], atol=1e-8)
    single = descend_spin_glass(draw_spin_glass(25, generator=rng(9), dtype=np.float32), starts)
    assert single.points.dtype == np.float32
    assert np.corrcoef(single.energies, ends.energies)[0, 1] > 0.9


def test_low_minima_have_no_negative_curvature():
    """G, C4: Λ = 50, 99 % with the tolerance 1e-3."""
    glass = draw_spin_glass(50, generator=rng(11))
    ends = descend_spin_glass(glass, sphere_points(50, 60, generator=rng(12)))
    levels = np.linalg.eigvalsh(glass.tangent_hessians(ends.points[ends.has_converged]))
    assert np.mean(levels[:, 0] > -1e-3) >= 0.99


def test_index_follows_energy():
    """G, B3: Λ = 60, Newton's method from descents stopped early, 0.02 root mean square from the formula."""
    glass, source = draw_spin_glass(60, generator=rng(0)), rng(1)
    partly = [
        descend_spin_glass(glass, sphere_points(60, 25, generator=source), steps=k).points
        for k in (0, 5, 10, 20, 40, 80)
    ]
    found = newton_spin_glass(glass, np.concatenate(partly))
    assert found.has_converged.sum() > 50
    assert (found.gradient_norms[found.has_converged] < 1e-8).all()
    levels = np.linalg.eigvalsh(glass.tangent_hessians(found.points[found.has_converged]))
    share, energies = (levels < 0).mean(1), found.energies[found.has_converged]
    assert np.sqrt(np.mean((share - negative_fraction(energies)) ** 2)) < 0.02
    assert np.corrcoef(energies, share)[0, 1] > 0.95
    coin = np.full_like(share, 0.5)  # the twin: a fair coin
    assert np.sqrt(np.mean((share - coin) ** 2)) > 0.05


@pytest.mark.parametrize(
    ("sizes", "surfaces", "starts"),
    [((25, 50), 5, 10), pytest.param((25, 50, 100), 6, 40, marks=pytest.mark.slow)],
)
def test_energies_of_descents_concentrate_towards_the_threshold(sizes, surfaces, starts):
    """G, C3: means near −1.50, −1.51, −1.55; the scatter falls with Λ; none is far below the ground state."""
    known = {25: -1.5005, 50: -1.5094, 100: -1.5465}  # of one surface each
    means, spreads = [], []
    for size in sizes:
        energies = []
        for k in range(surfaces):
            source = rng(100 * size + k)
            glass = draw_spin_glass(size, generator=source)
            ends = descend_spin_glass(glass, sphere_points(size, starts, generator=source))
            energies.append(ends.energies)
        means.append(np.mean(energies))
        spreads.append(np.mean(np.std(energies, axis=1)))
        between = np.std(np.mean(energies, axis=1), ddof=1) * np.sqrt(1 + 1 / surfaces)
        assert abs(means[-1] - known[size]) < min(3 * between, 0.05)
        assert -layer_energy(0) - 3 / size**0.67 < np.min(energies)  # ground states scatter about −E₀
        assert np.max(energies) < -1.0
    assert (np.diff(means) < 0).all()
    assert (np.diff(spreads) < 0).all()
    assert means[-1] > -threshold_energy()


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda: draw_spin_glass(0), SettingError, "size must be a whole number, 1 or more"),
        (lambda: draw_spin_glass(3, 1), SettingError, "order must be a whole number, 2 or more"),
        (lambda: SpinGlass(np.ones((2, 3))), ShapeError, r"tensor must have H ≥ 2 equal sides, got shape \(2, 3\)"),
        (lambda: symmetrized(np.ones(2)), ShapeError, "couplings must have H ≥ 2 equal sides"),
        (lambda: sphere_points(1, 0), SettingError, "count must be a whole number"),
        (lambda: descend_spin_glass(symmetrized(np.eye(2)), [[1.0, 2.0, 3.0]]), ShapeError, r"shape \(points, 2\)"),
        (lambda: descend_spin_glass(symmetrized(np.eye(2)), [1.0, 2.0]), ShapeError, "One start a row"),
        (lambda: descend_spin_glass(symmetrized(np.eye(2)), [[0.0, 0.0]]), SettingError, "starts must not be 0"),
        (lambda: descend_spin_glass(symmetrized(np.eye(2)), [[np.nan, 0.0]]), SettingError, "starts must be finite"),
        (lambda: descend_spin_glass(symmetrized(np.eye(2)), [[1.0, 0.0]], rate=0.0), SettingError, "rate must be"),
        (lambda: newton_spin_glass(symmetrized(np.eye(2)), [[1.0, 0.0]], longest=0.0), SettingError, "longest must"),
    ],
)
def test_mistakes_are_told(ask, error, message):
    with pytest.raises(error, match=message):
        ask()
