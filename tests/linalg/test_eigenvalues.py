"""Are the ends of a spectrum found, with their sign, their error, and an honest status?"""

import numpy as np
import pytest
import torch

from linalg.fakes import Fake, diagonal, noisy
from linalg.spectra import CROWNS, SPECTRA, tensor
from theodolite.errors import SettingError
from theodolite.linalg import eigenvalues
from theodolite.linalg.curvature import hessian
from theodolite.linalg.eigenvalues import extreme_eigenvalues, largest_eigenvalues, smallest_eigenvalues
from theodolite.linalg.lanczos import Krylov
from theodolite.linalg.matrices import dense
from theodolite.linalg.operators import Operator
from theodolite.objective import Objective
from theodolite.records.obstacles import Status

spectra = pytest.mark.parametrize("spectrum", SPECTRA, ids=lambda spectrum: spectrum.name)
types = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
ENDS = {"largest": largest_eigenvalues, "smallest": smallest_eigenvalues}
ends = pytest.mark.parametrize("end", ENDS)
DIAGONAL = torch.tensor([4.0, -9.0, 1.0, 0.0])


@spectra
@types
@ends
@pytest.mark.parametrize("k", [1, 4])
def test_every_value_is_an_eigenvalue_within_its_residual(spectrum, dtype, end, k, generator):
    A = tensor(spectrum.matrix(), dtype)
    truth = np.linalg.eigvalsh(A.double().numpy())
    found = ENDS[end](dense(A), k, generator=generator(1))
    slack = 1e-13 * np.abs(truth).max()  # of the oracle
    for value, residual in zip(found.values, found.residuals, strict=True):
        assert np.abs(truth - value).min() <= residual + slack
    lowest, highest = truth[0] - found.residuals.max() - slack, truth[-1] + found.residuals.max() + slack
    assert (lowest <= found.values).all()
    assert (found.values <= highest).all()
    claimed = found.values[np.abs(found.values) > found.residuals]
    assert (claimed < 0).sum() <= (truth < 0).sum()  # no sign is claimed that A has not
    assert (claimed > 0).sum() <= (truth > 0).sum()


@pytest.mark.parametrize("name", ["decay", "outliers", "saddle", "cluster"])
@types
def test_the_largest_to_a_thousandth(name, dtype, generator):
    spectrum = next(s for s in SPECTRA if s.name == name)
    A = tensor(spectrum.matrix(n=300), dtype)
    truth = np.linalg.eigvalsh(A.double().numpy())[::-1][:5]
    found = largest_eigenvalues(dense(A), 5, generator=generator(2))
    assert found.status is Status.CONVERGED
    np.testing.assert_allclose(found.values, truth, rtol=1e-3)
    assert found.products <= 45


@spectra
@types
def test_residuals_are_true(spectrum, dtype, generator):
    """‖Av − λv‖ formed by a product is what is stated, to the rounding that is counted in."""
    A = tensor(spectrum.matrix(), dtype)
    found = extreme_eigenvalues(dense(A), 3, 3, generator=generator(3), max_products=40)
    for pairs in (found.largest, found.smallest):
        V = pairs.vectors.astype(np.float64)
        true = np.linalg.norm(A.double().numpy() @ V - V * pairs.values, axis=0)
        assert (true <= 1.01 * pairs.residuals + 1e-300).all()
        np.testing.assert_allclose(np.linalg.norm(V, axis=0), 1, rtol=1e-5)


def test_both_ends_from_one_run(generator):
    A = tensor(SPECTRA[2].matrix())
    truth = np.linalg.eigvalsh(A.numpy())
    found = extreme_eigenvalues(dense(A), 3, 2, generator=generator())
    np.testing.assert_allclose(found.largest.values, truth[::-1][:3], rtol=1e-3)
    np.testing.assert_allclose(found.smallest.values, truth[:2], rtol=1e-3)
    assert found.largest.products == found.smallest.products
    apart = largest_eigenvalues(dense(A), 3, generator=generator())
    assert apart.products <= found.largest.products


def test_an_end_states_its_own_status(generator):
    A = tensor(SPECTRA[1].matrix(n=300))
    found = extreme_eigenvalues(dense(A), 1, 1, max_products=15, generator=generator())
    assert found.largest.status is Status.CONVERGED
    assert found.smallest.status is Status.BUDGET
    assert found.largest.products == 15


