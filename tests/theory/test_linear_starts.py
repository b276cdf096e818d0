"""Are starts decoupled, rotations uniform, and is the condition of greedy pretraining what it should be?"""

import gzip

import numpy as np
import pytest

from theodolite.errors import SettingError, ShapeError
from theodolite.theory.linear_starts import (
    decoupled_weights,
    input_coupling,
    matrix_balances,
    mode_coupling,
    off_diagonal_share,
    orthogonal_matrix,
    pretrained_weights,
)


def test_rotations_are_orthogonal_and_uniform():
    """Haar: entries have mean 0 and variance 1/n, det is ±1 alike. QR without the signs, the twin, has no such mean."""
    rng = np.random.default_rng(0)
    draws = np.array([orthogonal_matrix(4, generator=rng) for _ in range(2000)])
    np.testing.assert_allclose(draws @ draws.swapaxes(1, 2), np.broadcast_to(np.eye(4), draws.shape), atol=1e-12)
    bound = 4.5 * 0.5 / np.sqrt(2000)
    assert np.abs(draws.mean(0)).max() < bound
    assert np.abs(np.mean(np.linalg.det(draws))) < 0.1
    twin = np.array([np.linalg.qr(rng.normal(size=(4, 4)))[0] for _ in range(2000)])
    assert np.abs(twin.mean(0)).max() > bound
    assert abs(orthogonal_matrix(1, generator=rng)[0, 0]) == 1


