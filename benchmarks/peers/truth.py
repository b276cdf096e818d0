"""What is true, in float64, by ways that no candidate shares: double backward checked against differences."""

import copy
from dataclasses import replace

import numpy as np
import torch
from models import Case, classify
from peers.by_hand import by_hand
from peers.candidates import flat, parameters, parts, size_of
from scipy.sparse.linalg import LinearOperator as ScipyOperator
from scipy.sparse.linalg import eigsh
from torch import Tensor, nn


def doubled(case: Case) -> Case:
    """The same case in float64, on a model of its own."""
    x, y = case.batch
    return replace(
        case, model=copy.deepcopy(case.model).double(), batch=(x.double() if x.is_floating_point() else x, y)
    )


def error_of(value: Tensor, truth: Tensor) -> float:
    exact = truth.detach().double()
    return float((value.detach().double() - exact).norm() / exact.norm())


def true_hessian(case: Case, vectors: Tensor) -> Tensor:
    """Products by double backward, checked against a difference where the model is smooth.

    Rectified models have kinks within any step; their gradient has no use as a check.
    """
    exact = doubled(case)
    with case.kernels():
        products = by_hand(exact)
        columns = [flat(products(parts(exact, column))) for column in vectors.double().unbind(1)]
    if not any(isinstance(module, nn.ReLU) for module in case.model.modules()):
        gap = error_of(difference(case, vectors[:, 0].double()), columns[0])
        assert gap < 1e-5, f"double backward and differences disagree in float64: {gap:.1e}"
    return torch.stack(columns, 1)


def difference(case: Case, direction: Tensor) -> Tensor:
    """Hv as a central difference of gradients."""
    step, ends = 1e-4 / float(direction.norm()), []
    for sign in (1, -1):
        moved = doubled(case)
        with torch.no_grad():
            for tensor, part in zip(parameters(moved), parts(moved, direction), strict=True):
                tensor.add_(part, alpha=sign * step)
        ends.append(flat(torch.autograd.grad(classify(moved.model, moved.batch), parameters(moved))))
    return (ends[0] - ends[1]) / (2 * step)


def true_ggn(case: Case, vectors: Tensor) -> Tensor:
    """JᵀH_ℓJ v: J by differentiating u·(Jᵀu) twice, H_ℓ and Jᵀ by backward passes."""
    exact = doubled(case)
    tensors = parameters(exact)
    with case.kernels():
        outputs = exact.model(exact.batch[0])
        dummy = torch.zeros_like(outputs, requires_grad=True)
        transposed = torch.autograd.grad(outputs, tensors, dummy, create_graph=True)
        leaf = outputs.detach().requires_grad_()
        (slope,) = torch.autograd.grad(nn.functional.cross_entropy(leaf, exact.batch[1]), leaf, create_graph=True)
        columns = []
        for column in vectors.double().unbind(1):
            (pushed,) = torch.autograd.grad(transposed, dummy, parts(exact, column), retain_graph=True)
            (curved,) = torch.autograd.grad(slope, leaf, pushed, retain_graph=True)
            columns.append(flat(torch.autograd.grad(outputs, tensors, curved, retain_graph=True)))
    return torch.stack(columns, 1)


def true_matrix(case: Case) -> np.ndarray:
    """The dense Hessian, row by row."""
    exact = doubled(case)
    products = by_hand(exact)
    rows = [flat(products(parts(exact, row))) for row in torch.eye(size_of(exact), dtype=torch.float64)]
    matrix = torch.stack(rows).numpy()
    return (matrix + matrix.T) / 2


def true_largest(case: Case, count: int) -> np.ndarray:
    """The greatest eigenvalues, descending, by ARPACK to 1e-9."""
    exact = doubled(case)
    size = size_of(exact)
    with case.kernels():
        products = by_hand(exact)

        def product(vector: np.ndarray) -> np.ndarray:
            return flat(products(parts(exact, torch.as_tensor(vector.reshape(-1))))).numpy()

        matrix = ScipyOperator((size, size), matvec=product, dtype=np.float64)
        return eigsh(matrix, count, which="LA", tol=1e-9, ncv=40, return_eigenvectors=False)[::-1]
