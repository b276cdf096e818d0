"""Are trace, norm and diagonal those of eigh, as often as their errors say?"""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from linalg.fakes import Fake
from linalg.spectra import SPECTRA, Spectrum, tensor
from theodolite.errors import SettingError
from theodolite.linalg import dense
from theodolite.linalg.leave_one_out import _each, sketch
from theodolite.linalg.traces import diagonal, frobenius_norm, trace
from theodolite.records.obstacles import Status
from theodolite.records.spectra import student_factor

MORE = (
    Spectrum("flat", lambda n, rng: np.full(n, 2.0)),
    Spectrum("nearly flat", lambda n, rng: 1 + 0.1 * rng.normal(size=n)),
    Spectrum("low rank and noise", lambda n, rng: np.r_[50 * rng.exponential(size=10), 0.1 * rng.normal(size=n - 10)]),
    Spectrum("trace zero", lambda n, rng: (np.eye(n) - 1 / n) @ rng.normal(size=n)),
    Spectrum("geometric", lambda n, rng: 0.7 ** np.arange(n)),
    Spectrum("inverse squares", lambda n, rng: np.arange(1, n + 1) ** -2.0),
)
ALL = (*SPECTRA, *MORE)
METHODS = ("xtrace", "hutch++", "hutchinson")
spectra = pytest.mark.parametrize("spectrum", ALL, ids=lambda spectrum: spectrum.name)
methods = pytest.mark.parametrize("method", METHODS)
types = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def Matrix(matrix: np.ndarray) -> Fake:
    """Quick enough for hundreds of measurements."""
    return Fake(tensor(matrix))


def coverage(measure: Callable, truth: float, seeds: int, generator) -> float:
    """How often value ± 1.96·error holds the truth."""
    source, found = generator(), []
    for seed in range(seeds):
        estimate = measure(source.manual_seed(seed))
        found.append(abs(estimate.value - truth) <= 1.96 * estimate.error)
    return float(np.mean(found))


