"""Asking next to nothing: where J has a form whose least value is known."""

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse.linalg import LinearOperator, cg
from torch import Tensor, nn

from theodolite.errors import SettingError
from theodolite.objective import Objective
from theodolite.objective.sources import ModelSource
from theodolite.records import Status
from theodolite.search.ledger import Finished, Ledger
from theodolite.search.space import Space, Vector

_DENSE = 300
"""Up to so many directions the Hessian is formed whole, and what is flat in it left where it is."""

_AGREES, _COARSE = {torch.float64: 1e-6, torch.float32: 1e-2}, 5e-2
"""How closely J must agree with its form, by the type of θ."""

_SLOPE_LEFT = 1e-2
"""Of the slope at the start no more may be left: a part that no curvature bends stays whole."""

_UNKNOWN = (
    "method 'analytical' must know the form of J: squared errors of a model linear in θ (J is quadratic), or of a net "
    "of nn.Linear without biases. This J has neither. Search for its least value."
)

Matrix = Float[np.ndarray, "_ _"]


def search_closed_form(ledger: Ledger, space: Space, *, seed: int, objective: Objective) -> str:
    """Find the form, check it by asking J, and go to its least value."""
    shapes = _linear_shapes(objective)
    if len(shapes) > 1:
        return _of_linear_net(ledger, space, objective, shapes)
    return _of_quadratic(ledger, space, seed, _AGREES.get(objective.dtype, _COARSE))


def _of_quadratic(ledger: Ledger, space: Space, seed: int, tolerance: float) -> str:
    """θ − H⁺g, if products with H are the same wherever they are asked."""
    theta, generator = space.start, np.random.default_rng(seed)
    _, slope = ledger.gradient(theta)
    size = 1.0 + float(np.linalg.norm(theta))
    for _ in range(2):
        along, away = generator.standard_normal((2, theta.size))
        here = ledger.product(theta, along)
        there = ledger.product(theta + size * away / np.linalg.norm(away), along)
        if not np.linalg.norm(here - there) <= tolerance * max(np.linalg.norm(here), np.linalg.norm(there)):
            raise SettingError(_UNKNOWN)
    step = _newton_step(ledger, theta, slope, tolerance)
    value, left = ledger.gradient(theta - step)
    if not np.linalg.norm(left) <= _SLOPE_LEFT * np.linalg.norm(slope):
        raise Finished(Status.BREAKDOWN, "where the Hessian is flat a slope is left: J has no least value")
    if not np.isclose(ledger.values[0] - value, 0.5 * float(slope @ step), rtol=tolerance, atol=tolerance * abs(value)):
        raise Finished(Status.BREAKDOWN, "J is not what its derivatives say: rounding, or curvature near zero")
    return "J is quadratic: its least value by one solution with the Hessian"


def _newton_step(ledger: Ledger, theta: Vector, slope: Vector, tolerance: float) -> Vector:
    """H⁺g, by eigenvalues where n is small, else by conjugate gradients, which see curvature where they ask for it."""
    n = theta.size

    def product(along: Vector) -> Vector:
        bent = ledger.product(theta, along)
        curvature = float(along @ bent)
        if curvature < -tolerance * np.linalg.norm(along) * np.linalg.norm(bent):
            raise Finished(Status.BREAKDOWN, f"J has no least value: along a direction it bends by {curvature:.3g}")
        return bent

    def sloped(along: Vector) -> Vector:
        bent = product(along)
        if not float(along @ bent) > 0:  # a direction of the slope, by which conjugate gradients would divide
            raise Finished(Status.BREAKDOWN, "J has no least value: a slope of it is bent by nothing")
        return bent

    if n > _DENSE:
        operator = LinearOperator((n, n), matvec=sloped, dtype=np.float64)
        step, _ = cg(operator, slope, rtol=tolerance * 1e-3, maxiter=10 * n)
        return np.asarray(step)
    hessian = np.stack([product(column) for column in np.eye(n)])
    values, vectors = np.linalg.eigh(0.5 * (hessian + hessian.T))
    flat = np.abs(values) <= tolerance * 1e-2 * np.abs(values).max(initial=0.0)
    if (values[~flat] < 0).any():
        raise Finished(Status.BREAKDOWN, f"J has no least value: its curvature is {values.min():.3g} in some direction")
    inverse = np.divide(1.0, values, out=np.zeros_like(values), where=~flat)
    return np.asarray(vectors @ (inverse * (vectors.T @ slope)))


