"""Do logarithms of norms walk through layers as the moments say, and do gains stop the drift?"""

import numpy as np
import pytest

from theodolite.errors import SettingError
from theodolite.theory.signal import (
    fitted_gain,
    log_factor,
    simulated_gradient_norms,
    suggested_gain,
    walk_gain,
    walk_statistics,
)


@pytest.mark.parametrize("activation", ["linear", "relu"])
@pytest.mark.parametrize("width", [1, 3, 10, 100])
def test_moments_against_draws(activation, width):
    rng = np.random.default_rng(width)
    squares = rng.normal(size=(40000, width)) ** 2
    if activation == "relu":
        squares *= rng.random((40000, width)) < 0.5
        squares = squares[squares.any(axis=1)]
    logs = np.log(squares.sum(1) / width)
    found = log_factor(width, activation)
    error = logs.std() / np.sqrt(len(logs))
    assert abs(logs.mean() - found.mean) < 4 * error
    fourth = np.mean((logs - logs.mean()) ** 4)
    assert abs(logs.var() - found.variance) < 4 * np.sqrt((fourth - logs.var() ** 2) / len(logs))


def test_limits_and_numbers_of_the_paper():
    """papers.md, E: at N = 100 g = 1.0050 and 1.4317 as published, 1.4311 by simulation; variances 2/N and 0.0516."""
    assert fitted_gain(100) == pytest.approx(1.0050, abs=5e-5)
    assert fitted_gain(100, "relu") == pytest.approx(1.4317, abs=5e-5)
    assert walk_gain(100, "relu") == pytest.approx(1.4311, abs=2e-3)
    assert log_factor(100).variance == pytest.approx(2 / 100, rel=0.02)
    assert log_factor(100, "relu").variance == pytest.approx(0.0516, rel=0.02)
    assert log_factor(10**5, "relu").mean == pytest.approx(-np.log(2), abs=1e-4)
    assert walk_gain(10**5, "relu") == pytest.approx(np.sqrt(2), rel=1e-4)
    for width in (10, 30, 100, 1000):
        for activation in ("linear", "relu"):
            assert walk_gain(width, activation) == pytest.approx(fitted_gain(width, activation), rel=0.01)


@pytest.mark.parametrize("activation", ["linear", "relu"])
@pytest.mark.parametrize(("width", "depth", "trials"), [(20, 200, 40), (50, 40, 40)])
def test_gradients_walk_as_the_moments_say(activation, width, depth, trials):
    """G, E3: no drift within 4σ, the spread within 4 of its errors; without the gain, the twin, there is a drift."""
    gain = walk_gain(width, activation)
    moments = walk_statistics(width, depth, gain=gain, activation=activation)
    assert moments.mean == pytest.approx(0, abs=1e-9)
    norms = simulated_gradient_norms(
        width, depth, gain=gain, activation=activation, trials=trials, generator=np.random.default_rng(0)
    )[:, 0]
    spread = np.sqrt(moments.variance)
    if activation == "relu":  # units that are dead on the way forward are dead on the way back: a little narrower
        assert 0.7 * spread < norms.std(ddof=1) < 1.5 * spread
    else:
        assert norms.std(ddof=1) == pytest.approx(spread, rel=4 / np.sqrt(2 * trials))
    assert abs(norms.mean()) < 4 * spread / np.sqrt(trials)
    twin = walk_statistics(width, depth, gain=1.0 if activation == "linear" else np.sqrt(2), activation=activation)
    assert twin.mean < -0.5 * depth / (2.1 * width)


@pytest.mark.parametrize("gain", [0.9, 1.1])
def test_a_wrong_gain_vanishes_or_explodes(gain):
    norms = simulated_gradient_norms(30, 300, gain=gain, trials=3, generator=np.random.default_rng(1))
    drift = walk_statistics(30, 300, gain=gain).mean
    assert norms[:, 0].mean() == pytest.approx(drift, abs=4 * np.sqrt(walk_statistics(30, 300, gain=gain).variance / 3))
    assert abs(drift) > 20
    assert norms.shape == (3, 301)
    assert (norms[:, -1] == 0).all()


