"""Are the numbers of critical points those of the paper's table, and at finite size those that Kac and Rice count?"""

import numpy as np
import pytest
from scipy.integrate import quad

from theodolite.errors import SettingError
from theodolite.theory.complexity import (
    layer_energy,
    log_complexity,
    mean_critical_points,
    negative_fraction,
    possible_indices,
    rate_function,
    threshold_energy,
)
from theodolite.theory.random_matrices import semicircle_cdf
from theodolite.theory.spin_glass import descend_spin_glass, draw_spin_glass, newton_spin_glass, sphere_points

TABLE = {
    3: (1.632993, (1.656998, 1.652873, 1.650253, 1.648399, 1.646999, 1.645893)),
    4: (1.732051, (1.794085, 1.783300, 1.776478, 1.771662, 1.768032, 1.765171)),
}


@pytest.mark.parametrize("order", [3, 4])
def test_table_of_energies(order):
    """G, C1: to 1e-6."""
    edge, layers = TABLE[order]
    assert threshold_energy(order) == pytest.approx(edge, abs=1e-6)
    for index, energy in enumerate(layers):
        assert layer_energy(index, order) == pytest.approx(energy, abs=1e-6)
        assert log_complexity(-layer_energy(index, order), order, index=index) == pytest.approx(0, abs=1e-12)
    assert edge < layer_energy(1000, order) < layers[-1]


@pytest.mark.parametrize("order", [3, 4, 10])
def test_complexity_is_continuous_and_rises(order):
    edge = threshold_energy(order)
    for index in (None, 0, 1, 7):
        near = log_complexity([-edge - 1e-12, -edge, -edge + 1e-12], order, index=index)
        np.testing.assert_allclose(near, near[1], atol=1e-7)
        u = np.linspace(-edge - 0.5, 0.5, 400)
        assert (np.diff(log_complexity(u, order, index=index)) >= -1e-15).all()
    constant = 0.5 * np.log(order - 1) - (order - 2) / order
    assert log_complexity(0.0, order, index=3) == pytest.approx(constant)
    printed = 0.5 * np.log(order - 1) - (order - 2) / (4 * (order - 1))  # the twin: as printed
    assert printed != pytest.approx(constant, abs=1e-3)


def test_values_of_the_paper():
    assert log_complexity(0.0) == pytest.approx(0.346574, abs=1e-6)
    assert log_complexity(5.0) == log_complexity(0.0)
    assert log_complexity(-threshold_energy()) == pytest.approx(0.013240, abs=1e-6)
    assert log_complexity(-1.65) == log_complexity(-1.65, index=0)
    # Λ = 1000: the band of the paper's figure 1.
    assert [round(1000 * e) for e in (layer_energy(0), threshold_energy())] == [1657, 1633]


@pytest.mark.parametrize("energy", [-1.7, -2.0, -5.0])
def test_rate_against_its_integral(energy):
    """I(u) = (2/E∞²) ∫ √(z² − E∞²) dz from E∞ to −u: the work to pull an eigenvalue out of the semicircle."""
    edge = threshold_energy(3)
    work = 2 / edge**2 * quad(lambda z: np.sqrt(z**2 - edge**2), edge, -energy)[0]
    assert rate_function(energy, 3) == pytest.approx(work, rel=1e-8)


def test_layers_of_the_band():
    energies = [-1.7, -1.6569, -1.6525, -1.6, 0.0]
    assert possible_indices(energies, most=20).tolist() == [0, 1, 2, 20, 20]
    layers = [layer_energy(k) for k in range(20)]
    assert all(np.diff(layers) < 0)


@pytest.mark.parametrize("order", [3, 4])
def test_negative_fraction(order):
    edge = threshold_energy(order)
    np.testing.assert_allclose(negative_fraction([-edge, 0.0, edge], order), [0, 0.5, 1], atol=1e-12)
    x = np.linspace(-1, 1, 21)
    printed = (np.arccos(x) - x * np.sqrt(1 - x**2)) / np.pi
    np.testing.assert_allclose(negative_fraction(-edge * x, order), printed, atol=1e-12)
    # E∞ is where the semicircle of radius 2√(H(H−1)), shifted by Hu, comes to lie above 0.
    assert order * edge == pytest.approx(2 * np.sqrt(order * (order - 1)))
    assert negative_fraction(-0.5, order) == semicircle_cdf(order * -0.5, radius=2 * np.sqrt(order * (order - 1)))