def _linear_shapes(objective: Objective) -> list[tuple[int, int]]:
    """Outputs and inputs of each layer of a net of nn.Linear without biases, all trained; none if it is another."""
    model = objective.source.model
    parts = list(model.children()) if isinstance(model, nn.Sequential) else []
    layers = [part for part in parts if isinstance(part, nn.Linear)]
    is_linear = all(isinstance(part, nn.Linear | nn.Flatten | nn.Identity) for part in parts)
    shapes = [(layer.out_features, layer.in_features) for layer in layers]
    is_trained = [tuple(tensor.shape) for tensor in objective.params.tensors] == shapes
    return shapes if is_linear and is_trained else []


def _of_linear_net(ledger: Ledger, space: Space, objective: Objective, shapes: list[tuple[int, int]]) -> str:
    """Regression of reduced rank, Baldi & Hornik 1989, divided evenly between the layers."""
    inputs, targets = _examples(objective)
    rank = min(min(shape) for shape in shapes)
    whole = np.linalg.lstsq(inputs, targets, rcond=None)[0].T
    outer = np.linalg.svd(inputs @ whole.T, full_matrices=False)[2][:rank]
    best = np.concatenate([weight.ravel() for weight in _divided(outer.T @ (outer @ whole), shapes)])
    asked = (space.start, 0.5 * best, best)
    errors = np.array([_squared_error(theta, shapes, inputs, targets) for theta in asked])
    values = np.array([ledger.value(theta) for theta in asked])
    factor = values[0] / errors[0] if errors[0] > 0 else np.nan
    tolerance = _AGREES.get(objective.dtype, _COARSE)
    if not np.allclose(values, factor * errors, rtol=tolerance, atol=tolerance * abs(values[0])):
        raise SettingError(_UNKNOWN)
    return f"J is the squared error of a linear net of rank {rank}: its least value by regression of reduced rank"


def _divided(product: Matrix, shapes: list[tuple[int, int]]) -> list[Matrix]:
    """Weights W₁, ..., W_L with W_L⋯W₁ = product, each with the L-th root of its singular values."""
    left, strengths, right = np.linalg.svd(product, full_matrices=False)
    rank = min(min(shape) for shape in shapes)
    root = strengths[:rank] ** (1.0 / len(shapes))
    found = [np.zeros(shape) for shape in shapes]
    for core in found[1:-1]:
        core[:rank, :rank] = np.diag(root)
    found[0][:rank] = root[:, None] * right[:rank]
    found[-1][:, :rank] = left[:, :rank] * root
    return found


def _squared_error(theta: Vector, shapes: list[tuple[int, int]], inputs: Matrix, targets: Matrix) -> float:
    """Sum over examples and outputs."""
    output, place = inputs, 0
    for rows, columns in shapes:
        output = output @ theta[place : place + rows * columns].reshape(rows, columns).T
        place += rows * columns
    return float(((output - targets) ** 2).sum())


def _examples(objective: Objective) -> tuple[Matrix, Matrix]:
    """Inputs and targets of all batches."""
    source = objective.source
    batches = list(source.batches()) if isinstance(source, ModelSource) else []
    is_pair = [isinstance(batch, tuple | list) and len(batch) == 2 for batch in batches]
    if not batches or not all(is_pair) or not all(isinstance(part, Tensor) for batch in batches for part in batch):
        raise SettingError(
            "method 'analytical' must find (inputs, targets) in each batch, and does not. Give such pairs."
        )
    inputs, targets = (torch.cat([batch[part].flatten(1) for batch in batches]) for part in (0, 1))
    return inputs.double().cpu().numpy(), targets.double().cpu().numpy()