def test_a_thousand_layers():
    """The spread is √(D/(2N)) = 4.1 in ln‖δ‖ at N = 30, and no product under- or overflows on the way."""
    norms = simulated_gradient_norms(30, 1000, gain=walk_gain(30), trials=10, generator=np.random.default_rng(2))
    assert np.isfinite(norms).all()
    assert abs(norms[:, 0].mean()) < 4 * np.sqrt(1000 / 60 / 10)
    assert np.sqrt(walk_statistics(30, 1000, gain=1.0).variance) == pytest.approx(np.sqrt(1000 / 60), rel=0.02)
    steps = np.diff(norms, axis=1)
    assert steps.var() == pytest.approx(log_factor(30).variance / 4, rel=0.06)
    assert np.abs(np.corrcoef(steps[:, :-1].ravel(), steps[:, 1:].ravel())[0, 1]) < 0.04


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["linear", "relu", "tanh"])
@pytest.mark.parametrize("depth", [30, 1000])
def test_suggested_gains_keep_gradients(activation, depth):
    """N = 100, up to 1000 layers: on average within 4 errors, plus what mean field leaves out (tanh)."""
    gain = suggested_gain(100, depth, activation)
    norms = simulated_gradient_norms(
        100, depth, gain=gain, activation=activation, trials=8, generator=np.random.default_rng(3)
    )[:, 0]
    assert abs(norms.mean()) < 4 * norms.std(ddof=1) / np.sqrt(8) + (2 if activation == "tanh" else 0.3)
    if activation == "tanh":
        assert 1.0 < gain < 1.3


def test_gains_of_tanh_lie_where_experiments_find_them():
    assert 1.1 < suggested_gain(100, 30, "tanh") < 1.3
    assert suggested_gain(100, 30, "tanh") < suggested_gain(10, 30, "tanh")


def test_dead_nets_and_repeatability():
    norms = simulated_gradient_norms(1, 40, gain=1.0, activation="relu", trials=4, generator=np.random.default_rng(4))
    assert (norms[:, 0] == -np.inf).all()
    draws = [
        simulated_gradient_norms(4, 3, gain=1.0, activation="tanh", trials=2, generator=np.random.default_rng(5))
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*draws)


@pytest.mark.parametrize("activation", ["linear", "relu", "tanh"])
def test_the_backward_pass_is_the_gradient(activation):
    """Against autograd of the same net: weights are drawn from seeds that a twin of the generator gives."""
    torch = pytest.importorskip("torch")
    source = np.random.default_rng(6)
    seeds = source.integers(2**63, size=5)
    x, delta = (torch.tensor(source.standard_normal(7)) for _ in range(2))
    signals = [x.requires_grad_()]
    for seed in seeds:
        W = torch.tensor(np.random.default_rng(int(seed)).standard_normal((7, 7)) * (1.3 / np.sqrt(7)))
        h = W @ signals[-1]
        signals.append({"linear": lambda h: 1 * h, "relu": torch.relu, "tanh": torch.tanh}[activation](h))
    slopes = torch.autograd.grad(signals[-1] @ delta, signals)
    expected = [float(torch.log(s.norm() / delta.norm())) for s in slopes]
    found = simulated_gradient_norms(
        7, 5, gain=1.3, activation=activation, trials=1, generator=np.random.default_rng(6)
    )
    np.testing.assert_allclose(found[0], expected, atol=1e-12)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: log_factor(0), "width must be a whole number, 1 or more"),
        (lambda: log_factor(3, "tanh"), "activation must be 'linear' or 'relu', got 'tanh'"),
        (lambda: fitted_gain(3, "gelu"), "activation must be 'linear' or 'relu', got 'gelu'"),
        (lambda: walk_statistics(3, 0, gain=1.0), "depth must be a whole number"),
        (lambda: walk_statistics(3, 1, gain=0.0), "gain must be finite and positive"),
        (lambda: simulated_gradient_norms(3, 1, gain=1.0, activation="gelu"), "activation must be one of"),
        (lambda: simulated_gradient_norms(3, 1, gain=1.0, trials=0), "trials must be a whole number"),
        (lambda: suggested_gain(3, 0, "tanh"), "depth must be a whole number"),
    ],
)
def test_mistakes_are_told(ask, message):
    with pytest.raises(SettingError, match=message):
        ask()