@types
@pytest.mark.parametrize("k", [1, 2, 4])
def test_small_and_exhausted(dtype, k, generator):
    op = dense(torch.diag(DIAGONAL.to(dtype)))
    for find, order in ((largest_eigenvalues, [4, 1, 0, -9]), (smallest_eigenvalues, [-9, 0, 1, 4])):
        found = find(op, k, generator=generator())
        np.testing.assert_allclose(found.values, order[:k], atol=1e-5)
        assert found.status is Status.CONVERGED
        assert found.products <= 4
    one = extreme_eigenvalues(dense(torch.tensor([[-2.0]], dtype=dtype)), 1, 1, generator=generator())
    assert one.largest.values == one.smallest.values == [-2]
    assert one.largest.vectors.tolist() == [[1.0]]


def test_without_a_tolerance_it_goes_on_to_rounding(generator):
    A = tensor(SPECTRA[1].matrix(n=100))
    found = largest_eigenvalues(dense(A), rtol=0, generator=generator())
    assert found.status is Status.CONVERGED
    assert found.residuals[0] <= 17 * torch.finfo(torch.float64).eps * found.values[0]


@types
@pytest.mark.parametrize("factor", [0.0, 1.0, -3.0])
def test_multiples_of_the_identity(dtype, factor, generator):
    """The Krylov space breaks down at once; new directions give the copies."""
    found = largest_eigenvalues(dense(factor * torch.eye(6, dtype=dtype)), 3, generator=generator())
    np.testing.assert_allclose(found.values, [factor] * 3, atol=1e-6)
    assert found.status is Status.CONVERGED
    assert (found.residuals <= 1e-5).all()
    np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(3), atol=1e-6)


def test_what_is_not_finite_ends_the_run(generator):
    for size, where in ((1, 0), (5, 2)):
        A = torch.eye(size)
        A[where, where] = torch.nan
        found = extreme_eigenvalues(dense(A), 1, 1, generator=generator())
        assert found.largest.status is found.smallest.status is Status.NONFINITE
        assert len(found.largest.values) == 0
        assert found.largest.vectors.shape == (size, 0)


def test_a_start_is_drawn_afresh_or_repeated(generator):
    op = dense(tensor(SPECTRA[0].matrix()))
    state = torch.get_rng_state()
    first, again = (largest_eigenvalues(op, 2, generator=generator(4)) for _ in range(2))
    assert (first.vectors == again.vectors).all()
    assert (first.values == again.values).all()
    other = largest_eigenvalues(op, 2)
    assert (other.values != first.values).any()
    assert (np.sign(other.vectors[np.abs(other.vectors).argmax(0), [0, 1]]) == 1).all()
    assert torch.equal(torch.get_rng_state(), state)


def test_an_asymmetric_operator_shows_in_the_residuals(generator):
    """Noise in the products, as of central differences, is in the stated error."""
    A = SPECTRA[4].matrix(n=60)
    truth = np.linalg.eigvalsh(A)
    op = noisy(A, 1e-2 / 60**0.5, generator(1))
    found = extreme_eigenvalues(op, 2, 2, max_products=60, generator=generator())
    for pairs in (found.largest, found.smallest):
        distances = [np.abs(truth - value).min() for value in pairs.values]
        assert (distances <= 3 * pairs.residuals).all()
        assert (pairs.residuals > 1e-4).all()


def test_memory_stays_within_the_statement(generator, monkeypatch):
    """Restarts keep the basis at 2k + 31 vectors, and the hard end is still found."""
    sizes = []
    monkeypatch.setattr(
        Krylov, "restart", lambda self, keep, f=Krylov.restart: (sizes.append(self.size), f(self, keep))
    )
    A = tensor(np.diag(np.cos(np.pi * (np.arange(300) + 0.5) / 300)))
    found = smallest_eigenvalues(dense(A), 1, generator=generator(), max_products=300)
    assert found.status is Status.CONVERGED
    assert found.values[0] == pytest.approx(-np.cos(np.pi * 0.5 / 300), rel=1e-3)
    assert sizes
    assert max(sizes) <= 2 + 30


def ghosts(values: np.ndarray, truth: np.ndarray) -> int:
    """Copies of the largest eigenvalue beyond those that exist."""
    close = 1e-3 * truth.max()
    return int((np.abs(values - truth.max()) < close).sum() - (np.abs(truth - truth.max()) < close).sum())