def published(op: Fake, products: int, source: torch.Generator):
    """The twin: XTrace with the error of its authors, s/√k, as if its summands were independent."""
    drawn = sketch(op, products // 2, source)
    each = _each(drawn, drawn.trace_form)
    return type("Twin", (), {"value": each.mean(), "error": each.std(ddof=1) / math.sqrt(len(each))})


@methods
def test_intervals_hold_the_trace(method, generator):
    found = []
    for spectrum in ALL:
        A = spectrum.matrix(n=60)
        found.append(coverage(lambda s, A=A: trace(Matrix(A), method=method, generator=s), np.trace(A), 60, generator))
    assert min(found) >= 0.85  # 0.95 less 3.5 deviations of 60
    scattered = [rate for rate in found if rate < 1]
    assert 0.93 <= np.mean(scattered) <= 0.975


def test_intervals_hold_the_norm(generator):
    found = []
    for spectrum in ALL:
        A = spectrum.matrix(n=100)
        found.append(coverage(lambda s, A=A: frobenius_norm(Matrix(A), generator=s), np.linalg.norm(A), 60, generator))
    assert min(found) >= 0.85
    assert 0.93 <= np.mean([rate for rate in found if rate < 1]) <= 0.975


def test_the_published_error_formula_fails(generator):
    """Its coverage on these spectra: 0.80 to 0.92."""
    found = []
    for spectrum in ALL:
        A = spectrum.matrix(n=60)
        if spectrum.name not in ("rank 3", "flat"):  # exact
            found.append(coverage(lambda s, A=A: published(Matrix(A), 40, s), np.trace(A), 60, generator))
    assert np.mean(found) < 0.9


@pytest.mark.slow
@spectra
@methods
@pytest.mark.parametrize("n", [42, 120, 400])
def test_intervals_hold_the_trace_500_times(spectrum, method, n, generator):
    A = spectrum.matrix(n=n)
    rate = coverage(lambda s: trace(Matrix(A), method=method, generator=s), np.trace(A), 500, generator)
    assert rate >= 0.92
    assert rate <= 0.98 or (spectrum.name in ("rank 3", "flat") and rate == 1)


@pytest.mark.slow
@spectra
@pytest.mark.parametrize("n", [90, 200, 400])
def test_intervals_hold_the_norm_1000_times(spectrum, n, generator):
    A = spectrum.matrix(n=n)
    rate = coverage(lambda s: frobenius_norm(Matrix(A), generator=s), np.linalg.norm(A), 1000, generator)
    assert rate >= 0.92
    assert rate <= 0.98 or (spectrum.name in ("rank 3", "flat") and rate == 1)


@spectra
def test_intervals_hold_the_diagonal(spectrum, generator):
    A = spectrum.matrix(n=100)
    source, found = generator(), []
    for seed in range(20):
        estimate = diagonal(Matrix(A), products=20, generator=source.manual_seed(seed))
        found.append(np.abs(estimate.values - np.diag(A)) <= 1.96 * estimate.errors + 1e-14 * np.abs(A).max())
    assert np.mean(found) >= 0.93
    assert np.mean(found) <= 0.975 or spectrum.name == "flat"


@methods
def test_the_mean_over_seeds_is_the_trace(method, generator):
    A = SPECTRA[1].matrix(n=60)
    source = generator()
    values = [trace(Matrix(A), method=method, products=12, generator=source.manual_seed(s)).value for s in range(400)]
    assert abs(np.mean(values) - np.trace(A)) < 4 * np.std(values) / 20


def test_xtrace_is_the_most_exact(generator):
    A, source = SPECTRA[0].matrix(n=200), generator()
    spread = {
        method: np.std([trace(Matrix(A), method=method, generator=source.manual_seed(s)).value for s in range(60)])
        for method in METHODS
    }
    assert spread["xtrace"] < spread["hutch++"] < 0.6 * spread["hutchinson"]


def test_leaving_one_out_is_what_separate_factorisations_give(generator):
    """The formulas in k × k matrices, against a QR for each sketch without one and without two."""
    A, n, k = tensor(SPECTRA[0].matrix(n=40)), 40, 6
    drawn = sketch(Matrix(A.numpy()), k, generator(3))
    for form, B in ((drawn.trace_form, A), (drawn.square_form, A @ A)):
        each = _each(drawn, form)

        def alone(i: int, others: list[int], B=B) -> float:
            Q, _ = torch.linalg.qr(A @ drawn.probes[:, others])
            w = drawn.probes[:, i] - Q @ (Q.T @ drawn.probes[:, i])
            return float(torch.trace(Q.T @ B @ Q) + (n - len(others)) * (w @ B @ w) / (w @ w))

        for i in range(k):
            rest = [j for j in range(k) if j != i]
            assert each[i] == pytest.approx(alone(i, rest), rel=1e-9)
            for j in rest:
                pair = drawn_without_two(drawn, form)[i, j]
                assert pair == pytest.approx(alone(i, [m for m in rest if m != j]), rel=1e-9)


def drawn_without_two(drawn, form) -> np.ndarray:
    from theodolite.linalg.leave_one_out import _without_two

    return _without_two(drawn, form)


@types
@methods
def test_exact_where_the_budget_buys_the_matrix(method, dtype):
    for n in (1, 2, 30):
        A = tensor(np.diag(np.arange(n) - 3.0), dtype)
        found = trace(dense(A), method=method)
        assert (found.value, found.error, found.method) == (float(A.trace()), 0.0, "exact")
        assert found.products == n
        norm = frobenius_norm(dense(A))
        assert norm.value == pytest.approx(float(A.norm()), rel=1e-6)
        assert (norm.error, norm.count, norm.products, norm.method) == (0.0, n, n, "exact")
        assert diagonal(dense(A)).values.tolist() == A.diagonal().tolist()
        assert not diagonal(dense(A)).errors.any()


@types
@methods
def test_low_rank_is_exact_to_rounding(method, dtype, generator):
    A = tensor(SPECTRA[7].matrix(n=300), dtype)
    found = trace(dense(A), method=method, generator=generator())
    assert abs(found.value - 4) <= 3 * found.error
    if method != "hutchinson":
        assert found.error < 1e3 * torch.finfo(dtype).eps
        assert abs(frobenius_norm(dense(A), generator=generator()).value - math.sqrt(14)) < 1e-5


@methods
def test_zero_and_multiples_of_the_identity(method, generator):
    zero = trace(dense(torch.zeros(90, 90)), method=method, generator=generator())
    assert (zero.value, zero.error, zero.status) == (0.0, 0.0, Status.CONVERGED)
    same = trace(dense(-3 * torch.eye(90, dtype=torch.float64)), method=method, generator=generator())
    assert same.value == pytest.approx(-270, rel=1e-12)
    assert same.error < 1e-11
    norm = frobenius_norm(dense(torch.zeros(90, 90)), generator=generator())
    assert (norm.value, norm.error, norm.status) == (0.0, 0.0, Status.CONVERGED)


@methods
@pytest.mark.parametrize("size", [1, 5, 90])
def test_what_is_not_finite(method, size, generator):
    A = torch.eye(size)
    A[-1, -1] = torch.nan
    found = trace(dense(A), method=method, rtol=0.1, generator=generator())
    assert found.status is Status.NONFINITE
    assert math.isnan(found.value)
    assert math.isnan(found.error)
    norm = frobenius_norm(dense(A), generator=generator())
    assert (norm.status, norm.count) == (Status.NONFINITE, 0)
    assert math.isnan(norm.value)
    lost = diagonal(dense(A), generator=generator())
    assert lost.status is Status.NONFINITE
    assert np.isnan(lost.values).all()


@methods
def test_a_product_counts(method, generator):
    A = SPECTRA[0].matrix(n=300)
    for products in (4, 7, 41):
        op = Matrix(A)
        assert trace(op, method=method, products=products, generator=generator()).products == op.columns <= products
    op = Matrix(A)
    assert diagonal(op, generator=generator()).products == op.columns == 60
    op = Matrix(A)
    norm = frobenius_norm(op, products=41, generator=generator())
    assert (norm.products, norm.count, norm.method) == (op.columns, 20, "xtrace")
    op = Matrix(A)
    found = trace(op, method=method, products=10, rtol=0.1, generator=generator())
    assert found.products == op.columns


def test_blocks_of_columns_keep_to_the_bound(generator, monkeypatch):
    A = SPECTRA[0].matrix(n=100)
    whole = [trace(Matrix(A), method=m, generator=generator()).value for m in METHODS]
    monkeypatch.setattr("theodolite.linalg.probing.BLOCK_BYTES", 100 * 16 * 7)
    widths = []
    monkeypatch.setattr(Fake, "apply", lambda self, V: (widths.append(V.shape[1]), self.matrix @ V)[1])
    parts = [trace(Matrix(A), method=m, generator=generator()).value for m in METHODS]
    np.testing.assert_allclose(parts, whole, rtol=1e-12)
    assert max(widths) == 7


@methods
def test_two_stages_reach_the_tolerance_without_bias(method, generator):
    A, source = SPECTRA[1].matrix(n=150), generator()
    truth = np.trace(A)
    found = [
        trace(Matrix(A), method=method, products=12, rtol=0.1, max_products=2000, generator=source.manual_seed(s))
        for s in range(150)
    ]
    errors = np.array([estimate.value for estimate in found]) / truth - 1
    assert np.sqrt(np.mean(errors**2)) < 0.13
    assert abs(errors.mean()) < 4 * errors.std() / math.sqrt(150)
    assert np.mean([estimate.status is Status.CONVERGED for estimate in found]) > 0.6


def forms(runs: int, length: int) -> np.ndarray:
    """Quadratic forms v·Av of a matrix of rank one and trace one."""
    return np.random.default_rng(0).chisquare(1, size=(runs, length))


def test_stopping_when_the_running_mean_settles_fails():
    """PyHessian's rule, 1e-3: it claims a thousandth, and is off by a fifth."""
    means = forms(400, 2000).cumsum(1) / np.arange(1, 2001)
    changes = np.abs(np.diff(means)) / (np.abs(means[:, :-1]) + 1e-6)
    stopped = means[np.arange(400), 1 + (changes < 1e-3).argmax(1)]
    assert np.sqrt(np.mean((stopped - 1) ** 2)) > 100 * 1e-3
    assert np.mean(np.abs(stopped - 1) <= 1.96e-3) < 0.1


def test_stopping_when_the_own_error_is_small_is_biased():
    """Stop once s/√k is small enough: small samples scatter less, and the mean is too small by far more than chance."""
    samples, counts = forms(2000, 1000), np.arange(1, 1001)
    means = samples.cumsum(1) / counts
    spreads = np.sqrt(np.maximum((samples**2).cumsum(1) / counts - means**2, 0) / counts)
    stops = 4 + (spreads[:, 4:] <= 0.2).argmax(1)
    stopped = means[np.arange(2000), stops]
    assert (stopped.mean() - 1) / (stopped.std() / math.sqrt(2000)) < -6


def test_a_trace_near_zero_spends_the_budget(generator):
    found = trace(Matrix(MORE[3].matrix(n=150)), rtol=0.01, max_products=120, generator=generator())
    assert found.status is Status.BUDGET
    assert found.products == 120
    assert abs(found.value) < 4 * found.error


def test_a_tolerance_may_buy_the_matrix(generator):
    A = SPECTRA[2].matrix(n=100)
    found = trace(Matrix(A), rtol=1e-6, generator=generator())
    assert found.method == "exact"
    assert found.products == 140
    assert found.value == pytest.approx(np.trace(A), rel=1e-12)


@types
def test_single_precision_and_half(dtype, generator):
    for kind in (dtype, torch.bfloat16):
        A = tensor(np.diag(1 / np.arange(1.0, 201)), kind)
        truth = float(A.double().trace())
        for method in METHODS:
            found = trace(dense(A), method=method, generator=generator(1))
            assert abs(found.value - truth) < 4 * found.error
        norm = frobenius_norm(dense(A), generator=generator(1))
        assert abs(norm.value - float(A.double().norm())) < 4 * norm.error


def test_a_single_probe_of_hutchinson_knows_its_error(generator):
    A, source = SPECTRA[2].matrix(n=150), generator()
    found = [trace(Matrix(A), method="hutchinson", products=1, generator=source.manual_seed(s)) for s in range(400)]
    true = math.sqrt(2 * 150 / 152 * (np.sum(A**2) - np.trace(A) ** 2 / 150))
    assert np.sqrt(np.mean([estimate.error**2 for estimate in found])) == pytest.approx(true, rel=0.1)
    assert np.isnan(diagonal(Matrix(A), products=1, generator=generator()).errors).all()


def test_drawn_afresh_or_repeated(generator):
    op, state = Matrix(SPECTRA[0].matrix(n=120)), torch.get_rng_state()
    for measure in (trace, frobenius_norm):
        first, again = measure(op, generator=generator(4)), measure(op, generator=generator(4))
        assert again.value == pytest.approx(first.value, rel=1e-13)  # NumPy's sums depend on where an array lies
        assert again.error == pytest.approx(first.error, rel=1e-9)
        assert measure(op).value != measure(op).value
    assert torch.equal(torch.get_rng_state(), state)


def test_student_widens_the_diagonal(generator):
    """Entries of few probes: without the factor, intervals are too short."""
    A, source = SPECTRA[2].matrix(n=100), generator()
    plain = []
    for seed in range(20):
        found = diagonal(Matrix(A), products=4, generator=source.manual_seed(seed))
        plain.append(np.abs(found.values - np.diag(A)) <= 1.96 * found.errors / student_factor(4))
    assert np.mean(plain) < 0.9


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda op: trace(op, method="best"), "method must be one of xtrace, hutch.., hutchinson, got 'best'. Leave"),
        (lambda op: trace(op, products=3), "products must be at least 4, got 3"),
        (lambda op: trace(op, method="hutch++", products=2), "products must be at least 3, got 2"),
        (lambda op: trace(op, method="hutchinson", products=0), "products must be at least 1, got 0"),
        (lambda op: trace(op, rtol=0.0), "rtol must be positive and finite, got 0.0. None"),
        (lambda op: trace(op, rtol=math.inf), "rtol must be positive and finite, got inf"),
        (lambda op: trace(op, rtol=0.1, products=40, max_products=79), "2 x 40, got 79. Lower products"),
        (lambda op: frobenius_norm(op, products=3), "products must be at least 4, got 3"),
        (lambda op: diagonal(op, products=0), "products must be at least 1, got 0"),
    ],
)
def test_mistakes_are_told(ask, message):
    with pytest.raises(SettingError, match=message):
        ask(dense(torch.eye(50)))
