"""Is what came in something that can be worked with: an operator, a vector of its size, a setting in its range?"""

import math
from numbers import Integral
from typing import SupportsFloat

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theodolite.errors import SettingError, ShapeError
from theodolite.linalg.interface import LinearOperator
from theodolite.objective import Objective


def require_operator(op: object) -> None:
    """Complain of what is no operator, and say how to form one of it.

    Args:
        op: What should be one.

    Raises:
        SettingError: If it has no products.
    """
    if all(hasattr(op, part) for part in ("dimension", "is_symmetric", "apply")):
        return
    if isinstance(op, Objective):
        advice = "Form one with hessian(objective)."
    elif isinstance(op, (Tensor, np.ndarray)):
        advice = "Form one with dense(matrix)."
    else:
        advice = "Form one of an objective with hessian(objective), or of a matrix with dense(matrix)."
    raise SettingError(f"op must be an operator, got {described(op)}. {advice}")


def require_objective(objective: object) -> None:
    """Complain of what is no objective.

    Args:
        objective: What should be one.

    Raises:
        SettingError: If it is not.
    """
    if not isinstance(objective, Objective):
        raise SettingError(
            f"objective must be an Objective, got {described(objective)}. Form one with Objective(model, loss, data)."
        )


def flat_vector(op: LinearOperator, value: object, name: str) -> Float[Tensor, "params"]:
    """A caller's vector, checked, in its own type and on its own device; integers in the type of the operator.

    Args:
        op: Gives the size n.
        value: Tensor or array of shape (n,).
        name: What to call it in the error.

    Returns:
        The vector, detached.

    Raises:
        ShapeError: If it is no tensor or array, is complex, or its shape is not (n,).
    """
    if not isinstance(value, (Tensor, np.ndarray)):
        raise ShapeError(
            f"{name} must be a tensor or array of shape ({op.dimension},), got {described(value)}. Pass a flat vector: "
            "objective.gradient() is one."
        )
    vector = torch.as_tensor(value).detach()
    if tuple(vector.shape) != (op.dimension,):
        raise ShapeError(
            f"{name} must have shape ({op.dimension},), got {tuple(vector.shape)}. Pass a flat vector: "
            "objective.gradient() is one."
        )
    require_real(vector, name)
    return vector if vector.is_floating_point() else vector.to(op.dtype)


def require_real(vectors: Tensor, name: str) -> None:
    """Complain of complex vectors: their imaginary part would be dropped.

    Args:
        vectors: Any tensor.
        name: What to call it in the error.

    Raises:
        ShapeError: If it is complex.
    """
    if vectors.is_complex():
        raise ShapeError(f"{name} must be real, got {vectors.dtype}. Pass its real and its imaginary part one by one.")


def described(value: object) -> str:
    """What something is, as an error says it: "an int", "a Tensor".

    Args:
        value: Anything.

    Returns:
        The name of its class with an article.
    """
    name = type(value).__name__
    return f"{'an' if name[0] in 'AEIOaeio' else 'a'} {name}" if value is not None else "None"


def check_count(name: str, value: object, least: int = 1) -> None:
    """Complain of a count that is no whole number, or too small.

    Args:
        name: What it counts.
        value: The count.
        least: The least that will do.

    Raises:
        SettingError: If it is not whole, or less.
    """
    if not isinstance(value, Integral):
        raise SettingError(f"{name} must be a whole number, got {value!r}. Round it.")
    if value < least:
        raise SettingError(f"{name} must be at least {least}, got {value}. Raise it.")


def number(name: str, value: object) -> float:
    """A setting as the number that it must be.

    Args:
        name: What it is.
        value: The setting.

    Returns:
        The number.

    Raises:
        SettingError: If it is none.
    """
    if not isinstance(value, SupportsFloat):
        raise SettingError(f"{name} must be a number, got {value!r}. Give one such as 1e-3.")
    return float(value)


def check_tolerance(name: str, value: object) -> None:
    """Complain of a tolerance that no residual can be held against.

    Args:
        name: What it is.
        value: The tolerance.

    Raises:
        SettingError: If it is no number, negative or not finite.
    """
    if not 0 <= number(name, value) < math.inf:
        raise SettingError(f"{name} must be finite and not negative, got {value}. Give a number such as 1e-3, or 0.")


def check_memory(memory_limit: object) -> None:
    """Complain of a memory limit that is no number of bytes.

    Args:
        memory_limit: The limit.

    Raises:
        SettingError: If it is not whole, or negative.
    """
    if not isinstance(memory_limit, Integral) or memory_limit < 0:
        raise SettingError(
            f"memory_limit must be a whole number of bytes, not negative, got {memory_limit!r}. 2**30 is 1 GiB."
        )