def test_no_ghosts_and_the_twin_without_reorthogonalisation_has_some(monkeypatch):
    A = tensor(SPECTRA[1].matrix(n=200), torch.float32)
    truth = np.linalg.eigvalsh(A.double().numpy())

    def ritz_values() -> np.ndarray:
        krylov = Krylov(dense(A), torch.ones(200), 80)
        while krylov.size < 80:
            krylov.extend()
        return krylov.ritz().values

    assert ghosts(ritz_values(), truth) <= 0
    gram = Krylov(dense(A), torch.ones(200), 80)
    for _ in range(60):
        gram.extend()
    np.testing.assert_allclose(gram.rows @ gram.rows.T, np.eye(60), atol=1e-5)

    def three_terms(self, vector):
        """Lanczos as in textbooks: take out the last two vectors only."""
        total = np.zeros(self.size)
        for index in range(max(0, self.size - 2), self.size):
            total[index] = float(self._rows[index] @ vector)
            vector.sub_(total[index] * self._rows[index])
        return total

    monkeypatch.setattr(Krylov, "_orthogonalize", three_terms)
    monkeypatch.setattr(Krylov, "_place", lambda self, vector, **_: self._rows.__setitem__(self.size, vector))
    assert ghosts(ritz_values(), truth) > 0


def test_the_hessian_of_a_saddle(generator):
    saddle = Objective.from_function(lambda t: t[0] ** 2 - 0.5 * t[1] ** 2 + t[2] ** 4, torch.zeros(3))
    found = extreme_eigenvalues(hessian(saddle), 1, 1, generator=generator())
    assert found.largest.values == pytest.approx([2.0])
    assert found.smallest.values == pytest.approx([-1.0])
    assert found.smallest.method == "double backward"
    np.testing.assert_allclose(np.abs(found.smallest.vectors[:, 0]), [0, 1, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda op: largest_eigenvalues(op, 0), "between 1 and the size 4 of the operator, got 0 largest"),
        (lambda op: largest_eigenvalues(op, 5), "got 5 largest and 0 smallest"),
        (lambda op: extreme_eigenvalues(op, -1, 2), "got -1 largest"),
        (lambda op: smallest_eigenvalues(op, max_products=0), "max_products must be at least 1, got 0. Raise it"),
        (lambda op: largest_eigenvalues(op, rtol=-1e-3), "rtol must be finite and not negative, got -0.001. Give"),
        (lambda op: extreme_eigenvalues(op, rtol=float("nan")), "rtol must be finite and not negative, got nan"),
        (lambda op: smallest_eigenvalues(op, rtol=float("inf")), "rtol must be finite and not negative, got inf"),
    ],
)
def test_mistakes_are_told(ask, message):
    with pytest.raises(SettingError, match=message):
        ask(dense(torch.diag(DIAGONAL)))


def share_of_wrong(values: np.ndarray, k: int, runs: int, generator) -> float:
    """How often a run says CONVERGED while a value is off by more than the tolerance."""
    op, truth = diagonal(values), np.sort(values)[::-1][:k]
    found = [largest_eigenvalues(op, k, generator=generator(seed)) for seed in range(runs)]
    assert all(pairs.status is Status.CONVERGED for pairs in found)
    return np.mean([(np.abs(pairs.values / truth - 1) > 1e-3).any() for pairs in found])


@pytest.mark.parametrize("name", CROWNS)
def test_converged_means_the_end_itself(name, generator):
    """Values not yet told apart look like one; the residual says so, a gap to the next Ritz value does not.

    Of values one per cent apart, the second may pass for the first where the start holds little of that.
    """
    assert share_of_wrong(CROWNS[name], 1, 20, generator) <= (0.1 if name == "one per cent apart" else 0)


def test_the_twin_that_trusts_the_gap_is_wrong(generator, monkeypatch):
    """The rule min(r, r²/gap) ≤ rtol·|λ|, which saves two products, takes the three values for one."""

    def is_met(self, ritz, noise):
        distances = np.abs(ritz.values[:, None] - ritz.values) + np.diag(np.full(len(ritz.values), np.inf))
        gaps = (distances - ritz.residuals[:, None]).min(axis=0).clip(1e-300)
        return np.minimum(ritz.residuals, ritz.residuals**2 / gaps) <= np.maximum(1e-3 * np.abs(ritz.values), noise)

    monkeypatch.setattr(eigenvalues._Goal, "is_met", is_met)
    assert share_of_wrong(CROWNS["one per cent apart"], 1, 20, generator) > 0.5


def test_five_to_a_thousandth_in_sixteen_products(generator):
    """The spectrum of a small net after a dozen steps: 41, 34, 24, 22, 21, and a decay below."""
    op = diagonal(np.r_[41.2, 33.7, 24.0, 21.8, 20.9, 15 / np.arange(1, 4000)])
    found = [largest_eigenvalues(op, 5, generator=generator(seed)) for seed in range(10)]
    for pairs in found:
        np.testing.assert_allclose(pairs.values, [41.2, 33.7, 24.0, 21.8, 20.9], rtol=1e-3)
        assert pairs.products <= 16


