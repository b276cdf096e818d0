"""Which operators does an objective have: Hessian, Gauss-Newton, Fisher, covariance of gradients?"""

from functools import partial

import torch
from torch import nn

from theodolite.errors import ObjectiveError
from theodolite.linalg.interface import Layout
from theodolite.linalg.operators import Operator
from theodolite.linalg.randomness import source
from theodolite.linalg.settings import check_count, check_memory, require_objective
from theodolite.objective import MEMORY_LIMIT, Objective
from theodolite.objective.gauss_newton import GaussNewton, GaussNewtonProducts
from theodolite.objective.gradients import mean_gradient
from theodolite.objective.outer import ExampleGradients, LossHessian, OuterOf
from theodolite.objective.scores import PredictiveScores, SampledScores

_SAMPLES = "samples (None for the exact matrix)"


def hessian(objective: Objective, at: object = None, *, memory_limit: int = MEMORY_LIMIT) -> Operator:
    """The Hessian H(θ) of an objective, at a point that is fixed now.

    Further products reuse the graph of the gradient. The point stays the same if the model is trained on meanwhile.

    Args:
        objective: J(θ).
        at: Point θ, shape (n,); None is the present one.
        memory_limit: Bytes that graphs may take; what does not fit is rebuilt for each block of vectors, and a batch
            that does not fit by itself is cut into pieces where that leaves the loss the same.

    Returns:
        The operator; ``release`` it, or use ``with``, to free the graphs early.

    Raises:
        SettingError: If ``objective`` is none, or the limit is no number of bytes.
        ShapeError: If ``at`` has another shape.

    Cost: nothing now; 2.8 to 4.1 gradients for the first product, 1.7 to 2.7 for each further one.
    Limits: where a net has kinks (ReLU, max pooling) it is the Hessian of the smooth piece around θ, which says nothing
    of the piece beside it. What the loss detaches or draws at random is held fixed.

    Example:
        >>> bowl = Objective.from_function(lambda theta: theta[0] * theta[1], torch.ones(2))
        >>> hessian(bowl).to_dense()
        tensor([[0., 1.],
                [1., 0.]])
    """
    require_objective(objective)
    check_memory(memory_limit)
    return Operator(objective.open_products(at, memory_limit=memory_limit), _layout(objective), "Hessian")


def ggn(
    objective: Objective,
    at: object = None,
    *,
    output: str = "",
    samples: int | None = None,
    generator: torch.Generator | None = None,
    memory_limit: int = MEMORY_LIMIT,
) -> Operator:
    """The generalised Gauss-Newton matrix JᵀSJ of an objective ℓ(z(θ)), with J = ∂z/∂θ and S = ∇²ℓ by the outputs z.

    It is the Hessian without the curvature of the model, and positive semi-definite where the loss is convex in the
    outputs. What the loss reaches past the outputs (a penalty on θ) counts with its Hessian.

    Args:
        objective: J(θ), formed of a model.
        at: Point θ, shape (n,); None is the present one.
        output: Name of the module whose outputs are z; "" is the model itself.
        samples: None for S itself; else a Monte Carlo estimate from so many scores for each row, drawn from the
            model's own predictions: the mean over draws is the exact matrix.
        generator: Source of the scores; give one for a repeatable result.
        memory_limit: Bytes that graphs may take.

    Returns:
        The operator.

    Raises:
        SettingError: If ``objective`` is none, samples is less than 1, or the limit is no number of bytes.
        ObjectiveError: If the objective has no model, or no such module. The first product raises it if the loss cannot
            be split at the outputs, or is no likelihood that scores can be drawn from.
        ShapeError: If ``at`` has another shape.

    Cost: nothing now; 2.4 to 3.6 gradients for the first product, 1.4 to 2.4 for each further one.
    Limits: the loss must be a function of the outputs of one module; of a loss that differentiates the model (as of
    physics-informed nets), only the Hessian is there. Negative curvature of the model is not seen at all.
    Source: Schraudolph 2002; Monte Carlo: Martens 2020, section 5.

    Example:
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> bowl = Objective(model, lambda m, x: (m(x) ** 2).mean(), torch.tensor([[3.0]]))
        >>> ggn(bowl).to_dense()
        tensor([[18.]])
    """
    if samples is None:
        return _gauss_newton(
            objective, at, LossHessian.of, output=output, method="Gauss-Newton", memory_limit=memory_limit
        )
    check_count(_SAMPLES, samples)
    sampled = partial(SampledScores.of, samples=samples, seed=_seed(generator))
    return _gauss_newton(
        objective,
        at,
        sampled,
        output=output,
        method=f"Gauss-Newton from {samples} sampled scores",
        memory_limit=memory_limit,
    )