def test_two_spins_have_as_many_critical_points_as_a_random_wave():
    """On a circle L is a Gaussian wave with the covariance cosᴴ: by Rice 2√(3H − 2) zeros of its slope."""
    for order in (2, 3, 4, 5):
        means = mean_critical_points(2, order, draws=20000, generator=np.random.default_rng(order))
        total = sum(mean.value for mean in means)
        error = sum(mean.error for mean in means)
        assert total == pytest.approx(2 * np.sqrt(3 * order - 2), abs=4 * error + 1e-9)
        # As many minima as maxima: on a circle they alternate.
        assert abs(means[0].value - means[1].value) < 4 * error + 1e-9


def counted(glass, source):
    """Numbers of minima, saddles and maxima of a surface of three spins."""
    ends = newton_spin_glass(glass, sphere_points(3, 200, generator=source), steps=100)
    points = np.unique(ends.points[ends.has_converged].round(4), axis=0)
    indices = (np.linalg.eigvalsh(glass.tangent_hessians(points)) < 0).sum(1)
    return np.bincount(indices, minlength=3)


def test_counts_on_the_sphere_against_drawn_surfaces():
    """Three spins, H = 3: all critical points found by Newton's method from many starts, on 40 surfaces."""
    means = mean_critical_points(3, 3, draws=40000, generator=np.random.default_rng(0))
    source = np.random.default_rng(1)
    found = np.array([counted(draw_spin_glass(3, generator=source), source) for _ in range(40)])
    errors = found.std(0, ddof=1) / np.sqrt(40)
    for index in range(3):
        assert abs(found[:, index].mean() - means[index].value) < 4 * errors[index]
    # Euler: minima less saddles plus maxima are 2 on every surface, and so on average.
    np.testing.assert_array_equal(found @ [1, -1, 1], 2)
    euler = means[0].value - means[1].value + means[2].value
    assert euler == pytest.approx(2, abs=4 * sum(mean.error for mean in means))
    half = mean_critical_points(3, 3, energy=0.0, draws=40000, generator=np.random.default_rng(0))
    # L(−w) = −L(w): below 0 lies half of all.
    total = sum(mean.value for mean in means)
    assert sum(mean.value for mean in half) == pytest.approx(total / 2, rel=0.03)


def test_counts_grow_at_the_rate_of_the_complexity():
    """ln E[number below Λu] = ΛΘ(u) + O(ln Λ); at u ≥ 0 with the known factor √Λ, so that two sizes give Θ."""
    logs = []
    for size in (20, 40):
        means = mean_critical_points(size, 3, energy=0.0, draws=200, generator=np.random.default_rng(size))
        logs.append(np.log(sum(mean.value for mean in means)))
    assert (logs[1] - logs[0] - np.log(2) / 2) / 20 == pytest.approx(float(log_complexity(0.0)), rel=0.01)


def test_minima_are_as_many_as_descents_find():
    """Ten spins, 12 surfaces, 100 descents each; few of them have a minimum that no descent falls into."""
    found = []
    for surface in range(12):
        source = np.random.default_rng(surface)
        glass, starts = draw_spin_glass(10, generator=source), sphere_points(10, 100, generator=source)
        ends = descend_spin_glass(glass, starts, rate=0.08, steps=5000, tolerance=1e-5)
        found.append(len(np.unique(ends.energies[ends.has_converged].round(6))))
    (minima, *_) = mean_critical_points(10, 3, draws=5000, generator=np.random.default_rng(1))
    assert minima.value == pytest.approx(np.mean(found), abs=4 * np.std(found, ddof=1) / np.sqrt(12))
    assert np.std(found, ddof=1) / np.sqrt(12) < 0.15 * minima.value


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: threshold_energy(2), "order must be a whole number, 3 or more, got 2"),
        (lambda: rate_function(-1.0), "energy must be finite and in .*, got -1.0"),
        (lambda: log_complexity([np.nan]), "energy must be finite, got nan"),
        (lambda: log_complexity(0.0, index=-1), "index must be a whole number, 0 or more"),
        (lambda: layer_energy(-1), "index must be a whole number"),
        (lambda: possible_indices(0.0, most=0), "most must be a whole number"),
        (lambda: mean_critical_points(3, energy=np.nan), "energy must be a number, got nan"),
        (lambda: mean_critical_points(0), "size must be a whole number"),
        (lambda: mean_critical_points(3, draws=1), "draws must be a whole number, 2 or more"),
    ],
)
def test_mistakes_are_told(ask, message):
    with pytest.raises(SettingError, match=message):
        ask()