@types
def test_copies_are_found_where_the_space_is_exhausted(dtype, generator):
    op = dense(torch.diag(torch.tensor([3.0, 3.0, 1.0, 3.0, 0.0, 0.0], dtype=dtype)))
    found = largest_eigenvalues(op, 4, generator=generator())
    np.testing.assert_allclose(found.values, [3, 3, 3, 1], atol=1e-5)
    assert found.status is Status.CONVERGED
    low = extreme_eigenvalues(dense(tensor(SPECTRA[7].matrix(), dtype)), 2, 2, generator=generator())
    np.testing.assert_allclose(low.largest.values, [3, 2], atol=1e-5)
    np.testing.assert_allclose(low.smallest.values, [-1, 0], atol=1e-5)
    assert low.largest.products <= 8


def test_copies_beyond_the_room_of_the_basis(generator):
    """Forty distinct values, each fifty times: the space is exhausted between restarts."""
    op = diagonal(np.repeat(np.linspace(-1, 1, 32), 50))
    found = largest_eigenvalues(op, 1, generator=generator(), max_products=100)
    assert found.values[0] == pytest.approx(1)
    assert found.status is Status.CONVERGED


@pytest.mark.parametrize("j", [1, 2, 7])
def test_a_product_that_fails_late_leaves_what_was_known(j, generator):
    op = Operator(Fake(tensor(SPECTRA[1].matrix(n=80)), spoil=j))
    found = extreme_eigenvalues(op, 2, 1, generator=generator())
    assert found.largest.status is found.smallest.status is Status.NONFINITE
    assert len(found.largest.values) == min(2, j - 1)
    assert found.largest.products == j
    assert np.isfinite(found.largest.vectors).all()


def test_a_budget_of_one_product(generator):
    found = extreme_eigenvalues(dense(tensor(SPECTRA[1].matrix())), 3, 2, max_products=1, generator=generator())
    assert found.largest.status is found.smallest.status is Status.BUDGET
    assert len(found.largest.values) == len(found.smallest.values) == 1
    assert found.largest.residuals[0] > 1


def test_a_grossly_asymmetric_operator_never_converges(generator):
    M = torch.randn(60, 60, dtype=torch.float64, generator=generator(1))
    found = extreme_eigenvalues(Operator(Fake(M)), 1, 1, generator=generator(), max_products=60)
    assert found.largest.status is not Status.CONVERGED
    assert found.smallest.status is not Status.CONVERGED


def planted(rng: np.random.Generator) -> np.ndarray:
    """A spectrum of one of many kinds, its least value anywhere from clearly negative to clearly positive."""
    n = int(rng.integers(2, 300))
    body = [
        rng.exponential(1, n),
        rng.uniform(0, 1, n),
        1 / np.arange(1, n + 1) ** rng.uniform(0.3, 2),
        np.logspace(0, -rng.uniform(1, 12), n),
        np.abs(rng.normal(size=n)) ** 3,
        np.r_[np.zeros(n // 2), rng.exponential(1, n - n // 2)],
    ][rng.integers(6)]
    body[0] = [body[0], -(10 ** rng.uniform(-9, 0)), 10 ** rng.uniform(-9, 0), 0.0][rng.integers(4)]
    return body * 10 ** rng.uniform(-8, 8)


@pytest.mark.slow
@types
def test_no_sign_is_wrong_in_a_thousand_spectra(dtype, generator, record_property):
    """The least eigenvalue is called negative beyond its residual; positive if converged, and beyond ten of them.

    That it is negative is sure: there is such an eigenvalue. That none is, rests on none having been met.
    """
    rng = np.random.default_rng(11)
    wrong = open_ = 0
    for trial in range(1000):
        values = planted(rng)
        Q, _ = np.linalg.qr(rng.normal(size=(len(values), len(values))))
        A = tensor((Q * values) @ Q.T, dtype)
        A = (A + A.T) / 2
        least = np.linalg.eigvalsh(A.double().numpy())[0]
        found = smallest_eigenvalues(dense(A), generator=generator(trial), max_products=60)
        value, error = found.values[0], found.residuals[0]
        is_negative = value < -error
        is_positive = value > 10 * error and found.status is Status.CONVERGED
        open_ += not (is_negative or is_positive)
        wrong += (is_negative and least >= 0) or (is_positive and least <= 0)
    record_property("abstentions", open_)
    assert wrong == 0
    assert open_ < 850  # half of them are zero or nearly so, beside a largest of 1