def test_randomness_is_the_generators():
    one, same = (orthogonal_matrix(3, generator=np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(orthogonal_matrix(3), orthogonal_matrix(3))


@pytest.mark.parametrize("matrices", [1, 2, 6])
def test_decoupled_starts(matrices):
    rng = np.random.default_rng(1)
    U, V = orthogonal_matrix(5, generator=rng), orthogonal_matrix(5, generator=rng)
    weights = decoupled_weights(U, V, matrices=matrices, strength=0.3, generator=rng)
    product = np.linalg.multi_dot([np.eye(5), *weights[::-1]])
    np.testing.assert_allclose(product, 0.3 * U @ V.T, atol=1e-13)
    assert mode_coupling(weights, U, V) < 1e-14
    assert all(np.abs(balance).max() < 1e-14 for balance in matrix_balances(weights))
    assert len(weights) == matrices
    noise = [w + 0.1 * rng.normal(size=(5, 5)) for w in weights]
    assert mode_coupling(noise, U, V) > 0.05
    assert mode_coupling([np.zeros((5, 5))], U, V) == 0


def test_balances_by_hand():
    (found,) = matrix_balances([[[1.0, 2.0]], [[3.0], [4.0]]])
    np.testing.assert_array_equal(found, [[25.0 - 5.0]])
    assert matrix_balances([np.eye(2)]) == []


def test_pretraining_finds_the_strongest_directions():
    rng = np.random.default_rng(2)
    Q = orthogonal_matrix(6, generator=rng)
    covariance = (Q * [9.0, 8.0, 7.0, 0.3, 0.2, 0.1]) @ Q.T
    W = pretrained_weights(covariance, 3, generator=rng)
    np.testing.assert_allclose(W @ W.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(W.T @ W, Q[:, :3] @ Q[:, :3].T, atol=1e-12)


def test_coupling_vanishes_for_aligned_inputs_only():
    rng = np.random.default_rng(3)
    V = orthogonal_matrix(6, generator=rng)
    aligned = (V * [5.0, 4.0, 3.0, 2.0, 1.0, 0.0]) @ V.T
    assert input_coupling(aligned, V[:, :3]) < 1e-12
    assert off_diagonal_share(aligned, V[:, :3]) < 1e-12
    other = orthogonal_matrix(6, generator=rng)
    assert input_coupling(aligned, other) > 0.05
    assert input_coupling(1000 * aligned, other) == pytest.approx(input_coupling(aligned, other))
    assert input_coupling([[1.0, 1.0], [1.0, 1.0]], np.eye(2)) == 1
    assert input_coupling([[1.0, 0.0], [0.0, 0.0]], np.eye(2)) == 0


def images(folder, name):
    path = next((p for p in folder.rglob(f"*{name}*") if p.is_file()), None)
    if path is None:
        pytest.skip(f"no {name} in {folder}")
    stored = path.read_bytes()
    return gzip.decompress(stored) if path.suffix == ".gz" else stored


@pytest.mark.slow
def test_mnist_meets_the_condition_of_greedy_pretraining(data_folder):
    """G, A11: 0.041 against 0.259 for a random frame; here on 10,000 images."""
    pixels = np.frombuffer(images(data_folder, "train-images"), np.uint8, offset=16)[: 784 * 10000]
    labels = np.frombuffer(images(data_folder, "train-labels"), np.uint8, offset=8)[:10000]
    X = pixels.reshape(-1, 784).T / 255.0
    covariance, cross = X @ X.T, np.eye(10)[:, labels] @ X.T
    V = np.linalg.svd(cross, full_matrices=False)[2].T
    frame = np.linalg.qr(np.random.default_rng(0).normal(size=(784, 10)))[0]
    assert input_coupling(covariance, V) < 0.08
    assert input_coupling(covariance, V) < 0.3 * input_coupling(covariance, frame)
    assert off_diagonal_share(covariance, V) < 0.06


def steps_to_learn(weights, target, rates, limit):
    """Least number of steps, over rates, until half of the squared error is gone for good."""
    best, start = np.inf, np.sum(target**2)
    for rate in rates:
        current = [w.copy() for w in weights]
        for step in range(min(limit, int(best) if np.isfinite(best) else limit)):
            before = [np.eye(len(target))]
            for w in current:
                before.append(w @ before[-1])
            after = before[-1] - target
            error = np.sum(after**2)
            if not np.isfinite(error) or error > 1e3 * start:
                break
            if error < 0.5 * start:
                best = step
                break
            for layer in reversed(range(len(current))):
                slope = after @ before[layer].T
                after = current[layer].T @ after
                current[layer] = current[layer] - rate * slope
    return best


@pytest.mark.slow
def test_orthogonal_starts_make_the_time_of_learning_flat_in_depth():
    """G, A10: orthogonal within a factor 1.5, Gaussian longer by more than 4, from one to 39 hidden layers."""
    rng = np.random.default_rng(0)
    n, times = 24, {}
    target = (orthogonal_matrix(n, generator=rng) * np.linspace(3, 1, n)) @ orthogonal_matrix(n, generator=rng)
    for m in (2, 40):
        rates = np.logspace(-4, -0.5, 15)[::-1]
        orthogonal = [orthogonal_matrix(n, generator=rng) for _ in range(m)]
        gaussian = [rng.normal(size=(n, n)) / np.sqrt(n) for _ in range(m)]
        times[m] = [steps_to_learn(w, target, rates, 2000) for w in (orthogonal, gaussian)]
    assert times[40][0] < 1.5 * times[2][0] + 5
    assert times[40][1] > 4 * times[2][1]


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda: orthogonal_matrix(0), SettingError, "size must be a whole number, 1 or more, got 0"),
        (lambda: decoupled_weights(np.eye(2), np.eye(3), matrices=2, strength=1.0), ShapeError, "left and right"),
        (lambda: decoupled_weights(np.eye(2), np.eye(2), matrices=2, strength=0.0), SettingError, "strength must be"),
        (lambda: pretrained_weights(np.ones((2, 3)), 1), ShapeError, "covariance must be square, got shape"),
        (lambda: pretrained_weights(np.eye(2), 3), ShapeError, "width must be at most 2"),
        (lambda: input_coupling(np.eye(2), np.ones((2, 1))), ShapeError, r"right must have shape \(2, k\) with k ≥ 2"),
        (lambda: mode_coupling([np.ones((2, 3))], np.eye(2), np.eye(2)), ShapeError, "weights must form a chain"),
        (lambda: matrix_balances([np.ones((2, 3)), np.ones((2, 3))]), ShapeError, "Order them from the input"),
        (lambda: matrix_balances([np.ones(3)]), ShapeError, "a weight must be a matrix"),
    ],
)
def test_mistakes_are_told(ask, error, message):
    with pytest.raises(error, match=message):
        ask()