def fisher(
    objective: Objective,
    at: object = None,
    *,
    output: str = "",
    samples: int | None = None,
    generator: torch.Generator | None = None,
    memory_limit: int = MEMORY_LIMIT,
) -> Operator:
    """The Fisher information of the model's predictions: E[ssᵀ] over labels that the model itself would draw.

    s is the gradient of the loss with such a label. The loss must be the negative log likelihood of a categorical
    (cross entropy), Bernoulli (with logits) or Gaussian (squared error) variable; that is told by its second
    derivative, not by its name. Weights of examples and classes, ignored labels and label smoothing count as they do
    in the loss. A penalty on θ does not count.

    Args:
        objective: J(θ), formed of a model.
        at: Point θ, shape (n,); None is the present one.
        output: Name of the module whose outputs are the parameters of the likelihood; "" is the model itself.
        samples: None for the expectation in closed form; else so many labels drawn for each row.
        generator: Source of the labels; give one for a repeatable result.
        memory_limit: Bytes that graphs may take.

    Returns:
        The operator.

    Raises:
        SettingError: If ``objective`` is none, samples is less than 1, or the limit is no number of bytes.
        ObjectiveError: As for ``ggn``; the first product raises it if the loss is no such likelihood.
        ShapeError: If ``at`` has another shape.

    Cost: as ``ggn``, and three products of the loss alone for each batch to tell the likelihood.
    Limits: the labels of different rows must be independent given the outputs. It is the information of the model's own
    predictions: where they are wrong, it is neither the Hessian nor the covariance of the gradients.
    Source: Martens 2020, sections 5 and 9.
    """
    if samples is None:
        return _gauss_newton(
            objective, at, PredictiveScores.of, output=output, method="Fisher", memory_limit=memory_limit
        )
    check_count(_SAMPLES, samples)
    sampled = partial(SampledScores.of, samples=samples, seed=_seed(generator), is_fisher=True)
    return _gauss_newton(
        objective, at, sampled, output=output, method=f"Fisher from {samples} sampled labels", memory_limit=memory_limit
    )


def empirical_fisher(
    objective: Objective, at: object = None, *, output: str = "", memory_limit: int = MEMORY_LIMIT
) -> Operator:
    """The second moment Σ gₙgₙᵀ / N of the gradients of single examples, with the labels of the data.

    Args:
        objective: J(θ), formed of a model.
        at: Point θ, shape (n,); None is the present one.
        output: Name of the module whose outputs the loss is a sum of terms of, one a row; "" is the model itself.
        memory_limit: Bytes that graphs may take.

    Returns:
        The operator; gₙ is N times the share of example n in the loss of its batch, so that their mean is the gradient.

    Raises:
        SettingError: If ``objective`` is none, or the limit is no number of bytes.
        ObjectiveError: As for ``ggn``; the first product raises it if outputs do not hold one row an example.
        ShapeError: If ``at`` has another shape.

    Cost: as ``ggn``; gradients of single examples are never formed.
    Limits: the examples of a batch must meet in the loss as a sum of terms.
    """
    return _gauss_newton(
        objective, at, ExampleGradients.of, output=output, method="empirical Fisher", memory_limit=memory_limit
    )


def gradient_covariance(
    objective: Objective, at: object = None, *, output: str = "", memory_limit: int = MEMORY_LIMIT
) -> Operator:
    """The covariance Σ (gₙ − ḡ)(gₙ − ḡ)ᵀ / N of the gradients of single examples about their mean, the gradient.

    The noise of the gradient of a batch of B examples, drawn with replacement, has this covariance divided by B.

    Args:
        objective: J(θ), formed of a model.
        at: Point θ, shape (n,); None is the present one.
        output: Name of the module whose outputs the loss is a sum of terms of, one a row; "" is the model itself.
        memory_limit: Bytes that graphs may take.

    Returns:
        The operator.

    Raises:
        SettingError: If ``objective`` is none, or the limit is no number of bytes.
        ObjectiveError: As for ``empirical_fisher``.
        ShapeError: If ``at`` has another shape.

    Cost: one gradient now; products as ``ggn``.
    Limits: as ``empirical_fisher``. With the mean over N, not N − 1: the examples are the whole population of J.
    """
    _require_model(objective, output)
    check_memory(memory_limit)
    theta = objective.point() if at is None else objective.params.vector(at, "at").clone()
    mean = mean_gradient(objective.source, theta, seed=objective.seed)
    centred = partial(ExampleGradients.of, centre=objective.params.unflatten(mean))
    return _gauss_newton(
        objective, theta, centred, output=output, method="covariance of gradients", memory_limit=memory_limit
    )


def _gauss_newton(
    objective: Objective, at: object, outer_of: OuterOf, *, output: str, method: str, memory_limit: int
) -> Operator:
    """JᵀSJ with a given S."""
    module = _require_model(objective, output)
    check_memory(memory_limit)
    theta = objective.point() if at is None else objective.params.vector(at, "at").clone()
    products = GaussNewtonProducts(
        objective.source,
        theta,
        GaussNewton(objective.params, module, outer_of),
        method=method,
        seed=objective.seed,
        memory_limit=memory_limit,
        knowledge=objective.knowledge,
    )
    return Operator(products, _layout(objective))


def _require_model(objective: object, output: str) -> nn.Module:
    """The module whose outputs are meant."""
    require_objective(objective)
    assert isinstance(objective, Objective)
    model = objective.source.model
    if model is None:
        raise ObjectiveError(
            "the objective must be formed of a model, whose outputs the loss is a function of, and this one is a "
            "function of a vector. Use hessian(objective)."
        )
    if isinstance(model, torch.jit.ScriptModule):
        raise ObjectiveError(
            f"the model must be one whose outputs can be watched, got a {type(model).__name__}, which takes no hooks. "
            "Form the objective of the module that was scripted."
        )
    modules: dict[str, nn.Module] = dict(model.named_modules())
    if output not in modules:
        raise ObjectiveError(
            f"output must name a module of the model, got {output!r}. Leave it out for the model itself, or take one "
            f"of {[name for name in modules if name]}."
        )
    return modules[output]


def _layout(objective: Objective) -> Layout:
    return Layout(objective.params.names, objective.params.sizes)


def _seed(generator: object) -> int:
    """A seed from a generator; a fresh one if there is none."""
    drawn_from = source(generator)
    return int(torch.randint(2**40, (), generator=drawn_from, device=drawn_from.device))
