"""How steep is a surface to the optimizer that walks it: curvature in units of its own step.

An adaptive optimizer moves parameter i by dᵢ times the (averaged) gradient. With D = diag(d), the greatest eigenvalue
of D^½HD^½ decides whether its steps diverge on the quadratic model, as that of H does for gradient descent.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, optim

from theodolite.errors import SettingError, ShapeError
from theodolite.linalg.algebra import scaled_both_sides
from theodolite.linalg.operators import Operator
from theodolite.linalg.settings import described, require_objective, require_operator
from theodolite.objective import Objective
from theodolite.objective.params import Params

Group = Mapping[str, Any]
State = Mapping[str, Any]


@dataclass(frozen=True, eq=False, repr=False)
class Metric:
    """The metric in which an optimizer took its last step.

    Attributes:
        scale: dᵢ, the step of each parameter per unit of gradient: learning rate over preconditioner.
        stability_limit: Value of λmax(D^½HD^½) beyond which the optimizer's steps diverge on the quadratic model, its
            preconditioner held fixed. Where groups differ in momentum, the least of theirs: below it all is stable.
        optimizer: Name of the optimizer.
    """

    scale: Float[Tensor, "params"]
    stability_limit: float
    optimizer: str

    def __repr__(self) -> str:
        """Optimizer, range of the scales, limit."""
        return (
            f"Metric({self.optimizer}: {self.scale.numel()} scales from {float(self.scale.min()):.4g} to "
            f"{float(self.scale.max()):.4g}, stability limit {self.stability_limit:.4g})"
        )


@dataclass(frozen=True)
class _Walk:
    """A linear walk θ ← θ − D(a·g + b·m) with m ← β·m + c·g.

    Attributes:
        decay: β.
        gain: c, weight of a new gradient in the average m.
        direct: a, weight of the gradient itself.
        averaged: b, weight of the average.
    """

    decay: float = 0.0
    gain: float = 1.0
    direct: float = 0.0
    averaged: float = 1.0

    @property
    def limit(self) -> float:
        """Greatest stable curvature s: there z² − (1 + β − (a + bc)s)z + β(1 − as) has the root z = −1."""
        return 2 * (1 + self.decay) / (self.direct * (1 + self.decay) + self.averaged * self.gain)


def optimizer_metric(objective: Objective, optimizer: optim.Optimizer) -> Metric:
    """The step of each parameter per unit of gradient, and the curvature at which such steps become unstable.

    With learning rate η and preconditioner P as in the optimizer's last step (bias corrections included), dᵢ = η/Pᵢ:

    * SGD: P = 1; limit 2(1 + β)/(1 − dampening), or 2(1 + β)/(1 + 2β) with Nesterov's momentum.
    * Adam, AdamW: P = (1 − β₁ᵗ)(√v̂ + ε), or its greatest v with ``amsgrad``; limit 2(1 + β₁)/(1 − β₁): 38 for β₁ = 0.9.
    * Adamax: P = (1 − β₁ᵗ)u; the same limit. NAdam: P = √v̂ + ε; the limit of its momentum at step t.
    * RMSprop: P = √v + ε, or of the centered v; limit 2(1 + momentum).
    * Adagrad: P = (1 + (t − 1)·lr_decay)(√Σg² + ε); limit 2.

    Args:
        objective: J(θ), whose parameters the optimizer must hold: the same tensors.
        optimizer: One of those above.

    Returns:
        The metric, in the type and on the device of θ. A parameter that never had a gradient does not move: its d is 0.

    Raises:
        SettingError: If ``objective`` is none, or the optimizer is of another kind, ascends (``maximize``), lacks a
            parameter, or has not yet taken a step and so has no preconditioner.

    Cost: a few passes over the optimizer's state; no product, no gradient.
    Limits: weight decay λ is left out: where it pulls through the gradient, H + λI stands in the place of H. The
    preconditioner is taken as fixed, while in training it follows the gradient and holds the sharpness at the limit.
    Source: Cohen et al. 2022, section 2 and appendix B; Polyak 1964.

    Example:
        >>> theta = torch.ones(2, requires_grad=True)
        >>> bowl = Objective.from_function(lambda t: (t**2).sum(), theta)
        >>> optimizer_metric(bowl, optim.SGD(bowl.params.tensors, lr=0.1, momentum=0.5)).stability_limit
        3.0
    """
    require_objective(objective)
    kind = type(optimizer)
    if kind not in _RULES:
        raise SettingError(
            f"the optimizer must be one of {', '.join(sorted(known.__name__ for known in _RULES))}, got a "
            f"{kind.__name__}. Pass the torch optimizer that it wraps, or a Metric of your own."
        )
    params = objective.params
    groups = _groups(params, optimizer)
    states: list[State] = [optimizer.state.get(tensor, {}) for tensor in params.tensors]
    is_ready = [kind is optim.SGD or _steps(state) > 0 for state in states]
    if not any(is_ready):
        raise SettingError(
            f"{kind.__name__} must have taken a step to have a preconditioner, got one without state. Call "
            "optimizer.step() once before."
        )
    pieces = [
        _RULES[kind](group, state, tensor) if ready else None
        for group, state, tensor, ready in zip(groups, states, params.tensors, is_ready, strict=True)
    ]
    limit = min(piece[1].limit for piece in pieces if piece is not None)
    return Metric(params.flatten([None if piece is None else piece[0] for piece in pieces]), limit, kind.__name__)


def _groups(params: Params, optimizer: optim.Optimizer) -> list[Group]:
    """The group of each parameter, by identity."""
    groups: dict[int, Group] = {id(tensor): group for group in optimizer.param_groups for tensor in group["params"]}
    missing = [name for name, tensor in zip(params.names, params.tensors, strict=True) if id(tensor) not in groups]
    if missing:
        raise SettingError(
            f"the optimizer must hold every parameter of the objective, but lacks {', '.join(missing[:3])} "
            f"({len(missing)} in all). Form the objective on the model that the optimizer trains, of the parameters "
            "that it trains."
        )
    own = [groups[id(tensor)] for tensor in params.tensors]
    if any(group.get("maximize", False) for group in own):
        raise SettingError("the optimizer must descend, got maximize=True. Let it minimise the negative loss.")
    return own


def preconditioned(op: Operator, metric: Metric) -> Operator:
    """D^½AD^½: an operator in the metric of an optimizer.

    Args:
        op: Symmetric operator A.
        metric: D, of the same size.

    Returns:
        The operator. Its eigenvectors u belong to directions D^½u in the space of θ.

    Raises:
        ShapeError: If the sizes differ.
        SettingError: If op is no operator, metric no ``Metric``, or a scale is negative or not finite.

    Cost: a product of A and two passes over the vector each.

    Example:
        >>> from theodolite.linalg.matrices import dense
        >>> metric = Metric(torch.tensor([0.25, 4.0]), 2.0, "by hand")
        >>> preconditioned(dense(torch.tensor([[8.0, 1.0], [1.0, 1.0]])), metric).to_dense()
        tensor([[2., 1.],
                [1., 4.]])
    """
    require_operator(op)
    if not isinstance(metric, Metric):
        raise SettingError(
            f"metric must be a Metric, got {described(metric)}. Take optimizer_metric(objective, optimizer), or form "
            'one of your own scales d: Metric(d, 2.0, "by hand").'
        )
    if tuple(metric.scale.shape) != (op.dimension,):
        raise ShapeError(
            f"the metric must have the size {op.dimension} of the operator, got {tuple(metric.scale.shape)}. Take both "
            "of the same objective."
        )
    if not bool(((metric.scale >= 0) & metric.scale.isfinite()).all()):
        raise SettingError("every scale of the metric must be finite and not negative. Has the training diverged?")
    name = f"D^½ {op.name} D^½, D of {metric.optimizer}"
    return Operator(scaled_both_sides(op, metric.scale.double().sqrt()), op.layout, name)


Piece = tuple[Tensor, _Walk]


def _sgd(group: Group, state: State, tensor: Tensor) -> Piece:
    beta, rate = float(group["momentum"]), torch.full_like(tensor, float(group["lr"]))
    if beta == 0:
        return rate, _Walk()
    if group["nesterov"]:
        return rate, _Walk(beta, 1.0, 1.0, beta)
    return rate, _Walk(beta, 1 - float(group["dampening"]))


def _adam(group: Group, state: State, tensor: Tensor) -> Piece:
    first, second = (float(beta) for beta in group["betas"])
    squares = state["max_exp_avg_sq"] if group["amsgrad"] else state["exp_avg_sq"]
    denominator = squares.sqrt() / math.sqrt(1 - second ** _steps(state)) + group["eps"]
    rate = float(group["lr"]) / (1 - first ** _steps(state))
    return rate / denominator, _Walk(first, 1 - first)


def _adamax(group: Group, state: State, tensor: Tensor) -> Piece:
    first = float(group["betas"][0])
    rate = float(group["lr"]) / (1 - first ** _steps(state))
    return rate / state["exp_inf"], _Walk(first, 1 - first)


def _nadam(group: Group, state: State, tensor: Tensor) -> Piece:
    first, second = (float(beta) for beta in group["betas"])
    step = _steps(state)
    now, following = (first * (1 - 0.5 * 0.96 ** (t * group["momentum_decay"])) for t in (step, step + 1))
    product = float(state["mu_product"])
    walk = _Walk(first, 1 - first, (1 - now) / (1 - product), following / (1 - product * following))
    denominator = (state["exp_avg_sq"] / (1 - second**step)).sqrt() + group["eps"]
    return float(group["lr"]) / denominator, walk


def _rmsprop(group: Group, state: State, tensor: Tensor) -> Piece:
    squares = state["square_avg"]
    if group["centered"]:
        squares = squares.addcmul(state["grad_avg"], state["grad_avg"], value=-1)
    return float(group["lr"]) / (squares.sqrt() + group["eps"]), _Walk(float(group["momentum"]))


def _adagrad(group: Group, state: State, tensor: Tensor) -> Piece:
    rate = float(group["lr"]) / (1 + (_steps(state) - 1) * group["lr_decay"])
    return rate / (state["sum"].sqrt() + group["eps"]), _Walk()


_RULES: dict[type[optim.Optimizer], Callable[[Group, State, Tensor], Piece]] = {
    optim.SGD: _sgd,
    optim.Adam: _adam,
    optim.AdamW: _adam,
    optim.Adamax: _adamax,
    optim.NAdam: _nadam,
    optim.RMSprop: _rmsprop,
    optim.Adagrad: _adagrad,
}
"""Each kind of optimizer with its scale and its walk; of the very class, since a subclass may step otherwise."""


def _steps(state: State) -> int:
    """How many steps the optimizer has taken with a parameter."""
    return int(state.get("step", 0))
