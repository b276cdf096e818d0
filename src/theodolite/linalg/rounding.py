"""How exact is a product of an operator, as far as its type and its method tell?"""

import torch

from theodolite.linalg.interface import LinearOperator

_PRODUCT_ERROR = 8
"""Products of double backward in float32 are wrong by 3e-7 to 9e-7 (measured): up to so many times their precision."""


def precision(op: LinearOperator) -> float:
    """The relative precision of a product: that of the type or of the method, whichever is coarser.

    Args:
        op: The operator; some know the error of their method only after the first product.

    Returns:
        ε.
    """
    return max(op.relative_error, torch.finfo(op.dtype).eps)


def product_error(op: LinearOperator) -> float:
    """What a product is wrong by at most, over its size: several times the precision, since roundings add up.

    Args:
        op: The operator, after a product.

    Returns:
        8ε, a bound as far as it is known.
    """
    return _PRODUCT_ERROR * precision(op)
